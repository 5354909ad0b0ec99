//! Tiny Core's own files, and kernels from folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use md5::Digest as _;
use miette::Diagnostic as _;
use tcforge::digest::{Sha256, hex};
use tcforge::image::base::{BaseError, BaseKind, KernelSource, Loader};
use tcforge::image::initrd::{Device, Part};
use tcforge::progress::Silent;
use tcforge::project::Project;
use tcforge::stage::Owner;

use super::{RELEASE, content, fetcher, lay_out, load, mini, path, run, text, tree};

/// The folder with Tiny Core's own files, where it is at hand.
fn tiny_core() -> Option<PathBuf> {
    let folder = std::env::var_os("TCFORGE_TINYCORE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tinycore-11"),
        PathBuf::from,
    );
    folder.join("rootfs64.tar.gz").is_file().then_some(folder)
}

fn failure(kind: BaseKind, kernel: Option<&KernelSource>, tinycore: Option<&Path>) -> (String, String) {
    let error = load(kind, kernel, tinycore).err().unwrap();
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (error.to_string(), help)
}

#[test]
fn the_archive_of_the_root_filesystem_is_restored() {
    let Some(folder) = tiny_core() else {
        // Nobody has it here: then the loader says what it wants instead.
        let folder = tempfile::tempdir().unwrap();
        let (error, _) = failure(BaseKind::TinyCore, None, Some(folder.path()));
        assert!(error.starts_with("there is no Tiny Core release in"), "{error}");
        return;
    };
    let (base, _scratch) = load(BaseKind::TinyCore, None, Some(&folder)).unwrap();
    assert_eq!(
        base.title,
        "Tiny Core 11.0 x86_64 (rootfs64.tar.gz, restored), with Debian's kernel 5.10.0-32-amd64"
    );
    // The kernel is not its own, so that file systems have to be loaded.
    let [_, Part::Tree(rules)] = base.root.as_slice() else {
        panic!("{:?}", base.root.len());
    };
    assert!(
        text(&rules.stage, "etc/udev/rules.d/85-file-systems.rules").contains("modprobe -a isofs ext4 vfat")
    );
    let mut tar = Command::new("tar");
    tar.arg("-xzOf")
        .arg(folder.join("rootfs64.tar.gz"))
        .arg("./usr/bin/tce-load");
    let before = run(&mut tar, "tar is needed");
    let after = text(&tree(&base).stage, "usr/bin/tce-load");
    let changed: Vec<_> = (before.lines().zip(after.lines()).enumerate())
        .filter(|(_, (before, after))| before != after)
        .map(|(index, (before, after))| (index + 1, before, after))
        .collect();
    assert_eq!(before.lines().count(), after.lines().count());
    let exit = (
        "\tdone || exit 0 # subshell cannot exit directly",
        "\tdone || exit 1 # subshell cannot exit directly",
    );
    assert_eq!(
        changed,
        [
            (
                84,
                "\tsudo /usr/local/bin/unsquashfs -f -d /mnt/test $1",
                "\tsudo /bin/mount $1 /mnt/test -t squashfs -o loop,ro"
            ),
            (
                90,
                "\t\tsudo rm -rf /mnt/test",
                "\t\tsudo /bin/umount -d /mnt/test"
            ),
            (
                92,
                "\t[ \"$BOOTING\" ] || [ -d /mnt/test ] && rmdir /mnt/test",
                "\t[ \"$BOOTING\" ] || rmdir /mnt/test"
            ),
            (272, exit.0, exit.1),
            (289, exit.0, exit.1),
        ]
    );
}

#[test]
fn devices_owners_and_setuid_bits_of_the_archive_are_kept() {
    let Some(folder) = tiny_core() else {
        let (error, help) = failure(BaseKind::TinyCore, None, Some(Path::new("/nowhere")));
        assert!(error.starts_with("xorriso cannot") && !help.is_empty(), "{error}");
        return;
    };
    let (base, _scratch) = load(BaseKind::TinyCore, None, Some(&folder)).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "-tvzf"])
        .arg(folder.join("rootfs64.tar.gz"));
    let list = run(&mut tar, "tar is needed");
    let devices = list.lines().filter(|line| line.starts_with(['b', 'c'])).count();
    let tree = tree(&base);
    assert_eq!(tree.devices.len(), devices);
    assert_eq!(tree.stage.len() + devices, list.lines().count());
    let sda1 = Device {
        path: path("dev/sda1"),
        block: true,
        major: 8,
        minor: 1,
        mode: 0o664,
        owner: Owner { uid: 0, gid: 50 },
    };
    assert!(tree.devices.contains(&sda1));
    let sudo = tree.stage.get(&path("usr/bin/sudo")).unwrap();
    assert_eq!(sudo.mode, 0o4111);
    assert_eq!(tree.stage.get(&path("opt")).unwrap().mode, 0o2775);
}

#[test]
fn another_archive_than_the_known_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rootfs64.tar.gz"), "another").unwrap();
    let error = load(BaseKind::TinyCore, None, Some(folder.path())).err().unwrap();
    assert!(
        matches!(error, BaseError::WrongSum { kind: "sha256", .. }),
        "{error}"
    );
}

/// The least that passes for a kernel image.
fn bzimage(release: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    bytes[0x1f1] = 1;
    bytes[0x1fe..0x206].copy_from_slice(b"\x55\xaa\0\0HdrS");
    bytes[0x20f] = 2;
    bytes[0x211] = 1;
    bytes.extend_from_slice(format!("{release} (x@y) #1\0").as_bytes());
    bytes
}

/// A folder with a tree below `modules` that has one real module.
fn module_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("lib/modules/{RELEASE}/kernel/drivers/net/dummy.ko");
    let bytes = content(&mini().kernel.modules, &at).read_all().unwrap();
    let file = folder.path().join("modules").join(at);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
    folder
}

/// Packs a folder as an initrd.
fn initrd(folder: &Path, to: &Path) {
    let status = Command::new("sh")
        .args([
            "-c",
            "find . | LC_ALL=C sort | busybox cpio -o -H newc | gzip >\"$0\"",
        ])
        .arg(to)
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "busybox is needed: apt-get install busybox-static"
    );
}

#[test]
fn a_kernel_is_taken_from_a_folder() {
    let folder = module_folder();
    fs::write(folder.path().join("vmlinuz64"), bzimage(RELEASE)).unwrap();
    let source = KernelSource::Folder(folder.path().to_owned());
    let dep = format!("lib/modules/{RELEASE}/modules.dep");
    let title = format!("mini, a stand-in for Tiny Core, with kernel {RELEASE}");
    let check = || {
        let (base, _scratch) = load(BaseKind::Mini, Some(&source), None).unwrap();
        assert_eq!(base.title, title);
        assert_eq!(base.kernel.image, folder.path().join("vmlinuz64"));
        assert_eq!(text(&base.kernel.modules, &dep), "kernel/drivers/net/dummy.ko:\n");
    };
    check();
    initrd(
        &folder.path().join("modules"),
        &folder.path().join("modules64.gz"),
    );
    fs::remove_dir_all(folder.path().join("modules")).unwrap();
    check();
}

#[test]
fn a_wrong_kernel_is_called_what_it_is() {
    for (image, error, help) in [
        (
            Some(b"\x7fELF\x02\x01\x01".to_vec()),
            "/vmlinuz64` is an ELF file (`vmlinux`), not a bzImage",
            "a boot loader says \"invalid magic number\" of it",
        ),
        (
            Some(bzimage("5.4.3-tinycore64")),
            "the kernel is 5.4.3-tinycore64, but its modules are for 5.10.0-32-amd64",
            "take kernel and modules from the same build",
        ),
        (
            Some(Vec::new()),
            "/vmlinuz64` is too short for a kernel image",
            "name the `vmlinuz64`",
        ),
        (None, "there is no vmlinuz64 in `", "a kernel's folder holds"),
    ] {
        let folder = module_folder();
        if let Some(image) = image {
            fs::write(folder.path().join("vmlinuz64"), image).unwrap();
        }
        let source = KernelSource::Folder(folder.path().to_owned());
        let (said, helped) = failure(BaseKind::Mini, Some(&source), None);
        assert!(said.contains(error), "{said}");
        assert!(helped.starts_with(help), "{helped}");
    }
}

#[test]
fn modules_of_another_kernel_than_their_folder_says_are_refused() {
    let folder = module_folder();
    let modules = folder.path().join("modules/lib/modules");
    fs::rename(modules.join(RELEASE), modules.join("5.4.3-tinycore64")).unwrap();
    fs::write(folder.path().join("vmlinuz64"), bzimage("5.4.3-tinycore64")).unwrap();
    let source = KernelSource::Folder(folder.path().to_owned());
    let (said, _) = failure(BaseKind::Mini, Some(&source), None);
    assert_eq!(
        said,
        "the kernel is 5.4.3-tinycore64, but its modules are for 5.10.0-32-amd64"
    );
}

/// A release that nobody knows: a kernel, and root filesystem and modules in one.
pub(crate) fn release() -> tempfile::TempDir {
    let folder = module_folder();
    let root = folder.path().join("modules");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    initrd(&root, &folder.path().join("corepure64.gz"));
    fs::write(folder.path().join("vmlinuz64"), bzimage(RELEASE)).unwrap();
    folder
}

#[test]
fn a_release_is_taken_from_a_folder_or_an_iso_and_taken_apart() {
    let folder = release();
    let iso = folder.path().join("core.iso");
    let boot = folder.path().join("iso/boot");
    fs::create_dir_all(&boot).unwrap();
    for name in ["vmlinuz64", "corepure64.gz"] {
        fs::copy(folder.path().join(name), boot.join(name)).unwrap();
    }
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-o"]).arg(&iso);
    command.arg(folder.path().join("iso"));
    run(&mut command, "xorriso is needed: apt-get install xorriso");
    for from in [folder.path(), &iso] {
        let (base, _scratch) = load(BaseKind::TinyCore, None, Some(from)).unwrap();
        assert_eq!(
            base.title,
            "Tiny Core, a release that iso/bases.toml does not know"
        );
        assert_eq!(base.kernel.release, RELEASE);
        let stage = &tree(&base).stage;
        assert_eq!(text(stage, "etc/motd"), "hello\n");
        assert!(stage.get(&path(&format!("lib/modules/{RELEASE}"))).is_none());
        let module = format!("lib/modules/{RELEASE}/kernel/drivers/net/dummy.ko");
        assert!(!content(&base.kernel.modules, &module).is_empty());
    }
}

#[test]
fn a_release_is_fetched_and_held_to_its_sums() {
    let folder = module_folder();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    initrd(&root, &folder.path().join("rootfs64.gz"));
    initrd(
        &folder.path().join("modules"),
        &folder.path().join("modules64.gz"),
    );
    fs::write(folder.path().join("vmlinuz64"), bzimage(RELEASE)).unwrap();
    // A stand-in for the mirror, and a project that knows its sums.
    let built_in = Project::built_in();
    let mut bases: toml::Table = built_in.read_text("iso/bases.toml").unwrap().parse().unwrap();
    let files = &mut bases["tinycore"]["release"][0]["files"];
    for name in ["vmlinuz64", "rootfs64.gz", "modules64.gz"] {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        files[name]["md5"] = hex(&md5::Md5::digest(&bytes)).into();
        let sha256 = Sha256::of(&bytes).to_string().into();
        files[name]
            .as_table_mut()
            .unwrap()
            .insert("sha256".to_owned(), sha256);
    }
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("iso")).unwrap();
    let fetch = |bases: &toml::Table| {
        fs::write(project.join("iso/bases.toml"), bases.to_string()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let loader = Loader {
            project: &Project::in_folder(&project),
            fetcher: &fetcher(&folder.path().join("cache"), &[folder.path()]),
            scratch: scratch.path(),
            progress: &Silent,
            tinycore: None,
        };
        loader.load(BaseKind::TinyCore, None)
    };
    let base = fetch(&bases).unwrap();
    assert_eq!(base.title, "Tiny Core 11.0 x86_64");
    assert_eq!(base.kernel.release, RELEASE);
    let module = format!("lib/modules/{RELEASE}/kernel/drivers/net/dummy.ko");
    assert!(!content(&base.kernel.modules, &module).is_empty());
    let [Part::File(fetched)] = base.root.as_slice() else {
        panic!("{:?}", base.root);
    };
    assert_eq!(
        fs::read(fetched).unwrap(),
        fs::read(folder.path().join("rootfs64.gz")).unwrap()
    );
    // What Tiny Core itself publishes has to fit, too.
    bases["tinycore"]["release"][0]["files"]["rootfs64.gz"]["md5"] = "0".repeat(32).into();
    let error = fetch(&bases).unwrap_err();
    assert!(
        matches!(error, BaseError::WrongSum { kind: "md5", .. }),
        "{error}"
    );
}

#[test]
fn what_is_no_iso_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("core.iso");
    fs::write(&file, "no ISO").unwrap();
    let (said, _) = failure(BaseKind::TinyCore, None, Some(&file));
    assert!(
        said.starts_with("xorriso cannot take Tiny Core's files out of"),
        "{said}"
    );
    // A folder that has nothing.
    let empty = tempfile::tempdir().unwrap();
    lay_out(&tcforge::stage::Stage::new(), empty.path());
    let (said, help) = failure(BaseKind::TinyCore, None, Some(empty.path()));
    assert!(said.starts_with("there is no Tiny Core release in"), "{said}");
    assert!(help.starts_with("set TCFORGE_TINYCORE"), "{help}");
}
