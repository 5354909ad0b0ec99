//! What people see: status lines and errors on the standard error, data on the
//! standard output. Readable without colour; bars only on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tcforge::audit::Level;
use tcforge::progress::{Progress, Task};

use super::args::{ColorChoice, Global};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Volume {
    Quiet,
    Normal,
    Verbose,
}

/// The person's end of the program.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    volume: Volume,
    color: bool,
    color_tables: bool,
    pub(crate) json: bool,
    bars: MultiProgress,
    total: Option<ProgressBar>,
}

/// The system's error stays in the chain of causes: who asks whether a reader went
/// away looks for it there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the standard output: {source}")]
struct OutputError {
    source: io::Error,
}

pub(crate) fn output_error(source: io::Error) -> io::Error {
    io::Error::new(source.kind(), OutputError { source })
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let volume = match (global.quiet, global.verbose) {
            (true, _) => Volume::Quiet,
            (_, true) => Volume::Verbose,
            _ => Volume::Normal,
        };
        // With -v every step has its line, which bars would only blur.
        let target = if is_terminal && volume == Volume::Normal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            volume,
            color: wants_color(global.color, is_terminal),
            color_tables: wants_color(global.color, io::stdout().is_terminal()),
            json: global.json,
            bars: MultiProgress::with_draw_target(target),
            total: None,
        }
    }

    /// One step done, as cargo says it: a verb to the right, then what.
    pub(crate) fn status(&self, verb: &str, what: impl Display) {
        if self.volume >= Volume::Normal {
            self.line(&self.paint(&format!("{verb:>10}"), "1;32"), what);
        }
    }

    /// A detail for those who asked for more.
    pub(crate) fn detail(&self, text: impl Display) {
        if self.volume >= Volume::Verbose {
            self.line(&" ".repeat(10), text);
        }
    }

    /// Something to look at that is not an error.
    pub(crate) fn warning(&self, text: impl Display) {
        self.line(&self.paint("warning:", "1;33"), text);
    }

    /// An error that an audit found.
    pub(crate) fn audit_error(&self, text: impl Display) {
        self.line(&self.paint("error:", "1;31"), text);
    }

    /// Whether findings of a level are worth a line in a table.
    pub(crate) fn shows(&self, level: Level) -> bool {
        level > Level::Pass || self.volume >= Volume::Verbose
    }

    /// A failure: what, why, and what to do.
    pub(crate) fn error(&self, report: &miette::Report) {
        self.write(render_error(report, self.color).trim_end());
    }

    /// A line of our own, `head`, and what may come from anywhere.
    fn line(&self, head: &str, text: impl Display) {
        self.write(&format!("{head} {}", harmless(text)));
    }

    fn write(&self, text: &str) {
        // A closed standard error is no reason to stop.
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Data on the standard output.
    pub(crate) fn print(&self, text: impl Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}").map_err(output_error)
    }

    /// A table of what went wrong, on the standard error.
    pub(crate) fn say_table(&self, table: &Table) {
        self.write(&table.trim_fmt());
    }

    /// A value as JSON on the standard output.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.print(text)
    }

    /// An empty table for the standard output.
    pub(crate) fn table<const N: usize>(&self, head: [&str; N]) -> Table {
        styled(Table::new(), head, self.color_tables)
    }

    /// An empty table for [`Terminal::say_table`].
    pub(crate) fn stderr_table<const N: usize>(&self, head: [&str; N]) -> Table {
        let mut table = Table::new();
        table.use_stderr();
        styled(table, head, self.color)
    }

    /// A cell, coloured where colours are wanted.
    pub(crate) fn cell(&self, text: impl Display, color: Option<Color>) -> Cell {
        painted(text, color.filter(|_| self.color_tables))
    }

    /// The same of a table for [`Terminal::say_table`].
    pub(crate) fn stderr_cell(&self, text: impl Display, color: Option<Color>) -> Cell {
        painted(text, color.filter(|_| self.color))
    }
}

/// A table in the program's style.
fn styled<const N: usize>(mut table: Table, head: [&str; N], color: bool) -> Table {
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if color {
        table.enforce_styling();
    }
    table.set_header(head.map(|name| match color {
        true => Cell::new(name).add_attribute(Attribute::Bold),
        false => Cell::new(name),
    }));
    table
}

fn painted(text: impl Display, color: Option<Color>) -> Cell {
    let cell = Cell::new(harmless(text));
    match color {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// One line that says what is waited for, and changes in its place.
pub(crate) struct Waiting(ProgressBar);

impl Terminal {
    /// A line at the end of what is said, for as long as it lives.
    pub(crate) fn waiting(&self) -> Waiting {
        let style = ProgressStyle::with_template("{prefix:>10} {spinner} {wide_msg}");
        let bar = ProgressBar::new_spinner().with_prefix("Waiting");
        Waiting(
            self.bars
                .add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))),
        )
    }
}

impl Waiting {
    /// Whether anybody sees it.
    pub(crate) fn shows(&self) -> bool {
        !self.0.is_hidden()
    }

    pub(crate) fn set(&self, text: impl Display) {
        self.0.set_message(harmless(text));
        self.0.tick();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn wants_color(choice: ColorChoice, is_terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        // https://no-color.org: any text that is not empty.
        ColorChoice::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty()),
    }
}

/// A text with what a terminal would act on escaped: names come from archives,
/// versions from servers.
fn harmless(text: impl Display) -> String {
    let mut out = String::new();
    for c in text.to_string().chars() {
        let direction = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '\n' | '\t' => out.push(c),
            _ if c.is_control() || direction => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// Some of a kind: `1 file`, `2 files`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes for people: `17 B`, `3.4 MiB`.
pub(crate) fn human_size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// An error for a person. One that points at a place in a file is drawn with
/// that place; the others are lines: what, the causes, the hint.
fn render_error(report: &miette::Report, color: bool) -> String {
    if report.labels().is_some_and(|mut labels| labels.next().is_some()) || report.related().is_some() {
        let theme = if color {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let mut text = String::new();
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_links(false);
        if handler.render_report(&mut text, report.as_ref()).is_ok() {
            return text;
        }
    }
    let red = |text: &str| {
        if color {
            format!("\x1b[1;31m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let mut text = format!("{} {}", red("error:"), harmless(report));
    for cause in report.chain().skip(1).map(harmless) {
        // Some errors end with their cause, for notes of one line.
        if !text.ends_with(&cause) {
            text.push_str(&format!("\n  because: {cause}"));
        }
    }
    if let Some(help) = report.help() {
        text.push_str(&format!("\nhint: {}", harmless(help)));
    }
    text
}

/// A bar in one of two styles: with a known total, and without.
fn bar(name: &str, total: Option<u64>, [known, unknown]: [&str; 2]) -> ProgressBar {
    let style = |template: &str| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    };
    let bar = match total {
        Some(total) => ProgressBar::new(total).with_style(style(known)),
        None => ProgressBar::no_length().with_style(style(unknown)),
    };
    bar.with_prefix(name.to_owned())
}

const BAR: &str = "{prefix:>42!} [{bar:24}] {binary_bytes:>10}/{binary_total_bytes:<10} {eta:>4}";
const SPINNER: &str = "{prefix:>42!} {spinner} {binary_bytes:>10} {elapsed:>4}";

const COUNT_BAR: &str = "{prefix:>42!} [{bar:24}] {pos:>10}/{len:<10} {eta:>4}";
const COUNT_SPINNER: &str = "{prefix:>42!} {spinner} {pos:>10} {elapsed:>4}";

impl Progress for Terminal {
    fn start(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        self.task(name, bar(name, total, [BAR, SPINNER]))
    }

    fn start_count(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        self.task(name, bar(name, total, [COUNT_BAR, COUNT_SPINNER]))
    }

    fn group(&self, name: &str, total: Option<u64>) -> Option<Box<dyn Progress>> {
        let bar = self.bars.add(bar(name, total, [BAR, SPINNER]));
        Some(Box::new(Group(Self {
            total: Some(bar),
            ..self.clone()
        })))
    }

    fn note(&self, text: &str) {
        if self.volume >= Volume::Normal {
            self.line(&self.paint("      note", "1;36"), text);
        }
    }
}

impl Terminal {
    fn task(&self, name: &str, bar: ProgressBar) -> Box<dyn Task> {
        self.detail(name);
        let bar = match &self.total {
            Some(last) => self.bars.insert_before(last, bar),
            None => self.bars.add(bar),
        };
        Box::new(BarTask {
            bar,
            bars: self.bars.clone(),
            total: self.total.clone(),
            position: Arc::default(),
        })
    }
}

/// A terminal with a bar over all tasks, which goes when they are done.
struct Group(Terminal);

impl Progress for Group {
    fn start(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        self.0.start(name, total)
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(bar) = &self.0.total {
            bar.finish_and_clear();
            self.0.bars.remove(bar);
        }
    }
}

struct BarTask {
    bar: ProgressBar,
    bars: MultiProgress,
    total: Option<ProgressBar>,
    position: Arc<std::sync::atomic::AtomicU64>,
}

impl Task for BarTask {
    fn set_position(&self, bytes: u64) {
        let before = self.position.swap(bytes, std::sync::atomic::Ordering::Relaxed);
        self.bar.set_position(bytes);
        if let Some(total) = &self.total {
            // A restarted task takes back what it had added.
            total.set_position((total.position() + bytes).saturating_sub(before));
        }
    }

    fn set_total(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }
}

impl Drop for BarTask {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_colours_of_the_stream_that_it_goes_to() {
        for (stderr, stdout) in [(true, false), (false, true)] {
            let terminal = Terminal {
                volume: Volume::Normal,
                color: stderr,
                color_tables: stdout,
                json: false,
                bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
                total: None,
            };
            let red = Some(Color::Red);
            for (mut table, cell, colored) in [
                (terminal.table(["X"]), terminal.cell("x", red), stdout),
                (
                    terminal.stderr_table(["X"]),
                    terminal.stderr_cell("x", red),
                    stderr,
                ),
            ] {
                let text = table.add_row([cell]).to_string();
                assert_eq!(text.contains("\u{1b}["), colored, "{text:?}");
            }
        }
    }

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        for (text, wanted) in [
            ("café ✓\n\t\\", "café ✓\n\t\\"),
            ("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("\r\u{9b}31m\u{7f}", "\\u{d}\\u{9b}31m\\u{7f}"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(harmless(text), wanted);
        }
    }
}
