//! What `build`, `fetch` and `update` work on: recipes of channels, the lock,
//! and the way to the network.

use serde::Serialize;
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Mirror, Network};
use tcforge::project::Project;
use tcforge::recipe::{self, ChannelNames, Choice, Lock, LockedFile, Override, OverrideError, Plan, Recipes};
use tcforge::seen::{Locks, PinError, Pinned};

use super::args;
use super::terminal::Terminal;

/// The recipes that were asked for, and what is needed to build them.
pub(crate) struct Selected {
    pub(crate) recipes: Recipes,
    pub(crate) choice: Choice,
    pub(crate) lock: Lock,
    pub(crate) plans: Vec<Plan>,
    /// Those of which a sum could not be had, and why.
    pub(crate) unknown: Vec<(Plan, PinError)>,
}

/// `fetcher` is for sums that are not known yet and that upstream has a list of.
pub(crate) fn load(
    selection: &args::Selection,
    files: &[String],
    project: &Project,
    fetcher: &Fetcher,
    terminal: &Terminal,
) -> miette::Result<Selected> {
    let recipes = Recipes::load(project)?;
    let choice = choice(&selection.channels, project, &recipes, &ChannelNames::default())?;
    let chosen = recipes.choose(&choice, &selection.names)?.into_iter();
    let mut plans = chosen
        .map(|recipe| choice.plan(recipe))
        .collect::<Result<Vec<_>, _>>()?;
    recipe::apply_overrides(&mut plans, &overrides(files)?)?;
    let Pinned { lock, plans, unknown } = Locks::of_user(project).pin(plans, fetcher, terminal)?;
    Ok(Selected {
        recipes,
        choice,
        lock,
        plans,
        unknown,
    })
}

/// Which channels recipes come from: as `--channel` says, and else as `default` does.
pub(crate) fn choice(
    said: &[String],
    project: &Project,
    recipes: &Recipes,
    default: &ChannelNames,
) -> miette::Result<Choice> {
    let names = ChannelNames::parse(said)?.or(default);
    Ok(Choice::load(project, recipes, &names)?)
}

/// An upstream file and who vouches for its sum, for scripts.
#[derive(Serialize)]
pub(crate) struct FileRow<'a> {
    name: &'a str,
    url: String,
    sha256: String,
    source: &'a str,
}

impl<'a> FileRow<'a> {
    pub(crate) fn new(file: &'a LockedFile) -> Self {
        Self {
            name: &file.name,
            url: file.url.identity(),
            sha256: file.sha256.to_string(),
            source: &file.source,
        }
    }
}

/// Tells of the files whose sums only upstream itself publishes.
pub(crate) fn say_first_seen<'a>(files: impl IntoIterator<Item = &'a LockedFile>, terminal: &Terminal) {
    for file in files {
        terminal.status("Trusted", format!("{}: {}", file.name, file.source));
    }
}

/// The values of `--file ASSET=PATH`.
pub(crate) fn overrides(files: &[String]) -> miette::Result<Vec<Override>> {
    let files = files.iter().map(|text| text.parse());
    Ok(files.collect::<Result<_, OverrideError>>()?)
}

/// A warning that an extension is not what the lock says, and that images take it
/// as long as it is there.
pub(crate) fn unlocked(name: &str) -> String {
    format!(
        "{name} was made with a local file that the lock says nothing of; remove it from the folder to have \
         it built again"
    )
}

pub(crate) fn fetcher(network: &args::Network, project: &Project) -> miette::Result<Fetcher> {
    let cache = match &network.cache {
        Some(folder) => Cache::at(folder),
        None => Cache::from_environment()?,
    };
    let mirrors = network
        .mirrors
        .iter()
        .map(|text| text.parse::<Mirror>())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Fetcher::new(FetchOptions {
        cache,
        network: Network::read(project)?,
        mirrors,
        offline: network.offline,
    }))
}
