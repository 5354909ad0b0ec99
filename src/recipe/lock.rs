//! The lock: which bytes every upstream file has to have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::Plan;
use super::fault::Fault;
use super::source::{At, Invalid, SourceFile, Spans};
use crate::digest::Sha256;
use crate::fetch::{FIRST_SEEN, Origin, Wanted};
use crate::project::{LOCK_NAME, Project, ProjectError};

/// What stands above the entries of the file.
const HEADER: &str = "\
# Every upstream file that a build may read: what it is called, where it is,
# its size in bytes (left out until somebody fetched it), its sha256, and who
# says so. Written by `tcforge update`, and by the first fetch of a file whose
# sum only upstream publishes. An extension is not built from any other file,
# nor from one that differs.
";

/// The format that this code reads and writes.
const VERSION: i64 = 1;

/// The files that a build may read, by origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    files: BTreeMap<Origin, LockedFile>,
    /// The text that it was read from: its comments are a person's.
    text: String,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// What recipes call it.
    pub name: String,
    /// Where it is.
    pub url: Origin,
    /// Its size in bytes; unknown where only the sum was published and nobody
    /// has fetched it yet.
    #[serde(default)]
    pub size: Option<u64>,
    /// Its sum.
    pub sha256: Sha256,
    /// Who says so, and how many independent records agree.
    pub source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: i64,
    #[serde(default)]
    file: Vec<LockedFile>,
}

/// Why a file is not what the lock asks for, or the lock cannot be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LockError {
    /// The file cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// It has a mistake.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
    /// Its text cannot be changed.
    #[error("cannot write the lock")]
    #[diagnostic(help("this is a bug in tcforge: please report it, with the lock"))]
    Write(#[from] toml_edit::TomlError),
    /// It says nothing of a file.
    #[error("`{name}` of `{recipe}` is not in the lock: {url}")]
    #[diagnostic(help(
        "`tcforge update {recipe} --channel {channel}` fetches it and records its sum; \
         `--file {name}=PATH` takes a file of yours without one"
    ))]
    Missing {
        /// The recipe.
        recipe: String,
        /// The channel.
        channel: String,
        /// The asset.
        name: String,
        /// Where it would be.
        url: Origin,
    },
}

impl Lock {
    /// Reads a project's lock.
    pub fn load(project: &Project) -> Result<Self, LockError> {
        let text = project.read_text(LOCK_NAME)?;
        Ok(Self::parse(&SourceFile::new(
            &project.display_name(LOCK_NAME),
            &text,
        ))?)
    }

    /// Parses the text of a lock. Two entries for one origin are a mistake.
    pub fn parse(source: &SourceFile) -> Result<Self, Invalid> {
        let file: File = source.parse()?;
        let spans = Spans::new(source.text());
        let mut faults = Vec::new();
        if file.version != VERSION {
            let at = At::default().key("version");
            faults.push((spans.find(&at, None), Fault::LockVersion(file.version)));
        }
        let mut files = BTreeMap::new();
        for (index, file) in file.file.into_iter().enumerate() {
            let url = file.url.clone();
            if files.insert(url.clone(), file).is_some() {
                let at = At::default().key("file").item(index).key("url");
                faults.push((spans.find(&at, None), Fault::TwoLocked(url.to_string())));
            }
        }
        match faults.is_empty() {
            true => Ok(Self {
                files,
                text: source.text().to_owned(),
            }),
            false => Err(Invalid::new(source, faults)),
        }
    }

    /// The text of the lock: entries sorted by name and origin, with the comments of
    /// the text that it was read from.
    pub fn to_text(&self) -> Result<String, LockError> {
        let mut document: DocumentMut = self.text.parse()?;
        let mut written = entries(document.remove("file"));
        if !document.contains_key("version") {
            document.insert("version", value(VERSION));
        }
        let mut files: Vec<_> = self.files.values().collect();
        files.sort_by(|a, b| (&a.name, &a.url).cmp(&(&b.name, &b.url)));
        let mut tables = ArrayOfTables::new();
        for file in files {
            let mut table = written.remove(&file.url).unwrap_or_else(blank);
            file.write(&mut table);
            tables.push(table);
        }
        if !tables.is_empty() {
            document.insert("file", Item::ArrayOfTables(tables));
        }
        let text = document.to_string();
        Ok(match text.starts_with('#') {
            true => text,
            false => format!("{HEADER}{text}"),
        })
    }

    /// Writes it to the project.
    pub fn save(&self, project: &Project) -> Result<(), LockError> {
        Ok(project.write(LOCK_NAME, &self.to_text()?)?)
    }

    /// What is known of a file; `None` if it is not locked.
    pub fn find(&self, origin: &Origin) -> Option<&LockedFile> {
        self.files.get(origin)
    }

    /// All files, by origin.
    pub fn iter(&self) -> impl Iterator<Item = &LockedFile> {
        self.files.values()
    }

    /// What is known of each asset of a plan, in the plan's order; `None` for
    /// those that are taken from local files. An asset that the lock does not
    /// know is an error.
    pub fn of_plan(&self, plan: &Plan) -> Result<Vec<Option<&LockedFile>>, LockError> {
        let locked = |asset: &super::PlannedAsset| match self.find(&asset.origin) {
            _ if asset.is_unlocked() => Ok(None),
            Some(file) => Ok(Some(file)),
            None => Err(LockError::Missing {
                recipe: plan.name.clone(),
                channel: plan.channel.clone(),
                name: asset.name.clone(),
                url: asset.origin.clone(),
            }),
        };
        plan.assets.iter().map(locked).collect()
    }

    /// The files of a plan whose sums only upstream itself publishes.
    pub fn first_seen(&self, plan: &Plan) -> impl Iterator<Item = &LockedFile> {
        let locked = plan.assets.iter().filter(|asset| !asset.is_unlocked());
        locked
            .filter_map(|asset| self.find(&asset.origin))
            .filter(|file| file.is_first_seen())
    }

    /// Adds a file, or replaces what was known of its origin.
    pub fn insert(&mut self, file: LockedFile) -> Option<LockedFile> {
        self.files.insert(file.url.clone(), file)
    }

    /// Adds those files whose origins are not known yet, and tells which these are.
    pub fn insert_unknown(&mut self, files: impl IntoIterator<Item = LockedFile>) -> Vec<LockedFile> {
        let mut new = Vec::new();
        for file in files {
            if let Entry::Vacant(place) = self.files.entry(file.url.clone()) {
                new.push(place.insert(file).clone());
            }
        }
        new
    }

    /// Takes in sizes where none was known, of files whose sums agreed. How many.
    pub fn learn_sizes<'a>(&mut self, sizes: impl IntoIterator<Item = (&'a Origin, u64)>) -> usize {
        let mut learnt = 0;
        for (origin, size) in sizes {
            let unknown = self.files.get_mut(origin).filter(|file| file.size.is_none());
            if let Some(file) = unknown {
                file.size = Some(size);
                learnt += 1;
            }
        }
        learnt
    }

    /// Removes what is known of an origin.
    pub fn remove(&mut self, origin: &Origin) -> Option<LockedFile> {
        self.files.remove(origin)
    }
}

impl LockedFile {
    /// Whether only upstream itself publishes its sum.
    pub fn is_first_seen(&self) -> bool {
        self.source.starts_with(FIRST_SEEN)
    }

    /// What has to be fetched for it. `origin` is the lock's, with the login or token that
    /// it takes to get there, which the lock does not have.
    pub fn wanted_from(&self, origin: &Origin) -> Wanted {
        Wanted {
            name: self.name.clone(),
            origin: origin.clone(),
            size: self.size,
            sha256: self.sha256,
        }
    }

    /// Puts itself into its entry, whose comments stay.
    fn write(&self, table: &mut Table) {
        set(table, "name", self.name.as_str().into());
        set(table, "url", self.url.identity().into());
        match self.size.and_then(|size| i64::try_from(size).ok()) {
            Some(size) => set(table, "size", size.into()),
            None => drop(table.remove("size")),
        }
        set(table, "sha256", self.sha256.to_string().into());
        set(table, "source", self.source.as_str().into());
        let rank = |key: &str| KEYS.iter().position(|known| *known == key);
        table.sort_values_by(|a, _, b, _| rank(a.get()).cmp(&rank(b.get())));
    }
}

/// The keys of an entry, in their order.
const KEYS: [&str; 5] = ["name", "url", "size", "sha256", "source"];

/// The entries of a lock's text, by origin, without their places in it.
fn entries(item: Option<Item>) -> BTreeMap<Origin, Table> {
    let tables = item.and_then(|item| item.into_array_of_tables().ok());
    tables
        .into_iter()
        .flatten()
        .filter_map(|mut table| {
            table.set_position(None);
            Some((table.get("url")?.as_str()?.parse().ok()?, table))
        })
        .collect()
}

/// A new entry, after an empty line.
fn blank() -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table
}

/// Sets a value, and keeps the blanks and the comment around the old one.
fn set(table: &mut Table, key: &str, mut new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) if old.as_str().is_some() && old.as_str() == new.as_str() => {}
        Some(old) if old.as_integer().is_some() && old.as_integer() == new.as_integer() => {}
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => drop(table.insert(key, Item::Value(new))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size: Option<u64>) -> LockedFile {
        LockedFile {
            name: name.to_owned(),
            url: format!("https://example.org/{name}").parse().unwrap(),
            size,
            sha256: Sha256::of(name.as_bytes()),
            source: "a \"test\"".to_owned(),
        }
    }

    fn entry(name: &str, size: &str) -> String {
        format!(
            "[[file]]\nname = \"{name}\"\nurl = \"https://example.org/{name}\"\n{size}sha256 = \"{}\"\nsource = \
             'a \"test\"'\n",
            Sha256::of(name.as_bytes())
        )
    }

    #[test]
    fn a_new_lock_is_sorted_and_says_what_it_is() {
        let mut lock = Lock::default();
        assert_eq!(lock.to_text().unwrap(), format!("{HEADER}version = 1\n"));
        lock.insert(file("b", Some(3)));
        lock.insert(file("a", None));
        let (a, b) = (entry("a", ""), entry("b", "size = 3\n"));
        assert_eq!(
            lock.to_text().unwrap(),
            format!("{HEADER}version = 1\n\n{a}\n{b}")
        );
    }

    #[test]
    fn a_persons_comments_stay_where_they_are() {
        let text = format!(
            "# mine\nversion = 1 # one\n\n# of b\n{}# end of b\n\n{}\n# last\n",
            entry("b", "").replace("name = \"b\"", "name = \"b\" # b"),
            entry("c", "size = 9\n")
        );
        let mut lock = Lock::parse(&SourceFile::new("tcforge.lock", &text)).unwrap();
        assert_eq!(lock.to_text().unwrap(), text);
        let sizes = [file("b", None), file("c", None), file("x", None)].map(|file| file.url);
        assert_eq!(lock.learn_sizes(sizes.iter().zip([7, 7, 7])), 1);
        lock.insert(file("a", Some(1)));
        lock.remove(&file("c", None).url);
        let wanted = format!(
            "# mine\nversion = 1 # one\n\n{}\n# of b\n{}\n# last\n",
            entry("a", "size = 1\n"),
            entry("b", "size = 7\n").replace("name = \"b\"", "name = \"b\" # b"),
        );
        assert_eq!(lock.to_text().unwrap(), wanted);
        let again = Lock::parse(&SourceFile::new("tcforge.lock", &wanted)).unwrap();
        assert_eq!(again.files, lock.files);
    }
}
