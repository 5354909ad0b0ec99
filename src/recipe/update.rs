//! New versions: what changes in a recipe and in the lock. Nothing here looks
//! anything up; versions, sums and sizes are handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use toml_edit::{DocumentMut, Item, value};

use super::{Channel, Invalid, Lock, LockedFile, Plan, Recipe, RecipeError, Recipes, SourceFile};
use crate::digest::Sha256;
use crate::fetch::Origin;

/// A version that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As upstream writes it, without a `v` in front.
    pub version: String,
    /// The day it came out.
    pub date: Date,
    /// New versions of the assets that have one of their own (Debian
    /// packages), by the asset's name.
    pub pins: BTreeMap<String, String>,
}

/// A file that was fetched and summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summed {
    /// Where it is.
    pub origin: Origin,
    /// Bytes.
    pub size: u64,
    /// Its sum.
    pub sha256: Sha256,
    /// Who says so.
    pub source: String,
}

/// A recipe with new pins, before its files were fetched.
#[derive(Debug, Clone)]
pub struct Repinned {
    /// The recipe's new text; comments and order are those of the old one.
    pub text: String,
    /// The old release.
    pub old: Plan,
    /// The new one: its assets' origins are what has to be fetched.
    pub new: Plan,
}

/// What an update does to one recipe and the lock, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The recipe.
    pub recipe: String,
    /// The channel.
    pub channel: String,
    /// The versions before and after.
    pub versions: (String, String),
    /// The files that differ.
    pub files: Vec<FileChange>,
}

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The asset.
    pub name: String,
    /// What the lock had for it, if anything.
    pub old: Option<LockedFile>,
    /// What it has now; `None` where the asset is gone.
    pub new: Option<LockedFile>,
}

/// Why an update cannot be made.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum UpdateError {
    /// The recipe's text is no TOML that can be edited.
    #[error("cannot edit the recipe `{recipe}`")]
    #[diagnostic(help("mend its syntax first; nothing was changed"))]
    Edit {
        /// The recipe.
        recipe: String,
        /// Why.
        #[source]
        source: toml_edit::TomlError,
    },
    /// The recipe with its new pins is not a recipe any more.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
    /// The recipe has no such release.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of the new release was not fetched.
    #[error("`{name}` of the new release was not fetched: {origin}")]
    #[diagnostic(help("the recipe and the lock were left as they are; try again"))]
    NotFetched {
        /// The asset.
        name: String,
        /// Where it is.
        origin: Origin,
    },
}

/// Upstream's version of a Debian package's: without epoch, revision, and the
/// marks of a repacked source, and with `-rc` for Debian's `~rc`.
pub fn upstream_of_debian(version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    let repacked = ["~ds", "+ds", "~dfsg", "+dfsg"];
    let end = repacked.iter().filter_map(|mark| version.find(mark)).min();
    version[..end.unwrap_or(version.len())].replace("~rc", "-rc")
}

/// Puts a found version into a recipe's release.
pub fn repin(recipe: &Recipe, channel: &Channel, found: &Found) -> Result<Repinned, UpdateError> {
    let old = recipe.plan(channel)?;
    let text = edit(recipe, &old, found).map_err(|source| UpdateError::Edit {
        recipe: recipe.name.clone(),
        source,
    })?;
    let new = Recipe::parse(SourceFile::new(recipe.source.name(), &text))?.plan(channel)?;
    Ok(Repinned { text, old, new })
}

fn edit(recipe: &Recipe, old: &Plan, found: &Found) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = recipe.source.text().parse()?;
    let release = (document.get_mut("release")).and_then(|all| all.get_mut(&old.channel));
    let Some(release) = release else {
        return Ok(document.to_string());
    };
    set(release, "version", &found.version);
    set(release, "date", &found.date.to_string());
    for (index, asset) in old.assets.iter().enumerate() {
        let item = release.get_mut("asset").and_then(|assets| assets.get_mut(index));
        if let (Some(item), Some(version)) = (item, found.pins.get(&asset.name))
            && (item.get("version").is_some() || *version != found.version)
        {
            set(item, "version", version);
        }
    }
    Ok(document.to_string())
}

/// Replaces a value and keeps the blanks and the comment around it.
fn set(table: &mut Item, key: &str, text: &str) {
    let Some(table) = table.as_table_like_mut() else {
        return;
    };
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) if old.as_str() == Some(text) => {}
        Some(old) => {
            let decor = old.decor().clone();
            *old = text.into();
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, value(text));
        }
    }
}

/// Puts the sums of a release's files into the lock, takes out those of the
/// release before, and says what changed. `used` are the origins that other
/// releases need ([`origins_besides`]); those stay. An asset that the lock
/// knows already needs no new sum; if one is handed in, it wins.
pub fn relock(
    lock: &mut Lock,
    repinned: &Repinned,
    sums: &[Summed],
    used: &BTreeSet<Origin>,
) -> Result<Change, UpdateError> {
    let Repinned { old, new, .. } = repinned;
    let mut files = Vec::new();
    for asset in &new.assets {
        let summed = sums.iter().find(|summed| summed.origin == asset.origin);
        let known = lock.find(&asset.origin);
        let file = match (summed, known) {
            (Some(summed), _) => locked(&asset.name, summed),
            (None, Some(known)) => known.clone(),
            (None, None) => {
                return Err(UpdateError::NotFetched {
                    name: asset.name.clone(),
                    origin: asset.origin.clone(),
                });
            }
        };
        files.push((asset.name.clone(), file));
    }
    let mut changes = replace(lock, old, files);
    let kept = |origin: &Origin| used.contains(origin) || new.assets.iter().any(|a| a.origin == *origin);
    for asset in old.assets.iter().filter(|asset| !kept(&asset.origin)) {
        let gone = lock.remove(&asset.origin);
        if new.assets.iter().all(|new| new.name != asset.name) {
            changes.push(FileChange {
                name: asset.name.clone(),
                old: gone,
                new: None,
            });
        }
    }
    Ok(Change {
        recipe: new.name.clone(),
        channel: new.channel.clone(),
        versions: (old.version.clone(), new.version.clone()),
        files: changes,
    })
}

fn locked(name: &str, summed: &Summed) -> LockedFile {
    LockedFile {
        name: name.to_owned(),
        url: summed.origin.clone(),
        size: Some(summed.size),
        sha256: summed.sha256,
        source: summed.source.clone(),
    }
}

fn replace(lock: &mut Lock, old: &Plan, files: Vec<(String, LockedFile)>) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for (name, file) in files {
        // An asset that moves is a change of the recipe, whatever the lock knows.
        let asset = old.assets.iter().find(|asset| asset.name == name);
        let moved = asset.filter(|asset| asset.origin != file.url);
        let origin = moved.map_or(&file.url, |asset| &asset.origin);
        let before = lock.find(origin).cloned();
        if moved.is_some() || before.as_ref() != Some(&file) {
            changes.push(FileChange {
                name,
                old: before,
                new: Some(file.clone()),
            });
        }
        lock.insert(file);
    }
    changes
}

/// The origins that all releases but one need.
pub fn origins_besides(
    recipes: &Recipes,
    channels: &super::Channels,
    recipe: &str,
    channel: &str,
) -> Result<BTreeSet<Origin>, RecipeError> {
    let mut origins = BTreeSet::new();
    for one in channels.iter() {
        for other in recipes.in_channel(&one.name) {
            if (other.name.as_str(), one.name.as_str()) != (recipe, channel) {
                origins.extend(other.plan(one)?.assets.into_iter().map(|asset| asset.origin));
            }
        }
    }
    Ok(origins)
}

impl Change {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.versions.0 == self.versions.1 && self.files.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = &self.versions;
        write!(f, "{} ({}): ", self.recipe, self.channel)?;
        match (old == new, self.files.is_empty()) {
            (true, true) => write!(f, "{new}, nothing new"),
            (true, false) => write!(f, "{new}"),
            (false, _) => write!(f, "{old} → {new}"),
        }?;
        self.files.iter().try_for_each(|file| write!(f, "\n  {file}"))
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |file: &Option<LockedFile>| match file {
            Some(file) => match file.size {
                Some(size) => format!("{} {} ({size} bytes)", file.url, file.sha256),
                None => format!("{} {}", file.url, file.sha256),
            },
            None => "nothing".to_owned(),
        };
        write!(f, "{}: {} → {}", self.name, side(&self.old), side(&self.new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_versions_lose_debians_parts() {
        for (debian, upstream) in [
            ("1.4.13~ds1-1~deb11u4", "1.4.13"),
            ("1.0.0~rc93+ds1-5+deb11u5", "1.0.0-rc93"),
            ("2:6.2.1+dfsg-1+deb11u1", "6.2.1"),
            ("1:2.4.48-6", "2.4.48"),
            ("20210119", "20210119"),
        ] {
            assert_eq!(upstream_of_debian(debian), upstream);
        }
    }
}
