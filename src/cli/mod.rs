//! The command line: a file a command, no logic of the job itself.

mod args;
mod audit_table;
mod build;
mod check;
mod doctor;
mod failures;
mod fetch;
mod init;
mod iso;
mod kernel;
mod list;
mod manual;
mod pack;
mod run;
mod selection;
mod terminal;
mod update;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use miette::IntoDiagnostic;

use args::{Cli, Command, Global};
use tcforge::project::Project;
use tcforge::{guard, scratch};
use terminal::Terminal;

/// Wrong input, or a world (network, disk) that does not play along.
const FAILED: u8 = 1;
/// A bug in tcforge (sysexits.h: EX_SOFTWARE).
const BUG: u8 = 70;
/// Ended by an interrupt, as a shell reports it (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// What a command ends with when nothing went wrong that needs an error text.
type Outcome = miette::Result<ExitCode>;

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(&cli.global);
    remove_half_made_on_interrupt();
    explain_panics();
    match std::panic::catch_unwind(|| run(&cli, &terminal)) {
        Ok(Ok(code)) => code,
        Ok(Err(report)) if is_closed_pipe(&report) => ExitCode::SUCCESS,
        Ok(Err(report)) => {
            terminal.error(&report);
            ExitCode::from(FAILED)
        }
        Err(_) => {
            scratch::remove_all();
            ExitCode::from(BUG)
        }
    }
}

fn run(cli: &Cli, terminal: &Terminal) -> Outcome {
    let project = || project(&cli.global);
    match &cli.command {
        Command::Build(args) => build::run(args, &project()?, terminal),
        Command::Fetch(args) => fetch::run(args, &project()?, terminal),
        Command::Update(args) => update::run(args, &project()?, terminal),
        Command::Pack(args) => pack::run(args, &project()?, terminal),
        Command::Iso(args) => iso::run(args, &project()?, terminal),
        Command::Check(args) => check::run(args, &project()?, terminal),
        Command::Run(args) => run::run(args, terminal),
        Command::List(args) => list::run(args, &project()?, terminal),
        Command::Kernel(command) => kernel::run(command, &project()?, terminal),
        Command::Init(args) => init::run(args, terminal),
        Command::Doctor => doctor::run(&project()?, terminal),
        Command::Completions { shell } => manual::completions(*shell, Cli::command()),
        Command::Man { dir } => manual::man_pages(dir, Cli::command(), terminal),
    }
}

/// The project that the command line or the current folder means.
fn project(global: &Global) -> miette::Result<Project> {
    match &global.project {
        Some(folder) if folder.is_dir() => Ok(Project::in_folder(folder)),
        Some(file) if file.exists() => Err(miette::miette!(
            help = "name the folder that holds tcforge.lock",
            "the project `{}` is not a folder",
            file.display()
        )),
        Some(folder) => Err(miette::miette!(
            help = "make one with `tcforge init DIR`",
            "the project folder `{}` does not exist",
            folder.display()
        )),
        None => Ok(Project::find(&std::env::current_dir().into_diagnostic()?)),
    }
}

/// SOURCE_DATE_EPOCH, in seconds since 1970, as everything made is stamped
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn source_date_epoch() -> miette::Result<Option<u32>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        miette::miette!(
            help = "a squashfs holds seconds from 1970 to 2106; unset it, or set it as `git log -1 --format=%ct` prints it",
            "SOURCE_DATE_EPOCH is `{}`, not a number from 0 to {}",
            text.display(),
            u32::MAX
        )
    })
}

/// On Ctrl-C, SIGTERM and SIGHUP: nothing half-made is left behind.
#[expect(
    clippy::exit,
    reason = "the handler runs on a thread of its own; nobody else would end the program"
)]
fn remove_half_made_on_interrupt() {
    let handler = || {
        tcforge::kernel::build::end_all();
        scratch::remove_all();
        // A closed standard error is no reason to stay.
        let _ = io::Write::write_all(&mut io::stderr(), b"error: interrupted\n");
        std::process::exit(INTERRUPTED);
    };
    // Without a handler the next run sweeps instead.
    let _ = ctrlc::set_handler(handler);
}

/// A panic is a bug: say so, and where to take it.
fn explain_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if guard::is_guarded() {
            return;
        }
        default(info);
        let text =
            "hint: this is a bug in tcforge; please report it with the command line and the lines above";
        let _ = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
    }));
}

/// Whether the reader of our output went away (`tcforge list | head -1`).
fn is_closed_pipe(report: &miette::Report) -> bool {
    report.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
