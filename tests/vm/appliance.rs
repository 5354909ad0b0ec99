//! The images that the tests boot: made once, by the program itself.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tcforge::image::container::{self, ContainerImage};
use tcforge::stage::{Content, Node, Stage, TreePath};
use tcforge::vm::{Boot, Bus, Disk, Firmware, Guest, Machine, create_data_disk};
use tempfile::TempDir;

use crate::tinycore::tiny_core;

/// Enough for a boot by emulation on a busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(1200);
/// Enough for a script inside.
pub(crate) const SCRIPT: Duration = Duration::from_secs(600);

/// The container image that the appliance carries.
pub(crate) const IMAGE: &str = "docker.io/library/check:1";

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

/// One with a service that fails.
const BROKEN: &str = r#"
title = "A service that fails"
base = "mini"
extensions = ["broken.tcz"]

[[service]]
name = "broken"
"#;

/// The script of that service.
const BROKEN_SERVICE: &str = "#!/bin/sh
echo 'broken: gives up' >&2
echo 'the moon is in the wrong place' >/var/log/broken.log
exit 1
";

/// A base, and the image of the appliance on it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) base: &'static str,
    pub(crate) iso: PathBuf,
}

/// The image on every base that there is.
pub(crate) fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| on_each_base("vmtest", &[]))
}

/// The image with a service that fails, on mini.
pub(crate) fn broken_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| make("vmbroken", "vmbroken", &["--base", "mini"], None))
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

fn make_project(folder: &Path) {
    let project = folder.join("project");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tcforge.lock"),
        project.join("tcforge.lock"),
    )
    .unwrap();
    for (name, appliance) in [("vmtest", APPLIANCE), ("vmbroken", BROKEN)] {
        fs::write(project.join(format!("iso/{name}.toml")), appliance).unwrap();
    }
    write_container_image(&project.join("check.tar"));
    for (name, dependency) in [("probe-a", None), ("probe-b", Some("probe-a.tcz"))] {
        let root = folder.join(name);
        write_program(
            &root.join(format!("usr/local/tce.installed/{name}")),
            &format!("#!/bin/sh\necho {name} >>/tmp/installed\n"),
        );
        fs::create_dir_all(root.join("usr/local/share/probe")).unwrap();
        fs::write(root.join(format!("usr/local/share/probe/{name}")), name).unwrap();
        pack(
            folder,
            name,
            &dependency.map_or(vec![], |name| vec!["--dep", name]),
        );
    }
    let script = folder.join("broken/usr/local/etc/init.d/broken");
    write_program(&script, BROKEN_SERVICE);
    pack(folder, "broken", &[]);
}

/// Writes a script that can be run.
pub(crate) fn write_program(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Makes an extension of the folder of its name.
fn pack(folder: &Path, name: &str, args: &[&str]) {
    let out = folder.join(format!("out/{name}.tcz"));
    let root = folder.join(name);
    let pack = ["pack", root.to_str().unwrap(), out.to_str().unwrap()];
    tcforge(&folder.join("project"), None, &[&pack, args].concat());
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

fn make(appliance: &str, name: &str, args: &[&str], tiny_core: Option<&Path>) -> PathBuf {
    // Extensions are the same in every image, and all are called alike at first.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let made = folder.join("out");
    let args = [&["iso", appliance, "--out", made.to_str().unwrap()], args].concat();
    tcforge(&folder.join("project"), tiny_core, &args);
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
    UefiStick,
}

/// A booted box, with a folder of its own.
pub(crate) struct Booted {
    pub(crate) guest: Guest,
    folder: TempDir,
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
            As::Stick | As::UefiStick => Boot::Disk(iso, Bus::Usb),
        });
        if matches!(self.how, As::UefiCd | As::UefiStick) {
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
            folder,
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

    /// All that the serial console has printed, to the byte, but for the shell's
    /// question where the cursor is.
    pub(crate) fn printed(&self) -> String {
        let bytes = fs::read(self.folder.path().join("console.log")).unwrap();
        String::from_utf8_lossy(&bytes).replace("\x1b[6n", "")
    }

    /// Waits until the serial console has printed what `is_it`.
    pub(crate) fn wait_until_printed(&self, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SCRIPT;
        loop {
            let printed = self.printed();
            if is_it(&printed) {
                return printed;
            }
            assert!(Instant::now() < deadline, "{}", self.guest.console().end());
            std::thread::sleep(Duration::from_millis(20));
        }
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
