//! What can go wrong with kernels and their configurations.

use std::io;
use std::path::PathBuf;

use super::fault::InvalidConfig;
use super::kconfig::Unmet;
use super::value::Value;
use super::version::{KernelVersion, ParseVersionError};
use crate::project::ProjectError;

/// A failure in reading, checking or patching a kernel's configuration.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum KernelError {
    /// A file or folder that could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check the path, what you may do there, and that the disk is not full"))]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More bytes than any configuration or kernel has.
    #[error("`{file}`: {what} has more than {limit} bytes")]
    #[diagnostic(help("no kernel is that large: is it the right file?"))]
    TooLarge {
        /// The file.
        file: String,
        /// What of it.
        what: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// A configuration that is not text.
    #[error("`{file}` is neither a configuration nor a kernel: byte {offset} is no UTF-8 text")]
    #[diagnostic(help("name a .config, /proc/config.gz, or a vmlinuz that carries its configuration"))]
    NotText {
        /// The file.
        file: String,
        /// The first byte that does not fit, counted from 0.
        offset: usize,
    },
    /// A kernel without its configuration in it.
    #[error("the kernel `{file}` does not carry its configuration")]
    #[diagnostic(help(
        "it was built without CONFIG_IKCONFIG (as Tiny Core's is): name the configuration file"
    ))]
    NoIkconfig {
        /// The file.
        file: String,
    },
    /// A kernel in a compression that is not read here.
    #[error("the kernel `{file}` is compressed with {compression}, which is not read here")]
    #[diagnostic(help(
        "gzip, xz, lzma and zstd are; the kernel's own scripts/extract-ikconfig reads the others"
    ))]
    Compression {
        /// The file.
        file: String,
        /// How it is called.
        compression: &'static str,
    },
    /// Compressed data that is damaged.
    #[error("`{file}`: the {compression} data is damaged")]
    #[diagnostic(help("fetch the file once more"))]
    Damaged {
        /// The file.
        file: String,
        /// How it is compressed.
        compression: &'static str,
        /// What the decompressor says.
        #[source]
        source: io::Error,
    },
    /// Mistakes in the configuration.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] InvalidConfig),
    /// A configuration that does not say what kernel it is for.
    #[error("`{file}` does not say which kernel it is for")]
    #[diagnostic(help(
        "its header `# Linux/x86 VERSION Kernel Configuration` is missing: say `--kernel-version 5.4`"
    ))]
    NoVersion {
        /// The file.
        file: String,
    },
    /// A version that is none.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Version(#[from] ParseVersionError),
    /// A requirement list that could not be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// A requirement list that says something impossible.
    #[error("`{list}`: {what}")]
    #[diagnostic(help("docs/kernel.md says how the lists are written"))]
    List {
        /// The list's file.
        list: String,
        /// What is wrong.
        what: String,
    },
    /// The name of a list that does not exist.
    #[error("there is no requirement list `{name}`")]
    #[diagnostic(help("{}", .nearest.as_ref().map_or_else(|| format!("there are: {}", .known.join(", ")), |nearest| format!("did you mean `{nearest}`?"))))]
    UnknownSet {
        /// The name.
        name: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// Two lists that want different things.
    #[error("`{first}` wants CONFIG_{name} to be {one}, `{second}` wants {other}")]
    #[diagnostic(help("choose one of the two lists with `--set`, or change one of them"))]
    Conflict {
        /// The option, without `CONFIG_`.
        name: String,
        /// A list.
        first: String,
        /// What it wants.
        one: String,
        /// Another list.
        second: String,
        /// What that wants.
        other: String,
    },
    /// A folder that is no kernel source.
    #[error("`{}` is not a kernel source tree: it has no `{missing}`", tree.display())]
    #[diagnostic(help("name the folder that the kernel's archive unpacks to"))]
    NotATree {
        /// The folder.
        tree: PathBuf,
        /// What it lacks.
        missing: String,
    },
    /// A source tree that something was built in.
    #[error("something was configured or built in the source tree `{}`", tree.display())]
    #[diagnostic(help("clean it with `make -C {} mrproper`, which removes its .config too", tree.display()))]
    DirtyTree {
        /// The folder.
        tree: PathBuf,
    },
    /// Programs that are needed and not there.
    #[error("missing: {}", .0.join(", "))]
    #[diagnostic(help("the kernel's configuration tools are compiled first; on Debian: sudo apt-get install {}", .0.join(" ")))]
    MissingPrograms(Vec<String>),
    /// make failed.
    #[error("`make {target}` failed in `{}`:\n{said}", tree.display())]
    #[diagnostic(help("the lines above are the tools' own"))]
    Make {
        /// What was to be made.
        target: &'static str,
        /// Where.
        tree: PathBuf,
        /// The last lines that it wrote to its standard error.
        said: String,
    },
    /// Wanted options that the kernel's own tools did not keep.
    #[error("{} did not survive `make olddefconfig`:\n{}", options(.dropped.len()), lines(.dropped))]
    #[diagnostic(help("turn on what they depend on as well, in a requirement list or in the configuration"))]
    Dropped {
        /// Which ones.
        dropped: Vec<Dropped>,
    },
    /// The written file would not be what was verified.
    #[error(
        "the patched configuration is not stable: `make olddefconfig` makes CONFIG_{name} {found}, not {wanted}"
    )]
    #[diagnostic(help(
        "this is a bug in tcforge, unless the source tree changed meanwhile; please report it"
    ))]
    Unstable {
        /// The option, without `CONFIG_`.
        name: String,
        /// What it becomes.
        found: String,
        /// What it was to be.
        wanted: String,
    },
}

/// A wanted option that did not survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The option, without `CONFIG_`.
    pub name: String,
    /// What is wanted.
    pub want: String,
    /// What it became.
    pub have: Option<Value>,
    /// Why, from Kconfig.
    pub unmet: Unmet,
}

fn options(number: usize) -> String {
    match number {
        1 => "a wanted option".to_owned(),
        many => format!("{many} wanted options"),
    }
}

fn lines(dropped: &[Dropped]) -> String {
    let line = |one: &Dropped| {
        let have = one
            .have
            .as_ref()
            .map_or_else(|| "not there".to_owned(), Value::to_string);
        format!(
            "  CONFIG_{}: wanted {}, is {have}; {}",
            one.name, one.want, one.unmet
        )
    };
    dropped.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl KernelError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Which kernel a configuration is for: as said, or as its header says.
pub fn version_of(config: &super::Config, said: Option<KernelVersion>) -> Result<KernelVersion, KernelError> {
    said.or_else(|| config.version())
        .ok_or_else(|| KernelError::NoVersion {
            file: config.name().to_owned(),
        })
}
