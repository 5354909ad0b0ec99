//! Where a kernel's source comes from: `kernel/build/sources.toml`, or a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use md5::Digest as _;
use serde::Deserialize;

use super::error::KernelBuildError;
use super::{Request, short, unpack};
use crate::archive::{self, Format, Limits};
use crate::digest::{Sha256, hex};
use crate::fetch::{Cached, Origin};
use crate::project::Project;
use crate::recipe::{Lock, LockedFile};
use crate::scratch::Scratch;
use crate::stage::{Kind, Spool, Stage, TreePath};

const FILE: &str = "kernel/build/sources.toml";
/// Part of the names of unpacked sources; changes with how they are unpacked.
const FORMAT: &str = "1";

/// A source, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder that holds the source tree.
    Folder(PathBuf),
    /// One of `kernel/build/sources.toml`.
    Named(Box<Listed>),
}

/// A source of the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    title: String,
    origin: Origin,
    /// The archive in the package.
    archive: Option<String>,
    config: Option<ListedConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedConfig {
    origin: Origin,
    md5: Option<String>,
}

/// A source that is there.
pub(super) struct Obtained {
    /// For people; none of a folder, whose path is nobody's business.
    pub(super) title: Option<String>,
    /// The tree.
    pub(super) tree: PathBuf,
    /// What it is by: the archive's sum, or the folder's path.
    pub(super) key: String,
    /// The archive's sum.
    pub(super) sum: Option<Sha256>,
    /// The configuration that belongs to it.
    pub(super) config: Option<PathBuf>,
}

impl Source {
    /// What a person means: a name of the list, else a folder.
    pub fn parse(text: &str, project: &Project) -> Result<Self, KernelBuildError> {
        let mut list: BTreeMap<String, Listed> = project.read_toml(FILE)?;
        if let Some(listed) = list.remove(text) {
            return Ok(Self::Named(Box::new(listed)));
        }
        match Path::new(text).is_dir() {
            true => Ok(Self::Folder(text.into())),
            false => Err(KernelBuildError::UnknownSource {
                name: text.to_owned(),
                known: list.into_keys().map(|name| format!("`{name}`")).collect(),
            }),
        }
    }
}

/// Makes the source be there, in `work` if it has to be unpacked.
pub(super) fn obtain(request: &Request<'_>, work: &Path) -> Result<Obtained, KernelBuildError> {
    let listed = match &request.source {
        Source::Named(listed) => listed,
        Source::Folder(folder) => {
            let tree = fs::canonicalize(folder).map_err(KernelBuildError::read(folder))?;
            return Ok(Obtained {
                title: None,
                key: short(Sha256::of(tree.as_os_str().as_encoded_bytes())),
                sum: None,
                config: None,
                tree,
            });
        }
    };
    let archive = fetch(request, &listed.origin, None)?;
    let config = match (&request.config, &listed.config) {
        (None, Some(config)) => Some(fetch(request, &config.origin, config.md5.as_deref())?.path),
        _ => None,
    };
    let key = short(Sha256::of(format!("{FORMAT} {}", archive.sha256).as_bytes()));
    let tree = work.join(format!("source-{key}"));
    if !tree.is_dir() {
        unpack_into(request, listed, &archive, work, &tree)?;
    }
    Ok(Obtained {
        title: Some(listed.title.clone()),
        tree,
        key,
        sum: Some(archive.sha256),
        config,
    })
}

/// A file with the sum that the lock knows; or, if it is known or wanted, with its
/// md5 sum or with whatever it has now.
fn fetch(request: &Request<'_>, origin: &Origin, md5: Option<&str>) -> Result<Cached, KernelBuildError> {
    let lock = Lock::load(request.project)?;
    if let Some(locked) = lock.find(origin) {
        let wanted = locked.wanted_from(origin);
        return Ok(request.fetcher.fetch(&wanted, request.progress)?);
    }
    if md5.is_none() && !request.record {
        return Err(KernelBuildError::Unlocked {
            origin: origin.to_string(),
        });
    }
    let discovered = request.fetcher.discover(origin, request.progress)?;
    let cached = discovered.cached;
    if let Some(wanted) = md5 {
        check_md5(origin, &cached.path, wanted)?;
    }
    if request.record {
        let _held = request.project.hold(request.progress)?;
        // As it is now: the fetch may have taken long.
        let mut lock = Lock::load(request.project)?;
        if lock.find(origin).is_some() {
            // Another run was quicker, and this one is held to what that one recorded.
            return fetch(request, origin, md5);
        }
        lock.insert(LockedFile {
            name: origin.file_name(),
            url: origin.clone(),
            size: Some(cached.size),
            sha256: cached.sha256,
            source: discovered.vouched.source(),
        });
        lock.save(request.project)?;
    }
    Ok(cached)
}

fn check_md5(origin: &Origin, path: &Path, wanted: &str) -> Result<(), KernelBuildError> {
    let bytes = fs::read(path).map_err(KernelBuildError::read(path))?;
    let found = hex(&md5::Md5::digest(&bytes));
    match found == wanted {
        true => Ok(()),
        false => Err(KernelBuildError::WrongSum {
            origin: origin.to_string(),
            found,
            wanted: wanted.to_owned(),
        }),
    }
}

/// Unpacks the source beside its place, and gives it its name when it is whole.
fn unpack_into(
    request: &Request<'_>,
    listed: &Listed,
    package: &Cached,
    work: &Path,
    tree: &Path,
) -> Result<(), KernelBuildError> {
    let limits = Limits::load(request.project)?;
    let scratch = Scratch::in_dir(work).map_err(KernelBuildError::write(work))?;
    let mut spool = Spool::in_dir(scratch.path()).map_err(KernelBuildError::write(work))?;
    let name = listed.origin.file_name();
    let file = package.open().map_err(KernelBuildError::read(&package.path))?;
    let task = request.progress.start(&format!("reading {name}"), None);
    let outer = read(&name, file, &limits, &mut spool)?;
    let stage = match &listed.archive {
        None => outer,
        Some(path) => {
            let content = inner(&outer, path)?;
            let file = content.open().map_err(KernelBuildError::read(&package.path))?;
            read(path, file, &limits, &mut spool)?
        }
    };
    drop(task);
    let made = scratch.path().join("source");
    fs::create_dir(&made).map_err(KernelBuildError::write(&made))?;
    let task = request
        .progress
        .start(&format!("unpacking {name}"), Some(stage.content_size()));
    unpack::lay_out(&stage, &made, &*task).map_err(KernelBuildError::write(&made))?;
    let top = made.join(unpack::top(&stage).to_string());
    unpack::open_to_all(&top).map_err(KernelBuildError::write(&top))?;
    fs::rename(&top, tree).map_err(KernelBuildError::write(tree))
}

fn read(
    name: &str,
    file: impl Read + Seek,
    limits: &Limits,
    spool: &mut Spool,
) -> Result<Stage, KernelBuildError> {
    let refused = |source| KernelBuildError::Archive {
        name: name.to_owned(),
        source,
    };
    let format = Format::from_file_name(name).map_err(refused)?;
    archive::read(file, &format, limits, spool).map_err(refused)
}

/// The content of a file in a package.
fn inner<'a>(stage: &'a Stage, path: &str) -> Result<&'a crate::stage::Content, KernelBuildError> {
    let node = TreePath::parse(path).ok().and_then(|path| stage.get(&path));
    match node.map(|node| &node.kind) {
        Some(Kind::File(content)) => Ok(content),
        _ => Err(KernelBuildError::Data {
            file: FILE,
            what: format!("the package has no file `{path}`"),
        }),
    }
}
