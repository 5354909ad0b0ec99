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

/// Why there are no limits.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LimitsError {
    /// The file could not be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// It is not what it should be.
    #[error("`{name}` is wrong: {}", source.message())]
    #[diagnostic(help("`tcforge init` in an empty folder writes the original out to compare with"))]
    Syntax {
        /// Which file was read.
        name: String,
        /// What is wrong, with the line.
        source: toml::de::Error,
    },
}

impl Limits {
    /// The limits of a project.
    pub fn load(project: &Project) -> Result<Self, LimitsError> {
        Self::parse(&project.read_text(NAME)?).map_err(|source| LimitsError::Syntax {
            name: project.display_name(NAME),
            source,
        })
    }

    /// The limits that are built in.
    pub fn built_in() -> Result<Self, LimitsError> {
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
