//! Building kernels, of a tree that stands for a kernel's. Real ones are built and
//! booted in tests/vm/kernel.rs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use md5::Digest as _;
use rustix::process::{Pid, Signal, kill_process};
use tcforge::digest::{Sha256, hex};
use tcforge::image::description::Description;
use tcforge::kernel::build::Record;
use tempfile::TempDir;

use crate::cli::{stderr, stdout, tcforge};
use crate::mirror::Mirror;

const CONFIG: &str = "CONFIG_LOCALVERSION=\"-test\"\nCONFIG_MODULES=y\n";
const RELEASE: &str = "5.10.99-test";

/// A folder with a tree and its configuration.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kernel/tree"),
            &folder.path().join("tree"),
        );
        let bench = Self { folder };
        bench.configure(config);
        bench
    }

    fn configure(&self, more: &str) {
        fs::write(self.path("config"), format!("{CONFIG}{more}")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, more: &[&str]) -> Output {
        let args = [
            "kernel", "build", "--source", "tree", "--config", "config", "--as-is", "--out", "out", "--work",
            "work",
        ];
        tcforge(self.folder.path(), &[&args, more].concat())
    }

    /// A build that has to succeed; what it made.
    fn build(&self) -> Record {
        let output = self.run(&[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Record::read(&self.path("out")).unwrap().unwrap()
    }

    /// A build that has to fail; what it said.
    fn fail(&self, more: &[&str]) -> String {
        let output = self.run(more);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
        stderr(&output)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    /// The folder with the objects.
    fn objects(&self) -> PathBuf {
        let names = self.names("work");
        let name = names.iter().find(|name| name.starts_with("build-")).unwrap();
        self.path("work").join(name)
    }

    /// What was compiled since the log was emptied.
    fn compiled(&self) -> Vec<String> {
        let log = fs::read_to_string(self.objects().join("make.log")).unwrap();
        let mut names: Vec<_> = log
            .lines()
            .filter_map(|line| line.strip_prefix("  CC      "))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    fn empty_log(&self) {
        fs::write(self.objects().join("make.log"), "").unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        match path.is_dir() {
            true => copy(&path, &to),
            false => fs::write(to, fs::read(path).unwrap()).unwrap(),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().file_name()));
    let names = entries
        .into_iter()
        .flatten()
        .map(|name| name.into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Every file of a folder with its sum.
fn sums(folder: &Path) -> Vec<(String, Sha256)> {
    let sum = |name: String| {
        let sum = Sha256::of(&fs::read(folder.join(&name)).unwrap());
        (name, sum)
    };
    names(folder).into_iter().map(sum).collect()
}

#[test]
fn a_kernel_is_built_into_the_folder_that_an_image_takes() {
    let bench = Bench::new("");
    let record = bench.build();
    assert_eq!(record.release, RELEASE);
    let images: Vec<_> = record
        .files()
        .map(|file| file.name.replace(RELEASE, "R"))
        .collect();
    assert_eq!(
        images,
        [
            "vmlinuz64",
            "modules64.gz",
            "config-R",
            "ipv6-netfilter-R.tcz",
            "net-bridging-R.tcz",
            "overlay-R.tcz"
        ]
    );
    let needs = |index: usize| {
        (
            record.extensions[index].dependencies.clone(),
            record.extensions[index].load,
        )
    };
    assert_eq!(needs(0), (vec![], false));
    assert_eq!(needs(1), (vec!["ipv6-netfilter-KERNEL.tcz".to_owned()], false));
    assert_eq!(needs(2), (vec![], true));
    let places: Vec<_> = record
        .modules
        .iter()
        .map(|module| (module.name.as_str(), module.file.replace(RELEASE, "R")))
        .collect();
    assert_eq!(
        places,
        [
            ("loop", "modules64.gz".to_owned()),
            ("overlay", "overlay-R.tcz".to_owned()),
            ("bridge", "net-bridging-R.tcz".to_owned()),
            ("llc", "net-bridging-R.tcz".to_owned()),
            ("nf_conntrack", "ipv6-netfilter-R.tcz".to_owned()),
        ]
    );
    // Every extension with its side files, and the dependency as tce-load reads it.
    let dep = bench.path(&format!("out/net-bridging-{RELEASE}.tcz.dep"));
    assert_eq!(fs::read_to_string(dep).unwrap(), "ipv6-netfilter-KERNEL.tcz\n");
    let side = bench.names("out");
    for suffix in ["info", "list", "md5.txt", "tree", "zsync"] {
        assert!(
            side.contains(&format!("overlay-{RELEASE}.tcz.{suffix}")),
            "{side:?}"
        );
    }
    let list = bench.path(&format!("out/overlay-{RELEASE}.tcz.list"));
    assert_eq!(
        fs::read_to_string(list).unwrap().replace(RELEASE, "R"),
        "/usr/local/lib/modules/R/kernel/fs/overlayfs/overlay.ko.gz\n/usr/local/share/doc/overlay-R/COPYING\n"
    );
    // What the box boots with, and nothing else.
    let held = Command::new("sh")
        .args(["-c", "gzip -dc \"$0\" | busybox cpio -t 2>/dev/null"])
        .arg(bench.path("out/modules64.gz"))
        .output()
        .unwrap();
    let held = stdout(&held).replace(RELEASE, "R");
    assert!(
        held.contains("lib/modules/R/kernel/drivers/block/loop.ko.gz\n"),
        "{held}"
    );
    assert!(
        held.contains("lib/modules/R/modules.dep\n") && !held.contains("overlay"),
        "{held}"
    );
}

#[test]
fn two_builds_in_different_places_are_the_same_bytes() {
    let (one, other) = (Bench::new(""), Bench::new(""));
    one.build();
    // Another folder of another name, another number of jobs.
    fs::rename(other.path("tree"), other.path("somewhere-else")).unwrap();
    let args = [
        "kernel",
        "build",
        "--source",
        "somewhere-else",
        "--config",
        "config",
        "--as-is",
        "--out",
        "out",
        "--work",
        "w/deeper",
        "--jobs",
        "1",
    ];
    let output = tcforge(other.folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (one, other) = (sums(&one.path("out")), sums(&other.path("out")));
    assert_eq!(one, other);
    assert!(one.len() > 15, "{}", one.len());
}

#[test]
fn a_second_run_compiles_only_what_changed() {
    let bench = Bench::new("");
    let first = bench.build();
    assert_eq!(bench.compiled().len(), 9);
    bench.empty_log();
    assert_eq!(bench.build(), first);
    assert_eq!(bench.compiled(), [""; 0]);
    let file = bench.path("tree/fs/one.c");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "int more;\n").unwrap();
    let second = bench.build();
    assert_eq!(bench.compiled(), ["fs/one.o"]);
    assert_ne!(first.image, second.image);
    assert_eq!(first.extensions, second.extensions);
}

#[test]
fn what_an_earlier_build_left_and_this_one_has_not_goes() {
    let bench = Bench::new("");
    bench.build();
    fs::write(bench.path("out/mine"), "not the kernel's").unwrap();
    let args = ["--localversion", "-other"];
    let output = bench.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let left: Vec<_> = bench
        .names("out")
        .into_iter()
        .filter(|name| name.contains(RELEASE))
        .collect();
    assert_eq!(left, [""; 0]);
    assert!(bench.path("out/mine").exists());
    assert!(bench.path("out/overlay-5.10.99-other.tcz").exists());
}

#[test]
fn a_compile_error_is_shown_in_the_compilers_own_lines() {
    let bench = Bench::new("CONFIG_BROKEN=y\n");
    let said = bench.fail(&[]);
    assert!(
        said.contains("error: `make` failed at the kernel\n`fs/broken.o`:\n"),
        "{said}"
    );
    assert!(
        said.contains("  fs/broken.c:6:16: error: 'undeclared_thing' undeclared")
            || said.contains("  fs/broken.c:6:16: error: ‘undeclared_thing’ undeclared"),
        "{said}"
    );
    assert!(!said.contains("make[") && !said.contains("note: each"), "{said}");
    assert_eq!(bench.names("out"), [""; 0]);
    // What was compiled is not lost.
    let done = bench.compiled();
    let file = bench.path("tree/fs/broken.c");
    fs::write(&file, "int broken(void) { return 0; }\n").unwrap();
    bench.empty_log();
    bench.build();
    let now = bench.compiled();
    assert!(now.contains(&"fs/broken.o".to_owned()), "{now:?}");
    let twice: Vec<_> = done.iter().filter(|name| now.contains(name)).collect();
    assert!(twice.iter().all(|name| *name == "fs/broken.o"), "{twice:?}");
}

#[test]
fn what_is_missing_is_named_with_its_package_before_the_build_starts() {
    let bench = Bench::new("");
    // A machine that has everything but bc and flex.
    fs::create_dir(bench.path("bin")).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for folder in std::env::split_paths(&path) {
        for name in names(&folder) {
            if name != "bc" && name != "flex" {
                let _ = symlink(folder.join(&name), bench.path("bin").join(&name));
            }
        }
    }
    let output = assert_cmd::Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(bench.folder.path())
        .env("PATH", bench.path("bin"))
        .args([
            "kernel", "build", "--source", "tree", "--config", "config", "--as-is", "--work", "work",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(
            "missing for building this kernel: flex (the configuration tools), bc (include/generated/timeconst.h)\n\
             hint: on Debian: sudo apt-get install flex bc"
        ),
        "{said}"
    );
    // What a configuration needs, and the compiler does not find.
    let project = bench.path("project");
    fs::create_dir_all(project.join("kernel/build")).unwrap();
    fs::write(
        project.join("kernel/build/tools.toml"),
        "[[tool]]\nheader = 'no-libelf.h'\npackage = 'libelf-dev'\noptions = ['STACK_VALIDATION']\nfor = 'objtool'\n",
    )
    .unwrap();
    bench.build();
    bench.configure("CONFIG_STACK_VALIDATION=y\n");
    let said = bench.fail(&["--project", "project"]);
    assert!(
        said.contains("no-libelf.h (objtool)\nhint: on Debian: sudo apt-get install libelf-dev"),
        "{said}"
    );
}

fn start(bench: &Bench) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin("tcforge"))
        .current_dir(bench.folder.path())
        .args([
            "kernel", "build", "--source", "tree", "--config", "config", "--as-is",
        ])
        .args(["--out", "out", "--work", "work"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The processes that work in a folder.
fn processes_in(folder: &Path) -> usize {
    let here =
        |entry: &fs::DirEntry| fs::read_link(entry.path().join("cwd")).is_ok_and(|at| at.starts_with(folder));
    fs::read_dir("/proc").unwrap().flatten().filter(here).count()
}

#[test]
fn an_interrupted_build_leaves_no_process_and_goes_on_later() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let bench = Bench::new("CONFIG_WAITING=y\n");
        let mut child = start(&bench);
        let waiting = || {
            bench.path("work").is_dir()
                && bench
                    .names("work")
                    .iter()
                    .any(|name| bench.path("work").join(name).join("waiting").exists())
        };
        while !waiting() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before it was at it"
            );
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal:?}");
        assert!(
            stderr(&output).ends_with("error: interrupted\n"),
            "{}",
            stderr(&output)
        );
        assert_eq!(processes_in(bench.folder.path()), 0, "{signal:?}");
        assert_eq!(bench.names("out"), [""; 0], "{signal:?}");

        // What was under way then is told too, but was removed.
        let objects = bench.objects();
        let whole = |name: &String| objects.join(name).exists();
        let done: Vec<_> = bench.compiled().into_iter().filter(whole).collect();
        assert!(!done.is_empty());
        fs::write(objects.join("go"), "").unwrap();
        bench.empty_log();
        bench.build();
        let now = bench.compiled();
        assert!(now.contains(&"fs/waiting.o".to_owned()), "{now:?}");
        assert!(done.iter().all(|name| !now.contains(name)), "{done:?} {now:?}");
    }
}

#[test]
fn one_build_at_a_time_has_a_work_folder() {
    let bench = Bench::new("CONFIG_WAITING=y\n");
    fs::create_dir_all(bench.path("work")).unwrap();
    let lock = fs::File::create(bench.path("work/lock")).unwrap();
    lock.lock().unwrap();
    let said = bench.fail(&[]);
    assert!(said.contains("another build is under way in"), "{said}");
}

#[test]
fn what_cannot_be_built_is_told() {
    let bench = Bench::new("");
    let build = |args: &[&str]| {
        let output = tcforge(bench.folder.path(), &[&["kernel", "build"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    };
    for (args, wanted) in [
        (
            &["--source", "linux-99"][..],
            "error: there is no source `linux-99`: neither a folder nor one of `debian:linux-source-5.10`, `official`\n",
        ),
        (
            &["--source", "tree", "--work", "work"],
            "error: this source has no configuration of its own\nhint: name one with `--config FILE`",
        ),
        (
            &["--source", "tree", "--config", "config", "--work", "a b"],
            "its Makefile takes no path with a blank or a colon",
        ),
        (
            &[
                "--source",
                "tree",
                "--config",
                "config",
                "--work",
                "work",
                "--localversion",
                "-a/b",
            ],
            "error: `-a/b` cannot end a kernel's version\n",
        ),
        (
            &["--offline", "--work", "work"],
            "linux-5.4.3-patched.txz` is not in the lock\nhint: nobody has published it",
        ),
        (
            &["--source", "tree/fs", "--config", "config", "--work", "work"],
            "is not a kernel source tree",
        ),
    ] {
        let said = build(args);
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}

#[test]
fn a_source_is_recorded_checked_and_unpacked_once() {
    let bench = Bench::new("");
    let at = |name: &str| bench.path(name).display().to_string();
    let tar = Command::new("tar")
        .args(["-cJf", &at("mine.tar.xz"), "-C", &at(""), "tree"])
        .status()
        .unwrap();
    assert!(tar.success());
    let list = |md5: &str| {
        fs::create_dir_all(bench.path("project/kernel/build")).unwrap();
        let text = format!(
            "[mine]\ntitle = 'Mine'\norigin = 'file:{}'\n[mine.config]\norigin = 'file:{}'\nmd5 = '{md5}'\n",
            at("mine.tar.xz"),
            at("config")
        );
        fs::write(bench.path("project/kernel/build/sources.toml"), text).unwrap();
    };
    let run = |more: &[&str]| {
        let args = [
            "kernel",
            "build",
            "--project",
            "project",
            "--source",
            "mine",
            "--as-is",
            "--out",
            "out",
            "--work",
            "work",
            "--cache",
            "cache",
        ];
        tcforge(bench.folder.path(), &[&args, more].concat())
    };
    list("00000000000000000000000000000000");
    let said = stderr(&run(&[]));
    assert!(said.contains("mine.tar.xz` is not in the lock"), "{said}");
    let said = stderr(&run(&["--record"]));
    assert!(
        said.contains("config` is not what was published: its md5 sum is "),
        "{said}"
    );
    // The archive's sum is recorded by now; the configuration has only its md5.
    let md5 = said
        .split("its md5 sum is ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    list(md5);
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let sum = Sha256::of(&fs::read(bench.path("mine.tar.xz")).unwrap()).to_string();
    let lock = fs::read_to_string(bench.path("project/tcforge.lock")).unwrap();
    assert!(lock.contains(&sum), "{lock}");
    let record = Record::read(&bench.path("out")).unwrap().unwrap();
    assert_eq!(
        (record.source.as_str(), record.source_sha256),
        ("Mine", Some(sum))
    );
    // A second run takes what is there.
    bench.empty_log();
    assert_eq!(run(&[]).status.code(), Some(0));
    assert_eq!(bench.compiled(), [""; 0]);
    let sources = bench
        .names("work")
        .into_iter()
        .filter(|name| name.starts_with("source-"));
    assert_eq!(sources.count(), 1);
}

#[test]
fn a_vmlinux_in_the_place_of_the_image_is_refused() {
    let bench = Bench::new("CONFIG_WRONG_IMAGE=y\n");
    let said = bench.fail(&[]);
    assert!(
        said.contains("arch/x86/boot/bzImage` is an ELF file (`vmlinux`), not a bzImage")
            && said.contains("a boot loader says \"invalid magic number\" of it"),
        "{said}"
    );
    assert_eq!(bench.names("out"), [""; 0]);
}

#[test]
fn an_image_refuses_a_kernel_that_is_not_whole() {
    let bench = Bench::new("");
    bench.build();
    // The same release from another configuration: only the sums tell.
    let changes: [(&str, &str); 3] = [
        (
            "vmlinuz64",
            "vmlinuz64` in `out` is not what was built with the rest: it has the sum",
        ),
        (
            "modules64.gz",
            "modules64.gz` in `out` is not what was built with the rest: it has the sum",
        ),
        (
            "overlay-5.10.99-test.tcz",
            "overlay-5.10.99-test.tcz` in `out` is not what was built with the rest: it",
        ),
    ];
    for (name, wanted) in changes {
        let file = bench.path("out").join(name);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, [&bytes[..], b"x"].concat()).unwrap();
        let said = iso(&bench);
        assert!(said.contains(wanted), "{name}: {said}");
        fs::write(&file, bytes).unwrap();
    }
    // Without a record, the module's own words still have to fit.
    fs::remove_file(bench.path("out/kernel.json")).unwrap();
    bench.configure("");
    let other = Bench::new("");
    let output = other.run(&["--localversion", "-other"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    fs::copy(other.path("out/modules64.gz"), bench.path("out/modules64.gz")).unwrap();
    let said = iso(&bench);
    assert!(
        said.contains("the kernel is 5.10.99-test, but its modules are for 5.10.99-other"),
        "{said}"
    );
}

/// Tiny Core's own source, of which `official` is the name: a stand-in for the
/// archive, with its configuration.
struct Official {
    bench: Bench,
}

const SOURCES: &str = "https://distro.ibiblio.org/tinycorelinux/11.x/x86_64/release/src/kernel";
const ARCHIVE: &str = "linux-5.4.3-patched.txz";
const OFFICIAL_CONFIG: &str = "config-5.4.3-tinycore64";

impl Official {
    fn new() -> Self {
        let bench = Bench::new("");
        fs::create_dir_all(bench.path("project/kernel/build")).unwrap();
        fs::write(bench.path("project/tcforge.lock"), "version = 1\n").unwrap();
        let packed = Command::new("tar")
            .args(["-cJf", ARCHIVE, "--transform", "s,^tree,linux-5.4.3,", "tree"])
            .current_dir(bench.folder.path())
            .status()
            .unwrap();
        assert!(packed.success());
        fs::rename(bench.path("config"), bench.path(OFFICIAL_CONFIG)).unwrap();
        Self { bench }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.bench.path(name)).unwrap()
    }

    /// Notes a file's sum in the lock, under the address that it has in the world.
    fn lock(&self, name: &str) {
        let bytes = self.read(name);
        let entry = format!(
            "[[file]]\nname = \"{name}\"\nurl = \"{SOURCES}/{name}\"\nsize = {}\nsha256 = \"{}\"\nsource = \"a test\"\n",
            bytes.len(),
            Sha256::of(&bytes)
        );
        let lock = self.bench.path("project/tcforge.lock");
        fs::write(&lock, fs::read_to_string(&lock).unwrap() + &entry).unwrap();
    }

    /// Has the list name files of this folder instead, with that md5 sum of the
    /// configuration.
    fn list(&self, md5: &str) {
        let path = |name: &str| self.bench.path(name).display().to_string();
        let list = format!(
            "[official]\ntitle = \"Linux 5.4.3, a stand-in\"\norigin = \"file:{}\"\n\
             [official.config]\norigin = \"file:{}\"\nmd5 = \"{md5}\"\n",
            path(ARCHIVE),
            path(OFFICIAL_CONFIG)
        );
        fs::write(self.bench.path("project/kernel/build/sources.toml"), list).unwrap();
    }

    fn build(&self, more: &[&str]) -> Output {
        let args = [
            "kernel", "build", "--source", "official", "--as-is", "--out", "out", "--work", "work",
        ];
        let of_project = ["--project", "project", "--cache", "cache"];
        tcforge(self.bench.folder.path(), &[&args[..], &of_project, more].concat())
    }

    fn built(&self, more: &[&str]) -> Record {
        let output = self.build(more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Record::read(&self.bench.path("out")).unwrap().unwrap()
    }

    fn refused(&self, more: &[&str]) -> String {
        let output = self.build(more);
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn tiny_cores_own_source_comes_with_its_configuration() {
    let official = Official::new();
    let files = [ARCHIVE, OFFICIAL_CONFIG].map(|name| (format!("/{name}"), official.read(name)));
    let mirror = Mirror::of(files.into());
    let said = official.refused(&["--mirror", &mirror.url()]);
    assert!(
        said.contains(&format!("{SOURCES}/{ARCHIVE}")) && said.contains("`--record` fetches the file once"),
        "{said}"
    );
    official.lock(ARCHIVE);
    official.lock(OFFICIAL_CONFIG);
    let record = official.built(&["--mirror", &mirror.url()]);
    assert_eq!(record.release, RELEASE);
    assert_eq!(record.source, "Linux 5.4.3 as Tiny Core 11 patches it");
    let sum = Sha256::of(&official.read(ARCHIVE)).to_string();
    assert_eq!(record.source_sha256, Some(sum));
}

#[test]
fn a_source_without_a_known_sum_is_taken_once_and_then_held_to_it() {
    let official = Official::new();
    official.list(&"0".repeat(32));
    assert!(official.refused(&[]).contains("`--record` fetches the file once"));
    // Tiny Core publishes the sum of the configuration, if only by md5.
    let said = official.refused(&["--record"]);
    assert!(
        said.contains(&"0".repeat(32)) && said.contains("correct the sum"),
        "{said}"
    );
    official.list(&hex(&md5::Md5::digest(official.read(OFFICIAL_CONFIG))));
    official.built(&["--record"]);
    let lock = fs::read_to_string(official.bench.path("project/tcforge.lock")).unwrap();
    for name in [ARCHIVE, OFFICIAL_CONFIG] {
        let sum = Sha256::of(&official.read(name)).to_string();
        assert!(lock.contains(&sum), "{name}: {lock}");
    }
    official.built(&["--offline"]);
    // Another file of that name is not what was recorded.
    fs::write(official.bench.path(ARCHIVE), "another").unwrap();
    fs::remove_dir_all(official.bench.path("cache")).unwrap();
    let said = official.refused(&[]);
    assert!(said.contains(ARCHIVE), "{said}");
}

/// An image has the kernel's own extensions: those that something names, and those
/// that are to be loaded anyway.
#[test]
fn an_image_loads_what_was_built_with_its_kernel() {
    let bench = Bench::new("");
    bench.build();
    for (names, wanted) in [
        ("", &["overlay"][..]),
        (
            "'net-bridging-KERNEL.tcz'",
            &["overlay", "ipv6-netfilter", "net-bridging"],
        ),
    ] {
        let output = make_image(&bench, names);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let described = Description::read(&bench.path("images/bare.iso"))
            .unwrap()
            .unwrap();
        assert_eq!(described.kernel, RELEASE);
        let mut found = described.extensions.clone();
        let mut wanted: Vec<_> = wanted
            .iter()
            .map(|name| format!("{name}-{RELEASE}.tcz"))
            .collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    }
}

/// What `tcforge iso` says of a kernel that it does not take.
fn iso(bench: &Bench) -> String {
    let output = make_image(bench, "");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

/// `tcforge iso` of some extensions with the kernel; the base is a root filesystem of
/// nothing.
fn make_image(bench: &Bench, extensions: &str) -> Output {
    let core = bench.path("tinycore");
    fs::create_dir_all(&core).unwrap();
    fs::copy(bench.path("out/vmlinuz64"), core.join("vmlinuz64")).unwrap();
    fs::copy(bench.path("out/modules64.gz"), core.join("modules64.gz")).unwrap();
    fs::copy(bench.path("out/modules64.gz"), core.join("rootfs64.gz")).unwrap();
    fs::create_dir_all(bench.path("project/iso")).unwrap();
    fs::write(
        bench.path("project/iso/bare.toml"),
        format!("title = 'bare'\nextensions = [{extensions}]\n"),
    )
    .unwrap();
    assert_cmd::Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(bench.folder.path())
        .env("TCFORGE_TINYCORE", core)
        .args([
            "iso",
            "bare",
            "--project",
            "project",
            "--kernel",
            "out",
            "--out",
            "images",
            "--base",
            "tinycore",
        ])
        .arg("--offline")
        .output()
        .unwrap()
}
