//! From what `make` left to the folder that an image takes its kernel from.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use super::Request;
use super::cut::{Cut, Piece, Pieces};
use super::error::KernelBuildError;
use super::make::Make;
use super::record::{FileRecord, ModuleRecord, PackedRecord, Record};
use crate::audit::{self, Level};
use crate::base::Base;
use crate::build::{BuildError, Draft, Made as MadeExtension, audit_made, audit_options};
use crate::digest::Sha256;
use crate::flock;
use crate::image::base::modinfo::{self, Module};
use crate::image::base::{BaseError, modules as module_lists, release_of};
use crate::image::initrd;
use crate::scratch::{self, Scratch};
use crate::stage::{Content, Kind, Node, Stage, TreePath};
use crate::tcz::side::{Dependency, Info};
use crate::tcz::squashfs::PackOptions;

/// The names of the files that an image takes, as Tiny Core has them.
const IMAGE: &str = "vmlinuz64";
const INITRD: &str = "modules64.gz";
/// The kernel's licence: GPL 2 only, with a note on system calls.
const LICENSE: &str = "GPL-2.0-only";
/// As `gzip -9`: modules are read at every boot, and written once.
const LEVEL: u32 = 9;

/// What `make` has made.
pub(super) struct Made<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) make: &'a Make<'a>,
    /// What it was built from.
    pub(super) title: &'a str,
    pub(super) source_sum: Option<Sha256>,
    /// As the build says it.
    pub(super) release: &'a str,
    pub(super) image: &'a Path,
    pub(super) config: &'a Path,
    /// The source's licence text.
    pub(super) license: &'a Path,
    /// Whether there are modules at all.
    pub(super) modules: bool,
}

/// The modules, compressed, and what they say of themselves.
struct Installed {
    /// `lib/modules/RELEASE/kernel/….ko.gz`, and `modules.builtin`.
    stage: Stage,
    modules: Vec<Module>,
}

impl Made<'_> {
    /// Writes everything into the folder, or nothing.
    pub(super) fn write(&self) -> Result<(Record, Vec<audit::Report>), KernelBuildError> {
        self.check_image()?;
        let out = &self.request.out;
        fs::create_dir_all(out).map_err(KernelBuildError::write(out))?;
        let scratch = Scratch::in_dir(out).map_err(KernelBuildError::write(out))?;
        let folder = scratch.path().join("made");
        fs::create_dir(&folder).map_err(KernelBuildError::write(&folder))?;

        let installed = self.installed(scratch.path())?;
        let pieces = Cut::load(self.request.project)?.cut(&installed.modules)?;
        let config = format!("config-{}", self.release);
        for (from, name) in [(self.image, IMAGE), (self.config, config.as_str())] {
            let to = folder.join(name);
            copy(from, &to).map_err(KernelBuildError::write(&to))?;
        }
        self.write_initrd(&installed, &pieces, &folder.join(INITRD))?;
        let (packed, reports) = self.pack(&installed, &pieces, &folder)?;
        let record = self.record(&folder, &config, &installed, &pieces, packed)?;
        let text = serde_json::to_string_pretty(&record).map_err(io::Error::other);
        let path = folder.join(Record::FILE);
        text.and_then(|text| fs::write(&path, text + "\n"))
            .map_err(KernelBuildError::write(&path))?;
        publish(&folder, out)?;
        Ok((record, reports))
    }

    /// It has to be what boots, and what was configured.
    fn check_image(&self) -> Result<(), KernelBuildError> {
        let image = release_of(self.image)?;
        match image == self.release {
            true => Ok(()),
            false => Err(KernelBuildError::OtherRelease {
                image,
                build: self.release.to_owned(),
            }),
        }
    }

    fn installed(&self, scratch: &Path) -> Result<Installed, KernelBuildError> {
        let to = scratch.join("installed");
        let mut installed = Installed {
            stage: Stage::new(),
            modules: Vec::new(),
        };
        if !self.modules {
            return Ok(installed);
        }
        fs::create_dir(&to).map_err(KernelBuildError::write(&to))?;
        self.make.install_modules(&to)?;
        let folder = module_lists::folder(self.release)?;
        for (path, node) in Stage::from_folder(&to)?.iter() {
            let (Some(below), Kind::File(content)) = (path.strip_prefix(&folder), &node.kind) else {
                continue;
            };
            if below.as_bytes() == b"modules.builtin" {
                let content = content.read_all().map(Content::bytes).map_err(unreadable(path))?;
                installed.stage.insert(path.clone(), Node::file(content, 0o644))?;
            } else if modinfo::name_of(&below).is_some() {
                let (below, content) = compressed(below, content).map_err(unreadable(path))?;
                let module = Module::read(below, &content).map_err(|reason| BaseError::Module {
                    path: path.to_string(),
                    reason,
                })?;
                let at = folder.join(&module.path);
                installed.stage.insert(at, Node::file(content, 0o644))?;
                installed.modules.push(module);
            }
        }
        Ok(installed)
    }

    /// `modules64.gz`: the modules that no extension has.
    fn write_initrd(
        &self,
        installed: &Installed,
        pieces: &Pieces,
        to: &Path,
    ) -> Result<(), KernelBuildError> {
        let folder = module_lists::folder(self.release)?;
        let mut stage = Stage::new();
        for (path, node) in installed.stage.iter() {
            let name = modinfo::name_of(path);
            let fits = name.is_none_or(|name| pieces.base.contains(&name));
            if fits && !node.is_dir() && path.strip_prefix(&folder).is_some() {
                stage.insert(path.clone(), node.clone())?;
            }
        }
        let tree = initrd::Tree {
            stage: module_lists::image_tree(&stage, self.release, None)?,
            devices: Vec::new(),
        };
        let mut file = File::create_new(to).map_err(KernelBuildError::write(to))?;
        tree.write(&mut file, self.request.time, None)?;
        file.sync_all().map_err(KernelBuildError::write(to))
    }

    /// The extensions, audited together.
    fn pack(
        &self,
        installed: &Installed,
        pieces: &Pieces,
        folder: &Path,
    ) -> Result<(Vec<PackedRecord>, Vec<audit::Report>), KernelBuildError> {
        let base = Base {
            kernel: self.release.to_owned(),
            ..Base::load(self.request.project)?
        };
        let needs = |name: &str| {
            let piece = pieces.extensions.iter().find(|piece| file_of(piece) == name);
            piece.map(dependencies).unwrap_or_default()
        };
        let mut made = Vec::new();
        for piece in &pieces.extensions {
            let draft = self.draft(piece, installed)?;
            made.push(draft.make(&base, &needs, folder, self.request.progress)?);
        }
        let reports = audit_made(&made, &base, &audit_options(folder, self.request.project)?)
            .map_err(BuildError::from)?;
        refuse_errors(&reports)?;
        let record = |(piece, made): (&Piece, &MadeExtension)| PackedRecord {
            file: FileRecord {
                name: made.extension.file_name.clone(),
                size: made.extension.sums.length,
                sha256: made.extension.sums.sha256.to_string(),
            },
            dependencies: dependencies(piece)
                .iter()
                .map(|one| one.name().to_owned())
                .collect(),
            load: piece.load,
        };
        let records = pieces.extensions.iter().zip(&made).map(record).collect();
        Ok((records, reports))
    }

    fn draft(&self, piece: &Piece, installed: &Installed) -> Result<Draft, KernelBuildError> {
        let mut stage = Stage::new();
        let local = path("usr/local")?;
        for (path, node) in installed.stage.iter() {
            let name = modinfo::name_of(path);
            if !node.is_dir() && name.is_some_and(|name| piece.modules.contains(&name)) {
                stage.insert(local.join(path), node.clone())?;
            }
        }
        let name = format!("{}-{}", piece.name, self.release);
        let text = fs::read(self.license).map_err(KernelBuildError::read(self.license))?;
        let at = path(&format!("usr/local/share/doc/{name}/COPYING"))?;
        stage.insert(at, Node::file(Content::bytes(text), 0o644))?;
        Ok(Draft {
            file_name: format!("{name}.tcz"),
            stage,
            info: self.info(piece),
            dependencies: dependencies(piece),
            license: LICENSE.to_owned(),
            upstream: Vec::new(),
            inputs: None,
            options: PackOptions {
                time: self.request.time,
                ..PackOptions::default()
            },
        })
    }

    fn info(&self, piece: &Piece) -> Info {
        Info {
            description: piece.description.clone(),
            version: self.release.to_owned(),
            author: "Various".to_owned(),
            original_site: "https://kernel.org".to_owned(),
            copying_policy: LICENSE.to_owned(),
            extension_by: "tcforge".to_owned(),
            tags: "kernel modules".to_owned(),
            comments: format!("Modules of Linux {}, built from {}.", self.release, self.title),
            current: "2020/03/01 Original".to_owned(),
            ..Info::default()
        }
    }

    fn record(
        &self,
        folder: &Path,
        config: &str,
        installed: &Installed,
        pieces: &Pieces,
        extensions: Vec<PackedRecord>,
    ) -> Result<Record, KernelBuildError> {
        let file = |name: &str| {
            let path = folder.join(name);
            FileRecord::of(&path).map_err(KernelBuildError::read(&path))
        };
        let place = |module: &Module| {
            let piece = pieces
                .extensions
                .iter()
                .find(|piece| piece.modules.contains(&module.name));
            piece.map_or_else(
                || INITRD.to_owned(),
                |piece| format!("{}-{}.tcz", piece.name, self.release),
            )
        };
        let mut modules: Vec<_> = installed
            .modules
            .iter()
            .map(|module| ModuleRecord {
                path: module.path.to_string(),
                name: module.name.clone(),
                file: place(module),
            })
            .collect();
        modules.sort();
        Ok(Record {
            release: self.release.to_owned(),
            source: self.title.to_owned(),
            source_sha256: self.source_sum.map(|sum| sum.to_string()),
            config: file(config)?,
            image: file(IMAGE)?,
            initrd: file(INITRD)?,
            extensions,
            modules,
        })
    }
}

/// What other extensions' `.dep` files call it.
fn file_of(piece: &Piece) -> String {
    format!("{}-KERNEL.tcz", piece.name)
}

fn dependencies(piece: &Piece) -> Vec<Dependency> {
    let names = piece.needs.iter().map(|name| format!("{name}-KERNEL.tcz"));
    // The cut has names of extensions only.
    names.filter_map(|name| Dependency::parse(&name).ok()).collect()
}

fn refuse_errors(reports: &[audit::Report]) -> Result<(), KernelBuildError> {
    let errors = reports.iter().flat_map(|report| {
        let name = report.name();
        let findings = report
            .findings
            .iter()
            .filter(|finding| finding.level == Level::Error);
        findings.map(move |finding| format!("{name}: {}", finding.message))
    });
    let errors: Vec<_> = errors.collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(KernelBuildError::Audit(errors)),
    }
}

/// A module as Tiny Core has it, `x.ko.gz`, with nothing of the machine in it.
fn compressed(path: TreePath, content: &Content) -> io::Result<(TreePath, Content)> {
    let mut bytes = Vec::new();
    content.open()?.read_to_end(&mut bytes)?;
    if path.as_bytes().ends_with(b".gz") {
        return Ok((path, Content::bytes(bytes)));
    }
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(LEVEL));
    gzip.write_all(&bytes)?;
    let name = TreePath::parse([path.as_bytes(), b".gz"].concat()).map_err(io::Error::other)?;
    Ok((name, Content::bytes(gzip.finish()?)))
}

fn path(text: &str) -> Result<TreePath, KernelBuildError> {
    let wrong = |reason: crate::stage::PathError| BaseError::Module {
        path: text.to_owned(),
        reason: reason.to_string(),
    };
    Ok(TreePath::parse(text).map_err(wrong)?)
}

fn unreadable(path: &TreePath) -> impl FnOnce(io::Error) -> KernelBuildError {
    let path = path.to_string();
    move |source| KernelBuildError::read(Path::new(&path))(source)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}

/// Gives what was made its names. What an earlier build left and this one does not
/// have goes; the record goes first and comes last, so that a folder with one is
/// whole. One program at a time does so, and an interrupt waits for it.
fn publish(made: &Path, out: &Path) -> Result<(), KernelBuildError> {
    let _lock = flock::folder(out, || {}).map_err(KernelBuildError::write(out))?;
    let old = Record::read(out).ok().flatten();
    let _all_or_nothing = scratch::hold_interrupts();
    let remove = |path: PathBuf| match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelBuildError::write(&path)(error)),
        _ => Ok(()),
    };
    remove(out.join(Record::FILE))?;
    for name in old
        .iter()
        .flat_map(Record::files)
        .filter_map(|file| Path::new(&file.name).file_name())
    {
        for entry in names(out)? {
            let text = entry.to_string_lossy().into_owned();
            let is_its = text.strip_prefix(&*name.to_string_lossy()).is_some_and(|rest| {
                rest.is_empty() || crate::tcz::side::SUFFIXES.contains(&rest.trim_start_matches('.'))
            });
            if is_its && !made.join(&entry).exists() {
                remove(out.join(&entry))?;
            }
        }
    }
    let mut names = names(made)?;
    names.sort_by_key(|name| name == Record::FILE);
    for name in names {
        let to = out.join(&name);
        fs::rename(made.join(&name), &to).map_err(KernelBuildError::write(&to))?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, KernelBuildError> {
    let read = || {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    let names: io::Result<Vec<_>> = read();
    names.map_err(KernelBuildError::read(folder))
}
