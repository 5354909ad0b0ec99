//! `tcforge fetch`

use std::process::ExitCode;

use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::fetch::{Cached, Wanted};
use tcforge::project::{LOCK_NAME, Project};
use tcforge::recipe::{Lock, LockError};

use super::args::FetchArgs;
use super::terminal::{Terminal, count, human_size};
use super::{Outcome, selection};

pub(crate) fn run(args: &FetchArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let fetcher = selection::fetcher(&args.network, project)?;
    let selected = selection::load(&args.selection, &[], project, &fetcher, terminal)?;
    let wanted = selection::wanted(&selected)?;
    let cached = fetcher.fetch_all(&wanted, terminal)?;
    record_sizes(&wanted, &cached, project, terminal);
    let size: u64 = cached.iter().map(|file| file.size).sum();
    if terminal.json {
        let rows: Vec<_> = wanted
            .iter()
            .zip(&cached)
            .map(|(wanted, cached)| Row {
                name: &wanted.name,
                url: wanted.origin.identity(),
                size: cached.size,
                sha256: cached.sha256.to_string(),
                source: selected
                    .lock
                    .find(&wanted.origin)
                    .map(|file| file.source.as_str()),
                path: cached.path.display().to_string(),
            })
            .collect();
        terminal.print_json(&rows).into_diagnostic()?;
    }
    let seen = selected
        .plans
        .iter()
        .flat_map(|plan| selected.lock.first_seen(plan));
    selection::say_first_seen(seen, terminal);
    terminal.status(
        "Fetched",
        format!(
            "{}, {}, into `{}`",
            count(cached.len(), "file"),
            human_size(size),
            fetcher.cache().root().display()
        ),
    );
    if let Some((_, error)) = selected.unknown.into_iter().next() {
        return Err(error.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes sizes that the project's lock did not know to it, so that a later fetch
/// compares them, too.
fn record_sizes(wanted: &[Wanted], cached: &[Cached], project: &Project, terminal: &Terminal) {
    if !project.owns(LOCK_NAME) || wanted.iter().all(|file| file.size.is_some()) {
        return;
    }
    match learn_sizes(wanted, cached, project, terminal) {
        Ok(0) => {}
        Ok(learnt) => terminal.status(
            "Recorded",
            format!("the size of {} in {LOCK_NAME}", count(learnt, "file")),
        ),
        // The files are there and their sums right: that is what was asked for.
        Err(error) => terminal.warning(format!("sizes were not recorded: {error}")),
    }
}

/// How many there were.
fn learn_sizes(
    wanted: &[Wanted],
    cached: &[Cached],
    project: &Project,
    terminal: &Terminal,
) -> Result<usize, LockError> {
    let _held = project.hold(terminal)?;
    // As it is now: the fetch may have taken long.
    let mut lock = Lock::load(project)?;
    let sizes = wanted.iter().zip(cached);
    let learnt = lock.learn_sizes(sizes.map(|(wanted, cached)| (&wanted.origin, cached.size)));
    if learnt > 0 {
        lock.save(project)?;
    }
    Ok(learnt)
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    url: String,
    size: u64,
    sha256: String,
    source: Option<&'a str>,
    path: String,
}
