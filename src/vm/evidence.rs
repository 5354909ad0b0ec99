//! What is left of a box that was booted: when what came, and its logs.

use std::time::Duration;

use super::timeline::Timeline;
use super::{Guest, VmError};

/// For a box that lives to answer a small question, or to hand out a log.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// The most that is kept of each log (its end), and how many of them.
const LARGEST: u32 = 256 << 10;
const MOST: usize = 100;

/// The names of the logs, a line each. Binary ones (wtmp) are for programs.
const LIST: &str =
    "cd /var/log && for log in *.log *.log.old *.start messages; do [ ! -f \"$log\" ] || echo \"$log\"; done";

/// A log of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its name, without a folder: ASCII letters, digits, and `-_.` within it.
    pub name: String,
    /// Its end, if it is long.
    pub text: String,
}

/// What a box tells of its boot, whether that went well or not.
#[derive(Debug)]
pub struct Evidence {
    /// When what came, as far as it did.
    pub timeline: Timeline,
    /// The kernel's log (`dmesg`), and those of /var/log.
    pub logs: Vec<Log>,
    /// Whether the box answered to the end: else some are missing.
    pub complete: bool,
}

impl Evidence {
    /// Asks a box, until it does not answer; for its timeline only if that is not
    /// known yet, because a later answer has other times.
    pub fn of_guest(guest: &mut Guest, title: &str, known: Option<&Timeline>) -> Self {
        let answers = guest.run(":", ANSWER).is_ok();
        let timeline = match known {
            Some(timeline) => Some(timeline.clone()),
            None if answers => Timeline::of_guest(guest, title).ok(),
            None => None,
        };
        let mut evidence = Self {
            complete: answers && timeline.is_some(),
            timeline: timeline.unwrap_or_else(|| Timeline::of_console(guest, title)),
            logs: Vec::new(),
        };
        if evidence.complete {
            evidence.complete = evidence.take_logs(guest).is_ok();
        }
        evidence
    }

    fn take_logs(&mut self, guest: &mut Guest) -> Result<(), VmError> {
        self.take(guest, "dmesg", "dmesg")?;
        let names = guest.run(LIST, ANSWER)?.text;
        for name in names.lines().filter(|name| is_file_name(name)).take(MOST) {
            self.take(guest, name, &format!("tail -c {LARGEST} /var/log/{name}"))?;
        }
        Ok(())
    }

    fn take(&mut self, guest: &mut Guest, name: &str, script: &str) -> Result<(), VmError> {
        let text = guest.run(script, ANSWER)?.text;
        self.logs.push(Log {
            name: name.to_owned(),
            text,
        });
        Ok(())
    }
}

/// Whether a name that the box gave may be one of a file here.
pub(super) fn is_file_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_names_no_other_place() {
        for (name, is) in [
            ("faasd.log.old", true),
            ("code-server_2.start", true),
            ("", false),
            (".bashrc", false),
            ("-rf", false),
            ("../x", false),
            ("a/b", false),
            ("a';x", false),
            ("ä", false),
        ] {
            assert_eq!(is_file_name(name), is, "{name}");
        }
    }
}
