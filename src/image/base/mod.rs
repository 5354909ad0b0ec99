//! Bases: a kernel, its modules, and the root filesystem that both of Tiny
//! Core's worlds start from.
//!
//! `tinycore` is the official release, `mini` a stand-in made of Debian packages
//! and scripts of our own that keep Tiny Core's boot contract. What they are made
//! from is data: `iso/bases.toml` and `iso/mini/`.

mod bzimage;
mod cpio;
mod data;
mod error;
mod kernel;
mod mini;
pub(crate) mod modinfo;
pub(crate) mod modules;
mod prepared;
mod rootfs;
mod tinycore;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use bzimage::{NotBzImage, release_of};
pub use error::BaseError;
pub use kernel::KernelSource;

use super::initrd::Part;
use crate::archive::Limits;
use crate::digest::Sha256;
use crate::fetch::{Cached, Fetcher, Origin};
use crate::progress::Progress;
use crate::project::Project;
use crate::recipe::{Lock, LockedFile};
use crate::stage::Stage;

/// The variable that names Tiny Core's own files: see [`Loader::tinycore`].
pub const TINYCORE: &str = "TCFORGE_TINYCORE";

/// A kernel and the modules that belong to it.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// What `uname -r` says, `5.4.3-tinycore64`.
    pub release: String,
    /// `lib/modules/RELEASE/…` as an initrd holds it, with a `modules.dep`.
    pub modules: Stage,
    /// What the modules were made of, where that is known: see [`Part::Known`].
    pub made_of: Option<Sha256>,
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

/// Which base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseKind {
    /// The official Tiny Core.
    TinyCore,
    /// The stand-in.
    Mini,
}

impl BaseKind {
    /// As the person names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TinyCore => "tinycore",
            Self::Mini => "mini",
        }
    }
}

impl fmt::Display for BaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BaseKind {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::TinyCore, Self::Mini]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| BaseError::Unknown(text.to_owned()))
    }
}

/// Makes bases.
pub struct Loader<'a> {
    /// The data files and the lock.
    pub project: &'a Project,
    /// Gets packages and release files.
    pub fetcher: &'a Fetcher,
    /// Where files are put that the base refers to; it has to live as long as
    /// the base.
    pub scratch: &'a Path,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
    /// Tiny Core's own files, instead of fetching them: an ISO, or a folder with
    /// `vmlinuz64` and `corepure64.gz` (or `rootfs64.gz` and `modules64.gz`), or
    /// with `rootfs64.tar.gz`.
    pub tinycore: Option<PathBuf>,
}

impl BootBase {
    /// Makes a base, with the kernel that is named, else with its own one. Tiny
    /// Core's files are those that `TCFORGE_TINYCORE` names, else fetched.
    pub fn load(
        kind: BaseKind,
        kernel: Option<&KernelSource>,
        project: &Project,
        fetcher: &Fetcher,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, BaseError> {
        let named = std::env::var_os(TINYCORE).filter(|path| !path.is_empty());
        let loader = Loader {
            project,
            fetcher,
            scratch,
            progress,
            tinycore: named.map(PathBuf::from),
        };
        loader.load(kind, kernel)
    }
}

/// A root filesystem, and the kernel that came with it.
struct Root {
    title: String,
    parts: Vec<Part>,
    kernel: Option<Kernel>,
}

impl Loader<'_> {
    /// Makes a base, with the kernel that is named, else with its own one, else
    /// with Debian's.
    pub fn load(&self, kind: BaseKind, kernel: Option<&KernelSource>) -> Result<BootBase, BaseError> {
        let mut root = match kind {
            BaseKind::TinyCore => self.tiny_core()?,
            BaseKind::Mini => self.mini()?,
        };
        let (kernel, title) = match (kernel, root.kernel) {
            (None, Some(own)) => (own, root.title),
            (other, _) => {
                if kind == BaseKind::TinyCore {
                    root.parts.push(self.other_kernel_rules()?);
                }
                self.with_kernel(&root.title, other)?
            }
        };
        Ok(BootBase {
            name: kind.to_string(),
            title,
            kernel,
            root: root.parts,
        })
    }

    /// Another kernel, and the title of a base that has it.
    fn with_kernel(&self, title: &str, source: Option<&KernelSource>) -> Result<(Kernel, String), BaseError> {
        let (kernel, whose) = match source {
            Some(KernelSource::Folder(folder)) => {
                let limits = Limits::load(self.project)?;
                (Kernel::from_folder(folder, &limits)?, "kernel")
            }
            Some(KernelSource::Debian) | None => (self.debian_kernel()?, "Debian's kernel"),
        };
        let title = format!("{title}, with {whose} {}", kernel.release);
        Ok((kernel, title))
    }

    /// Brings a package that the lock knows into the cache.
    fn package(&self, lock: &Lock, origin: &Origin) -> Result<Cached, BaseError> {
        let wanted = locked(lock, origin)?.wanted_from(origin);
        Ok(self.fetcher.fetch(&wanted, self.progress)?)
    }
}

fn locked<'a>(lock: &'a Lock, origin: &Origin) -> Result<&'a LockedFile, BaseError> {
    lock.find(origin)
        .ok_or_else(|| BaseError::Unlocked(origin.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_named_as_the_person_names_them() {
        for kind in [BaseKind::TinyCore, BaseKind::Mini] {
            assert_eq!(kind.as_str().parse::<BaseKind>().unwrap(), kind);
        }
        let error = "dcore".parse::<BaseKind>().unwrap_err();
        assert_eq!(error.to_string(), "there is no base `dcore`");
    }
}
