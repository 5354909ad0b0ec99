//! The bases that images start from, made of real packages: the machine's own
//! Debian mirror has them.

pub(crate) mod files;
mod mini;
mod modules;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use tcforge::digest::Sha256;
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Network};
use tcforge::image::base::{BaseError, BaseKind, BootBase, KernelSource, Loader};
use tcforge::image::initrd::{Device, Part, Tree};
use tcforge::progress::Silent;
use tcforge::project::Project;
use tcforge::stage::{Content, Kind, Owner, Stage, TreePath};
use tempfile::TempDir;

/// What Debian's kernel says of itself.
const RELEASE: &str = "5.10.0-32-amd64";

fn path(name: &str) -> TreePath {
    TreePath::parse(name).unwrap()
}

/// The cache that all tests share, so that packages are fetched once.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("base-cache")
}

fn fetcher(cache: &Path, mirrors: &[&Path]) -> Fetcher {
    let project = Project::built_in();
    Fetcher::new(FetchOptions {
        cache: Cache::at(cache),
        network: Network::read(&project).unwrap(),
        mirrors: mirrors
            .iter()
            .map(|path| format!("file:{}", path.display()).parse().unwrap())
            .collect(),
        offline: false,
    })
}

/// Makes a base; its files live as long as the folder.
fn load(
    kind: BaseKind,
    kernel: Option<&KernelSource>,
    tinycore: Option<&Path>,
) -> Result<(BootBase, TempDir), BaseError> {
    load_with(&fetcher(&shared_cache(), &[]), kind, kernel, tinycore)
}

fn load_with(
    fetcher: &Fetcher,
    kind: BaseKind,
    kernel: Option<&KernelSource>,
    tinycore: Option<&Path>,
) -> Result<(BootBase, TempDir), BaseError> {
    let scratch = tempfile::tempdir().unwrap();
    let loader = Loader {
        project: &Project::built_in(),
        fetcher,
        scratch: scratch.path(),
        progress: &Silent,
        tinycore: tinycore.map(Path::to_owned),
    };
    Ok((loader.load(kind, kernel)?, scratch))
}

/// The base `mini`, made once for all tests of a process.
fn mini() -> &'static BootBase {
    static MINI: OnceLock<(BootBase, TempDir)> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    &MINI.get_or_init(|| load(BaseKind::Mini, None, None).unwrap()).0
}

/// What the kernel opens before there is any program.
pub(super) fn console() -> Device {
    Device {
        path: path("dev/console"),
        block: false,
        major: 5,
        minor: 1,
        mode: 0o600,
        owner: Owner::ROOT,
    }
}

/// The root filesystem itself.
fn tree(base: &BootBase) -> &Tree {
    match base.root.first() {
        Some(Part::Tree(tree) | Part::Known(tree, _)) => tree,
        other => panic!("{other:?}"),
    }
}

fn content<'a>(stage: &'a Stage, name: &str) -> &'a Content {
    match stage.get(&path(name)).map(|node| &node.kind) {
        Some(Kind::File(content)) => content,
        other => panic!("{name}: {other:?}"),
    }
}

fn text(stage: &Stage, name: &str) -> String {
    String::from_utf8(content(stage, name).read_all().unwrap()).unwrap()
}

/// The sum of the archive that a tree becomes.
fn sum(tree: &Tree) -> Sha256 {
    let mut bytes = Vec::new();
    tree.write_cpio(&mut bytes, 0).unwrap();
    Sha256::of(&bytes)
}

fn only(stage: &Stage) -> Tree {
    Tree {
        stage: stage.clone(),
        devices: Vec::new(),
    }
}

/// Writes a stage to the host, without owners.
fn lay_out(stage: &Stage, folder: &Path) {
    for (path, node) in stage.iter().filter(|(path, _)| !path.is_root()) {
        let at = folder.join(std::str::from_utf8(path.as_bytes()).unwrap());
        match &node.kind {
            Kind::Directory => fs::create_dir_all(&at).unwrap(),
            Kind::Symlink(target) => symlink(std::str::from_utf8(target).unwrap(), &at).unwrap(),
            Kind::File(content) => {
                fs::write(&at, content.read_all().unwrap()).unwrap();
                let mode = u32::from(node.mode) & 0o777;
                fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Runs a program to its end; what it said on its output.
fn run(command: &mut Command, hint: &str) -> String {
    let output = command.output().expect(hint);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
