//! Looks for newer releases, fetches and sums their files, and writes recipes
//! and lock. Also what records sums that nobody published: a release whose
//! files the lock does not know is fetched as it is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::digest::Sha256;
use crate::fetch::{self, Discovered, FetchError, Fetcher, FoundFile, Origin, Upstream, Wanted, Wish};
use crate::pins;
use crate::progress::Progress;
use crate::project::{LOCK_NAME, Project, ProjectError};
use crate::recipe::update::{
    Change, Found, Repinned, Summed, UpdateError, origins_besides, relock, repin, upstream_of_debian,
};
use crate::recipe::{
    Channel, Channels, Lock, LockError, Plan, PlannedAsset, Recipe, RecipeError, Recipes, Release, Watch,
};
use crate::seen::{Locks, PinError};

/// Why an update could not be made. Nothing was written then, for the recipe
/// concerned and those after it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// Upstream could not be asked, or a file not be fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// A recipe.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recipe(#[from] RecipeError),
    /// The lock.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// The recipe cannot take the new release.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Update(#[from] UpdateError),
    /// What the user saw first.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pin(#[from] PinError),
    /// A file could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
}

/// Updates recipes of a project in one channel.
pub struct Updater<'a> {
    /// Where recipes and lock are.
    pub project: &'a Project,
    /// All recipes: other releases may need the same files.
    pub recipes: &'a Recipes,
    /// All channels.
    pub channels: &'a Channels,
    /// The one to update.
    pub channel: &'a Channel,
    /// Asks and fetches.
    pub fetcher: &'a Fetcher,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

impl Updater<'_> {
    /// Updates one recipe, and the lock with it. With `write` false nothing is
    /// changed; what would change is told all the same.
    pub fn update(&self, recipe: &Recipe, lock: &mut Lock, write: bool) -> Result<Change, Error> {
        if write && self.project.folder().is_none() {
            return Err(ProjectError::ReadOnly(LOCK_NAME.to_owned()).into());
        }
        let old = recipe.plan(self.channel)?;
        let release = recipe.releases.get(&self.channel.name);
        let (found, files) = self.look(&old, release)?;
        let repinned = repin(recipe, self.channel, &found)?;
        let sums = self.sums(&repinned, lock, &files)?;
        let mut used = origins_besides(self.recipes, self.channels, &recipe.name, &self.channel.name)?;
        used.extend(pins::origins(self.project)?);
        let change = relock(lock, &repinned, &sums, &used)?;
        if write && !change.is_empty() {
            // The lock first: a file too many in it does no harm.
            lock.save(self.project)?;
            self.project
                .write(&format!("recipes/{}/recipe.toml", recipe.name), &repinned.text)?;
        }
        Ok(change)
    }

    /// The newest release that the recipe wants: the one it has, if none is newer.
    /// With what upstream says of the newest one's files.
    fn look(&self, old: &Plan, release: Option<&Release>) -> Result<(Found, Vec<FoundFile>), Error> {
        let mut found = Found {
            version: old.version.clone(),
            date: old.date,
            pins: self.pins(old)?,
        };
        let watch = release.and_then(|release| release.watch.as_ref());
        let Some((upstream, wish)) = watch.and_then(|watch| self.watched(watch)) else {
            return Ok((found, Vec::new()));
        };
        let latest = self.fetcher.latest(&upstream, &wish, self.progress)?;
        let version = match upstream {
            Upstream::Debian { .. } => upstream_of_debian(&latest.version),
            Upstream::Github(_) | Upstream::Npm(_) => latest.version,
        };
        if fetch::compare(&version, &old.version).is_gt() {
            found.version = version;
            found.date = latest
                .date
                .and_then(|date| date.parse().ok())
                .unwrap_or_else(today);
        }
        Ok((found, latest.files))
    }

    fn watched(&self, watch: &Watch) -> Option<(Upstream, Wish)> {
        let upstream = match (&watch.github, &watch.npm, &watch.debian) {
            (Some(repository), ..) => Upstream::Github(repository.clone()),
            (_, Some(package), _) => Upstream::Npm(package.clone()),
            (.., Some(package)) => Upstream::Debian {
                suite: self.channel.suite.clone()?,
                package: package.clone(),
            },
            _ => return None,
        };
        let wish = Wish {
            prefix: watch.prefix.clone(),
            below: watch.below.clone(),
        };
        Some((upstream, wish))
    }

    /// The newest revision of every Debian package of a release: those are
    /// replaced on the mirror, and the old ones vanish.
    fn pins(&self, old: &Plan) -> Result<BTreeMap<String, String>, Error> {
        let mut pins = BTreeMap::new();
        for asset in &old.assets {
            if let Origin::Debian(package) = &asset.origin {
                let upstream = Upstream::Debian {
                    suite: package.suite().to_owned(),
                    package: package.package().to_owned(),
                };
                let latest = self.fetcher.latest(&upstream, &Wish::default(), self.progress)?;
                pins.insert(asset.name.clone(), latest.version);
            }
        }
        Ok(pins)
    }

    /// Fetches what the lock does not know, or knows no size of. `files` are
    /// those that upstream lists with their sums.
    fn sums(&self, repinned: &Repinned, lock: &Lock, files: &[FoundFile]) -> Result<Vec<Summed>, Error> {
        let mut sums = Vec::new();
        for asset in &repinned.new.assets {
            let known = match lock.find(&asset.origin) {
                Some(locked) if locked.size.is_some() => continue,
                Some(locked) => Some((locked.sha256, locked.source.clone())),
                None => self.known_besides(asset, files)?,
            };
            let (cached, source) = match known {
                Some((sha256, source)) => {
                    let wanted = Wanted {
                        name: asset.name.clone(),
                        origin: asset.origin.clone(),
                        size: None,
                        sha256,
                    };
                    (self.fetcher.fetch(&wanted, self.progress)?, source)
                }
                None => {
                    let new = self.discover(asset)?;
                    (new.cached, new.vouched.source())
                }
            };
            sums.push(Summed {
                origin: asset.origin.clone(),
                size: cached.size,
                sha256: cached.sha256,
                source,
            });
        }
        Ok(sums)
    }

    /// The sum of a file that the lock does not know, and who says so. Where the recipe
    /// names a list, that is asked for it, as a build does, unless this user did before.
    fn known_besides(
        &self,
        asset: &PlannedAsset,
        files: &[FoundFile],
    ) -> Result<Option<(Sha256, String)>, Error> {
        if asset.sum_list.is_none() {
            return Ok(listed(files, &asset.origin).map(|sum| (sum, LISTED.to_owned())));
        }
        let seen = Locks::of_user(self.project).own()?;
        let file = seen.find(&asset.origin);
        Ok(file.map(|file| (file.sha256, file.source.clone())))
    }

    /// Fetches a file that nobody else has summed, as upstream's own list says if there
    /// is one.
    fn discover(&self, asset: &PlannedAsset) -> Result<Discovered, FetchError> {
        match &asset.sum_list {
            Some(list) => {
                let (name, origin) = (&asset.name, &asset.origin);
                self.fetcher.discover_listed(name, origin, list, self.progress)
            }
            None => self.fetcher.discover(&asset.origin, self.progress),
        }
    }
}

/// The files that releases of recipes need, in all channels.
pub(crate) fn recipe_origins(
    recipes: &Recipes,
    channels: &Channels,
) -> Result<BTreeSet<Origin>, RecipeError> {
    // No recipe has an empty name.
    origins_besides(recipes, channels, "", "")
}

/// Who vouches for a sum that GitHub lists beside a release's file.
const LISTED: &str = "GitHub's list of the release";

/// The sum that upstream lists for a file.
fn listed(files: &[FoundFile], origin: &Origin) -> Option<Sha256> {
    let is_it = |file: &&FoundFile| file.url.parse().is_ok_and(|url: Origin| url == *origin);
    files.iter().find(is_it)?.sha256
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
