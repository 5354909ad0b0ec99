//! The squashfs writer, with squashfs-tools and another reading library as
//! judges of what it writes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bstr::{BString, ByteSlice};
use proptest::prelude::*;
use tcforge::digest::Sha256;
use tcforge::progress::Silent;
use tcforge::stage::{Content, Kind, Node, Owner, Stage, TreePath};
use tcforge::tcz::squashfs::{Algorithm, BlockSize, Compression, PackError, PackOptions, Written, write};
use tcforge::tcz::verify::{VerifyError, verify};

const TIME: u32 = 1_600_000_000;

/// Runs one of squashfs-tools' programs and gives what it printed.
fn run(program: &str, args: &[&str]) -> BString {
    let output = Command::new(program)
        .args(args)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install squashfs-tools"));
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(output.status.success(), "{program} {args:?}: {}", text.as_bstr());
    output.stdout.into()
}

fn path(name: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(name).unwrap()
}

fn options(algorithm: Algorithm, block_size: u32) -> PackOptions {
    let block_size = BlockSize::new(block_size).unwrap();
    PackOptions {
        block_size,
        compression: Compression::new(algorithm),
        time: TIME,
        threads: NonZeroUsize::new(2).unwrap(),
    }
}

fn mirror() -> PackOptions {
    options(Algorithm::Gzip, 4096)
}

/// An image in a folder of its own.
struct Image {
    folder: tempfile::TempDir,
    written: Written,
}

impl Image {
    fn of(stage: &Stage, options: &PackOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = File::create(folder.path().join("x.tcz")).unwrap();
        let written = write(stage, &out, options, &Silent).unwrap();
        let image = Self { folder, written };
        assert_eq!(fs::metadata(image.path()).unwrap().len(), image.written.size);
        image
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.tcz")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn extract(&self) -> PathBuf {
        let to = self.folder.path().join("out");
        let image = self.path();
        run(
            "unsquashfs",
            &["-q", "-n", "-d", to.to_str().unwrap(), image.to_str().unwrap()],
        );
        to
    }

    fn list(&self) -> BTreeMap<BString, String> {
        list(&self.path())
    }
}

/// What `unsquashfs -lln` says of each path: kind and mode, owner, time, and
/// for all but directories the size; behind a link's name is its target.
fn list(image: &Path) -> BTreeMap<BString, String> {
    let text = run("unsquashfs", &["-lln", image.to_str().unwrap()]);
    let entry = |line: &[u8]| {
        let mut rest = line;
        let mut field = || {
            let (field, later) = rest.trim_start().split_once_str(" ").unwrap();
            rest = later;
            field.to_str_lossy().into_owned()
        };
        let (mode, owner, size, date, time) = (field(), field(), field(), field(), field());
        let size = if mode.starts_with('d') { "-" } else { size.as_str() };
        let name = rest.strip_prefix(b"squashfs-root").unwrap();
        (name.into(), format!("{mode} {owner} {size} {date} {time}"))
    };
    // Not `lines`, which would take a carriage return from a name.
    text.split_str("\n")
        .filter(|line| line.contains_str("squashfs-root"))
        .map(entry)
        .collect()
}

/// What `unsquashfs -lln` ought to say of a stage.
fn expected_list(stage: &Stage, time: &str) -> BTreeMap<BString, String> {
    let entry = |(path, node): (&TreePath, &Node)| {
        let mut name = BString::from(if path.is_root() { "" } else { "/" });
        name.extend_from_slice(path.as_bytes());
        let (kind, size) = match &node.kind {
            Kind::Directory => ('d', "-".to_owned()),
            Kind::File(content) => ('-', content.len().to_string()),
            Kind::Symlink(target) => {
                name.extend_from_slice(b" -> ");
                name.extend_from_slice(target);
                ('l', target.len().to_string())
            }
        };
        let Owner { uid, gid } = node.owner;
        let mode = mode_text(node.mode);
        (name, format!("{kind}{mode} {uid}/{gid} {size} {time}"))
    };
    stage.iter().map(entry).collect()
}

fn mode_text(mode: u16) -> String {
    let bit = |shift: u16, letter: char| if mode >> shift & 1 == 1 { letter } else { '-' };
    let special = |shift: u16, special: u16, letter: char| match (mode >> shift & 1, mode >> special & 1) {
        (0, 0) => '-',
        (_, 0) => 'x',
        (0, _) => letter.to_ascii_uppercase(),
        _ => letter,
    };
    [
        bit(8, 'r'),
        bit(7, 'w'),
        special(6, 11, 's'),
        bit(5, 'r'),
        bit(4, 'w'),
        special(3, 10, 's'),
        bit(2, 'r'),
        bit(1, 'w'),
        special(0, 9, 't'),
    ]
    .iter()
    .collect()
}

/// Packs, verifies, and has unsquashfs confirm everything that it shows:
/// names, kinds, modes, owners, times, sizes, targets, contents, hard links.
fn check(stage: &Stage, options: &PackOptions) -> Image {
    let image = Image::of(stage, options);
    verify(&image.path(), stage, &image.written, options).unwrap();
    check_extracted(stage, &image);
    image
}

fn check_extracted(stage: &Stage, image: &Image) {
    assert_eq!(image.list(), expected_list(stage, "2020-09-13 12:26"));
    let extracted = image.extract();
    let mut inodes = BTreeMap::new();
    for (path, node) in stage.iter() {
        let Kind::File(content) = &node.kind else {
            continue;
        };
        let host = extracted.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        assert!(
            fs::read(&host).unwrap() == content.read_all().unwrap(),
            "{path}: content"
        );
        assert_eq!(image.written.sums[path], Sha256::of(&content.read_all().unwrap()));
        let inode = fs::metadata(&host).unwrap().ino();
        let key = (content.identity(), node.mode, node.owner);
        assert_eq!(*inodes.entry(key).or_insert(inode), inode, "{path}: hard link");
    }
    let count = inodes.len() + stage.iter().filter(|(_, node)| !is_file(node)).count();
    assert_eq!(image.written.counts.inodes as usize, count);
    let found = Stage::from_folder(&extracted).unwrap();
    assert_eq!(found.len(), stage.len());
}

fn is_file(node: &Node) -> bool {
    matches!(node.kind, Kind::File(_))
}

/// Bytes that do not compress, the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(len.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(len);
    bytes
}

/// Bytes that compress.
fn text(len: usize, seed: u64) -> Vec<u8> {
    let words = noise(len / 2 + 1, seed);
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|byte| format!("{byte:o} ").into_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// A stage of files, in the order of their names.
fn files<N: AsRef<[u8]>>(list: impl IntoIterator<Item = (N, Vec<u8>)>) -> Stage {
    let mut stage = Stage::new();
    for (name, bytes) in list {
        stage
            .insert(path(name), Node::file(Content::bytes(bytes), 0o644))
            .unwrap();
    }
    stage
}

fn with(mut stage: Stage, nodes: impl IntoIterator<Item = (Vec<u8>, Node)>) -> Stage {
    for (name, node) in nodes {
        stage.insert(path(name), node).unwrap();
    }
    stage
}

fn around_a_block(size: usize) -> Stage {
    let short = [0, 1, size - 1, size];
    let text = short.map(|len| (format!("text{len}"), text(len, len as u64)));
    let noise = [size, size + 17].map(|len| (format!("noise{len}"), noise(len, len as u64)));
    files(text.into_iter().chain(noise))
}

fn duplicates(size: usize) -> Stage {
    let block = text(size, 1);
    let with_tail = |tail: &str| [&block[..], tail.as_bytes()].concat();
    files([
        ("a", with_tail("first")),
        ("b", with_tail("other")),
        ("c", with_tail("first")),
        ("small-a", b"small".to_vec()),
        ("small-b", b"small".to_vec()),
        ("z-last", with_tail("other")),
    ])
}

fn hard_links(size: usize) -> Stage {
    let (small, large) = (Content::bytes(*b"small"), Content::bytes(text(2 * size, 1)));
    let node = |content: &Content, mode| Node::file(content.clone(), mode);
    with(
        Stage::new(),
        [
            (b"a/large".to_vec(), node(&large, 0o755)),
            (b"a/small".to_vec(), node(&small, 0o644)),
            (b"b/large".to_vec(), node(&large, 0o755)),
            (b"small".to_vec(), node(&small, 0o644)),
            (b"small-but-private".to_vec(), node(&small, 0o600)),
            (b"z/small".to_vec(), node(&small, 0o644)),
        ],
    )
}

fn sparse(size: usize) -> Stage {
    let zeros = |blocks: usize| vec![0; blocks * size];
    files([
        ("all", zeros(3)),
        ("beginning", [zeros(2), text(size, 1)].concat()),
        ("end", [text(size, 2), zeros(1), vec![0; 5]].concat()),
        ("middle", [text(size, 3), zeros(2), text(9, 4)].concat()),
        ("small", vec![0; 9]),
    ])
}

fn names() -> Stage {
    let long = [b'n'; 255].to_vec();
    let deep = [b"deep/".repeat(300), b"x".to_vec()].concat();
    let bytes: Vec<u8> = (1..=255).filter(|byte| !b"/\n.".contains(byte)).collect();
    let odd = [
        b"\xff\xfe".to_vec(),
        b" blank ".to_vec(),
        b"...".to_vec(),
        long,
        deep,
        bytes[..250].to_vec(),
    ];
    let stage = files(odd.into_iter().map(|name| (name, b"x".to_vec())));
    let targets = [
        vec![b'\xff'; 255],
        b"/absolute".to_vec(),
        b"../a b".to_vec(),
        b".".to_vec(),
    ];
    let link = |(index, target): (usize, Vec<u8>)| (format!("link{index}").into(), Node::symlink(target));
    with(stage, targets.into_iter().enumerate().map(link))
}

fn modes_and_owners() -> Stage {
    let node = |kind, mode, uid, gid| Node {
        kind,
        mode,
        owner: Owner { uid, gid },
    };
    let file = || Kind::File(Content::bytes(*b"x"));
    with(
        Stage::new(),
        [
            (b"empty".to_vec(), Node::directory()),
            (b"setuid".to_vec(), node(file(), 0o4755, 0, 0)),
            (b"setgid".to_vec(), node(file(), 0o2644, 0, 50)),
            (b"sticky".to_vec(), node(Kind::Directory, 0o1777, 1001, 50)),
            (b"high".to_vec(), node(file(), 0o600, u32::MAX - 1, u32::MAX - 2)),
            (
                b"link".to_vec(),
                node(Kind::Symlink(b"x".to_vec()), 0o777, 1000, 1000),
            ),
        ],
    )
}

#[test]
fn what_is_written_is_what_unsquashfs_and_backhand_read() {
    for size in [4096, 131_072, 1_048_576] {
        let len = size as usize;
        let trees = [
            Stage::new(),
            files([("only-an-empty-file", vec![])]),
            around_a_block(len),
            duplicates(len),
            hard_links(len),
            sparse(len),
        ];
        for algorithm in [Algorithm::Gzip, Algorithm::Xz, Algorithm::Zstd] {
            for tree in &trees {
                check(tree, &options(algorithm, size));
            }
        }
    }
    check(&names(), &mirror());
    check(&modes_and_owners(), &mirror());
}

#[test]
fn what_is_there_twice_is_stored_once() {
    let image = check(&duplicates(4096), &mirror());
    let counts = image.written.counts;
    assert_eq!((counts.files, counts.inodes), (6, 7));
    // Two blocks for each of two contents; two small files in one fragment.
    assert_eq!((counts.duplicates, counts.blocks, counts.fragments), (3, 4, 1));

    let image = check(&hard_links(4096), &mirror());
    let counts = image.written.counts;
    assert_eq!((counts.files, counts.directories, counts.inodes), (6, 4, 7));
    assert_eq!(counts.duplicates, 0);

    let image = check(&sparse(4096), &mirror());
    assert_eq!(image.written.counts.blocks, 3 + 3 + 3 + 4);
}

#[test]
fn the_number_of_threads_does_not_show() {
    let stage = {
        let mut stage = around_a_block(131_072);
        for (path, node) in duplicates(131_072).iter().skip(1) {
            stage.insert(path.clone(), node.clone()).unwrap();
        }
        stage
    };
    for algorithm in [Algorithm::Gzip, Algorithm::Xz, Algorithm::Zstd] {
        for size in [4096, 131_072] {
            let image = |threads| {
                let threads = NonZeroUsize::new(threads).unwrap();
                let options = PackOptions {
                    threads,
                    ..options(algorithm, size)
                };
                Image::of(&stage, &options).bytes()
            };
            let one = image(1);
            for threads in [2, 4, 64] {
                assert!(one == image(threads), "{algorithm} {size} {threads}");
            }
        }
    }
}

#[test]
fn the_host_does_not_show() {
    let names = ["b", "a/z", "a/b", "c"];
    let image = |order: &[usize], mode: u32| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        for index in order {
            let path = folder.path().join(names[*index]);
            fs::write(&path, text(5000 * index, 1)).unwrap();
            let time = filetime::FileTime::from_unix_time(i64::from(mode), 0);
            filetime::set_file_mtime(&path, time).unwrap();
        }
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(mode)).unwrap();
        let mut stage = Stage::from_folder(folder.path()).unwrap();
        for (_, node) in stage.iter_mut() {
            node.owner = Owner::ROOT;
            node.mode = if node.is_dir() { 0o755 } else { 0o644 };
        }
        Image::of(&stage, &mirror()).bytes()
    };
    assert!(image(&[0, 1, 2, 3], 0o755) == image(&[3, 1, 0, 2], 0o700));
}

#[test]
fn the_bytes_stay_the_same() {
    let image = Image::of(&hard_links(4096), &mirror());
    let (sum, size) = Sha256::of_reader(&mut File::open(image.path()).unwrap()).unwrap();
    let known = "6b813c58eb40005ae70e25ae21540f908c02415bf1b6eeed72f4c04c56aa9c95";
    assert_eq!(
        (sum.to_string().as_str(), size),
        (known, 4096),
        "has the version of libdeflate changed, or the writer? then every extension changes: say so"
    );
}

#[test]
fn the_superblock_is_an_official_extensions() {
    let image = Image::of(&files([("x", text(9000, 1))]), &mirror());
    let text = run("unsquashfs", &["-s", image.path().to_str().unwrap()]).to_string();
    // What 4.5's unsquashfs says of the mirror's dosfstools.tcz, and of all the
    // others that have no fragment.
    let wanted = "\
        Creation or last append time Sun Sep 13 12:26:40 2020\n\
        Compression gzip\n\
        Block size 4096\n\
        Filesystem is exportable via NFS\n\
        Inodes are compressed\n\
        Data is compressed\n\
        Uids/Gids (Id table) are compressed\n\
        Fragments are compressed\n\
        Always-use-fragments option is not specified\n\
        Xattrs are not stored\n\
        Duplicates are removed\n\
        Number of fragments 0\n\
        Number of inodes 2\n\
        Number of ids 1\n";
    let got: String = text
        .lines()
        .filter(|line| !line.contains("superblock") && !line.starts_with("Filesystem size"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(got, wanted);
    assert_eq!(image.bytes().len() % 4096, 0);
}

#[test]
fn mksquashfs_makes_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("usr/local/bin")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    for index in 0..300 {
        let path = tree.join(format!("usr/local/file-with-a-longer-name-{index:03}"));
        fs::write(path, text(index * 100, 5)).unwrap();
    }
    fs::write(tree.join("usr/local/bin/program"), noise(100_000, 1)).unwrap();
    fs::hard_link(tree.join("usr/local/bin/program"), tree.join("linked")).unwrap();
    std::os::unix::fs::symlink("usr/local/bin/program", tree.join("soft")).unwrap();
    let theirs = folder.path().join("theirs");
    let args = ["-b", "4096", "-no-xattrs", "-all-root", "-all-time", "1600000000"];
    let host = [tree.to_str().unwrap(), theirs.to_str().unwrap()];
    run(
        "mksquashfs",
        &[&host[..], &args, &["-quiet", "-no-progress"]].concat(),
    );

    let mut stage = Stage::from_folder(&tree).unwrap();
    stage.iter_mut().for_each(|(_, node)| node.owner = Owner::ROOT);
    let ours = check(&stage, &mirror());
    assert_eq!(ours.list(), list(&theirs));
    let facts = |image: &Path| {
        let text = run("unsquashfs", &["-s", image.to_str().unwrap()]).to_string();
        let lines = text.lines().filter(|line| line.starts_with("Number of"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(facts(&ours.path()), facts(&theirs));
}

#[test]
fn times_are_unsigned() {
    let stage = files([("x", b"x".to_vec())]);
    for (time, shown) in [
        (0, "1970-01-01 00:00"),
        (1 << 31, "2038-01-19 03:14"),
        (u32::MAX, "2106-02-07 06:28"),
    ] {
        let options = PackOptions { time, ..mirror() };
        let image = Image::of(&stage, &options);
        verify(&image.path(), &stage, &image.written, &options).unwrap();
        assert_eq!(image.list(), expected_list(&stage, shown), "{time}");
    }
}

#[test]
fn a_folder_can_hold_tens_of_thousands() {
    let entry = |index: usize| {
        (
            format!("many/a-name-of-some-length-{index:05}"),
            vec![b'x'; index % 3],
        )
    };
    let stage = files((0..30_000).map(entry));
    let image = Image::of(&stage, &mirror());
    verify(&image.path(), &stage, &image.written, &mirror()).unwrap();
    assert_eq!(image.list(), expected_list(&stage, "2020-09-13 12:26"));
    assert_eq!(image.written.counts.files, 30_000);
    let some: Vec<_> = (0..1200)
        .map(|index| (format!("some/{index}").into_bytes(), Node::directory()))
        .collect();
    check(&with(Stage::new(), some), &mirror());
}

#[test]
fn a_file_can_be_larger_than_4_gib() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("large");
    let mut file = File::create(&host).unwrap();
    let beyond = (1 << 32) + 12_345;
    file.write_all(b"beginning").unwrap();
    file.seek(SeekFrom::Start(beyond)).unwrap();
    file.write_all(b"end").unwrap();
    let len = beyond + 3;
    let node = Node::file(Content::host(&host, len), 0o644);
    let stage = with(files([("small", b"x".to_vec())]), [(b"large".to_vec(), node)]);
    let options = options(Algorithm::Gzip, 1_048_576);
    let image = Image::of(&stage, &options);
    verify(&image.path(), &stage, &image.written, &options).unwrap();
    assert_eq!(image.list(), expected_list(&stage, "2020-09-13 12:26"));
    assert!(image.written.size < 65_536, "holes take no room");
    let out = image.extract().join("large");
    assert_eq!(fs::metadata(&out).unwrap().len(), len);
    let mut end = [0; 3];
    std::os::unix::fs::FileExt::read_exact_at(&File::open(out).unwrap(), &mut end, beyond).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn long_links_are_written_but_cannot_be_verified() {
    let link = |len| (b"link".to_vec(), Node::symlink(vec![b'x'; len]));
    for (len, verifiable) in [(255, true), (256, false), (4095, false)] {
        let stage = with(Stage::new(), [link(len)]);
        let image = Image::of(&stage, &mirror());
        check_extracted(&stage, &image);
        let result = verify(&image.path(), &stage, &image.written, &mirror());
        match result {
            Ok(()) => assert!(verifiable, "{len}"),
            Err(VerifyError::LongLink { len: found, .. }) => {
                assert!(!verifiable && found == len, "{len}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_cannot_be_packed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("x");
    fs::write(&host, "abc").unwrap();
    let on_host = |len| vec![("dir/x", Node::file(Content::host(&host, len), 0o644))];
    let owners = (0..33_000).map(|index| Owner {
        uid: index,
        gid: 100_000 + index,
    });
    let owned = owners.enumerate().map(|(index, owner)| {
        let node = Node {
            owner,
            ..Node::directory()
        };
        (format!("{index}"), node)
    });
    let long = "n".repeat(256);
    let gone = Node::file(Content::host(folder.path().join("gone"), 3), 0o644);
    let stage = |nodes: Vec<(&str, Node)>| {
        let nodes = nodes.into_iter();
        with(Stage::new(), nodes.map(|(name, node)| (name.into(), node)))
    };
    let owned = with(Stage::new(), owned.map(|(name, node)| (name.into_bytes(), node)));
    for (stage, message) in [
        (stage(on_host(4)), "cannot read the content of `dir/x`"),
        (stage(on_host(2)), "cannot read the content of `dir/x`"),
        (stage(vec![("gone", gone)]), "cannot read the content of `gone`"),
        (
            stage(vec![(&long, Node::directory())]),
            "the name of `nnn has 256 bytes; 255 are possible",
        ),
        (owned, "the tree has more than 65535 different owners"),
    ] {
        let out = tempfile::tempfile().unwrap();
        let error: PackError = write(&stage, &out, &mirror(), &Silent).unwrap_err();
        let text = error
            .to_string()
            .replace(&"n".repeat(256), "nnn")
            .replace("nnn`", "nnn");
        assert_eq!(text, message);
    }
}

#[test]
fn a_read_only_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, "").unwrap();
    let out = File::open(&path).unwrap();
    let stage = files([("x", noise(1_000_000, 1))]);
    let error = write(&stage, &out, &mirror(), &Silent).unwrap_err();
    assert!(matches!(error, PackError::Write(_)), "{error}");
}

/// One change to a stage, and what the verification says then.
type Change = (fn(&mut Stage), &'static str);

#[test]
fn every_difference_is_found() {
    fn node<'a>(stage: &'a mut Stage, name: &str) -> &'a mut Node {
        let wanted = path(name);
        stage.iter_mut().find(|(path, _)| **path == wanted).unwrap().1
    }
    let changes: [Change; 9] = [
        (
            |stage| node(stage, "file").mode = 0o600,
            "`file` has mode 644 in the image, and not 600",
        ),
        (
            |stage| node(stage, "dir").owner.gid = 50,
            "`dir` has group 0 in the image, and not 50",
        ),
        (
            |stage| node(stage, "dir").owner.uid = 50,
            "`dir` has user 0 in the image, and not 50",
        ),
        (
            |stage| node(stage, "link").kind = Kind::Symlink(b"dir".to_vec()),
            "`link` has target file in the image, and not dir",
        ),
        (
            |stage| node(stage, "link").kind = Kind::Directory,
            "`link` has kind symbolic link in the image, and not directory",
        ),
        (
            |stage| node(stage, "file").kind = Kind::File(Content::bytes(*b"contenT")),
            "`file` has content ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73 in the \
             image, and not a55ed3d6395f741204ae0cf816b483634e7706655429af80109675798b9fc4b0",
        ),
        (
            |stage| node(stage, "file").kind = Kind::File(Content::bytes(*b"longer content")),
            "`file` has size 7 in the image, and not 14",
        ),
        (
            |stage| stage.insert(path("more"), Node::directory()).unwrap(),
            "`more` is missing in the image",
        ),
        (
            |stage| *stage = files([("file", b"content".to_vec())]),
            "the image has `dir`, which was not staged",
        ),
    ];
    let stage = with(
        files([("file", b"content".to_vec())]),
        [
            (b"dir".to_vec(), Node::directory()),
            (b"link".to_vec(), Node::symlink("file")),
        ],
    );
    let image = Image::of(&stage, &mirror());
    for (change, message) in changes {
        let mut changed = stage.clone();
        change(&mut changed);
        let error = verify(&image.path(), &changed, &image.written, &mirror()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn damage_is_found_wherever_it_is() {
    let stage = around_a_block(4096);
    let image = Image::of(&stage, &mirror());
    let good = image.bytes();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..used).step_by(1009) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(image.path(), &bad).unwrap();
        let result = verify(&image.path(), &stage, &image.written, &mirror());
        assert!(result.is_err(), "byte {at} of {used}");
    }
    fs::write(image.path(), &good[..good.len() / 2]).unwrap();
    assert!(verify(&image.path(), &stage, &image.written, &mirror()).is_err());
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        prop::collection::vec(any::<u8>(), 1..200),
        (0..20_000usize, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        (0..50_000usize, 0..3u64).prop_map(|(len, seed)| text(len, seed)),
        (0..5usize, any::<u8>()).prop_map(|(blocks, last)| [vec![0; blocks * 4096], vec![last]].concat()),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a name's", |byte| !b"/\0\n".contains(byte));
    prop_oneof![
        "[a-c]{1,2}(/[a-c]{1,2}){0,4}".prop_map(String::into_bytes),
        prop::collection::vec(byte, 1..40)
    ]
}

/// Any node, by its seeds: a kind, a mode that lets its owner read it back, an
/// owner, and whether it shares the content of another file.
fn tree() -> impl Strategy<Value = Stage> {
    let entry = (name(), 0..4u8, content(), 0..0o10000u16, 0..3u32, any::<bool>());
    prop::collection::vec(entry, 0..40).prop_map(|entries| {
        let mut stage = Stage::new();
        let mut last = Content::bytes(*b"first");
        for (name, kind, bytes, mode, uid, link) in entries {
            let kind = match kind {
                0 => Kind::Directory,
                1 => {
                    let mut target = [b"x", bytes.as_slice()].concat();
                    target.retain(|byte| !b"\0\n".contains(byte));
                    target.truncate(200);
                    Kind::Symlink(target)
                }
                _ => {
                    last = if link { last } else { Content::bytes(bytes) };
                    Kind::File(last.clone())
                }
            };
            let readable = if matches!(kind, Kind::Directory) {
                0o700
            } else {
                0o400
            };
            let mode = if matches!(kind, Kind::Symlink(_)) {
                0o777
            } else {
                mode | readable
            };
            let owner = Owner { uid, gid: uid * 25 };
            // Names that clash are left out.
            let path = TreePath::parse(&name).ok().filter(|path| !path.is_root());
            path.map(|path| stage.insert(path, Node { kind, mode, owner }));
        }
        stage
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(stage in tree(), size in 12..=20u32, algorithm in 0..3u8) {
        let algorithm = match algorithm {
            0 => Algorithm::Gzip,
            1 => Algorithm::Xz,
            _ => Algorithm::Zstd,
        };
        check(&stage, &options(algorithm, 1 << size));
    }
}
