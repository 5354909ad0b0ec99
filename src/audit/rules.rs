//! What the audit goes by besides the base's facts: `recipes/audit.toml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::project::{Project, ProjectError};
use serde::Deserialize;

/// The audit's own data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// C libraries that are not glibc, by soname.
    pub other_libcs: BTreeSet<String>,
    /// What is not read any further.
    pub limits: Limits,
    /// Where licence texts are.
    pub license: LicenseRules,
    /// How scripts are read.
    pub scripts: ScriptRules,
}

/// Limits in bytes, but for the last two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Of all files' content together.
    pub content: u64,
    /// Of a program or library.
    pub elf: u64,
    /// Of what is held of it in memory.
    pub elf_headers: u64,
    /// Of a script.
    pub script: u64,
    /// Of a side file.
    pub side_file: u64,
    /// How often one check tells of the same extension.
    pub findings: usize,
    /// How many globs an info file may call optional.
    pub optional: usize,
}

/// Where licence texts are, and how they begin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenseRules {
    /// Folders.
    pub folders: Vec<String>,
    /// Beginnings of file names, in lower case.
    pub names: Vec<String>,
}

/// How scripts are read for the commands they call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptRules {
    /// Folders whose scripts are read.
    pub folders: Vec<String>,
    /// Folders of files that hold variables, where they are read in with `.`.
    pub settings: Vec<String>,
    /// What the shell knows by itself.
    pub builtins: BTreeSet<String>,
    /// Commands that run the command after them.
    pub prefixes: BTreeSet<String>,
    /// Commands that find out whether one is there.
    pub probes: BTreeSet<String>,
    /// Functions of the base's scripts, by their path.
    pub functions: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    /// The data file.
    pub const FILE: &'static str = "recipes/audit.toml";

    /// The rules of a project.
    pub fn load(project: &Project) -> Result<Self, ProjectError> {
        project.read_toml(Self::FILE)
    }

    /// The rules that the binary carries.
    pub fn built_in() -> Result<Self, toml::de::Error> {
        Self::parse(include_str!("../../recipes/audit.toml"))
    }

    /// Parses the text of an `audit.toml`.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
