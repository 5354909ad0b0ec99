//! The lock: which bytes every upstream file has to have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::fault::Fault;
use super::source::{At, Invalid, SourceFile, Spans};
use crate::digest::Sha256;
use crate::fetch::Origin;
use crate::project::{LOCK_NAME, Project, ProjectError};

/// What stands above the entries of the file.
const HEADER: &str = "\
# Every upstream file that a build may read: what it is called, where it is,
# its size in bytes (left out until somebody fetched it), its sha256, and who
# says so. Written by `tcforge update`. A build stops at a file that is not
# here or that differs.
";

/// The format that this code reads and writes.
const VERSION: i64 = 1;

/// The files that a build may read, by origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    files: BTreeMap<Origin, LockedFile>,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// What recipes call it.
    pub name: String,
    /// Where it is.
    pub url: Origin,
    /// Its size in bytes; unknown where only the sum was published and nobody
    /// has fetched it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its sum.
    pub sha256: Sha256,
    /// Who says so, and how many independent records agree.
    pub source: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: i64,
    // Without any, the key stays out: `[[file]]` behind it would name it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    /// It cannot be written as TOML.
    #[error("cannot write the lock")]
    #[diagnostic(help("this is a bug in tcforge: please report it, with the lock"))]
    Write(#[from] toml::ser::Error),
    /// It says nothing of a file.
    #[error("`{name}` of `{recipe}` is not in the lock: {url}")]
    #[diagnostic(help(
        "`tcforge update {recipe}` fetches it and records its sum; \
         `--file {name}=PATH` takes a file of yours without one"
    ))]
    Missing {
        /// The recipe.
        recipe: String,
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
            true => Ok(Self { files }),
            false => Err(Invalid::new(source, faults)),
        }
    }

    /// The text of the lock: entries sorted by name and origin.
    pub fn to_text(&self) -> Result<String, LockError> {
        let mut file: Vec<_> = self.files.values().cloned().collect();
        file.sort_by(|a, b| (&a.name, &a.url).cmp(&(&b.name, &b.url)));
        let file = File {
            version: VERSION,
            file,
        };
        Ok(format!("{HEADER}{}", toml::to_string(&file)?))
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
                name: asset.name.clone(),
                url: asset.origin.clone(),
            }),
        };
        plan.assets.iter().map(locked).collect()
    }

    /// Adds a file, or replaces what was known of its origin.
    pub fn insert(&mut self, file: LockedFile) -> Option<LockedFile> {
        self.files.insert(file.url.clone(), file)
    }

    /// Removes what is known of an origin.
    pub fn remove(&mut self, origin: &Origin) -> Option<LockedFile> {
        self.files.remove(origin)
    }
}
