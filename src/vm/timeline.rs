//! When a boot came how far, as data and as a picture.

use std::fmt::Write as _;

use serde::Serialize;

use super::console::Line;

/// What marks an event on the console: a beginning of a line, and what kind of
/// event it tells of. Source: the kernel's own messages, and the lines that an
/// appliance's scripts print (iso/overlay).
const MARKS: &[(&str, Kind)] = &[
    ("Linux version ", Kind::Kernel),
    ("Run /init as init process", Kind::Init),
    ("tcforge: loaded ", Kind::Extension),
    ("tcforge: answers ", Kind::Service),
    ("tcforge: failed ", Kind::Failure),
    ("tcforge: ready", Kind::Ready),
];

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
    /// A service answered.
    Service,
    /// A service did not.
    Failure,
    /// Everything that was to start has.
    Ready,
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
    /// Finds the events among a console's lines.
    pub fn of_console(title: &str, accelerator: &str, lines: &[Line]) -> Self {
        Self {
            title: title.to_owned(),
            accelerator: accelerator.to_owned(),
            events: lines.iter().filter_map(event).collect(),
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
            Self::Kernel | Self::Init => "#7a7f87",
            Self::Extension => "#4c8bc4",
            Self::Service => "#4fa36b",
            Self::Failure => "#c8524a",
            Self::Ready => "#8a63b5",
        }
    }
}

fn event(line: &Line) -> Option<Event> {
    // The kernel puts its own clock in front: `[    0.000000] Linux version`.
    let text = match line.text.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").map_or(line.text.as_str(), |(_, text)| text),
        None => &line.text,
    };
    MARKS.iter().find_map(|(mark, kind)| {
        let rest = text.strip_prefix(mark)?;
        let name = match kind {
            Kind::Kernel => "kernel",
            Kind::Init => "init",
            Kind::Ready => "ready",
            _ => rest.split([' ', ':']).next().unwrap_or_default(),
        };
        Some(Event {
            at: line.at,
            kind: *kind,
            name: name.to_owned(),
        })
    })
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
            line(0.5, "[    0.000000] Linux version 5.10.0 (x@y)"),
            line(0.6, "[    0.1] Command line: tcforge: ready"),
            line(2.0, "[    1.5] Run /init as init process"),
            line(3.0, "tcforge: loaded runc.tcz"),
            line(4.0, "tcforge: answers containerd"),
            line(5.0, "tcforge: failed buildkit: no such luck"),
            line(6.0, "tcforge: ready"),
        ];
        let timeline = Timeline::of_console("a <box>", "TCG", &lines);
        let found: Vec<_> = timeline
            .events
            .iter()
            .map(|event| (event.at, event.kind, event.name.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (0.5, Kind::Kernel, "kernel"),
                (2.0, Kind::Init, "init"),
                (3.0, Kind::Extension, "runc.tcz"),
                (4.0, Kind::Service, "containerd"),
                (5.0, Kind::Failure, "buildkit"),
                (6.0, Kind::Ready, "ready"),
            ]
        );
        let svg = timeline.to_svg();
        assert_eq!(svg.matches("<rect").count(), 1 + 6);
        assert!(svg.contains("a &lt;box&gt;: 6.0 s, TCG"));
        let json = serde_json::to_value(&timeline).unwrap();
        assert_eq!(json["events"][2]["kind"], "extension");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (end, last, count) in [(1.0, 1.0, 3), (9.3, 9.0, 10), (61.0, 60.0, 7), (400.0, 360.0, 7)] {
            let ticks: Vec<_> = ticks(end).collect();
            assert_eq!((ticks.last().copied(), ticks.len()), (Some(last), count), "{end}");
        }
    }
}
