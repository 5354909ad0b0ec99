//! `tcforge pack`

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use miette::{Context, IntoDiagnostic};
use serde::Serialize;
use tcforge::build::{FolderRequest, Loss, Losses, pack_folder};
use tcforge::progress::Progress;
use tcforge::project::Project;
use tcforge::stage::TreePath;
use tcforge::tcz::side::Info;
use tcforge::tcz::side::info::Deviation;
use tcforge::tcz::squashfs::{Algorithm, BlockSize, Compression, OptionError, PackOptions};

use super::args::{CompressionChoice, PackArgs};
use super::terminal::{Terminal, count, human_size};
use super::{Outcome, audit_table, source_date_epoch};

pub(crate) fn run(args: &PackArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let request = FolderRequest {
        folder: args.dir.clone(),
        out: args.out.clone(),
        dependencies: args.dependencies.clone(),
        info: info(args)?,
        options: options(args)?,
        publish_with_errors: args.force,
    };
    let packed = pack_folder(&request, project, terminal)?;
    if terminal.json {
        let row = Row {
            extension: &packed.extension.file_name,
            files: packed.extension.files,
            content_size: packed.extension.content_size,
            size: packed.extension.sums.length,
            sha256: packed.extension.sums.sha256.to_string(),
            write_seconds: packed.extension.write_time.as_secs_f64(),
            lost: lost(&packed.losses),
            findings: &packed.report.findings,
        };
        terminal.print_json(&row).into_diagnostic()?;
    } else {
        audit_table::say_findings(&packed.report, terminal);
        warn_of(&packed.losses, terminal);
    }
    if !packed.published {
        return Err(audit_table::kept_back(&args.out, "`--force`"));
    }
    audit_table::warn_of_forced(&packed.report, &args.out, terminal);
    if args.info.is_none() {
        terminal.note("nothing is said in the info file; `--info FILE` takes its texts from a file");
    }
    terminal.status(
        "Packed",
        format!(
            "`{}`: {}, {} into {}{}",
            args.out.display(),
            count(packed.extension.files, "file"),
            human_size(packed.extension.content_size),
            human_size(packed.extension.sums.length),
            audit_table::with_findings(&packed.report.findings)
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// Paths that are named of one kind of loss.
const NAMED: usize = 3;

/// Says in one line what the extension does not keep of the folder.
fn warn_of(losses: &Losses, terminal: &Terminal) {
    let kinds = Loss::ALL.map(|loss| (loss, losses.paths(loss)));
    let told = kinds.iter().filter(|(_, paths)| !paths.is_empty());
    let told: Vec<_> = told
        .map(|(loss, paths)| format!("{} ({})", words(*loss, paths.len()), named(paths)))
        .collect();
    if !told.is_empty() {
        terminal.warning(format!(
            "an extension has Tiny Core's owners and modes: {}",
            told.join(", ")
        ));
    }
}

fn words(loss: Loss, number: usize) -> String {
    match loss {
        Loss::Setuid => count(number, "setuid bit") + " dropped",
        Loss::Setgid => count(number, "setgid bit") + " dropped",
        Loss::Sticky => count(number, "sticky bit") + " dropped",
        Loss::Capabilities => format!("capabilities of {} dropped", count(number, "file")),
        Loss::Acl => count(number, "ACL") + " dropped",
        Loss::Attributes => format!("extended attributes of {} dropped", count(number, "path")),
        Loss::PrivateFile => count(number, "file") + " readable by everybody now",
        Loss::PrivateDirectory if number == 1 => "1 directory open to everybody now".to_owned(),
        Loss::PrivateDirectory => format!("{number} directories open to everybody now"),
    }
}

fn named(paths: &[TreePath]) -> String {
    let names = paths.iter().take(NAMED).map(ToString::to_string);
    let more = (paths.len() > NAMED).then(|| "…".to_owned());
    names.chain(more).collect::<Vec<_>>().join(", ")
}

fn lost(losses: &Losses) -> BTreeMap<&'static str, Vec<String>> {
    let key = |loss| match loss {
        Loss::Setuid => "setuid",
        Loss::Setgid => "setgid",
        Loss::Sticky => "sticky",
        Loss::Capabilities => "capabilities",
        Loss::Acl => "acl",
        Loss::Attributes => "attributes",
        Loss::PrivateFile => "private_files",
        Loss::PrivateDirectory => "private_directories",
    };
    let paths = |loss| losses.paths(loss).iter().map(ToString::to_string).collect();
    Loss::ALL
        .into_iter()
        .map(|loss| (key(loss), paths(loss)))
        .collect()
}

fn options(args: &PackArgs) -> miette::Result<PackOptions> {
    let block_size = block_size(&args.block_size)?;
    let algorithm = match args.compression {
        CompressionChoice::Gzip => Algorithm::Gzip,
        CompressionChoice::Xz => Algorithm::Xz,
        CompressionChoice::Zstd => Algorithm::Zstd,
    };
    let compression = match args.level {
        Some(level) => Compression::with_level(algorithm, level)?,
        None => Compression::new(algorithm),
    };
    Ok(PackOptions {
        block_size,
        compression,
        time: source_date_epoch()?.unwrap_or(DEFAULT_TIME),
        ..PackOptions::default()
    })
}

/// Reads a block size as mksquashfs does: bytes, or with `K` or `M` behind it.
fn block_size(text: &str) -> Result<BlockSize, OptionError> {
    let wrong = || OptionError::BlockSize(text.to_owned());
    let upper = text.to_ascii_uppercase();
    let (number, unit) = match (upper.strip_suffix('K'), upper.strip_suffix('M')) {
        (Some(number), _) => (number, 1 << 10),
        (_, Some(number)) => (number, 1 << 20),
        _ => (upper.as_str(), 1),
    };
    let bytes = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    BlockSize::new(bytes.ok_or_else(wrong)?).map_err(|_| wrong())
}

/// The time stamp of a packed folder, whose files' own times say when they were
/// copied rather than when they were made: 2020-03-01, Tiny Core 11.0's day.
const DEFAULT_TIME: u32 = 1_583_020_800;

fn info(args: &PackArgs) -> miette::Result<Info> {
    let Some(path) = &args.info else {
        return Ok(Info::default());
    };
    let bytes = fs::read(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the info file `{}`", path.display()))?;
    let (info, deviations) = Info::parse(&bytes);
    // These two are filled in whatever the file says.
    let filled_in = |deviation: &&Deviation| {
        matches!(
            deviation,
            Deviation::Missing("Title" | "Size") | Deviation::Empty("Title" | "Size")
        )
    };
    match deviations.iter().find(|deviation| !filled_in(deviation)) {
        Some(deviation) => Err(miette::miette!(
            help = "docs/extensions.md shows how an info file looks",
            "the info file `{}` is not as Tiny Core wants it: {deviation}",
            path.display()
        )),
        None => Ok(info),
    }
}

/// What scripts are told.
#[derive(Serialize)]
struct Row<'a> {
    extension: &'a str,
    files: usize,
    content_size: u64,
    size: u64,
    sha256: String,
    write_seconds: f64,
    /// The paths that something was lost of, by what it was.
    lost: BTreeMap<&'static str, Vec<String>>,
    findings: &'a [tcforge::audit::Finding],
}
