//! `tcforge check`

use std::process::ExitCode;

use miette::IntoDiagnostic;
use tcforge::audit::{self, Level};
use tcforge::base::Base;
use tcforge::project::Project;

use super::args::CheckArgs;
use super::terminal::Terminal;
use super::{FAILED, Outcome, audit_table};

pub(crate) fn run(args: &CheckArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let base = Base::load(project)?;
    let reports = audit::check(&args.files, &base, &audit::Options::load(project)?)?;
    if terminal.json {
        terminal.print_json(&reports).into_diagnostic()?;
    } else {
        audit_table::print(&reports, terminal).into_diagnostic()?;
    }
    let failed = reports.iter().any(|report| report.worst() == Level::Error);
    Ok(if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}
