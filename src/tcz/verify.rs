//! Compares an image with the stage that it was made from, through a reader
//! that shares nothing with the writer.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bstr::ByteSlice;

use super::read::{Contents, Image, ImageFile, ImageKind, ImageNode, Place, ReadError};
use super::squashfs::{PackOptions, Written};
use crate::digest::Sha256;
use crate::stage::{Kind, Node, Stage, TreePath};

/// The longest target of a symbolic link that the reading library takes: in its
/// `backhand::v4::inode`, `BasicSymlink` and `ExtendedSymlink` assert that
/// `target_size < 256`, and an image with a longer one is not read at all. The
/// format takes 65535 bytes, Linux and our writer 4095.
pub const LINK_MAX: usize = 255;

/// Fragments that one thread may hold in memory, in bytes.
const FRAGMENTS: u64 = 2 * 1024 * 1024;
/// Bytes to be read for which another thread is worth its start.
const THREAD_PAYS: u64 = 1024 * 1024;
/// More threads than this would take more memory than time is left to win.
const THREADS: usize = 8;

/// How an image differs from its stage.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum VerifyError {
    /// The image cannot be read at all.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// A symbolic link that the verifying reader cannot read.
    #[error("the target of the link `{path}` has {len} bytes: an image with it cannot be verified")]
    #[diagnostic(help(
        "squashfs could hold it, but the reader that every image is checked with takes {LINK_MAX} bytes at \
         most; shorten the link"
    ))]
    LongLink {
        /// The link.
        path: TreePath,
        /// The bytes of its target.
        len: usize,
    },
    /// A staged path is not in the image.
    #[error("`{0}` is missing in the image")]
    #[diagnostic(help("the image was not made right: report it, unless disk or memory are broken"))]
    Missing(TreePath),
    /// The image has a path that was not staged, or has one twice.
    #[error("the image has `{0}`, which was not staged")]
    #[diagnostic(help("the image was not made right: report it, unless disk or memory are broken"))]
    Extra(TreePath),
    /// Something of a path is not as staged.
    #[error("`{path}` has {what} {image} in the image, and not {staged}")]
    #[diagnostic(help("the image was not made right: report it, unless disk or memory are broken"))]
    Differs {
        /// Which path.
        path: TreePath,
        /// What of it.
        what: &'static str,
        /// As staged.
        staged: String,
        /// As read back.
        image: String,
    },
    /// The sum of a file's content is not known, so it cannot be compared.
    #[error("`{0}` was not in the stage that was written")]
    #[diagnostic(help("this is a bug in tcforge: report it"))]
    NotWritten(TreePath),
    /// A file's content cannot be read back.
    #[error("cannot read `{path}` back from the image")]
    #[diagnostic(help("the image was not made right: report it, unless disk or memory are broken"))]
    Content {
        /// Which file.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether an image of this stage can be verified: worth asking before it is
/// written.
pub fn verifiable(stage: &Stage) -> Result<(), VerifyError> {
    for (path, node) in stage.iter() {
        if let Kind::Symlink(target) = &node.kind
            && target.len() > LINK_MAX
        {
            return Err(VerifyError::LongLink {
                path: path.clone(),
                len: target.len(),
            });
        }
    }
    Ok(())
}

/// Reads an image back and compares it with the stage that it was written
/// from: the same paths, each with the same kind, mode, owner, time, link
/// target and content, and nothing more.
pub fn verify(
    image: &Path,
    stage: &Stage,
    written: &Written,
    options: &PackOptions,
) -> Result<(), VerifyError> {
    verifiable(stage)?;
    let image = Image::open(image)?;
    let root = TreePath::root();
    differs(&root, "block size", options.block_size.get(), image.block_size())?;
    differs(&root, "image time", options.time, image.time())?;
    differs(&root, "inodes", written.counts.inodes, image.inodes())?;
    let nodes = image.nodes()?;
    let mut staged: BTreeMap<&TreePath, &Node> = stage.iter().collect();
    let mut files = HashMap::new();
    for node in &nodes {
        let Some((path, staged)) = staged.remove_entry(&node.path) else {
            return Err(VerifyError::Extra(node.path.clone()));
        };
        differs(path, "time", options.time, node.mtime)?;
        compare(path, staged, node)?;
        if let (Kind::File(content), ImageKind::File(file)) = (&staged.kind, &node.kind) {
            let sum = content.sha256().or_else(|| written.sums.get(path).copied());
            let sum = sum.ok_or_else(|| VerifyError::NotWritten(path.clone()))?;
            // One reading serves all files that share content and place.
            files
                .entry((file.place(), sum))
                .or_insert(Check { path, file, sum });
        }
    }
    if let Some(path) = staged.into_keys().next() {
        return Err(VerifyError::Missing(path.clone()));
    }
    check_all(&image, files.into_values().collect(), options.threads.get())
}

/// Compares what the directories and inodes say.
fn compare(path: &TreePath, staged: &Node, image: &ImageNode) -> Result<(), VerifyError> {
    differs(path, "mode", Octal(staged.mode), Octal(image.mode))?;
    differs(path, "user", staged.owner.uid, image.owner.uid)?;
    differs(path, "group", staged.owner.gid, image.owner.gid)?;
    match (&staged.kind, &image.kind) {
        (Kind::Directory, ImageKind::Directory) => Ok(()),
        (Kind::File(staged), ImageKind::File(image)) => differs(path, "size", staged.len(), image.len()),
        (Kind::Symlink(staged), ImageKind::Symlink(image)) => {
            differs(path, "target", staged.as_bstr(), image.as_bstr())
        }
        (staged, image) => differs(path, "kind", staged_kind(staged), image_kind(image)),
    }
}

fn staged_kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File(_) => "file",
        Kind::Symlink(_) => "symbolic link",
    }
}

fn image_kind(kind: &ImageKind) -> &'static str {
    match kind {
        ImageKind::Directory => "directory",
        ImageKind::File(_) => "file",
        ImageKind::Symlink(_) => "symbolic link",
        ImageKind::Special(name) => name,
    }
}

/// Permission bits, shown as people write them.
#[derive(PartialEq)]
struct Octal(u16);

impl fmt::Display for Octal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o}", self.0)
    }
}

fn differs<T: fmt::Display + PartialEq>(
    path: &TreePath,
    what: &'static str,
    staged: T,
    image: T,
) -> Result<(), VerifyError> {
    if staged == image {
        return Ok(());
    }
    Err(VerifyError::Differs {
        path: path.clone(),
        what,
        staged: staged.to_string(),
        image: image.to_string(),
    })
}

/// A file whose content is to be compared.
struct Check<'a> {
    path: &'a TreePath,
    file: &'a ImageFile<'a>,
    sum: Sha256,
}

/// Compares contents on several threads, the largest files first.
fn check_all(image: &Image, files: Vec<Check<'_>>, threads: usize) -> Result<(), VerifyError> {
    let content: u64 = files.iter().map(|check| check.file.len()).sum();
    let threads = threads.min(THREADS).min(1 + (content / THREAD_PAYS) as usize);
    let units = units(files, image.block_size());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut contents = image.contents()?;
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = check_unit(&contents, unit) {
                // The others need not go on.
                next.store(units.len(), Ordering::Relaxed);
                return Err(error);
            }
            if unit.iter().any(|check| check.file.place().fragment.is_some()) {
                contents = image.contents()?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(units.len())).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            let other = other.join();
            result = result.and(other.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        result
    })
}

/// Cuts the work into units that are done by one thread: a file that has blocks, or the files of a few fragments.
fn units(mut files: Vec<Check<'_>>, block_size: u32) -> Vec<Vec<Check<'_>>> {
    files.sort_by_key(|check| check.file.place());
    let at_once = (FRAGMENTS / u64::from(block_size)).max(1);
    let group = |check: &Check| {
        let Place { fragment, start, .. } = check.file.place();
        (fragment.map(|index| u64::from(index) / at_once), start)
    };
    let mut units: Vec<Vec<Check>> = Vec::new();
    for check in files {
        match units.last_mut() {
            Some(unit) if unit.last().is_some_and(|last| group(last) == group(&check)) => unit.push(check),
            _ => units.push(vec![check]),
        }
    }
    let size = |unit: &Vec<Check>| unit.iter().map(|check| check.file.len()).sum::<u64>();
    units.sort_by_key(|unit| std::cmp::Reverse(size(unit)));
    units
}

fn check_unit<'a>(contents: &'a Contents, unit: &[Check<'a>]) -> Result<(), VerifyError> {
    for Check { path, file, sum } in unit {
        let read = contents
            .open(file)
            .and_then(|mut reader| Sha256::of_reader(&mut reader));
        let (found, len) = read.map_err(|source| VerifyError::Content {
            path: (*path).clone(),
            source,
        })?;
        differs(path, "readable size", file.len(), len)?;
        differs(path, "content", *sum, found)?;
    }
    Ok(())
}
