//! The side files of an extension, against the programs that make them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tcforge::digest::Sha256;
use tcforge::stage::{Content, Node, Stage, TreePath};
use tcforge::tcz::side::{
    self, Dependency, Info, SideFiles, Sums, Upstream, dep, info, list, md5, tree,
    zsync::{self, Layout, Zsync},
};

/// Runs a program in a folder and gives what it prints.
fn run(folder: &Path, program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{program}`: {error}; install the package that has it"));
    assert!(output.status.success(), "{program}: {output:?}");
    output.stdout
}

/// Bytes that do not repeat, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .collect()
}

fn our_zsync(path: &Path, name: &str, time: u32) -> Zsync {
    let sums = Sums::of_file(path, None).unwrap();
    Zsync {
        file_name: name.into(),
        mtime: Some(zsync::mtime(time)),
        layout: Layout::for_length(sums.length),
        url: name.into(),
        sha1: sums.sha1,
        sums: sums.blocks,
    }
}

#[test]
fn zsync_files_are_zsyncmakes_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tcz");
    for length in [
        1, 2, 100, 2047, 2048, 2049, 4096, 5000, 65_536, 1_000_003, 5_000_000,
    ] {
        fs::write(&path, noise(length)).unwrap();
        filetime::set_file_mtime(&path, filetime::FileTime::from_unix_time(1_583_020_800, 0)).unwrap();
        run(dir.path(), "zsyncmake", &["-u", "x.tcz", "x.tcz"]);
        let theirs = fs::read(dir.path().join("x.tcz.zsync")).unwrap();
        let ours = our_zsync(&path, "x.tcz", 1_583_020_800);
        assert!(ours.to_bytes() == theirs, "length {length}: {:?}", ours.layout);
        assert_eq!(Zsync::parse(&theirs).unwrap(), ours);
    }
}

/// The choice of block and sum lengths, at sizes where it changes. Files with
/// holes: nothing of their length is written.
#[test]
fn the_layout_is_zsyncmakes_for_large_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tcz");
    for length in [16 << 20, 99_999_999, 100_000_000, 150_000_000] {
        fs::File::create(&path).unwrap().set_len(length).unwrap();
        run(dir.path(), "zsyncmake", &["-u", "x.tcz", "x.tcz"]);
        let theirs = Zsync::parse(&fs::read(dir.path().join("x.tcz.zsync")).unwrap()).unwrap();
        assert_eq!(Layout::for_length(length), theirs.layout);
    }
}

#[test]
fn sizes_are_those_of_du() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tcz");
    for kilobytes in [
        4, 8, 12, 124, 1020, 1024, 1264, 1436, 9216, 10_240, 10_244, 12_000,
    ] {
        fs::write(&path, noise(kilobytes * 1024)).unwrap();
        let printed = run(dir.path(), "du", &["-h", "--apparent-size", "x.tcz"]);
        let printed = String::from_utf8(printed).unwrap();
        let theirs = printed.split_whitespace().next().unwrap().replace('M', "MB");
        assert_eq!(info::du(kilobytes as u64 * 1024), theirs);
    }
}

fn stage() -> Stage {
    let mut stage = Stage::new();
    for name in ["usr/local/bin/x", "usr/local/bin.d/x", "usr/local/bin/y"] {
        let path = TreePath::parse(name).unwrap();
        stage
            .insert(path, Node::file(Content::bytes(*b"x"), 0o755))
            .unwrap();
    }
    stage
}

fn example_info() -> Info {
    Info {
        description: "An example".into(),
        version: "1.0".into(),
        author: "Somebody".into(),
        original_site: "https://example.org".into(),
        copying_policy: "MIT".into(),
        extension_by: "tcforge".into(),
        current: "2020/03/01 First version".into(),
        ..Info::default()
    }
}

fn write(image: &Path, folder: &Path, dependencies: &[Dependency], stage: &Stage) -> Sums {
    let upstream = [Upstream {
        name: "x-1.0.tar.gz".into(),
        version: "1.0".into(),
        url: Some("https://example.org/x-1.0.tar.gz".into()),
        sha256: Sha256::of(b"upstream"),
        vouched: Some("a test".into()),
        license: "MIT".into(),
    }];
    let lookup = |name: &str| match name {
        "net-bridging-5.4.3-tinycore64.tcz" => dep::parse("ipv6-netfilter-KERNEL.tcz\n").unwrap(),
        _ => vec![],
    };
    let side = SideFiles {
        file_name: "x.tcz",
        info: &example_info(),
        dependencies,
        lookup: &lookup,
        kernel: "5.4.3-tinycore64",
        stage,
        upstream: &upstream,
        inputs: None,
        license: "MIT",
        time: 1_583_020_800,
    };
    let sums = Sums::of_file(image, None).unwrap();
    side::write_side_files(&sums, &side, folder).unwrap();
    sums
}

#[test]
fn all_side_files_are_written_and_agree_with_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let image = dir.path().join("x.tcz");
    fs::write(&image, noise(126_976)).unwrap();
    let dependencies = dep::parse("coreutils.tcz\nnet-bridging-KERNEL.tcz\n").unwrap();
    let sums = write(&image, out.path(), &dependencies, &stage());
    let read = |suffix: &str| fs::read_to_string(out.path().join(format!("x.tcz.{suffix}")));

    let md5 = read("md5.txt").unwrap();
    assert_eq!(md5.as_bytes(), run(dir.path(), "md5sum", &["x.tcz"]));
    assert_eq!(md5::parse(&md5), Ok((sums.md5, "x.tcz")));
    assert_eq!(read("dep").unwrap(), "coreutils.tcz\nnet-bridging-KERNEL.tcz\n");
    let list = read("list").unwrap();
    assert_eq!(list, "/usr/local/bin.d/x\n/usr/local/bin/x\n/usr/local/bin/y\n");
    assert_eq!(list::parse(list.as_bytes()).unwrap().len(), 3);
    let tree = read("tree").unwrap();
    let wanted = "x.tcz\n   coreutils.tcz\n   net-bridging-5.4.3-tinycore64.tcz\n      \
                  ipv6-netfilter-5.4.3-tinycore64.tcz\n\n";
    assert_eq!(tree, wanted);
    assert_eq!(tree::parse(&tree).unwrap().len(), 4);
    let (info, deviations) = Info::parse(read("info").unwrap().as_bytes());
    assert_eq!(
        (deviations.as_slice(), &*info.title, &*info.size),
        (&[][..], "x.tcz", "124K")
    );
    let zsync = Zsync::parse(&fs::read(out.path().join("x.tcz.zsync")).unwrap()).unwrap();
    assert_eq!((zsync.sha1, &zsync.sums), (sums.sha1, &sums.blocks));
    let sbom: serde_json::Value = serde_json::from_str(&read("spdx.json").unwrap()).unwrap();
    assert_eq!(
        sbom["packages"][0]["checksums"][0]["checksumValue"],
        sums.sha256.to_string()
    );
}

#[test]
fn the_same_input_gives_the_same_files_and_no_dep_without_dependencies() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = dir.path().join("x.tcz");
    fs::write(&image, noise(10_000)).unwrap();
    write(&image, one.path(), &[], &stage());
    filetime::set_file_mtime(&image, filetime::FileTime::from_unix_time(1, 0)).unwrap();
    write(&image, two.path(), &[], &stage());
    let names: BTreeSet<String> = fs::read_dir(one.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted = ["info", "list", "md5.txt", "spdx.json", "tree", "zsync"].map(|s| format!("x.tcz.{s}"));
    assert_eq!(names, BTreeSet::from(wanted));
    for name in names {
        let bytes = |folder: &Path| fs::read(folder.join(&name)).unwrap();
        assert_eq!(bytes(one.path()), bytes(two.path()), "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("x.tcz");
    fs::write(&image, "x").unwrap();
    let side = |file_name: &'static str, dependencies: &'static str, image: &Path, folder: &Path| {
        let dependencies = dep::parse(dependencies).unwrap();
        let side = SideFiles {
            file_name,
            info: &example_info(),
            dependencies: &dependencies,
            lookup: &|_| dep::parse("x.tcz\n").unwrap(),
            kernel: "5",
            stage: &stage(),
            upstream: &[],
            inputs: None,
            license: "MIT",
            time: 0,
        };
        let sums = Sums::of_file(image, None).unwrap();
        side::write_side_files(&sums, &side, folder)
            .unwrap_err()
            .to_string()
    };
    let none = dir.path().join("none");
    assert!(side("../x.tcz", "", &image, dir.path()).contains("`../x.tcz` cannot be the name"));
    assert!(side("x.tcz", "", &image, &none).contains("cannot write"));
    let circle = side("x.tcz", "y.tcz\n", &image, dir.path());
    assert!(circle.contains("x.tcz → y.tcz → x.tcz"), "{circle}");
}

proptest::proptest! {
    /// Side files come from anywhere.
    #[test]
    fn anything_is_read_or_refused(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        text in "((Title|Size|Current|Comments|[a-z]{0,5}):|[ \t]{0,20}|[a-zü./-]{0,9}|\\.tcz|\r?\n){0,40}",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let lossy = String::from_utf8_lossy(bytes);
            let (info, _) = Info::parse(bytes);
            let printed = info.print();
            let (again, _) = Info::parse(printed.as_bytes());
            proptest::prop_assert_eq!(again.print(), printed);
            let (dependencies, errors) = dep::read(&lossy);
            proptest::prop_assert_eq!(dep::parse(&lossy).is_ok(), errors.is_empty());
            proptest::prop_assert_eq!(&dep::parse(&dep::print(&dependencies)).unwrap(), &dependencies);
            let _ = (list::parse(bytes), md5::parse(&lossy), tree::parse(&lossy), Zsync::parse(bytes));
        }
    }
}
