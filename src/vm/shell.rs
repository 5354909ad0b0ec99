//! A root shell inside the machine, on a virtio port: no network, no login.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The end of what a script prints, and its exit status.
const END: &str = "tcforge-end-of-script";

/// What a script inside came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// What it printed, errors among the rest.
    pub text: String,
}

/// A script that was sent: what its output ends with.
#[derive(Debug)]
pub(super) struct Sent(String);

/// The near end of the shell.
#[derive(Debug)]
pub struct Shell {
    stream: UnixStream,
    /// Read and not yet used.
    rest: Vec<u8>,
    scripts: u32,
}

impl Shell {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            scripts: 0,
        }
    }

    /// Runs a script (POSIX sh) and waits for its end. What it left behind in
    /// the background does not delay it. After an error (a time-out among them)
    /// the script may still run, and its end is passed over later.
    pub(super) fn run(&mut self, script: &str, time_out: Duration) -> io::Result<Output> {
        let sent = self.send(script)?;
        self.wait(&sent, time_out)
    }

    /// Sends a script, which runs as soon as the shell is there.
    pub(super) fn send(&mut self, script: &str) -> io::Result<Sent> {
        self.scripts += 1;
        let end = format!("{END}-{}", self.scripts);
        self.stream.write_all(framed(script, &end).as_bytes())?;
        Ok(Sent(end))
    }

    /// Waits for the end of a script.
    pub(super) fn wait(&mut self, sent: &Sent, time_out: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + time_out;
        let mut buffer = [0; 4096];
        loop {
            if let Some(output) = self.take_output(&sent.0) {
                return Ok(output);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.rest.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The text up to a line `END STATUS`, if it is there.
    fn take_output(&mut self, end: &str) -> Option<Output> {
        let mark = format!("\n{end} ");
        let text = String::from_utf8_lossy(&self.rest);
        let at = text.find(&mark)?;
        let (status, later) = text[at + mark.len()..].split_once('\n')?;
        let printed = &text[..at];
        // What an earlier script said late.
        let printed = match printed.rfind(&format!("\n{END}-")) {
            Some(earlier) => printed[earlier + 1..]
                .split_once('\n')
                .map_or("", |(_, rest)| rest),
            None => printed,
        };
        let output = Output {
            status: status.trim().parse().unwrap_or(-1),
            text: printed.to_owned(),
        };
        self.rest = later.as_bytes().to_vec();
        Some(output)
    }
}

/// The script as the shell inside is given it: as one word, so that an error
/// of its syntax ends it and not the shell.
fn framed(script: &str, end: &str) -> String {
    let word = script.replace('\'', r"'\''");
    format!("sh -c '{word}' </dev/null 2>&1; printf '\\n%s %s\\n' {end} $?\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const LONG: Duration = Duration::from_secs(60);

    /// A shell on this machine, on the other end of a socket.
    fn shell() -> (Shell, std::process::Child) {
        let (near, far) = UnixStream::pair().unwrap();
        let far: std::os::fd::OwnedFd = far.into();
        let child = Command::new("sh")
            .stdin(Stdio::from(far.try_clone().unwrap()))
            .stdout(Stdio::from(far))
            .spawn()
            .unwrap();
        (Shell::new(near), child)
    }

    #[test]
    fn scripts_run_one_after_the_other() {
        let (mut shell, mut child) = shell();
        for (script, status, text) in [
            ("echo one; echo two >&2", 0, "one\ntwo\n"),
            ("exit 3", 3, ""),
            ("echo \"it's\"; printf 'no newline'", 0, "it's\nno newline"),
            ("cat; if", 2, "sh: "),
            ("echo ü\nfalse", 1, "ü\n"),
            ("sleep 100 & echo started", 0, "started\n"),
            ("head -c 100000 /dev/zero | tr '\\0' x | wc -c", 0, "100000\n"),
        ] {
            let output = shell.run(script, LONG).unwrap();
            assert_eq!(output.status, status, "{script}: {output:?}");
            assert!(output.text.starts_with(text), "{script}: {output:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_script_that_takes_too_long_does_not_confuse_the_next() {
        let (mut shell, mut child) = shell();
        let error = shell
            .run("read x </dev/null; sleep 0.2; echo late", Duration::ZERO)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let output = shell.run("echo next", LONG).unwrap();
        assert_eq!(output.text, "next\n");
        child.kill().unwrap();
        child.wait().unwrap();
        let error = shell.run("echo", LONG).unwrap_err();
        assert!(matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe
        ));
    }
}
