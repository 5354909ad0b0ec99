//! What an extension holds: owners, modes, places, links.

use crate::audit::checks::Context;
use crate::audit::elf::Elf;
use crate::audit::report::{Check, Findings, Level};
use crate::audit::subject::{Entry, EntryKind, FileContent};
use crate::audit::world::Target;
use crate::stage::{Owner, TreePath, is_shared_library};

const INSTALLED: &str = "usr/local/tce.installed";
const SERVICES: &str = "usr/local/etc/init.d";

/// Checks the tree.
pub(in crate::audit) fn check(context: Context<'_>, findings: &mut Findings) {
    findings.made(&[
        Check::Image,
        Check::Empty,
        Check::Appended,
        Check::Owner,
        Check::Mode,
        Check::Setuid,
        Check::WorldWritable,
        Check::SystemDirectory,
        Check::SystemFile,
        Check::RunTime,
        Check::SpecialFile,
        Check::PaxHeaders,
        Check::Link,
        Check::Installed,
        Check::License,
        Check::Modules,
    ]);
    for (path, entry) in &context.subject.nodes {
        // The root of the image is not copied.
        if !path.is_root() {
            owner_and_mode(context, path, entry, findings);
            place(context, path, entry, findings);
            content(path, entry, findings);
            link(context, path, entry, findings);
        }
    }
    second_tree(context, findings);
    empty(context, findings);
    installed(context, findings);
    license(context, findings);
}

fn below(path: &TreePath, folder: &str) -> Option<TreePath> {
    path.strip_prefix(&TreePath::parse(folder).ok()?)
}

fn owner_and_mode(context: Context<'_>, path: &TreePath, entry: &Entry, findings: &mut Findings) {
    let Owner { uid, gid } = entry.owner;
    if let Some(system) = context.world.base.directory(path).filter(|_| entry.is_dir()) {
        if (entry.mode, entry.owner) != (system.mode, system.owner) {
            let wanted = format!("{:o} {}:{}", system.mode, system.owner.uid, system.owner.gid);
            let message = format!(
                "it is {:o} {uid}:{gid}; the system has it as {wanted}",
                entry.mode
            );
            findings
                .at(path, Check::SystemDirectory, Level::Error, message)
                .hint("tce-load gives a directory that is there the extension's owner and mode");
        }
        return;
    }
    if below(path, INSTALLED).is_some() {
        return;
    }
    if entry.owner != Owner::ROOT {
        findings.at(
            path,
            Check::Owner,
            Level::Error,
            format!("it belongs to {uid}:{gid}, not 0:0"),
        );
    }
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        mode(context, path, entry, findings);
    }
}

fn mode(context: Context<'_>, path: &TreePath, entry: &Entry, findings: &mut Findings) {
    let mode = entry.mode;
    if mode & 0o7000 != 0 {
        findings.at(path, Check::Setuid, Level::Error, format!("its mode is {mode:o}"));
    }
    if mode & 0o002 != 0 {
        findings.at(
            path,
            Check::WorldWritable,
            Level::Error,
            format!("its mode is {mode:o}"),
        );
    }
    let wanted: &[u16] = if is_executable(context, path, entry) {
        &[0o755, 0o555]
    } else {
        &[0o644, 0o444]
    };
    // The bits reported above are not reported again.
    let rest = mode & 0o775;
    if !wanted.contains(&rest) && !wanted.contains(&(mode & 0o777)) {
        let wanted = wanted[0];
        findings.at(
            path,
            Check::Mode,
            Level::Error,
            format!("its mode is {mode:o}, not {wanted:o}"),
        );
    }
}

/// Whether something has to be executable, or is.
fn is_executable(context: Context<'_>, path: &TreePath, entry: &Entry) -> bool {
    let meant_to_run = match entry.content() {
        Some(FileContent::Elf(Elf::Native(native))) => native.interpreter.is_some() || native.executable,
        Some(FileContent::Script { interpreter, .. }) if !interpreter.is_empty() => {
            let parent = path.parent().unwrap_or_default();
            let service = SERVICES.as_bytes() == parent.as_bytes();
            service || context.world.base.path.contains(&parent)
        }
        _ => false,
    };
    entry.is_dir() || meant_to_run || is_shared_library(path) || entry.mode & 0o111 != 0
}

fn place(context: Context<'_>, path: &TreePath, entry: &Entry, findings: &mut Findings) {
    let base = context.world.base;
    if !entry.is_dir() && base.is_run_time_path(path) {
        findings
            .at(
                path,
                Check::RunTime,
                Level::Error,
                "the running system writes here, and a link into the image is read-only",
            )
            .hint("create it from the tce.installed script");
    } else if !entry.is_dir() && base.files.contains(path) {
        findings.at(
            path,
            Check::SystemFile,
            Level::Warning,
            "the system has this file, and tce-load keeps the system's",
        );
    }
    let name = path.file_name().unwrap_or_default();
    if name.starts_with(b"PaxHeaders") || name == b"@LongLink" {
        findings.at(
            path,
            Check::PaxHeaders,
            Level::Error,
            "it is a rest of a tar archive, not a file of the program",
        );
    }
    module(context, path, findings);
}

fn module(context: Context<'_>, path: &TreePath, findings: &mut Findings) {
    let name = path.file_name().unwrap_or_default();
    let suffixes: [&[u8]; 4] = [b".ko", b".ko.gz", b".ko.xz", b".ko.zst"];
    if !suffixes.iter().any(|suffix| name.ends_with(suffix)) {
        return;
    }
    let kernel = &context.world.base.kernel;
    let folder = format!("usr/local/lib/modules/{kernel}/kernel");
    if below(path, &folder).is_none() {
        findings.at(
            path,
            Check::Modules,
            Level::Error,
            format!("the kernel {kernel} looks for modules in /{folder}"),
        );
    } else if !name.ends_with(b".ko.gz") {
        findings.at(
            path,
            Check::Modules,
            Level::Warning,
            "modules are compressed with gzip, as `x.ko.gz`",
        );
    }
}

fn content(path: &TreePath, entry: &Entry, findings: &mut Findings) {
    if let EntryKind::Special(what) = entry.kind {
        findings.at(path, Check::SpecialFile, Level::Error, format!("it is a {what}"));
    }
    if let Some(FileContent::Damaged(reason)) = entry.content() {
        findings
            .at(
                path,
                Check::Image,
                Level::Error,
                format!("it cannot be read: {reason}"),
            )
            .hint("the image is damaged: fetch it again and compare it with its .md5.txt");
    }
}

fn link(context: Context<'_>, path: &TreePath, entry: &Entry, findings: &mut Findings) {
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        return;
    }
    let world = context.world;
    match world.resolve(path) {
        Target::Entry(..) | Target::Base => {}
        Target::Broken(how) => {
            findings.at(path, Check::Link, Level::Error, format!("the link {how}"));
        }
        // What lies elsewhere may be made when the system runs.
        Target::Missing(target) => {
            let fixed = ["usr", "lib", "bin", "sbin"];
            if fixed.iter().any(|folder| below(&target, folder).is_some()) {
                let unless = world.unless_unknown();
                let message = format!("it leads to `/{target}`, which is not there{unless}");
                findings.at(path, Check::Link, Level::Warning, message);
            }
        }
    }
}

/// mksquashfs adds `usr_1` beside `usr` where it appends to an image.
fn second_tree(context: Context<'_>, findings: &mut Findings) {
    let top = context.subject.nodes.keys();
    for path in top.filter(|path| path.components().count() == 1) {
        let name = path.as_bytes();
        let Some(at) = name.iter().rposition(|byte| *byte == b'_') else {
            continue;
        };
        let number = &name[at + 1..];
        let first = TreePath::parse(&name[..at]).unwrap_or_default();
        let numbered = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        if numbered && !first.is_root() && context.subject.nodes.contains_key(&first) {
            findings
                .at(
                    path,
                    Check::Appended,
                    Level::Error,
                    format!("it is a second `{first}`, appended to the image"),
                )
                .hint("pack it anew, with `mksquashfs -noappend`");
        }
    }
}

/// tce-load takes an extension for a meta extension by what
/// `find -mindepth 1 -maxdepth 2` counts.
fn empty(context: Context<'_>, findings: &mut Findings) {
    let subject = context.subject;
    let paths = subject.nodes.keys();
    let count = paths
        .filter(|path| (1..=2).contains(&path.components().count()))
        .count();
    if count <= 1 && subject.side.dep.is_none() {
        findings
            .add(
                Check::Empty,
                Level::Error,
                "it holds nothing, and there is no .dep that would make it a meta extension",
            )
            .hint("put files into it, or write a .dep");
    }
}

fn installed(context: Context<'_>, findings: &mut Findings) {
    let own = context.subject.stem();
    for (path, entry) in &context.subject.nodes {
        let Some(rest) = below(path, INSTALLED).filter(|rest| !rest.is_root()) else {
            continue;
        };
        let mut wrong = |message: String| {
            findings.at(path, Check::Installed, Level::Error, message);
        };
        if entry.is_dir() || rest.components().count() > 1 {
            wrong("there are no folders in tce.installed".into());
        } else if rest.as_bytes() != own.as_bytes() {
            wrong(format!(
                "the one script in tce.installed has the extension's name, `{own}`"
            ));
        } else if !matches!(entry.kind, EntryKind::File(_)) {
            wrong("it is no file".into());
        } else if (entry.mode, entry.owner) != (0o775, Owner::ROOT_STAFF) {
            let Owner { uid, gid } = entry.owner;
            wrong(format!("it is {:o} {uid}:{gid}, not 775 0:50", entry.mode));
        }
    }
}

fn license(context: Context<'_>, findings: &mut Findings) {
    let rules = &context.rules.license;
    let own = format!("usr/local/share/doc/{}", context.subject.stem());
    let is_license = |path: &&TreePath| {
        let name = path.file_name().unwrap_or_default().to_ascii_lowercase();
        below(path, &own).is_some()
            || rules.folders.iter().any(|folder| below(path, folder).is_some())
                && rules.names.iter().any(|start| name.starts_with(start.as_bytes()))
    };
    if !context.subject.files().iter().any(is_license) {
        findings.add(
            Check::License,
            Level::Warning,
            format!("there is no licence text in /{own}"),
        );
    }
}
