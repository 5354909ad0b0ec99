//! Initial RAM filesystems: gzipped cpio archives ("newc") that the kernel
//! unpacks one after the other, the later ones over the earlier.

mod cpio;
mod gzip;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::stage::{Owner, Stage, TreePath};

/// A device node of an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub path: TreePath,
    /// Whether it is one of blocks, or else of characters.
    pub block: bool,
    /// The driver.
    pub major: u32,
    /// The driver's device.
    pub minor: u32,
    /// The twelve permission bits.
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
}

/// What one initrd holds: a staged tree, and what a stage cannot hold.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Directories, files and links.
    pub stage: Stage,
    /// Device nodes; the directories above them are in the stage.
    pub devices: Vec<Device>,
}

/// One of the archives that make up a root filesystem.
#[derive(Debug, Clone)]
pub enum Part {
    /// A gzipped cpio archive as it was fetched (and verified), used as it is.
    File(PathBuf),
    /// One that is written here.
    Tree(Tree),
}

/// Why an initrd was not written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum InitrdError {
    /// The content of a file could not be read.
    #[error("cannot read what becomes `{path}` in the initrd")]
    #[diagnostic(help("a file on the disk went away or changed while it was read: run this again"))]
    Read {
        /// Its path in the initrd.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive's numbers have 32 bits.
    #[error("`{path}` has {len} bytes; a file in an initrd has less than 4 GiB")]
    #[diagnostic(help("an initrd lies in memory: put the file into an extension, or on the data disk"))]
    TooLarge {
        /// Its path in the initrd.
        path: TreePath,
        /// Its size in bytes.
        len: u64,
    },
    /// A device where there is something else, or no directory for it.
    #[error("the device `{0}` has no place in the initrd: its directory is missing, or the name is taken")]
    #[diagnostic(help("stage the directories above a device, and nothing at its own path"))]
    Device(TreePath),
    /// The archive could not be written.
    #[error("cannot write the initrd")]
    #[diagnostic(help("make room, or write to a folder where there is some"))]
    Write(#[source] io::Error),
}

impl Tree {
    /// Writes it as a cpio archive ("newc") without compression, as
    /// `cpio -o -H newc` does, in the order of the paths. Every time stamp is
    /// `time` (seconds since 1970). The same tree gives the same bytes.
    pub fn write_cpio(&self, out: impl Write, time: u32) -> Result<(), InitrdError> {
        cpio::write(self, out, time)
    }

    /// Writes it as the kernel takes it: [`Tree::write_cpio`], gzipped.
    pub fn write(&self, out: impl Write, time: u32) -> Result<(), InitrdError> {
        let mut gzip = gzip::Writer::new(out);
        self.write_cpio(&mut gzip, time)?;
        gzip.finish().map_err(InitrdError::Write)
    }
}
