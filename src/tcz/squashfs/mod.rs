//! Writing a squashfs 4.0 image from a stage: streamed, on all processors,
//! and the same bytes whatever their number.
//!
//! The format is that of the kernel's `fs/squashfs/squashfs_fs.h`; where it
//! leaves a choice, mksquashfs 4.5's is taken. How it works and what it was
//! measured against: docs/squashfs.md.

mod compress;
mod data;
mod format;
mod metadata;
mod options;
mod pipeline;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use compress::CompressError;
pub use options::{Algorithm, BlockSize, Compression, OptionError, PackOptions};

use crate::digest::Sha256;
use crate::progress::Progress;
use crate::stage::{Stage, TreePath};
use data::DataWriter;
use format::Superblock;
use pipeline::Pipeline;

/// What [`write()`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The image's size in bytes, a multiple of 4096.
    pub size: u64,
    /// The sum of every file's content, as staged or as read.
    pub sums: BTreeMap<TreePath, Sha256>,
    /// What is in the image.
    pub counts: Counts,
}

/// Numbers of things in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Inodes: paths less the further names of hard links.
    pub inodes: u32,
    /// Paths that are files, hard links among them.
    pub files: u32,
    /// Directories, the root among them.
    pub directories: u32,
    /// Symbolic links.
    pub symlinks: u32,
    /// Data blocks, holes among them.
    pub blocks: u64,
    /// Blocks shared by files that are smaller than one.
    pub fragments: u32,
    /// Files whose content another file has, stored once.
    pub duplicates: u32,
}

/// Why an image could not be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PackError {
    /// A staged file could not be read.
    #[error("cannot read the content of `{path}`")]
    #[diagnostic(help("check that the file can still be read, and try again"))]
    Read {
        /// Which file of the stage.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A staged file was read twice, with different content.
    #[error("`{path}` changed while it was read")]
    #[diagnostic(help("pack again when nothing writes to the folder any more"))]
    Changed {
        /// Which file of the stage.
        path: TreePath,
    },
    /// The image could not be written.
    #[error("cannot write the image")]
    #[diagnostic(help("is the disk full?"))]
    Write(#[source] io::Error),
    /// A compressor failed.
    #[error("cannot compress")]
    #[diagnostic(help("try again, with more free memory or another compression"))]
    Compress(#[from] CompressError),
    /// A file name that Linux cannot have.
    #[error("the name of `{path}` has {len} bytes; {} are possible", format::NAME_MAX)]
    #[diagnostic(help("give it a shorter name"))]
    NameTooLong {
        /// The path.
        path: TreePath,
        /// The length of its last component.
        len: usize,
    },
    /// More different users and groups than a squashfs can name.
    #[error("the tree has more than {} different owners", format::IDS_MAX)]
    #[diagnostic(help("an extension's files belong to root; see the rules for owners"))]
    TooManyOwners,
    /// A table that is larger than the format can say.
    #[error("the tree does not fit into a squashfs: {0} are too many or too large")]
    #[diagnostic(help("split it into several extensions"))]
    TooLarge(&'static str),
}

/// Writes a stage as a squashfs image into an empty file, and says what was
/// written. The bytes depend on the stage and on `options` (its thread count
/// excepted), and on nothing else. Memory is bounded by the options and the
/// number of inodes and blocks, not by the size of the content.
pub fn write(
    stage: &Stage,
    out: &File,
    options: &PackOptions,
    progress: &dyn Progress,
) -> Result<Written, PackError> {
    let options_block = compress::options_block(options);
    let start = format::SUPERBLOCK_SIZE + options_block.len() as u64;
    let written = write_from(start, stage, out, options, progress)?;
    out.write_all_at(&options_block, format::SUPERBLOCK_SIZE)
        .map_err(PackError::Write)?;
    Ok(written)
}

/// Writes an image whose data begins at `start`: all but the compressor's
/// options.
fn write_from(
    start: u64,
    stage: &Stage,
    out: &File,
    options: &PackOptions,
    progress: &dyn Progress,
) -> Result<Written, PackError> {
    let content = stage.content_size();
    let task = progress.start("packing", Some(content));
    let data = pipeline::run(options, content, |pipeline: Pipeline| {
        DataWriter::new(stage, out, options.block_size, start, pipeline).write_all(task.as_ref())
    })?;
    let tables = tree::Tables::of(stage, &data, options)?;
    let mut tail = Vec::new();
    let superblock = Superblock::lay_out(options, &data, &tables, &mut tail)?;
    let end = data.end + tail.len() as u64;
    let size = end.next_multiple_of(format::PADDING);
    let write = |bytes: &[u8], at| out.write_all_at(bytes, at).map_err(PackError::Write);
    write(&tail, data.end)?;
    write(&superblock.to_bytes(), 0)?;
    out.set_len(size).map_err(PackError::Write)?;
    Ok(Written {
        size,
        counts: Counts {
            blocks: data.blocks(),
            fragments: data.fragments.len() as u32,
            duplicates: data.duplicates,
            ..tables.counts
        },
        sums: data.sums,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::stage::{Content, Node};
    use crate::tcz::verify::verify;

    #[test]
    fn data_can_lie_beyond_4_gib() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tcz");
        let mut stage = Stage::new();
        for (name, len) in [("small", 9), ("large", 9000)] {
            let node = Node::file(Content::bytes(vec![b'x'; len]), 0o644);
            stage.insert(TreePath::parse(name).unwrap(), node).unwrap();
        }
        let options = PackOptions::default();
        // What lies before is a hole in the file: this takes no room.
        let start = 5 << 30;
        let written = write_from(start, &stage, &File::create(&path).unwrap(), &options, &Silent).unwrap();
        assert!(written.size > start);
        verify(&path, &stage, &written, &options).unwrap();
    }
}
