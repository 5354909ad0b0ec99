//! All recipes of a project together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Channels, Choice, FOLDER, Recipe, RecipeError, UnknownName};
use crate::base::Base;
use crate::project::{Project, ProjectError};

/// All recipes of a project, by name.
#[derive(Debug, Clone)]
pub struct Recipes(BTreeMap<String, Recipe>);

/// The names of all recipes: the folders that hold a `recipe.toml`, sorted.
pub fn names(project: &Project) -> Result<Vec<String>, ProjectError> {
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
        for channel in channels.iter() {
            let choice = Choice::only(channel.clone());
            recipes.order(&choice, recipes.0.keys().map(String::as_str))?;
        }
        Ok(recipes)
    }

    /// The recipe of that name.
    pub fn get(&self, name: &str) -> Option<&Recipe> {
        self.0.get(name)
    }

    /// The same of a name that has to be one's.
    pub fn named(&self, name: &str) -> Result<&Recipe, RecipeError> {
        let known = || self.0.keys().cloned().collect();
        self.get(name)
            .ok_or_else(|| UnknownName::new("recipe", name, known()).into())
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

    /// The recipes that are asked for, or all that the channels have if none is,
    /// sorted so that each comes after those that it depends on. Dependencies
    /// that are not asked for are not added. A name that is no recipe's, or
    /// whose recipe is in none of the channels, is an error.
    pub fn choose(&self, choice: &Choice, names: &[String]) -> Result<Vec<&Recipe>, RecipeError> {
        for name in names {
            choice.channel_for(self.named(name)?)?;
        }
        let wanted: BTreeSet<&str> = if names.is_empty() {
            let all = self.iter().filter(|recipe| choice.channel_of(recipe).is_some());
            all.map(|recipe| recipe.name.as_str()).collect()
        } else {
            names.iter().map(String::as_str).collect()
        };
        let order = self.order(choice, wanted.iter().copied())?;
        Ok(order
            .into_iter()
            .filter(|recipe| wanted.contains(recipe.name.as_str()))
            .collect())
    }

    /// The recipes of those names and all that they depend on in their channels,
    /// each after those that it depends on.
    pub fn order<'n>(
        &self,
        choice: &Choice,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<&Recipe>, RecipeError> {
        let mut walk = Walk {
            recipes: self,
            choice,
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
    choice: &'c Choice,
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
        let Some(channel) = self.choice.channel_of(recipe) else {
            return Ok(());
        };
        if self.done.contains(name.as_str()) {
            return Ok(());
        }
        self.chain.push(name);
        for dependency in recipe.dependencies_in(&channel.name) {
            self.visit(dependency.trim_end_matches(".tcz"))?;
        }
        self.chain.pop();
        self.done.insert(name);
        self.order.push(recipe);
        Ok(())
    }
}
