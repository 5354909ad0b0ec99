//! Findings of the audit, for people.

use std::fmt::Display;
use std::io;
use std::path::Path;

use comfy_table::Color;
use tcforge::audit::{Finding, Level, Report};

use super::terminal::{Terminal, count};

/// What the audit says of an extension, in a word or two.
pub(crate) fn verdict(report: &Report) -> (String, Color) {
    match report.worst() {
        Level::Pass => ("pass".to_owned(), Color::Green),
        Level::Warning => (count(report.count(Level::Warning), "warning"), Color::Yellow),
        Level::Error => (count(report.count(Level::Error), "error"), Color::Red),
    }
}

/// All findings of all extensions as a table; with `-v` those that passed too.
pub(crate) fn print(reports: &[Report], terminal: &Terminal) -> io::Result<()> {
    let mut table = terminal.table(["EXTENSION", "RESULT", "CHECK", "WHAT"]);
    for report in reports {
        let name = report.name();
        let (result, color) = verdict(report);
        let passed = count(report.count(Level::Pass), "check") + " passed";
        table.add_row([
            terminal.cell(&name, Some(Color::Cyan)),
            terminal.cell(result, Some(color)),
            terminal.cell("", None),
            terminal.cell(passed, None),
        ]);
        for finding in report
            .findings
            .iter()
            .filter(|finding| terminal.shows(finding.level))
        {
            table.add_row([
                terminal.cell("", None),
                terminal.cell(finding.level, Some(color_of(finding.level))),
                terminal.cell(finding.check, None),
                terminal.cell(text_of(finding), None),
            ]);
        }
    }
    terminal.print(table.trim_fmt())
}

fn color_of(level: Level) -> Color {
    match level {
        Level::Pass => Color::Green,
        Level::Warning => Color::Yellow,
        Level::Error => Color::Red,
    }
}

/// Says what an audit found on the standard error: errors and what may fail on the box
/// always, other warnings with `-v`.
pub(crate) fn say_findings(report: &Report, terminal: &Terminal) {
    let name = report.name();
    for finding in &report.findings {
        let line = format!("{name}: {}: {}", finding.check, text_of(finding));
        match finding.level {
            Level::Error => terminal.audit_error(line),
            Level::Warning if finding.may_fail() => terminal.warning(line),
            Level::Warning => terminal.detail(format!("warning: {line}")),
            Level::Pass => {}
        }
    }
}

/// How many findings of those that are always said there are, for the end of a result's
/// line: `, with 1 error and 2 warnings`; nothing if there are none.
pub(crate) fn with_findings<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let (mut errors, mut warnings) = (0, 0);
    for finding in findings {
        match finding.level {
            Level::Error => errors += 1,
            Level::Warning if finding.may_fail() => warnings += 1,
            _ => {}
        }
    }
    with_numbers(errors, warnings)
}

/// The same from the numbers.
pub(crate) fn with_numbers(errors: usize, warnings: usize) -> String {
    match (errors, warnings) {
        (0, 0) => String::new(),
        (0, _) => format!(", with {}", count(warnings, "warning")),
        (_, 0) => format!(", with {}", count(errors, "error")),
        _ => format!(
            ", with {} and {}",
            count(errors, "error"),
            count(warnings, "warning")
        ),
    }
}

/// The error to end with where the audit kept an extension from its name, which `force`
/// gives it all the same.
pub(crate) fn kept_back(path: &Path, force: &str) -> miette::Report {
    miette::miette!(
        help = format!("see the errors above; {force} writes the extension all the same"),
        "the audit found errors, and `{}` was not written",
        path.display()
    )
}

/// The warning where `--force` gave an extension its name all the same.
pub(crate) fn warn_of_forced(report: &Report, path: &Path, terminal: &Terminal) {
    let errors = report.count(Level::Error);
    if errors > 0 {
        terminal.warning(format!(
            "`{}` was written with {} of the audit, as `--force` asks for",
            path.display(),
            count(errors, "error")
        ));
    }
}

/// What was found, where, and what to do about it.
pub(crate) fn text(path: Option<impl Display>, message: &str, hint: Option<&str>) -> String {
    let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}{hint}", what(path, message))
}

/// What was found and where, without what to do about it.
pub(crate) fn what(path: Option<impl Display>, message: &str) -> String {
    let place = path.map(|path| format!("{path}: ")).unwrap_or_default();
    format!("{place}{message}")
}

fn text_of(finding: &Finding) -> String {
    text(finding.path.as_ref(), &finding.message, finding.hint.as_deref())
}
