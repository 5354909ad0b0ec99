//! What a machine prints on its serial console, as lines with times.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Between parts of a screen: more blanks than a line of text has.
const GAP: &str = "        ";
/// Characters of a line that are shown where one line is all the room.
const LONGEST: usize = 120;
/// Lines that a message shows of a console's end.
const END: usize = 30;

/// A line of the console.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Seconds since the machine was started, when the line ended: it may have
    /// begun long before, with a prompt.
    pub at: f64,
    /// The text, without colours and other control characters.
    pub text: String,
}

/// A console, read as long as the machine lives.
#[derive(Debug, Clone)]
pub struct Console(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// The last line, as far as it is there.
    partial: Vec<u8>,
    closed: bool,
}

/// Why a line was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLine {
    /// The console was closed before.
    Closed,
    /// It took too long.
    TimeOut,
}

impl Console {
    pub(super) fn new(start: Instant) -> Self {
        Self(Arc::new(Shared {
            start,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the end.
    pub(super) fn read_all(&self, mut from: impl Read) {
        let mut buffer = [0; 4096];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.take(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let mut state = self.state();
        state.end_line(self.now());
        state.closed = true;
        self.0.changed.notify_all();
    }

    fn take(&self, bytes: &[u8]) {
        let now = self.0.start.elapsed().as_secs_f64();
        let mut state = self.state();
        for byte in bytes {
            match byte {
                b'\n' => state.end_line(now),
                byte => state.partial.push(*byte),
            }
        }
        self.0.changed.notify_all();
    }

    /// Seconds since the machine was started.
    pub fn now(&self) -> f64 {
        self.0.start.elapsed().as_secs_f64()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.state().lines.clone()
    }

    /// What was said last: the last line that is not empty, whole or not. Of a screen
    /// that was drawn, which is one long line here, it is what stands behind the last gap.
    pub fn last_line(&self) -> String {
        let state = self.state();
        let partial = clean(&state.partial);
        let lines = state.lines.iter().map(|line| line.text.as_str());
        let mut said = lines.chain([partial.as_str()]).rev();
        let said = said.find(|text| !text.trim().is_empty()).unwrap_or_default();
        let piece = said.trim().rsplit(GAP).next().unwrap_or_default();
        piece.trim().chars().take(LONGEST).collect()
    }

    /// The last lines, as a message shows them.
    pub fn end(&self) -> String {
        let state = self.state();
        let from = state.lines.len().saturating_sub(END);
        let mut text = String::from("--- the end of the console:\n");
        for line in &state.lines[from..] {
            text.push_str(&format!("[{:7.2}] {}\n", line.at, line.text));
        }
        text.push_str(&clean(&state.partial));
        text
    }

    /// Waits for the first whole line that `is_it`, from line number `from` on.
    pub(super) fn wait(
        &self,
        from: usize,
        is_it: impl Fn(&str) -> bool,
        time_out: Duration,
    ) -> Result<Line, NoLine> {
        let deadline = Instant::now() + time_out;
        let mut state = self.state();
        let mut next = from;
        loop {
            while let Some(line) = state.lines.get(next) {
                if is_it(&line.text) {
                    return Ok(line.clone());
                }
                next += 1;
            }
            if state.closed {
                return Err(NoLine::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoLine::TimeOut);
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn end_line(&mut self, at: f64) {
        let text = clean(&std::mem::take(&mut self.partial));
        self.lines.push(Line { at, text });
    }
}

/// The text without control characters and escape sequences (colours, cursor).
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars();
    let mut clean = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            c if c.is_control() && c != '\t' => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Behind an escape: `[`, parameters, and a letter that ends it; or one letter.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    if chars.next() == Some('[') {
        chars.find(|c| c.is_ascii_alphabetic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Console {
        let console = Console::new(Instant::now());
        console.read_all(text.as_bytes());
        console
    }

    #[test]
    fn lines_are_clean() {
        let console = read("one\r\n\x1b[1;31mtwo\x1b[0m\x07\n\x1bcthree\tx");
        let texts: Vec<_> = console.lines().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["one", "two", "three\tx"]);
        assert!(console.end().contains("] two\n"), "{}", console.end());
    }

    #[test]
    fn waits_end() {
        let console = read("one\ntwo\none");
        let wait =
            |from, text: &'static str| console.wait(from, move |line| line == text, Duration::from_secs(60));
        assert_eq!(wait(0, "two").unwrap().text, "two");
        assert_eq!(wait(1, "one").unwrap().text, "one");
        assert_eq!(wait(2, "two"), Err(NoLine::Closed));
        let open = Console::new(Instant::now());
        assert_eq!(open.wait(0, |_| false, Duration::ZERO), Err(NoLine::TimeOut));
        open.take(b"half a li");
        assert_eq!(
            open.wait(0, |line| line.contains("half"), Duration::ZERO),
            Err(NoLine::TimeOut)
        );
        assert!(open.end().ends_with("half a li"));
        assert_eq!(open.last_line(), "half a li");
        open.take(b"ne\n");
        assert_eq!(open.last_line(), "half a line");
        open.take(b"\x1b[5;1H *Demo          \x1b[9;1H   in 0s.          \x1b[H  Booting `Demo'\r\n\r\n");
        assert_eq!(open.last_line(), "Booting `Demo'");
        open.take(b"[    0.000000] Linux version\n");
        assert_eq!(open.last_line(), "[    0.000000] Linux version");
        let line = open.wait(0, |line| line.contains("half"), Duration::ZERO);
        assert_eq!(line.unwrap().text, "half a line");
    }

    #[test]
    fn a_line_has_the_time_of_its_end() {
        let start = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let console = Console::new(start);
        console.take(b"box:~$ ");
        let prompt = console.now();
        console.take(b"ready\n");
        assert!(console.lines()[0].at >= prompt, "{:?}", console.lines());
    }

    #[test]
    fn a_line_that_comes_later_is_found() {
        let console = Console::new(Instant::now());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| console.wait(0, |line| line == "x", Duration::from_secs(60)));
            console.take(b"x\n");
            assert_eq!(waiting.join().unwrap().unwrap().text, "x");
        });
    }
}
