//! Small machines to run scripts in: a root directory, processes, network and
//! users of their own, made of namespaces. They need no root and change nothing
//! outside; what runs in one ends with it.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use crate::tinycore::tiny_core;

/// A system whose shell and programs run the scripts: a directory with `bin`,
/// `lib`, `sbin` and `usr`.
#[derive(Debug, Clone)]
pub(super) struct System {
    pub(super) name: &'static str,
    files: PathBuf,
}

/// Debian's busybox, and Tiny Core 11's root filesystem where it is at hand.
pub(super) fn systems() -> Vec<System> {
    static TINY_CORE: OnceLock<Option<PathBuf>> = OnceLock::new();
    static DEBIAN: OnceLock<PathBuf> = OnceLock::new();
    let debian = System {
        name: "Debian's busybox",
        files: DEBIAN.get_or_init(debian).clone(),
    };
    let tiny_core = TINY_CORE.get_or_init(tiny_core_11).clone().map(|files| System {
        name: "Tiny Core 11",
        files,
    });
    std::iter::once(debian).chain(tiny_core).collect()
}

fn debian() -> PathBuf {
    let hint = "busybox-static is needed: apt-get install busybox-static";
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect(hint);
    let list = Command::new(busybox).arg("--list").output().expect(hint).stdout;
    once("debian-busybox", |dir| {
        for sub in ["bin", "sbin", "lib", "usr/bin", "usr/local"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::copy(busybox, dir.join("bin/busybox")).unwrap();
        for applet in String::from_utf8(list)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox")
        {
            symlink("busybox", dir.join("bin").join(applet)).unwrap();
        }
    })
}

fn tiny_core_11() -> Option<PathBuf> {
    let archive = fs::File::open(tiny_core()?.join("rootfs64.tar.gz")).unwrap();
    Some(once("tinycore-11", |dir| {
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if !entry.path().unwrap().starts_with("dev") {
                entry.unpack_in(dir).unwrap();
            }
        }
        // Nobody but root may be allowed to read it.
        fs::remove_file(dir.join("usr/bin/sudo")).unwrap();
    }))
}

/// Makes a directory below the build's, once for all processes.
fn once(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = parent.join(name);
    if !made.exists() {
        let dir = tempfile::tempdir_in(parent).unwrap();
        fill(dir.path());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Another process may have been quicker.
        if fs::rename(dir.path(), &made).is_ok() {
            let _ = dir.keep();
        }
    }
    made
}

impl System {
    /// Runs a script, with arguments, as a user without any rights.
    pub(super) fn run_as_nobody(&self, script: &str, arguments: &[&str]) -> Outcome {
        let mut process = Command::new("unshare")
            .args(["--user", "--root"])
            .arg(&self.files)
            .args(["/bin/sh", "-s", "--"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read all of it.
        let _ = process.stdin.take().unwrap().write_all(script.as_bytes());
        let output = process.wait_with_output().unwrap();
        Outcome {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Outcome {
    /// Both outputs, for messages and for what must not be in either.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A running machine.
#[derive(Debug)]
pub(super) struct Machine {
    root: tempfile::TempDir,
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    commands: Cell<usize>,
}

/// Runs as root of the new namespaces, with the host's programs.
const SET_UP: &str = r#"
set -e
mount --make-rprivate /
for dir in bin sbin lib usr; do mount --bind "$FILES/$dir" "$ROOT/$dir"; done
mount --bind "$ROOT/local" "$ROOT/usr/local"
mount -t proc proc "$ROOT/proc"
for device in null zero urandom tty; do mount --bind "/dev/$device" "$ROOT/dev/$device"; done
exec chroot "$ROOT" /bin/sh -c 'ifconfig lo 127.0.0.1 up && mkdir -p /usr/local/bin /usr/local/etc/init.d && echo up && exec /bin/sh'
"#;

/// The number of the user `tc`: in an ordinary user's machine there is but one.
pub(super) fn tc() -> &'static str {
    if is_root() { "1001:50" } else { "0:0" }
}

impl Machine {
    pub(super) fn start(system: &System) -> Self {
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path());
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let mut shell = command
            .args([
                "--mount",
                "--pid",
                "--net",
                "--ipc",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                SET_UP,
            ])
            .env("ROOT", root.path())
            .env("FILES", &system.files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is needed: apt-get install util-linux");
        let input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut up = String::new();
        output.read_line(&mut up).unwrap();
        assert_eq!(
            up, "up\n",
            "cannot make namespaces: allow them to users (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0), or run the tests as root, in a container \
             with --privileged; a plain chroot may make none, a pivot_root into the same folder may"
        );
        Self {
            root,
            shell,
            input,
            output,
            commands: Cell::new(0),
        }
    }

    /// Where a file of the machine lies on the host.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        let inside = inside.trim_start_matches('/');
        match inside.strip_prefix("usr/local/") {
            Some(local) => self.root.path().join("local").join(local),
            None => self.root.path().join(inside),
        }
    }

    pub(super) fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts a program there.
    pub(super) fn install(&self, inside: &str, text: &str) {
        self.write(inside, text);
        fs::set_permissions(self.path(inside), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(super) fn read(&self, inside: &str) -> String {
        let path = self.path(inside);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(super) fn exists(&self, inside: &str) -> bool {
        self.path(inside).symlink_metadata().is_ok()
    }

    /// The permission bits of a file.
    pub(super) fn mode(&self, inside: &str) -> u32 {
        fs::metadata(self.path(inside)).unwrap().mode() & 0o7777
    }

    /// The owner that a script gave to a file, as `UID:GID`. An ordinary user's
    /// machine has but one user, so that there `chown` only notes the wish.
    pub(super) fn owner(&self, inside: &str) -> String {
        let metadata = fs::metadata(self.path(inside)).unwrap();
        if is_root() {
            return format!("{}:{}", metadata.uid(), metadata.gid());
        }
        let wishes = fs::read_to_string(self.path("/var/chown")).unwrap_or_default();
        let inode = metadata.ino().to_string();
        let wish = wishes
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&inode)?.strip_prefix(' '));
        wish.unwrap_or("0:0").to_owned()
    }

    /// Runs a command line, given as a script, to its end.
    pub(super) fn run(&mut self, script: &str) -> Outcome {
        let number = self.commands.get();
        self.commands.set(number + 1);
        let file = format!("/commands/{number}");
        self.write(&file, script);
        writeln!(
            self.input,
            "timeout 120 /bin/sh {file} </dev/null >{file}.out 2>{file}.err; echo $?"
        )
        .unwrap();
        let mut status = String::new();
        self.output.read_line(&mut status).unwrap();
        let read = |end| {
            String::from_utf8_lossy(&fs::read(self.path(&format!("{file}.{end}"))).unwrap()).into_owned()
        };
        Outcome {
            status: status.trim().parse().expect("the machine died"),
            stdout: read("out"),
            stderr: read("err"),
        }
    }
}

/// A person at a terminal of a machine.
#[derive(Debug)]
pub(super) struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Machine {
    /// Runs a command line at a terminal of its own.
    pub(super) fn terminal(&mut self, script: &str) -> Terminal {
        let end = self.path("/commands/ended");
        let _ = fs::remove_file(&end);
        self.write("/commands/terminal", format!("{script}\n: >/commands/ended\n"));
        let unshare = self.shell.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        let user = if is_root() {
            ""
        } else {
            "--user --preserve-credentials"
        };
        // Ctrl-C ends nsenter, which is at the terminal, too.
        let enter = format!(
            "trap : INT; nsenter --target {} {user} --mount --pid --net --root --wd=/ /bin/sh /commands/terminal; \
             while [ ! -e '{}' ]; do sleep 0.1; done",
            children.trim(),
            end.display()
        );
        // Whoever runs the tests may ignore the signal, and a shell keeps it so.
        let mut process = Command::new("env")
            .args(["--default-signal=INT", "script"])
            .args(["--quiet", "--return", "--flush", "--command", &enter, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is needed: apt-get install bsdutils");
        Terminal {
            keyboard: process.stdin.take().unwrap(),
            screen: process.stdout.take().unwrap(),
            process,
            seen: String::new(),
        }
    }
}

impl Terminal {
    /// Waits until the screen shows a text, then types.
    pub(super) fn answer(&mut self, prompt: &str, keys: &str) {
        let mut bytes = [0; 256];
        while !self.seen.contains(prompt) {
            let count = self.screen.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "no `{prompt}` on the screen:\n{}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for the end: the exit status, and all that the screen showed.
    pub(super) fn end(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.process.wait().unwrap().code().unwrap(), self.seen)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What goes in front of a script's own lines in the machine of an ordinary
/// user, who cannot give files away.
pub(super) fn shims() -> &'static str {
    if is_root() {
        return "";
    }
    "chown() { owner=$1; shift; for file; do echo \"$(ls -di \"$file\" | awk '{print $1}') $owner\" >>/var/chown; done; }\n"
}

fn lay_out(root: &Path) {
    for dir in [
        "bin",
        "sbin",
        "lib",
        "usr",
        "local/bin",
        "proc",
        "sys/fs/cgroup",
        "dev",
        "etc/default",
        "tmp",
        "commands",
        "root",
        "home/tc",
        "run",
        "var/run",
        "var/log",
        "var/lib",
        "opt/cni/bin",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for device in ["null", "zero", "urandom", "tty"] {
        fs::write(root.join("dev").join(device), "").unwrap();
    }
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\ntc:x:{}:Linux User,,,:/home/tc:/bin/sh\n",
        tc()
    );
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
    // A socket for fake daemons, which are shell scripts, to show.
    drop(UnixListener::bind(root.join("var/socket")).unwrap());
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}
