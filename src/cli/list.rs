//! `tcforge list`

use std::collections::BTreeMap;
use std::process::ExitCode;

use comfy_table::Color;
use miette::IntoDiagnostic;
use serde::Serialize;
use tcforge::project::Project;
use tcforge::recipe::{Channel, Recipe, Recipes};

use super::Outcome;
use super::args::ListArgs;
use super::terminal::Terminal;

pub(crate) fn run(args: &ListArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let recipes = Recipes::load(project)?;
    let listed: Vec<&Recipe> = match &args.channel {
        Some(channel) => {
            let channel = Channel::load(project, channel)?;
            recipes.in_channel(&channel.name).collect()
        }
        None => recipes.iter().collect(),
    };
    let rows: Vec<_> = listed.into_iter().map(Row::new).collect();
    if terminal.json {
        terminal.print_json(&rows).into_diagnostic()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = terminal.table(["RECIPE", "RELEASES", "WHAT IT IS"]);
    for row in &rows {
        let releases: Vec<_> = row
            .releases
            .iter()
            .map(|(channel, version)| format!("{channel} {version}"))
            .collect();
        table.add_row([
            terminal.cell(row.name, Some(Color::Cyan)),
            terminal.cell(releases.join(", "), None),
            terminal.cell(row.description, None),
        ]);
    }
    terminal.print(table.trim_fmt()).into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    description: &'a str,
    license: &'a str,
    releases: BTreeMap<&'a str, &'a str>,
}

impl<'a> Row<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        let releases = recipe.releases.iter();
        Self {
            name: &recipe.name,
            description: &recipe.description,
            license: &recipe.license,
            releases: releases
                .map(|(channel, release)| (channel.as_str(), release.version.as_str()))
                .collect(),
        }
    }
}
