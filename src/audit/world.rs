//! What an extension finds on the system once its dependencies are loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::subject::{Entry, EntryKind, FileContent, Subject};
use crate::audit::elf::Elf;
use crate::base::{Base, Provides, Versions};
use crate::stage::TreePath;
use crate::tcz::side::dep::{self, Dependency};

/// Where the scripts are that run once an extension is loaded.
const INSTALLED: &str = "usr/local/tce.installed/";

/// Links that are followed from one name, as the kernel does.
const LINKS_MAX: usize = 40;

/// The extensions that were read, by file name.
pub(super) type Shelf = BTreeMap<String, Subject>;

/// The direct dependencies of an extension: what its `.dep` says, none if there
/// are other side files but no `.dep`, and for a bare official image what the
/// base knows.
pub(super) fn dependencies(name: &str, shelf: &Shelf, base: &Base) -> Vec<Dependency> {
    let subject = shelf.get(name);
    if let Some(text) = subject.and_then(|subject| subject.side.dep.as_deref()) {
        return dep::read(&String::from_utf8_lossy(text)).0;
    }
    if subject.is_some_and(|subject| subject.side.info.is_some()) {
        return Vec::new();
    }
    let known = base.extension(name).map(|provides| provides.dependencies.iter());
    known
        .into_iter()
        .flatten()
        .filter_map(|name| Dependency::parse(name).ok())
        .collect()
}

/// What one extension finds: itself, what its dependencies give, the base.
pub(super) struct World<'a> {
    pub(super) base: &'a Base,
    pub(super) shelf: &'a Shelf,
    /// The extension itself first, then those of its dependencies that were read.
    subjects: Vec<&'a Subject>,
    /// Those that only the base's file tells of.
    listed: Vec<&'a Provides>,
    /// Those that nothing is known of.
    pub(super) unknown: Vec<String>,
}

/// Where a path leads.
pub(super) enum Target<'a> {
    /// To something of an extension.
    Entry(&'a Entry),
    /// To something of the base.
    Base,
    /// To nothing: the last path that was looked for.
    Missing(TreePath),
    /// Around in a circle, or out of the tree.
    Broken(&'static str),
}

/// A library that was found.
pub(super) enum Library<'a> {
    /// One that defines these symbol versions.
    Read(&'a crate::audit::elf::Native),
    /// One of which the newest versions are known.
    Listed(&'a Versions),
    /// One that says nothing of versions.
    Other,
}

impl<'a> World<'a> {
    pub(super) fn new(subject: &'a Subject, shelf: &'a Shelf, base: &'a Base) -> Self {
        let mut world = Self {
            base,
            shelf,
            subjects: vec![subject],
            listed: Vec::new(),
            unknown: Vec::new(),
        };
        for name in reachable(&subject.name, shelf, base).split_off(1) {
            if let Some(other) = shelf.get(&name) {
                world.subjects.push(other);
            } else if let Some(provides) = base.extension(&name) {
                world.listed.push(provides);
            } else {
                world.unknown.push(name);
            }
        }
        world
    }

    /// Whether a tce.installed script makes the `/lib64` that Tiny Core lacks.
    pub(super) fn makes_lib64(&self) -> bool {
        let nodes = self.subjects.iter().flat_map(|subject| &subject.nodes);
        let scripts = nodes.filter(|(path, _)| path.as_bytes().starts_with(INSTALLED.as_bytes()));
        scripts
            .filter_map(|(_, entry)| entry.content())
            .any(|content| match content {
                FileContent::Script { text: Some(text), .. } => text
                    .lines()
                    .any(|line| line.contains("ln -s") && line.ends_with(" /lib64")),
                _ => false,
            })
    }

    fn get(&self, path: &TreePath) -> Option<&'a Entry> {
        self.subjects.iter().find_map(|subject| subject.nodes.get(path))
    }

    /// Follows a path, and the links on its way, to its end.
    pub(super) fn resolve(&self, path: &TreePath) -> Target<'a> {
        let mut path = path.clone();
        for _ in 0..LINKS_MAX {
            let link = match self.get(&path) {
                Some(entry) => match &entry.kind {
                    EntryKind::Symlink(target) => path.resolve_link(target),
                    _ => return Target::Entry(entry),
                },
                None if self.is_in_base(&path) => return Target::Base,
                None => match self.through_linked_directory(&path) {
                    Some(link) => link,
                    None => return Target::Missing(path),
                },
            };
            match link {
                Some(next) => path = next,
                None => return Target::Broken("leads out of the tree"),
            }
        }
        Target::Broken("goes around in a circle")
    }

    /// The same path by way of the link that one of its directories is.
    fn through_linked_directory(&self, path: &TreePath) -> Option<Option<TreePath>> {
        path.ancestors().find_map(|above| {
            let entry = self.get(&above)?;
            let EntryKind::Symlink(target) = &entry.kind else {
                return None;
            };
            let rest = path.strip_prefix(&above)?;
            Some(above.resolve_link(target).map(|target| target.join(&rest)))
        })
    }

    fn is_in_base(&self, path: &TreePath) -> bool {
        // What lies below a path comes right after it.
        let mut from_here = self.base.files.range(path..);
        from_here
            .next()
            .is_some_and(|file| file.strip_prefix(path).is_some())
            || self.base.directory(path).is_some()
    }

    /// Whether a shell finds a command.
    pub(super) fn has_command(&self, name: &str) -> bool {
        if self.base.has_command(name) {
            return true;
        }
        if self.listed.iter().any(|listed| listed.commands.contains(name)) {
            return true;
        }
        let Ok(name) = TreePath::parse(name) else {
            return false;
        };
        let mut folders = self.base.path.iter();
        folders.any(|folder| self.get(&folder.join(&name)).is_some())
    }

    /// Whether a program is there by its absolute path. Of extensions that only
    /// the base's file tells of, the name is enough.
    pub(super) fn has_program(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let listed = self.listed.iter().any(|listed| listed.commands.contains(name));
        let there = TreePath::parse_absolute(path)
            .is_ok_and(|path| matches!(self.resolve(&path), Target::Entry(..) | Target::Base));
        listed || there
    }

    /// Looks for a library in a folder of an extension.
    pub(super) fn library_in(&self, folder: &TreePath, soname: &TreePath) -> Option<Library<'a>> {
        match self.resolve(&folder.join(soname)) {
            Target::Entry(entry) => library(entry),
            _ => None,
        }
    }

    /// Looks for a library where the loader looks by itself.
    pub(super) fn library(&self, soname: &str) -> Option<Library<'a>> {
        let path = TreePath::parse(soname).ok()?;
        let mut folders = self.base.library_path.iter();
        if let Some(library) = folders.find_map(|folder| self.library_in(folder, &path)) {
            return Some(library);
        }
        let listed = self
            .listed
            .iter()
            .find(|listed| listed.libraries.contains(soname));
        if let Some(listed) = listed {
            return Some(Library::Listed(&listed.versions));
        }
        self.base
            .has_library(soname)
            .then_some(Library::Listed(&self.base.versions))
    }

    /// An extension that would give a library, if it were a dependency.
    pub(super) fn who_has_library(&self, soname: &str) -> Option<&'a str> {
        self.who_has(soname, &self.base.library_path, |provides| &provides.libraries)
    }

    /// An extension that would give a command, if it were a dependency.
    pub(super) fn who_has_command(&self, name: &str) -> Option<&'a str> {
        self.who_has(name, &self.base.path, |provides| &provides.commands)
    }

    fn who_has(
        &self,
        name: &str,
        folders: &[TreePath],
        listed: fn(&Provides) -> &BTreeSet<String>,
    ) -> Option<&'a str> {
        let path = TreePath::parse(name).ok()?;
        let has = |subject: &&Subject| {
            let mut paths = folders.iter().map(|folder| folder.join(&path));
            paths.any(|path| subject.nodes.contains_key(&path))
        };
        let read = self.shelf.values().find(has).map(|subject| subject.name.as_str());
        let mut known = self.base.extensions.iter();
        read.or_else(|| {
            known
                .find(|(_, provides)| listed(provides).contains(name))
                .map(|(name, _)| name.as_str())
        })
    }

    /// Told where something is missing that a dependency of which nothing is
    /// known may give; empty if there is none.
    pub(super) fn unless_unknown(&self) -> String {
        if self.unknown.is_empty() {
            return String::new();
        }
        let some = &self.unknown[..self.unknown.len().min(3)];
        format!("; perhaps {} gives it", some.join(" or "))
    }
}

fn library(entry: &Entry) -> Option<Library<'_>> {
    match entry.content()? {
        FileContent::Elf(Elf::Native(native)) => Some(Library::Read(native)),
        FileContent::Elf(Elf::Foreign(_)) => None,
        _ => Some(Library::Other),
    }
}

/// Every extension that is loaded with this one, itself among them, however
/// the dependencies go around.
fn reachable(root: &str, shelf: &Shelf, base: &Base) -> Vec<String> {
    let mut names = vec![root.to_owned()];
    let mut seen = BTreeSet::from([root.to_owned()]);
    let mut next = 0;
    while let Some(name) = names.get(next) {
        for dependency in dependencies(name, shelf, base) {
            let name = dependency.for_kernel(&base.kernel);
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
        next += 1;
    }
    names
}
