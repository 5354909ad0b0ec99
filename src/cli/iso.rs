//! `tcforge iso`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use miette::{IntoDiagnostic, WrapErr};
use serde::Serialize;
use tcforge::build::Failed;
use tcforge::fetch::Fetcher;
use tcforge::image::appliance::{Appliance, Image};
use tcforge::image::base::{BaseKind, BootBase, KernelSource, TINYCORE};
use tcforge::image::carried::carried;
use tcforge::image::closure::Extension;
use tcforge::image::concerns::Concern;
use tcforge::image::supply::{Supplied, Supply, SupplyError};
use tcforge::image::{self, Made};
use tcforge::kernel::build::Record;
use tcforge::project::Project;
use tcforge::recipe::{ChannelNames, Recipes};
use tcforge::scratch::Scratch;
use tcforge::seen::Locks;
use tcforge::tcz::side::Dependency;

use super::args::IsoArgs;
use super::selection::FileRow;
use super::terminal::{Terminal, count, human_size};
use super::{Outcome, audit_table, failures, selection, source_date_epoch};

/// Where extensions lie in a copy of a mirror, on a disk, or in such a folder.
const TINYCORE_FOLDERS: [&str; 4] = ["", "tcz", "11.x/x86_64/tcz", "cde/optional"];

pub(crate) fn run(args: &IsoArgs, project: &Project, terminal: &Terminal) -> Outcome {
    let start = Instant::now();
    let mut appliance = Appliance::load(project, &args.appliance)?;
    appliance.extensions.splice(..0, of_kernel(args)?);
    for text in &args.images {
        appliance.images.push(text.parse::<Image>()?);
    }
    // Before the long work.
    carried(project, &appliance)?;
    image::refuse_folder(&appliance, &args.out)?;
    let fetcher = selection::fetcher(&args.network, project)?;
    let time = source_date_epoch()?;
    fs::create_dir_all(&args.out)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot make the folder `{}`", args.out.display()))?;
    let supplied = build_missing(args, &appliance, project, &fetcher, time, terminal)?;
    let scratch = Scratch::in_dir(&args.out)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write to `{}`", args.out.display()))?;
    let base = load_base(args, &appliance, project, &fetcher, scratch.path(), terminal)?;
    let made = image::make(&image::Request {
        project,
        appliance: &appliance,
        base: &base,
        folders: &folders(args),
        out: &args.out,
        time,
        cache: Some(fetcher.cache().root()),
        progress: terminal,
    })?;
    if terminal.json {
        let row = Row::new(&appliance, &base, &made, &supplied, start);
        terminal.print_json(&row).into_diagnostic()?;
    } else {
        say_concerns(&made.concerns, terminal);
    }
    say(&made, &base, terminal);
    Ok(ExitCode::SUCCESS)
}

/// Builds the recipes that the appliance needs and that are not built yet.
fn build_missing(
    args: &IsoArgs,
    appliance: &Appliance,
    project: &Project,
    fetcher: &Fetcher,
    time: Option<u32>,
    terminal: &Terminal,
) -> miette::Result<Supplied> {
    let recipes = Recipes::load(project)?;
    let choice = selection::choice(&args.channels, project, &recipes, &appliance.channels)?;
    let supply = Supply {
        project,
        recipes: &recipes,
        choice: &choice,
        locks: &Locks::of_user(project),
        files: &selection::overrides(&args.files)?,
        fetcher,
        time,
        progress: terminal,
    };
    let roots: Vec<_> = appliance
        .builtin
        .iter()
        .chain(&appliance.extensions)
        .cloned()
        .collect();
    let (supplied, failed) = match supply.build_missing(&roots, &args.out) {
        Err(SupplyError::Failed { failed, supplied }) => (supplied, failed),
        other => (other?, Vec::new()),
    };
    say_supplied(&supplied, terminal);
    match failed.is_empty() {
        true => Ok(supplied),
        false => Err(not_built(failed, supplied, args, appliance, terminal)?),
    }
}

fn say_supplied(supplied: &Supplied, terminal: &Terminal) {
    let built = &supplied.built;
    if !built.is_empty() {
        terminal.status(
            "Built",
            format!("{}: {}", count(built.len(), "extension"), built.join(", ")),
        );
    }
    selection::say_first_seen(&supplied.seen, terminal);
    for name in &supplied.unlocked {
        terminal.warning(selection::unlocked(name));
    }
}

/// Says why there is no image, and gives the error to end with.
fn not_built(
    mut failed: Vec<Failed>,
    supplied: Supplied,
    args: &IsoArgs,
    appliance: &Appliance,
    terminal: &Terminal,
) -> miette::Result<miette::Report> {
    if terminal.json {
        terminal
            .print_json(&FailedRow::new(&failed, &supplied))
            .into_diagnostic()?;
    }
    let force = force(&failed, args, appliance)?;
    if failed.len() == 1
        && let Some(only) = failed.pop()
    {
        return Ok(failures::only(only, &args.out, &force, terminal));
    }
    failures::show_not_built(&failed, terminal);
    let kept_back = failed.iter().any(|one| matches!(one, Failed::KeptBack(_)));
    let error = SupplyError::Failed { failed, supplied };
    Ok(match kept_back {
        false => error.into(),
        true => miette::miette!(
            help = format!(
                "what could be built stays, and no image was made; {force} writes also what only the audit is against"
            ),
            "{error}"
        ),
    })
}

/// The command that writes the extensions that only the audit is against, as this one takes
/// them then: made from the same channels, into the same folder.
fn force(failed: &[Failed], args: &IsoArgs, appliance: &Appliance) -> miette::Result<String> {
    let kept_back = failed.iter().filter(|one| matches!(one, Failed::KeptBack(_)));
    let names: Vec<_> = kept_back.map(|one| one.plan().name.as_str()).collect();
    let ChannelNames { mut channels, from } = ChannelNames::parse(&args.channels)?.or(&appliance.channels);
    channels.extend(from.iter().map(|(recipe, channel)| format!("{recipe}={channel}")));
    let channels = match channels.is_empty() {
        true => String::new(),
        false => format!(" --channel {}", channels.join(",")),
    };
    Ok(format!(
        "`tcforge build {}{channels} --out {} --force`",
        names.join(" "),
        args.out.display()
    ))
}

fn load_base(
    args: &IsoArgs,
    appliance: &Appliance,
    project: &Project,
    fetcher: &Fetcher,
    scratch: &Path,
    terminal: &Terminal,
) -> miette::Result<BootBase> {
    let kind: BaseKind = args.base.as_ref().unwrap_or(&appliance.base).parse()?;
    let kernel = args.kernel.clone().map(KernelSource::Folder);
    Ok(BootBase::load(
        kind,
        kernel.as_ref(),
        project,
        fetcher,
        scratch,
        terminal,
    )?)
}

/// The extensions that a built kernel asks to be loaded.
fn of_kernel(args: &IsoArgs) -> miette::Result<Vec<Dependency>> {
    let Some(folder) = &args.kernel else {
        return Ok(Vec::new());
    };
    let record = Record::read(folder)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read `{}`", folder.join(Record::FILE).display()))?;
    Ok(record.iter().flat_map(Record::to_load).collect())
}

/// Where extensions are: the kernel's own, what was built, then Tiny Core's.
fn folders(args: &IsoArgs) -> Vec<PathBuf> {
    let named = std::env::var_os(TINYCORE).filter(|path| !path.is_empty());
    let tinycore = named.map(PathBuf::from);
    let below = |folder: PathBuf| TINYCORE_FOLDERS.map(|name| folder.join(name));
    let official = tinycore
        .into_iter()
        .flat_map(below)
        .filter(|folder| folder.is_dir());
    let own = args.kernel.iter().chain([&args.out]).cloned();
    own.chain(official).collect()
}

/// Says what may fail on the box, of extensions that were built now or before.
fn say_concerns(concerns: &[Concern], terminal: &Terminal) {
    for concern in concerns {
        let what = audit_table::text(concern.path.as_ref(), &concern.message, concern.hint.as_deref());
        let line = format!("{}: {}: {what}", concern.extension, concern.check);
        match concern.error {
            true => terminal.audit_error(line),
            false => terminal.warning(line),
        }
    }
}

fn say(made: &Made, base: &BootBase, terminal: &Terminal) {
    let errors = made.concerns.iter().filter(|concern| concern.error).count();
    terminal.status(
        "Wrote",
        format!(
            "`{}`: {}, {} on {}{}, sha256 {}",
            made.iso.path.display(),
            human_size(made.iso.size),
            count(made.extensions.len(), "extension"),
            base.title,
            audit_table::with_numbers(errors, made.concerns.len() - errors),
            made.iso.sha256
        ),
    );
}

/// What scripts are told if there is no image.
#[derive(Serialize)]
struct FailedRow<'a> {
    not_built: Vec<failures::Row>,
    built: &'a [String],
    unlocked: &'a [String],
    first_seen: Vec<FileRow<'a>>,
}

impl<'a> FailedRow<'a> {
    fn new(failed: &[Failed], supplied: &'a Supplied) -> Self {
        Self {
            not_built: failures::rows(failed),
            built: &supplied.built,
            unlocked: &supplied.unlocked,
            first_seen: supplied.seen.iter().map(FileRow::new).collect(),
        }
    }
}

/// What scripts are told of an image.
#[derive(Serialize)]
struct Row<'a> {
    appliance: &'a str,
    base: &'a str,
    title: &'a str,
    kernel: &'a str,
    path: &'a Path,
    size: u64,
    sha256: String,
    content_size: u64,
    extensions: Vec<ExtensionRow<'a>>,
    services: Vec<&'a str>,
    built: &'a [String],
    unlocked: &'a [String],
    /// What may fail on the box.
    concerns: &'a [Concern],
    first_seen: Vec<FileRow<'a>>,
    seconds: f64,
}

#[derive(Serialize)]
struct ExtensionRow<'a> {
    name: &'a str,
    size: u64,
    sha256: String,
}

impl<'a> Row<'a> {
    fn new(
        appliance: &'a Appliance,
        base: &'a BootBase,
        made: &'a Made,
        supplied: &'a Supplied,
        start: Instant,
    ) -> Self {
        Self {
            appliance: &appliance.name,
            base: &base.name,
            title: &base.title,
            kernel: &base.kernel.release,
            path: &made.iso.path,
            size: made.iso.size,
            sha256: made.iso.sha256.to_string(),
            content_size: made.iso.content_size,
            extensions: made.extensions.iter().map(ExtensionRow::new).collect(),
            services: appliance
                .services
                .iter()
                .map(|service| service.name.as_str())
                .collect(),
            built: &supplied.built,
            unlocked: &supplied.unlocked,
            concerns: &made.concerns,
            first_seen: supplied.seen.iter().map(FileRow::new).collect(),
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

impl<'a> ExtensionRow<'a> {
    fn new(extension: &'a Extension) -> Self {
        Self {
            name: &extension.name,
            size: extension.size,
            sha256: extension.sha256.to_string(),
        }
    }
}
