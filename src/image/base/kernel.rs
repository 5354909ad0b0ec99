//! Kernels: a bzImage and its modules, from Debian's package, from a folder, or
//! from the files of a Tiny Core release.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::data::{Bases, Mini};
use super::modules::{self, Selection};
use super::prepared::Prepared;
use super::{BaseError, Kernel, Loader, bzimage, cpio, locked};
use crate::archive::{self, Format, Limits};
use crate::fetch::Cached;
use crate::kernel::build::{Mismatch, Record};
use crate::recipe::Lock;
use crate::stage::{Kind, Spool, Stage, TreePath};

/// What Tiny Core calls its kernel.
pub(super) const IMAGE: &str = "vmlinuz64";
/// The initrd with its modules.
pub(super) const MODULES: &str = "modules64.gz";

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSource {
    /// The Debian package that `iso/bases.toml` names.
    Debian,
    /// A folder that holds `vmlinuz64` and either `modules64.gz` (a gzipped cpio
    /// archive) or `modules/` (with `lib/modules/RELEASE` in it, as `make
    /// modules_install INSTALL_MOD_PATH=modules` leaves it).
    Folder(PathBuf),
}

impl Kernel {
    /// A kernel from a bzImage and a tree with `lib/modules/RELEASE`, all of
    /// which it gets. The release of both must be the same.
    fn whole(image: PathBuf, tree: &Stage) -> Result<Self, BaseError> {
        let release = bzimage::release_of(&image)?;
        check_release(&release, tree)?;
        Ok(Self {
            modules: modules::image_tree(tree, &release, None)?,
            image,
            release,
            made_of: None,
        })
    }

    /// The kernel of a folder.
    pub(super) fn from_folder(folder: &Path, limits: &Limits) -> Result<Self, BaseError> {
        let image = folder.join(IMAGE);
        let (archive, tree) = (folder.join(MODULES), folder.join("modules"));
        let absent = |what: &str| BaseError::Absent {
            folder: folder.to_owned(),
            what: what.to_owned(),
            hint: "a kernel's folder holds `vmlinuz64`, and its modules as `modules64.gz` or in \
                   `modules/lib/modules/RELEASE`",
        };
        if !image.is_file() {
            return Err(absent(IMAGE));
        }
        check_record(folder)?;
        if archive.is_file() {
            return Self::whole(image, &module_tree(&archive, limits)?);
        }
        if !tree.is_dir() {
            return Err(absent("modules64.gz or modules"));
        }
        Self::whole(image, &Stage::from_folder(&tree)?)
    }

    /// The kernel of a Tiny Core release: its image, and an initrd that holds its
    /// modules.
    pub(super) fn of_initrd(image: PathBuf, initrd: &Path, limits: &Limits) -> Result<Self, BaseError> {
        Self::whole(image, &module_tree(initrd, limits)?)
    }
}

/// Refuses a folder of `tcforge kernel build` in which something was exchanged:
/// two builds may have the same release, and modules that do not fit each other.
fn check_record(folder: &Path) -> Result<(), BaseError> {
    let path = folder.join(Record::FILE);
    let read = |source| BaseError::read(&path, source);
    let Some(record) = Record::read(folder).map_err(read)? else {
        return Ok(());
    };
    let mismatch = record
        .mismatch(folder)
        .map_err(|source| BaseError::read(folder, source))?;
    match mismatch {
        None => Ok(()),
        Some(Mismatch { name, reason }) => Err(BaseError::OtherBuild {
            folder: folder.to_owned(),
            file: name,
            reason,
        }),
    }
}

/// What an initrd has in `lib/modules`.
fn module_tree(initrd: &Path, limits: &Limits) -> Result<Stage, BaseError> {
    let mut spool = spool()?;
    let tree = cpio::read(initrd, limits, &mut spool, |path| {
        path.as_bytes().starts_with(b"lib/modules/")
    })?;
    Ok(tree.stage)
}

pub(super) fn spool() -> Result<Spool, BaseError> {
    Spool::new().map_err(|source| BaseError::write(&std::env::temp_dir(), source))
}

/// Refuses modules of another release than the kernel's.
fn check_release(release: &str, tree: &Stage) -> Result<(), BaseError> {
    let releases: BTreeSet<_> = tree
        .iter()
        .filter(|(path, _)| path.as_bytes().starts_with(b"lib/modules/"))
        .filter_map(|(path, _)| path.components().nth(2).map(<[u8]>::to_vec))
        .collect();
    if releases.contains(release.as_bytes()) {
        return Ok(());
    }
    let names: Vec<_> = releases
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    Err(BaseError::OtherModules {
        kernel: release.to_owned(),
        modules: match names.as_slice() {
            [] => "none: there is no `lib/modules/RELEASE`".to_owned(),
            names => names.join(", "),
        },
    })
}

impl Loader<'_> {
    /// The kernel of Debian's package, with the modules that iso/mini/modules.toml
    /// selects.
    pub(super) fn debian_kernel(&self) -> Result<Kernel, BaseError> {
        let bases: Bases = self.project.read_toml(Bases::FILE)?;
        let lock = Lock::load(self.project)?;
        let selection = self.project.read(Mini::MODULES)?;
        let inputs: [&[u8]; 3] = [
            locked(&lock, &bases.kernel.package)?.sha256.as_bytes(),
            bases.kernel.image.as_bytes(),
            &selection,
        ];
        let prepared = Prepared::new(self.fetcher.cache().root(), "kernels", &inputs);
        if let Some(kernel) = prepared.load(self.scratch)? {
            return Ok(kernel);
        }
        let package = self.package(&lock, &bases.kernel.package)?;
        let mut kernel = self.unpack_kernel(&bases, &package)?;
        prepared.keep(&kernel)?;
        kernel.made_of = Some(prepared.key());
        Ok(kernel)
    }

    fn unpack_kernel(&self, bases: &Bases, package: &Cached) -> Result<Kernel, BaseError> {
        let selection: Selection = self.project.read_toml(Mini::MODULES)?;
        let name = bases.kernel.package.to_string();
        let _task = self.progress.start(&format!("unpacking {name}"), None);
        let tree = self.unpack(&name, package, &mut spool()?)?;
        let image = self.scratch.join(IMAGE);
        write_file(&tree, &bases.kernel.image, &image)?;
        let release = bzimage::release_of(&image)?;
        check_release(&release, &tree)?;
        Ok(Kernel {
            modules: modules::image_tree(&tree, &release, Some(&selection))?,
            image,
            release,
            made_of: None,
        })
    }

    /// The tree of a fetched Debian package.
    pub(super) fn unpack(&self, name: &str, package: &Cached, spool: &mut Spool) -> Result<Stage, BaseError> {
        let limits = Limits::load(self.project)?;
        let file = package
            .open()
            .map_err(|source| BaseError::read(&package.path, source))?;
        archive::read(file, &Format::Deb, &limits, spool).map_err(|source| BaseError::Archive {
            package: name.to_owned(),
            source,
        })
    }
}

/// Writes one file of a tree to the host.
fn write_file(tree: &Stage, name: &str, to: &Path) -> Result<(), BaseError> {
    let path = TreePath::parse(name).ok();
    let Some(Kind::File(content)) = path.and_then(|path| tree.get(&path)).map(|node| &node.kind) else {
        return Err(BaseError::Data {
            file: Bases::FILE,
            text: name.to_owned(),
            reason: "there is no such file in the package".to_owned(),
        });
    };
    let copy = || -> io::Result<()> {
        io::copy(&mut content.open()?, &mut File::create(to)?)?;
        Ok(())
    };
    copy().map_err(|source| BaseError::write(to, source))
}
