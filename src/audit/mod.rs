//! What can be said of an extension from the outside.
//!
//! [`check`] reads extensions, ours or not, as hostile input: it makes every
//! check of Tiny Core's official audit (submitqc) that can be made without
//! running anything, and asks besides whether what is inside can run on the
//! base system with the declared dependencies.

mod checks;
mod elf;
mod report;
mod rules;
mod shell;
mod subject;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use report::{Check, Finding, Level, Report};
pub use rules::{LicenseRules, Limits, Rules, ScriptRules};
pub use subject::Made;

use crate::base::Base;
use crate::guard::guarded;
use crate::project::{Project, ProjectError};
use crate::recipe::Glob;
use crate::stage::TreePath;
use crate::tcz::side::info::optional_globs;
use checks::Context;
use report::Findings;
use subject::{EntryKind, Subject, Unreadable, file_name};
use world::{Shelf, World};

/// How extensions are checked.
#[derive(Debug, Clone)]
pub struct Options {
    /// The audit's data.
    pub rules: Rules,
    /// Folders with more extensions, in which dependencies are looked for, in
    /// order. Those of the checked files come first in any case.
    pub folders: Vec<PathBuf>,
    /// Whether these folders hold all that there is: a dependency that is in
    /// none of them is an error then.
    pub complete: bool,
}

impl Options {
    /// A project's rules; dependencies are looked for beside the checked files
    /// only.
    pub fn load(project: &Project) -> Result<Self, ProjectError> {
        Ok(Self::new(Rules::load(project)?))
    }

    /// Dependencies are looked for beside the checked files only.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            folders: Vec::new(),
            complete: false,
        }
    }
}

/// Why extensions could not be checked. What is wrong with one is a
/// [`Finding`], not an error.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum AuditError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    #[diagnostic(help("name extensions that are there and that you may read, as `out/containerd.tcz`"))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two files have the same name.
    #[error("`{}` and `{}` are the same extension", first.display(), second.display())]
    #[diagnostic(help("check them one after the other"))]
    Twice {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// Checks extensions together: each finds the others as its dependencies, and
/// files that two of them have are told. Dependencies that are not among them
/// are looked for beside them. The reports come in the order of `files`.
pub fn check(files: &[PathBuf], base: &Base, options: &Options) -> Result<Vec<Report>, AuditError> {
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    refuse_twice(&files)?;
    let subjects = on_all_cores(&files, |file| read(file, &options.rules));
    report(&files, subjects, base, options)
}

/// The same for extensions that were made here, without reading their images
/// once more.
pub fn check_made(made: &[Made<'_>], base: &Base, options: &Options) -> Result<Vec<Report>, AuditError> {
    let files: Vec<&Path> = made.iter().map(|made| made.file).collect();
    refuse_twice(&files)?;
    let subjects = on_all_cores(made, |made| Subject::made(*made, &options.rules));
    report(&files, subjects, base, options)
}

fn report(
    files: &[&Path],
    subjects: Vec<Result<Subject, Unreadable>>,
    base: &Base,
    options: &Options,
) -> Result<Vec<Report>, AuditError> {
    let mut shelf = Shelf::new();
    let mut damaged = BTreeMap::new();
    for (file, result) in files.iter().zip(subjects) {
        match result {
            Ok(subject) => {
                shelf.insert(subject.name.clone(), subject);
            }
            Err(Unreadable::Image(reason)) => {
                damaged.insert(file_name(file), reason);
            }
            Err(Unreadable::Io(path, source)) => return Err(AuditError::Read { path, source }),
        }
    }
    let given: BTreeSet<String> = shelf.keys().cloned().collect();
    fetch_dependencies(&mut shelf, files, base, options);
    let clashes = clashes(&shelf, &given);
    let report = |file: &&Path| {
        let name = file_name(file);
        let mut findings = Findings::default();
        if files.len() > 1 {
            findings.made(&[Check::Clash]);
            tell_clashes(&name, &clashes, &mut findings);
        }
        check_one(file, shelf.get(&name), &shelf, base, options, &mut findings).map_err(|source| {
            AuditError::Read {
                path: file.to_path_buf(),
                source,
            }
        })?;
        if let Some(reason) = damaged.get(&name) {
            findings
                .add(Check::Image, Level::Error, reason)
                .hint("fetch it again and compare it with its .md5.txt");
        }
        Ok(findings.report(file.to_path_buf(), options.rules.limits.findings))
    };
    files.iter().map(report).collect()
}

/// Checks one file, and the extension that was read from it.
fn check_one(
    file: &Path,
    subject: Option<&Subject>,
    shelf: &Shelf,
    base: &Base,
    options: &Options,
    findings: &mut Findings,
) -> io::Result<()> {
    let info = subject.and_then(|subject| subject.side.info.as_deref());
    checks::image::check(file, info, findings)?;
    let Some(subject) = subject else {
        return Ok(());
    };
    let world = World::new(subject, shelf, base);
    let rules = &options.rules;
    let context = Context {
        subject,
        world: &world,
        rules,
        optional: &optional(info, rules),
        complete: options.complete,
    };
    checks::all(context, findings)
}

/// The globs of the files that an info file calls optional.
fn optional(info: Option<&[u8]>, rules: &Rules) -> Vec<Glob> {
    let text = String::from_utf8_lossy(info.unwrap_or_default());
    let globs = optional_globs(&text).filter_map(|glob| Glob::new(glob).ok());
    globs.take(rules.limits.optional).collect()
}

fn refuse_twice(files: &[&Path]) -> Result<(), AuditError> {
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    for file in files {
        if let Some(first) = seen.insert(file_name(file), file) {
            return Err(AuditError::Twice {
                first: first.to_owned(),
                second: file.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// Reads an extension. The library that reads images is not ours, and panics on
/// some that were made to that end.
fn read(file: &Path, rules: &Rules) -> Result<Subject, Unreadable> {
    guarded(|| Subject::read(file, rules)).unwrap_or_else(|| {
        Err(Unreadable::Image(format!(
            "`{}` is damaged: its tables lead the reader astray",
            file.display()
        )))
    })
}

/// Reads extensions on all cores; the results come in the order of `inputs`.
fn on_all_cores<T: Sync>(
    inputs: &[T],
    read: impl Fn(&T) -> Result<Subject, Unreadable> + Sync,
) -> Vec<Result<Subject, Unreadable>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((number, input)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            inputs.get(number).map(|input| (number, input))
        } {
            let subject = read(input);
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            done.insert(number, subject);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(inputs.len()) {
            scope.spawn(work);
        }
        work();
    });
    let done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.into_values().collect()
}

/// Puts the dependencies that lie beside the files, or in other folders, on
/// the shelf too, and theirs. One that cannot be read counts as not known.
fn fetch_dependencies(shelf: &mut Shelf, files: &[&Path], base: &Base, options: &Options) {
    let beside = files.iter().filter_map(|file| file.parent());
    let others = options.folders.iter().map(PathBuf::as_path);
    let mut folders: Vec<&Path> = Vec::new();
    for folder in beside.chain(others) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let mut seen: BTreeSet<String> = shelf.keys().cloned().collect();
    let mut next: Vec<String> = seen.iter().cloned().collect();
    while let Some(name) = next.pop() {
        for dependency in world::dependencies(&name, shelf, base) {
            let name = dependency.for_kernel(&base.kernel);
            if !seen.insert(name.clone()) {
                continue;
            }
            let mut paths = folders.iter().map(|folder| folder.join(&name));
            if let Some(path) = paths.find(|path| path.is_file())
                && let Ok(subject) = read(&path, &options.rules)
            {
                shelf.insert(name.clone(), subject);
            }
            next.push(name);
        }
    }
}

/// A path that more than one extension has, and which.
struct Clash<'a> {
    path: &'a TreePath,
    names: Vec<&'a str>,
    /// Whether all have the same there.
    same: bool,
}

fn clashes<'a>(shelf: &'a Shelf, given: &BTreeSet<String>) -> Vec<Clash<'a>> {
    let mut owners: BTreeMap<&TreePath, Vec<&Subject>> = BTreeMap::new();
    for subject in shelf.values().filter(|subject| given.contains(&subject.name)) {
        for path in subject.nodes.keys() {
            owners.entry(path).or_default().push(subject);
        }
    }
    let several = owners.into_iter().filter(|(_, subjects)| subjects.len() > 1);
    several
        .filter_map(|(path, subjects)| {
            let kinds: Vec<&EntryKind> = subjects.iter().map(|s| &s.nodes[path].kind).collect();
            if kinds.iter().all(|kind| matches!(kind, EntryKind::Directory)) {
                return None;
            }
            Some(Clash {
                path,
                names: subjects.iter().map(|subject| subject.name.as_str()).collect(),
                same: kinds.windows(2).all(|pair| is_same(pair[0], pair[1])),
            })
        })
        .collect()
}

fn is_same(one: &EntryKind, other: &EntryKind) -> bool {
    match (one, other) {
        (EntryKind::File(one), EntryKind::File(other)) => one.sha256 == other.sha256,
        (EntryKind::Symlink(one), EntryKind::Symlink(other)) => one == other,
        _ => false,
    }
}

fn tell_clashes(name: &str, clashes: &[Clash<'_>], findings: &mut Findings) {
    for clash in clashes.iter().filter(|clash| clash.names.contains(&name)) {
        let others = clash.names.iter().filter(|other| **other != name);
        let others: Vec<String> = others.map(|other| format!("`{other}`")).collect();
        let others = others.join(", ");
        if clash.same {
            let message = format!("the same is in {others}");
            findings.at(clash.path, Check::Clash, Level::Warning, message);
        } else {
            let message = format!("something else is in {others}");
            findings
                .at(clash.path, Check::Clash, Level::Error, message)
                .hint("the one that is loaded first wins");
        }
    }
}
