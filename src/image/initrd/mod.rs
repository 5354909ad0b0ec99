//! Initial RAM filesystems: gzipped cpio archives ("newc") that the kernel
//! unpacks one after the other, the later ones over the earlier.

mod cpio;
pub(super) mod gzip;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Sha256, Sha256Writer};
use crate::kept::{Found, Kept};
use crate::stage::{Content, Owner, Stage, TreePath};

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

/// A finished initrd: as the kernel takes it.
#[derive(Debug, Clone)]
pub struct Initrd {
    /// A gzipped cpio archive.
    pub content: Content,
    /// Its sum.
    pub sha256: Sha256,
}

/// One of the archives that make up a root filesystem.
#[derive(Debug, Clone)]
pub enum Part {
    /// A gzipped cpio archive as it was fetched (and verified), used as it is.
    File(PathBuf),
    /// One that is written here.
    Tree(Tree),
    /// One that is written here, and what it was made of: trees that were made of the
    /// same are the same, and need not be read to be compared.
    Known(Tree, Sha256),
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
    /// The cache could not be read or written.
    #[error("cannot keep the initrd in the cache")]
    #[diagnostic(help("make room there, or choose another cache with `--cache`"))]
    Cache(#[from] io::Error),
}

impl Tree {
    /// Writes it as a cpio archive ("newc") without compression, as
    /// `cpio -o -H newc` does, in the order of the paths. Every time stamp is
    /// `time` (seconds since 1970). The same tree gives the same bytes.
    pub fn write_cpio(&self, out: impl Write, time: u32) -> Result<(), InitrdError> {
        cpio::write(self, out, time)
    }

    /// Writes it as the kernel takes it: see [`Tree::finish`].
    pub fn write(&self, mut out: impl Write, time: u32, cache: Option<&Path>) -> Result<(), InitrdError> {
        let initrd = self.finish(time, cache, None)?;
        let mut content = initrd.content.open().map_err(InitrdError::Write)?;
        io::copy(&mut content, &mut out)
            .map(drop)
            .map_err(InitrdError::Write)
    }

    /// Makes it as the kernel takes it: [`Tree::write_cpio`], gzipped. Compressing takes longest, so it is kept in
    /// the cache, if one is given.
    /// What it was made of tells it from others, if that is known.
    pub fn finish(
        &self,
        time: u32,
        cache: Option<&Path>,
        made_of: Option<Sha256>,
    ) -> Result<Initrd, InitrdError> {
        let found = match cache {
            Some(cache) => self.keep(time, cache, made_of)?,
            None => None,
        };
        if let Some(found) = found {
            return Ok(Initrd {
                content: Content::within(&Arc::new(found.file), 0, found.len),
                sha256: found.sha256,
            });
        }
        let mut bytes = Vec::new();
        self.write_gzip(&mut bytes, time)?;
        Ok(Initrd {
            sha256: Sha256::of(&bytes),
            content: Content::bytes(bytes),
        })
    }

    /// What is kept of it in the cache from now on. Nothing if others can take it away
    /// or change it.
    fn keep(&self, time: u32, cache: &Path, made_of: Option<Sha256>) -> Result<Option<Found>, InitrdError> {
        let sum = self.sum(time, made_of)?;
        let inputs = [cpio::METHOD, gzip::METHOD, sum.as_bytes()];
        let kept = Kept::new(cache, "initrds", "gz", &inputs);
        if let Some(found) = kept.find()? {
            return Ok(Some(found));
        }
        kept.keep(|file| self.write_gzip(file, time))?;
        Ok(kept.find()?)
    }

    fn sum(&self, time: u32, made_of: Option<Sha256>) -> Result<Sha256, InitrdError> {
        match made_of {
            Some(made_of) => Ok(Sha256::of(
                &[made_of.as_bytes(), &time.to_le_bytes()[..]].concat(),
            )),
            None => {
                let mut sum = Sha256Writer::new(io::sink());
                self.write_cpio(&mut sum, time)?;
                Ok(sum.finish().0)
            }
        }
    }

    fn write_gzip(&self, out: impl Write, time: u32) -> Result<(), InitrdError> {
        let mut gzip = gzip::Writer::new(out);
        self.write_cpio(&mut gzip, time)?;
        gzip.finish().map_err(InitrdError::Write)
    }
}
