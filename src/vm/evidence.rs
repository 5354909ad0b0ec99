//! What is left of a box that was booted: when what came, and its logs.

use std::time::Duration;

use super::Guest;
use super::timeline::Timeline;

/// For a box to hand out its logs.
const TIME_OUT: Duration = Duration::from_secs(120);
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
    /// Whether the box answered: else there is what its console said.
    pub complete: bool,
}

impl Evidence {
    /// Asks a box. One that does not answer is asked once.
    pub fn of_guest(guest: &mut Guest, title: &str) -> Self {
        let timeline = Timeline::of_guest(guest, title);
        let complete = timeline.is_ok();
        Self {
            timeline: timeline.unwrap_or_else(|_| Timeline::of_console(guest, title)),
            logs: if complete { logs(guest) } else { Vec::new() },
            complete,
        }
    }
}

fn logs(guest: &mut Guest) -> Vec<Log> {
    let mut ask = |script: &str| guest.run(script, TIME_OUT).ok().map(|output| output.text);
    let mut logs = Vec::new();
    if let Some(text) = ask("dmesg") {
        logs.push(Log {
            name: "dmesg".to_owned(),
            text,
        });
    }
    let names = ask(LIST).unwrap_or_default();
    for name in names.lines().filter(|name| is_file_name(name)).take(MOST) {
        if let Some(text) = ask(&format!("tail -c {LARGEST} /var/log/{name}")) {
            logs.push(Log {
                name: name.to_owned(),
                text,
            });
        }
    }
    logs
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
