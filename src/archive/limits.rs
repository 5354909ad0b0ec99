//! What an archive may ask for: data in `recipes/limits.toml`.

use serde::Deserialize;

use crate::project::{Project, ProjectError};

/// The data file's name in a project.
const NAME: &str = "recipes/limits.toml";

/// The most that an archive may hold. What each number bounds, and why it is
/// what it is, says the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Bytes of the decompressed archive, and of all its files together.
    pub total_bytes: u64,
    /// Paths, with directories that are only implied.
    pub entries: u64,
    /// Bytes of a name.
    pub path_bytes: usize,
    /// Bytes of one component of a name.
    pub name_bytes: usize,
    /// Components of a name.
    pub depth: usize,
    /// Bytes of the extended headers of one entry.
    pub header_bytes: u64,
    /// Bytes of memory for a decompressor.
    pub decoder_memory: u64,
}

impl Limits {
    /// The limits of a project.
    pub fn load(project: &Project) -> Result<Self, ProjectError> {
        project.read_toml(NAME)
    }

    /// The limits that are built in.
    pub fn built_in() -> Result<Self, ProjectError> {
        Self::load(&Project::built_in())
    }

    /// Parses the text of the data file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_limits_win_and_mistakes_are_named() {
        let built_in = Limits::built_in().unwrap();
        assert!(built_in.entries >= 20_000 && built_in.total_bytes >= 600 << 20);
        let dir = tempfile::tempdir().unwrap();
        let project = Project::in_folder(dir.path());
        assert_eq!(Limits::load(&project).unwrap(), built_in);
        std::fs::create_dir(dir.path().join("recipes")).unwrap();
        let file = dir.path().join(NAME);
        std::fs::write(&file, "entires = 1").unwrap();
        let error = Limits::load(&project).unwrap_err().to_string();
        assert!(
            error.contains(file.to_str().unwrap()) && error.contains("entires"),
            "{error}"
        );
    }
}
