//! An extension as the audit sees it: its image, read once, and the files
//! beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::elf::{self, Elf};
use super::rules::Rules;
use crate::digest::{Sha256, Sha256Writer};
use crate::plain;
use crate::stage::{Content, Kind, Owner, Stage, TreePath};
use crate::tcz::read::{Image, ImageFile, ImageKind, ReadError};
use crate::tcz::side::Sums;

/// An extension that was made here, and whose image was compared with its stage
/// by an independent reader: what is in it is known and need not be read again.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The image; its side files lie beside it.
    pub file: &'a Path,
    /// What is in it.
    pub stage: &'a Stage,
    /// The sum of every file's content.
    pub contents: &'a BTreeMap<TreePath, Sha256>,
    /// The image's own sums.
    pub sums: &'a Sums,
}

/// Bytes of a file's beginning that tell what it is.
const HEAD: u64 = 4096;

/// What is in an extension, and what lies beside it.
pub(super) struct Subject {
    pub(super) file: PathBuf,
    /// The file's name, with `.tcz`.
    pub(super) name: String,
    pub(super) nodes: BTreeMap<TreePath, Entry>,
    pub(super) side: Side,
    /// The image's sums, where they are known already.
    pub(super) sums: Option<Sums>,
}

/// One path of an extension.
pub(super) struct Entry {
    pub(super) mode: u16,
    pub(super) owner: Owner,
    pub(super) kind: EntryKind,
}

pub(super) enum EntryKind {
    Directory,
    Symlink(Vec<u8>),
    /// A device, pipe or socket.
    Special(&'static str),
    File(FileFacts),
}

/// What the audit keeps of a file.
pub(super) struct FileFacts {
    /// Of the content as far as it was read.
    pub(super) sha256: Sha256,
    pub(super) content: FileContent,
}

pub(super) enum FileContent {
    Elf(Elf),
    /// What stands behind `#!`, and the script itself if its commands are to
    /// be looked at.
    Script {
        interpreter: String,
        text: Option<String>,
    },
    Other,
    /// It could not be read, and why.
    Damaged(String),
}

/// The bytes of the side files that are there.
#[derive(Default)]
pub(super) struct Side {
    pub(super) dep: Option<Vec<u8>>,
    pub(super) info: Option<Vec<u8>>,
    pub(super) list: Option<Vec<u8>>,
    pub(super) md5: Option<Vec<u8>>,
    pub(super) zsync: Option<Vec<u8>>,
    pub(super) tree: Option<Vec<u8>>,
}

/// Why an extension cannot be looked at.
pub(super) enum Unreadable {
    /// The file cannot be opened, or a file beside it.
    Io(PathBuf, io::Error),
    /// It is no image, a damaged one, or one made to exhaust its reader.
    Image(String),
}

impl Subject {
    /// Reads an extension and what lies beside it.
    pub(super) fn read(file: &Path, rules: &Rules) -> Result<Self, Unreadable> {
        let side = Side::read(file, rules.limits.side_file)?;
        let image = Image::open(file).map_err(|error| match error {
            ReadError::Open { path, source } => Unreadable::Io(path, source),
            other => Unreadable::Image(other.to_string()),
        })?;
        let nodes = image
            .nodes()
            .map_err(|error| Unreadable::Image(error.to_string()))?;
        let size: u128 = nodes
            .iter()
            .map(|node| match &node.kind {
                ImageKind::File(file) => u128::from(file.len()),
                _ => 0,
            })
            .sum();
        if size > u128::from(rules.limits.content) {
            let limit = rules.limits.content;
            return Err(Unreadable::Image(format!(
                "its files have {size} bytes together, more than the {limit} that are read"
            )));
        }
        let mut entries = BTreeMap::new();
        for node in nodes {
            let kind = match node.kind {
                ImageKind::Directory => EntryKind::Directory,
                ImageKind::Symlink(target) => EntryKind::Symlink(target),
                ImageKind::Special(what) => EntryKind::Special(what),
                ImageKind::File(file) => EntryKind::File(read_file(&file, &node.path, rules)),
            };
            let (mode, owner) = (node.mode, node.owner);
            entries.insert(node.path, Entry { mode, owner, kind });
        }
        Ok(Self {
            file: file.to_owned(),
            name: file_name(file),
            nodes: entries,
            side,
            sums: None,
        })
    }

    /// Takes an extension as it was staged.
    pub(super) fn made(made: Made<'_>, rules: &Rules) -> Result<Self, Unreadable> {
        let entries = made.stage.iter().map(|(path, node)| {
            let kind = match &node.kind {
                Kind::Directory => EntryKind::Directory,
                Kind::Symlink(target) => EntryKind::Symlink(target.clone()),
                Kind::File(content) => {
                    EntryKind::File(staged_file(content, made.contents.get(path), path, rules))
                }
            };
            let (mode, owner) = (node.mode, node.owner);
            (path.clone(), Entry { mode, owner, kind })
        });
        Ok(Self {
            file: made.file.to_owned(),
            name: file_name(made.file),
            nodes: entries.collect(),
            side: Side::read(made.file, rules.limits.side_file)?,
            sums: Some(made.sums.clone()),
        })
    }

    /// The name without `.tcz`.
    pub(super) fn stem(&self) -> &str {
        self.name.strip_suffix(".tcz").unwrap_or(&self.name)
    }

    /// Paths that are not directories.
    pub(super) fn files(&self) -> BTreeSet<&TreePath> {
        let files = self.nodes.iter().filter(|(_, entry)| !entry.is_dir());
        files.map(|(path, _)| path).collect()
    }

    /// The programs and libraries that an x86_64 machine could run.
    pub(super) fn native(&self) -> impl Iterator<Item = (&TreePath, &elf::Native)> {
        self.nodes
            .iter()
            .filter_map(|(path, entry)| match entry.content() {
                Some(FileContent::Elf(Elf::Native(native))) => Some((path, native.as_ref())),
                _ => None,
            })
    }
}

impl Entry {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }

    /// What a file holds; `None` for what is no file.
    pub(super) fn content(&self) -> Option<&FileContent> {
        match &self.kind {
            EntryKind::File(facts) => Some(&facts.content),
            _ => None,
        }
    }
}

impl Side {
    fn read(file: &Path, limit: u64) -> Result<Self, Unreadable> {
        let read = |suffix: &str| -> Result<Option<Vec<u8>>, Unreadable> {
            let mut path = file.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            let bytes = plain::open(&path).and_then(|file| {
                let mut bytes = Vec::new();
                file.take(limit).read_to_end(&mut bytes)?;
                Ok(bytes)
            });
            match bytes {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Unreadable::Io(path, error)),
            }
        };
        Ok(Self {
            dep: read(".dep")?,
            info: read(".info")?,
            list: read(".list")?,
            md5: read(".md5.txt")?,
            zsync: read(".zsync")?,
            tree: read(".tree")?,
        })
    }

    /// Which are missing of those that every extension has.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        [
            (".info", self.info.is_none()),
            (".list", self.list.is_none()),
            (".md5.txt", self.md5.is_none()),
            (".zsync", self.zsync.is_none()),
        ]
        .into_iter()
        .filter_map(|(suffix, missing)| missing.then_some(suffix))
        .collect()
    }
}

/// The last component of a file's path, as text.
pub(super) fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn read_file(file: &ImageFile<'_>, path: &TreePath, rules: &Rules) -> FileFacts {
    read_image_file(file, path, rules).unwrap_or_else(damaged)
}

fn staged_file(content: &Content, sum: Option<&Sha256>, path: &TreePath, rules: &Rules) -> FileFacts {
    let read = || {
        let sha256 = match sum {
            Some(sum) => *sum,
            None => Sha256::of_reader(&mut content.open()?)?.0,
        };
        let content = classify(&mut content.open()?, content.len(), path, rules)?;
        Ok(FileFacts { sha256, content })
    };
    read().unwrap_or_else(damaged)
}

fn damaged(error: io::Error) -> FileFacts {
    FileFacts {
        sha256: Sha256::of(&[]),
        content: FileContent::Damaged(error.to_string()),
    }
}

/// Reads a file to its end, so that damage anywhere is noticed.
fn read_image_file(file: &ImageFile<'_>, path: &TreePath, rules: &Rules) -> io::Result<FileFacts> {
    let mut reader = file.open()?;
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    let mut whole = head.as_slice().chain(&mut reader);
    if is_looked_into(&head, file.len(), path, rules) {
        let mut tee = Sha256Writer::new(tempfile::spooled_tempfile(1 << 20));
        io::copy(&mut whole, &mut tee)?;
        let (sha256, _, mut spool) = tee.finish();
        spool.rewind()?;
        let content = classify(&mut spool, file.len(), path, rules)?;
        return Ok(FileFacts { sha256, content });
    }
    let (sha256, _) = Sha256::of_reader(&mut whole)?;
    let content = classify(&mut io::Cursor::new(&head), file.len(), path, rules)?;
    Ok(FileFacts { sha256, content })
}

/// Whether more of a file than its head is looked at.
fn is_looked_into(head: &[u8], len: u64, path: &TreePath, rules: &Rules) -> bool {
    let limits = &rules.limits;
    match head.starts_with(elf::MAGIC) {
        true => len <= limits.elf,
        false => is_script_folder(path, rules) && len <= limits.script,
    }
}

/// Tells what a file of `len` bytes is.
fn classify(
    file: &mut (impl Read + Seek),
    len: u64,
    path: &TreePath,
    rules: &Rules,
) -> io::Result<FileContent> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    let looked_into = is_looked_into(&head, len, path, rules);
    if head.starts_with(elf::MAGIC) {
        if !looked_into {
            let limit = rules.limits.elf;
            let reason = format!("it is larger than the {limit} bytes that are looked at");
            return Ok(FileContent::Elf(Elf::Unreadable(reason)));
        }
        file.seek(SeekFrom::Start(0))?;
        return Ok(FileContent::Elf(elf::read(file, rules.limits.elf_headers)));
    }
    if looked_into {
        let mut bytes = head;
        file.read_to_end(&mut bytes)?;
        return Ok(FileContent::Script {
            interpreter: interpreter(&bytes).unwrap_or_default(),
            text: Some(String::from_utf8_lossy(&bytes).into_owned()),
        });
    }
    Ok(match interpreter(&head) {
        Some(interpreter) => FileContent::Script {
            interpreter,
            text: None,
        },
        None => FileContent::Other,
    })
}

fn is_script_folder(path: &TreePath, rules: &Rules) -> bool {
    let parent = path.parent().unwrap_or_default();
    let folders = &rules.scripts.folders;
    folders
        .iter()
        .any(|folder| folder.as_bytes() == parent.as_bytes())
}

/// What stands behind `#!` in the first line.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // The kernel reads no more than this.
    let line = &line[..line.len().min(254)];
    let line = String::from_utf8_lossy(line);
    // Not the carriage return of a file from Windows: the kernel keeps it.
    Some(line.trim_matches([' ', '\t']).to_owned())
}
