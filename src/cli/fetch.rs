//! `tcforge fetch`

use std::process::ExitCode;
use std::slice;

use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::build::{self, BuildError};
use tcforge::fetch::{Cached, Fetcher, Wanted};
use tcforge::project::{LOCK_NAME, Project};
use tcforge::recipe::{Lock, LockError, Plan};
use tcforge::seen::PinError;

use super::args::FetchArgs;
use super::terminal::{Terminal, count, human_size};
use super::{Outcome, failures, selection};

pub(crate) fn run(args: &FetchArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let fetcher = selection::fetcher(&args.network, project)?;
    let selected = selection::load(&args.selection, &[], project, &fetcher, terminal)?;
    let asked = selected.plans.len() + selected.unknown.len();
    let (fetched, failed) = fetch(
        selected.plans,
        selected.unknown,
        &selected.lock,
        &fetcher,
        terminal,
    );
    let (wanted, cached): (Vec<_>, Vec<_>) = fetched.files.into_iter().unzip();
    record_sizes(&wanted, &cached, project, terminal);
    if terminal.json {
        let files = wanted.iter().zip(&cached);
        let rows: Vec<_> = files
            .map(|(wanted, cached)| Row::new(wanted, cached, &selected.lock))
            .collect();
        terminal.print_json(&rows).into_diagnostic()?;
    }
    let seen = fetched
        .plans
        .iter()
        .flat_map(|plan| selected.lock.first_seen(plan));
    selection::say_first_seen(seen, terminal);
    if failed.is_empty() || !cached.is_empty() {
        let size: u64 = cached.iter().map(|file| file.size).sum();
        let (files, size) = (count(cached.len(), "file"), human_size(size));
        let place = fetcher.cache().root().display();
        terminal.status("Fetched", format!("{files}, {size}, into `{place}`"));
    }
    finish(failed, asked, terminal)
}

/// What is in the cache now.
#[derive(Default)]
struct Done {
    /// Those that have all their files.
    plans: Vec<Plan>,
    /// All files.
    files: Vec<(Wanted, Cached)>,
}

/// Fetches the files of each plan. One that fails keeps no other back.
fn fetch(
    plans: Vec<Plan>,
    unknown: Vec<(Plan, PinError)>,
    lock: &Lock,
    fetcher: &Fetcher,
    terminal: &Terminal,
) -> (Done, Vec<(Plan, BuildError)>) {
    let (mut known, mut done) = (Vec::new(), Done::default());
    let unknown = unknown.into_iter().map(|(plan, error)| (plan, error.into()));
    let mut failed: Vec<_> = unknown.collect();
    for plan in plans {
        match build::wanted(slice::from_ref(&plan), lock) {
            Ok(files) => known.push((plan, files)),
            Err(error) => failed.push((plan, error)),
        }
    }
    let files: Vec<_> = known.iter().flat_map(|(_, files)| files).cloned().collect();
    let mut fetched = fetcher.fetch_each(&files, terminal);
    for (plan, wanted) in known {
        match fetched.take(&wanted) {
            Ok(_) => done.plans.push(plan),
            Err(error) => failed.push((plan, error.into())),
        }
        // Of a plan that lacks some files, the others are there all the same.
        done.files.extend(wanted.into_iter().filter_map(|one| {
            let cached = fetched.take(slice::from_ref(&one)).ok()?.pop()?;
            Some((one, cached))
        }));
    }
    (done, failed)
}

fn finish(mut failed: Vec<(Plan, BuildError)>, asked: usize, terminal: &Terminal) -> Outcome {
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if asked == 1
        && let Some((_, only)) = failed.pop()
    {
        return Err(only.into());
    }
    let number = failed.len();
    let rows = failed
        .iter()
        .map(|(plan, error)| (plan.file_name(), failures::reasons_of(error)));
    failures::show("NOT FETCHED", rows, terminal);
    Err(miette::miette!(
        help = "the table says why; what was fetched stays in the cache, so run this again",
        "the files of {number} of {} could not be fetched",
        count(asked, "extension")
    ))
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

impl<'a> Row<'a> {
    fn new(wanted: &'a Wanted, cached: &Cached, lock: &'a Lock) -> Self {
        Self {
            name: &wanted.name,
            url: wanted.origin.identity(),
            size: cached.size,
            sha256: cached.sha256.to_string(),
            source: lock.find(&wanted.origin).map(|file| file.source.as_str()),
            path: cached.path.display().to_string(),
        }
    }
}
