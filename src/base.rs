//! What the system that extensions are loaded on has by itself: a Tiny Core
//! release, described as data in `recipes/base/NAME.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::project::{Project, ProjectError};
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
    /// Where the dynamic loader looks for libraries, in order.
    #[serde(deserialize_with = "paths")]
    pub library_path: Vec<TreePath>,
    /// Where a shell looks for commands, in order.
    #[serde(deserialize_with = "paths")]
    pub path: Vec<TreePath>,
    /// The newest symbol version of each set that its libraries define.
    pub versions: Versions,
    /// Every file of its root filesystem but devices.
    #[serde(deserialize_with = "files")]
    pub files: BTreeSet<TreePath>,
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
    /// The newest symbol version of each set it has.
    pub versions: Versions,
}

/// The newest symbol version of each set that somebody's libraries define:
/// `GLIBCXX` → `3.4.27`. A version without a number stands for itself, with
/// nothing behind it: `CXXABI_TM`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Versions(BTreeMap<String, String>);

impl Versions {
    /// Whether a symbol version is there; `None` if nothing is known of its set.
    pub fn has(&self, version: &str) -> Option<bool> {
        if self.0.contains_key(version) {
            return Some(true);
        }
        let (set, number) = split_version(version);
        let newest = self.0.get(set).filter(|newest| !newest.is_empty())?;
        // `GLIBC_ABI_DT_RELR` is no number, and newer than what has numbers only.
        Some(!number.is_empty() && numbers(number) <= numbers(newest))
    }

    /// The newest version of the set that a symbol version belongs to.
    pub fn newest(&self, version: &str) -> Option<&str> {
        let newest = self.0.get(split_version(version).0)?;
        Some(newest)
            .filter(|newest| !newest.is_empty())
            .map(String::as_str)
    }
}

/// `GLIBCXX_3.4.27` is `GLIBCXX` and `3.4.27`; `OPENSSL_1_1_1` is `OPENSSL`
/// and `1_1_1`; `GLIBC_ABI_DT_RELR` is `GLIBC` and nothing.
fn split_version(version: &str) -> (&str, &str) {
    let before_digit = |(at, _): &(usize, &str)| version[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    match version.match_indices('_').find(before_digit) {
        Some((at, _)) => (&version[..at], &version[at + 1..]),
        None => (version.split('_').next().unwrap_or(version), ""),
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split(['.', '_'])
        .map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().unwrap_or(0)
        })
        .collect()
}

impl Base {
    /// The data file of the base that extensions are made for.
    pub const FILE: &'static str = "recipes/base/tinycore-11.toml";

    /// The base of the built-in recipes: Tiny Core 11 x86_64.
    pub fn built_in() -> Result<Self, toml::de::Error> {
        Self::parse(include_str!("../recipes/base/tinycore-11.toml"))
    }

    /// The base of a project, which may have a file of its own.
    pub fn load(project: &Project) -> Result<Self, ProjectError> {
        project.read_toml(Self::FILE)
    }

    /// Parses the text of a base's file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Whether the loader finds a library by this name (`libc.so.6`) without any
    /// extension.
    pub fn has_library(&self, soname: &str) -> bool {
        self.find(&self.library_path, soname)
    }

    /// Whether a shell finds a command without any extension.
    pub fn has_command(&self, name: &str) -> bool {
        self.find(&self.path, name)
    }

    fn find(&self, folders: &[TreePath], name: &str) -> bool {
        let Ok(name) = TreePath::parse(name) else {
            return false;
        };
        folders
            .iter()
            .any(|folder| self.files.contains(&folder.join(&name)))
    }

    /// What is known of an official extension, by its file name with or without
    /// the kernel's release.
    pub fn extension(&self, name: &str) -> Option<&Provides> {
        self.extensions.get(name).or_else(|| {
            let stem = name.strip_suffix(&format!("-{}.tcz", self.kernel))?;
            self.extensions.get(&format!("{stem}-KERNEL.tcz"))
        })
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

fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<TreePath>, D::Error> {
    let mut files = BTreeSet::new();
    for (folder, names) in BTreeMap::<String, Vec<String>>::deserialize(deserializer)? {
        let folder = TreePath::parse_absolute(folder).map_err(D::Error::custom)?;
        for name in names {
            files.insert(folder.join(&TreePath::parse(name).map_err(D::Error::custom)?));
        }
    }
    Ok(files)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_base_is_tiny_core_11() {
        let base = Base::built_in().unwrap();
        for library in ["libc.so.6", "libstdc++.so.6", "libz.so.1"] {
            assert!(base.has_library(library), "{library}");
        }
        for command in ["sh", "tce-load", "losetup", "ldconfig", "start-stop-daemon"] {
            assert!(base.has_command(command), "{command}");
        }
        // What TC 11's busybox lacks.
        for command in [
            "unshare",
            "nsenter",
            "stat",
            "base64",
            "mountpoint",
            "ip",
            "brctl",
            "bash",
        ] {
            assert!(!base.has_command(command), "{command}");
        }
        assert!(!base.has_library("libssl.so.1.1") && !base.has_command("../bin/sh"));
        let bridging = base.extension("net-bridging-5.4.3-tinycore64.tcz").unwrap();
        assert_eq!(bridging.dependencies, ["ipv6-netfilter-KERNEL.tcz"]);
    }

    #[test]
    fn the_dependencies_of_known_extensions_are_known() {
        let base = Base::built_in().unwrap();
        for (name, provides) in &base.extensions {
            for dependency in &provides.dependencies {
                assert!(base.extension(dependency).is_some(), "{name} needs {dependency}");
            }
        }
    }

    #[test]
    fn symbol_versions_are_compared_as_numbers() {
        let base = Base::built_in().unwrap();
        for (version, wanted) in [
            ("GLIBC_2.2.5", Some(true)),
            ("GLIBC_2.30", Some(true)),
            ("GLIBC_2.31", Some(false)),
            ("GLIBC_2.4", Some(true)),
            ("GLIBC_PRIVATE", Some(true)),
            ("GLIBC_ABI_DT_RELR", Some(false)),
            ("GLIBCXX_3.4.27", Some(true)),
            ("GLIBCXX_3.4.28", Some(false)),
            ("CXXABI_TM", Some(true)),
            ("BLKID_2_31", Some(true)),
            ("OPENSSL_1_1_1", None),
        ] {
            assert_eq!(base.versions.has(version), wanted, "{version}");
        }
        let openssl = &base.extension("openssl-1.1.1.tcz").unwrap().versions;
        assert_eq!(openssl.has("OPENSSL_1_1_0d"), Some(true));
        assert_eq!(openssl.has("OPENSSL_3.0.0"), Some(false));
    }
}
