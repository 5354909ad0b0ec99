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

use super::args::BuildArgs;
use super::terminal::{Terminal, count, human_size};
use super::{FAILED, audit_table, selection, source_date_epoch};

pub(crate) fn run(args: &BuildArgs, project: &Project, terminal: &Terminal) -> super::Outcome {
    let selected = selection::load(&args.selection, &args.files, project)?;
    let fetcher = selection::fetcher(&args.network, project)?;
    let builder = Builder {
        project,
        recipes: &selected.recipes,
        channel: &selected.channel,
        lock: &selected.lock,
        fetcher: &fetcher,
        time: source_date_epoch()?,
        publish_with_errors: args.force,
        progress: terminal,
    };
    let outcome = builder.build(selected.plans, &args.out)?;
    if terminal.json {
        let rows: Vec<_> = outcome.built.iter().map(Row::new).collect();
        terminal.print_json(&rows).into_diagnostic()?;
    } else {
        for built in &outcome.built {
            audit_table::say_findings(&built.report, terminal);
        }
        print_table(&outcome, terminal).into_diagnostic()?;
    }
    finish(&outcome, &args.out, terminal)
}

fn finish(outcome: &Outcome, out: &Path, terminal: &Terminal) -> super::Outcome {
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
    seconds: f64,
    result: Level,
    findings: &'a [tcforge::audit::Finding],
}

impl<'a> Row<'a> {
    fn new(built: &'a Built) -> Self {
        Self {
            extension: &built.extension.file_name,
            version: &built.plan.version,
            channel: &built.plan.channel,
            files: built.extension.files,
            content_size: built.extension.content_size,
            size: built.extension.sums.length,
            sha256: built.extension.sums.sha256.to_string(),
            unlocked: built.plan.is_unlocked(),
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
