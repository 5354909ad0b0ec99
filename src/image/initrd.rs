//! Initial RAM filesystems: gzipped cpio archives ("newc") that the kernel
//! unpacks one after the other, the later ones over the earlier.

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
