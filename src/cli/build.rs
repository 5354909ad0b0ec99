//! `tcforge build`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Color;
use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::audit::Level;
use tcforge::build::{Builder, Built, Outcome};
use tcforge::project::Project;
use tcforge::recipe::Lock;

use super::args::BuildArgs;
use super::selection::FileRow;
use super::terminal::{Terminal, count, human_size};
use super::{FAILED, audit_table, selection, source_date_epoch};

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
    let outcome = builder.build(selected.plans, &args.out)?;
    if terminal.json {
        let rows = outcome.built.iter().map(|built| Row::new(built, &selected.lock));
        let rows: Vec<_> = rows.collect();
        terminal.print_json(&rows).into_diagnostic()?;
    } else {
        for built in &outcome.built {
            audit_table::say_findings(&built.report, terminal);
        }
        print_table(&outcome, terminal).into_diagnostic()?;
    }
    finish(&outcome, &selected.lock, &args.out, terminal)
}

fn finish(outcome: &Outcome, lock: &Lock, out: &Path, terminal: &Terminal) -> super::Outcome {
    let plans = outcome.built.iter().map(|built| &built.plan);
    selection::say_first_seen(plans.flat_map(|plan| lock.first_seen(plan)), terminal);
    for built in outcome.built.iter().filter(|built| built.plan.is_unlocked()) {
        terminal.warning(selection::unlocked(&built.extension.file_name));
    }
    if !outcome.published {
        return Err(miette::miette!(
            help = "see the errors above; `--force` writes the extensions all the same",
            "the audit found errors, and nothing was written to `{}`",
            out.display()
        ));
    }
    terminal.status(
        "Wrote",
        format!(
            "{} to `{}`",
            count(outcome.built.len(), "extension"),
            out.display()
        ),
    );
    let errors = outcome
        .built
        .iter()
        .any(|built| built.report.worst() == Level::Error);
    Ok(if errors {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// What scripts are told of an extension.
#[derive(Serialize)]
struct Row<'a> {
    extension: &'a str,
    version: &'a str,
    channel: &'a str,
    files: usize,
    content_size: u64,
    size: u64,
    sha256: String,
    unlocked: bool,
    upstream: Vec<FileRow<'a>>,
    seconds: f64,
    result: Level,
    findings: &'a [tcforge::audit::Finding],
}

impl<'a> Row<'a> {
    fn new(built: &'a Built, lock: &'a Lock) -> Self {
        let assets = built.plan.assets.iter().filter(|asset| !asset.is_unlocked());
        let locked = assets.filter_map(|asset| lock.find(&asset.origin));
        Self {
            extension: &built.extension.file_name,
            version: &built.plan.version,
            channel: &built.plan.channel,
            files: built.extension.files,
            content_size: built.extension.content_size,
            size: built.extension.sums.length,
            sha256: built.extension.sums.sha256.to_string(),
            unlocked: built.plan.is_unlocked(),
            upstream: locked.map(FileRow::new).collect(),
            seconds: built.time.as_secs_f64(),
            result: built.report.worst(),
            findings: &built.report.findings,
        }
    }
}

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
        let (result, color) = audit_table::verdict(&built.report);
        let unlocked = if built.plan.is_unlocked() {
            " (unlocked)"
        } else {
            ""
        };
        table.add_row([
            terminal.cell(&built.extension.file_name, Some(Color::Cyan)),
            terminal.cell(format!("{}{unlocked}", built.plan.version), None),
            terminal.cell(built.extension.files, None),
            terminal.cell(human_size(built.extension.content_size), None),
            terminal.cell(human_size(built.extension.sums.length), None),
            terminal.cell(seconds(built.time), None),
            terminal.cell(result, Some(color)),
        ]);
    }
    terminal.print(table.trim_fmt())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
