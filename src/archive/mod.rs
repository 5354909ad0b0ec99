//! Archives from the network, read as streams into a stage.
//!
//! Archives are hostile: nothing of one is ever written on the host under a
//! name that it gives, and whatever a careless or a different reader could be
//! misled by is refused, with the entry's name and the reason ([`ArchiveError`]
//! has a variant for each). What an archive may ask for is bounded by
//! [`Limits`].
//!
//! A tree from an archive has the archive's paths, permission bits and links;
//! owners are root's, times and extended attributes are dropped.

mod deb;
mod error;
mod limits;
mod stream;
mod tar;
mod tree;
mod zip;

use std::io::{Read, Seek};

pub use error::{ArchiveError, EntryName, Place};
pub use limits::Limits;
pub use stream::Compression;
pub use tree::Root;

use self::stream::{Metered, Source, archive_error, decompress};
use self::tree::Tree;
use crate::stage::{Node, Spool, Stage, TreePath};

/// What a file from upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A tar archive.
    Tar {
        /// How it is compressed.
        compression: Compression,
        /// What its top stands for.
        root: Root,
    },
    /// A Debian package; its top is the system's root.
    Deb,
    /// A zip archive; its top is its own.
    Zip,
    /// A program by itself, or any other single file.
    Bare {
        /// The path that it gets.
        name: TreePath,
    },
}

impl Format {
    /// The endings of file names, and what they say. A `None` is a kind of
    /// archive that is not read, which must not pass as a bare program.
    const ENDINGS: [(&str, Option<Self>); 19] = [
        (".tar", Some(Self::tar(Compression::None))),
        (".tar.gz", Some(Self::tar(Compression::Gzip))),
        (".tgz", Some(Self::tar(Compression::Gzip))),
        (".tar.xz", Some(Self::tar(Compression::Xz))),
        (".txz", Some(Self::tar(Compression::Xz))),
        (".tar.zst", Some(Self::tar(Compression::Zstd))),
        (".tzst", Some(Self::tar(Compression::Zstd))),
        (".deb", Some(Self::Deb)),
        (".zip", Some(Self::Zip)),
        (".gz", None),
        (".xz", None),
        (".zst", None),
        (".bz2", None),
        (".tbz2", None),
        (".lzma", None),
        (".7z", None),
        (".rar", None),
        (".rpm", None),
        (".apk", None),
    ];

    const fn tar(compression: Compression) -> Self {
        Self::Tar {
            compression,
            root: Root::Own,
        }
    }

    /// What a file's name says it is. A name without a known ending is a bare
    /// program's, which gets that name.
    pub fn from_file_name(name: &str) -> Result<Self, ArchiveError> {
        let unknown = || ArchiveError::UnknownFormat { name: name.into() };
        let lower = name.to_ascii_lowercase();
        match Self::ENDINGS
            .into_iter()
            .find(|(ending, _)| lower.ends_with(ending))
        {
            Some((_, known)) => known.ok_or_else(unknown),
            None => match TreePath::parse(name) {
                Ok(name) if !name.is_root() => Ok(Self::Bare { name }),
                _ => Err(unknown()),
            },
        }
    }
}

/// Reads an archive into a stage; the contents of its files go to the spool.
///
/// Only zip archives are sought in, whose table of contents is at their end;
/// the others are read from the input's position straight to its end. After an
/// error the spool may hold contents that nothing refers to.
pub fn read<R: Read + Seek>(
    input: R,
    format: &Format,
    limits: &Limits,
    spool: &mut Spool,
) -> Result<Stage, ArchiveError> {
    let mut input = Source(input);
    match format {
        Format::Tar { compression, root } => {
            let mut tree = Tree::new(*root, limits, spool);
            tar::read(&mut decompress(input, *compression, limits), &mut tree)?;
            tree.finish()
        }
        Format::Deb => deb::read(&mut input, limits, spool),
        Format::Zip => zip::read(input, limits, spool),
        Format::Bare { name } => bare(input, name, limits, spool),
    }
}

/// A program by itself: one file, mode 755.
fn bare(
    input: impl Read,
    name: &TreePath,
    limits: &Limits,
    spool: &mut Spool,
) -> Result<Stage, ArchiveError> {
    let place = || Place::In(name.as_bytes().into());
    let content = spool
        .add(&mut Metered::new(input, limits.total_bytes))
        .map_err(|error| archive_error(error, place()))?;
    let mut stage = Stage::new();
    stage
        .insert(name.clone(), Node::file(content, 0o755))
        .map_err(|_| ArchiveError::Duplicate {
            entry: name.as_bytes().into(),
        })?;
    Ok(stage)
}
