//! Building a kernel: source, configuration, `make`, and the folder that
//! `tcforge iso --kernel` takes.
//!
//! Same source, same configuration, same compiler: same bytes, wherever it is
//! built and by whom.

mod cut;
mod error;
mod log;
mod make;
mod record;
mod result;
mod source;
mod tools;
mod unpack;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

pub use error::KernelBuildError;
pub use log::Failure;
pub use make::end_all;
pub use record::{FileRecord, Mismatch, ModuleRecord, PackedRecord, Record};
pub use source::Source;

use super::config::Config;
use super::patch::Patched;
use super::requirements::{RequirementList, Wanted};
use super::tree::{Tree, configure};
use super::value::Value;
use crate::audit;
use crate::digest::Sha256;
use crate::fetch::Fetcher;
use crate::flock;
use crate::progress::Progress;
use crate::project::Project;
use make::Make;

/// What of a build the boot needs, and what `make` calls it.
const IMAGE: &str = "bzImage";
/// Where `make` leaves that.
const IMAGE_PATH: &str = "arch/x86/boot/bzImage";

/// What is to be built.
pub struct Request<'a> {
    /// Data files and the lock.
    pub project: &'a Project,
    /// Gets the source.
    pub fetcher: &'a Fetcher,
    /// Where the source comes from.
    pub source: Source,
    /// Whether a source without a known sum is fetched all the same, and its sum
    /// written to the project's lock.
    pub record: bool,
    /// The configuration; without it, the source's own.
    pub config: Option<PathBuf>,
    /// The requirement lists to change it by; `None` leaves it as it is.
    pub lists: Option<Vec<RequirementList>>,
    /// What `uname -r` ends with, whatever the configuration or a list says.
    pub local_version: Option<String>,
    /// Where the results go.
    pub out: PathBuf,
    /// Where sources are unpacked and objects kept, for the next build.
    pub work: PathBuf,
    /// How many compilers run at once.
    pub jobs: NonZeroUsize,
    /// SOURCE_DATE_EPOCH, seconds since 1970.
    pub time: u32,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// A kernel that was built.
#[derive(Debug)]
pub struct Built {
    /// What `kernel.json` says.
    pub record: Record,
    /// What was changed in the configuration.
    pub patched: Patched,
    /// Options that the configuration names and this kernel does not have.
    pub unknown: Vec<String>,
    /// What the audit says of the extensions, in their order.
    pub reports: Vec<audit::Report>,
}

/// Builds a kernel, and leaves all of its results in `out`, or what was there.
pub fn build(request: &Request<'_>) -> Result<Built, KernelBuildError> {
    let work = Work::open(&request.work)?;
    let source = source::obtain(request, work.path())?;
    let tree = Tree::open(&source.tree)?;
    make::check_path(tree.path())?;
    let folder = work.folder(&format!("build-{}", source.key))?;
    make::check_path(&folder)?;
    let make = Make {
        tree: tree.path(),
        folder: &folder,
        jobs: request.jobs,
        time: request.time,
    };
    tools::check(request.project, None)?;
    let (patched, unknown) = write_config(request, source.config.as_deref(), &tree, &folder)?;
    make.run("olddefconfig", &["olddefconfig"], &mut |_| ())?;
    let config_path = folder.join(".config");
    let config = Config::open(&config_path)?;
    tools::check(request.project, Some(&config))?;

    let modules = config.get("MODULES") == Some(&Value::YES);
    compile(&make, modules, request.progress)?;
    let release = read(&folder.join("include/config/kernel.release"))?;
    let in_folder = || format!("Linux {} from a folder", tree.release());
    let title = source.title.unwrap_or_else(in_folder);
    let made = result::Made {
        request,
        make: &make,
        title: &title,
        source_sum: source.sum,
        release: release.trim(),
        image: &folder.join(IMAGE_PATH),
        config: &config_path,
        license: &tree.path().join("COPYING"),
        modules,
    };
    let (record, reports) = made.write()?;
    Ok(Built {
        record,
        patched,
        unknown,
        reports,
    })
}

/// Changes the configuration to what is wanted, and puts it where `make` looks.
fn write_config(
    request: &Request<'_>,
    own: Option<&Path>,
    tree: &Tree,
    folder: &Path,
) -> Result<(Patched, Vec<String>), KernelBuildError> {
    let file = request.config.as_deref().or(own);
    let file = file.ok_or(KernelBuildError::NoConfig)?;
    let mut config = Config::open(file)?;
    let mut wanted = match &request.lists {
        Some(lists) => Wanted::merge(lists)?,
        None => Vec::new(),
    };
    if let Some(text) = &request.local_version {
        let value = Value::Text(local_version(text)?.to_owned());
        wanted.retain(|one| one.name() != "LOCALVERSION");
        config.set("LOCALVERSION", value, None);
    }
    let verified = configure(&config, tree, &wanted, request.progress)?;
    let path = folder.join(".config");
    fs::write(&path, verified.patched.config.to_string()).map_err(KernelBuildError::write(&path))?;
    Ok((verified.patched, verified.unknown))
}

/// What the kernel's own build takes there: it becomes part of file names.
fn local_version(text: &str) -> Result<&str, KernelBuildError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+~".contains(&byte);
    match text.len() <= 32 && text.bytes().all(fits) {
        true => Ok(text),
        false => Err(KernelBuildError::LocalVersion(text.to_owned())),
    }
}

/// Runs `make`, and tells how far it is: objects compiled of objects to compile.
fn compile(make: &Make<'_>, modules: bool, progress: &dyn Progress) -> Result<(), KernelBuildError> {
    progress.note(&format!("building with {}", jobs(make.jobs)));
    make.run("prepare", &["prepare"], &mut |_| ())?;
    let to_do = make.objects_to_do();
    let total = to_do.as_ref().map(|names| names.len() as u64);
    let task = progress.start_count("compiling the kernel", total);
    let mut done = 0;
    let mut targets = vec![IMAGE];
    if modules {
        targets.push("modules");
    }
    make.run("the kernel", &targets, &mut |line| {
        // Besides those foreseen there are a few that only linking asks for.
        let counts = |name: &str| to_do.as_ref().is_none_or(|names| names.contains(name));
        if log::object(line).is_some_and(counts) {
            done += 1;
            task.set_position(done);
        }
    })
}

fn jobs(jobs: NonZeroUsize) -> String {
    match jobs.get() {
        1 => "one job".to_owned(),
        many => format!("{many} jobs at once"),
    }
}

fn read(path: &Path) -> Result<String, KernelBuildError> {
    fs::read_to_string(path).map_err(KernelBuildError::read(path))
}

/// The folder that keeps sources and objects between builds. One build at a time
/// has it.
struct Work {
    path: PathBuf,
    // Held while the build lasts.
    _lock: File,
}

impl Work {
    fn open(path: &Path) -> Result<Self, KernelBuildError> {
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o755).create(path);
        made.map_err(KernelBuildError::write(path))?;
        let path = fs::canonicalize(path).map_err(KernelBuildError::read(path))?;
        let meta = fs::metadata(&path).map_err(KernelBuildError::read(&path))?;
        if meta.mode() & 0o002 != 0 {
            return Err(KernelBuildError::OpenToAll(path));
        }
        let lock = path.join("lock");
        let file = flock::open(&lock).map_err(KernelBuildError::write(&lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(KernelBuildError::Busy(path)),
            Err(TryLockError::Error(source)) => Err(KernelBuildError::write(&lock)(source)),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn folder(&self, name: &str) -> Result<PathBuf, KernelBuildError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(KernelBuildError::write(&path))?;
        Ok(path)
    }
}

/// The beginning of a sum, as names of folders have it.
fn short(sum: Sha256) -> String {
    let mut text = sum.to_string();
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_work_folder_is_one_builds_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Work::open(dir.path()).unwrap();
        assert!(matches!(Work::open(dir.path()), Err(KernelBuildError::Busy(_))));
        drop(first);
        Work::open(dir.path()).unwrap();
    }

    #[test]
    fn a_kernel_is_not_built_where_everybody_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let open_to = |mode| {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            Work::open(dir.path())
        };
        for mode in [0o777, 0o1777, 0o702] {
            assert!(
                matches!(open_to(mode), Err(KernelBuildError::OpenToAll(_))),
                "{mode:o}"
            );
        }
        assert!(open_to(0o775).is_ok());
    }

    #[test]
    fn a_local_version_becomes_part_of_names() {
        for text in ["", "-tinycore64", "-a.b_c+1~"] {
            assert_eq!(local_version(text).unwrap(), text);
        }
        for text in ["-a/b", "-a b", "$(x)", "\"", "ä", &"-".repeat(33)] {
            assert!(
                matches!(local_version(text), Err(KernelBuildError::LocalVersion(_))),
                "{text}"
            );
        }
    }
}
