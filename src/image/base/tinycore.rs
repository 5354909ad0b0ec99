//! The official Tiny Core: from files of a person's, from an ISO, or fetched.

use std::fs::File;
use std::path::{Path, PathBuf};

use md5::Digest as _;

use super::data::{Archive, Bases, Release, Sums};
use super::kernel::{IMAGE, MODULES, spool};
use super::prepared::Prepared;
use super::{BaseError, Kernel, Loader, Root, cpio, modules, rootfs};
use crate::archive::Limits;
use crate::digest::{Sha256, hex};
use crate::fetch::{Origin, Wanted};
use crate::image::initrd::{Part, Tree};
use crate::image::tools;
use crate::plain;
use crate::recipe::Lock;
use crate::stage::{Content, Node, TreePath};
use crate::url::masked_url;

/// The root filesystem without modules.
const ROOTFS: &str = "rootfs64.gz";
/// Both in one.
const CORE: &str = "corepure64.gz";
/// udev's rules for a kernel that has file systems as modules.
const RULES: &str = "iso/tinycore/85-file-systems.rules";
/// Where they go.
const RULES_IN_ROOT: &str = "etc/udev/rules.d/85-file-systems.rules";
/// What is asked of a folder.
const WHAT: &str = "set TCFORGE_TINYCORE to an ISO, or to a folder with `vmlinuz64` and `corepure64.gz` (or \
                    `rootfs64.gz` and `modules64.gz`), or with `rootfs64.tar.gz`; without it a release is fetched";

impl Loader<'_> {
    /// Tiny Core's root filesystem, and its kernel if it is at hand.
    pub(super) fn tiny_core(&self) -> Result<Root, BaseError> {
        let bases: Bases = self.project.read_toml(Bases::FILE)?;
        match &self.tinycore {
            None => self.fetched(&bases),
            Some(path) if path.is_dir() => self.in_folder(&bases, path),
            Some(iso) => {
                let files = [IMAGE, CORE].map(|name| (format!("/boot/{name}"), self.scratch.join(name)));
                extract(iso, &files)?;
                self.in_folder(&bases, self.scratch)
            }
        }
    }

    /// What Tiny Core needs to be used with a kernel that is not its own.
    pub(super) fn other_kernel_rules(&self) -> Result<Part, BaseError> {
        let text = self.project.read(RULES)?.into_owned();
        let mut tree = Tree::default();
        let path = TreePath::parse(RULES_IN_ROOT).map_err(|reason| BaseError::Data {
            file: RULES,
            text: RULES_IN_ROOT.to_owned(),
            reason: reason.to_string(),
        })?;
        tree.stage.insert(path, Node::file(Content::bytes(text), 0o644))?;
        Ok(Part::Tree(tree))
    }

    fn in_folder(&self, bases: &Bases, folder: &Path) -> Result<Root, BaseError> {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let limits = Limits::load(self.project)?;
        let files = [IMAGE, ROOTFS, MODULES].map(file);
        if let [Some(image), Some(root), Some(modules)] = files {
            let title = title(bases, &[&image, &root, &modules])?;
            return separate(title, image, root, &modules, &limits);
        }
        if let (Some(image), Some(core)) = (file(IMAGE), file(CORE)) {
            let title = title(bases, &[&image, &core])?;
            return together(title, image, &core, &limits);
        }
        let archive = &bases.tinycore.archive;
        let Some(path) = file(&archive.name) else {
            return Err(BaseError::Absent {
                folder: folder.to_owned(),
                what: "Tiny Core release".to_owned(),
                hint: WHAT,
            });
        };
        Ok(Root {
            title: archive.title.clone(),
            parts: vec![self.restored(&path, archive)?],
            kernel: None,
        })
    }

    /// The root filesystem of an archive.
    fn restored(&self, path: &Path, archive: &Archive) -> Result<Part, BaseError> {
        let failed = |source| BaseError::read(path, source);
        let mut file = File::open(path).map_err(failed)?;
        let (sum, _) = Sha256::of_reader(&mut file).map_err(failed)?;
        // What is put back is part of the file.
        let data = self.project.read(Bases::FILE)?;
        let prepared = Prepared::new(self.fetcher.cache().root(), "bases", &[sum.as_bytes(), &data]);
        if let Some(tree) = prepared.load_tree()? {
            return Ok(Part::Known(tree, prepared.key()));
        }
        let tree = rootfs::read(path, archive)?;
        prepared.keep_tree(&tree)?;
        Ok(Part::Known(tree, prepared.key()))
    }

    fn fetched(&self, bases: &Bases) -> Result<Root, BaseError> {
        let data = &bases.tinycore;
        let release = data.releases.iter().find(|one| one.version == data.default);
        let release = release.ok_or_else(|| BaseError::Data {
            file: Bases::FILE,
            text: data.default.clone(),
            reason: "there is no such release".to_owned(),
        })?;
        let [image, root, modules] =
            [IMAGE, ROOTFS, MODULES].map(|name| self.fetch_file(bases, release, name));
        let limits = Limits::load(self.project)?;
        separate(release.title.clone(), image?, root?, &modules?, &limits)
    }

    /// A file of a release. Without a sha256 it is fetched over https, and its md5
    /// is all there is to compare with.
    fn fetch_file(&self, bases: &Bases, release: &Release, name: &str) -> Result<PathBuf, BaseError> {
        let url = format!("{}{}{name}", bases.tinycore.mirror, release.folder);
        let wrong = |reason: String| BaseError::Data {
            file: Bases::FILE,
            text: masked_url(&url),
            reason,
        };
        let origin: Origin = url.parse().map_err(|error| wrong(format!("{error}")))?;
        let sums = release
            .files
            .get(name)
            .ok_or_else(|| wrong("its sums are not there".to_owned()))?;
        let lock = Lock::load(self.project)?;
        let cached = match sums.sha256.or(lock.find(&origin).map(|file| file.sha256)) {
            Some(sha256) => self.fetcher.fetch(
                &Wanted {
                    name: name.to_owned(),
                    origin,
                    size: None,
                    sha256,
                },
                self.progress,
            )?,
            None => self.fetcher.discover(&origin, self.progress)?.cached,
        };
        check(&cached.path, sums, &release.version)?;
        Ok(cached.path)
    }
}

/// A release whose modules are an archive of their own.
fn separate(
    title: String,
    image: PathBuf,
    root: PathBuf,
    modules: &Path,
    limits: &Limits,
) -> Result<Root, BaseError> {
    Ok(Root {
        title,
        parts: vec![Part::File(root)],
        kernel: Some(Kernel::of_initrd(image, modules, limits)?),
    })
}

/// A release whose root filesystem and modules are one archive: it is taken apart,
/// so that another kernel does not carry its modules.
fn together(title: String, image: PathBuf, core: &Path, limits: &Limits) -> Result<Root, BaseError> {
    let kernel = Kernel::of_initrd(image, core, limits)?;
    let mut spool = spool()?;
    let folder = modules::folder(&kernel.release)?;
    let root: Tree = cpio::read(core, limits, &mut spool, |path| {
        path.strip_prefix(&folder).is_none()
    })?;
    Ok(Root {
        title,
        parts: vec![Part::Tree(root)],
        kernel: Some(kernel),
    })
}

/// The title of the release that all files are of, by their sums.
fn title(bases: &Bases, files: &[&Path]) -> Result<String, BaseError> {
    'releases: for release in &bases.tinycore.releases {
        for file in files {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let fits = match release.files.get(name) {
                Some(sums) => check(file, sums, &release.version),
                None => continue 'releases,
            };
            match fits {
                Ok(()) => {}
                Err(BaseError::WrongSum { .. }) => continue 'releases,
                Err(error) => return Err(error),
            }
        }
        return Ok(release.title.clone());
    }
    Ok("Tiny Core, a release that iso/bases.toml does not know".to_owned())
}

/// Compares a file with all that is known of it.
fn check(path: &Path, sums: &Sums, release: &str) -> Result<(), BaseError> {
    let failed = |source| BaseError::read(path, source);
    let open = || File::open(path).map_err(failed);
    let wrong = |kind, found: String, wanted: &str| match found == wanted {
        true => Ok(()),
        false => Err(BaseError::WrongSum {
            path: path.to_owned(),
            release: release.to_owned(),
            kind,
            found,
            wanted: wanted.to_owned(),
        }),
    };
    if let Some(wanted) = &sums.sha256 {
        let (found, _) = Sha256::of_reader(&mut open()?).map_err(failed)?;
        wrong("sha256", found.to_string(), &wanted.to_string())?;
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    wrong("md5", hex(&md5::Md5::digest(&bytes)), &sums.md5)
}

/// Takes files out of an ISO.
fn extract(iso: &Path, files: &[(String, PathBuf)]) -> Result<(), BaseError> {
    let failed = |said: String| BaseError::Program {
        program: "xorriso",
        action: format!("take Tiny Core's files out of `{}`", iso.display()),
        said,
    };
    let pairs = files.iter().map(|(inside, to)| (&**inside, &**to));
    let output = tools::extraction(iso, pairs)
        .and_then(|mut command| command.output())
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(complaints(&output.stderr)));
    }
    // A link in the ISO would lead to files of this machine.
    let odd = |(inside, to): &(String, PathBuf)| Some(format!("`{inside}`: {}", plain::open_own(to).err()?));
    match files.iter().find_map(odd) {
        Some(odd) => Err(failed(odd)),
        None => Ok(()),
    }
}

/// What xorriso failed at, without its reports.
fn complaints(stderr: &[u8]) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("FAILURE") || line.contains("SORRY") || line.contains("FATAL"))
        .map(|line| line.trim_start_matches("xorriso : ").trim())
        .collect();
    match lines.is_empty() {
        true => stderr.trim().to_owned(),
        false => lines.join("; "),
    }
}
