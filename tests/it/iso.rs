//! Images, put together from a base made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tcforge::digest::Sha256;
use tcforge::image::appliance::Appliance;
use tcforge::image::base::{BootBase, Kernel};
use tcforge::image::description::{self, Description, DescriptionError};
use tcforge::image::initrd::{Part, Tree};
use tcforge::image::{ImageError, Made, Request, make};
use tcforge::progress::Silent;
use tcforge::project::Project;
use tcforge::recipe::SourceFile;
use tcforge::stage::{Content, Node, Stage, TreePath};
use tempfile::TempDir;

use super::world::{Run, World, chmod, tar_gz};

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

const APPLIANCE: &str = "title = \"It's a test\"\nextensions = ['daemon.tcz']\n\
    persistent = ['var/lib/daemon']\n[[service]]\nname = 'daemon'\n";

/// A folder with the base and two extensions, and what was made of them.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
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

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn make(&self, text: &str, time: impl Into<Option<u32>>) -> Result<Made, ImageError> {
        self.make_with(text, time, None, base(self.path()))
    }

    fn make_with(
        &self,
        text: &str,
        time: impl Into<Option<u32>>,
        cache: Option<&Path>,
        base: BootBase,
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
            progress: &Silent,
        })
    }

    fn iso(&self) -> std::path::PathBuf {
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
        "GPT partname local :   1  EFI boot partition",
        "GPT type GUID      :   1  28732ac11ff8d211ba4b00a0c93ec93b",
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
    let start = number("GPT start and size :   1", 0);
    assert_eq!(start, number("El Torito boot img :   2  UEFI", 5) * 4);
    assert_eq!(
        number("GPT start and size :   1", 1),
        number("El Torito boot img :   2  UEFI", 4)
    );
}

/// The sector where UEFI's partition begins, as the GPT has it.
fn partition(iso: &[u8]) -> u64 {
    u64::from_le_bytes(iso[1024 + 32..1024 + 40].try_into().unwrap())
}

#[test]
fn uefi_finds_program_menu_kernel_and_initrds() {
    let bench = Bench::new();
    bench.make(APPLIANCE, 0).unwrap();
    let iso = fs::read(bench.iso()).unwrap();
    let mut drive = bench.iso().into_os_string();
    drive.push(format!("@@{}", partition(&iso) * 512));
    let read = |path: &str| {
        let mut command = Command::new("mtype");
        command.arg("-i").arg(&drive).arg(format!("::/{path}"));
        let output = command.output().expect("mtype is needed: apt-get install mtools");
        assert!(output.status.success(), "{path}: {output:?}");
        output.stdout
    };
    assert_eq!(
        read("EFI/BOOT/BOOTX64.EFI"),
        fs::read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi").unwrap()
    );
    let entry = String::from_utf8(read("LOADER/ENTRIES/serial.conf")).unwrap();
    for line in [
        "title It's a test, serial console",
        "linux /BOOT/VMLINUZ",
        "initrd /BOOT/COREPURE.GZ",
        "initrd /BOOT/TCFORGE.GZ",
    ] {
        assert!(
            entry.lines().any(|one| one == line),
            "{line:?} is not in\n{entry}"
        );
    }
    // They are on the disk once.
    for (shared, path) in [
        ("BOOT/VMLINUZ", "/boot/vmlinuz64"),
        ("BOOT/COREPURE.GZ", "/boot/corepure64.gz"),
        ("BOOT/TCFORGE.GZ", "/boot/tcforge.gz"),
    ] {
        let bytes = read(shared);
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

#[test]
fn container_images_travel_in_an_extension() {
    let bench = Bench::new();
    fs::write(bench.path().join("hello.tar"), "an image").unwrap();
    fs::write(bench.path().join("gateway.tar"), "another").unwrap();
    let text = format!(
        "{APPLIANCE}[[image]]\nfile = 'hello.tar'\nnamespace = 'default'\n\
         [[image]]\nfile = 'gateway.tar'\nnamespace = 'openfaas'\n"
    );
    let made = bench.make(&text, 0).unwrap();
    assert_eq!(made.extensions.last().unwrap().name, "box-images.tcz");
    let image = bench.path().join("images.tcz");
    fs::write(&image, content(&bench.iso(), "/cde/optional/box-images.tcz")).unwrap();
    let listing = super::world::listing(&image);
    for file in [
        "-rw-r--r-- 0/0 /usr/local/share/faasd/images/gateway.tar",
        "-rw-r--r-- 0/0 /usr/local/share/tcforge/images/default/hello.tar",
    ] {
        assert!(
            listing.iter().any(|line| line == file),
            "{file:?} is not in {listing:#?}"
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
    let helper = || world.content("project/out/helper.tcz", "usr/local/bin/helper");
    let first = run(&["--file", "helper=mine"]).stderr;
    // Neither was before: all or nothing.
    assert!(
        first.contains("Built 2 extensions: helper.tcz, tool.tcz\n"),
        "{first}"
    );
    assert!(first.contains(UNLOCKED), "{first}");
    assert_eq!(helper(), "#!/bin/sh\necho mine\n");

    // It is there, and still not what the lock says.
    let again = run(&[]).stderr;
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
