//! A machine that runs.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::VmError;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::accelerator::{Accelerator, hangs_file, remember_hang};
use super::console::{Console, Line, NoLine};
use super::machine::{Arguments, Firmware, Machine, SHELL_PORT, escaped};
use super::shell::{Output, Shell};
use crate::doctor::find_program;
use crate::progress::{Progress, Silent};
use crate::scratch::Scratch;

/// How often the end of the process is looked for.
const POLL: Duration = Duration::from_millis(50);

/// How long a machine with KVM may say nothing before Linux shows itself. By
/// emulation that takes half as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a terminal's QEMU may take to give the terminal back.
const FAREWELL: Duration = Duration::from_secs(5);

/// The host, as a machine sees it through QEMU's user networking.
const HOST: &str = "10.0.2.2";

/// A machine that runs, as a process group of its own; it ends with this value.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    status: Option<ExitStatus>,
    console: Console,
    shell: Shell,
    said: PathBuf,
    log: PathBuf,
    reader: Option<JoinHandle<()>>,
    serial: Serial,
    accelerator: Accelerator,
    emulated: Emulated,
}

/// Why a machine is emulated, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emulated {
    /// It is not, or was meant to be.
    AsMeant,
    /// With KVM it said nothing. Whether KVM was to blame is not known.
    Silent,
    /// With KVM it said nothing, and by emulation it speaks.
    KvmHangs,
}

/// Where the serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serial {
    Lines,
    Terminal,
}

impl Machine {
    /// Starts the machine. `folder` takes its log (`console.log`), what QEMU
    /// says (`qemu.log`), and a socket while it runs.
    pub fn start(&self, folder: &Path) -> Result<Guest, VmError> {
        self.start_with(folder, Serial::Lines, &Silent)
    }

    /// The same for people, who are told when KVM does not work.
    pub fn start_telling(&self, folder: &Path, progress: &dyn Progress) -> Result<Guest, VmError> {
        self.start_with(folder, Serial::Lines, progress)
    }

    /// Starts it with its serial console on this program's own terminal, QEMU's
    /// keys (Ctrl-A h tells them) included. Nothing of the console can be
    /// waited for.
    pub fn start_on_terminal(&self, folder: &Path, progress: &dyn Progress) -> Result<Guest, VmError> {
        self.start_with(folder, Serial::Terminal, progress)
    }

    fn start_with(&self, folder: &Path, serial: Serial, progress: &dyn Progress) -> Result<Guest, VmError> {
        self.check_files()?;
        if let Some(accelerator) = self.decided()? {
            return self.launch(folder, serial, accelerator);
        }
        match Accelerator::of_this_machine() {
            Accelerator::Tcg => self.launch(folder, serial, Accelerator::Tcg),
            Accelerator::Kvm => self.start_watched(folder, serial, progress),
        }
    }

    /// Starts it with KVM, and by emulation if Linux does not show itself then.
    fn start_watched(
        &self,
        folder: &Path,
        serial: Serial,
        progress: &dyn Progress,
    ) -> Result<Guest, VmError> {
        match self.launch(folder, serial, Accelerator::Kvm) {
            Ok(mut guest) => {
                // systemd-boot's menu cannot be told from a machine that hangs.
                let cannot_be_told = serial == Serial::Terminal && self.firmware == Firmware::Uefi;
                if cannot_be_told || guest.shows_itself(PATIENCE) {
                    return Ok(guest);
                }
                guest.end();
            }
            // Not even QEMU shows itself.
            Err(VmError::TimeOut { .. }) => {}
            Err(error) => return Err(error),
        }
        tell_of_silence(progress);
        let mut guest = self.launch(folder, serial, Accelerator::Tcg)?;
        guest.emulated = Emulated::Silent;
        Ok(guest)
    }

    fn launch(&self, folder: &Path, serial: Serial, accelerator: Accelerator) -> Result<Guest, VmError> {
        let (qemu, args) = self.command(accelerator)?;
        let mut args = Arguments(args);
        let (said, log) = (folder.join("qemu.log"), folder.join("console.log"));
        args.add_console(serial, &log);
        let private = Scratch::in_dir(folder).map_err(|source| unwritable(folder, source))?;
        let socket = private.path().join("shell");
        let listener = listen(&socket).map_err(|source| unwritable(&socket, source))?;
        args.add("-device virtio-serial-pci");
        let mut option = OsString::from("socket,id=shell,server=off,path=");
        option.push(escaped(&socket));
        args.pair("-chardev", option);
        args.add(&format!("-device virtserialport,chardev=shell,name={SHELL_PORT}"));

        create(&log)?;
        let console = Console::new(Instant::now());
        let mut command = command(&qemu, args.0);
        if serial == Serial::Lines {
            // A group that is not the terminal's own could not read from it.
            command
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        }
        let mut child = command.stderr(create(&said)?).spawn().map_err(VmError::Run)?;
        let reader = child.stdout.take().map(|stdout| {
            let console = console.clone();
            thread::spawn(move || console.read_all(stdout))
        });
        let stream = accept(&listener, &mut child, PATIENCE);
        // Nobody else is to connect.
        drop(private);
        // Without QEMU at its other end a socket reads as closed.
        let closed = || UnixStream::pair().map(|pair| pair.0);
        let hangs = matches!(&stream, Err(error) if error.kind() == io::ErrorKind::TimedOut);
        let guest = Guest {
            child,
            status: None,
            console,
            shell: Shell::new(stream.or_else(|_| closed()).map_err(VmError::Run)?),
            said,
            log,
            reader,
            serial,
            accelerator,
            emulated: Emulated::AsMeant,
        };
        if hangs {
            let error = guest.time_out("QEMU's connection", PATIENCE);
            guest.end();
            return Err(error);
        }
        Ok(guest)
    }
}

impl Arguments {
    /// A copy of what the console says goes to `log`.
    fn add_console(&mut self, serial: Serial, log: &Path) {
        let (mux, monitor) = match serial {
            Serial::Lines => ("off", ""),
            Serial::Terminal => ("on,signal=off", " -mon chardev=console"),
        };
        let mut option = OsString::from(format!("stdio,id=console,mux={mux},logfile="));
        option.push(escaped(log));
        self.pair("-chardev", option);
        self.add(&format!("-serial chardev:console{monitor}"));
    }
}

fn create(path: &Path) -> Result<File, VmError> {
    File::create(path).map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: io::Error) -> VmError {
    VmError::File {
        action: "write",
        path: path.to_owned(),
        source,
    }
}

/// Listens at a socket that is this user's alone, whatever the umask. Its folder has to
/// be, too: for a moment the socket is not.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, Permissions::from_mode(0o700))?;
    Ok(listener)
}

/// QEMU, to end with the thread that starts it.
fn command(qemu: &Path, args: Vec<OsString>) -> Command {
    let mut command = match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
            command
        }
        None => Command::new(qemu),
    };
    command.args(args);
    command
}

/// Waits until QEMU connects, which it does before the machine runs, or ends.
fn accept(listener: &UnixListener, child: &mut Child, time_out: Duration) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + time_out;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if child.try_wait()?.is_some() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL);
    }
}

impl Guest {
    /// Types on the serial console, if that is not this program's terminal.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), VmError> {
        let Some(keyboard) = &mut self.child.stdin else {
            return Ok(());
        };
        keyboard
            .write_all(keys.as_bytes())
            .and_then(|()| keyboard.flush())
            .map_err(VmError::Run)
    }

    /// The console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Who runs it.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// Whether it is emulated because with KVM it said nothing.
    pub fn was_silent(&self) -> bool {
        self.emulated != Emulated::AsMeant
    }

    /// Whether Linux shows itself, on the console or by the shell inside, before the
    /// console has been silent for so long. A machine that has ended shows that to
    /// whoever waits for anything of it, and a menu at which somebody is choosing hangs
    /// no machine.
    fn shows_itself(&mut self, patience: Duration) -> bool {
        let Ok(sent) = self.shell.send(":") else {
            return true;
        };
        let start = Instant::now();
        let mut heard = (0, start);
        loop {
            match self.shell.wait(&sent, POLL) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                _ => return true,
            }
            let log = fs::read(&self.log).unwrap_or_default();
            match Stage::of(&log) {
                Stage::Linux => return true,
                Stage::Menu if self.serial == Serial::Terminal => heard.1 = Instant::now(),
                _ if log.len() != heard.0 => heard = (log.len(), Instant::now()),
                _ => {}
            }
            // What a loader says again and again is no Linux, either.
            let endless = self.serial == Serial::Lines && start.elapsed() >= patience * 3;
            if heard.1.elapsed() >= patience || endless {
                return false;
            }
        }
    }

    /// The machine has answered: what it is emulated for is KVM's fault then.
    fn has_answered(&mut self) {
        if self.emulated == Emulated::Silent {
            self.emulated = Emulated::KvmHangs;
            // Without it the next machine is only slower to start.
            let _ = remember_hang();
        }
    }

    /// The process group, for those who want to look.
    pub fn process_group(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the console that holds `text`.
    pub fn wait_for(&mut self, text: &str, time_out: Duration) -> Result<Line, VmError> {
        self.wait_for_line(
            &format!("`{text}` on the console"),
            0,
            |line| line.contains(text),
            time_out,
        )
    }

    /// Waits for a line of the console that `is_it`, from line `from` on; `what`
    /// is its name in messages.
    pub fn wait_for_line(
        &mut self,
        what: &str,
        from: usize,
        is_it: impl Fn(&str) -> bool,
        time_out: Duration,
    ) -> Result<Line, VmError> {
        self.console
            .wait(from, is_it, time_out)
            .map_err(|error| match error {
                NoLine::TimeOut => self.time_out(what, time_out),
                NoLine::Closed => self.ended(what),
            })
    }

    /// Runs a script as root inside, as soon as the shell there listens, and
    /// waits for its end.
    pub fn run(&mut self, script: &str, time_out: Duration) -> Result<Output, VmError> {
        let result = self.shell.run(script, time_out);
        if result.is_ok() {
            self.has_answered();
        }
        result.map_err(|error| {
            let what = format!("the end of `{}`", first_line(script));
            match error.kind() {
                io::ErrorKind::TimedOut => self.time_out(&what, time_out),
                _ => self.ended(&what),
            }
        })
    }

    /// The same for a script that has to succeed; gives what it printed.
    pub fn expect(&mut self, script: &str, time_out: Duration) -> Result<String, VmError> {
        let Output { status, text } = self.run(script, time_out)?;
        if status == 0 {
            return Ok(text);
        }
        Err(VmError::Script {
            script: first_line(script).to_owned(),
            status,
            text,
        })
    }

    /// Has the machine power itself off, and waits for its end.
    pub fn power_off(&mut self, time_out: Duration) -> Result<(), VmError> {
        // The shell may end before it can say so.
        let _ = self.shell.run("poweroff", Duration::ZERO);
        self.wait_for_end(time_out)
    }

    /// Lets the host's end of a forward reach what listens on the machine's
    /// loopback only. Nobody else can: user networking has the host at this one
    /// address. Needs the box's iptables.
    pub fn open_loopback(&mut self, ports: &[u16], time_out: Duration) -> Result<(), VmError> {
        let rules = ports.iter().map(|port| {
            format!(
                "iptables -t nat -I PREROUTING -s {HOST} -p tcp --dport {port} -j DNAT \
                 --to-destination 127.0.0.1:{port}\n"
            )
        });
        let script = format!(
            "set -e\nsysctl -w net.ipv4.conf.all.route_localnet=1\n{}",
            rules.collect::<String>()
        );
        self.expect(&script, time_out).map(drop)
    }

    /// Waits until the machine has ended, however long it takes.
    pub fn wait(mut self) -> Result<(), VmError> {
        self.status = Some(self.child.wait().map_err(VmError::Run)?);
        Ok(())
    }

    /// Waits until the machine has ended by itself.
    pub fn wait_for_end(&mut self, time_out: Duration) -> Result<(), VmError> {
        let deadline = Instant::now() + time_out;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return Err(self.time_out("the machine's end", time_out));
            }
            thread::sleep(POLL);
        }
        self.kill();
        Ok(())
    }

    /// Ends the machine at once, as when the power fails.
    pub fn cut_power(mut self) {
        self.kill();
    }

    /// Ends it as [`Guest::cut_power`] does, but leaves the terminal as it was.
    fn end(mut self) {
        if self.serial == Serial::Terminal
            && let Some(qemu) = self.pid()
        {
            let _ = kill_process(qemu, Signal::TERM);
            let _ = self.wait_for_end(FAREWELL);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether QEMU has ended.
    fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// Ends the whole process group and what reads from it.
    fn kill(&mut self) {
        if !self.has_ended() {
            // On a terminal it is in that one's group.
            match self.pid().filter(|_| self.serial == Serial::Lines) {
                Some(group) => {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                None => {
                    let _ = self.child.kill();
                }
            }
            self.status = self.child.wait().ok();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn time_out(&self, what: &str, after: Duration) -> VmError {
        VmError::TimeOut {
            what: what.to_owned(),
            after,
            end: self.console.end(),
        }
    }

    /// The error for a machine that ended while `what` was waited for.
    pub(super) fn ended(&mut self, what: &str) -> VmError {
        self.kill();
        let mut said = String::new();
        // A file that cannot be read has nothing to tell.
        let _ = File::open(&self.said).and_then(|file| file.take(4096).read_to_string(&mut said));
        VmError::Ended {
            what: what.to_owned(),
            status: self
                .status
                .map_or("killed".to_owned(), |status| status.to_string()),
            end: format!("{said}{}", self.console.end()),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How far a machine has come, by what its console said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The firmware, or a loader that has chosen what to boot.
    Loader,
    /// GRUB's menu waits for somebody.
    Menu,
    /// The kernel, or what it started.
    Linux,
}

impl Stage {
    fn of(log: &[u8]) -> Self {
        let text = String::from_utf8_lossy(log);
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["Linux version", "] Run /init", "tcforge: ", "login: "]) {
            Self::Linux
        } else if has(&["GNU GRUB"]) && !has(&["Booting "]) {
            Self::Menu
        } else {
            Self::Loader
        }
    }
}

fn tell_of_silence(progress: &dyn Progress) {
    let remembered = hangs_file().map_or_else(String::new, |file| {
        format!(
            "; if it boots now, this is remembered for this host in `{}`",
            file.display()
        )
    });
    progress.note(&format!(
        "with KVM the machine said nothing for {} seconds: it is started again by emulation, ten to twenty times as \
         slow{remembered} (`--accelerator kvm` tries KVM all the same)",
        PATIENCE.as_secs()
    ));
}

fn first_line(script: &str) -> &str {
    script.trim().lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_connect_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("shell")).unwrap();
        for (program, argument, kind) in [
            ("sleep", "1000", io::ErrorKind::TimedOut),
            ("true", "", io::ErrorKind::ConnectionRefused),
        ] {
            let mut child = Command::new(program).arg(argument).spawn().unwrap();
            let patience = match kind {
                io::ErrorKind::TimedOut => Duration::ZERO,
                _ => Duration::from_secs(60),
            };
            let error = accept(&listener, &mut child, patience).unwrap_err();
            assert_eq!(error.kind(), kind, "{program}");
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    #[test]
    fn the_console_tells_how_far_a_machine_has_come() {
        for (log, stage) in [
            ("", Stage::Loader),
            ("SeaBIOS", Stage::Loader),
            ("GNU GRUB  version 2.06\r\n *Demo", Stage::Menu),
            (
                "GNU GRUB  version 2.06\r\n *Demo\r\n  Booting `Demo'",
                Stage::Loader,
            ),
            (
                "GNU GRUB  version 2.06\r\n  Booting a command list",
                Stage::Loader,
            ),
            (
                "GNU GRUB  Booting `x'\r\n[    0.0] Linux version 5.10",
                Stage::Linux,
            ),
            ("GNU GRUB  Booting `x'\r\ntcforge: no data disk", Stage::Linux),
            ("\r\nbox login: ", Stage::Linux),
        ] {
            assert_eq!(Stage::of(log.as_bytes()), stage, "{log}");
        }
    }
}
