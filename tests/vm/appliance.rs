//! The images that the tests boot: made once, by the program itself.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tcforge::image::container::{self, ContainerImage};
use tcforge::stage::{Content, Node, Stage, TreePath};
use tcforge::vm::{Boot, Bus, Disk, Firmware, Guest, Machine, create_data_disk};
use tempfile::TempDir;

/// Enough for a boot by emulation on a busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(1200);
/// Enough for a script inside.
pub(crate) const SCRIPT: Duration = Duration::from_secs(600);

/// The container image that the appliance carries.
pub(crate) const IMAGE: &str = "docker.io/library/check:1";

/// What the command line calls the same one, in a namespace of its own.
pub(crate) const RENAMED: (&str, &str) = ("mine", "docker.io/me/renamed:2");

/// The appliance: containerd, attributes' tools, two extensions that note when they
/// were loaded, and a container image.
const APPLIANCE: &str = r#"
title = "Tests"
base = "mini"
channels = ["debian"]
extensions = ["containerd.tcz", "cni-plugins.tcz", "ca-certificates.tcz", "attr.tcz", "probe-b.tcz"]
persistent = ["var/lib/containerd"]

[[image]]
file = "check.tar"
namespace = "default"

[[service]]
name = "containerd"
"#;

/// A base, and the image of the appliance on it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) base: &'static str,
    pub(crate) iso: PathBuf,
}

/// The image on every base that there is.
pub(crate) fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let (namespace, name) = RENAMED;
        let file = folder().join("project/check.tar");
        let image = format!("{namespace}:{name}={}", file.display());
        on_each_base("vmtest", &["--image", &image])
    })
}

/// The image of an appliance of the project on every base that there is.
pub(crate) fn on_each_base(appliance: &str, args: &[&str]) -> Vec<Image> {
    let image = |base, tiny_core| Image {
        base,
        iso: make(
            appliance,
            &format!("{appliance}-{base}"),
            &[&["--base", base], args].concat(),
            tiny_core,
        ),
    };
    let mut images = vec![image("mini", None)];
    if let Some(files) = tiny_core() {
        images.push(image("tinycore", Some(files)));
    }
    images
}

/// The same on the base mini, with a kernel that was built: the folder with it.
pub(crate) fn image_with_kernel(name: &str, kernel: &Path) -> PathBuf {
    make(
        "vmtest",
        name,
        &["--base", "mini", "--kernel", kernel.to_str().unwrap()],
        None,
    )
}

/// The folder with the project, and with what is made in it.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm");
        fs::create_dir_all(folder.join("project/iso")).unwrap();
        make_project(&folder);
        folder
    })
}

/// Tiny Core's files: where `TCFORGE_TINYCORE` says, else beside the project.
fn tiny_core() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tinycore-11");
    // The Makefile sets it to nothing where there are none.
    let named = std::env::var_os("TCFORGE_TINYCORE").filter(|named| !named.is_empty());
    match named {
        Some(named) => Some(named.into()),
        None => beside.is_dir().then_some(beside),
    }
}

fn make_project(folder: &Path) {
    let project = folder.join("project");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tcforge.lock"),
        project.join("tcforge.lock"),
    )
    .unwrap();
    fs::write(project.join("iso/vmtest.toml"), APPLIANCE).unwrap();
    write_container_image(&project.join("check.tar"));
    for (name, dependency) in [("probe-a", None), ("probe-b", Some("probe-a.tcz"))] {
        let root = folder.join(name);
        let script = root.join(format!("usr/local/tce.installed/{name}"));
        fs::create_dir_all(script.parent().unwrap()).unwrap();
        fs::write(&script, format!("#!/bin/sh\necho {name} >>/tmp/installed\n")).unwrap();
        fs::create_dir_all(root.join("usr/local/share/probe")).unwrap();
        fs::write(root.join(format!("usr/local/share/probe/{name}")), name).unwrap();
        let out = folder.join(format!("out/{name}.tcz"));
        let mut args = vec!["pack", root.to_str().unwrap(), out.to_str().unwrap()];
        args.extend(dependency.iter().flat_map(|name| ["--dep", name]));
        tcforge(&project, None, &args);
    }
}

/// `FROM scratch` and a static busybox.
fn write_container_image(file: &Path) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("busybox-static is needed: apt-get install busybox-static");
    let mut stage = Stage::new();
    let path = |path| TreePath::parse(path).unwrap();
    let busybox = Content::bytes(fs::read(busybox).unwrap());
    stage
        .insert(path("bin/busybox"), Node::file(busybox, 0o755))
        .unwrap();
    stage.insert(path("bin/sh"), Node::symlink("busybox")).unwrap();
    let image = ContainerImage {
        name: IMAGE,
        command: &["/bin/sh"],
        stage: &stage,
        time: 0,
    };
    container::write(&image, fs::File::create(file).unwrap()).unwrap();
}

fn make(appliance: &str, name: &str, args: &[&str], tiny_core: Option<PathBuf>) -> PathBuf {
    // Extensions are the same in every image, and all are called alike at first.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let made = folder.join("out");
    let args = [&["iso", appliance, "--out", made.to_str().unwrap()], args].concat();
    tcforge(&folder.join("project"), tiny_core.as_deref(), &args);
    let iso = folder.join(format!("{name}.iso"));
    fs::rename(made.join(format!("{appliance}.iso")), &iso).unwrap();
    iso
}

fn tcforge(project: &Path, tiny_core: Option<&Path>, args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcforge"));
    command
        .args(args)
        .arg("--project")
        .arg(project)
        .current_dir(project);
    command.env("SOURCE_DATE_EPOCH", "1600000000");
    command.envs(tiny_core.map(|files| ("TCFORGE_TINYCORE", files)));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tcforge {args:?}:\n{said}");
}

/// How an image is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Cd,
    UefiCd,
    Disk,
    Stick,
}

/// A booted box, with a folder of its own.
pub(crate) struct Booted {
    pub(crate) guest: Guest,
    _folder: TempDir,
    // Last: what it gives back is taken once the machine has ended.
    _turn: Turn,
}

/// What a box is to be like.
pub(crate) struct Setup<'a> {
    pub(crate) iso: &'a Path,
    pub(crate) how: As,
    pub(crate) memory: u32,
    /// A data disk, which is there already.
    pub(crate) disk: Option<&'a Path>,
    pub(crate) forwards: Vec<tcforge::vm::Forward>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(iso: &'a Path) -> Self {
        Self {
            iso,
            how: As::Cd,
            memory: 1024,
            disk: None,
            forwards: Vec::new(),
        }
    }

    /// Starts the machine, without waiting for anything.
    pub(crate) fn start(self) -> Booted {
        let turn = Turn::wait();
        let iso = self.iso.to_owned();
        let mut machine = Machine::new(match self.how {
            As::Cd | As::UefiCd => Boot::Cd(iso),
            As::Disk => Boot::Disk(iso, Bus::Virtio),
            As::Stick => Boot::Disk(iso, Bus::Usb),
        });
        if self.how == As::UefiCd {
            machine.firmware = Firmware::Uefi;
        }
        machine.memory = self.memory;
        // As many machines run at once as there are processors.
        machine.cpus = 1;
        machine.forwards = self.forwards;
        machine.disks = self.disk.iter().map(|file| disk(file)).collect();
        let folder = tempfile::tempdir().unwrap();
        let guest = machine.start(folder.path()).unwrap();
        Booted {
            guest,
            _folder: folder,
            _turn: turn,
        }
    }

    /// Starts the machine and waits until everything is up.
    pub(crate) fn boot(self) -> Booted {
        let mut booted = self.start();
        booted.wait_until_ready();
        booted
    }
}

fn disk(file: &Path) -> Disk {
    Disk {
        file: file.to_owned(),
        bus: Bus::Virtio,
    }
}

impl Booted {
    pub(crate) fn wait_until_ready(&mut self) {
        let line = self.wait_for_verdict();
        let end = self.guest.console().end();
        assert!(!line.contains("not ready"), "{line}\n{end}");
    }

    /// The line in which the box says how its start came out.
    pub(crate) fn wait_for_verdict(&mut self) -> String {
        let is_end = |line: &str| line.contains("tcforge: ready") || line.contains("tcforge: not ready");
        let line = self
            .guest
            .wait_for_line("the end of the box's start", 0, is_end, BOOT);
        line.unwrap_or_else(|error| panic!("{error}")).text
    }

    /// What a script inside printed; it has to succeed.
    pub(crate) fn sh(&mut self, script: &str) -> String {
        self.guest
            .expect(script, SCRIPT)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The lines of the console so far that hold a text.
    pub(crate) fn said(&self, text: &str) -> Vec<String> {
        let lines = self.guest.console().lines().into_iter();
        lines
            .map(|line| line.text)
            .filter(|line| line.contains(text))
            .collect()
    }
}

/// A new data disk in a folder.
pub(crate) fn data_disk(folder: &Path, mib: u64) -> PathBuf {
    let file = folder.join("data");
    create_data_disk(&file, mib << 20).unwrap();
    file
}

/// Where in an image's file the content of another file lies.
pub(crate) fn find_in(image: &Path, content: &[u8]) -> u64 {
    let bytes = fs::read(image).unwrap();
    // On an ISO every file begins at a sector.
    let found = bytes
        .chunks(2048)
        .position(|sector| sector.starts_with(&content[..2048]));
    found.expect("the content is not in the image") as u64 * 2048
}

/// Changes one bit of a byte of a file.
pub(crate) fn flip(file: &Path, at: u64) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// Machines take their turns: more at once than there are processors would only
/// be slower, and take all memory.
pub(crate) struct Turn;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Turn {
    pub(crate) fn wait() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let free = ENDED.wait_while(running, |running| *running >= most);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
