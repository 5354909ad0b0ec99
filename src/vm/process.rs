//! A machine that runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::VmError;
use rustix::process::{Pid, Signal, kill_process_group};

use super::console::{Console, Line, NoLine};
use super::machine::{Arguments, Machine, SHELL_PORT, escaped};
use super::shell::{Output, Shell};
use crate::doctor::find_program;

/// How often the end of the process is looked for.
const POLL: Duration = Duration::from_millis(50);

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
    reader: Option<JoinHandle<()>>,
    /// Whether it has a process group of its own.
    grouped: bool,
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
        self.start_with(folder, Serial::Lines)
    }

    /// Starts it with its serial console on this program's own terminal, QEMU's
    /// keys (Ctrl-A h tells them) included. Nothing of the console can be
    /// waited for.
    pub fn start_on_terminal(&self, folder: &Path) -> Result<Guest, VmError> {
        self.start_with(folder, Serial::Terminal)
    }

    fn start_with(&self, folder: &Path, serial: Serial) -> Result<Guest, VmError> {
        self.check_files()?;
        let (qemu, args) = self.command()?;
        let mut args = Arguments(args);
        let socket = folder.join("shell");
        args.add(match serial {
            Serial::Lines => "-serial stdio",
            Serial::Terminal => "-serial mon:stdio",
        });
        args.add("-device virtio-serial-pci");
        let mut option = OsString::from("socket,id=shell,server=off,path=");
        option.push(escaped(&socket));
        args.pair("-chardev", option);
        args.add(&format!("-device virtserialport,chardev=shell,name={SHELL_PORT}"));

        let write = |path: &Path| {
            File::create(path).map_err(|source| VmError::File {
                action: "write",
                path: path.to_owned(),
                source,
            })
        };
        let (said, log) = (folder.join("qemu.log"), write(&folder.join("console.log"))?);
        let listener = UnixListener::bind(&socket).map_err(|source| VmError::File {
            action: "write",
            path: socket.clone(),
            source,
        })?;
        let console = Console::new(Instant::now());
        let mut command = command(&qemu, args.0);
        if serial == Serial::Lines {
            // A group that is not the terminal's own could not read from it.
            command
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        }
        let mut child = command.stderr(write(&said)?).spawn().map_err(VmError::Run)?;
        let reader = child.stdout.take().map(|stdout| {
            let console = console.clone();
            thread::spawn(move || console.read_all(stdout, log))
        });
        let stream = accept(&listener, &mut child);
        // Nobody else is to connect.
        let _ = std::fs::remove_file(&socket);
        Ok(Guest {
            child,
            status: None,
            console,
            // Without QEMU at its other end a socket reads as closed.
            shell: Shell::new(
                stream
                    .or_else(|_| UnixStream::pair().map(|pair| pair.0))
                    .map_err(VmError::Run)?,
            ),
            said,
            reader,
            grouped: serial == Serial::Lines,
        })
    }
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

/// Waits until QEMU connects, or ends.
fn accept(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
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
        self.shell.run(script, time_out).map_err(|error| {
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
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            match group.filter(|_| self.grouped) {
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

    fn ended(&mut self, what: &str) -> VmError {
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

fn first_line(script: &str) -> &str {
    script.trim().lines().next().unwrap_or_default()
}
