//! `tcforge doctor`

use std::collections::BTreeSet;
use std::process::ExitCode;

use comfy_table::Color;
use miette::IntoDiagnostic;
use tcforge::doctor;
use tcforge::project::Project;

use super::terminal::Terminal;
use super::{FAILED, Outcome};

pub(crate) fn run(project: &Project, terminal: &Terminal) -> Outcome {
    let programs = doctor::examine(project)?;
    let missing: BTreeSet<&str> = programs
        .iter()
        .filter(|program| program.path.is_none())
        .map(|program| program.package.as_str())
        .collect();
    if terminal.json {
        terminal.print_json(&programs).into_diagnostic()?;
    } else {
        let mut table = terminal.table(["PROGRAM", "", "WHAT FOR"]);
        for program in &programs {
            let found = match &program.path {
                Some(path) => terminal.cell(path.display(), Some(Color::Green)),
                None => terminal.cell("missing", Some(Color::Red)),
            };
            let purpose = terminal.cell(&program.purpose, None);
            table.add_row([terminal.cell(&program.name, None), found, purpose]);
        }
        terminal.print(table.trim_fmt()).into_diagnostic()?;
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let packages: Vec<_> = missing.into_iter().collect();
    terminal.warning(format!(
        "missing programs; on Debian: sudo apt-get install {}",
        packages.join(" ")
    ));
    Ok(ExitCode::from(FAILED))
}
