//! The data files: `iso/bases.toml`, `iso/mini/mini.toml`, `iso/mini/modules.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Sha256;
use crate::fetch::Origin;

/// What images start from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bases {
    pub(super) kernel: DebianKernel,
    pub(super) tinycore: TinyCore,
}

impl Bases {
    pub(super) const FILE: &str = "iso/bases.toml";
}

/// The kernel of a Debian package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DebianKernel {
    pub(super) package: Origin,
    pub(super) image: String,
}

/// Tiny Core's releases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TinyCore {
    pub(super) mirror: String,
    pub(super) default: String,
    #[serde(rename = "release")]
    pub(super) releases: Vec<Release>,
    pub(super) archive: Archive,
}

/// One release.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    pub(super) version: String,
    pub(super) title: String,
    pub(super) folder: String,
    pub(super) files: BTreeMap<String, Sums>,
}

/// What is known of a file of a release.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sums {
    pub(super) md5: String,
    pub(super) sha256: Option<Sha256>,
}

/// A root filesystem as a tar archive, and what was changed in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Archive {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) sha256: Sha256,
    pub(super) restore: Vec<Restore>,
}

/// A file to put back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    pub(super) path: String,
    /// The official file's.
    pub(super) sha256: Sha256,
    pub(super) replace: Vec<Replace>,
}

/// One text to put back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replace {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default = "once")]
    pub(super) times: usize,
}

fn once() -> usize {
    1
}

/// The base `mini`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mini {
    pub(super) title: String,
    #[serde(rename = "package")]
    pub(super) packages: Vec<Package>,
    pub(super) interpreter: Interpreter,
    /// Commands of a busybox, by its path and theirs.
    pub(super) applets: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Targets, by path.
    pub(super) links: BTreeMap<String, String>,
    /// Mode and owner, by path.
    pub(super) directories: BTreeMap<String, String>,
    /// Mode and owner, by path.
    pub(super) files: BTreeMap<String, String>,
}

impl Mini {
    pub(super) const FILE: &str = "iso/mini/mini.toml";
    pub(super) const MODULES: &str = "iso/mini/modules.toml";
    /// Where its own files are.
    pub(super) const ROOT: &str = "iso/mini/root";
}

/// Files of a Debian package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub(super) origin: Origin,
    pub(super) place: Vec<Place>,
}

/// Where some go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) from: String,
    #[serde(default)]
    pub(super) except: Vec<String>,
    pub(super) to: String,
    pub(super) mode: Option<String>,
}

/// The loader that programs ask for, and the one that they are made to ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interpreter {
    pub(super) from: String,
    pub(super) to: String,
}
