//! All recipes of a project together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Channels, FOLDER, Recipe, RecipeError, unknown};
use crate::base::Base;
use crate::project::{Project, ProjectError};

/// All recipes of a project, by name.
#[derive(Debug, Clone)]
pub struct Recipes(BTreeMap<String, Recipe>);

/// The names of all recipes: the folders that hold a `recipe.toml`, sorted.
pub(super) fn names(project: &Project) -> Result<Vec<String>, ProjectError> {
    let folders = project.folders(FOLDER)?.into_iter();
    let is_recipe = |name: &String| project.read(&format!("{FOLDER}/{name}/recipe.toml")).is_ok();
    Ok(folders.filter(is_recipe).collect())
}

impl Recipes {
    /// Loads and checks all recipes of a project. Recipes that depend on each
    /// other in a circle are an error.
    pub fn load(project: &Project) -> Result<Self, RecipeError> {
        let (channels, base) = (Channels::load(project)?, Base::built_in()?);
        let load = |name: String| {
            let recipe = Recipe::load_with(project, &name, &channels, &base)?;
            Ok((name, recipe))
        };
        let recipes = names(project)?.into_iter().map(load);
        let recipes = Self(recipes.collect::<Result<_, RecipeError>>()?);
        let channels: BTreeSet<_> = recipes.iter().flat_map(|recipe| recipe.releases.keys()).collect();
        for channel in channels {
            recipes.order(channel, recipes.0.keys().map(String::as_str))?;
        }
        Ok(recipes)
    }

    /// The recipe of that name.
    pub fn get(&self, name: &str) -> Option<&Recipe> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Recipe> {
        self.0.values()
    }

    /// All that have a release in a channel, by name.
    pub fn in_channel(&self, channel: &str) -> impl Iterator<Item = &Recipe> {
        self.iter()
            .filter(move |recipe| recipe.releases.contains_key(channel))
    }

    /// The recipes that are asked for, or all that the channel has if none is,
    /// sorted so that each comes after those that it depends on. Dependencies
    /// that are not asked for are not added. A name that is no recipe's, or
    /// whose recipe is not in the channel, is an error.
    pub fn choose(
        &self,
        project: &Project,
        channel: &str,
        names: &[String],
    ) -> Result<Vec<&Recipe>, RecipeError> {
        for name in names {
            let Some(recipe) = self.get(name) else {
                return Err(unknown(project, name)?);
            };
            if !recipe.releases.contains_key(channel) {
                return Err(RecipeError::NoRelease {
                    recipe: name.clone(),
                    channel: channel.to_owned(),
                    has: recipe.releases.keys().cloned().collect(),
                });
            }
        }
        let wanted: BTreeSet<&str> = if names.is_empty() {
            self.in_channel(channel)
                .map(|recipe| recipe.name.as_str())
                .collect()
        } else {
            names.iter().map(String::as_str).collect()
        };
        let order = self.order(channel, wanted.iter().copied())?;
        Ok(order
            .into_iter()
            .filter(|recipe| wanted.contains(recipe.name.as_str()))
            .collect())
    }

    /// The recipes of those names and all that they depend on in a channel,
    /// each after those that it depends on.
    pub fn order<'n>(
        &self,
        channel: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<&Recipe>, RecipeError> {
        let mut walk = Walk {
            recipes: self,
            channel,
            chain: Vec::new(),
            done: BTreeSet::new(),
            order: Vec::new(),
        };
        for name in names {
            walk.visit(name)?;
        }
        Ok(walk.order)
    }
}

struct Walk<'a, 'c> {
    recipes: &'a Recipes,
    channel: &'c str,
    chain: Vec<&'a str>,
    done: BTreeSet<&'a str>,
    order: Vec<&'a Recipe>,
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, name: &str) -> Result<(), RecipeError> {
        let Some((name, recipe)) = self.recipes.0.get_key_value(name) else {
            return Ok(());
        };
        if let Some(start) = self.chain.iter().position(|above| above == name) {
            let circle = self.chain[start..].iter().copied().chain([name.as_str()]);
            let names = circle.map(|name| format!("{name}.tcz"));
            return Err(RecipeError::Cycle(names.collect()));
        }
        let Some(release) = recipe.releases.get(self.channel) else {
            return Ok(());
        };
        if self.done.contains(name.as_str()) {
            return Ok(());
        }
        self.chain.push(name);
        for dependency in recipe.dependencies.iter().chain(&release.dependencies) {
            self.visit(dependency.trim_end_matches(".tcz"))?;
        }
        self.chain.pop();
        self.done.insert(name);
        self.order.push(recipe);
        Ok(())
    }
}
