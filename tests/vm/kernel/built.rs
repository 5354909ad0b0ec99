//! The two kernels: built when they are not there yet, and kept in the user's cache,
//! so that neither a second run nor a fresh clone compiles them again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tcforge::digest::Sha256;
use tcforge::fetch::Cache;
use tcforge::kernel::build::Record;

const CONFIG: &str = include_str!("small.config");
const VIRTIO: &str = include_str!("virtio.toml");
/// The lists of the patched one; `virtio` is the tests' own.
pub(super) const SETS: [&str; 4] = ["ext3-xattr", "containers", "tinycore", "virtio"];

/// What the kernels are made from, besides the compiler.
const INPUTS: [&str; 15] = [
    CONFIG,
    VIRTIO,
    include_str!("../../../kernel/ext3-xattr.toml"),
    include_str!("../../../kernel/containers.toml"),
    include_str!("../../../kernel/tinycore.toml"),
    include_str!("../../../kernel/build/extensions.toml"),
    include_str!("../../../kernel/build/sources.toml"),
    include_str!("../../../src/kernel/patch.rs"),
    include_str!("../../../src/kernel/tree.rs"),
    include_str!("../../../src/kernel/build/cut.rs"),
    include_str!("../../../src/kernel/build/make.rs"),
    include_str!("../../../src/kernel/build/mod.rs"),
    include_str!("../../../src/kernel/build/result.rs"),
    include_str!("../../../src/kernel/build/source.rs"),
    include_str!("../../../src/kernel/build/unpack.rs"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// The configuration as it is: with Tiny Core's values.
    Stock,
    /// Changed by the lists.
    Patched,
}

impl Variant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Patched => "patched",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Stock => Self::Patched,
            Self::Patched => Self::Stock,
        }
    }

    /// The folder that `tcforge kernel build` left its results in.
    pub(super) fn folder(self) -> &'static Path {
        static STOCK: OnceLock<PathBuf> = OnceLock::new();
        static PATCHED: OnceLock<PathBuf> = OnceLock::new();
        let folder = match self {
            Self::Stock => &STOCK,
            Self::Patched => &PATCHED,
        };
        folder.get_or_init(|| kept(self))
    }
}

/// The folder with the kernel in the cache, where it is built if it is not there or
/// not whole. Who comes second waits for the first, and finds it.
fn kept(variant: Variant) -> PathBuf {
    let cache = Cache::from_environment().unwrap();
    let kernels = cache.root().join("tests/kernels");
    fs::create_dir_all(&kernels).unwrap();
    let [folder, other] =
        [variant, variant.other()].map(|one| kernels.join(format!("{}-{}", key(), one.name())));
    let lock = File::create(kernels.join("lock")).unwrap();
    lock.lock().unwrap();
    if !is_whole(&folder) {
        let scratch = tempfile::tempdir_in(&kernels).unwrap();
        let out = scratch.path().join("out");
        let work = kernels.join("work");
        build(variant, &work, &out);
        let _ = fs::remove_dir_all(&folder);
        fs::rename(out, &folder).unwrap();
        // Sources and objects are more than a gigabyte.
        if is_whole(&other) {
            fs::remove_dir_all(work).unwrap();
        }
    }
    folder
}

fn key() -> String {
    let compiler = Command::new("gcc").arg("--version").output();
    let compiler = compiler.expect("gcc is needed: apt-get install gcc").stdout;
    let inputs = [INPUTS.concat(), SETS.concat()].concat();
    let inputs = [inputs.as_bytes(), &compiler[..]].concat();
    Sha256::of(&inputs).to_string()[..16].to_owned()
}

/// A project that has the list `virtio`.
pub(super) fn project() -> &'static Path {
    static PROJECT: OnceLock<PathBuf> = OnceLock::new();
    PROJECT.get_or_init(|| {
        let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-kernel");
        fs::create_dir_all(project.join("kernel")).unwrap();
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("tcforge.lock");
        fs::copy(lock, project.join("tcforge.lock")).unwrap();
        fs::write(project.join("kernel/virtio.toml"), VIRTIO).unwrap();
        project
    })
}

fn is_whole(folder: &Path) -> bool {
    let record = Record::read(folder).ok().flatten();
    record.is_some_and(|record| record.mismatch(folder).is_ok_and(|wrong| wrong.is_none()))
}

/// Both are built in one tree: what the second finds compiled it does not compile
/// again, and a build that was interrupted goes on.
fn build(variant: Variant, work: &Path, out: &Path) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/kernel/small.config");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcforge"));
    command
        .args([
            "kernel",
            "build",
            "--json",
            "--source",
            "debian:linux-source-5.10",
            "--config",
        ])
        .arg(config)
        .arg("--project")
        .arg(project())
        .arg("--work")
        .arg(work)
        .arg("--out")
        .arg(out);
    match variant {
        Variant::Stock => command.arg("--as-is"),
        Variant::Patched => command.args(SETS.iter().flat_map(|set| ["--set", set])),
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: Record = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(Record::read(out).unwrap(), Some(told));
}
