//! `tcforge run --check`

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comfy_table::Color;
use miette::{IntoDiagnostic, WrapErr};
use tcforge::image::description::Service;
use tcforge::project::{write_atomically, write_privately};
use tcforge::vm::timeline::{Kind, Timeline};
use tcforge::vm::{Checked, Evidence, Expected, Machine, Standing, check};

use super::super::args::RunArgs;
use super::super::terminal::{Terminal, Waiting};

/// For a box that was told to power off.
const POWER_OFF: Duration = Duration::from_secs(300);
/// How often a log, which is no terminal, gets a line that tells where the box stands.
const LINE_EVERY: Duration = Duration::from_secs(15);

pub(super) fn run(
    args: &RunArgs,
    services: &[Service],
    machine: &Machine,
    folder: &Path,
    terminal: &Terminal,
) -> super::super::Outcome {
    let mut guest = machine.start_telling(folder, terminal)?;
    let title = args.iso.file_name().unwrap_or_default().to_string_lossy();
    let services: Vec<_> = services.iter().map(|service| service.name.clone()).collect();
    let expected = Expected {
        title: &title,
        services: &services,
        time_out: Duration::from_secs(args.time_out),
    };
    let mut teller = Teller::new(terminal);
    let result = check(&mut guest, &expected, &mut |standing| teller.tell(&standing));
    drop(teller);
    if let Some(report) = &args.report {
        terminal.status("Asking", "the box for its logs");
        let known = result.as_ref().ok().map(|checked| &checked.timeline);
        let evidence = Evidence::of_guest(&mut guest, &title, known);
        if !evidence.complete {
            terminal.warning("the box does not answer: what the report has of it is not all");
        }
        let written = write_report(report, folder, &evidence)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write the report to `{}`", report.display()));
        match (&result, written) {
            (Ok(_), written) => written?,
            // Why the check failed matters more.
            (Err(_), Err(error)) => terminal.warning(format!("{error:#}")),
            (Err(_), Ok(())) => {}
        }
    }
    let Checked { timeline, container } = result?;
    guest.power_off(POWER_OFF)?;
    print(&timeline, terminal).into_diagnostic()?;
    let and_a_container = if container {
        ", and a container has run"
    } else {
        ""
    };
    terminal.status("Checked", format!("{title}: everything answers{and_a_container}"));
    Ok(ExitCode::SUCCESS)
}

/// Tells a person where the box stands: in one place on a terminal, and by a line
/// now and then in a log.
struct Teller<'a> {
    terminal: &'a Terminal,
    waiting: Waiting,
    told: Instant,
}

impl<'a> Teller<'a> {
    fn new(terminal: &'a Terminal) -> Self {
        Self {
            terminal,
            waiting: terminal.waiting(),
            told: Instant::now(),
        }
    }

    fn tell(&mut self, standing: &Standing) {
        let Standing {
            at,
            waiting_for,
            last_line,
        } = standing;
        let mut text = format!("{at:.0} s, for {waiting_for}");
        if !last_line.is_empty() {
            text.push_str(&format!("; the console's last line: {last_line}"));
        }
        if self.waiting.shows() {
            self.waiting.set(text);
        } else if self.told.elapsed() >= LINE_EVERY {
            self.terminal.status("Waiting", text);
            self.told = Instant::now();
        }
    }
}

/// The console's log, what QEMU said, when what came as data and as a picture, and
/// the box's own logs in `logs/`. The logs may have secrets of the box in them.
fn write_report(report: &Path, folder: &Path, evidence: &Evidence) -> io::Result<()> {
    let logs = report.join("logs");
    fs::create_dir_all(&logs)?;
    remove_logs(&logs)?;
    for name in ["console.log", "qemu.log"] {
        write_privately(&report.join(name), &fs::read(folder.join(name))?)?;
    }
    for log in &evidence.logs {
        write_privately(&logs.join(&log.name), log.text.as_bytes())?;
    }
    let json = serde_json::to_string_pretty(&evidence.timeline)?;
    write_atomically(&report.join("timeline.json"), (json + "\n").as_bytes())?;
    write_atomically(
        &report.join("timeline.svg"),
        evidence.timeline.to_svg().as_bytes(),
    )
}

/// Those of an earlier run; what has another name is somebody's own.
fn remove_logs(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_log = [".log", ".log.old", ".start"]
            .iter()
            .any(|end| name.ends_with(end));
        if entry.file_type()?.is_file() && (is_log || ["dmesg", "messages"].contains(&&*name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn print(timeline: &Timeline, terminal: &Terminal) -> io::Result<()> {
    if terminal.json {
        return terminal.print_json(timeline);
    }
    let mut table = terminal.table(["SECONDS", "WHAT", ""]);
    for event in &timeline.events {
        let (what, color) = match event.kind {
            Kind::Kernel | Kind::Init => ("starts", None),
            Kind::Extension => ("loaded", Some(Color::Cyan)),
            Kind::Service => ("answers", Some(Color::Green)),
            Kind::Prompt | Kind::Ready => ("", Some(Color::Green)),
            Kind::Failure => ("", Some(Color::Red)),
        };
        table.add_row([
            terminal.cell(format!("{:7.1}", event.at), None),
            terminal.cell(&event.name, color),
            terminal.cell(what, None),
        ]);
    }
    terminal.print(table.trim_fmt())
}
