//! Everything about a recipe that can be checked without its upstream files.

use std::collections::BTreeSet;

use super::fault::Fault;
use super::source::{At, Invalid, SourceFile, Spans, nearest};
use super::words::is_word;
use super::{Channels, Recipe, Watch, compile, plan};
use crate::base::Base;
use crate::project::Project;

/// Checks a recipe that was read from the folder `folder`.
pub(super) fn check(
    recipe: &Recipe,
    folder: &str,
    project: &Project,
    channels: &Channels,
    base: &Base,
) -> Result<(), Invalid> {
    let mut faults = Vec::new();
    names_and_texts(recipe, folder, &mut faults);
    services(recipe, folder, project, &mut faults);
    own_files(recipe, folder, project, &mut faults);
    if recipe.releases.is_empty() {
        faults.push((At::default().key("name"), Fault::NoReleases));
    }
    for (name, release) in &recipe.releases {
        let at = At::default().key("release");
        match channels.get(name) {
            Some(channel) => faults.extend(compile::compile(recipe, release, channel, base).1),
            None => faults.push((at.name(name), unknown_channel(name, channels))),
        }
        if let Some(watch) = &release.watch {
            faults.extend(watched(watch).map(|fault| (at.key(name).key("watch"), fault)));
        }
    }
    verdict(&recipe.source, faults)
}

/// An error if there are any mistakes.
pub(crate) fn verdict(source: &SourceFile, faults: Vec<(At, Fault)>) -> Result<(), Invalid> {
    if faults.is_empty() {
        return Ok(());
    }
    let spans = Spans::new(source.text());
    let faults = faults
        .into_iter()
        .map(|(at, fault)| (spans.find(&at, fault.part().as_deref()), fault));
    Err(Invalid::new(source, faults.collect()))
}

pub(crate) fn unknown_channel(name: &str, channels: &Channels) -> Fault {
    Fault::UnknownChannel {
        channel: name.to_owned(),
        nearest: nearest(name, channels.names()),
        known: channels.names().map(str::to_owned).collect(),
    }
}

fn names_and_texts(recipe: &Recipe, folder: &str, faults: &mut Vec<(At, Fault)>) {
    let top = At::default();
    if recipe.name != folder {
        let fault = Fault::NameDiffers {
            name: recipe.name.clone(),
            folder: folder.to_owned(),
        };
        faults.push((top.key("name"), fault));
    } else if !is_word(&recipe.name) {
        faults.push((top.key("name"), Fault::Name(recipe.name.clone())));
    }
    for (key, text) in [
        ("description", &recipe.description),
        ("author", &recipe.author),
        ("site", &recipe.site),
        ("tags", &recipe.tags),
    ] {
        if text.trim().is_empty() {
            faults.push((top.key(key), Fault::Empty(key)));
        } else if text.contains(char::is_control) {
            faults.push((top.key(key), Fault::NotOneLine(key)));
        }
    }
}

fn services(recipe: &Recipe, folder: &str, project: &Project, faults: &mut Vec<(At, Fault)>) {
    let mut names = BTreeSet::new();
    for (index, service) in recipe.services.iter().enumerate() {
        let at = At::default().key("service").item(index);
        if !is_word(&service.name) {
            faults.push((at.key("name"), Fault::Name(service.name.clone())));
        } else if !names.insert(&service.name) {
            faults.push((at.key("name"), Fault::TwoServices(service.name.clone())));
        }
        faults.extend(template(folder, project, &service.template).map(|fault| (at.key("template"), fault)));
    }
    if let Some(installed) = &recipe.installed {
        let at = At::default().key("installed");
        faults.extend(template(folder, project, installed).map(|fault| (at, fault)));
    }
}

fn template(folder: &str, project: &Project, name: &str) -> Option<Fault> {
    if is_word(name) && plan::data_file(project, folder, name).is_ok() {
        return None;
    }
    let known = project.files("initd").unwrap_or_default();
    Some(Fault::NoTemplate {
        template: name.to_owned(),
        nearest: nearest(name, &known),
    })
}

fn own_files(recipe: &Recipe, folder: &str, project: &Project, faults: &mut Vec<(At, Fault)>) {
    let top = At::default();
    let releases = (recipe.releases.iter())
        .map(|(name, release)| (top.key("release").key(name), release.files.as_slice()));
    for (at, files) in std::iter::once((top.clone(), recipe.files.as_slice())).chain(releases) {
        for (index, file) in files.iter().enumerate() {
            if plan::data_file(project, folder, &file.from).is_err() {
                let at = at.key("file").item(index).key("from");
                faults.push((at, Fault::NoFile(file.from.clone())));
            }
        }
    }
}

fn watched(watch: &Watch) -> Option<Fault> {
    let given = [
        ("github", watch.github.is_some()),
        ("npm", watch.npm.is_some()),
        ("debian", watch.debian.is_some()),
    ];
    let given: Vec<_> = given.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    (given.len() != 1).then_some(Fault::Watch(given))
}
