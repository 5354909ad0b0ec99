//! Findings of the audit, for people.

use std::io;

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
                terminal.cell(text(finding), None),
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

/// Says what an audit found on the standard error: errors always, warnings with `-v`.
pub(crate) fn say_findings(report: &Report, terminal: &Terminal) {
    let name = report.file.file_name().unwrap_or_default().to_string_lossy();
    for finding in &report.findings {
        let line = format!("{name}: {}: {}", finding.check, text(finding));
        match finding.level {
            Level::Error => terminal.audit_error(line),
            Level::Warning => terminal.detail(format!("warning: {line}")),
            Level::Pass => {}
        }
    }
}

fn text(finding: &Finding) -> String {
    let place = finding
        .path
        .as_ref()
        .map(|path| format!("{path}: "))
        .unwrap_or_default();
    let hint = finding
        .hint
        .as_ref()
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    format!("{place}{}{hint}", finding.message)
}
