//! `tcforge build`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Cell, Color};
use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::audit::Finding;
use tcforge::build::{Builder, Built, Failed, Outcome};
use tcforge::project::Project;
use tcforge::recipe::{Lock, Plan};

use super::args::BuildArgs;
use super::failures::{self, Reason};
use super::selection::FileRow;
use super::terminal::{Terminal, count, human_size};
use super::{audit_table, selection, source_date_epoch};

pub(crate) fn run(args: &BuildArgs, project: &Project, terminal: &Terminal) -> super::Outcome {
    let fetcher = selection::fetcher(&args.network, project)?;
    let selected = selection::load(&args.selection, &args.files, project, &fetcher, terminal)?;
    let builder = Builder {
        project,
        recipes: &selected.recipes,
        choice: &selected.choice,
        lock: &selected.lock,
        fetcher: &fetcher,
        time: source_date_epoch()?,
        publish_with_errors: args.force,
        progress: terminal,
    };
    let mut outcome = builder.build(selected.plans, &args.out)?;
    outcome.add_unknown(selected.unknown);
    if terminal.json {
        let built = outcome.built.iter();
        let built = built.map(|built| Row::of_built(built, true, &selected.lock));
        let failed = outcome.failed.iter();
        let failed = failed.map(|failed| Row::of_failed(failed, &selected.lock));
        let rows: Vec<_> = built.chain(failed).collect();
        terminal.print_json(&rows).into_diagnostic()?;
    } else {
        print_table(&outcome, terminal).into_diagnostic()?;
    }
    finish(outcome, &selected.lock, &args.out, terminal)
}

fn finish(outcome: Outcome, lock: &Lock, out: &Path, terminal: &Terminal) -> super::Outcome {
    let Outcome { built, mut failed } = outcome;
    let seen = built.iter().flat_map(|one| lock.first_seen(&one.plan));
    selection::say_first_seen(seen, terminal);
    for one in &built {
        let name = &one.extension.file_name;
        if !terminal.json {
            audit_table::say_findings(&one.report, terminal);
        }
        audit_table::warn_of_forced(&one.report, &out.join(name), terminal);
        if one.plan.is_unlocked() {
            terminal.warning(selection::unlocked(name));
        }
    }
    warn_of_missing(&built, &failed, out, terminal);
    if !built.is_empty() {
        let findings = built.iter().flat_map(|one| &one.report.findings);
        let told = audit_table::with_findings(findings);
        let number = count(built.len(), "extension");
        terminal.status("Wrote", format!("{number} to `{}`{told}", out.display()));
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if built.is_empty()
        && failed.len() == 1
        && let Some(only) = failed.pop()
    {
        return Err(failures::only(only, out, "`--force`", terminal));
    }
    failures::show_not_built(&failed, terminal);
    Err(miette::miette!(
        help = "the table says why; `--force` writes also what only the audit is against",
        "{} of {} could not be built",
        failed.len(),
        count(built.len() + failed.len(), "extension")
    ))
}

/// Warns of extensions that cannot be loaded, because what they need failed and was not
/// there before.
fn warn_of_missing(built: &[Built], failed: &[Failed], out: &Path, terminal: &Terminal) {
    for one in built {
        let failed = failed.iter().map(|one| one.plan().file_name());
        for needed in failed.filter(|name| one.plan.dependencies.contains(name) && !out.join(name).exists()) {
            let name = &one.extension.file_name;
            terminal.warning(format!(
                "{name} cannot be loaded without {needed}, which is not there"
            ));
        }
    }
}

/// What scripts are told of an extension that was asked for.
#[derive(Serialize)]
struct Row<'a> {
    extension: String,
    version: &'a str,
    channel: &'a str,
    unlocked: bool,
    /// Whether it is in the output folder.
    written: bool,
    result: &'static str,
    /// Why it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason>,
    #[serde(flatten)]
    made: Option<MadeRow<'a>>,
}

/// What scripts are told besides of one that was made.
#[derive(Serialize)]
struct MadeRow<'a> {
    files: usize,
    content_size: u64,
    size: u64,
    sha256: String,
    upstream: Vec<FileRow<'a>>,
    seconds: f64,
    findings: &'a [Finding],
}

impl<'a> Row<'a> {
    fn new(plan: &'a Plan, result: &'static str) -> Self {
        Self {
            extension: plan.file_name(),
            version: &plan.version,
            channel: &plan.channel,
            unlocked: plan.is_unlocked(),
            written: false,
            result,
            reasons: Vec::new(),
            made: None,
        }
    }

    fn of_built(built: &'a Built, written: bool, lock: &'a Lock) -> Self {
        let assets = built.plan.assets.iter().filter(|asset| !asset.is_unlocked());
        let locked = assets.filter_map(|asset| lock.find(&asset.origin));
        let made = MadeRow {
            files: built.extension.files,
            content_size: built.extension.content_size,
            size: built.extension.sums.length,
            sha256: built.extension.sums.sha256.to_string(),
            upstream: locked.map(FileRow::new).collect(),
            seconds: built.time.as_secs_f64(),
            findings: &built.report.findings,
        };
        Self {
            written,
            made: Some(made),
            ..Self::new(&built.plan, built.report.worst().id())
        }
    }

    fn of_failed(failed: &'a Failed, lock: &'a Lock) -> Self {
        let row = match failed {
            Failed::NotMade { plan, .. } => Self::new(plan, FAILED_RESULT),
            Failed::KeptBack(built) => Self::of_built(built, false, lock),
        };
        Self {
            reasons: failures::reasons(failed),
            ..row
        }
    }
}

/// What is said in the place of an audit's verdict if there was nothing to audit.
const FAILED_RESULT: &str = "failed";

/// All that was asked for; nothing if nothing was made.
fn print_table(outcome: &Outcome, terminal: &Terminal) -> std::io::Result<()> {
    let mut table = terminal.table([
        "EXTENSION",
        "VERSION",
        "FILES",
        "BEFORE",
        "AFTER",
        "TIME",
        "RESULT",
    ]);
    for built in &outcome.built {
        table.add_row(made_cells(built, terminal));
    }
    for failed in &outcome.failed {
        table.add_row(match failed {
            Failed::NotMade { plan, .. } => failed_cells(plan, terminal),
            Failed::KeptBack(built) => made_cells(built, terminal),
        });
    }
    let nothing_made = |failed: &Failed| matches!(failed, Failed::NotMade { .. });
    if outcome.built.is_empty() && outcome.failed.iter().all(nothing_made) {
        return Ok(());
    }
    terminal.print(table.trim_fmt())
}

fn made_cells(built: &Built, terminal: &Terminal) -> [Cell; 7] {
    let (result, color) = audit_table::verdict(&built.report);
    let unlocked = if built.plan.is_unlocked() {
        " (unlocked)"
    } else {
        ""
    };
    [
        terminal.cell(&built.extension.file_name, Some(Color::Cyan)),
        terminal.cell(format!("{}{unlocked}", built.plan.version), None),
        terminal.cell(built.extension.files, None),
        terminal.cell(human_size(built.extension.content_size), None),
        terminal.cell(human_size(built.extension.sums.length), None),
        terminal.cell(seconds(built.time), None),
        terminal.cell(result, Some(color)),
    ]
}

fn failed_cells(plan: &Plan, terminal: &Terminal) -> [Cell; 7] {
    let blank = || terminal.cell("-", None);
    [
        terminal.cell(plan.file_name(), Some(Color::Cyan)),
        terminal.cell(&plan.version, None),
        blank(),
        blank(),
        blank(),
        blank(),
        terminal.cell(FAILED_RESULT, Some(Color::Red)),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
