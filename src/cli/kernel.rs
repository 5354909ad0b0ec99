//! `tcforge kernel`

use std::process::ExitCode;

use comfy_table::Color;
use miette::{IntoDiagnostic, WrapErr};
use serde::Serialize;
use tcforge::kernel::{
    Absent, Cause, Change, CheckReport, Config, Finding, KernelVersion, Patched, RequirementList, Status,
    Tree, Value, Wanted, check, configure, patch, version_of,
};
use tcforge::project::{Project, write_atomically};

use super::args::{KernelCheckArgs, KernelCommand, KernelConfigArgs, Requirements};
use super::terminal::{Terminal, count};
use super::{FAILED, Outcome};

pub(crate) fn run(command: &KernelCommand, project: &Project, terminal: &Terminal) -> Outcome {
    match command {
        KernelCommand::Check(args) => run_check(args, project, terminal),
        KernelCommand::Config(args) => run_config(args, project, terminal),
    }
}

fn said_version(requirements: &Requirements) -> miette::Result<Option<KernelVersion>> {
    let said = requirements.kernel_version.as_deref();
    Ok(said.map(str::parse).transpose()?)
}

fn run_check(args: &KernelCheckArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let lists = RequirementList::load(project, &args.requirements.sets)?;
    let config = Config::open(&args.config)?;
    let version = version_of(&config, said_version(&args.requirements)?)?;
    let report = check(&config, version, &Wanted::merge(&lists)?);
    if terminal.json {
        terminal.print_json(&report).into_diagnostic()?;
    } else {
        print_report(&report, terminal)?;
    }
    let missing = report.missing().count();
    if missing == 0 {
        terminal.status("Checked", format!("`{}`: nothing is missing", report.file));
        return Ok(ExitCode::SUCCESS);
    }
    terminal.audit_error(format!("`{}` lacks {}", report.file, count(missing, "option")));
    Ok(ExitCode::from(FAILED))
}

fn print_report(report: &CheckReport, terminal: &Terminal) -> miette::Result<()> {
    let mut table = terminal.table(["OPTION", "HAVE", "WANT", "", "WHY"]);
    for finding in &report.options {
        let (word, color) = match finding.status {
            Status::Good => ("good", Color::Green),
            Status::Absent => ("absent", Color::Yellow),
            Status::Optional => ("optional", Color::Yellow),
            Status::Missing => ("missing", Color::Red),
        };
        table.add_row([
            terminal.cell(&finding.name, None),
            terminal.cell(shown(finding.have.as_ref()), None),
            terminal.cell(&finding.want, None),
            terminal.cell(word, Some(color)),
            terminal.cell(why(finding), None),
        ]);
    }
    terminal.print(table.trim_fmt()).into_diagnostic()
}

fn why(finding: &Finding) -> String {
    let note = finding
        .note
        .as_ref()
        .map(|note| format!("{note}; "))
        .unwrap_or_default();
    format!("{note}{}: {}", finding.users.join(", "), finding.reason)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".to_owned(), Value::to_string)
}

fn run_config(args: &KernelConfigArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let lists = RequirementList::load(project, &args.requirements.sets)?;
    let wanted = Wanted::merge(&lists)?;
    let config = Config::open(&args.config)?;
    let (patched, verified) = match &args.tree {
        Some(tree) => {
            let tree = Tree::open(tree)?;
            let verified = configure(&config, &tree, &wanted, terminal)?;
            say_unknown(&verified.unknown, &config, &tree, terminal);
            (verified.patched, Some(tree.release().to_owned()))
        }
        None => {
            let version = version_of(&config, said_version(&args.requirements)?)?;
            (patch(&config, version, &wanted), None)
        }
    };
    print_changes(&patched, verified.as_deref(), terminal)?;
    if let Some(out) = &args.out {
        write_atomically(out, patched.config.to_string().as_bytes())
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write `{}`", out.display()))?;
        terminal.status("Wrote", format!("`{}`", out.display()));
    }
    match verified {
        Some(release) => terminal.status(
            "Verified",
            format!("all that is wanted survives Linux {release}'s own `make olddefconfig`"),
        ),
        None => terminal.warning(
            "not verified: only a source tree (`--tree DIR`) can say what Kconfig makes of the changes",
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn say_unknown(unknown: &[String], config: &Config, tree: &Tree, terminal: &Terminal) {
    if !unknown.is_empty() {
        terminal.warning(format!(
            "the configuration is for Linux {}; {} has none of {} that it names",
            config.release().unwrap_or("another"),
            tree.release(),
            count(unknown.len(), "option")
        ));
        terminal.detail(unknown.join(", "));
    }
}

fn print_changes(patched: &Patched, verified: Option<&str>, terminal: &Terminal) -> miette::Result<()> {
    if terminal.json {
        let row = Changes {
            verified,
            changes: &patched.changes,
            absent: &patched.absent,
        };
        return terminal.print_json(&row).into_diagnostic();
    }
    let (wanted, implied): (Vec<_>, Vec<_>) = patched.changes.iter().partition(|change| change.is_wanted());
    for change in wanted {
        if let Cause::Wanted { users, reason, .. } = &change.cause {
            let text = format!("# {}: {reason}\n{}", users.join(", "), change.diff());
            terminal.print(text).into_diagnostic()?;
        }
    }
    if !implied.is_empty() {
        let lines: Vec<_> = implied.into_iter().map(Change::diff).collect();
        let text = format!(
            "# these follow, by Kconfig, from those above\n{}",
            lines.join("\n")
        );
        terminal.print(text).into_diagnostic()?;
    }
    for absent in &patched.absent {
        terminal.detail(format!("{}: {}", absent.name, absent.note));
    }
    terminal.status("Changed", count(patched.changes.len(), "option"));
    Ok(())
}

/// What scripts are told.
#[derive(Serialize)]
struct Changes<'a> {
    /// The kernel whose tools verified it.
    verified: Option<&'a str>,
    changes: &'a [Change],
    absent: &'a [Absent],
}
