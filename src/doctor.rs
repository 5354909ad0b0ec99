//! Which outside programs are there, which are missing, and what each is for.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::project::{Project, ProjectError};

/// The list of programs, as data.
const LIST: &str = "recipes/programs.toml";

/// An outside program and whether it is there.
#[derive(Debug, Clone, Serialize)]
pub struct Program {
    /// The command, or a file with its whole path.
    pub name: String,
    /// What tcforge needs it for.
    pub purpose: String,
    /// The Debian package that has it.
    pub package: String,
    /// Where it is; `None` if it is missing.
    pub path: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    program: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    #[serde(rename = "for")]
    purpose: String,
    package: String,
}

/// Looks for every listed program on the PATH.
pub fn examine(project: &Project) -> Result<Vec<Program>, ProjectError> {
    let list: List = project.read_toml(LIST)?;
    Ok(list
        .program
        .into_iter()
        .map(|listed| Program {
            path: find_program(&listed.name),
            name: listed.name,
            purpose: listed.purpose,
            package: listed.package,
        })
        .collect())
}

/// The first executable file of that name on the PATH; for a whole path, the
/// file there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let programs = examine(&Project::built_in()).unwrap();
        assert!(programs.iter().any(|program| program.name == "apt-get"));
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program"), None);
        assert_eq!(find_program("."), None);
        assert_eq!(find_program("/etc/passwd"), Some("/etc/passwd".into()));
        assert_eq!(find_program("/etc"), None);
    }
}
