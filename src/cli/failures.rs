//! What could not be built, and why: everything in one table.

use std::path::Path;

use comfy_table::Color;
use miette::Diagnostic;
use serde::Serialize;
use tcforge::audit::{Finding, Level};
use tcforge::build::Failed;

use super::audit_table;
use super::terminal::Terminal;

/// One reason why an extension was not built.
#[derive(Debug, Serialize)]
pub(crate) struct Reason {
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Every reason why an extension was not built.
pub(crate) fn reasons(failed: &Failed) -> Vec<Reason> {
    match failed {
        Failed::NotMade { error, .. } => reasons_of(error),
        Failed::KeptBack(built) => {
            let findings = built.report.findings.iter();
            let errors = findings.filter(|finding| finding.level == Level::Error);
            errors.map(of_finding).collect()
        }
    }
}

/// Every reason that an error tells.
pub(crate) fn reasons_of(error: &dyn Diagnostic) -> Vec<Reason> {
    let mut reasons = Vec::new();
    add_reasons(error, &mut reasons);
    reasons
}

fn of_finding(finding: &Finding) -> Reason {
    Reason {
        why: format!(
            "{}: {}",
            finding.check,
            audit_table::what(finding.path.as_ref(), &finding.message)
        ),
        hint: finding.hint.clone(),
    }
}

/// One reason an error; of one that stands for several, one each.
fn add_reasons(error: &dyn Diagnostic, reasons: &mut Vec<Reason>) {
    if let Some(several) = error.related() {
        return several.for_each(|one| add_reasons(one, reasons));
    }
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors end with their cause, for notes of one line.
        if !why.ends_with(&text) {
            why = format!("{why}: {text}");
        }
        cause = error.source();
    }
    let hint = error.help().map(|help| help.to_string());
    reasons.push(Reason { why, hint });
}

/// Says why extensions were not built.
pub(crate) fn show_not_built(failed: &[Failed], terminal: &Terminal) {
    let rows = failed.iter().map(|one| (one.plan().file_name(), reasons(one)));
    show("NOT BUILT", rows, terminal);
}

/// Says what failed of what is named, and why.
pub(crate) fn show(head: &str, failed: impl IntoIterator<Item = (String, Vec<Reason>)>, terminal: &Terminal) {
    let mut table = terminal.stderr_table([head, "WHY", "HINT"]);
    for (mut name, reasons) in failed {
        for reason in reasons {
            table.add_row([
                terminal.stderr_cell(std::mem::take(&mut name), Some(Color::Cyan)),
                terminal.stderr_cell(reason.why, None),
                terminal.stderr_cell(reason.hint.unwrap_or_default(), None),
            ]);
        }
    }
    terminal.say_table(&table);
}

/// What scripts are told of an extension that was not built.
#[derive(Serialize)]
pub(crate) struct Row {
    extension: String,
    reasons: Vec<Reason>,
}

/// The same for scripts.
pub(crate) fn rows(failed: &[Failed]) -> Vec<Row> {
    let row = |one: &Failed| Row {
        extension: one.plan().file_name(),
        reasons: reasons(one),
    };
    failed.iter().map(row).collect()
}

/// The error to end with where a single extension was not built: that needs no table.
/// `force` is what writes one that only the audit is against.
pub(crate) fn only(failed: Failed, out: &Path, force: &str, terminal: &Terminal) -> miette::Report {
    match failed {
        Failed::NotMade { error, .. } => error.into(),
        Failed::KeptBack(built) => {
            audit_table::say_findings(&built.report, terminal);
            audit_table::kept_back(&out.join(&built.extension.file_name), force)
        }
    }
}
