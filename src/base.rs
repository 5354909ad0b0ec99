//! What the system that extensions are loaded on has by itself: a Tiny Core
//! release, described as data in `recipes/base/NAME.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::stage::{Owner, TreePath};

/// A Tiny Core release as extensions see it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Base {
    /// For people: `Tiny Core 11 x86_64`.
    pub title: String,
    /// The kernel's release: what `-KERNEL` stands for in dependencies.
    pub kernel: String,
    /// The newest `GLIBC_` symbol version that its libc has.
    pub glibc: String,
    /// Sonames that the loader finds without any extension.
    pub libraries: BTreeSet<String>,
    /// Commands on the PATH without any extension (busybox's among them).
    pub commands: BTreeSet<String>,
    /// Directories that are not 755 root:root, with the system's values.
    #[serde(rename = "directory")]
    pub directories: Vec<SystemDirectory>,
    /// Where the running system writes: nothing there may be shipped.
    #[serde(deserialize_with = "paths")]
    pub run_time: Vec<TreePath>,
    /// What extensions of the official repository give, where it matters to
    /// ours: by name with `.tcz`.
    #[serde(default, rename = "extension")]
    pub extensions: BTreeMap<String, Provides>,
}

/// A directory that the base has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemDirectory {
    /// Where.
    #[serde(deserialize_with = "path")]
    pub path: TreePath,
    /// Its permission bits, written in octal: `"2775"`.
    #[serde(deserialize_with = "mode")]
    pub mode: u16,
    /// Its owner, written `"0:50"`.
    #[serde(deserialize_with = "owner")]
    pub owner: Owner,
}

/// What an official extension gives to others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Provides {
    /// Sonames.
    pub libraries: BTreeSet<String>,
    /// Commands.
    pub commands: BTreeSet<String>,
    /// The extensions that it needs itself.
    pub dependencies: Vec<String>,
    /// The newest symbol version of each set it has, such as `GLIBCXX` → `3.4.27`.
    pub versions: BTreeMap<String, String>,
}

impl Base {
    /// The base of the built-in recipes: Tiny Core 11 x86_64.
    pub fn built_in() -> Result<Self, toml::de::Error> {
        Self::parse(include_str!("../recipes/base/tinycore-11.toml"))
    }

    /// Parses the text of a base's file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The system's values of a directory that differs from 755 root:root.
    pub fn directory(&self, path: &TreePath) -> Option<&SystemDirectory> {
        self.directories.iter().find(|directory| directory.path == *path)
    }

    /// Whether a path lies where the running system writes.
    pub fn is_run_time_path(&self, path: &TreePath) -> bool {
        self.run_time
            .iter()
            .any(|above| path.strip_prefix(above).is_some())
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TreePath, D::Error> {
    TreePath::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TreePath>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(|name| TreePath::parse(name).map_err(D::Error::custom))
        .collect()
}

/// Permission bits from a text of octal digits.
pub(crate) fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u16::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(D::Error::custom(format!(
            "`{text}` is not a mode; write it in octal, as \"755\""
        ))),
    }
}

fn owner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Owner, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.split_once(':')
        .and_then(|(uid, gid)| {
            Some(Owner {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        })
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not an owner; write it as \"0:50\"")))
}
