//! `tcforge check` as a library: every check with an extension that passes and
//! one that fails it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tcforge::audit::{self, Check, Level, Options, Report, Rules};
use tcforge::base::Base;
use tcforge::stage::{Content, Node, Stage, TreePath};
use tcforge::tcz::side::{self, Info, SideFiles, dep};

static BASE: LazyLock<Base> = LazyLock::new(|| Base::built_in().unwrap());

const KERNEL: &str = "5.4.3-tinycore64";

/// Runs a program, which must succeed.
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; install the package that has it"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// An extension to be made: whatever owners, modes and kinds it shall have.
#[derive(Clone)]
struct Extension {
    name: String,
    /// Path → mksquashfs's pseudo definition, but for the path.
    nodes: BTreeMap<String, String>,
    /// Contents by path.
    contents: BTreeMap<String, Vec<u8>>,
    dep: String,
    arguments: Vec<&'static str>,
    side_files: bool,
    /// Done to the folder once all is there.
    after: Option<fn(&Path)>,
}

impl Extension {
    /// Nothing in it yet.
    fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: BTreeMap::new(),
            contents: BTreeMap::new(),
            dep: String::new(),
            arguments: vec!["-b", "4096"],
            side_files: true,
            after: None,
        }
    }

    /// One that passes every check.
    fn good(name: &str) -> Self {
        let stem = name.strip_suffix(".tcz").unwrap_or(name);
        Self::empty(name)
            .file(
                &format!("usr/local/bin/{stem}"),
                "755",
                b"#!/bin/sh\necho hello\n",
            )
            .file(
                &format!("usr/local/share/doc/{stem}/LICENSE"),
                "644",
                b"Do as you like.\n",
            )
    }

    fn file(self, path: &str, mode: &str, content: &[u8]) -> Self {
        self.owned_file(path, mode, "0 0", content)
    }

    fn owned_file(mut self, path: &str, mode: &str, owner: &str, content: &[u8]) -> Self {
        self.nodes.insert(path.into(), format!("f {mode} {owner}"));
        self.contents.insert(path.into(), content.to_owned());
        self
    }

    fn node(mut self, path: &str, definition: &str) -> Self {
        self.nodes.insert(path.into(), definition.into());
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.node(path, &format!("s 777 0 0 {target}"))
    }

    fn without(mut self, start: &str) -> Self {
        self.nodes.retain(|path, _| !path.starts_with(start));
        self
    }

    fn dep(mut self, text: &str) -> Self {
        self.dep = text.to_owned();
        self
    }

    fn bare(mut self) -> Self {
        self.side_files = false;
        self
    }

    fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments = arguments.to_vec();
        self
    }

    fn after(mut self, change: fn(&Path)) -> Self {
        self.after = Some(change);
        self
    }

    /// Packs it in a folder, with its side files, and gives its path.
    fn write(&self, folder: &Path) -> PathBuf {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut pseudo = "/ d 755 0 0\n".to_owned();
        let mut nodes = self.nodes.clone();
        for path in self.nodes.keys() {
            for (slash, _) in path.match_indices('/') {
                nodes
                    .entry(path[..slash].to_owned())
                    .or_insert("d 755 0 0".into());
            }
        }
        for (number, (path, definition)) in nodes.iter().enumerate() {
            let content = work.path().join(number.to_string());
            pseudo += &format!("\"{path}\" {definition}");
            if let Some(bytes) = self.contents.get(path) {
                fs::write(&content, bytes).unwrap();
                pseudo += &format!(" cat {}", content.display());
            }
            pseudo.push('\n');
        }
        let definitions = work.path().join("pseudo");
        fs::write(&definitions, pseudo).unwrap();
        let image = folder.join(&self.name);
        let mut command = Command::new("mksquashfs");
        command
            .arg(&root)
            .arg(&image)
            .args(["-noappend", "-no-xattrs", "-pf"]);
        run(command.arg(&definitions).args(&self.arguments));
        if self.side_files {
            self.write_side_files(&image, folder);
        }
        if let Some(change) = self.after {
            change(folder);
        }
        image
    }

    fn write_side_files(&self, image: &Path, folder: &Path) {
        let mut stage = Stage::new();
        for (path, definition) in &self.nodes {
            if !definition.starts_with('d') {
                let file = Node::file(Content::bytes(*b""), 0o644);
                stage.insert(TreePath::parse(path).unwrap(), file).unwrap();
            }
        }
        let info = Info {
            description: "An example".into(),
            version: "1.0".into(),
            author: "Somebody".into(),
            original_site: "https://example.org".into(),
            copying_policy: "MIT".into(),
            extension_by: "tcforge".into(),
            current: "2020/03/01 First version".into(),
            ..Info::default()
        };
        let (dependencies, _) = dep::read(&self.dep);
        let files = SideFiles {
            file_name: &self.name,
            info: &info,
            dependencies: &dependencies,
            lookup: &|_| vec![],
            kernel: KERNEL,
            stage: &stage,
            upstream: &[],
            inputs: None,
            license: "MIT",
            time: 0,
        };
        let sums = side::Sums::of_file(image, None).unwrap();
        side::write_side_files(&sums, &files, folder).unwrap();
        if !self.dep.is_empty() {
            fs::write(folder.join(format!("{}.dep", self.name)), &self.dep).unwrap();
        }
    }
}

fn options() -> Options {
    Options::new(Rules::built_in().unwrap())
}

fn check(files: &[PathBuf]) -> Vec<Report> {
    audit::check(files, &BASE, &options()).unwrap()
}

/// What was found and is no pass: `level check path`, one a line.
fn found(report: &Report) -> Vec<String> {
    let worse = report
        .findings
        .iter()
        .filter(|finding| finding.level > Level::Pass);
    worse
        .map(|finding| {
            let path = finding.path.as_ref().map(|path| format!(" {path}"));
            format!("{} {}{}", finding.level, finding.check, path.unwrap_or_default())
        })
        .collect()
}

/// Checks one extension, with others beside it.
fn audit_of(extension: &Extension, beside: &[Extension]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    for other in beside {
        other.write(folder.path());
    }
    check(&[extension.write(folder.path())]).remove(0)
}

#[track_caller]
fn assert_found(what: &str, extension: &Extension, wanted: &[&str]) {
    assert_found_beside(what, extension, &[], wanted);
}

#[track_caller]
fn assert_found_beside(what: &str, extension: &Extension, beside: &[Extension], wanted: &[&str]) {
    let report = audit_of(extension, beside);
    let worse = report
        .findings
        .iter()
        .filter(|finding| finding.level > Level::Pass);
    let messages: Vec<_> = worse.map(|finding| &finding.message).collect();
    assert_eq!(found(&report), wanted, "{what}: {messages:#?}");
}

fn good() -> Extension {
    Extension::good("x.tcz")
}

#[test]
fn a_good_extension_passes_every_check() {
    let report = audit_of(&good().dep("coreutils.tcz\nnet-bridging-KERNEL.tcz\n"), &[]);
    assert_eq!(found(&report), [""; 0], "{:#?}", report.findings);
    assert_eq!(report.worst(), Level::Pass);
    let made: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    let all: Vec<_> = audit::Check::ALL
        .iter()
        .filter(|check| check.id() != "clash")
        .copied()
        .collect();
    assert_eq!(made, all);
}

#[test]
fn every_check_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/extensions.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 4)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let documented: Vec<_> = rows
        .iter()
        .map(|cells| (cells[1].trim_matches('`'), cells[3]))
        .filter(|(id, _)| !id.contains('/'))
        .collect();
    let checks = audit::Check::ALL
        .iter()
        .map(|check| (check.id(), check.meaning()));
    assert_eq!(documented, checks.collect::<Vec<_>>());
}

#[test]
fn reports_are_data() {
    let report = audit_of(&good().file("usr/local/x", "646", b""), &[]);
    let json = serde_json::to_value(&report).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|finding| finding["level"] == "error")
        .unwrap();
    assert_eq!(finding["check"], "world-writable");
    assert_eq!(finding["path"], "usr/local/x");
    assert_eq!(findings[0]["level"], "pass");
}

/// Gives a reason in the info file.
fn say(folder: &Path, note: &str) {
    let path = folder.join("x.tcz.info");
    let info = fs::read_to_string(&path).unwrap();
    let lines = info.lines().map(|line| match line.starts_with("Comments:") {
        true => format!("Comments:       {note} it is large\n"),
        false => format!("{line}\n"),
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
}

#[test]
fn the_image_itself() {
    let cases: [(&str, Extension, &[&str]); 10] = [
        (
            "blocks with a reason",
            good()
                .arguments(&["-b", "131072"])
                .after(|folder| say(folder, "Packed with 131072 byte blocks:")),
            &[],
        ),
        (
            "blocks and compression with a reason",
            good()
                .arguments(&["-b", "1048576", "-comp", "xz"])
                .after(|folder| say(folder, "Packed with 1048576 byte blocks and xz:")),
            &[],
        ),
        (
            "a reason for something else",
            good()
                .arguments(&["-b", "131072", "-comp", "zstd"])
                .after(|folder| say(folder, "Packed with 131072 byte blocks:")),
            &["warning block-size", "warning compression"],
        ),
        (
            "blocks",
            good().arguments(&["-b", "131072"]),
            &["warning block-size"],
        ),
        (
            "compression",
            good().arguments(&["-b", "4096", "-comp", "zstd"]),
            &["warning compression"],
        ),
        (
            "rubbish",
            good()
                .bare()
                .after(|folder| fs::write(folder.join("x.tcz"), "hello").unwrap()),
            &["error image"],
        ),
        (
            "nothing",
            good()
                .bare()
                .after(|folder| fs::write(folder.join("x.tcz"), "").unwrap()),
            &["error image"],
        ),
        (
            "appended bytes",
            good().bare().after(|folder| {
                let mut bytes = fs::read(folder.join("x.tcz")).unwrap();
                bytes.extend([7; 5000]);
                fs::write(folder.join("x.tcz"), bytes).unwrap();
            }),
            &["error appended", "warning side-files"],
        ),
        (
            "an appended tree",
            good().file("usr_1/local/bin/x", "755", b""),
            &["error appended usr_1"],
        ),
        (
            "empty",
            Extension::empty("x.tcz"),
            &["error empty", "warning license"],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn a_meta_extension_is_not_empty() {
    let meta = Extension::empty("x.tcz").dep("coreutils.tcz\n");
    assert_found("meta", &meta, &["warning license"]);
}

#[test]
fn the_name() {
    let folder = tempfile::tempdir().unwrap();
    let image = good().bare().write(folder.path());
    let other = folder.path().join("x y.tcz");
    fs::rename(image, &other).unwrap();
    let report = check(&[other]).remove(0);
    assert_eq!(found(&report), ["error name", "warning side-files"]);
}

#[test]
fn owners_and_modes() {
    let installed = "usr/local/tce.installed";
    let cases: [(&str, Extension, &[&str]); 19] = [
        (
            "owner",
            good().owned_file("usr/local/etc/x", "644", "1001 50", b""),
            &["error owner usr/local/etc/x"],
        ),
        (
            "folder's owner",
            good().node("usr/local/etc", "d 755 1001 50"),
            &["error owner usr/local/etc"],
        ),
        (
            "data",
            good().file("usr/local/x", "664", b""),
            &["error mode usr/local/x"],
        ),
        (
            "program",
            good().file("usr/local/x", "711", b""),
            &["error mode usr/local/x"],
        ),
        (
            "library",
            good().file("usr/local/lib/libx.so.1", "644", b""),
            &["error mode usr/local/lib/libx.so.1"],
        ),
        (
            "folder",
            good().node("usr/local/x", "d 700 0 0"),
            &["error mode usr/local/x"],
        ),
        (
            "read-only is fine",
            good()
                .file("usr/local/x", "444", b"")
                .file("usr/local/y", "555", b""),
            &[],
        ),
        (
            "a command that cannot be run",
            good().file("usr/local/bin/p", "644", b"#!/bin/sh\n"),
            &["error mode usr/local/bin/p"],
        ),
        (
            "a service that cannot be run",
            good().file("usr/local/etc/init.d/x", "644", b"#!/bin/sh\n"),
            &["error mode usr/local/etc/init.d/x"],
        ),
        (
            "setuid",
            good().file("usr/local/bin/su", "4755", b""),
            &["error setuid usr/local/bin/su"],
        ),
        (
            "sticky",
            good().node("usr/local/x", "d 1755 0 0"),
            &["error setuid usr/local/x"],
        ),
        (
            "world-writable",
            good().file("usr/local/x", "646", b""),
            &["error world-writable usr/local/x"],
        ),
        (
            "system's folder",
            good()
                .node("opt", "d 755 0 0")
                .node("home", "d 775 0 50")
                .node("home/tc", "d 755 1001 50"),
            &["error system-directory opt"],
        ),
        (
            "installed",
            good().node(installed, "d 775 0 50").owned_file(
                "usr/local/tce.installed/x",
                "775",
                "0 50",
                b"#!/bin/sh\n",
            ),
            &[],
        ),
        (
            "installed's folder",
            good().node(installed, "d 755 0 0"),
            &["error system-directory usr/local/tce.installed"],
        ),
        (
            "installed's owner",
            good()
                .node(installed, "d 775 0 50")
                .file("usr/local/tce.installed/x", "755", b""),
            &["error installed usr/local/tce.installed/x"],
        ),
        (
            "installed's name",
            good()
                .node(installed, "d 775 0 50")
                .owned_file("usr/local/tce.installed/y", "775", "0 50", b""),
            &["error installed usr/local/tce.installed/y"],
        ),
        (
            "folder in installed",
            good()
                .node(installed, "d 775 0 50")
                .node("usr/local/tce.installed/x", "d 775 0 50"),
            &["error installed usr/local/tce.installed/x"],
        ),
        (
            "link in installed",
            good()
                .node(installed, "d 775 0 50")
                .link("usr/local/tce.installed/x", "../bin/x"),
            &["error installed usr/local/tce.installed/x"],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn places_and_kinds() {
    let modules = "usr/local/lib/modules/5.4.3-tinycore64/kernel/net";
    let cases: [(&str, Extension, &[&str]); 15] = [
        (
            "run time",
            good().file("var/run/x.pid", "644", b"1"),
            &[
                "error system-directory var",
                "error system-directory var/run",
                "error run-time var/run/x.pid",
            ],
        ),
        (
            "system's file",
            good().file("bin/cat", "755", b""),
            &["warning system-file bin/cat"],
        ),
        (
            "device",
            good().node("usr/local/null", "c 644 0 0 1 3"),
            &["error special-file usr/local/null"],
        ),
        (
            "headers of tar",
            good().file("usr/local/PaxHeaders.12/x", "644", b""),
            &["error pax-headers usr/local/PaxHeaders.12"],
        ),
        (
            "no licence",
            good().without("usr/local/share"),
            &["warning license"],
        ),
        (
            "licence elsewhere",
            good()
                .without("usr/local/share")
                .file("usr/local/share/doc/y/Copying.txt", "644", b""),
            &[],
        ),
        (
            "link",
            good()
                .link("usr/local/bin/y", "x")
                .link("usr/local/z", "/usr/local/bin/y"),
            &[],
        ),
        (
            "link to the base",
            good()
                .link("usr/local/bin/y", "/bin/busybox")
                .link("usr/local/bin/z", "../../bin"),
            &[],
        ),
        (
            "link to what may come",
            good()
                .link("usr/local/etc/x", "/var/lib/x")
                .link("usr/local/etc/y", "/etc/y.conf"),
            &[],
        ),
        (
            "dangling",
            good()
                .link("usr/local/bin/y", "../lib/y")
                .link("usr/local/bin/z", "/usr/bin/z"),
            &["warning link usr/local/bin/y", "warning link usr/local/bin/z"],
        ),
        (
            "circle",
            good().link("usr/local/a", "b").link("usr/local/b", "a"),
            &["error link usr/local/a", "error link usr/local/b"],
        ),
        ("out", good().link("usr/a", "../../../etc"), &["error link usr/a"]),
        (
            "through a linked folder",
            good().link("usr/local/a", "bin").link("usr/local/b", "a/x"),
            &[],
        ),
        (
            "modules",
            good().file(&format!("{modules}/x.ko.gz"), "644", b""),
            &[],
        ),
        (
            "modules elsewhere, or not compressed",
            good().file(&format!("{modules}/x.ko"), "644", b"").file(
                "lib/modules/5.4.3-tinycore64/kernel/x.ko.gz",
                "644",
                b"",
            ),
            &[
                "error modules lib/modules/5.4.3-tinycore64/kernel/x.ko.gz",
                "warning modules usr/local/lib/modules/5.4.3-tinycore64/kernel/net/x.ko",
            ],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn dependencies() {
    let a = Extension::good("a.tcz").dep("b.tcz\n");
    let b = Extension::good("b.tcz");
    let circle = Extension::good("b.tcz").dep("x.tcz\n");
    let cases: [(&str, &str, &[Extension], &[&str]); 11] = [
        ("known", "a.tcz\n", &[a.clone(), b.clone()], &[]),
        ("suffix", "coreutils\n", &[], &["error dep"]),
        ("two on a line", "coreutils.tcz attr.tcz\n", &[], &["error dep"]),
        ("blank", "coreutils.tcz \n", &[], &["error dep"]),
        ("Windows", "coreutils.tcz\r\n", &[], &["error dep"]),
        ("empty line", "coreutils.tcz\n\n", &[], &["warning dep"]),
        (
            "one kernel",
            "net-bridging-5.4.3-tinycore64.tcz\n",
            &[],
            &["error dep-kernel"],
        ),
        ("unknown", "y.tcz\n", &[], &["warning dep-known"]),
        ("circle", "a.tcz\n", &[a.clone(), circle], &["error dep-cycle"]),
        (
            "redundant",
            "a.tcz\nb.tcz\n",
            &[a.clone(), b],
            &["warning dep-redundant"],
        ),
        (
            "redundant official",
            "coreutils.tcz\nattr.tcz\n",
            &[],
            &["warning dep-redundant"],
        ),
    ];
    for (what, text, beside, wanted) in cases {
        assert_found_beside(what, &good().dep(text), beside, wanted);
    }
}

#[test]
fn a_circle_is_told_as_a_chain() {
    let a = Extension::good("a.tcz").dep("x.tcz\n");
    let report = audit_of(&good().dep("a.tcz\n"), &[a]);
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.check.id() == "dep-cycle")
        .unwrap();
    assert_eq!(
        finding.message,
        "the dependencies go in a circle: x.tcz → a.tcz → x.tcz"
    );
}

#[test]
fn a_dependency_that_is_nowhere_is_an_error_where_all_is_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = tempfile::tempdir().unwrap();
    Extension::good("a.tcz").write(mirror.path());
    let file = good().dep("a.tcz\ny.tcz\n").write(folder.path());
    let options = Options {
        folders: vec![mirror.path().to_owned()],
        complete: true,
        ..options()
    };
    let reports = audit::check(&[file], &BASE, &options).unwrap();
    assert_eq!(found(&reports[0]), ["error dep-known"]);
}

/// Replaces text in a side file of `x.tcz`.
fn edit(folder: &Path, suffix: &str, from: &str, to: &str) {
    let path = folder.join(format!("x.tcz.{suffix}"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn side_files() {
    type Case = (&'static str, fn(&Path), &'static [&'static str]);
    let cases: [Case; 15] = [
        (
            "missing",
            |folder| fs::remove_file(folder.join("x.tcz.info")).unwrap(),
            &["warning side-files"],
        ),
        (
            "md5 of another",
            |folder| {
                let text = "d41d8cd98f00b204e9800998ecf8427e  x.tcz\n";
                fs::write(folder.join("x.tcz.md5.txt"), text).unwrap();
            },
            &["error md5"],
        ),
        (
            "md5's name",
            |folder| edit(folder, "md5.txt", "x.tcz", "y.tcz"),
            &["error md5"],
        ),
        (
            "md5's form",
            |folder| edit(folder, "md5.txt", "  ", " "),
            &["error md5"],
        ),
        (
            "zsync of another",
            |folder| {
                let path = folder.join("x.tcz.zsync");
                let mut bytes = fs::read(&path).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            &["error zsync"],
        ),
        (
            "zsync's form",
            |folder| fs::write(folder.join("x.tcz.zsync"), "404").unwrap(),
            &["error zsync"],
        ),
        (
            "list too short",
            |folder| edit(folder, "list", "/usr/local/bin/x\n", ""),
            &["error list usr/local/bin/x"],
        ),
        (
            "list too long",
            |folder| edit(folder, "list", "/usr/local/bin/x\n", "/usr/local/bin/x\n/usr/y\n"),
            &["error list usr/y"],
        ),
        (
            "list of another form",
            |folder| edit(folder, "list", "/usr", "./usr"),
            &[],
        ),
        (
            "title",
            |folder| edit(folder, "info", "x.tcz", "y.tcz"),
            &["error info"],
        ),
        (
            "size",
            |folder| edit(folder, "info", "4.0K", "3MB"),
            &["warning info"],
        ),
        (
            "current",
            |folder| edit(folder, "info", "2020/03/01 First version", ""),
            &["error info"],
        ),
        (
            "column",
            |folder| edit(folder, "info", "Version:        ", "Version: "),
            &["warning info"],
        ),
        (
            "tree of another",
            |folder| edit(folder, "tree", "x.tcz\n", "x.tcz\n   y.tcz\n"),
            &["warning tree"],
        ),
        (
            "tree's form",
            |folder| edit(folder, "tree", "x.tcz\n", "x.tcz\n  y.tcz\n"),
            &["warning tree"],
        ),
    ];
    for (what, change, wanted) in cases {
        assert_found(what, &good().after(change), wanted);
    }
}

/// Compiles C and gives the file. Nothing of the host's glibc is linked in
/// unless the arguments say so.
fn compile(folder: &Path, source: &str, name: &str, arguments: &[&str]) -> Vec<u8> {
    let file = folder.join(format!("{name}.c"));
    fs::write(&file, source).unwrap();
    let mut command = Command::new("cc");
    command
        .current_dir(folder)
        .args(["-nostdlib", "-s", "-o", name])
        .arg(&file);
    run(command.args(arguments));
    fs::read(folder.join(name)).unwrap()
}

/// Options for a library of a soname.
fn library(folder: &Path, soname: &str, version: &str) -> Vec<u8> {
    let script = folder.join("versions");
    fs::write(&script, format!("{version} {{ global: f; local: *; }};")).unwrap();
    let soname_option = format!("-Wl,-soname,{soname}");
    let options = [
        "-shared",
        "-fPIC",
        &soname_option,
        "-Wl,--version-script=versions",
    ];
    compile(folder, "int f(void) { return 1; }", soname, &options)
}

const LOADER: &str = "-Wl,--dynamic-linker=/lib/ld-linux-x86-64.so.2";

/// A program that needs a library made by [`library`].
fn program(folder: &Path, soname: &str, options: &[&str]) -> Vec<u8> {
    let link = format!("-l:{soname}");
    let mut all = vec!["-L.", &link, LOADER, "-Wl,--disable-new-dtags"];
    all.extend(options);
    compile(folder, "int f(void); void _start(void) { f(); }", "program", &all)
}

#[test]
fn programs_and_their_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let old = library(folder, "liby.so.1", "Y_1.0");
    let new = library(folder, "liby.so.1", "Y_2.0");
    let needs_y = program(folder, "liby.so.1", &[]);
    let finds_y = program(folder, "liby.so.1", &["-Wl,-rpath,$ORIGIN/../lib/x"]);
    let cpp = library(folder, "libstdc++.so.6", "GLIBCXX_3.4.30");
    assert!(!cpp.is_empty());
    let needs_cpp = program(folder, "libstdc++.so.6", &[]);
    library(folder, "libssl.so.1.1", "OPENSSL_1_1_0");
    let needs_ssl = program(folder, "libssl.so.1.1", &[]);
    let plugin = compile(
        folder,
        "int f(void); int g(void) { return f(); }",
        "plugin",
        &["-shared", "-fPIC", "-L.", "-l:libssl.so.1.1"],
    );
    let with = |program: &[u8]| good().file("usr/local/bin/p", "755", program);
    let lib_y = |content: &[u8]| Extension::good("y.tcz").file("usr/local/lib/liby.so.1", "755", content);
    let cases: [(&str, Extension, &[Extension], &[&str]); 12] = [
        (
            "own library",
            with(&needs_y).file("usr/local/lib/liby.so.1", "755", &new),
            &[],
            &[],
        ),
        (
            "own library, linked",
            with(&needs_y)
                .file("usr/local/lib/liby.so.1.2", "755", &new)
                .link("usr/local/lib/liby.so.1", "liby.so.1.2"),
            &[],
            &[],
        ),
        (
            "a dependency's",
            with(&needs_y).dep("y.tcz\n"),
            &[lib_y(&new)],
            &[],
        ),
        (
            "too old",
            with(&needs_y).dep("y.tcz\n"),
            &[lib_y(&old)],
            &["error symbol-version usr/local/bin/p"],
        ),
        (
            "by its own path",
            with(&finds_y).file("usr/local/lib/x/liby.so.1", "755", &new),
            &[],
            &[],
        ),
        (
            "where nobody looks",
            with(&needs_y).file("usr/lib/x86_64-linux-gnu/liby.so.1", "755", &new),
            &[],
            &["warning library-path usr/local/bin/p"],
        ),
        ("nowhere", with(&needs_y), &[], &["error library usr/local/bin/p"]),
        (
            "perhaps in what is not known",
            with(&needs_y).dep("y.tcz\n"),
            &[],
            &["warning dep-known", "warning library usr/local/bin/p"],
        ),
        (
            "official",
            with(&needs_ssl).dep("ca-certificates.tcz\n"),
            &[],
            &[],
        ),
        (
            "official, not declared",
            with(&needs_ssl),
            &[],
            &["error library usr/local/bin/p"],
        ),
        (
            "newer than the base",
            with(&needs_cpp),
            &[],
            &["error symbol-version usr/local/bin/p"],
        ),
        (
            "a plugin",
            good().file("usr/local/share/x/plugin.so", "755", &plugin),
            &[],
            &["error library usr/local/share/x/plugin.so"],
        ),
    ];
    for (what, extension, beside, wanted) in cases {
        assert_found_beside(what, &extension, beside, wanted);
    }
    let report = audit_of(&with(&needs_ssl), &[]);
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.check.id() == "library")
        .unwrap();
    assert_eq!(
        finding.hint.as_deref(),
        Some("add `openssl-1.1.1.tcz` to the .dep")
    );
}

/// What node loads with `require`, as argon2's, which needs glibc 2.34.
#[test]
fn native_modules_are_needed_unless_the_info_file_says_that_they_are_not() {
    const NODE: &str = "usr/local/lib/x/node_modules/argon2/prebuilds/linux-x64/argon2.glibc.node";
    let dir = tempfile::tempdir().unwrap();
    let module = |needs: &str, library: &str| {
        let source = format!("int {needs}(void); int g(void) {{ return {needs}(); }}");
        compile(
            dir.path(),
            &source,
            "module",
            &["-shared", "-fPIC", "-L.", library],
        )
    };
    let modern = module("__libc_start_main", "-lc");
    library(dir.path(), "libc.musl-x86_64.so.1", "MUSL");
    let musl = module("f", "-l:libc.musl-x86_64.so.1");
    let mut freebsd = modern.clone();
    freebsd[7] = 9;
    let with = |path: &str, bytes: &[u8]| good().file(path, "755", bytes);
    let glibc = format!("glibc {NODE}");
    let (error, warning) = (format!("error {glibc}"), format!("warning {glibc}"));
    let program = compile(
        dir.path(),
        "int __libc_start_main(void); void _start(void) { __libc_start_main(); }",
        "program",
        &["-lc", LOADER],
    );
    type Case<'a> = (&'a str, Extension, &'a [&'a str]);
    let cases: [Case; 10] = [
        ("needed", with(NODE, &modern), &[&error]),
        (
            "no glob",
            with(NODE, &modern).after(|folder| say(folder, "Optional: ../{[ Optional:")),
            &[&error],
        ),
        (
            "one of too many globs",
            with(NODE, &modern).after(|folder| {
                let others = "Optional: usr/x ".repeat(options().rules.limits.optional);
                say(folder, &format!("{others} Optional: usr/local/lib/**"));
            }),
            &[&error],
        ),
        (
            "optional",
            with(NODE, &modern).after(|folder| say(folder, "Optional: usr/local/lib/x/**/argon2/**")),
            &[&warning],
        ),
        (
            "another is optional",
            with(NODE, &modern).after(|folder| say(folder, "Optional: usr/local/lib/x/**/kerberos/**")),
            &[&error],
        ),
        (
            "a program aside that is optional",
            with("usr/local/lib/x/exec", &program)
                .after(|folder| say(folder, "Optional: usr/local/lib/x/exec")),
            &["warning glibc usr/local/lib/x/exec"],
        ),
        (
            "of python",
            with("usr/local/lib/python3.8/site-packages/x.so", &modern),
            &["error glibc usr/local/lib/python3.8/site-packages/x.so"],
        ),
        (
            "for musl, beside the one for glibc",
            with("usr/local/lib/x/argon2.musl.node", &musl),
            &["warning architecture usr/local/lib/x/argon2.musl.node"],
        ),
        (
            "for musl, where the loader looks",
            with("usr/local/lib/libx.so", &musl),
            &["error library usr/local/lib/libx.so"],
        ),
        (
            "for FreeBSD",
            with("usr/local/lib/x/freebsd.node", &freebsd),
            &["warning architecture usr/local/lib/x/freebsd.node"],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn programs_and_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let write = "long write(int, const void *, unsigned long); void _start(void) { write(1, \"\", 0); }";
    let old = compile(folder, write, "old", &["-lc", LOADER]);
    let lib64 = compile(folder, write, "lib64", &["-lc"]);
    let musl = compile(
        folder,
        write,
        "musl",
        &["-lc", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"],
    );
    let fixed = compile(folder, "void _start(void) {}", "fixed", &["-static", "-no-pie"]);
    let mut symbols = Command::new("cc");
    run(symbols
        .current_dir(folder)
        .args(["-nostdlib", "-static", "-o", "symbols", "fixed.c"]));
    let symbols = fs::read(folder.join("symbols")).unwrap();
    let mut foreign = fixed.clone();
    foreign[18] = 183;
    // Debian 12's programs are built with glibc 2.36.
    let modern = compile(
        folder,
        "int __libc_start_main(void); void _start(void) { __libc_start_main(); }",
        "modern",
        &["-lc", LOADER],
    );
    let at = |path: &str, program: &[u8]| good().file(path, "755", program);
    let cases: [(&str, Extension, &[&str]); 13] = [
        ("old", at("usr/local/bin/p", &old), &[]),
        ("static", at("usr/local/bin/p", &fixed), &[]),
        (
            "not executable",
            good().file("usr/local/bin/p", "644", &fixed),
            &["error mode usr/local/bin/p"],
        ),
        (
            "new",
            at("usr/local/bin/p", &modern),
            &["error glibc usr/local/bin/p"],
        ),
        (
            "lib64",
            at("usr/local/bin/p", &lib64),
            &["warning loader usr/local/bin/p"],
        ),
        (
            "lib64 with its link",
            at("usr/local/bin/p", &lib64).link("lib64", "lib"),
            &[],
        ),
        (
            "lib64 made when it is loaded",
            at("usr/local/bin/p", &lib64)
                .node("usr/local/tce.installed", "d 775 0 50")
                .owned_file(
                    "usr/local/tce.installed/x",
                    "775",
                    "0 50",
                    b"#!/bin/sh\n[ -e /lib64 ] || ln -s lib /lib64\n",
                ),
            &[],
        ),
        (
            "musl",
            at("usr/local/bin/p", &musl),
            &["error loader usr/local/bin/p"],
        ),
        (
            "musl aside",
            at("usr/local/lib/x/p", &musl),
            &["warning loader usr/local/lib/x/p"],
        ),
        (
            "not stripped",
            at("usr/local/bin/p", &symbols),
            &["warning stripped usr/local/bin/p"],
        ),
        (
            "foreign",
            at("usr/local/bin/p", &foreign),
            &["error architecture usr/local/bin/p"],
        ),
        (
            "foreign aside",
            at("usr/local/lib/x/p", &foreign),
            &["warning architecture usr/local/lib/x/p"],
        ),
        (
            "damaged",
            at("usr/local/bin/p", &old[..old.len() / 2]),
            &["error elf usr/local/bin/p"],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn scripts() {
    let script = |path: &str, text: &str| good().file(path, "755", text.as_bytes());
    let service = |text: &str| script("usr/local/etc/init.d/x", &format!("#!/bin/sh\n{text}"));
    let cases: [(&str, Extension, &[&str]); 18] = [
        ("sh", script("usr/local/bin/p", "#!/bin/sh -e\n"), &[]),
        ("env", script("usr/local/bin/p", "#!/usr/bin/env sh\n"), &[]),
        (
            "python",
            script("usr/local/bin/p", "#!/usr/bin/env python3\n"),
            &["warning shebang usr/local/bin/p"],
        ),
        (
            "bash",
            script("usr/local/bin/p", "#!/bin/bash\n"),
            &["warning shebang usr/local/bin/p"],
        ),
        (
            "bash, declared",
            script("usr/local/bin/p", "#!/bin/bash\n").dep("bash.tcz\n"),
            &[],
        ),
        (
            "not to be run",
            good().file("usr/local/share/p", "644", b"#!/bin/bash\n"),
            &[],
        ),
        (
            "a service of bash",
            script("usr/local/etc/init.d/x", "#!/bin/bash\n"),
            &["error shebang usr/local/etc/init.d/x"],
        ),
        (
            "a service from Windows",
            script("usr/local/etc/init.d/x", "#!/bin/sh\r\n"),
            &["error shebang usr/local/etc/init.d/x"],
        ),
        (
            "busybox's",
            service("start-stop-daemon -S -x /usr/local/bin/x\nx\n"),
            &[],
        ),
        (
            "what is not there",
            service("mountpoint -q /sys && ip link; ip addr\n"),
            &[
                "warning command usr/local/etc/init.d/x",
                "warning command usr/local/etc/init.d/x",
            ],
        ),
        (
            "declared",
            service("mountpoint -q /sys && ip link\n").dep("iproute2.tcz\nutil-linux.tcz\n"),
            &[],
        ),
        (
            "asked for before",
            service("if command -v ip >/dev/null; then ip link; fi\n"),
            &[],
        ),
        (
            "functions of the base",
            service(". /etc/init.d/tc-functions\ncheckroot\nuseBusybox\n"),
            &[],
        ),
        (
            "functions of one's own",
            service(". /usr/local/etc/init.d/lib\nhello\n").file(
                "usr/local/etc/init.d/lib",
                "644",
                b"hello() { ip; }\n",
            ),
            &["warning command usr/local/etc/init.d/lib"],
        ),
        (
            "settings",
            service("NAME=x\n. /etc/default/$NAME\n. /usr/local/etc/x.conf\nip link\n"),
            &["warning command usr/local/etc/init.d/x"],
        ),
        (
            "functions nobody knows",
            service(". /usr/local/share/y/lib.sh\nhello\n"),
            &[],
        ),
        (
            "a path",
            service("/usr/local/bin/x && /usr/local/bin/y && /opt/z\n"),
            &["warning command usr/local/etc/init.d/x"],
        ),
        (
            "tce.installed without a first line",
            good().node("usr/local/tce.installed", "d 775 0 50").owned_file(
                "usr/local/tce.installed/x",
                "775",
                "0 50",
                b"nsenter -t 1\n",
            ),
            &["warning command usr/local/tce.installed/x"],
        ),
    ];
    for (what, extension, wanted) in cases {
        assert_found(what, &extension, wanted);
    }
}

#[test]
fn files_of_two_extensions() {
    let folder = tempfile::tempdir().unwrap();
    let one = Extension::good("one.tcz")
        .file("usr/local/same", "644", b"same")
        .link("usr/local/link", "same")
        .file("usr/local/other", "644", b"one");
    let two = Extension::good("two.tcz")
        .file("usr/local/same", "644", b"same")
        .link("usr/local/link", "same")
        .file("usr/local/other", "644", b"two");
    let three = Extension::good("three.tcz").node("usr/local/other", "d 755 0 0");
    let files = [one, two, three].map(|extension| extension.write(folder.path()));
    let reports = check(&files);
    let wanted = [
        "error clash usr/local/other",
        "warning clash usr/local/link",
        "warning clash usr/local/same",
    ];
    assert_eq!(found(&reports[0]), wanted);
    assert_eq!(found(&reports[1]), wanted);
    assert_eq!(found(&reports[2]), wanted[..1]);
    // One that only lies beside them does not count.
    assert_eq!(found(&check(&files[..1])[0]), [""; 0]);
}

#[test]
fn of_many_the_rest_is_counted() {
    let many = (0..50).fold(good(), |extension, number| {
        extension.file(&format!("usr/local/{number:02}"), "600", b"")
    });
    let report = audit_of(&many, &[]);
    assert_eq!(report.count(Level::Error), 21);
    let last = report
        .findings
        .iter()
        .rfind(|finding| finding.level == Level::Error)
        .unwrap();
    assert_eq!(last.message, "and 30 more of this kind");
}

#[test]
fn what_cannot_be_checked_is_an_error() {
    let none = PathBuf::from("/none/x.tcz");
    let error = audit::check(std::slice::from_ref(&none), &BASE, &options()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `/none/x.tcz`");
    let twice = audit::check(&[none.clone(), none], &BASE, &options()).unwrap_err();
    assert!(matches!(twice, audit::AuditError::Twice { .. }), "{twice}");
}

/// An image that says its files are larger than anybody's disk.
#[test]
fn an_image_made_to_exhaust_its_reader_is_refused() {
    let mut options = options();
    options.rules.limits.content = 100;
    let folder = tempfile::tempdir().unwrap();
    let file = good()
        .file("usr/local/x", "644", &[0; 4096])
        .bare()
        .write(folder.path());
    let reports = audit::check(&[file], &BASE, &options).unwrap();
    assert_eq!(found(&reports[0]), ["error image"]);
}

#[test]
fn damaged_images_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = good().bare().write(folder.path());
    let whole = fs::read(&file).unwrap();
    let used = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    for length in (0..used).step_by(7) {
        fs::write(&file, &whole[..length]).unwrap();
        let report = check(std::slice::from_ref(&file)).remove(0);
        assert_eq!(report.worst(), Level::Error, "{length}: {report:#?}");
    }
    // Any answer will do, as long as there is one.
    for at in 0..used {
        for value in [0, 0x7f, 0xff, whole[at] ^ 1] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            fs::write(&file, bytes).unwrap();
            check(std::slice::from_ref(&file));
        }
    }
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = good().bare().write(folder.path());
    let whole = fs::read(&file).unwrap();
    let used = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    assert!(used + 1 < whole.len(), "there is padding to cut");
    let with = |at: usize, bytes: &[u8]| {
        let mut image = whole.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    let no_image = "is not a squashfs image, or is damaged: it";
    let cases = [
        (
            b"hello".to_vec(),
            format!("{no_image} does not begin as one does"),
        ),
        (Vec::new(), format!("{no_image} does not begin as one does")),
        (vec![7; 5000], format!("{no_image} does not begin as one does")),
        (
            whole[..95].to_vec(),
            format!("{no_image} has 95 bytes, fewer than its head"),
        ),
        (
            whole[..used - 1].to_vec(),
            format!("{no_image} has {} bytes, and begins one of {used}", used - 1),
        ),
        (
            with(28, &[3, 0]),
            format!("{no_image} is of squashfs 3.0, not 4.0"),
        ),
        (
            with(64, &[0xff; 8]),
            "is not a squashfs image, or is damaged: its tables contradict each other".to_owned(),
        ),
        (
            whole[..used].to_vec(),
            format!("its end is cut off: {} bytes are missing", whole.len() - used),
        ),
        (
            whole[..whole.len() - 1].to_vec(),
            "its end is cut off: 1 byte is missing".to_owned(),
        ),
    ];
    for (bytes, wanted) in cases {
        fs::write(&file, bytes).unwrap();
        let report = check(std::slice::from_ref(&file)).remove(0);
        let image = report.findings.iter().filter(|one| one.check == Check::Image);
        let said: Vec<_> = image.map(|one| (one.level, one.message.as_str())).collect();
        let [(Level::Error, message)] = said[..] else {
            panic!("{wanted}: {said:?}");
        };
        assert!(message.contains(&wanted), "{message}\n{wanted}");
    }
}

/// The library that reads images adds a directory's size, which here is the
/// largest number, to an offset, and trusts the sum.
#[test]
fn an_image_that_the_reader_panics_on_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree/usr");
    fs::create_dir_all(&tree).unwrap();
    // Enough for a directory inode of the kind with 32 bits for the size.
    for n in 0..1000 {
        fs::write(tree.join(format!("a-rather-long-name-{n}")), "").unwrap();
    }
    let file = folder.path().join("x.tcz");
    let status = Command::new("mksquashfs")
        .args([tree.parent().unwrap(), &file])
        .args(["-noI", "-b", "4096", "-all-root", "-quiet", "-no-progress"])
        .status()
        .expect("mksquashfs is needed: apt-get install squashfs-tools");
    assert!(status.success());
    let mut bytes = fs::read(&file).unwrap();
    let table = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
    // Type 8 and mode 755 of linux/fs/squashfs/squashfs_fs.h's squashfs_ldir_inode.
    let inode = table
        + bytes[table..]
            .windows(4)
            .position(|four| four == b"\x08\0\xed\x01")
            .unwrap();
    bytes[inode + 20..inode + 24].fill(0xff);
    bytes[inode + 34..inode + 36].copy_from_slice(&[8, 0]);
    fs::write(&file, bytes).unwrap();

    let output = crate::cli::tcforge(folder.path(), &["check", "x.tcz"]);
    assert_eq!(crate::cli::stderr(&output), "");
    assert_eq!(output.status.code(), Some(1));
    let said = crate::cli::stdout(&output);
    assert!(
        said.contains("`x.tcz` is damaged: its tables lead the reader astray"),
        "{said}"
    );
}

/// Where Tiny Core's own files are: `TCFORGE_TINYCORE`, or the shared folder
/// beside the project.
fn tinycore() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tinycore-11");
    match std::env::var_os("TCFORGE_TINYCORE") {
        Some(folder) => Some(folder.into()),
        None => shared.is_dir().then_some(shared),
    }
}

/// The official extensions, as they come: without side files. What they need
/// of each other is known from the base's file. Without them the test checks
/// the base's file only.
#[test]
fn official_extensions_pass_without_an_error() {
    let names = [
        "dosfstools",
        "glib2",
        "libffi",
        "liblvm2",
        "ncursesw",
        "parted",
        "readline",
        "udev-lib",
    ];
    for name in names {
        assert!(BASE.extension(&format!("{name}.tcz")).is_some(), "{name}");
    }
    let Some(folder) = tinycore() else {
        eprintln!("no Tiny Core files: set TCFORGE_TINYCORE to a folder that has them in `tcz/`");
        return;
    };
    let files = names.map(|name| folder.join(format!("tcz/{name}.tcz")));
    for (file, report) in files.iter().zip(check(&files)) {
        let alone = check(std::slice::from_ref(file)).remove(0);
        for report in [&report, &alone] {
            assert_eq!(
                report.count(Level::Error),
                0,
                "{}: {:#?}",
                file.display(),
                found(report)
            );
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        let mut wanted = vec!["warning side-files", "warning license"];
        match name {
            "udev-lib" => wanted.insert(0, "warning block-size"),
            "glib2" => wanted.extend([
                "warning shebang usr/local/bin/gdbus-codegen",
                "warning shebang usr/local/bin/glib-genmarshal",
                "warning shebang usr/local/bin/glib-mkenums",
                "warning shebang usr/local/bin/gtester-report",
            ]),
            _ => {}
        }
        assert_eq!(found(&report), wanted, "{name}: {:#?}", report.findings);
    }
}
