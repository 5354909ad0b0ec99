//! `tcforge init`

use std::process::ExitCode;

use tcforge::project::Project;

use super::Outcome;
use super::args::InitArgs;
use super::terminal::Terminal;

pub(crate) fn run(args: &InitArgs, terminal: &Terminal) -> Outcome {
    let files = Project::init(&args.dir)?;
    for file in &files {
        terminal.detail(file);
    }
    terminal.status(
        "Wrote",
        format!(
            "{} files to `{}`; commands run inside it use them instead of the built-in ones",
            files.len(),
            args.dir.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}
