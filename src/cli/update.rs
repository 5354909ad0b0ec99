//! `tcforge update`

use std::process::ExitCode;

use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::pins::Repinner;
use tcforge::project::Project;
use tcforge::recipe::update::Change;
use tcforge::recipe::{ChannelNames, Channels, Lock, LockedFile, Recipes};
use tcforge::update::Updater;

use super::args::UpdateArgs;
use super::selection::FileRow;
use super::terminal::Terminal;
use super::{Outcome, selection};

pub(crate) fn run(args: &UpdateArgs, project: &Project, terminal: &Terminal) -> Outcome {
    if args.network.offline {
        return Err(miette::miette!(
            help = "leave `--offline` out, and unset TCFORGE_OFFLINE",
            "an update has to ask upstream, and this is offline"
        ));
    }
    let held = (!args.dry_run).then(|| project.hold(terminal));
    let _held = held.transpose()?;
    let recipes = Recipes::load(project)?;
    let channels = Channels::load(project)?;
    let fetcher = selection::fetcher(&args.network, project)?;
    let mut lock = Lock::load(project)?;
    let mut changes = Vec::new();
    if args.bases {
        let repinner = Repinner {
            project,
            recipes: &recipes,
            channels: &channels,
            fetcher: &fetcher,
            progress: terminal,
        };
        changes = repinner.repin(&mut lock, !args.dry_run)?;
        changes.iter().for_each(|change| say(change, args, terminal));
    } else {
        let said = &args.selection.channels;
        let choice = selection::choice(said, project, &recipes, &ChannelNames::default())?;
        for recipe in recipes.choose(&choice, &args.selection.names)? {
            let updater = Updater {
                project,
                recipes: &recipes,
                channels: &channels,
                channel: choice.channel_for(recipe)?,
                fetcher: &fetcher,
                progress: terminal,
            };
            let change = updater.update(recipe, &mut lock, !args.dry_run)?;
            say(&change, args, terminal);
            changes.push(change);
        }
    }
    if terminal.json {
        let rows: Vec<_> = changes.iter().map(Row::new).collect();
        terminal.print_json(&rows).into_diagnostic()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn say(change: &Change, args: &UpdateArgs, terminal: &Terminal) {
    match (change.is_empty(), args.dry_run) {
        (true, _) => terminal.status("Current", format!("{} {}", change.recipe, change.versions.0)),
        (false, true) => terminal.status("Would update", change),
        (false, false) => terminal.status("Updated", change),
    }
    let seen = new_files(change).filter(|file| file.is_first_seen());
    selection::say_first_seen(seen, terminal);
}

/// What the lock has now, or would have, of the files that differ.
fn new_files(change: &Change) -> impl Iterator<Item = &LockedFile> {
    change.files.iter().filter_map(|file| file.new.as_ref())
}

/// What scripts are told.
#[derive(Serialize)]
struct Row<'a> {
    recipe: &'a str,
    channel: &'a str,
    old_version: &'a str,
    new_version: &'a str,
    changed: bool,
    files: Vec<&'a str>,
    upstream: Vec<FileRow<'a>>,
}

impl<'a> Row<'a> {
    fn new(change: &'a Change) -> Self {
        Self {
            recipe: &change.recipe,
            channel: &change.channel,
            old_version: &change.versions.0,
            new_version: &change.versions.1,
            changed: !change.is_empty(),
            files: change.files.iter().map(|file| file.name.as_str()).collect(),
            upstream: new_files(change).map(FileRow::new).collect(),
        }
    }
}
