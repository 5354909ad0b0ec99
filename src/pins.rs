//! Debian packages that other data files than recipes name with their versions:
//! what the bases of images and the kernels are made of. A point release takes old
//! versions off the mirrors, so that these have to move on as recipes do.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{DocumentMut, Item, Value};

use crate::fetch::{DebianPackage, Origin, Upstream, Wish};
use crate::project::{Project, ProjectError};
use crate::recipe::update::{Change, FileChange};
use crate::recipe::{Channels, Lock, LockedFile, Recipes};
use crate::update::{Error, recipe_origins};

/// The files: in them, every text `debian:SUITE/PACKAGE=VERSION` is a pin.
const FILES: [&str; 3] = [
    "iso/bases.toml",
    "iso/mini/mini.toml",
    "kernel/build/sources.toml",
];

/// The packages that bases and kernels name, each once.
pub fn origins(project: &Project) -> Result<BTreeSet<Origin>, ProjectError> {
    let mut all = BTreeSet::new();
    for name in FILES {
        let pins = pinned(&project.read_text(name)?);
        all.extend(pins.into_iter().map(Origin::Debian));
    }
    Ok(all)
}

/// Moves the packages of bases and kernels to the newest versions of their suites.
pub struct Repinner<'a> {
    /// Where the files and the lock are.
    pub project: &'a Project,
    /// All recipes: they may need the same packages.
    pub recipes: &'a Recipes,
    /// All channels.
    pub channels: &'a Channels,
    /// Asks and fetches.
    pub fetcher: &'a crate::fetch::Fetcher,
    /// Told what goes on.
    pub progress: &'a dyn crate::progress::Progress,
}

impl Repinner<'_> {
    /// Moves them all, or none: what cannot be asked for or fetched changes nothing.
    /// With `write` false nothing is changed; what would change is told all the same.
    pub fn repin(&self, lock: &mut Lock, write: bool) -> Result<Vec<Change>, Error> {
        if write && self.project.folder().is_none() {
            return Err(ProjectError::ReadOnly(FILES[0].to_owned()).into());
        }
        let used = recipe_origins(self.recipes, self.channels)?;
        let (mut changes, mut moves) = (Vec::new(), BTreeMap::new());
        for origin in origins(self.project)? {
            let Origin::Debian(old) = &origin else { continue };
            let new = self.newest(old)?;
            let change = self.relock(lock, old, &new, &used)?;
            if new != *old {
                moves.insert(old.to_string(), new.to_string());
            }
            changes.push(change);
        }
        if write && changes.iter().any(|change| !change.is_empty()) {
            self.write(lock, &moves)?;
        }
        Ok(changes)
    }

    fn newest(&self, pin: &DebianPackage) -> Result<DebianPackage, Error> {
        let upstream = Upstream::Debian {
            suite: pin.suite().to_owned(),
            package: pin.package().to_owned(),
        };
        let latest = self.fetcher.latest(&upstream, &Wish::default(), self.progress)?;
        let newest = DebianPackage::new(pin.suite(), pin.package(), pin.arch(), &latest.version);
        Ok(newest.map_err(crate::fetch::FetchError::from)?)
    }

    /// Puts what the new one is into the lock, and takes the old one out.
    fn relock(
        &self,
        lock: &mut Lock,
        old: &DebianPackage,
        new: &DebianPackage,
        used: &BTreeSet<Origin>,
    ) -> Result<Change, Error> {
        let (before, after) = (Origin::Debian(old.clone()), Origin::Debian(new.clone()));
        let mut files = Vec::new();
        if lock.find(&after).is_none() {
            let found = self.fetcher.discover(&after, self.progress)?;
            let file = LockedFile {
                name: new.package().to_owned(),
                url: after.clone(),
                size: Some(found.cached.size),
                sha256: found.cached.sha256,
                source: found.vouched.source(),
            };
            files.push(FileChange {
                name: file.name.clone(),
                old: lock.find(&before).cloned(),
                new: Some(file.clone()),
            });
            lock.insert(file);
        }
        if before != after && !used.contains(&before) {
            lock.remove(&before);
        }
        Ok(Change {
            recipe: old.package().to_owned(),
            channel: old.suite().to_owned(),
            versions: (old.version().to_owned(), new.version().to_owned()),
            files,
        })
    }

    fn write(&self, lock: &Lock, moves: &BTreeMap<String, String>) -> Result<(), Error> {
        let mut texts = Vec::new();
        for name in FILES {
            let text = self.project.read_text(name)?;
            let moved = moved(&text, moves);
            if moved != text {
                texts.push((name, moved));
            }
        }
        lock.save(self.project)?;
        for (name, text) in texts {
            self.project.write(name, &text)?;
        }
        Ok(())
    }
}

/// A file's text with other pins; all else in it stays.
fn moved(text: &str, moves: &BTreeMap<String, String>) -> String {
    let quoted = |pin: &str| format!("\"{pin}\"");
    moves.iter().fold(text.to_owned(), |text, (old, new)| {
        text.replace(&quoted(old), &quoted(new))
    })
}

/// The pins among a file's texts. What is no TOML has none: whoever reads the file
/// says so.
fn pinned(text: &str) -> Vec<DebianPackage> {
    let mut pins = Vec::new();
    if let Ok(document) = text.parse::<DocumentMut>() {
        search(document.as_item(), &mut pins);
    }
    pins
}

fn search(item: &Item, pins: &mut Vec<DebianPackage>) {
    match item {
        Item::None => {}
        Item::Value(value) => search_value(value, pins),
        Item::Table(table) => table.iter().for_each(|(_, item)| search(item, pins)),
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().flat_map(|table| table.iter());
            items.for_each(|(_, item)| search(item, pins));
        }
    }
}

fn search_value(value: &Value, pins: &mut Vec<DebianPackage>) {
    match value {
        Value::String(text) => {
            if let Ok(Origin::Debian(package)) = text.value().parse() {
                pins.push(package);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| search_value(value, pins)),
        Value::InlineTable(table) => table.iter().for_each(|(_, value)| search_value(value, pins)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_found_wherever_they_stand_and_moved_without_the_rest() {
        let text = "\
# debian:bullseye/a=1 is no pin
x = \"debian:bullseye/a=1\" # one
y = [{ z = \"debian:bullseye/b=2\" }, \"debian:bullseye\", \"debian:bullseye/a=10\"]
[\"debian:bullseye/c=3\"]
origin = \"https://example.org/a\"
[[d]]
origin = \"debian:buster/d:i386=1:4-5\"
";
        let pins: Vec<String> = pinned(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            pins,
            [
                "debian:bullseye/a=1",
                "debian:bullseye/b=2",
                "debian:bullseye/a=10",
                "debian:buster/d:i386=1:4-5"
            ]
        );
        let moves = BTreeMap::from([("debian:bullseye/a=1".to_owned(), "debian:bullseye/a=7".to_owned())]);
        let wanted = text.replace("x = \"debian:bullseye/a=1\"", "x = \"debian:bullseye/a=7\"");
        assert_eq!(moved(text, &moves), wanted);
        assert_eq!(pinned("x = "), []);
    }

    #[test]
    fn what_bases_and_kernels_name_is_in_the_lock() {
        let project = Project::built_in();
        let lock = Lock::load(&project).unwrap();
        let pins = origins(&project).unwrap();
        assert!(pins.len() > 10, "{pins:?}");
        for pin in pins {
            assert!(lock.find(&pin).is_some(), "{pin}");
        }
    }
}
