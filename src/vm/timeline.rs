//! When a boot came how far, as data and as a picture.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::console::Line;
use super::{Guest, VmError};

/// For asking a machine that is up.
const TIME_OUT: Duration = Duration::from_secs(300);

/// Tells what the console does not: when the kernel, init, each extension and the
/// first login shell (`-sh`; field 22 of its stat, behind the name) came. Every loaded extension has its mark in tce.installed, made when it was
/// loaded; the marks' times have whole seconds.
const ASK: &str = r#"
read -r up _ </proc/uptime && echo "uptime $up"
echo "now $(date +%s)"
dmesg | sed -n 's/^\[ *\([0-9.]*\)\] Run \/init as init process.*/init \1/p' | head -n 1
while read -r name; do
    ls -ld --full-time "/usr/local/tce.installed/${name%.tcz}" |
        sed -n 's/.* \([0-9]*-[0-9]*-[0-9]* [0-9:.]* [+-][0-9]*\) .*/loaded '"$name"' \1/p'
done </etc/tcforge/extensions
for process in $(grep -l '^-sh' /proc/[0-9]*/cmdline 2>/dev/null); do
    sed 's/.*) //' "${process%/cmdline}/stat" | cut -d ' ' -f 20
done | sort -n | sed -n '1s/\(..\)$/.\1/; 1s/^/prompt /p'
"#;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel said its first line.
    Kernel,
    /// The first program started.
    Init,
    /// An extension was loaded.
    Extension,
    /// Somebody at the console can type.
    Prompt,
    /// A service answered, or failed.
    Service,
    /// Everything that was to start has.
    Ready,
    /// Something has not.
    Failure,
}

/// Something that happened during a boot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the machine was started.
    pub at: f64,
    /// What it is.
    pub kind: Kind,
    /// Of what: the extension's or the service's name.
    pub name: String,
}

impl Event {
    fn new(at: f64, kind: Kind, name: &str) -> Self {
        Self {
            at,
            kind,
            name: name.to_owned(),
        }
    }
}

/// The events of one boot, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// What was booted.
    pub title: String,
    /// Who ran the instructions.
    pub accelerator: String,
    /// What happened.
    pub events: Vec<Event>,
}

impl Timeline {
    /// The events of a machine: those on its console, and those that it tells of
    /// when asked.
    pub fn of_guest(guest: &mut Guest, title: &str) -> Result<Self, VmError> {
        let told = guest.expect(ASK, TIME_OUT)?;
        let mut timeline = Self::of_console(guest, title);
        let told = told_events(&told, guest.console().now());
        timeline.events.splice(0..0, told);
        timeline.events.sort_by(|one, other| one.at.total_cmp(&other.at));
        Ok(timeline)
    }

    /// Those on its console alone, for a machine that cannot be asked.
    pub fn of_console(guest: &Guest, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            accelerator: guest.accelerator().title().to_owned(),
            events: guest.console().lines().iter().filter_map(event).collect(),
        }
    }

    /// The events of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// A drawing: a row an event, from the top down, as far to the right as it
    /// was late. It needs no program but a browser.
    pub fn to_svg(&self) -> String {
        let end = self.events.iter().map(|event| event.at).fold(1.0, f64::max);
        let x = |at: f64| LEFT + at / end * SCALE;
        let height = TOP + ROW * self.events.len() as f64 + ROW;
        let width = LEFT + SCALE + RIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"20\" font-size=\"15\">{}</text>\n",
            escaped(&format!("{}: {end:.1} s, {}", self.title, self.accelerator)),
        );
        for tick in ticks(end) {
            let at = x(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {TOP}V{height}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" \
                 text-anchor=\"middle\" fill=\"#666\">{tick} s</text>",
                TOP - 4.0
            );
        }
        let mut before = 0.0;
        for (row, event) in self.events.iter().enumerate() {
            let y = TOP + ROW * row as f64;
            let (from, to) = (x(before), x(event.at));
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{from:.1}\" y=\"{}\" \
                 width=\"{:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{:.1} s</text>",
                LEFT - 8.0,
                y + ROW - 4.0,
                escaped(&event.name),
                y + 3.0,
                (to - from).max(2.0),
                ROW - 4.0,
                event.kind.color(),
                to + 6.0,
                y + ROW - 4.0,
                event.at,
            );
            before = event.at;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Where the drawing's bars begin, how long the longest is, and room for its
/// label; then where the first row begins and how high one is. In pixels.
const LEFT: f64 = 260.0;
const SCALE: f64 = 600.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 52.0;
const ROW: f64 = 18.0;

impl Kind {
    fn color(self) -> &'static str {
        match self {
            Self::Kernel | Self::Init | Self::Prompt => "#7a7f87",
            Self::Extension => "#4c8bc4",
            Self::Service => "#4fa36b",
            Self::Failure => "#c8524a",
            Self::Ready => "#8a63b5",
        }
    }
}

fn event(line: &Line) -> Option<Event> {
    let (_, said) = line.text.split_once("tcforge: ")?;
    let (kind, name) = match said.split_once("service ") {
        Some(("" | "the ", rest)) => service_event(rest)?,
        _ if said.starts_with("ready") => (Kind::Ready, "ready"),
        _ if said.starts_with("not ready") => (Kind::Failure, "not ready"),
        _ => return None,
    };
    Some(Event::new(line.at, kind, name))
}

/// Of `NAME answers: URL`, `NAME failed: …`, `NAME did not start …` or `NAME could not be set up …`.
fn service_event(said: &str) -> Option<(Kind, &str)> {
    let (name, said) = said.split_once(' ')?;
    let kind = match said.split([' ', ':']).next()? {
        "answers" => Kind::Service,
        "failed" | "did" | "could" => Kind::Failure,
        _ => return None,
    };
    Some((kind, name))
}

/// The events in the answer to [`ASK`], which came at `now`.
fn told_events(told: &str, now: f64) -> Vec<Event> {
    let words = |line: &str| {
        line.split_once(' ')
            .map(|(key, rest)| (key.to_owned(), rest.to_owned()))
    };
    let lines: Vec<(String, String)> = told.lines().filter_map(words).collect();
    let number = |wanted: &str| {
        let line = lines.iter().find(|(key, _)| key == wanted)?;
        line.1.parse::<f64>().ok()
    };
    let (Some(uptime), Some(clock)) = (number("uptime"), number("now")) else {
        return Vec::new();
    };
    // When the kernel's own clock, and the system's, stood at nothing.
    let (kernel, epoch) = (now - uptime, now - clock);
    let mut events = vec![Event::new(kernel.max(0.0), Kind::Kernel, "kernel")];
    events.extend(number("init").map(|at| Event::new(kernel + at, Kind::Init, "init")));
    events.extend(number("prompt").map(|at| Event::new(kernel + at, Kind::Prompt, "prompt")));
    let loaded = lines.iter().filter(|(key, _)| key == "loaded");
    events.extend(loaded.filter_map(|(_, rest)| {
        let (name, time) = rest.split_once(' ')?;
        let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", time).ok()?;
        let at = epoch + time.to_timestamp().ok()?.as_second() as f64;
        Some(Event::new(at.clamp(kernel, now), Kind::Extension, name))
    }));
    events
}

/// Round numbers of seconds from 0 on, at most ten of them.
fn ticks(end: f64) -> impl Iterator<Item = f64> {
    let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
    let step = steps.into_iter().find(|step| end / step <= 10.0).unwrap_or(end);
    (0..=(end / step) as u32).map(move |number| f64::from(number) * step)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: f64, text: &str) -> Line {
        Line {
            at,
            text: text.to_owned(),
        }
    }

    #[test]
    fn events_are_found_among_other_lines() {
        let lines = [
            line(0.1, "SeaBIOS"),
            line(0.6, "tcforge: already"),
            line(4.0, "tc@box:~$ tcforge: service containerd answers"),
            line(
                4.5,
                "tcforge: service vscodeonline answers: http://127.0.0.1:5000",
            ),
            line(4.6, "tcforge: service buildkit failed: see /var/log/tcforge.log"),
            line(
                4.7,
                "tcforge: service faasd did not start within 900 seconds: see x",
            ),
            line(4.8, "tcforge: the service gateway could not be set up: see x"),
            line(4.9, "tcforge: service manual: read it"),
            line(5.0, "tcforge: not ready: buildkit"),
            line(6.0, "tcforge: ready"),
        ];
        let found: Vec<_> = lines.iter().filter_map(event).collect();
        assert_eq!(
            found,
            [
                Event::new(4.0, Kind::Service, "containerd"),
                Event::new(4.5, Kind::Service, "vscodeonline"),
                Event::new(4.6, Kind::Failure, "buildkit"),
                Event::new(4.7, Kind::Failure, "faasd"),
                Event::new(4.8, Kind::Failure, "gateway"),
                Event::new(5.0, Kind::Failure, "not ready"),
                Event::new(6.0, Kind::Ready, "ready"),
            ]
        );
    }

    #[test]
    fn what_a_machine_tells_has_the_hosts_times() {
        let told = "uptime 8.5\nnow 1000\ninit 1.5\nprompt 7.25\nloaded runc.tcz 1970-01-01 00:16:36 +0000\n\
                    loaded cni-plugins.tcz 1970-01-01 01:16:38.250000000 +0100\nnonsense\nloaded x.tcz today\n";
        assert_eq!(
            told_events(told, 10.0),
            [
                Event::new(1.5, Kind::Kernel, "kernel"),
                Event::new(3.0, Kind::Init, "init"),
                Event::new(8.75, Kind::Prompt, "prompt"),
                Event::new(6.0, Kind::Extension, "runc.tcz"),
                Event::new(8.0, Kind::Extension, "cni-plugins.tcz"),
            ]
        );
        assert_eq!(told_events("uptime x\n", 10.0), []);
    }

    #[test]
    fn a_timeline_is_drawn() {
        let timeline = Timeline {
            title: "a <box>".to_owned(),
            accelerator: "TCG".to_owned(),
            events: vec![
                Event::new(0.5, Kind::Kernel, "kernel"),
                Event::new(3.0, Kind::Extension, "runc.tcz"),
                Event::new(6.0, Kind::Ready, "ready"),
            ],
        };
        let svg = timeline.to_svg();
        assert_eq!(svg.matches("<rect").count(), 1 + 3);
        assert!(svg.contains("a &lt;box&gt;: 6.0 s, TCG"));
        let json = serde_json::to_value(&timeline).unwrap();
        assert_eq!(json["events"][1]["kind"], "extension");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (end, last, count) in [(1.0, 1.0, 3), (9.3, 9.0, 10), (61.0, 60.0, 7), (400.0, 360.0, 7)] {
            let ticks: Vec<_> = ticks(end).collect();
            assert_eq!((ticks.last().copied(), ticks.len()), (Some(last), count), "{end}");
        }
    }
}
