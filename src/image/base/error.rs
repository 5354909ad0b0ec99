//! Why a base cannot be had.

use std::io;
use std::path::{Path, PathBuf};

use super::bzimage::NotBzImage;
use crate::archive::ArchiveError;
use crate::fetch::FetchError;
use crate::project::ProjectError;
use crate::recipe::{LockError, PlaceError};
use crate::stage::{FolderError, StageError};

/// Why a base cannot be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BaseError {
    /// The person named no base that there is.
    #[error("there is no base `{0}`")]
    #[diagnostic(help("`tinycore` is the official Tiny Core, `mini` a stand-in made of Debian packages"))]
    Unknown(String),
    /// A data file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// A file could not be fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// The lock.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// A package that the lock does not know.
    #[error("`{0}` is not in the lock")]
    #[diagnostic(help(
        "iso/bases.toml or iso/mini/mini.toml names it: `tcforge update --bases` records what it needs"
    ))]
    Unlocked(String),
    /// A package was refused.
    #[error("cannot unpack `{package}`")]
    #[diagnostic(forward(source))]
    Archive {
        /// The package's file.
        package: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// Files of a package could not be placed.
    #[error("cannot place the files of `{package}`")]
    #[diagnostic(forward(source))]
    Place {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: PlaceError,
    },
    /// Two things want one path.
    #[error("cannot put the base together")]
    #[diagnostic(help("two lines of iso/mini/mini.toml want the same path"))]
    Stage(#[from] StageError),
    /// A folder with modules.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Folder(#[from] FolderError),
    /// A glob or a path of a data file.
    #[error("`{text}` in {file}: {reason}")]
    #[diagnostic(help("correct it in the file"))]
    Data {
        /// The file.
        file: &'static str,
        /// What is written there.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No kernel image.
    #[error("`{}` is {}", path.display(), reason.what())]
    #[diagnostic(help("{}", reason.hint()))]
    NotAKernel {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        reason: NotBzImage,
    },
    /// Modules of another kernel.
    #[error("the kernel is {kernel}, but its modules are for {modules}")]
    #[diagnostic(help("take kernel and modules from the same build"))]
    OtherModules {
        /// The kernel's release.
        kernel: String,
        /// What the modules are for.
        modules: String,
    },
    /// A file of another build than the rest.
    #[error("`{file}` in `{}` is not what was built with the rest: it {reason}", folder.display())]
    #[diagnostic(help(
        "its kernel.json says what belongs together: build the kernel again, or copy the whole folder"
    ))]
    OtherBuild {
        /// The folder.
        folder: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No file that a kernel needs.
    #[error("there is no {what} in `{}`", folder.display())]
    #[diagnostic(help("{hint}"))]
    Absent {
        /// The folder or image.
        folder: PathBuf,
        /// What is missing.
        what: String,
        /// What helps.
        hint: &'static str,
    },
    /// A module that could not be read.
    #[error("`{path}` is no kernel module: {reason}")]
    #[diagnostic(help("the file may be damaged; a module is an ELF file with a section `.modinfo`"))]
    Module {
        /// Its path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A module that is wanted, or that a wanted one needs.
    #[error("{wanted_by} names the module `{name}`, which the kernel does not have")]
    #[diagnostic(help("correct iso/mini/modules.toml, or take the kernel that it was written for"))]
    NoModule {
        /// Its name.
        name: String,
        /// Who wants it.
        wanted_by: String,
    },
    /// A file that is none of a known release.
    #[error("`{}` is not the file of Tiny Core {release}: its {kind} is {found}, not {wanted}", path.display())]
    #[diagnostic(help("fetch it again from another mirror, or correct the sum in iso/bases.toml"))]
    WrongSum {
        /// Which file.
        path: PathBuf,
        /// The release.
        release: String,
        /// `md5` or `sha256`.
        kind: &'static str,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// A correction that does not fit.
    #[error("`{path}` of the root filesystem cannot be restored: {reason}")]
    #[diagnostic(help("iso/bases.toml says what to replace in which archive"))]
    Restore {
        /// The file in the archive.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A cpio archive that is wrong.
    #[error("cannot read the archive `{}`: {reason}", path.display())]
    #[diagnostic(help("it must be what `cpio -o -H newc | gzip` makes"))]
    Cpio {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program is not there, or failed.
    #[error("{program} cannot {action}: {said}")]
    #[diagnostic(help(
        "`tcforge doctor` says which programs are missing; on Debian: apt-get install {program}"
    ))]
    Program {
        /// Which.
        program: &'static str,
        /// What it was to do.
        action: String,
        /// What it said.
        said: String,
    },
    /// Something could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check the path, and the disk that it lies on"))]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BaseError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::io("read", path, source)
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::io("write", path, source)
    }

    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
