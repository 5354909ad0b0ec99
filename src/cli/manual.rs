//! `tcforge completions` and `tcforge man`: made from the same definitions as
//! the help texts.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;
use miette::{Context, IntoDiagnostic};

use super::Outcome;
use super::terminal::{Terminal, output_error};

pub(crate) fn completions(shell: Shell, mut command: clap::Command) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "tcforge", &mut text);
    let written = io::Write::write_all(&mut io::stdout(), &text);
    written.map_err(output_error).into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man_pages(dir: &Path, command: clap::Command, terminal: &Terminal) -> Outcome {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write man pages to `{}`", dir.display()))?;
    terminal.status("Wrote", format!("man pages to `{}`", dir.display()));
    Ok(ExitCode::SUCCESS)
}
