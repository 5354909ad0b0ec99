//! Bases: a kernel, its modules, and the root filesystem that both of Tiny
//! Core's worlds start from.

use std::path::PathBuf;

use super::initrd::Part;
use crate::stage::Stage;

/// A kernel and the modules that belong to it.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// What `uname -r` says, `5.4.3-tinycore64`.
    pub release: String,
    /// `lib/modules/RELEASE/…` as an initrd holds it, with a `modules.dep`.
    pub modules: Stage,
}

/// What an image starts from.
#[derive(Debug, Clone)]
pub struct BootBase {
    /// `tinycore` or `mini`, as the person named it.
    pub name: String,
    /// What it is, in a line: for menus and reports.
    pub title: String,
    /// What boots.
    pub kernel: Kernel,
    /// The root filesystem, without the kernel's modules, in order.
    pub root: Vec<Part>,
}
