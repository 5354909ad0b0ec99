//! Drives the stages: from recipes and lock, or from a folder, to audited
//! extensions in the output folder. An extension gets its name with all its side
//! files or not at all; what failed leaves nothing behind, and keeps no other back.

mod current;
mod elf;
mod extension;
mod folder;
mod losses;
mod own;
mod recipes;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::audit::AuditError;
use crate::fetch::FetchError;
use crate::initd::InitdError;
use crate::project::ProjectError;
use crate::recipe::{LockError, PlaceError, RecipeError};
use crate::seen::PinError;
use crate::stage::{FolderError, StageError, TreePath};
use crate::tcz::side::SideError;
use crate::tcz::side::dep::DepProblem;
use crate::tcz::squashfs::{OptionError, PackError};
use crate::tcz::verify::VerifyError;

pub use current::Standing;
pub use extension::{Draft, Extension, Made};
pub(crate) use extension::{audit_made, audit_options};
pub use folder::{FolderRequest, PackedFolder, pack_folder};
pub use losses::{Loss, Losses};
pub use recipes::{Builder, Built, Failed, Outcome, UNLOCKED, wanted};

/// Why an extension was not built.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BuildError {
    /// A data file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// A recipe.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recipe(#[from] RecipeError),
    /// The lock, or a file that it does not know.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// A sum that only upstream publishes could not be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pin(#[from] PinError),
    /// A file could not be fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// An archive was refused.
    #[error("cannot unpack `{asset}` of {extension}")]
    #[diagnostic(forward(source))]
    Archive {
        /// The extension.
        extension: String,
        /// The upstream file.
        asset: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The files of an archive could not be placed.
    #[error("cannot place the files of `{asset}` in {extension}")]
    #[diagnostic(forward(source))]
    Place {
        /// The extension.
        extension: String,
        /// The upstream file.
        asset: String,
        /// Why.
        #[source]
        source: PlaceError,
    },
    /// Two parts of a recipe want the same path.
    #[error("cannot put together {extension}")]
    #[diagnostic(help("two parts of the recipe want the same path"))]
    Stage {
        /// The extension.
        extension: String,
        /// What.
        source: StageError,
    },
    /// A template could not be rendered.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Template(#[from] InitdError),
    /// Something lies where the running system writes.
    #[error("{extension} holds `{path}`, where the running system writes")]
    #[diagnostic(help(
        "loaded files are links into a read-only image; ship a template, and make the file from the tce.installed script"
    ))]
    RunTimePath {
        /// The extension.
        extension: String,
        /// Where.
        path: TreePath,
    },
    /// A dependency's name.
    #[error("`{name}` cannot be a dependency: {problem}")]
    #[diagnostic(help("write it as `coreutils.tcz`"))]
    Dependency {
        /// As given.
        name: String,
        /// What is wrong.
        problem: DepProblem,
    },
    /// The extension's own name.
    #[error("`{}` cannot be the name of an extension", .0.display())]
    #[diagnostic(help(
        "it must end in `.tcz` and have only letters, digits, `.`, `_`, `+` and `-` before that"
    ))]
    Name(PathBuf),
    /// The extension would lie in the folder that it is made from.
    #[error("`{}` lies in the folder that is to be packed", .0.display())]
    #[diagnostic(help("write it beside the folder: inside, the next one would hold this one"))]
    Inside(PathBuf),
    /// A folder has the name of one of the extension's files.
    #[error("cannot write `{}`: a folder of that name is there", .0.display())]
    #[diagnostic(help("move the folder away, or write to another one"))]
    FolderInTheWay(PathBuf),
    /// An option for packing.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Option(#[from] OptionError),
    /// The folder to pack.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Folder(#[from] FolderError),
    /// The image could not be written.
    #[error("cannot pack `{extension}`")]
    #[diagnostic(forward(source))]
    Pack {
        /// The extension.
        extension: String,
        /// Why.
        #[source]
        source: PackError,
    },
    /// What was written is not what was meant.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Verify(#[from] VerifyError),
    /// A side file could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Side(#[from] SideError),
    /// The audit could not be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Audit(#[from] AuditError),
    /// A temporary file could not be made.
    #[error("cannot keep the content of an archive in a temporary file")]
    #[diagnostic(help("set TMPDIR to a folder with more room"))]
    Spool(#[source] io::Error),
    /// Something could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("{}", io_hint(source)))]
    Io {
        /// `read`, `write` or `make the folder`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    fn write(path: &Path, source: io::Error) -> Self {
        Self::Io {
            action: "write",
            path: path.to_owned(),
            source,
        }
    }

    fn read(path: &Path, source: io::Error) -> Self {
        Self::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }
    }

    fn make_folder(path: &Path, source: io::Error) -> Self {
        Self::Io {
            action: "make the folder",
            path: path.to_owned(),
            source,
        }
    }
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or write to a folder where there is some"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "write to a folder that you may write to"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a file is in the way: name another folder, or remove it"
        }
        _ => "check the path, and the disk that it lies on",
    }
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic as _;

    use super::*;
    use crate::tcz::squashfs::CompressError;

    #[test]
    fn what_is_wrapped_keeps_its_hint_and_every_error_of_packing_has_one() {
        let archive = BuildError::Archive {
            extension: "x".to_owned(),
            asset: "x.tar".to_owned(),
            source: ArchiveError::NotThisFormat {
                expected: "gzip data",
            },
        };
        assert_eq!(
            archive.help().unwrap().to_string(),
            "the server may have sent an error page; look at the file"
        );
        let path = TreePath::parse("usr/x").unwrap();
        for (source, hint) in [
            (
                PackError::Read {
                    path: path.clone(),
                    source: io::ErrorKind::NotFound.into(),
                },
                "check that the file can still be read, and try again",
            ),
            (
                PackError::Changed { path },
                "pack again when nothing writes to the folder any more",
            ),
            (
                PackError::Compress(CompressError::Thread),
                "try again, with more free memory or another compression",
            ),
        ] {
            let error = BuildError::Pack {
                extension: "x.tcz".to_owned(),
                source,
            };
            assert_eq!(error.help().unwrap().to_string(), hint);
        }
    }
}
