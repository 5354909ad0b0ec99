//! What building a kernel takes of the machine: `kernel/build/tools.toml`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::error::{KernelBuildError, MissingTool};
use crate::doctor::find_program;
use crate::kernel::{Config, Value};
use crate::project::Project;

const FILE: &str = "kernel/build/tools.toml";
/// Asked whether headers are there.
const COMPILER: &str = "gcc";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    tool: Vec<Tool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(flatten)]
    what: What,
    package: String,
    /// Without any, it is needed always.
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "for")]
    purpose: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Program(String),
    Header(String),
}

/// Fails with all that is missing: of what every kernel needs, or, with a
/// configuration, of what this one does.
pub(super) fn check(project: &Project, config: Option<&Config>) -> Result<(), KernelBuildError> {
    let list: List = project.read_toml(FILE)?;
    let missing: Vec<_> = list
        .tool
        .into_iter()
        .filter(|tool| tool.is_needed(config) && !tool.is_there())
        .map(|tool| MissingTool {
            name: match tool.what {
                What::Program(name) | What::Header(name) => name,
            },
            purpose: tool.purpose,
            package: tool.package,
        })
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(KernelBuildError::MissingTools { missing }),
    }
}

impl Tool {
    fn is_needed(&self, config: Option<&Config>) -> bool {
        let on = |name: &String| {
            let value = config.and_then(|config| config.get(name));
            value == Some(&Value::YES) || value == Some(&Value::MODULE)
        };
        self.options.is_empty() || self.options.iter().any(on)
    }

    fn is_there(&self) -> bool {
        match &self.what {
            What::Program(name) => find_program(name).is_some(),
            // Without a compiler, that is what is missing.
            What::Header(name) => find_program(COMPILER).is_none() || compiles(name).unwrap_or(false),
        }
    }
}

/// Whether the compiler finds a header, wherever this machine has it.
fn compiles(header: &str) -> std::io::Result<bool> {
    let mut child = Command::new(COMPILER)
        .args(["-E", "-x", "c", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A compiler that went away has no answer.
        let _ = writeln!(stdin, "#include <{header}>");
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(what: &str, options: &str) -> Tool {
        let text = format!("{what}\npackage = 'p'\nfor = 'x'\noptions = {options}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_header_is_where_the_compiler_finds_it() {
        assert!(tool("header = 'stdio.h'", "[]").is_there());
        assert!(!tool("header = 'no/such-header.h'", "[]").is_there());
        assert!(tool("program = 'sh'", "[]").is_there());
        assert!(!tool("program = 'no-such-program'", "[]").is_there());
    }

    #[test]
    fn what_is_needed_says_the_configuration() {
        let config = Config::parse("t", "CONFIG_A=y\nCONFIG_M=m\n# CONFIG_N is not set\n").unwrap();
        for (options, needed) in [
            ("[]", true),
            ("['A']", true),
            ("['M']", true),
            ("['N']", false),
            ("['NONE', 'A']", true),
        ] {
            assert_eq!(
                tool("program = 'x'", options).is_needed(Some(&config)),
                needed,
                "{options}"
            );
            assert_eq!(tool("program = 'x'", options).is_needed(None), options == "[]");
        }
    }

    #[test]
    fn what_is_missing_is_told_all_at_once_with_its_package() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("kernel/build")).unwrap();
        let text = "[[tool]]\nprogram = 'no-bc'\npackage = 'bc'\nfor = 'a header'\n\
                    [[tool]]\nheader = 'no-elf.h'\npackage = 'libelf-dev'\nfor = 'objtool'\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let error = check(&Project::in_folder(dir.path()), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing for building this kernel: no-bc (a header), no-elf.h (objtool)"
        );
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert_eq!(help, "on Debian: sudo apt-get install bc libelf-dev");
    }
}
