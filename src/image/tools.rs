//! The outside programs that put an image together, run so that nothing of
//! this machine or this moment shows in what they write.

use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::doctor;
use crate::project::{Project, ProjectError};

/// Why an outside program did not do its work.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ToolError {
    /// It is not installed.
    #[error("`{name}` is missing; it is needed for {purpose}")]
    #[diagnostic(help("install the Debian package {package}; `tcforge doctor` lists all that is missing"))]
    Missing {
        /// The program, or a file with its whole path.
        name: String,
        /// What for.
        purpose: String,
        /// The Debian package that has it.
        package: String,
    },
    /// The list of programs cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// It could not be started.
    #[error("cannot run `{name}`")]
    #[diagnostic(help("check that it may be executed, and that memory is left; or install it again"))]
    Run {
        /// The program.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("`{name}` failed ({status}):\n{output}")]
    #[diagnostic(help("is the disk full? otherwise its own words above say what is wrong"))]
    Failed {
        /// The program.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said.
        output: String,
    },
}

/// So much of what a failed program said is told.
const LINES: usize = 12;

/// Finds programs and files that the list of programs has.
pub(super) struct Tools {
    programs: Vec<doctor::Program>,
    /// SOURCE_DATE_EPOCH for all of them.
    time: u32,
}

impl Tools {
    pub(super) fn new(project: &Project, time: u32) -> Result<Self, ToolError> {
        Ok(Self {
            programs: doctor::examine(project)?,
            time,
        })
    }

    /// Where a program or file is.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf, ToolError> {
        let listed = self.programs.iter().find(|program| program.name == name);
        let path = match listed {
            Some(program) => program.path.clone(),
            None => doctor::find_program(name),
        };
        path.ok_or_else(|| ToolError::Missing {
            name: name.to_owned(),
            purpose: listed.map_or("images", |program| &program.purpose).to_owned(),
            package: listed.map_or(name, |program| &program.package).to_owned(),
        })
    }

    /// A program to run in a folder.
    pub(super) fn command(&self, name: &str, folder: &Path) -> Result<Command, ToolError> {
        let mut command = Command::new(self.find(name)?);
        command
            .current_dir(folder)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("HOME", folder)
            .env("SOURCE_DATE_EPOCH", self.time.to_string())
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command) -> Result<(), ToolError> {
    let output = command.output().map_err(|source| ToolError::Run {
        name: name(command),
        source,
    })?;
    let said = [output.stdout, output.stderr].concat();
    succeeded(command, output.status, &said)
}

/// Runs a program to its end; what it prints goes where it is wanted.
pub(super) fn run_into(command: &mut Command, out: &mut impl io::Write) -> Result<(), ToolError> {
    let failed = |source| ToolError::Run {
        name: name(command),
        source,
    };
    // Not a pipe: it might be full before what is printed has ended.
    let mut said = tempfile::tempfile().map_err(failed)?;
    let file = said.try_clone().map_err(failed)?;
    let spawned = command.stdout(Stdio::piped()).stderr(file).spawn();
    let failed = |source| ToolError::Run {
        name: name(command),
        source,
    };
    let mut child = spawned.map_err(failed)?;
    let copied = match child.stdout.take() {
        Some(mut printed) => io::copy(&mut printed, out),
        None => Ok(0),
    };
    let status = child.wait().map_err(failed)?;
    // Who cannot write has a better reason than who is not read any more.
    copied.map_err(failed)?;
    let mut text = Vec::new();
    said.rewind()
        .and_then(|()| said.read_to_end(&mut text))
        .map_err(failed)?;
    succeeded(command, status, &text)
}

fn name(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn succeeded(command: &Command, status: ExitStatus, said: &[u8]) -> Result<(), ToolError> {
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(said);
    let lines: Vec<_> = said.lines().collect();
    Err(ToolError::Failed {
        name: name(command),
        status,
        output: lines[lines.len().saturating_sub(LINES)..].join("\n"),
    })
}
