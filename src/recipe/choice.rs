//! Which channel each recipe comes from.

use std::collections::BTreeMap;

use super::unknown::UnknownName;
use super::{Channel, ChannelError, Channels, DEFAULT_CHANNEL, Plan, Recipe, RecipeError, Recipes};
use crate::project::Project;

/// Channels as people name them, on a command line or in an appliance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelNames {
    /// Each recipe comes from the first that has it.
    pub channels: Vec<String>,
    /// But for these recipes, by name, whatever the others have.
    pub from: BTreeMap<String, String>,
}

/// A channel for each recipe that has one.
#[derive(Debug, Clone)]
pub struct Choice {
    channels: Vec<Channel>,
    from: BTreeMap<String, Channel>,
}

impl ChannelNames {
    /// Reads `CHANNEL` and `RECIPE=CHANNEL`.
    pub fn parse(texts: &[String]) -> Result<Self, RecipeError> {
        let mut names = Self::default();
        for text in texts {
            let form = || RecipeError::ChannelForm(text.clone());
            match text.split_once('=') {
                None if text.is_empty() => return Err(form()),
                None => names.channels.push(text.clone()),
                Some(("", _) | (_, "")) => return Err(form()),
                Some((recipe, channel)) => {
                    let before = names.from.insert(recipe.to_owned(), channel.to_owned());
                    if before.is_some_and(|before| before != channel) {
                        return Err(RecipeError::TwoChannels(recipe.to_owned()));
                    }
                }
            }
        }
        Ok(names)
    }

    /// What is not said here is as in `other`: the channels, and each recipe's own.
    pub fn or(mut self, other: &Self) -> Self {
        if self.channels.is_empty() {
            self.channels.clone_from(&other.channels);
        }
        for (recipe, channel) in &other.from {
            self.from.entry(recipe.clone()).or_insert_with(|| channel.clone());
        }
        self
    }
}

impl Choice {
    /// The channels of those names; the default one where none is named. A channel or a
    /// recipe that is not there is an error, and so is a recipe that is not in the channel
    /// it is to come from.
    pub fn load(project: &Project, recipes: &Recipes, names: &ChannelNames) -> Result<Self, RecipeError> {
        let all = Channels::load(project)?;
        let find = |name: &str| match all.get(name) {
            Some(channel) => Ok(channel.clone()),
            None => {
                let known = all.names().map(str::to_owned).collect();
                Err(ChannelError::from(UnknownName::new("channel", name, known)))
            }
        };
        let channels = match names.channels.as_slice() {
            [] => vec![find(DEFAULT_CHANNEL)?],
            named => named.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
        };
        let mut from = BTreeMap::new();
        for (name, channel) in &names.from {
            let (recipe, channel) = (recipes.named(name)?, find(channel)?);
            recipe.release_in(&channel.name)?;
            from.insert(name.clone(), channel);
        }
        Ok(Self { channels, from })
    }

    /// One channel for all.
    pub fn only(channel: Channel) -> Self {
        Self {
            channels: vec![channel],
            from: BTreeMap::new(),
        }
    }

    /// The channel that a recipe comes from; `None` if none has it.
    pub fn channel_of(&self, recipe: &Recipe) -> Option<&Channel> {
        let has = |channel: &&Channel| recipe.releases.contains_key(&channel.name);
        let first = || self.channels.iter().find(has);
        self.from.get(&recipe.name).or_else(first)
    }

    /// The same of a recipe that has to have one.
    pub fn channel_for(&self, recipe: &Recipe) -> Result<&Channel, RecipeError> {
        let names: Vec<_> = self
            .channels
            .iter()
            .map(|channel| channel.name.as_str())
            .collect();
        self.channel_of(recipe)
            .ok_or_else(|| recipe.no_release(&names.join("` or `")))
    }

    /// What a recipe's extension is built from.
    pub fn plan(&self, recipe: &Recipe) -> Result<Plan, RecipeError> {
        recipe.plan(self.channel_for(recipe)?)
    }
}
