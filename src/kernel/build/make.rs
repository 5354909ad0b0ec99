//! `make`, as a process group of its own: its whole output in a file, its lines
//! as they come, and its end when this program ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::error::KernelBuildError;
use super::log;
use crate::doctor::find_program;
use crate::kernel::ARCH;
use crate::plain;

/// Who has built it, on which machine, for how often: nobody's business, and not
/// to differ between two builds.
const IDENTITY: [(&str, &str); 3] = [
    ("KBUILD_BUILD_USER", "tc"),
    ("KBUILD_BUILD_HOST", "box"),
    ("KBUILD_BUILD_VERSION", "1"),
];
/// What of the caller's environment the build sees: where programs are, and what
/// a compiler cache among them needs. Anything else (KCFLAGS, MAKEFLAGS, CC …)
/// could change the result.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "TMPDIR", "CCACHE_DIR"];
/// The file that has all that `make` said.
const LOG: &str = "make.log";
/// How long `make` may take to remove its half-made files when it is ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How often its end is looked for then.
const POLL: Duration = Duration::from_millis(20);

/// The process groups that are under way.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every build, for the interrupt handler, which ends the program then.
/// `make` removes the files that it is at; what is whole stays for the next run.
/// Whoever starts or ends a build waits for the program's end.
pub fn end_all() {
    let groups = groups();
    let deadline = Instant::now() + LAST_WORDS;
    for group in groups.iter() {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let lives = |group: &&Pid| test_kill_process_group(**group).is_ok();
    while groups.iter().any(|group| lives(&group)) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    for group in groups.iter().filter(lives) {
        let _ = kill_process_group(*group, Signal::KILL);
    }
    std::mem::forget(groups);
}

/// Fails for a path that the kernel's Makefile would stop at, or take apart.
pub(super) fn check_path(path: &Path) -> Result<(), KernelBuildError> {
    let odd = |byte: &u8| byte.is_ascii_whitespace() || b":$#%'\"\\`;&|=,".contains(byte);
    match path.as_os_str().as_encoded_bytes().iter().any(odd) {
        true => Err(KernelBuildError::Path(path.to_owned())),
        false => Ok(()),
    }
}

/// How a kernel is made.
pub(super) struct Make<'a> {
    /// The source.
    pub(super) tree: &'a Path,
    /// Where the objects go.
    pub(super) folder: &'a Path,
    /// How many commands at once.
    pub(super) jobs: NonZeroUsize,
    /// Seconds since 1970, for the kernel's version text.
    pub(super) time: u32,
}

impl Make<'_> {
    /// Makes targets; `what` is their name in messages. Every line that `make`
    /// writes is told.
    pub(super) fn run(
        &self,
        what: &str,
        targets: &[&str],
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), KernelBuildError> {
        let log_path = self.folder.join(LOG);
        let failed = || KernelBuildError::write(&log_path);
        let mut log = plain::append_own(&log_path).map_err(failed())?;
        let start = log.metadata().map_err(failed())?.len();
        writeln!(log, "# make {}", targets.join(" ")).map_err(failed())?;

        let (reader, writer) = io::pipe().map_err(KernelBuildError::run("make"))?;
        let mut command = self.command();
        command
            .args(targets)
            .stdout(writer.try_clone().map_err(KernelBuildError::run("make"))?)
            .stderr(writer);
        let group = Group::start(command).map_err(KernelBuildError::run("make"))?;
        read_lines(reader, &mut log, on_line).map_err(failed())?;
        if group.wait().map_err(KernelBuildError::run("make"))? {
            return Ok(());
        }
        let said = fs::read(&log_path).map_err(KernelBuildError::read(&log_path))?;
        let said = String::from_utf8_lossy(said.get(start as usize..).unwrap_or_default()).into_owned();
        Err(KernelBuildError::Make {
            what: what.to_owned(),
            failures: log::failures(&said, &[self.tree, self.folder]),
            log: log_path,
        })
    }

    /// The objects that have still to be compiled, by `make`'s own reckoning: what
    /// it would do in each directory, done or changed files considered. `None`
    /// where it cannot say. Needs what `prepare` makes.
    pub(super) fn objects_to_do(&self) -> Option<BTreeSet<String>> {
        let directories = self.directories().ok()?;
        let mut command = self.command();
        command.arg("-n").args(directories).stderr(Stdio::null());
        command.stdout(Stdio::piped());
        let mut group = Group::start(command).ok()?;
        let output = group.child.stdout.take()?;
        let mut names = BTreeSet::new();
        let mut nothing = io::sink();
        let read = read_lines(output, &mut nothing, &mut |line| {
            names.extend(log::object_to_do(line).map(str::to_owned));
        });
        let done = group.wait().ok()?;
        read.ok().filter(|()| done).map(|()| names)
    }

    /// The directories that are descended into, as targets.
    fn directories(&self) -> io::Result<Vec<String>> {
        let mut names = vec![format!("arch/{ARCH}/")];
        for entry in fs::read_dir(self.tree)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let descended = !matches!(
                name.as_str(),
                "arch" | "scripts" | "tools" | "samples" | "Documentation"
            );
            let has_makefile = ["Makefile", "Kbuild"]
                .iter()
                .any(|file| entry.path().join(file).is_file());
            if descended && has_makefile {
                names.push(format!("{name}/"));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Installs the modules below a folder: `lib/modules/RELEASE`, without the
    /// data for debuggers.
    pub(super) fn install_modules(&self, to: &Path) -> Result<(), KernelBuildError> {
        let to = format!("INSTALL_MOD_PATH={}", to.display());
        // The lists that depmod makes are written here, for each place its own.
        let arguments = [
            to.as_str(),
            "INSTALL_MOD_STRIP=1",
            "DEPMOD=true",
            "modules_install",
        ];
        self.run("installing the modules", &arguments, &mut |_| ())
    }

    fn command(&self) -> Command {
        // If this program is killed, nothing goes on behind its back.
        let mut command = match find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--", "make"]);
                command
            }
            None => Command::new("make"),
        };
        command.env_clear().env("LC_ALL", "C").env("ARCH", ARCH);
        for name in PASSED_ON {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            .envs(IDENTITY)
            .env("KBUILD_BUILD_TIMESTAMP", date(self.time))
            .env("SOURCE_DATE_EPOCH", self.time.to_string())
            // Without this, a source in git adds a `+` to the release.
            .env("LOCALVERSION", "");
        // Paths of this machine are in messages (__FILE__) and debug data.
        let map = |path: &Path| format!("-ffile-prefix-map={}=.", path.display());
        let flags = format!("{} {}", map(self.tree), map(self.folder));
        command
            .arg("-C")
            .arg(self.tree)
            .arg(format!("O={}", self.folder.display()))
            // What one command says stays together.
            .arg("--output-sync=target")
            .arg(format!("-j{}", self.jobs))
            .arg(format!("KCFLAGS={flags}"))
            .arg(format!("KAFLAGS={flags}"));
        command
    }
}

/// A time as `date` prints it, for `uname -v`.
fn date(seconds: u32) -> String {
    let time = Timestamp::from_second(seconds.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%a %b %e %H:%M:%S UTC %Y").to_string()
}

/// Copies lines to a file, and tells each.
fn read_lines(input: impl io::Read, log: &mut impl Write, on_line: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)?;
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// A process group that is under way. It ends with this value.
struct Group {
    child: Child,
    pid: Option<Pid>,
}

impl Group {
    fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).process_group(0);
        // An interrupt waits until the group is known.
        let mut groups = groups();
        let child = command.spawn()?;
        let pid = Some(Pid::from_child(&child));
        groups.extend(pid);
        Ok(Self { child, pid })
    }

    /// Waits for its end; whether it was a good one.
    fn wait(mut self) -> io::Result<bool> {
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if let Some(pid) = self.pid {
                let _ = kill_process_group(pid, Signal::TERM);
            }
            let _ = self.child.wait();
        }
        groups().retain(|group| Some(*group) != self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date() {
        assert_eq!(date(0), "Thu Jan  1 00:00:00 UTC 1970");
        assert_eq!(date(1_583_020_800), "Sun Mar  1 00:00:00 UTC 2020");
    }

    #[test]
    fn paths_that_make_takes_apart_are_refused() {
        for (path, good) in [
            ("/tmp/a-b_c.1/x", true),
            ("/tmp/a b", false),
            ("/a:b", false),
            ("/$x", false),
        ] {
            assert_eq!(check_path(Path::new(path)).is_ok(), good, "{path}");
        }
    }

    #[test]
    fn a_group_ends_with_its_value() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        let group = Group::start(command).unwrap();
        let pid = group.pid.unwrap();
        assert!(test_kill_process_group(pid).is_ok());
        assert!(groups().contains(&pid));
        drop(group);
        assert!(!groups().contains(&pid));
        // The other process of the group may need a moment to be gone.
        while test_kill_process_group(pid).is_ok() {
            thread::yield_now();
        }
    }
}
