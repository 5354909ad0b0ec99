//! The last part of every build, of a recipe or of somebody's folder: from a
//! staged tree to an extension's files, made in a scratch folder and read back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::BuildError;
use crate::audit::{self, AuditError};
use crate::base::Base;
use crate::digest::Sha256;
use crate::flock;
use crate::progress::Progress;
use crate::project::Project;
use crate::scratch::{self, Scratch};
use crate::stage::{Stage, TreePath, apply_rules, written_at_run_time};
use crate::tcz::side::{self, Dependency, Info, SideFiles, Sums, Upstream};
use crate::tcz::squashfs::{self, PackOptions, Written};
use crate::tcz::verify;

/// Everything that an extension is made of, before it is files.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The extension's file name, `x.tcz`.
    pub file_name: String,
    /// What it holds.
    pub stage: Stage,
    /// The info file; title and size are filled in.
    pub info: Info,
    /// What it needs directly.
    pub dependencies: Vec<Dependency>,
    /// An SPDX expression.
    pub license: String,
    /// What it was made of.
    pub upstream: Vec<Upstream>,
    /// One sum of all of that, for who wants to know whether it changed.
    pub inputs: Option<Sha256>,
    /// How the image is written.
    pub options: PackOptions,
}

/// What a draft became, and what its image was compared with.
#[derive(Debug)]
pub struct Made {
    /// What it is.
    pub extension: Extension,
    pub(super) image: PathBuf,
    stage: Stage,
    contents: BTreeMap<TreePath, Sha256>,
}

/// An extension that was made.
#[derive(Debug, Clone)]
pub struct Extension {
    /// The file name, `x.tcz`.
    pub file_name: String,
    /// Paths in it that are not directories.
    pub files: usize,
    /// The sum of its files' sizes.
    pub content_size: u64,
    /// The image's size and sums.
    pub sums: Sums,
    /// How long writing the image took, without reading it back.
    pub write_time: Duration,
}

impl Draft {
    /// Applies Tiny Core's rules, writes the image into `folder`, reads it back
    /// by an independent reader, and writes the side files. `lookup` gives the
    /// direct dependencies of other extensions, for the tree.
    pub fn make(
        mut self,
        base: &Base,
        lookup: &dyn Fn(&str) -> Vec<Dependency>,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Made, BuildError> {
        apply_rules(&mut self.stage, base);
        if let Some(path) = written_at_run_time(&self.stage, base).next() {
            return Err(BuildError::RunTimePath {
                extension: self.file_name,
                path: path.clone(),
            });
        }
        let image = folder.join(&self.file_name);
        let start = Instant::now();
        let file = File::create_new(&image).map_err(|source| BuildError::write(&image, source))?;
        let written = squashfs::write(&self.stage, &file, &self.options, progress).map_err(|source| {
            BuildError::Pack {
                extension: self.file_name.clone(),
                source,
            }
        })?;
        let write_time = start.elapsed();
        let sums = self.read_back(&image, &written)?;
        let side = SideFiles {
            file_name: &self.file_name,
            info: &self.info,
            dependencies: &self.dependencies,
            lookup,
            kernel: &base.kernel,
            stage: &self.stage,
            upstream: &self.upstream,
            inputs: self.inputs,
            license: &self.license,
            time: self.options.time,
        };
        side::write_side_files(&sums, &side, folder)?;
        let extension = Extension {
            files: self.stage.file_paths().count(),
            content_size: self.stage.content_size(),
            file_name: self.file_name,
            sums,
            write_time,
        };
        Ok(Made {
            extension,
            image,
            stage: self.stage,
            contents: written.sums,
        })
    }

    /// Compares the image with the stage and takes its sums, both at once.
    fn read_back(&self, image: &Path, written: &Written) -> Result<Sums, BuildError> {
        let (verified, sums) = thread::scope(|scope| {
            let sums = scope.spawn(|| Sums::of_file(image, None));
            let verified = verify::verify(image, &self.stage, written, &self.options);
            (verified, sums.join())
        });
        verified?;
        let sums = sums.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sums.map_err(|source| BuildError::read(image, source))
    }
}

/// How what is made for `out` is audited: what it needs besides what is made with it is
/// looked for there, from earlier builds.
pub(crate) fn audit_options(out: &Path, project: &Project) -> Result<audit::Options, BuildError> {
    Ok(audit::Options {
        folders: vec![out.to_owned()],
        ..audit::Options::load(project)?
    })
}

/// Audits what was made together.
pub(crate) fn audit_made(
    made: &[Made],
    base: &Base,
    options: &audit::Options,
) -> Result<Vec<audit::Report>, AuditError> {
    let made: Vec<_> = made
        .iter()
        .map(|made| audit::Made {
            file: &made.image,
            stage: &made.stage,
            contents: &made.contents,
            sums: &made.extension.sums,
        })
        .collect();
    audit::check_made(&made, base, options)
}

/// Refuses a name for an extension where a folder is in the way of one of its files,
/// new or old: that is known before anything is made.
pub(super) fn refuse_folders(file_name: &str, out: &Path) -> Result<(), BuildError> {
    let side = side::SUFFIXES.map(|suffix| format!("{file_name}.{suffix}"));
    for name in [file_name.to_owned()].iter().chain(&side) {
        let path = out.join(name);
        // A link to a folder is replaced like a file.
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(BuildError::FolderInTheWay(path));
        }
    }
    Ok(())
}

/// Gives the files of an extension that was made in a scratch folder their names in
/// `out`, in the place of those of an earlier build: all of them, or the earlier ones stay.
/// One program at a time does so in a folder, and an interrupt waits for it.
pub(super) fn publish(scratch: &Scratch, extension: &Extension, out: &Path) -> Result<(), BuildError> {
    let _lock = flock::folder(out, || {}).map_err(|source| BuildError::write(out, source))?;
    let _all_or_nothing = scratch::hold_interrupts();
    let name = &extension.file_name;
    refuse_folders(name, out)?;
    let earlier = scratch.path().join(EARLIER);
    fs::create_dir_all(&earlier).map_err(|source| BuildError::write(&earlier, source))?;
    let mut moves = Moves::default();
    let replaced = files_of(name, out)
        .and_then(|old| moves.add(old.into_iter().rev(), &earlier, out))
        .and_then(|()| files_of(name, scratch.path()))
        .and_then(|new| moves.add(new, out, out));
    replaced.inspect_err(|_| moves.undo())
}

/// The folder in the scratch folder for what is replaced. No extension's file has this name.
const EARLIER: &str = "earlier";

/// Files that were moved, each from where to where.
#[derive(Default)]
struct Moves(Vec<(PathBuf, PathBuf)>);

impl Moves {
    /// Moves files into `folder`; an error names the one of `out`.
    fn add(
        &mut self,
        files: impl IntoIterator<Item = PathBuf>,
        folder: &Path,
        out: &Path,
    ) -> Result<(), BuildError> {
        for from in files {
            let name = from.file_name().unwrap_or_default();
            let to = folder.join(name);
            fs::rename(&from, &to).map_err(|source| BuildError::write(&out.join(name), source))?;
            self.0.push((from, to));
        }
        Ok(())
    }

    /// Moves them back, as far as that can be done.
    fn undo(&self) {
        for (from, to) in self.0.iter().rev() {
            let _ = fs::rename(to, from);
        }
    }
}

/// The image and the side files of an extension in a folder, the image last.
fn files_of(file_name: &str, folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let read = |source: io::Error| BuildError::write(folder, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let rest = name.strip_prefix(file_name);
        if rest.is_some_and(|rest| rest.is_empty() || side::SUFFIXES.contains(&rest.trim_start_matches('.')))
        {
            files.push(path);
        }
    }
    // The image behind what belongs to it; last what tells of which inputs it was made,
    // so that it never stands beside an older image.
    files.sort_by_key(|path| {
        let ending = path.extension().and_then(|end| end.to_str());
        let rank = match ending {
            Some("tcz") => 1,
            Some("json") => 2,
            _ => 0,
        };
        (rank, path.clone())
    });
    Ok(files)
}
