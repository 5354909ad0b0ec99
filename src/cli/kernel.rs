//! `tcforge kernel`

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use comfy_table::Color;
use miette::{IntoDiagnostic, WrapErr};
use serde::Serialize;
use tcforge::kernel::build::{self, Built, Source};
use tcforge::kernel::{
    Absent, Cause, Change, CheckReport, Config, Finding, KernelVersion, Patched, RequirementList, Status,
    Tree, Value, Wanted, check, configure, patch, version_of,
};
use tcforge::project::{Project, write_atomically};

use super::args::{KernelBuildArgs, KernelCheckArgs, KernelCommand, KernelConfigArgs, Requirements};
use super::terminal::{Terminal, count, human_size};
use super::{FAILED, Outcome, audit_table, selection, source_date_epoch};

pub(crate) fn run(command: &KernelCommand, project: &Project, terminal: &Terminal) -> Outcome {
    match command {
        KernelCommand::Check(args) => run_check(args, project, terminal),
        KernelCommand::Config(args) => run_config(args, project, terminal),
        KernelCommand::Build(args) => run_build(args, project, terminal),
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

/// The day in a kernel's version text: Tiny Core 11.0's, because the same source
/// has to give the same bytes on every day.
const DEFAULT_TIME: u32 = 1_583_020_800;

fn run_build(args: &KernelBuildArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let start = Instant::now();
    let lists = match args.as_is {
        true => None,
        false => Some(RequirementList::load(project, &args.sets)?),
    };
    let fetcher = selection::fetcher(&args.network, project)?;
    let in_cache = || fetcher.cache().root().join("kernel-builds");
    let request = build::Request {
        project,
        fetcher: &fetcher,
        source: Source::parse(&args.source, project)?,
        record: args.record,
        config: args.config.clone(),
        lists,
        local_version: args.localversion.clone(),
        out: args.out.clone(),
        work: args.work.clone().unwrap_or_else(in_cache),
        jobs: args.jobs.unwrap_or_else(processors),
        time: source_date_epoch()?.unwrap_or(DEFAULT_TIME),
        progress: terminal,
    };
    let built = build::build(&request)?;
    if terminal.json {
        terminal.print_json(&built.record).into_diagnostic()?;
    } else {
        built
            .reports
            .iter()
            .for_each(|report| audit_table::say_findings(report, terminal));
        print_built(&built, terminal)?;
    }
    terminal.status("Changed", count(built.patched.changes.len(), "option"));
    terminal.status(
        "Built",
        format!(
            "Linux {} with {} in {} s: `{}`",
            built.record.release,
            count(built.record.modules.len(), "module"),
            start.elapsed().as_secs(),
            args.out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn print_built(built: &Built, terminal: &Terminal) -> miette::Result<()> {
    let record = &built.record;
    let mut table = terminal.table(["FILE", "MODULES", "SIZE", "SHA256"]);
    for file in record.files() {
        let modules = record.modules.iter().filter(|module| module.file == file.name);
        let modules = match modules.count() {
            0 => "-".to_owned(),
            some => some.to_string(),
        };
        table.add_row([
            terminal.cell(&file.name, None),
            terminal.cell(modules, None),
            terminal.cell(human_size(file.size), None),
            terminal.cell(&file.sha256, None),
        ]);
    }
    terminal.print(table.trim_fmt()).into_diagnostic()
}
