//! `tcforge fetch`

use std::process::ExitCode;

use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::project::Project;

use super::args::FetchArgs;
use super::terminal::{Terminal, count, human_size};
use super::{Outcome, selection};

pub(crate) fn run(args: &FetchArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let selected = selection::load(&args.selection, &[], project)?;
    let fetcher = selection::fetcher(&args.network, project)?;
    let wanted = selection::wanted(&selected)?;
    let total = wanted.iter().map(|one| one.size).sum();
    let cached = fetcher.fetch_all(&wanted, &terminal.with_total("total", total))?;
    let size: u64 = cached.iter().map(|file| file.size).sum();
    if terminal.json {
        let rows: Vec<_> = wanted
            .iter()
            .zip(&cached)
            .map(|(wanted, cached)| Row {
                name: &wanted.name,
                url: wanted.origin.to_string(),
                size: cached.size,
                sha256: cached.sha256.to_string(),
                path: cached.path.display().to_string(),
            })
            .collect();
        terminal.print_json(&rows).into_diagnostic()?;
    }
    terminal.status(
        "Fetched",
        format!(
            "{}, {}, into `{}`",
            count(cached.len(), "file"),
            human_size(size),
            fetcher.cache().root().display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    url: String,
    size: u64,
    sha256: String,
    path: String,
}
