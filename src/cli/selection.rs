//! What `build`, `fetch` and `update` work on: recipes of a channel, the lock,
//! and the way to the network.

use tcforge::build;
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Mirror, Network};
use tcforge::project::Project;
use tcforge::recipe::{self, Channel, Lock, Override, OverrideError, Plan, Recipes};

use super::args;

/// The recipes that were asked for, and what is needed to build them.
pub(crate) struct Selected {
    pub(crate) recipes: Recipes,
    pub(crate) channel: Channel,
    pub(crate) lock: Lock,
    pub(crate) plans: Vec<Plan>,
}

pub(crate) fn load(
    selection: &args::Selection,
    files: &[String],
    project: &Project,
) -> miette::Result<Selected> {
    let recipes = Recipes::load(project)?;
    let channel = Channel::load(project, &selection.channel)?;
    let chosen = recipes.choose(project, &channel.name, &selection.names)?;
    let mut plans = chosen
        .into_iter()
        .map(|recipe| recipe.plan(&channel))
        .collect::<Result<Vec<_>, _>>()?;
    recipe::apply_overrides(&mut plans, &overrides(files)?)?;
    let lock = Lock::load(project)?;
    Ok(Selected {
        recipes,
        channel,
        lock,
        plans,
    })
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

/// What has to be fetched for the selected recipes.
pub(crate) fn wanted(selected: &Selected) -> miette::Result<Vec<tcforge::fetch::Wanted>> {
    Ok(build::wanted(&selected.plans, &selected.lock)?)
}
