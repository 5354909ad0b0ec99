//! Debian packages that other data files than recipes name with their versions:
//! what the bases of images and the kernels are made of. A point release takes old
//! versions off the mirrors, so that these have to move on as recipes do.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{DocumentMut, Formatted, Item, Value};

use crate::fetch::{self, DebianPackage, Origin, Upstream, Wish};
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

/// The pins that move, and what to.
type Moves = BTreeMap<DebianPackage, DebianPackage>;

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
        let (mut changes, mut moves) = (Vec::new(), Moves::new());
        for origin in origins(self.project)? {
            let Origin::Debian(old) = &origin else { continue };
            let new = self.newest(old)?;
            changes.push(self.relock(lock, old, &new)?);
            if new != *old {
                moves.insert(old.clone(), new);
            }
        }
        if write && changes.iter().any(|change| !change.is_empty()) {
            save(self.project, lock, &moves, &used)?;
        }
        Ok(changes)
    }

    /// The newest version that the mirror has, or the pin if that is newer: a mirror
    /// may be behind.
    fn newest(&self, pin: &DebianPackage) -> Result<DebianPackage, Error> {
        let upstream = Upstream::Debian {
            suite: pin.suite().to_owned(),
            package: pin.package().to_owned(),
        };
        let latest = self.fetcher.latest(&upstream, &Wish::default(), self.progress)?;
        if compare(&latest.version, pin.version()).is_le() {
            return Ok(pin.clone());
        }
        let newest = DebianPackage::new(pin.suite(), pin.package(), pin.arch(), &latest.version);
        Ok(newest.map_err(fetch::FetchError::from)?)
    }

    /// Puts what the new one is into the lock. The old one stays there.
    fn relock(&self, lock: &mut Lock, old: &DebianPackage, new: &DebianPackage) -> Result<Change, Error> {
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
        Ok(Change {
            recipe: old.package().to_owned(),
            channel: old.suite().to_owned(),
            versions: (old.version().to_owned(), new.version().to_owned()),
            files,
        })
    }
}

/// Writes the lock and the files. As long as a file may name an old package, the lock
/// has it: what comes to an end between them leaves entries too many, and none too few.
fn save(project: &Project, lock: &mut Lock, moves: &Moves, used: &BTreeSet<Origin>) -> Result<(), Error> {
    lock.save(project)?;
    for name in FILES {
        if let Some(text) = moved(&project.read_text(name)?, moves) {
            project.write(name, &text)?;
        }
    }
    let olds = moves.keys().cloned().map(Origin::Debian);
    for old in olds.filter(|old| !used.contains(old)) {
        lock.remove(&old);
    }
    Ok(lock.save(project)?)
}

/// Which of two versions is newer, as `dpkg --compare-versions` has it (policy
/// §5.6.12): by their epochs, then by upstream's versions, then by the revisions.
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    let mut orders = a.into_iter().zip(b).map(|(a, b)| fetch::compare(a, b));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Epoch, upstream's version and revision; what is left out counts as 0.
fn parts(version: &str) -> [&str; 3] {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    [epoch, upstream, revision]
}

/// A file's text with other pins; all else in it stays. `None` if none of them moves.
fn moved(text: &str, moves: &Moves) -> Option<String> {
    let mut document = text.parse::<DocumentMut>().ok()?;
    let mut any = false;
    each_pin(document.as_item_mut(), &mut |text, old| {
        if let Some(new) = moves.get(&old) {
            let decor = text.decor().clone();
            *text = Formatted::new(new.to_string());
            *text.decor_mut() = decor;
            any = true;
        }
    });
    any.then(|| document.to_string())
}

/// The pins among a file's texts. What is no TOML has none: whoever reads the file
/// says so.
fn pinned(text: &str) -> Vec<DebianPackage> {
    let mut pins = Vec::new();
    if let Ok(mut document) = text.parse::<DocumentMut>() {
        each_pin(document.as_item_mut(), &mut |_, pin| pins.push(pin));
    }
    pins
}

/// Shows each pin, however it is written, and the text that it stands in.
fn each_pin(item: &mut Item, see: &mut dyn FnMut(&mut Formatted<String>, DebianPackage)) {
    match item {
        Item::None => {}
        Item::Value(value) => each_pin_of_value(value, see),
        Item::Table(table) => table.iter_mut().for_each(|(_, item)| each_pin(item, see)),
        Item::ArrayOfTables(tables) => {
            let items = tables.iter_mut().flat_map(|table| table.iter_mut());
            items.for_each(|(_, item)| each_pin(item, see));
        }
    }
}

fn each_pin_of_value(value: &mut Value, see: &mut dyn FnMut(&mut Formatted<String>, DebianPackage)) {
    match value {
        Value::String(text) => {
            if let Ok(Origin::Debian(package)) = text.value().parse() {
                see(text, package);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_pin_of_value(value, see)),
        Value::InlineTable(table) => {
            table
                .iter_mut()
                .for_each(|(_, value)| each_pin_of_value(value, see));
        }
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
        let moves = Moves::from([(package("a=1"), package("a=7"))]);
        let wanted = text.replace("x = \"debian:bullseye/a=1\"", "x = \"debian:bullseye/a=7\"");
        assert_eq!(moved(text, &moves), Some(wanted));
        assert_eq!(pinned("x = "), []);
        assert_eq!(moved("x = ", &moves), None);
        assert_eq!(moved("x = 'debian:bullseye/a=10'", &moves), None);
    }

    fn package(text: &str) -> DebianPackage {
        match format!("debian:bullseye/{text}").parse().unwrap() {
            Origin::Debian(package) => package,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_way_to_write_a_pin_is_moved() {
        let moves = Moves::from([(package("a=1"), package("a=7"))]);
        for old in [
            "'debian:bullseye/a=1'",
            "\"debian:bullseye/a:amd64=1\"",
            "\"debian:bullseye\\u002Fa=1\"",
            "'''debian:bullseye/a=1'''",
        ] {
            for around in [
                "# of x\nx = PIN # one\n",
                "x = [\n  PIN, # one\n  'y', # two\n]\n",
                "x.y = {  z =  PIN , w = 1 } # one\n",
                "[x]\n[[x.y]] # one\nz  =  PIN\n",
            ] {
                let text = around.replace("PIN", old);
                let wanted = around.replace("PIN", "\"debian:bullseye/a=7\"");
                assert_eq!(moved(&text, &moves), Some(wanted), "{text}");
            }
        }
    }

    #[test]
    fn the_lock_has_what_files_name_though_one_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::in_folder(folder.path());
        // Where the last file's folder would be.
        let obstacle = folder.path().join("kernel");
        std::fs::write(&obstacle, "").unwrap();
        let mut lock = Lock::load(&project).unwrap();
        let mut moves = Moves::new();
        for name in FILES {
            for old in pinned(&project.read_text(name).unwrap()) {
                let new = DebianPackage::new(old.suite(), old.package(), old.arch(), "9999:1").unwrap();
                let known = lock.find(&Origin::Debian(old.clone())).unwrap().clone();
                lock.insert(LockedFile {
                    url: Origin::Debian(new.clone()),
                    ..known
                });
                moves.insert(old, new);
            }
        }
        let used = BTreeSet::new();

        let error = save(&project, &mut lock, &moves, &used).unwrap_err();
        assert!(
            matches!(error, Error::Project(ProjectError::Io { .. })),
            "{error}"
        );
        let written = Lock::load(&project).unwrap();
        let named = origins(&project).unwrap();
        assert!(named.iter().any(|pin| pin.to_string().contains("=9999:1")));
        assert!(named.iter().any(|pin| !pin.to_string().contains("=9999:1")));
        for pin in named {
            assert!(written.find(&pin).is_some(), "{pin}");
        }

        std::fs::remove_file(&obstacle).unwrap();
        let kept = Origin::Debian(moves.keys().next().unwrap().clone());
        save(&project, &mut lock, &moves, &BTreeSet::from([kept.clone()])).unwrap();
        let written = Lock::load(&project).unwrap();
        for (old, new) in moves {
            let (old, new) = (Origin::Debian(old), Origin::Debian(new));
            assert_eq!(written.find(&old).is_some(), old == kept, "{old}");
            assert!(written.find(&new).is_some(), "{new}");
        }
    }

    #[test]
    fn versions_are_in_debians_order() {
        let rising = [
            "1.0~rc1-3",
            "1.0-1",
            "1.0-1+deb11u1",
            "1.0-2",
            "1.0+dfsg-1",
            "1.0.1-1~deb11u4",
            "1.0.1-1",
            "10.0",
            "1:0.9-1",
            "1:0.9-10",
            "10:0.1",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("0:1.0-0", "1.0"), Ordering::Equal);
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
