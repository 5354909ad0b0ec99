//! Kernel configurations: the official one of Tiny Core 11 held against the
//! lists, and taken through the source of Debian's kernel.

mod build;
#[path = "../shared/official.rs"]
mod official;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value as Json;
use tcforge::digest::Sha256;
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Network, Wanted as WantedFile};
use tcforge::kernel::{Config, Existence, RequirementList, Tree, Wanted};
use tcforge::progress::Silent;
use tcforge::project::Project;

use crate::cli::{stderr, stdout, tcforge};
use crate::tinycore::tiny_core;
use official::OFFICIAL;

/// Bullseye's 5.10 is the nearest to Tiny Core's 5.4 that a Debian mirror has.
/// Not from the security suite: that one drops older versions.
const SOURCE: &str = "debian:bullseye/linux-source-5.10=5.10.223-1";
const SOURCE_SUM: &str = "f733d27d239d65598d96d7a72f71ac50f49f2380192a1b3b4ca2f5ad5144dd63";
const SOURCE_SIZE: u64 = 121_562_870;

/// What Kconfig and `make olddefconfig` read of a tree: 20 MB instead of 1 GB.
const UNPACK: &str = r#"
set -eu
dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/src/linux-source-5.10.tar.xz |
    tar -xJ -C "$2" --strip-components=1 --wildcards \
        'linux-source-5.10/Makefile' '*/Kconfig*' 'linux-source-5.10/scripts' \
        'linux-source-5.10/arch/x86/Makefile*' 'linux-source-5.10/arch/x86/configs'
"#;

/// The source of Linux 5.10, as far as configuring needs it; unpacked once.
fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let cache = Cache::from_environment().unwrap();
        let trees = cache.root().join("kernel-trees");
        let made = trees.join(format!(
            "5.10.223-1-kconfig-{}",
            &Sha256::of(UNPACK.as_bytes()).to_string()[..8]
        ));
        if !made.exists() {
            fs::create_dir_all(&trees).unwrap();
            let folder = tempfile::tempdir_in(&trees).unwrap();
            unpack(&fetch(cache), folder.path());
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            // Another process may have been quicker.
            if fs::rename(folder.path(), &made).is_ok() {
                let _ = folder.keep();
            }
        }
        made
    })
}

fn fetch(cache: Cache) -> PathBuf {
    let fetcher = Fetcher::new(FetchOptions {
        cache,
        network: Network::read(&Project::built_in()).unwrap(),
        mirrors: Vec::new(),
        offline: false,
    });
    let wanted = WantedFile {
        name: "linux-source-5.10".to_owned(),
        origin: SOURCE.parse().unwrap(),
        size: Some(SOURCE_SIZE),
        sha256: SOURCE_SUM.parse().unwrap(),
    };
    fetcher.fetch(&wanted, &Silent).unwrap().path
}

fn unpack(package: &Path, folder: &Path) {
    let mut command = Command::new("bash");
    command
        .args(["-o", "pipefail", "-c", UNPACK, "unpack"])
        .arg(package)
        .arg(folder);
    let output = command.output().expect("bash, dpkg-deb, tar and xz are needed");
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Tiny Core's own configuration, where it is at hand; else the kernel's own
/// for this architecture, which lacks other things.
struct Subject {
    file: PathBuf,
    official: bool,
    _folder: tempfile::TempDir,
}

fn subject() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let official = tiny_core().map(|files| fs::read(files.join("config-5.4.3-tinycore64")).unwrap());
    match &official {
        Some(bytes) => fs::write(&file, bytes).unwrap(),
        None => fs::write(&file, default_config()).unwrap(),
    }
    Subject {
        file,
        official: official.is_some(),
        _folder: folder,
    }
}

fn default_config() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let tree = Tree::open(tree()).unwrap();
        tree.configurator().unwrap().default_config().unwrap().to_string()
    })
}

impl Subject {
    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// What is expected of the one or the other.
    fn expected<T>(&self, official: T, defconfig: T) -> T {
        if self.official { official } else { defconfig }
    }
}

fn json(output: &Output) -> Json {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn with_status<'a>(report: &'a Json, status: &str) -> BTreeSet<&'a str> {
    let options = report["options"].as_array().unwrap().iter();
    options
        .filter(|one| one["status"] == status)
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

/// The same of the kernel's own configuration, `make defconfig` of 5.10.
const DEFCONFIG: [(&str, &[&str]); 4] = [
    (
        "ext3-xattr",
        &["EXT3_FS", "EXT3_FS_POSIX_ACL", "EXT3_FS_SECURITY"],
    ),
    (
        "containers",
        &[
            "USER_NS",
            "CFS_BANDWIDTH",
            "CGROUP_DEVICE",
            "CGROUP_PIDS",
            "MEMCG",
            "MEMCG_SWAP",
            "BLK_CGROUP",
            "BLK_DEV_THROTTLING",
            "BPF_SYSCALL",
            "CGROUP_BPF",
            "OVERLAY_FS",
            "VETH",
            "BRIDGE",
            "BRIDGE_NETFILTER",
            "NETFILTER_ADVANCED",
            "IP_NF_RAW",
            "IP_NF_TARGET_REDIRECT",
            "NETFILTER_XT_TARGET_REDIRECT",
            "NETFILTER_XT_MATCH_COMMENT",
            "NETFILTER_XT_MATCH_MULTIPORT",
            "IP6_NF_NAT",
            "IP6_NF_RAW",
            "IP6_NF_TARGET_MASQUERADE",
            "IP_VS",
            "NETFILTER_XT_MATCH_IPVS",
        ],
    ),
    (
        "vps",
        &[
            "HYPERVISOR_GUEST",
            "PARAVIRT",
            "HOTPLUG_PCI_ACPI",
            "SCSI_LOWLEVEL",
            "KVM_GUEST",
            "VIRTIO",
            "VIRTIO_PCI",
            "VIRTIO_PCI_LEGACY",
            "VIRTIO_BLK",
            "SCSI_VIRTIO",
            "VIRTIO_NET",
            "VIRTIO_CONSOLE",
            "VIRTIO_BALLOON",
            "HW_RANDOM_VIRTIO",
            "BLK_DEV_NVME",
            "ENA_ETHERNET",
            "GVE",
            "HYPERV",
            "SCSI_FC_ATTRS",
            "HYPERV_STORAGE",
            "HYPERV_NET",
            "HYPERV_UTILS",
            "HYPERV_KEYBOARD",
            "XEN",
            "XEN_PVHVM",
            "XEN_BLKDEV_FRONTEND",
            "XEN_NETDEV_FRONTEND",
            "HVC_XEN",
            "VMWARE_PVSCSI",
            "FUSION",
            "FUSION_SPI",
            "VMXNET3",
        ],
    ),
    (
        "tinycore",
        &[
            "SQUASHFS",
            "SQUASHFS_ZLIB",
            "SQUASHFS_XZ",
            "SQUASHFS_ZSTD",
            "SQUASHFS_LZ4",
            "SQUASHFS_LZO",
            "LOCALVERSION",
            "ZSMALLOC",
            "ZRAM",
        ],
    ),
];

#[test]
fn the_official_configuration_lacks_exactly_this() {
    let subject = subject();
    for (set, missing) in subject.expected(OFFICIAL, DEFCONFIG) {
        let output = tcforge(
            Path::new("."),
            &["kernel", "check", subject.path(), "--set", set, "--json"],
        );
        let report = json(&output);
        assert_eq!(
            with_status(&report, "missing"),
            BTreeSet::from_iter(missing.iter().copied()),
            "{set}"
        );
        assert_eq!(
            output.status.code(),
            Some(i32::from(!missing.is_empty())),
            "{set}"
        );
        assert_eq!(report["kernel"], subject.expected("5.4", "5.10"));
    }
}

#[test]
fn the_founding_texts_options_are_told_with_what_became_of_them() {
    let subject = subject();
    let args = ["kernel", "check", subject.path(), "--set", "ext3-xattr", "--json"];
    let report = json(&tcforge(Path::new("."), &args));
    assert_eq!(
        with_status(&report, "absent"),
        BTreeSet::from(["EXT3_FS_XATTR", "EXT4_FS_XATTR"])
    );
    let one = report["options"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "EXT3_FS_XATTR");
    assert_eq!(
        one.unwrap()["note"],
        "absent since 4.3, covered by EXT4_FS, EXT4_FS_SECURITY"
    );

    // Before, it was there; after 6.18 nothing of ext3 is.
    let check = |version| {
        let args = [&args[..], &["--kernel-version", version]].concat();
        json(&tcforge(Path::new("."), &args))
    };
    assert!(with_status(&check("4.2"), "missing").contains("EXT3_FS_XATTR"));
    let ext3 = BTreeSet::from(["EXT3_FS", "EXT3_FS_POSIX_ACL", "EXT3_FS_SECURITY"]);
    assert!(with_status(&check("6.17"), "absent").is_disjoint(&ext3));
    assert!(with_status(&check("6.18"), "absent").is_superset(&ext3));
}

#[test]
fn the_table_says_have_want_and_why() {
    let subject = subject();
    let args = [
        "kernel",
        "check",
        subject.path(),
        "--set",
        "containers",
        "--color",
        "never",
    ];
    let output = tcforge(Path::new("."), &args);
    let (text, said) = (stdout(&output), stderr(&output));
    let row = text
        .lines()
        .find(|line| line.trim_start().starts_with("OVERLAY_FS "))
        .unwrap();
    let words: Vec<_> = row.split_whitespace().take(7).collect();
    assert_eq!(
        words,
        ["OVERLAY_FS", "n", "y", "or", "m", "missing", "containerd,"]
    );
    let lacks = format!(
        "lacks {} options\n",
        subject.expected(OFFICIAL, DEFCONFIG)[1].1.len()
    );
    assert!(said.ends_with(&lacks), "{said}");
}

#[test]
fn the_official_configuration_survives_a_newer_kernel() {
    let subject = subject();
    let folder = tempfile::tempdir().unwrap();
    let tree = tree().to_str().unwrap();
    let args = [
        "kernel",
        "config",
        subject.path(),
        "--tree",
        tree,
        "--out",
        "new",
        "--json",
    ];
    let output = tcforge(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let result = json(&output);
    assert_eq!(result["verified"], "5.10.223");

    // All that is needed is there, or the kernel does not have it.
    let lists = RequirementList::load(&Project::built_in(), &[]).unwrap();
    let version = "5.10".parse().unwrap();
    let made = Config::open(&folder.path().join("new")).unwrap();
    let absent: BTreeMap<_, _> = result["absent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["note"].as_str().unwrap()))
        .collect();
    let wanted = Wanted::merge(&lists).unwrap();
    let needed: Vec<_> = wanted.iter().filter(|one| !one.optional()).collect();
    for one in &needed {
        if one.existence(version) == Existence::There {
            assert!(one.is_met(&made), "{}", one.name());
            continue;
        }
        // What replaced it is told, and is there.
        let note = absent.get(one.name()).copied().unwrap_or_default();
        let covered = format!(", covered by {}", one.replaced_by().join(", "));
        let covered = match one.replaced_by() {
            [] => ", and not needed",
            _ => &covered,
        };
        assert!(note.ends_with(covered), "{}: {note}", one.name());
        for name in one.replaced_by() {
            let replacement = needed.iter().find(|other| other.name() == name);
            assert!(replacement.is_some_and(|other| other.is_met(&made)), "{name}");
        }
    }

    // What is not told of is as it was, in its order, comments included.
    let changed = result["changes"].as_array().unwrap();
    let names: BTreeSet<_> = changed
        .iter()
        .map(|change| change["name"].as_str().unwrap())
        .collect();
    let others = |text: &str| -> Vec<String> {
        let of_changed = |line: &str| {
            let option = line.trim_start_matches("# ").strip_prefix("CONFIG_");
            option.is_some_and(|rest| names.contains(rest.split(['=', ' ']).next().unwrap()))
        };
        text.lines()
            .filter(|line| !of_changed(line))
            .map(str::to_owned)
            .collect()
    };
    let before = fs::read_to_string(&subject.file).unwrap();
    let after = fs::read_to_string(folder.path().join("new")).unwrap();
    assert_eq!(others(&after), others(&before));
    for private in [tree, folder.path().to_str().unwrap(), ".tcforge-"] {
        assert!(!after.contains(private), "{private}");
    }

    // Nothing is left to do the second time.
    let output = tcforge(
        folder.path(),
        &["kernel", "config", "new", "--tree", tree, "--json"],
    );
    assert_eq!(
        json(&output)["changes"],
        Json::Array(Vec::new()),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_lists_know_when_options_came_and_went() {
    let tree = Tree::open(tree()).unwrap();
    let kconfig = tree.kconfig();
    assert!(kconfig.len() > 14_000, "{}", kconfig.len());
    for list in RequirementList::load(&Project::built_in(), &[]).unwrap() {
        for option in &list.options {
            let there = option.existence(tree.version()) == Existence::There;
            assert_eq!(kconfig.has(&option.name), there, "{}: {}", list.name, option.name);
        }
    }
}

/// A project whose only list wants options of a tree.
fn project(folder: &Path, options: &[(&str, &str)]) {
    fs::write(
        folder.join("tcforge.lock"),
        Project::built_in().read("tcforge.lock").unwrap(),
    )
    .unwrap();
    fs::create_dir_all(folder.join("kernel")).unwrap();
    let option = |(name, want): &(&str, &str)| {
        format!("[[option]]\nname = '{name}'\nwant = '{want}'\nfor = ['a test']\nreason = 'why not'\n")
    };
    let text: String = options.iter().map(option).collect();
    fs::write(folder.join("kernel/mine.toml"), format!("title = 't'\n{text}")).unwrap();
}

#[test]
fn what_does_not_survive_is_told_with_what_it_depends_on() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = [
        ("HYPERV_STORAGE", "y"),
        ("FS_POSIX_ACL", "y"),
        ("KERNEL_XZ", "y"),
        ("KERNEL_ZSTD", "y"),
        ("OVERLAYFS", "y"),
        ("TMPFS_XATTR", "y"),
    ];
    project(folder.path(), &wanted);
    fs::write(
        folder.path().join("config"),
        "CONFIG_64BIT=y\nCONFIG_NET=y\nCONFIG_INET=y\nCONFIG_NETFILTER=y\nCONFIG_BRIDGE=m\n# CONFIG_SHMEM is not set\n",
    )
    .unwrap();
    let tree = tree().to_str().unwrap();
    let args = [
        "kernel", "config", "config", "--set", "mine", "--tree", tree, "--out", "new", "-q",
    ];
    let output = tcforge(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "error: 5 wanted options did not survive `make olddefconfig`:\n  \
         CONFIG_HYPERV_STORAGE: wanted y, is not there; it depends on `SCSI_LOWLEVEL && SCSI && HYPERV` \
         (drivers/scsi/Kconfig:571), and SCSI_LOWLEVEL is n, SCSI is n, HYPERV is n\n  \
         CONFIG_FS_POSIX_ACL: wanted y, is not there; it cannot be chosen, only follows from others \
         (fs/Kconfig:84), such as EXT2_FS_POSIX_ACL, EXT3_FS_POSIX_ACL, EXT4_FS_POSIX_ACL\n  \
         CONFIG_KERNEL_XZ: wanted y, is n; only one of a choice can be on (init/Kconfig:267), and that is \
         KERNEL_ZSTD\n  \
         CONFIG_OVERLAYFS: wanted y, is not there; this kernel has no such option; did you mean OVERLAY_FS?\n  \
         CONFIG_TMPFS_XATTR: wanted y, is not there; it depends on `TMPFS` (fs/Kconfig:189), and TMPFS is n\n\
         hint: turn on what they depend on as well, in a requirement list or in the configuration\n"
    );
    assert!(!folder.path().join("new").exists());
}

#[test]
fn a_configuration_for_the_trees_own_version_is_held_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let header = "# Linux/x86 5.10.1 Kernel Configuration\n";
    let text = "CONFIG_OVERLAYFS_FS=y\nCONFIG_NET=m\nCONFIG_NR_CPUS=y\nCONFIG_LOCALVERSION=1\nCONFIG_XYZZY_QWERTY=y\n";
    fs::write(folder.path().join("config"), format!("{header}{text}")).unwrap();
    let tree = tree().to_str().unwrap();
    let output = tcforge(
        folder.path(),
        &["kernel", "config", "config", "--tree", tree, "-q"],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for wanted in [
        "`config` has 5 mistakes",
        "[config:2:1]",
        "this kernel has no `CONFIG_OVERLAYFS_FS`",
        "did you mean `CONFIG_OVERLAY_FS`?",
        "`CONFIG_NET` is on or off, and cannot be `m`",
        "`CONFIG_NR_CPUS` is a number, and cannot be `y`",
        "`CONFIG_LOCALVERSION` is a text, and cannot be `1`",
        "no option of this kernel is called alike: remove the line",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn mistakes_are_shown_in_their_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, wanted) in [
        (
            "CONFIG_A=y\nCONFIG_B=yes\n",
            &[
                "config:2: `CONFIG_B` cannot be `yes`",
                "CONFIG_B=yes",
                "not a value",
                "[config:2:10]",
            ][..],
        ),
        (
            "CONFIG_A=y\nCONFIG_A=y\n",
            &[
                "config:2: `CONFIG_A` is set twice, first in line 1",
                "the second one",
            ],
        ),
        (
            "CONFIG_A=y\r\n",
            &["config:1: the line ends with CR LF", "sed -i"],
        ),
        (
            "menuconfig\n",
            &[
                "config:1: this is no configuration line",
                "write `CONFIG_NAME=value`",
            ],
        ),
        (
            "CONFIG_A=y\n",
            &[
                "error: `config` does not say which kernel it is for",
                "--kernel-version 5.4",
            ],
        ),
    ] {
        fs::write(folder.path().join("config"), text).unwrap();
        for command in ["check", "config"] {
            let output = tcforge(folder.path(), &["kernel", command, "config"]);
            assert_eq!(
                (output.status.code(), stdout(&output)),
                (Some(1), String::new()),
                "{text}"
            );
            for part in wanted {
                assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
            }
        }
    }
}

#[test]
fn without_a_tree_it_says_that_nothing_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &[("A", "y"), ("B", "y-or-m"), ("S", "\"x\"")]);
    let config = "# Linux/x86 5.4.3 Kernel Configuration\n# CONFIG_A is not set\n\nCONFIG_B=m\n";
    fs::write(folder.path().join("config"), config).unwrap();
    let output = tcforge(
        folder.path(),
        &["kernel", "config", "config", "--set", "mine", "--out", "new"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "# a test: why not\n- # CONFIG_A is not set\n+ CONFIG_A=y\n# a test: why not\n+ CONFIG_S=\"x\"\n"
    );
    assert!(
        stderr(&output).contains("warning: not verified"),
        "{}",
        stderr(&output)
    );
    let new = fs::read_to_string(folder.path().join("new")).unwrap();
    assert_eq!(
        new,
        config.replace("# CONFIG_A is not set", "CONFIG_A=y") + "CONFIG_S=\"x\"\n"
    );
}

#[test]
fn what_is_missing_or_wrong_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config"),
        "# Linux/x86 5.10.1 Kernel Configuration\n",
    )
    .unwrap();
    for (args, wanted) in [
        (
            &["kernel", "check", "config", "--set", "container"][..],
            "error: there is no requirement list `container`\nhint: did you mean `containers`?\n",
        ),
        (
            &["kernel", "check", "config", "--set", "nothing-like-it"],
            "error: there is no requirement list `nothing-like-it`\n\
             hint: there are: containers, ext3-xattr, tinycore, vps\n",
        ),
        (
            &["kernel", "check", "config", "--kernel-version", "five"],
            "error: `five` is not a kernel version\nhint: write it as `uname -r` does: `5.4` or `5.4.3-tinycore64`\n",
        ),
        (
            &["kernel", "check", "nowhere"],
            "error: cannot read `nowhere`\n  because: No such file or directory (os error 2)\n\
             hint: check the path, what you may do there, and that the disk is not full\n",
        ),
        (
            &["kernel", "config", "config", "--tree", "."],
            "error: `.` is not a kernel source tree: it has no `Makefile`\n\
             hint: name the folder that the kernel's archive unpacks to\n",
        ),
    ] {
        let output = tcforge(folder.path(), args);
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(1), wanted.to_owned()),
            "{args:?}"
        );
    }

    let output = assert_cmd::Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(folder.path())
        .env("PATH", folder.path())
        .args(["kernel", "config", "config", "--tree"])
        .arg(tree())
        .output()
        .unwrap();
    assert_eq!(
        stderr(&output),
        "error: missing: make, gcc, flex, bison\n\
         hint: the kernel's configuration tools are compiled first; on Debian: \
         sudo apt-get install make gcc flex bison\n"
    );
}

#[test]
fn a_tree_that_something_was_built_in_is_refused_and_none_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tree");
    let output = Command::new("cp")
        .arg("-a")
        .arg(tree())
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success());
    fs::write(
        folder.path().join("config"),
        "# Linux/x86 5.10.1 Kernel Configuration\nCONFIG_64BIT=y\n",
    )
    .unwrap();
    project(folder.path(), &[("OVERLAY_FS", "y")]);
    let files = || {
        let output = Command::new("find").arg(&copy).output().unwrap();
        BTreeSet::from_iter(stdout(&output).lines().map(str::to_owned))
    };
    let before = files();
    let args = ["kernel", "config", "config", "--set", "mine", "--tree", "tree"];
    // Whatever the caller's environment says of kernels.
    let output = assert_cmd::Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(folder.path())
        .args(args)
        .env("KCONFIG_ALLCONFIG", "nowhere")
        .env("MAKEFLAGS", "--no-such-flag")
        .env("CROSS_COMPILE", "nowhere-")
        .env("LLVM", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("+ CONFIG_OVERLAY_FS=y"),
        "{}",
        stdout(&output)
    );
    assert_eq!(files(), before);

    fs::write(copy.join(".config"), "").unwrap();
    let output = tcforge(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mrproper"), "{}", stderr(&output));
}

/// The configuration whose two kernels are compared in the booted machine.
#[test]
fn the_small_machine_lacks_exactly_what_is_to_be_shown() {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/kernel/small.config");
    let tree = Tree::open(tree()).unwrap();
    let config = Config::open(&small).unwrap();
    config.check_against(&tree.kconfig()).unwrap();
    let whole = tree.configurator().unwrap().complete(&config).unwrap();
    // Nothing of it gets lost.
    for (name, value) in config.options() {
        assert_eq!(whole.get(name), Some(value), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    fs::write(&file, whole.to_string()).unwrap();
    let lacking: [(&str, &[&str]); 3] = [
        (
            "ext3-xattr",
            &[
                "EXT3_FS",
                "EXT3_FS_POSIX_ACL",
                "EXT3_FS_SECURITY",
                "EXT4_FS_POSIX_ACL",
                "EXT4_FS_SECURITY",
                "FS_POSIX_ACL",
                "TMPFS_POSIX_ACL",
            ],
        ),
        ("containers", OFFICIAL[1].1),
        ("tinycore", &[]),
    ];
    for (set, missing) in lacking {
        let args = ["kernel", "check", "config", "--set", set, "--json"];
        let report = json(&tcforge(folder.path(), &args));
        let missing = BTreeSet::from_iter(missing.iter().copied());
        assert_eq!(with_status(&report, "missing"), missing, "{set}");
    }
}
