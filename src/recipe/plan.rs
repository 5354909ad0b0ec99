//! A release of a recipe with everything expanded and typed: what a build does.

use std::path::PathBuf;

use globset::{GlobBuilder, GlobMatcher};
use jiff::civil::Date;

use super::Service;
use crate::fetch::Origin;
use crate::project::{Project, ProjectError};
use crate::stage::TreePath;
use crate::tcz::squashfs::{Algorithm, BlockSize};
use crate::url::WebUrl;

/// What is built from a recipe in a channel.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The extension's name without `.tcz`.
    pub name: String,
    /// The channel's name.
    pub channel: String,
    /// The release's version.
    pub version: String,
    /// The day of the release: the time stamp of the image's files.
    pub date: Date,
    /// SPDX licence expression.
    pub license: String,
    /// Texts for the info file.
    pub info: Info,
    /// Direct dependencies with `.tcz`, the recipe's and then the release's,
    /// each once.
    pub dependencies: Vec<String>,
    /// Upstream files; none for a meta extension.
    pub assets: Vec<PlannedAsset>,
    /// Files of the recipe's own.
    pub files: Vec<PlannedFile>,
    /// Symbolic links.
    pub links: Vec<PlannedLink>,
    /// Scripts for `usr/local/etc/init.d`.
    pub services: Vec<Service>,
    /// Directories that hold state at run time.
    pub persistent: Vec<TreePath>,
    /// Template of the tce.installed script, where the usual one is not enough.
    pub installed: Option<String>,
    /// What its programs do without.
    pub optional: Vec<PlannedOptional>,
    /// How the image is packed.
    pub packing: Packing,
}

/// Texts for the info file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// One line.
    pub description: String,
    /// Who wrote the program.
    pub author: String,
    /// Its home page.
    pub site: String,
    /// Words to find it by.
    pub tags: String,
    /// More lines.
    pub comments: String,
}

/// An upstream file and where its content goes.
#[derive(Debug, Clone)]
pub struct PlannedAsset {
    /// What `--file ASSET=PATH` and the lock call it.
    pub name: String,
    /// Where it is; what the lock knows it by.
    pub origin: Origin,
    /// Where upstream publishes its sum.
    pub sum_list: Option<WebUrl>,
    /// Where its files go.
    pub rules: Vec<Rule>,
    /// A local file to take instead, from `--file ASSET=PATH`.
    pub local: Option<PathBuf>,
}

impl PlannedAsset {
    /// Whether it is one bare program instead of an archive.
    pub fn is_bare(&self) -> bool {
        matches!(self.rules.as_slice(), [Rule::Bare { .. }])
    }

    /// Whether a local file is taken that the lock says nothing of.
    pub fn is_unlocked(&self) -> bool {
        self.local.is_some()
    }
}

impl Plan {
    /// The extension's file name, `x.tcz`.
    pub fn file_name(&self) -> String {
        format!("{}.tcz", self.name)
    }

    /// Whether any file is taken that the lock says nothing of.
    pub fn is_unlocked(&self) -> bool {
        self.assets.iter().any(PlannedAsset::is_unlocked)
    }

    /// The data file that a name in the recipe means ([`PlannedFile::from`],
    /// [`Service::template`], [`Plan::installed`]), for [`Project::read`]: the
    /// recipe's own, else one below `recipes/`, else one in `initd/`.
    pub fn data_file(&self, project: &Project, name: &str) -> Result<String, ProjectError> {
        data_file(project, &self.name, name)
    }

    /// Whether the extension holds nothing and only pulls others in.
    pub fn is_meta(&self) -> bool {
        self.assets.is_empty()
            && self.files.is_empty()
            && self.links.is_empty()
            && self.services.is_empty()
            && self.persistent.is_empty()
            && self.installed.is_none()
    }
}

/// The data file that a name means in a recipe.
pub(super) fn data_file(project: &Project, recipe: &str, name: &str) -> Result<String, ProjectError> {
    let folder = super::FOLDER;
    [
        format!("{folder}/{recipe}/{name}"),
        format!("{folder}/{name}"),
        format!("initd/{name}"),
    ]
    .into_iter()
    .find(|file| project.read(file).is_ok())
    .ok_or_else(|| ProjectError::Missing(name.to_owned()))
}

/// Where files of an asset go.
#[derive(Debug, Clone)]
pub enum Rule {
    /// The asset is one program.
    Bare {
        /// Its path.
        to: TreePath,
        /// Its permission bits.
        mode: u16,
    },
    /// Files of an archive.
    Select {
        /// Which.
        from: Glob,
        /// Which of them not.
        except: Vec<Glob>,
        /// Where to.
        to: Target,
        /// Permission bits instead of the archive's.
        mode: Option<u16>,
    },
}

/// Where selected files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Below a directory, by their paths below [`Glob::fixed`].
    Directory(TreePath),
    /// The one file selected goes here.
    File(TreePath),
}

/// A glob over the paths of an archive. `*` and `?` stay within a name, `**`
/// crosses directories.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    fixed: TreePath,
    matcher: GlobMatcher,
}

impl Glob {
    /// Compiles a glob. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut builder = GlobBuilder::new(text);
        let glob = builder.literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|error| error.kind().to_string())?;
        let path = TreePath::parse(text).map_err(|error| error.to_string())?;
        if path.as_bytes() != text.as_bytes() || path.is_root() {
            return Err("write it as `a/b`, without `.` or empty parts".to_owned());
        }
        let parts: Vec<_> = text.split('/').collect();
        let wild = parts
            .iter()
            .position(|part| part.contains(['*', '?', '[', '{', '\\']));
        let fixed = parts[..wild.unwrap_or(parts.len() - 1)].join("/");
        Ok(Self {
            fixed: TreePath::parse(fixed).map_err(|error| error.to_string())?,
            matcher: glob.compile_matcher(),
            text: text.to_owned(),
        })
    }

    /// Whether a path is one of those meant.
    pub fn matches(&self, path: &TreePath) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(path.as_bytes());
        self.matcher.is_match(std::path::Path::new(path))
    }

    /// The directories in front of the first part with a wildcard; without any
    /// wildcard, those that hold the file.
    pub fn fixed(&self) -> &TreePath {
        &self.fixed
    }

    /// The glob as written, expanded.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A file of the recipe's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its name as the recipe says it; [`Plan::data_file`] finds it.
    pub from: String,
    /// Its path in the extension.
    pub to: TreePath,
    /// Permission bits.
    pub mode: u16,
    /// Whether it is a template to render.
    pub template: bool,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLink {
    /// Its path in the extension.
    pub path: TreePath,
    /// Where it leads.
    pub target: String,
}

/// Files that need not work on the box.
#[derive(Debug, Clone)]
pub struct PlannedOptional {
    /// Which.
    pub path: Glob,
    /// What is lost without them.
    pub reason: String,
}

/// How an image is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// What blocks are compressed with.
    pub compression: Algorithm,
    /// Why it is not as the mirror does it; `None` where it is.
    pub reason: Option<String>,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            block_size: BlockSize::default(),
            compression: Algorithm::Gzip,
            reason: None,
        }
    }
}
