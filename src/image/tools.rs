//! The outside programs that put an image together, run so that nothing of
//! this machine or this moment shows in what they write.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// xorriso, to take files out of an ISO: each by its path there, to a path here.
pub(super) fn extraction<'a>(
    iso: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a Path)>,
) -> io::Result<Command> {
    let mut device = std::ffi::OsString::from("stdio:");
    device.push(std::path::absolute(iso)?);
    let mut command = Command::new("xorriso");
    command.args(["-osirrox", "on", "-indev"]).arg(device);
    for (inside, to) in files {
        command.arg("-extract").arg(inside).arg(to);
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command) -> Result<(), ToolError> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(source) => return Err(ToolError::Run { name, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().collect();
    Err(ToolError::Failed {
        name,
        status: output.status,
        output: lines[lines.len().saturating_sub(LINES)..].join("\n"),
    })
}
