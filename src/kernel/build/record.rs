//! `kernel.json`: what a folder with a built kernel holds.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::plain;
use crate::tcz::side::Dependency;

/// What a folder with a kernel says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What `uname -r` says.
    pub release: String,
    /// What it was built from, for people.
    pub source: String,
    /// The sum of the source's archive; none of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
    /// The whole configuration, `config-RELEASE`.
    pub config: FileRecord,
    /// The bzImage, `vmlinuz64`.
    pub image: FileRecord,
    /// The modules that the box boots with, `modules64.gz`.
    pub initrd: FileRecord,
    /// The extensions with the other modules.
    pub extensions: Vec<PackedRecord>,
    /// Every module, sorted by path.
    pub modules: Vec<ModuleRecord>,
}

/// A file in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its sum.
    pub sha256: String,
}

/// An extension in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedRecord {
    /// The image, `NAME-RELEASE.tcz`.
    #[serde(flatten)]
    pub file: FileRecord,
    /// What it needs, as its `.dep` has it.
    pub dependencies: Vec<String>,
    /// Whether an image with this kernel loads it although nothing names it.
    #[serde(default)]
    pub load: bool,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// Its path below `lib/modules/RELEASE`.
    pub path: String,
    /// Its name.
    pub name: String,
    /// The file that it is in.
    pub file: String,
}

/// A file that is not what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The file.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FileRecord {
    /// What is to be said of a file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (sha256, size) = Sha256::of_reader(&mut plain::open(path)?)?;
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            size,
            sha256: sha256.to_string(),
        })
    }
}

impl Record {
    /// Its name in the folder.
    pub const FILE: &str = "kernel.json";

    /// The record of a folder; `None` if there is none.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match plain::read(&folder.join(Self::FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(serde_json::from_slice(&other?)?)),
        }
    }

    /// The files that it speaks of, the kernel itself first.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        let extensions = self.extensions.iter().map(|one| &one.file);
        [&self.image, &self.initrd, &self.config]
            .into_iter()
            .chain(extensions)
    }

    /// The extensions that an image with this kernel loads although nothing names
    /// them.
    pub fn to_load(&self) -> impl Iterator<Item = Dependency> {
        let suffix = format!("-{}.tcz", self.release);
        let names = self.extensions.iter().filter(|one| one.load);
        let stems = names.filter_map(move |one| one.file.name.strip_suffix(&suffix).map(str::to_owned));
        stems.filter_map(|stem| Dependency::parse(&format!("{stem}-KERNEL.tcz")).ok())
    }

    /// The first of the folder's files that is not what the record says: modules
    /// of another build, say, which have the same release and do not fit.
    pub fn mismatch(&self, folder: &Path) -> io::Result<Option<Mismatch>> {
        for file in self.files() {
            let wrong = |reason: String| {
                Ok(Some(Mismatch {
                    name: file.name.clone(),
                    reason,
                }))
            };
            let plain = Path::new(&file.name).file_name() == Some(file.name.as_ref());
            if !plain {
                return wrong("is not a file's name".to_owned());
            }
            match FileRecord::of(&folder.join(&file.name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return wrong("is not there".to_owned());
                }
                found if found.as_ref().is_ok_and(|found| found == file) => {}
                found => {
                    let sum = found?.sha256;
                    return wrong(format!("has the sum {sum}, not {}", file.sha256));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_held_against_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            FileRecord::of(&dir.path().join(name)).unwrap()
        };
        let mut record = Record {
            release: "5.10.0-t".to_owned(),
            source: "a folder".to_owned(),
            source_sha256: None,
            config: file("config-5.10.0-t", "c"),
            image: file("vmlinuz64", "k"),
            initrd: file("modules64.gz", "m"),
            extensions: vec![PackedRecord {
                file: file("overlay-5.10.0-t.tcz", "o"),
                dependencies: Vec::new(),
                load: true,
            }],
            modules: vec![ModuleRecord {
                path: "kernel/fs/overlayfs/overlay.ko.gz".to_owned(),
                name: "overlay".to_owned(),
                file: "overlay-5.10.0-t.tcz".to_owned(),
            }],
        };
        assert_eq!(Record::read(dir.path()).unwrap(), None);
        fs::write(
            dir.path().join(Record::FILE),
            serde_json::to_vec(&record).unwrap(),
        )
        .unwrap();
        assert_eq!(Record::read(dir.path()).unwrap().as_ref(), Some(&record));
        assert_eq!(record.mismatch(dir.path()).unwrap(), None);
        let load: Vec<_> = record.to_load().map(|one| one.name().to_owned()).collect();
        assert_eq!(load, ["overlay-KERNEL.tcz"]);

        fs::write(dir.path().join("overlay-5.10.0-t.tcz"), "O").unwrap();
        let found = record.mismatch(dir.path()).unwrap().unwrap();
        assert_eq!(found.name, "overlay-5.10.0-t.tcz");
        assert!(found.reason.starts_with("has the sum "), "{}", found.reason);
        fs::remove_file(dir.path().join("modules64.gz")).unwrap();
        let found = record.mismatch(dir.path()).unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.reason.as_str()),
            ("modules64.gz", "is not there")
        );
        record.image.name = "../vmlinuz64".to_owned();
        let found = record.mismatch(dir.path()).unwrap().unwrap();
        assert_eq!(found.reason, "is not a file's name");
    }
}
