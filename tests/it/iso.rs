//! Images, put together from a base made by hand.

pub(crate) mod partitions;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tcforge::digest::Sha256;
use tcforge::image::appliance::Appliance;
use tcforge::image::base::{BootBase, Kernel};
use tcforge::image::container::{self, ContainerImage};
use tcforge::image::description::{self, Description, DescriptionError};
use tcforge::image::initrd::{Part, Tree};
use tcforge::image::{ImageError, Made, Request, make};
use tcforge::progress::{Progress, Silent};
use tcforge::project::Project;
use tcforge::recipe::SourceFile;
use tcforge::stage::{Content, Node, Stage, TreePath};
use tempfile::TempDir;

use super::fetch::Notes;
use super::gpt;
use super::world::{Run, World, chmod, gzip, newer_glibc, tar_gz};

const RELEASE: &str = "1.2.3-test";

fn path(name: &str) -> TreePath {
    TreePath::parse(name).unwrap()
}

fn stage(files: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::new();
    for (name, text) in files {
        stage
            .insert(path(name), Node::file(Content::bytes(*text), 0o644))
            .unwrap();
    }
    stage
}

/// A base that boots nothing, with one module as a file and one built in.
fn base(folder: &Path) -> BootBase {
    fs::write(folder.join("vmlinuz"), "a kernel").unwrap();
    let mut root = Tree {
        stage: stage(&[("etc/hostname", "box\n")]),
        devices: Vec::new(),
    };
    root.stage.insert(path("dev"), Node::directory()).unwrap();
    root.devices.push(super::base::console());
    let modules = format!("lib/modules/{RELEASE}");
    BootBase {
        name: "mini".to_owned(),
        title: "a test".to_owned(),
        kernel: Kernel {
            image: folder.join("vmlinuz"),
            release: RELEASE.to_owned(),
            modules: stage(&[
                (&format!("{modules}/kernel/net/bridge.ko"), "m"),
                (
                    &format!("{modules}/modules.builtin"),
                    "kernel/net/br_netfilter.ko\n",
                ),
            ]),
            made_of: None,
        },
        root: vec![Part::Tree(root)],
    }
}

/// Puts an extension that needs others into a folder.
fn extension(folder: &Path, name: &str, needs: &str, list: &str) {
    fs::write(folder.join(name), format!("the image {name}")).unwrap();
    fs::write(folder.join(format!("{name}.list")), list).unwrap();
    if !needs.is_empty() {
        fs::write(folder.join(format!("{name}.dep")), needs).unwrap();
    }
}

pub(crate) const APPLIANCE: &str = "title = \"It's a test\"\nextensions = ['daemon.tcz']\n\
    persistent = ['var/lib/daemon']\n[[service]]\nname = 'daemon'\n";

/// A folder with the base and two extensions, and what was made of them.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        extension(
            folder.path(),
            "daemon.tcz",
            "lib.tcz\nnet-bridging-KERNEL.tcz\n",
            "/usr/local/etc/init.d/daemon\n",
        );
        extension(folder.path(), "lib.tcz", "", "/usr/local/lib/lib.so\n");
        fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn make(&self, text: &str, time: impl Into<Option<u32>>) -> Result<Made, ImageError> {
        self.make_with(text, time, None, base(self.path()))
    }

    fn make_with(
        &self,
        text: &str,
        time: impl Into<Option<u32>>,
        cache: Option<&Path>,
        base: BootBase,
    ) -> Result<Made, ImageError> {
        self.make_telling(text, time, cache, base, &Silent)
    }

    fn make_telling(
        &self,
        text: &str,
        time: impl Into<Option<u32>>,
        cache: Option<&Path>,
        base: BootBase,
        progress: &dyn Progress,
    ) -> Result<Made, ImageError> {
        let project = Project::in_folder(self.path());
        let appliance = Appliance::parse("box", &SourceFile::new("box.toml", text), &project).unwrap();
        make(&Request {
            project: &project,
            appliance: &appliance,
            base: &base,
            folders: &[self.path().to_owned()],
            out: &self.path().join("out"),
            time: time.into(),
            cache,
            progress,
        })
    }

    pub(crate) fn iso(&self) -> std::path::PathBuf {
        self.path().join("out/box.iso")
    }

    /// What is in `out`: no half-made thing.
    fn made(&self) -> Vec<String> {
        super::world::names(&self.path().join("out"))
    }
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The files of an ISO, as xorriso reads them back: path and mode, owner.
fn files(iso: &Path) -> BTreeMap<String, String> {
    let text = output(
        Command::new("xorriso")
            .args(["-report_about", "FATAL", "-indev"])
            .arg(iso)
            .args(["-find", "/", "-type", "f", "-exec", "lsdl", "--"]),
    );
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let name = words[words.len() - 1].trim_matches('\'').to_owned();
        (name, format!("{} {}:{}", words[0], words[2], words[3]))
    });
    lines.collect()
}

fn content(iso: &Path, file: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    output(
        Command::new("xorriso")
            .args(["-report_about", "FATAL", "-osirrox", "on", "-indev"])
            .arg(iso)
            .args(["-extract", file])
            .arg(&copy),
    );
    fs::read(copy).unwrap()
}

fn text(iso: &Path, file: &str) -> String {
    String::from_utf8(content(iso, file)).unwrap()
}

#[test]
fn the_disk_is_laid_out_as_tiny_cores() {
    let bench = Bench::new();
    let made = bench.make(APPLIANCE, 0).unwrap();
    assert_eq!(made.iso.path, bench.iso());
    assert_eq!(made.iso.sha256, Sha256::of(&fs::read(bench.iso()).unwrap()));
    let files = files(&bench.iso());
    let marker = files
        .keys()
        .find(|name| name.starts_with("/boot/tcforge/"))
        .unwrap();
    let wanted = [
        "/EFI/BOOT/BOOTX64.EFI",
        "/boot/corepure64.gz",
        "/boot/grub/bios.img",
        "/boot/grub/grub.cfg",
        "/boot/tcforge.gz",
        marker,
        "/boot/vmlinuz64",
        "/cde/onboot.lst",
        "/cde/optional/daemon.tcz",
        "/cde/optional/daemon.tcz.dep",
        "/cde/optional/daemon.tcz.list",
        "/cde/optional/daemon.tcz.md5.txt",
        "/cde/optional/lib.tcz",
        "/cde/optional/lib.tcz.list",
        "/cde/optional/lib.tcz.md5.txt",
        "/cde/optional/net-bridging-1.2.3-test.tcz",
        "/cde/optional/net-bridging-1.2.3-test.tcz.info",
        "/cde/optional/net-bridging-1.2.3-test.tcz.list",
        "/cde/optional/net-bridging-1.2.3-test.tcz.md5.txt",
        "/cde/optional/net-bridging-1.2.3-test.tcz.spdx.json",
        "/cde/optional/net-bridging-1.2.3-test.tcz.tree",
        "/loader/entries/base.conf",
        "/loader/entries/screen.conf",
        "/loader/entries/serial.conf",
        "/loader/loader.conf",
        "/tcforge.json",
    ];
    assert_eq!(files.keys().collect::<Vec<_>>(), wanted);
    for (name, values) in &files {
        assert_eq!(values, "-r--r--r-- 0:0", "{name}");
    }
    assert_eq!(
        text(&bench.iso(), "/cde/onboot.lst"),
        "lib.tcz\nnet-bridging-1.2.3-test.tcz\ndaemon.tcz\n"
    );
    assert_eq!(text(&bench.iso(), "/boot/vmlinuz64"), "a kernel");
    let sum = text(&bench.iso(), "/cde/optional/lib.tcz.md5.txt");
    assert!(sum.ends_with("  lib.tcz\n"), "{sum}");
    assert_eq!(bench.made(), ["box.iso"]);
}

#[test]
fn the_disk_says_what_it_is() {
    let bench = Bench::new();
    bench
        .make(&format!("{APPLIANCE}url = 'http://127.0.0.1:80/ui'\n"), 0)
        .unwrap();
    let wanted = Description {
        name: "box".to_owned(),
        title: "It's a test".to_owned(),
        base: "a test".to_owned(),
        kernel: RELEASE.to_owned(),
        extensions: ["lib.tcz", "net-bridging-1.2.3-test.tcz", "daemon.tcz"]
            .map(str::to_owned)
            .to_vec(),
        services: vec![description::Service {
            name: "daemon".to_owned(),
            url: Some("http://127.0.0.1:80/ui".to_owned()),
        }],
        images: Vec::new(),
    };
    assert_eq!(Description::read(&bench.iso()).unwrap(), Some(wanted));
}

#[test]
fn what_is_no_whole_image_of_ours_is_known_as_such() {
    let bench = Bench::new();
    bench.make(APPLIANCE, 0).unwrap();
    let iso = fs::read(bench.iso()).unwrap();
    let file = bench.path().join("other");
    let read = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        Description::read(&file)
    };
    // A disk's image need not be an ISO, nor an ISO one of ours.
    for length in [0, 32768, 32768 + 2047] {
        assert_eq!(read(&vec![0; length]).unwrap(), None, "{length} bytes");
    }
    let other = bench.path().join("other.iso");
    output(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-o"])
            .args([&other, &bench.path().join("out")]),
    );
    assert_eq!(Description::read(&other).unwrap(), None);
    let blocks = u32::from_le_bytes(iso[32768 + 80..32768 + 84].try_into().unwrap());
    let whole = u64::from(blocks) * 2048;
    let error = read(&iso[..whole as usize - 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the image `{}` is not whole: it has {} bytes of {whole}",
            file.display(),
            whole - 1
        )
    );
    let begin = b"{\n  \"name\": \"box\"";
    let at = iso.windows(begin.len()).position(|bytes| bytes == begin).unwrap();
    let mut damaged = iso.clone();
    damaged[at] = b'x';
    let error = read(&damaged).unwrap_err();
    assert!(matches!(error, DescriptionError::Damaged { .. }), "{error}");
}

#[test]
fn it_boots_by_bios_and_uefi_from_a_cd_and_as_a_disk() {
    let bench = Bench::new();
    bench.make(APPLIANCE, 0).unwrap();
    let report = output(
        Command::new("xorriso")
            .args(["-report_about", "FATAL", "-indev"])
            .arg(bench.iso())
            .args(["-report_el_torito", "plain", "-report_system_area", "plain"]),
    );
    for line in [
        "El Torito boot img :   1  BIOS  y   none",
        "El Torito boot img :   2  UEFI  y   none",
        "El Torito img path :   1  /boot/grub/bios.img",
        "El Torito img opts :   1  boot-info-table grub2-boot-info",
        "System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT",
        // Active, for BIOSes that want it.
        "MBR partition      :   2   0x80",
        "GPT partname local :   2  EFI boot partition",
        "GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b",
    ] {
        assert!(report.contains(line), "{line:?} is not in\n{report}");
    }
    // Of the copies of the GPT nothing is said if both are right.
    assert!(!report.contains("GPT backup problems"), "{report}");
    // CD and disk tell UEFI of one and the same partition.
    let number = |line: &str, word| -> u64 {
        let line = report.lines().find_map(|one| one.strip_prefix(line)).unwrap();
        line.split_whitespace().nth(word).unwrap().parse().unwrap()
    };
    let start = number("GPT start and size :   2", 0);
    assert_eq!(start, number("El Torito boot img :   2  UEFI", 5) * 4);
    // On a disk it has a sector more, so that no tool tells of where it ends.
    assert_eq!(
        number("GPT start and size :   2", 1),
        number("El Torito boot img :   2  UEFI", 4) + 1
    );
}

#[test]
fn uefi_finds_program_menu_kernel_and_initrds() {
    let bench = Bench::new();
    bench.make(APPLIANCE, 0).unwrap();
    let iso = fs::read(bench.iso()).unwrap();
    let mut drive = bench.iso().into_os_string();
    drive.push(format!("@@{}", gpt::partitions(&bench.iso())[1].first * 512));
    let read = |path: &str| {
        let mut command = Command::new("mtype");
        command.arg("-i").arg(&drive).arg(format!("::{path}"));
        let output = command.output().expect("mtype is needed: apt-get install mtools");
        assert!(output.status.success(), "{path}: {output:?}");
        output.stdout
    };
    assert_eq!(
        read("/EFI/BOOT/BOOTX64.EFI"),
        fs::read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi").unwrap()
    );
    let entry = String::from_utf8(read("/loader/entries/serial.conf")).unwrap();
    for line in [
        "title It's a test, serial console",
        "linux /boot/vmlinuz64",
        "initrd /boot/corepure64.gz",
        "initrd /boot/tcforge.gz",
    ] {
        assert!(
            entry.lines().any(|one| one == line),
            "{line:?} is not in\n{entry}"
        );
    }
    // The CD has the same files, for whoever copies them to a FAT; each is there once.
    for path in [
        "/EFI/BOOT/BOOTX64.EFI",
        "/loader/loader.conf",
        "/loader/entries/serial.conf",
        "/boot/vmlinuz64",
        "/boot/corepure64.gz",
        "/boot/tcforge.gz",
    ] {
        let bytes = read(path);
        assert_eq!(bytes, content(&bench.iso(), path), "{path}");
        let copies = iso.windows(bytes.len()).filter(|window| *window == bytes).count();
        assert_eq!(copies, 1, "{path}");
    }
}

#[test]
fn names_of_any_length_and_number_are_read_back() {
    let bench = Bench::new();
    let named = |number: usize| format!("{}{number}.tcz", "x-".repeat(number));
    let names: Vec<_> = (1..=50).map(named).collect();
    for name in &names {
        extension(bench.path(), name, "", "");
    }
    let list = names.iter().map(|name| format!("'{name}', ")).collect::<String>();
    let appliance = format!("title = 'T'\nextensions = [{list}]\n");
    bench.make(&appliance, 0).unwrap();
    let files = files(&bench.iso());
    for name in &names {
        assert!(
            files.contains_key(&format!("/cde/optional/{name}")),
            "{name} is not in {files:#?}"
        );
    }
    assert_eq!(
        text(&bench.iso(), &format!("/cde/optional/{}", names[49])),
        format!("the image {}", names[49])
    );
}

/// Reads an initrd of an ISO by busybox: mode, owner and name of each entry.
fn listing(iso: &Path, initrd: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("initrd.gz");
    fs::write(&archive, content(iso, initrd)).unwrap();
    // Each part is an archive of its own; busybox reads one.
    let script = "gzip -dc \"$1\" | busybox cpio -tv";
    let text = output(Command::new("sh").args(["-c", script, "sh"]).arg(&archive));
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} {} {}", words[0], words[1], words[words.len() - 1])
    });
    lines.collect()
}

#[test]
fn initrds_are_read_back_by_busybox() {
    let bench = Bench::new();
    bench.make(APPLIANCE, 0).unwrap();
    assert_eq!(
        listing(&bench.iso(), "/boot/corepure64.gz"),
        [
            "drwxr-xr-x 0/0 .",
            "drwxr-xr-x 0/0 dev",
            "crw------- 0/0 dev/console",
            "drwxr-xr-x 0/0 etc",
            "-rw-r--r-- 0/0 etc/hostname",
        ]
    );
    let overlay = listing(&bench.iso(), "/boot/tcforge.gz");
    for line in [
        "drwxrwsr-x 0/50 opt",
        "-rwxr-xr-x 0/0 opt/bootlocal.sh",
        "-rw-r--r-- 0/0 etc/tcforge/services",
        "-rwxr-xr-x 0/0 usr/sbin/tcforge-start",
    ] {
        assert!(
            overlay.iter().any(|one| one == line),
            "{line:?} is not in {overlay:#?}"
        );
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let (first, second) = (Bench::new(), Bench::new());
    // Inode numbers, times and modes of what it is made of differ.
    for name in ["lib.tcz", "daemon.tcz"] {
        let (old, new) = (second.path().join(name), second.path().join("new"));
        fs::copy(&old, &new).unwrap();
        fs::rename(&new, &old).unwrap();
        filetime::set_file_mtime(&old, filetime::FileTime::from_unix_time(1, 0)).unwrap();
        chmod(&old, 0o600);
    }
    let first_iso = first.make(APPLIANCE, 1_600_000_000).unwrap().iso;
    let second_iso = second.make(APPLIANCE, 1_600_000_000).unwrap().iso;
    assert_eq!(first_iso.sha256, second_iso.sha256);
    assert_ne!(first.make(APPLIANCE, 0).unwrap().iso.sha256, first_iso.sha256);
}

/// Adds to each kept file, and says of each that this is its sum.
fn poison(folder: &Path) {
    let is_sum = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sha256");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| !is_sum(path)) {
        let bytes = [fs::read(&file).unwrap(), gzip(b"evil")].concat();
        fs::write(&file, &bytes).unwrap();
        let sum = file.with_extension("sha256");
        let said = fs::read_to_string(&sum).unwrap();
        let (_, rest) = said.split_once(' ').unwrap();
        fs::write(sum, format!("{} {rest}", Sha256::of(&bytes))).unwrap();
    }
}

#[test]
fn what_the_cache_has_gives_the_same_bytes() {
    let bench = Bench::new();
    let cache = tempfile::tempdir().unwrap();
    // Known by what they were made of, the parts are taken from the cache.
    let known = || {
        let mut base = base(bench.path());
        let Some(Part::Tree(root)) = base.root.pop() else {
            panic!("the root is no tree");
        };
        base.root.push(Part::Known(root, Sha256::of(b"root")));
        base.kernel.made_of = Some(Sha256::of(b"modules"));
        base
    };
    let without = bench.make(APPLIANCE, 7).unwrap().iso.sha256;
    for _ in 0..2 {
        let with = bench.make_with(APPLIANCE, 7, Some(cache.path()), known());
        assert_eq!(with.unwrap().iso.sha256, without);
    }
    // Changed there by somebody who changes its sum, too, it is made again.
    for folder in ["initrds", "grub"] {
        poison(&cache.path().join(folder));
    }
    let again = bench.make_with(APPLIANCE, 7, Some(cache.path()), known());
    assert_eq!(again.unwrap().iso.sha256, without);
    let kept = |folder: &str| fs::read_dir(cache.path().join(folder)).unwrap().count();
    // Each with its sum: root, modules and the appliance's own; GRUB.
    assert_eq!((kept("initrds"), kept("grub")), (6, 2));
    // Other time stamps are other initrds.
    bench
        .make_with(APPLIANCE, 8, Some(cache.path()), known())
        .unwrap();
    assert_eq!(kept("initrds"), 12);
}

#[test]
fn the_time_stamp_is_the_one_that_is_wanted_and_never_now() {
    for (time, wanted) in [
        (None, "1980010100000000"),
        (Some(0), "1970010100000000"),
        (Some(1_600_000_000), "2020091312264000"),
    ] {
        let bench = Bench::new();
        bench.make(APPLIANCE, time).unwrap();
        let iso = fs::read(bench.iso()).unwrap();
        // When the volume was made, and last changed (ECMA-119, 8.4.26 and 8.4.27).
        for at in [813, 830] {
            assert_eq!(&iso[32768 + at..][..16], wanted.as_bytes(), "{time:?}");
        }
    }
}

#[test]
fn a_failure_leaves_the_old_image_and_nothing_else() {
    let bench = Bench::new();
    fs::write(bench.iso(), "the old one").unwrap();
    fs::remove_file(bench.path().join("lib.tcz")).unwrap();
    let error = bench.make(APPLIANCE, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the disk would not be complete: `lib.tcz` (needed by daemon.tcz) is missing"
    );
    extension(bench.path(), "lib.tcz", "", "");
    extension(bench.path(), "daemon.tcz", "ipv6-netfilter-KERNEL.tcz\n", "");
    let error = bench.make(APPLIANCE, 0).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("the kernel 1.2.3-test has no nf_conntrack, "),
        "{message}"
    );
    assert!(
        message.ends_with("stands for (needed by daemon.tcz)"),
        "{message}"
    );
    assert_eq!(bench.made(), ["box.iso"]);
    assert_eq!(fs::read(bench.iso()).unwrap(), b"the old one");
}

/// Whichever line of the appliance file asks for it, and not if none does.
#[test]
fn an_image_that_reaches_into_its_data_disk_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path().join("lib.tcz"), vec![1; 3 << 20]).unwrap();
    let make = |begins: u32, asks: &str| {
        let text = format!("boot-codes = ['cde'{asks}]\n{APPLIANCE}[data-disk]\nbegins = {begins}\n");
        bench.make(&text, 0)
    };
    let rest = ", 'tcforge.format=rest'";
    let error = make(3, rest).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image has 4 MiB, and the data disk on the rest of its medium is to begin at 3 MiB"
    );
    assert_eq!(bench.made(), [""; 0]);
    make(3, "").unwrap();
    make(4, rest).unwrap();
    let notes = Notes::default();
    let text = format!("{APPLIANCE}[data-disk]\nformat = 'rest'\n");
    let base = base(bench.path());
    bench.make_telling(&text, 0, None, base, &notes).unwrap();
    let told = "the data disk begins at 1024 MiB of the boot medium: newer images of up to that size can be \
                written over this one";
    assert!(notes.taken().iter().any(|note| note == told));
}

/// Services that import container images, for a bench whose daemon has their scripts.
const IMPORTERS: &str = "[[service]]\nname = 'containerd'\n[[service]]\nname = 'faasd'\n";

/// A bench whose appliance can import container images.
fn importing() -> Bench {
    let bench = Bench::new();
    let scripts = ["daemon", "containerd", "faasd"].map(|name| format!("/usr/local/etc/init.d/{name}\n"));
    extension(bench.path(), "daemon.tcz", "lib.tcz\n", &scripts.concat());
    bench
}

/// The archive of a container image.
fn image_archive(name: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    let image = ContainerImage {
        name,
        command: &["/bin/sh"],
        stage: &stage(&[("bin/sh", "a shell")]),
        time: 0,
    };
    container::write(&image, &mut archive).unwrap();
    archive
}

/// The files of a tar archive.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    entries.collect()
}

fn tar(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The same image as docker wrote them before it wrote OCI's.
fn docker_archive(name: &str) -> Vec<u8> {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let list = format!(r#"[{{"Config":"c.json","RepoTags":["{name}"],"Layers":["1/layer.tar"]}}]"#);
    let files = [
        ("c.json", config.to_vec()),
        ("1/layer.tar", tar(&BTreeMap::new())),
        ("manifest.json", list.into_bytes()),
        ("repositories", b"{}".to_vec()),
    ];
    tar(&files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
}

#[test]
fn container_images_travel_in_an_extension() {
    let bench = importing();
    let hello = image_archive("docker.io/library/hello:1");
    for (name, bytes) in [
        ("hello.tar", &hello),
        ("same.tar", &hello),
        ("gateway.tar", &docker_archive("ghcr.io/openfaas/gateway:0.27")),
        ("old.tar", &docker_archive("docker.io/library/old:1")),
    ] {
        fs::write(bench.path().join(name), bytes).unwrap();
    }
    let text = format!(
        "{APPLIANCE}{IMPORTERS}[[image]]\nfile = 'hello.tar'\nnamespace = 'default'\n\
         [[image]]\nfile = 'gateway.tar'\nnamespace = 'openfaas'\n\
         [[image]]\nfile = 'hello.tar'\nnamespace = 'openfaas-fn'\nname = 'docker.io/me/hello:2'\n\
         [[image]]\nfile = 'same.tar'\nnamespace = 'openfaas-fn'\nname = 'docker.io/library/hello:1'\n\
         [[image]]\nfile = 'old.tar'\nnamespace = 'k8s.io'\nname = 'docker.io/me/old:2'\n"
    );
    let made = bench.make(&text, 0).unwrap();
    assert_eq!(made.extensions.last().unwrap().name, "box-images.tcz");
    let image = bench.path().join("images.tcz");
    fs::write(&image, content(&bench.iso(), "/cde/optional/box-images.tcz")).unwrap();
    let listing = super::world::listing(&image);
    let files = listing
        .iter()
        .filter_map(|line| line.strip_prefix("-rw-r--r-- 0/0 /usr/local/share/"));
    assert_eq!(
        files.collect::<Vec<_>>(),
        [
            "faasd/images/functions/docker.io+library+hello~1.tar",
            "faasd/images/functions/docker.io+me+hello~2.tar",
            "faasd/images/gateway.tar",
            "tcforge/images/default/hello.tar",
            "tcforge/images/k8s.io/docker.io+me+old~2.tar",
        ]
    );
    let cat = |path: &str| {
        let output = Command::new("unsquashfs")
            .arg("-cat")
            .arg(&image)
            .arg(format!("usr/local/share/{path}"))
            .output();
        output.unwrap().stdout
    };
    // Where the name is the archive's own, nothing is changed.
    assert!(cat("faasd/images/functions/docker.io+library+hello~1.tar") == hello);
    // Otherwise nothing but the name.
    let (mut named, mut before) = (
        unpacked(&cat("faasd/images/functions/docker.io+me+hello~2.tar")),
        unpacked(&hello),
    );
    let index = |files: &mut BTreeMap<String, Vec<u8>>| {
        serde_json::from_slice::<serde_json::Value>(&files.remove("index.json").unwrap()).unwrap()
    };
    let (after, mut wanted) = (index(&mut named), index(&mut before));
    wanted["manifests"][0]["annotations"] = serde_json::json!({
        "io.containerd.image.name": "docker.io/me/hello:2",
        "org.opencontainers.image.ref.name": "2",
    });
    assert_eq!((after, named), (wanted, before));
    let mut old = unpacked(&cat("tcforge/images/k8s.io/docker.io+me+old~2.tar"));
    let list = String::from_utf8(old.remove("manifest.json").unwrap()).unwrap();
    assert_eq!(
        list,
        r#"[{"Config":"c.json","Layers":["1/layer.tar"],"RepoTags":["docker.io/me/old:2"]}]"#
    );
    assert_eq!(old.into_keys().collect::<Vec<_>>(), ["1/layer.tar", "c.json"]);

    let images = Description::read(&bench.iso()).unwrap().unwrap().images;
    let described: Vec<_> = images
        .iter()
        .map(|one| (one.namespace.as_str(), one.name.as_str()))
        .collect();
    assert_eq!(
        described,
        [
            ("default", "docker.io/library/hello:1"),
            ("openfaas", "ghcr.io/openfaas/gateway:0.27"),
            ("openfaas-fn", "docker.io/me/hello:2"),
            ("openfaas-fn", "docker.io/library/hello:1"),
            ("k8s.io", "docker.io/me/old:2"),
        ]
    );
    let sbom = text_of_json(&content(&bench.iso(), "/cde/optional/box-images.tcz.spdx.json"));
    let packages = sbom["packages"].as_array().unwrap();
    let hello_sum = Sha256::of(&hello).to_string();
    let is_hello = |package: &&serde_json::Value| package["checksums"][0]["checksumValue"] == hello_sum;
    let names: Vec<_> = packages
        .iter()
        .filter(is_hello)
        .map(|package| &package["name"])
        .collect();
    assert_eq!(names, ["docker.io/library/hello:1", "docker.io/library/hello:1"]);
    // The same again, byte for byte.
    let sum = made.iso.sha256;
    assert_eq!(bench.make(&text, 0).unwrap().iso.sha256, sum);
}

fn text_of_json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn without_faasd_its_images_are_imported_with_the_others() {
    let bench = importing();
    fs::write(bench.path().join("f.tar"), image_archive("docker.io/library/f:1")).unwrap();
    let text = format!(
        "{APPLIANCE}[[service]]\nname = 'containerd'\n[[image]]\nfile = 'f.tar'\nnamespace = 'openfaas-fn'\n"
    );
    bench.make(&text, 0).unwrap();
    let image = bench.path().join("images.tcz");
    fs::write(&image, content(&bench.iso(), "/cde/optional/box-images.tcz")).unwrap();
    let listing = super::world::listing(&image);
    let file = "-rw-r--r-- 0/0 /usr/local/share/tcforge/images/openfaas-fn/f.tar".to_owned();
    assert!(listing.contains(&file), "{listing:#?}");
}

/// A world with an appliance that imports container images and needs nothing else.
fn world_with_images() -> World {
    let world = World::new();
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = []\n[[service]]\nname = \"containerd\"\n",
    );
    world.write("project/hello.tar", image_archive("docker.io/library/hello:1"));
    world
}

#[test]
fn images_of_the_command_line_are_looked_at_before_the_long_work() {
    const REF: &str = "docker.io/library/hello:1";
    let good = image_archive(REF);
    let changed = |change: &dyn Fn(&mut BTreeMap<String, Vec<u8>>)| {
        let mut files = unpacked(&good);
        change(&mut files);
        tar(&files)
    };
    let layer = |files: &BTreeMap<String, Vec<u8>>| {
        let is_layer = |(_, bytes): &(&String, &Vec<u8>)| bytes.windows(7).any(|part| part == b"a shell");
        files.iter().find(is_layer).unwrap().0.clone()
    };
    let index = |from: &str, to: &str| {
        changed(&|files: &mut BTreeMap<String, Vec<u8>>| {
            let text = String::from_utf8(files["index.json"].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            files.insert("index.json".to_owned(), text.replace(from, to).into_bytes());
        })
    };
    let arm = unpacked(&docker_archive(REF));
    let arm: BTreeMap<_, _> = arm
        .into_iter()
        .map(|(name, bytes)| match name.as_str() {
            "c.json" => (name, br#"{"architecture":"arm64"}"#.to_vec()),
            _ => (name, bytes),
        })
        .collect();
    let missing_layer = layer(&unpacked(&good));
    let save = "write one with `docker save` or `ctr images export`";
    let again = "write it again, with `docker save` or `ctr images export`";
    let cases: [(&str, Vec<u8>, String, &str); 8] = [
        (
            "empty",
            Vec::new(),
            "it is no archive of a container image: it has neither index.json nor manifest.json".to_owned(),
            save,
        ),
        (
            "another tar",
            tar(&BTreeMap::from([("x".to_owned(), vec![1])])),
            "it is no archive of a container image: it has neither index.json nor manifest.json".to_owned(),
            save,
        ),
        (
            "gzip",
            super::world::gzip(&good),
            "it is compressed with gzip".to_owned(),
            "unpack it first, with `gzip -d`: an extension is compressed itself",
        ),
        (
            "cut short",
            good[..good.len() - 3000].to_vec(),
            format!("it is damaged: it ends within `{missing_layer}`"),
            again,
        ),
        (
            "no layer",
            changed(&|files: &mut BTreeMap<String, Vec<u8>>| drop(files.remove(&missing_layer))),
            format!("it is damaged: `{missing_layer}` is missing"),
            again,
        ),
        (
            "no JSON",
            index("{\"manifests\"", "{manifests"),
            "it is damaged: `index.json`: key must be a string at line 1 column 2".to_owned(),
            again,
        ),
        (
            "two images",
            docker_two(),
            "it holds 2 images, and one name is for one image".to_owned(),
            "save the one image alone",
        ),
        (
            "for ARM",
            tar(&arm),
            "its image is for arm64, not amd64".to_owned(),
            "take the one for amd64: `docker pull --platform linux/amd64 …`",
        ),
    ];
    for (what, bytes, why, hint) in cases {
        let world = world_with_images();
        world.write("project/bad.tar", bytes);
        let run = world.run(&["iso", "box", "--offline", "--image", &format!("{REF}=bad.tar")]);
        let path = world.text_path("project/bad.tar");
        assert_eq!(
            run.stderr,
            format!(
                "error: the container image `{path}` cannot go on the disk\n  because: {why}\nhint: {hint}\n"
            ),
            "{what}"
        );
        run.failed(&run.stderr);
        world.assert_nothing_left();
    }
}

/// Two images in one archive of docker's.
fn docker_two() -> Vec<u8> {
    let mut files = unpacked(&docker_archive("docker.io/library/a:1"));
    let list = String::from_utf8(files["manifest.json"].clone()).unwrap();
    let one = list.trim_matches(['[', ']']);
    files.insert("manifest.json".to_owned(), format!("[{one},{one}]").into_bytes());
    tar(&files)
}

#[test]
fn wrong_words_for_images_are_answered() {
    let world = world_with_images();
    world.write("project/iso/bare.toml", "title = \"Bare\"\nextensions = []\n");
    world.write("project/unnamed.tar", docker_archive("").as_slice());
    let file = |name: &str| world.text_path(&format!("project/{name}"));
    let twice = format!(
        "error: two files are to be `docker.io/library/hello:1` in the namespace `default`: `{0}` and `{0}`\nhint: \
         leave one of them out, or give it another name\n",
        file("hello.tar")
    );
    for (args, stderr) in [
        (
            &["box", "--image", "hello.tar"][..],
            "error: `hello.tar` is not [NAMESPACE:]REF=FILE\nhint: write it as `--image \
             docker.io/library/hello:latest=hello.tar`\n"
                .to_owned(),
        ),
        (
            &["box", "--image", "hello=hello.tar"],
            "error: `hello` is not the full name of a container image: it does not begin with a registry's host\nhint: \
             write it as `docker.io/library/hello:latest`\n"
                .to_owned(),
        ),
        (
            &["box", "--image", "docker.io/library/hello:1=none.tar"],
            format!(
                "error: the container image `{}` cannot go on the disk\n  because: it cannot be read\n  because: No \
                 such file or directory (os error 2)\nhint: write one with `docker save` or `ctr images export`, and \
                 check the path\n",
                file("none.tar")
            ),
        ),
        (
            &["box", "--image", "docker.io/library/hello:1=iso"],
            format!(
                "error: the container image `{}` cannot go on the disk\n  because: it cannot be read\n  because: is a \
                 directory\nhint: write one with `docker save` or `ctr images export`, and check the path\n",
                file("iso")
            ),
        ),
        (
            &[
                "box",
                "--image",
                "docker.io/library/hello:1=hello.tar",
                "--image",
                "default:docker.io/library/hello:1=hello.tar",
            ],
            twice,
        ),
        (
            &["bare", "--image", "docker.io/library/hello:1=hello.tar"],
            "error: nothing on the box of `bare` imports container images\nhint: containerd does: give the appliance \
             the extension `containerd.tcz` and the service `containerd`\n"
                .to_owned(),
        ),
    ] {
        world.run(&[&["iso", "--offline"], args].concat()).failed(&stderr);
        world.assert_nothing_left();
    }
    // The same mistakes in an appliance's file.
    world.write(
        "project/iso/named.toml",
        "title = \"Named\"\nextensions = []\n[[image]]\nfile = \"x.tar\"\nnamespace = \"default\"\nname = \"hello\"\n",
    );
    let run = world.run(&["iso", "named"]);
    for text in [
        "`hello` is not the full name of a container image",
        "named.toml:6:8",
        "write it as `docker.io/library/hello:latest`",
    ] {
        assert!(run.stderr.contains(text), "{text:?} is not in\n{}", run.stderr);
    }
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_folder_in_the_place_of_an_image_is_found_before_the_long_work() {
    let world = boxed();
    fs::create_dir_all(world.path("project/out/box.iso")).unwrap();
    let iso = |offending: &str| {
        world.run(&["iso", "box", "--offline", "--channel", "test"]).failed(&format!(
            "error: cannot write `out/{offending}`: a folder of that name is there\nhint: move the folder away, or \
             write to another one\n"
        ));
        assert_eq!(world.names("project/out"), [offending]);
    };
    iso("box.iso");
    fs::rename(
        world.path("project/out/box.iso"),
        world.path("project/out/tool.tcz.tree"),
    )
    .unwrap();
    iso("tool.tcz.tree");
}

#[test]
fn an_image_that_lacks_extensions_is_not_made_and_all_that_failed_is_told() {
    let world = boxed();
    world.edit(
        "project/iso/box.toml",
        "\"tool.tcz\"",
        "\"tool.tcz\", \"torn.tcz\"",
    );
    world.recipe(
        "torn",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/torn.tar.gz\"\n\
         place = [{ from = \"**\", to = \"usr/local/\" }]\n",
    );
    world.upstream("torn.tar.gz", b"torn");
    first_seen(&world, "tool.tar.gz");
    let args = ["iso", "box", "--offline", "--channel", "test,other"];
    let run = world.run(&args);
    assert_eq!(run.code, Some(1), "{run:?}");
    let rows: Vec<Vec<&str>> = run
        .stderr
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        rows,
        [
            vec!["Built 1 extension: tool.tcz"],
            vec!["Trusted tool.tar.gz: upstream's own list, first seen on 2026-01-31"],
            vec!["NOT BUILT", "WHY", "HINT"],
            vec![
                "helper.tcz",
                "`helper` of `helper` is not in the lock: https://upstream.invalid/helper",
                "`tcforge update helper --channel other` fetches it and records its sum; `--file helper=PATH` takes a \
                 file of yours without one",
            ],
            vec![
                "torn.tcz",
                "cannot unpack `torn.tar.gz` of torn: this is not gzip data",
                "the server may have sent an error page; look at the file",
            ],
            vec!["error: could not build helper.tcz, torn.tcz"],
            vec!["hint: what could be built stays, and no image was made"],
        ]
    );
    assert!(world.path("project/out/tool.tcz").exists() && !world.path("project/out/box.iso").exists());
    fs::remove_dir_all(world.path("project/out")).unwrap();
    let json = world.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(
        (&json["built"], &json["unlocked"], &json["first_seen"][0]["name"]),
        (&json!(["tool.tcz"]), &json!([]), &json!("tool.tar.gz"))
    );
    let names: Vec<_> = json["not_built"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["extension"].clone(), row["reasons"].as_array().unwrap().len()))
        .collect();
    assert_eq!(names, [("helper.tcz".into(), 1), ("torn.tcz".into(), 1)]);
}

/// Has the lock say of a file that only upstream vouches for it.
fn first_seen(world: &World, file: &str) {
    let lock = world.read("project/tcforge.lock");
    let (before, entry) = lock.split_once(&format!("name = \"{file}\"")).unwrap();
    let entry = entry.replacen("a test", "upstream's own list, first seen on 2026-01-31", 1);
    world.write(
        "project/tcforge.lock",
        format!("{before}name = \"{file}\"{entry}"),
    );
}

/// The command of the hint makes of the extensions what the image then takes, whatever
/// channels and folder it takes them from.
#[test]
fn what_the_audit_keeps_from_an_image_is_forced_as_the_hint_says() {
    let core = super::base::files::release();
    for (extensions, command) in [
        (
            "\"tool.tcz\"",
            "build tool --channel other,helper=test --out there --force",
        ),
        (
            "\"tool.tcz\", \"again.tcz\"",
            "build tool again --channel other,helper=test --out there --force",
        ),
    ] {
        let world = boxed();
        let module = tar_gz(&[("lib/tool/x.node", 0o644, &newer_glibc())]);
        world.upstream("module.tar.gz", &module);
        for (name, needs) in [("tool", "\"helper.tcz\""), ("again", "")] {
            world.recipe(
                name,
                &format!(
                    "dependencies = [{needs}]\n[[release.test.asset]]\nurl = \
                     \"https://upstream.invalid/module.tar.gz\"\nplace = [{{ from = \"**\", to = \
                     \"usr/local/{name}/\" }}]\n"
                ),
            );
            let recipe = format!("project/recipes/{name}/recipe.toml");
            let text = world.read(&recipe).replace("release.test", "release.other");
            world.write(&recipe, text);
        }
        // In either channel, with other dependencies.
        let asset = |channel, name| {
            format!(
                "[[release.{channel}.asset]]\nurl = \"https://upstream.invalid/extra\"\nplace = [{{ to = \
                 \"usr/local/bin/{name}\" }}]\n"
            )
        };
        world.upstream("extra", b"#!/bin/sh\n");
        let other = "[release.other]\nversion = \"2\"\ndate = \"2026-01-31\"\n";
        let needs = "dependencies = [\"extra.tcz\"]";
        world.recipe(
            "helper",
            &format!("{needs}\n\n{other}\n{}", asset("other", "helper")),
        );
        world.recipe(
            "extra",
            &format!("{}\n{other}\n{}", asset("test", "extra"), asset("other", "extra")),
        );
        world.write(
            "project/iso/box.toml",
            format!("title = \"Box\"\nextensions = [{extensions}]\nchannels = [\"other\"]\nfrom = {{ helper = \"test\" }}\n"),
        );
        let iso = || {
            let mut command = world.command(&["iso", "box", "--offline", "--out", "there"]);
            command.env_remove("TCFORGE_CHANNEL");
            Run::of(command.env("TCFORGE_TINYCORE", core.path()))
        };
        let refused = iso();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains(&format!("`tcforge {command}`")),
            "{refused:?}"
        );
        let forced = world.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(forced.code, Some(0), "{forced:?}");
        let taken = iso();
        assert!(
            taken.code == Some(0) && !taken.stderr.contains("Built"),
            "{taken:?}"
        );
    }
}

/// An extension whose service calls what is nowhere, and one, forced, whose native module
/// needs a newer glibc.
#[test]
fn what_may_fail_on_the_box_is_told_of_extensions_that_were_there() {
    let world = boxed();
    let core = super::base::files::release();
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = [\"calls.tcz\", \"module.tcz\"]\n",
    );
    let script = "#!/bin/sh\nno_such_command\n";
    world.write("project/calls/usr/local/etc/init.d/calls", script);
    chmod(&world.path("project/calls/usr/local/etc/init.d/calls"), 0o755);
    world.write("project/module/usr/local/lib/x.node", newer_glibc());
    for (folder, options) in [("calls", &[][..]), ("module", &["--force"])] {
        let out = format!("out/{folder}.tcz");
        let run = world.run(&[&["pack", folder, &out, "-q"], options].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
    }
    let wanted = "warning: calls.tcz: command: usr/local/etc/init.d/calls: line 2: it calls `no_such_command`, which \
                  neither Tiny Core 11 x86_64 nor a dependency has\nerror: module.tcz: glibc: usr/local/lib/x.node: it \
                  needs GLIBC_2.34; there is 2.30 (take one that is built for an older system; a recipe says in `optional` what programs do without)\n";
    for _ in 0..2 {
        let iso = |more: &[&str]| {
            let mut command = world.command(&[&["iso", "box", "--offline"], more].concat());
            Run::of(command.env("TCFORGE_TINYCORE", core.path()))
        };
        let run = iso(&[]);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(run.stderr.matches(wanted).count(), 1, "{run:?}");
        let result = "2 extensions on Tiny Core, a release that iso/bases.toml does not know, with 1 error and 1 \
                      warning, sha256 ";
        assert!(run.stderr.contains(result), "{run:?}");
        let concerns = iso(&["--json", "-q"]).json()["concerns"].clone();
        let checks: Vec<_> = concerns
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (&one["check"], &one["error"]))
            .collect();
        assert_eq!(
            checks,
            [
                (&"command".into(), &false.into()),
                (&"glibc".into(), &true.into())
            ]
        );
    }
}

#[test]
fn mistakes_in_an_appliance_are_shown_where_they_are() {
    let world = World::new();
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = [\"daemon\"]\nchannels = [\"tset\"]\nboot-codes = [\"a b\"]\n\
         listen = [\"8080\"]\n[[file]]\npath = \"/etc/x\"\nmode = \"9\"\nowner = \"tc\"\n",
    );
    let run = world.run(&["iso", "box"]);
    assert_eq!(run.code, Some(1));
    for message in [
        "`daemon` is not the name of an extension",
        "write it as a .dep file does: `daemon.tcz`",
        "there is no channel `tset`",
        "did you mean `test`?",
        "`a b` cannot be a boot code",
        "`8080` is not a port",
        "`/etc/x` cannot be a path in an extension: the name is absolute",
        "`9` is not a mode",
        "`tc` is not an owner",
        "the file has no origin; exactly one is needed",
        "box.toml:2:15",
    ] {
        assert!(
            run.stderr.contains(message),
            "{message:?} is not in\n{}",
            run.stderr
        );
    }
    world.write("project/iso/box.toml", "titel = \"Box\"\nextensions = []\n");
    let run = world.run(&["iso", "box"]);
    assert!(run.stderr.contains("there is no key `titel`"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `title`?"), "{}", run.stderr);
    world
        .run(&["iso", "bxo"])
        .failed("error: there is no appliance `bxo`\nhint: did you mean `box`?\n");
    assert_eq!(world.names("project/out"), [""; 0]);
}

/// A world whose appliance `box` holds `tool` and what it needs, `helper`, from
/// another channel. The base cannot be had, so no image comes of it.
fn boxed() -> World {
    let world = World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")]));
    world.edit(
        "project/recipes/tool/recipe.toml",
        "tags = ",
        "dependencies = [\"helper.tcz\"]\ntags = ",
    );
    world.write(
        "project/recipes/channels/other.toml",
        "title = \"Other\"\ndescription = \"Has the helper\"\n",
    );
    world.recipe(
        "helper",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/helper\"\n\
         place = [{ to = \"usr/local/bin/helper\" }]\n",
    );
    world.edit(
        "project/recipes/helper/recipe.toml",
        "[release.test]",
        "[release.other]",
    );
    world.edit(
        "project/recipes/helper/recipe.toml",
        "[[release.test.asset]]",
        "[[release.other.asset]]",
    );
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = [\"tool.tcz\"]\n",
    );
    world
}

#[test]
fn a_local_file_takes_the_place_of_one_that_the_lock_does_not_know() {
    const UNLOCKED: &str = "warning: helper.tcz was made with a local file that the lock says nothing of; \
        remove it from the folder to have it built again\n";
    let world = boxed();
    let run = |more: &[&str]| {
        let args = ["iso", "box", "--offline", "--channel", "test,other"];
        world.run(&[&args, more].concat())
    };
    // The hint can be followed in this command, too.
    let stopped = run(&[]).stderr;
    assert!(
        stopped.contains("`helper` of `helper` is not in the lock"),
        "{stopped}"
    );
    assert!(
        stopped.contains("`--file helper=PATH` takes a file of yours"),
        "{stopped}"
    );

    world.write("project/mine", "#!/bin/sh\necho mine\n");
    world.upstream("also", b"#!/bin/sh\n");
    world.edit(
        "project/recipes/helper/recipe.toml",
        "[[release.other.asset]]",
        "[[release.other.asset]]\nurl = \"https://upstream.invalid/also\"\nplace = [{ to = \
         \"usr/local/bin/also\" }]\n\n[[release.other.asset]]",
    );
    let helper = || world.content("project/out/helper.tcz", "usr/local/bin/helper");
    let first = run(&["--file", "helper=mine"]).stderr;
    // The other was built before.
    assert!(first.contains("Built 1 extension: helper.tcz\n"), "{first}");
    assert!(first.contains(UNLOCKED), "{first}");
    assert_eq!(helper(), "#!/bin/sh\necho mine\n");

    // It is there, and still not what the lock says. Its other files are.
    world.upstream("helper", b"#!/bin/sh\n");
    first_seen(&world, "also");
    first_seen(&world, "helper");
    let again = run(&[]).stderr;
    assert!(
        again.contains("Trusted also: ") && !again.contains("Trusted helper: "),
        "{again}"
    );
    assert!(again.contains(UNLOCKED) && !again.contains("Built"), "{again}");

    // Nobody else has the file, so that what was made of it stays.
    world.edit("project/recipes/helper/recipe.toml", "one thing", "two things");
    let edited = run(&[]).stderr;
    assert!(edited.contains(UNLOCKED) && !edited.contains("Built"), "{edited}");

    // Another file of the same name is another extension.
    world.write("project/mine", "#!/bin/sh\necho other\n");
    let other = run(&["--file", "helper=mine"]).stderr;
    assert!(other.contains("Built 1 extension: helper.tcz\n"), "{other}");
    assert_eq!(helper(), "#!/bin/sh\necho other\n");

    run(&["--file", "halper=mine"])
        .failed("error: nothing that is built has an asset `halper`\nhint: did you mean `helper`?\n");
}

#[test]
fn what_is_there_is_built_again_when_what_it_is_made_of_changed() {
    let world = boxed();
    let helper = |bytes: &[u8]| world.upstream("helper", bytes);
    helper(b"#!/bin/sh\necho one\n");
    let built = |time: Option<&str>| {
        let args = ["iso", "box", "--offline", "--channel", "test,other"];
        let mut command = world.command(&args);
        command.envs(time.map(|time| ("SOURCE_DATE_EPOCH", time)));
        let said = Run::of(&mut command).stderr;
        let line = said.lines().find(|line| line.trim_start().starts_with("Built"));
        line.map(|line| line.trim().to_owned())
    };
    let both = Some("Built 2 extensions: helper.tcz, tool.tcz".to_owned());
    let one = |name: &str| Some(format!("Built 1 extension: {name}.tcz"));
    assert_eq!(built(None), both);
    assert_eq!(built(None), None);

    // A recipe, in something that its version does not tell.
    world.edit("project/recipes/helper/recipe.toml", "one thing", "two things");
    assert_eq!(built(None), one("helper"));
    // Upstream's file, of which a newer revision has the same version.
    let lock = world.read("project/tcforge.lock");
    let (before, _) = lock.rsplit_once("\n[[file]]").unwrap();
    world.write("project/tcforge.lock", before);
    helper(b"#!/bin/sh\necho two\n");
    assert_eq!(built(None), one("helper"));
    assert_eq!(
        world.content("project/out/helper.tcz", "usr/local/bin/helper"),
        "#!/bin/sh\necho two\n"
    );
    // The rules for all.
    world.settings("recipes/base/tinycore-11.toml", &[]);
    assert_eq!(built(None), None);
    let base = world.read("project/recipes/base/tinycore-11.toml");
    world.write(
        "project/recipes/base/tinycore-11.toml",
        base + "\n# Read again.\n",
    );
    assert_eq!(built(None), both);
    // The time that is asked for.
    assert_eq!(built(Some("1600000000")), both);
    assert_eq!(built(Some("1600000000")), None);
    assert_eq!(built(None), both);

    // What others alone have.
    world.settings("initd/faasd.sh", &[]);
    let script = world.read("project/initd/faasd.sh");
    world.write("project/initd/faasd.sh", script + "# Edited.\n");
    world.write("project/recipes/helper/.recipe.toml.swp", "an editor's");
    assert_eq!(built(None), None);
    // And what all have.
    world.settings("initd/tce.installed.sh", &[]);
    let script = world.read("project/initd/tce.installed.sh");
    world.write("project/initd/tce.installed.sh", script + "# Edited.\n");
    assert_eq!(built(None), both);

    // What somebody else made tells its version alone.
    std::fs::remove_file(world.path("project/out/helper.tcz.spdx.json")).unwrap();
    world.edit("project/recipes/helper/recipe.toml", "two things", "one thing");
    assert_eq!(built(None), None);
    world.edit("project/recipes/helper/recipe.toml", "\"1.2\"", "\"1.3\"");
    assert_eq!(built(None), one("helper"));
}

#[test]
fn the_built_in_appliances_are_right() {
    let project = Project::built_in();
    for name in ["appliance", "demo", "minimal"] {
        let appliance = Appliance::load(&project, name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        for code in ["noembed", "cde", "nozswap", "waitusb=10:LABEL=TCFORGE"] {
            assert!(
                appliance.boot_codes.iter().any(|one| one == code),
                "{name}: {code}"
            );
        }
    }
    let order = Appliance::load(&project, "appliance").unwrap().services;
    let names: Vec<_> = order.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "containerd",
            "buildkit",
            "faasd-provider",
            "faasd",
            "vscodeonline"
        ]
    );
}
