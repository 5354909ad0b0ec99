//! Programs and libraries: whether they run where they are to run.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::checks::Context;
use crate::audit::elf::{Elf, Native};
use crate::audit::report::{Check, Finding, Findings, Level};
use crate::audit::subject::FileContent;
use crate::audit::world::Library;
use crate::stage::TreePath;

/// The loader that x86_64 programs made elsewhere ask for.
const LIB64_LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Checks every program and library.
pub(in crate::audit) fn check(context: Context<'_>, findings: &mut Findings) {
    findings.made(&[
        Check::Elf,
        Check::Architecture,
        Check::Loader,
        Check::Library,
        Check::LibraryPath,
        Check::Glibc,
        Check::SymbolVersion,
        Check::Stripped,
    ]);
    let own_folders = own_folders(context);
    for (path, entry) in &context.subject.nodes {
        let Some(FileContent::Elf(elf)) = entry.content() else {
            continue;
        };
        let level = level_of(context, path);
        match elf {
            Elf::Relocatable => {}
            Elf::Foreign(machine) => {
                let message = format!("it is for {machine}, not x86_64 Linux");
                findings.at(path, Check::Architecture, level, message);
            }
            Elf::Unreadable(reason) => {
                findings.at(path, Check::Elf, level, format!("it cannot be read: {reason}"));
            }
            Elf::Native(native) => Subject {
                context,
                path,
                native,
                own_folders: &own_folders,
            }
            .check(findings),
        }
    }
}

/// What stands where shell and loader look is meant to be used; elsewhere
/// there are programs for other systems too, which nobody starts.
fn level_of(context: Context<'_>, path: &TreePath) -> Level {
    let base = context.world.base;
    let parent = path.parent().unwrap_or_default();
    if base.path.contains(&parent) || base.library_path.contains(&parent) {
        Level::Error
    } else {
        Level::Warning
    }
}

/// Every folder in which some program of the extension has its libraries
/// looked for. Libraries are found there too, by way of the program.
fn own_folders(context: Context<'_>) -> BTreeSet<TreePath> {
    let native = context.subject.native();
    native
        .flat_map(|(path, native)| search_path(path, native))
        .collect()
}

/// The folders that a program or library names itself.
fn search_path(path: &TreePath, native: &Native) -> Vec<TreePath> {
    let folders = match native.runpath.is_empty() {
        true => &native.rpath,
        false => &native.runpath,
    };
    let origin = path.parent().unwrap_or_default();
    folders
        .iter()
        .filter_map(|folder| {
            let rest = ["$ORIGIN", "${ORIGIN}"]
                .iter()
                .find_map(|o| folder.strip_prefix(o));
            match rest {
                // Resolved as a link in that folder, `..` and all.
                Some(rest) => {
                    let relative = format!("./{}", rest.trim_start_matches('/'));
                    let here = origin.join(&TreePath::parse("x").ok()?);
                    here.resolve_link(relative.as_bytes())
                }
                None if folder.starts_with('/') => TreePath::root().resolve_link(folder.as_bytes()),
                None => None,
            }
        })
        .collect()
}

/// One program or library under the checks.
struct Subject<'a> {
    context: Context<'a>,
    path: &'a TreePath,
    native: &'a Native,
    own_folders: &'a BTreeSet<TreePath>,
}

/// Where a needed library was looked for.
enum Found<'a> {
    Library(Library<'a>),
    /// In the extension, but not where the loader looks.
    Elsewhere(TreePath),
    Nowhere,
}

impl<'a> Subject<'a> {
    fn check(&self, findings: &mut Findings) {
        if self.native.symbols {
            findings
                .at(
                    self.path,
                    Check::Stripped,
                    Level::Warning,
                    "it has its symbols still",
                )
                .hint("`strip --strip-unneeded` makes it smaller");
        }
        if !self.check_loader(findings) {
            // It is for another libc, and so are the libraries it needs.
            return;
        }
        if self.is_for_another_libc(findings) {
            return;
        }
        let mut missing_versions = BTreeMap::new();
        for soname in &self.native.needed {
            match self.find(soname) {
                Found::Library(library) => self.versions(soname, &library, &mut missing_versions),
                Found::Elsewhere(at) => self.elsewhere(soname, &at, findings),
                Found::Nowhere => self.nowhere(soname, findings),
            }
        }
        self.report_versions(&missing_versions, findings);
    }

    /// Who needs what is not there does not start; nor does a program that loads it
    /// at its start, as native modules are loaded. Which of them are loaded later, or
    /// never, nobody sees from the outside: the info file has to say so.
    fn level(&self) -> Level {
        match self.is_optional() {
            true => Level::Warning,
            false => Level::Error,
        }
    }

    fn is_optional(&self) -> bool {
        self.context.optional.iter().any(|glob| glob.matches(self.path))
    }

    /// Adds a finding of what keeps it from being loaded.
    fn add<'f>(
        &self,
        check: Check,
        level: Level,
        message: String,
        findings: &'f mut Findings,
    ) -> &'f mut Finding {
        let message = match self.is_optional() {
            true => format!("{message}; programs do without it, the info file says"),
            false => message,
        };
        findings.at(self.path, check, level, message)
    }

    /// Whether a module is one of those for other C libraries, which lie beside the
    /// one for glibc and are not loaded.
    fn is_for_another_libc(&self, findings: &mut Findings) -> bool {
        let level = level_of(self.context, self.path);
        let others = &self.context.rules.other_libcs;
        let other = self.native.needed.iter().find(|soname| others.contains(*soname));
        let Some(libc) = other.filter(|_| level < Level::Error) else {
            return false;
        };
        let message = format!("it is for the C library {libc}, not glibc");
        findings.at(self.path, Check::Architecture, level, message);
        true
    }

    /// Whether the program's loader is one that Tiny Core can have.
    fn check_loader(&self, findings: &mut Findings) -> bool {
        let Some(loader) = &self.native.interpreter else {
            return true;
        };
        let world = self.context.world;
        if world.has_program(loader) || (loader == LIB64_LOADER && world.makes_lib64()) {
            return true;
        }
        if loader == LIB64_LOADER {
            findings
                .at(
                    self.path,
                    Check::Loader,
                    Level::Warning,
                    format!("it asks for {loader}, and there is no /lib64"),
                )
                .hint("a service script, or tce.installed, must make it: `ln -s lib /lib64`");
            return true;
        }
        let message = format!("it asks for {loader}, which is not there");
        findings.at(
            self.path,
            Check::Loader,
            level_of(self.context, self.path),
            message,
        );
        false
    }

    fn find(&self, soname: &str) -> Found<'a> {
        let world = self.context.world;
        let Ok(name) = TreePath::parse_absolute(soname) else {
            return Found::Nowhere;
        };
        let own = search_path(self.path, self.native);
        let shared = self
            .own_folders
            .iter()
            .filter(|_| self.native.interpreter.is_none());
        let folder = own.iter().chain(shared);
        let library = folder
            .filter_map(|folder| world.library_in(folder, &name))
            .next()
            .or_else(|| world.library(soname));
        if let Some(library) = library {
            return Found::Library(library);
        }
        let elsewhere = self
            .context
            .subject
            .nodes
            .keys()
            .find(|path| path.file_name() == Some(soname.as_bytes()));
        elsewhere.map_or(Found::Nowhere, |path| Found::Elsewhere(path.clone()))
    }

    fn elsewhere(&self, soname: &str, at: &TreePath, findings: &mut Findings) {
        let message = format!("it needs {soname}, and the loader does not look for it at /{at}");
        findings
            .at(self.path, Check::LibraryPath, Level::Warning, message)
            .hint("put the library into /usr/local/lib, or start the program with LD_LIBRARY_PATH");
    }

    fn nowhere(&self, soname: &str, findings: &mut Findings) {
        let world = self.context.world;
        let level = match world.unknown.is_empty() {
            true => self.level(),
            false => Level::Warning,
        };
        let message = format!(
            "it needs {soname}, which neither {} nor a dependency gives{}",
            world.base.title,
            world.unless_unknown()
        );
        let finding = self.add(Check::Library, level, message, findings);
        if let Some(name) = world.who_has_library(soname) {
            finding.hint(format!("add `{name}` to the .dep"));
        }
    }

    /// Notes the needed versions that a library does not define, by the newest
    /// one of their set that is there.
    fn versions(&self, soname: &str, library: &Library<'_>, missing: &mut BTreeMap<String, Vec<String>>) {
        for version in self.native.needs.get(soname).into_iter().flatten() {
            let there = match library {
                Library::Other => continue,
                Library::Read(native) => {
                    if native.defines.is_empty() || native.defines.contains(version) {
                        continue;
                    }
                    format!("another {soname}")
                }
                Library::Listed(versions) => match versions.has(version) {
                    Some(false) => versions.newest(version).unwrap_or(soname).to_owned(),
                    _ => continue,
                },
            };
            missing.entry(there).or_default().push(version.clone());
        }
    }

    fn report_versions(&self, missing: &BTreeMap<String, Vec<String>>, findings: &mut Findings) {
        for (there, versions) in missing {
            let check = match versions.iter().all(|version| version.starts_with("GLIBC_")) {
                true => Check::Glibc,
                false => Check::SymbolVersion,
            };
            let versions: BTreeSet<&str> = versions.iter().map(String::as_str).collect();
            let versions: Vec<&str> = versions.into_iter().collect();
            let message = format!("it needs {}; there is {there}", versions.join(", "));
            self.add(check, self.level(), message, findings)
                .hint(match self.native.interpreter {
                    Some(_) => "take one that is linked statically, or built for an older system",
                    None => "take one that is built for an older system; a recipe says in `optional` what programs do without",
                });
        }
    }
}
