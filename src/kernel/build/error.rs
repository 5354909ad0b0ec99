//! What can go wrong in building a kernel.

use std::io;
use std::path::{Path, PathBuf};

use super::log::Failure;
use crate::archive::ArchiveError;
use crate::build::BuildError;
use crate::fetch::FetchError;
use crate::image::base::BaseError;
use crate::image::initrd::InitrdError;
use crate::kernel::KernelError;
use crate::project::ProjectError;
use crate::recipe::LockError;
use crate::stage::{FolderError, StageError};

/// Why no kernel was built.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum KernelBuildError {
    /// The configuration, or the source tree.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Kernel(#[from] KernelError),
    /// A data file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// The lock.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// The source could not be fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// What was built is no kernel, or its modules are not what they should be.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Base(#[from] BaseError),
    /// An extension could not be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Extension(#[from] BuildError),
    /// The installed modules could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Folder(#[from] FolderError),
    /// `modules64.gz` could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Initrd(#[from] InitrdError),
    /// Two modules of one path.
    #[error("cannot stage the modules")]
    #[diagnostic(help("two modules have the same path: clean the work folder, and build again"))]
    Stage(#[from] StageError),
    /// The source's archive was refused.
    #[error("cannot unpack `{name}`")]
    #[diagnostic(forward(source))]
    Archive {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// No such source.
    #[error("there is no source `{name}`: neither a folder nor one of {}", known.join(", "))]
    #[diagnostic(help(
        "name the folder that a kernel's archive unpacks to, or one of the sources of kernel/build/sources.toml"
    ))]
    UnknownSource {
        /// As named.
        name: String,
        /// All there are.
        known: Vec<String>,
    },
    /// A source that the lock does not know.
    #[error("the sum of `{origin}` is not in the lock")]
    #[diagnostic(help(
        "nobody has published it: in a project (`tcforge init DIR`), `--record` fetches the file once and writes its sum to the lock"
    ))]
    Unlocked {
        /// Where it is.
        origin: String,
    },
    /// A file that is not what its md5 sum says.
    #[error("`{origin}` is not what was published: its md5 sum is {found}, not {wanted}")]
    #[diagnostic(help("fetch it from another mirror, or correct the sum in kernel/build/sources.toml"))]
    WrongSum {
        /// Where it came from.
        origin: String,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// A data file that says something impossible.
    #[error("`{file}`: {what}")]
    #[diagnostic(help("docs/kernel.md says how it is written"))]
    Data {
        /// Which.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// No configuration.
    #[error("this source has no configuration of its own")]
    #[diagnostic(help("name one with `--config FILE`"))]
    NoConfig,
    /// A version that cannot be part of a file's name.
    #[error("`{0}` cannot end a kernel's version")]
    #[diagnostic(help("it has at most 32 letters, digits, `-`, `.`, `_`, `+` and `~`, as in `-tinycore64`"))]
    LocalVersion(String),
    /// A path that the kernel's build cannot have.
    #[error("a kernel cannot be built in `{}`: its Makefile takes no path with a blank or a colon", .0.display())]
    #[diagnostic(help("name another folder with `--work DIR`, or move the source"))]
    Path(PathBuf),
    /// Another build is under way.
    #[error("another build is under way in `{}`", .0.display())]
    #[diagnostic(help("wait for its end, or name another folder with `--work DIR`"))]
    Busy(PathBuf),
    /// Anybody could change what is built.
    #[error("everybody may write to `{}`, and so into the kernel", .0.display())]
    #[diagnostic(help("`chmod o-w` it if it is yours, or name another folder with `--work DIR`"))]
    OpenToAll(PathBuf),
    /// Programs or headers that are needed and not there.
    #[error("missing for building this kernel: {}", list(.missing))]
    #[diagnostic(help("on Debian: sudo apt-get install {}", packages(.missing)))]
    MissingTools {
        /// Which.
        missing: Vec<MissingTool>,
    },
    /// `make` failed.
    #[error("`make` failed at {what}{}", shown(.failures))]
    #[diagnostic(help("the whole output is in `{}`; what was compiled stays for the next run", log.display()))]
    Make {
        /// What was to be made.
        what: String,
        /// What failed, with the lines that say why.
        failures: Vec<Failure>,
        /// All that `make` said.
        log: PathBuf,
    },
    /// Extensions that need each other.
    #[error("the extensions {} would need each other", .0.join(" and "))]
    #[diagnostic(help("put their modules into one extension, in kernel/build/extensions.toml"))]
    Circle(Vec<String>),
    /// The audit found errors.
    #[error("the audit found errors in {}", .0.join("; "))]
    #[diagnostic(help("nothing was written; correct kernel/build/extensions.toml"))]
    Audit(Vec<String>),
    /// A kernel of another release than its own build says.
    #[error("the built kernel says that it is {image}, its build {build}")]
    #[diagnostic(help("clean the work folder, and build again"))]
    OtherRelease {
        /// What the bzImage says.
        image: String,
        /// What `include/config/kernel.release` says.
        build: String,
    },
    /// Something could not be read, written or run.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check the path, and the room on the disk that it lies on"))]
    Io {
        /// `read`, `write` or `run`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A program or header that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTool {
    /// `bc`, `libelf.h`
    pub name: String,
    /// What it is needed for.
    pub purpose: String,
    /// The Debian package that has it.
    pub package: String,
}

fn list(missing: &[MissingTool]) -> String {
    let one = |tool: &MissingTool| format!("{} ({})", tool.name, tool.purpose);
    missing.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn packages(missing: &[MissingTool]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for tool in missing {
        if !names.contains(&tool.package.as_str()) {
            names.push(&tool.package);
        }
    }
    names.join(" ")
}

fn shown(failures: &[Failure]) -> String {
    failures.iter().map(|failure| format!("\n{failure}")).collect()
}

impl KernelBuildError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("read", path)
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("write", path)
    }

    pub(super) fn run(program: &str) -> impl FnOnce(io::Error) -> Self {
        Self::io("run", Path::new(program))
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
