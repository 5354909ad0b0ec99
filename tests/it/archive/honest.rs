//! What honest programs make is taken, and comes out as it went in.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tcforge::archive::{Compression, Format, Limits, Root, read};
use tcforge::stage::{Kind, Owner, Spool, Stage, TreePath};

use super::bytes::{Tar, ZipEntry, deb, gzip, header, record, seal, xz, zip, zip_edited, zstd};
use super::{in_child, is_child, limits, listing, read_bytes, read_within, run, tar, text};

/// A folder with what a release may hold. `long` names do not fit into a ustar
/// header.
fn folder(long: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, mode: u32, data: &[u8]| {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), data).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("bin/program", 0o755, &b"\x7fELF\0".repeat(50_000));
    write("bin/setuid", 0o4755, b"s");
    write("etc/empty", 0o640, b"");
    write("etc/one block", 0o444, &[7; 512]);
    write("lib/x.so.1", 0o644, &[1; 513]);
    symlink("x.so.1", at("lib/x.so")).unwrap();
    symlink("../bin/program", at("lib/back")).unwrap();
    symlink("nowhere", at("lib/dangling")).unwrap();
    fs::hard_link(at("bin/program"), at("bin/same")).unwrap();
    fs::create_dir(at("void")).unwrap();
    fs::set_permissions(at("void"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"n\xf6n-utf8\n")), "x").unwrap();
    // 99 and 100 bytes, and a prefix.
    write(&"n".repeat(99), 0o644, b"99");
    write(&"m".repeat(100), 0o644, b"100");
    write(
        &format!("{}/{}", "p".repeat(80), "f".repeat(80)),
        0o644,
        b"prefix",
    );
    if long {
        write(&"l".repeat(200), 0o644, b"200");
        write(
            &format!("{0}/{0}/{0}/{1}", "d".repeat(200), "ü".repeat(100)),
            0o600,
            b"803",
        );
        symlink("t".repeat(250), at("long link")).unwrap();
        fs::hard_link(at(&"l".repeat(200)), at("long hard link")).unwrap();
    }
    dir
}

fn wanted(folder: &Path) -> Vec<String> {
    listing(&Stage::from_folder(folder).unwrap())
}

#[track_caller]
fn assert_same(bytes: &[u8], format: &Format, folder: &Path) {
    let stage = read_bytes(bytes, format).unwrap();
    assert_eq!(listing(&stage), wanted(folder));
    assert!(stage.iter().all(|(_, node)| node.owner == Owner::ROOT));
}

#[test]
fn what_gnu_tar_packs_comes_out_the_same() {
    for (format, long) in [
        ("gnu", true),
        ("oldgnu", true),
        ("pax", true),
        ("ustar", false),
        ("gnu", false),
    ] {
        let dir = folder(long);
        let packed = run(Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-cf", "-", "-C"])
            .arg(dir.path())
            .arg("."));
        assert_same(&packed.stdout, &tar(Compression::None), dir.path());
        // Names without `./` in front, and directories after what they hold.
        let packed = run(Command::new("sh")
            .arg("-c")
            .arg("cd \"$1\" && find . -mindepth 1 -depth -printf '%P\\0' | tar --format=$2 --null --no-recursion -T - -cf -")
            .args(["sh".as_ref(), dir.path().as_os_str(), format.as_ref()]));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_same(&packed.stdout, &tar(Compression::None), dir.path());
    }
}

#[test]
fn v7_archives_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/x"), "old").unwrap();
    symlink("x", dir.path().join("d/l")).unwrap();
    let packed = run(Command::new("tar")
        .args(["--format=v7", "-cf", "-", "-C"])
        .arg(dir.path())
        .arg("."));
    assert_same(&packed.stdout, &tar(Compression::None), dir.path());
}

#[test]
fn every_compression_is_read_by_the_name_of_the_file() {
    let dir = folder(true);
    for (program, arguments, name) in [
        ("cat", &[][..], "x.tar"),
        ("gzip", &["-9"], "x.tar.gz"),
        ("gzip", &["-1"], "X-1.0.TGZ"),
        ("xz", &["-1"], "x.tar.xz"),
        (
            "xz",
            &["-1", "-T2", "--block-size=65536", "--check=sha256"],
            "x.txz",
        ),
        ("zstd", &["-3"], "x.tar.zst"),
        ("zstd", &["-19", "--long=27", "--no-check"], "x.tzst"),
    ] {
        let packed = run(Command::new("sh")
            .args(["-c", "dir=$1; shift; tar -cf - -C \"$dir\" . | \"$@\"", "sh"])
            .arg(dir.path())
            .arg(program)
            .args(arguments));
        assert_same(&packed.stdout, &Format::from_file_name(name).unwrap(), dir.path());
    }
}

#[test]
fn a_name_tells_the_kind() {
    let bare = |name: &str| Format::Bare {
        name: TreePath::parse(name).unwrap(),
    };
    for (name, wanted) in [
        ("buildkit-v0.8.1.linux-amd64.tar.gz", tar(Compression::Gzip)),
        ("cni-plugins-linux-amd64-v0.8.5.tgz", tar(Compression::Gzip)),
        ("node-v12.22.12-linux-x64.tar.xz", tar(Compression::Xz)),
        ("containerd_1.4.13~ds1-1~deb11u4_amd64.deb", Format::Deb),
        ("x.zip", Format::Zip),
        ("runc.amd64", bare("runc.amd64")),
        ("faasd", bare("faasd")),
    ] {
        assert_eq!(Format::from_file_name(name).unwrap(), wanted, "{name}");
    }
}

/// A file of alternating data and holes: 64 parts, the last one not a block.
fn sparse_folder(end_in_hole: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("sparse")).unwrap();
    for part in 0..64_u64 {
        file.write_all_at(&[part as u8 + 1; 4096], part * 65_536).unwrap();
    }
    if end_in_hole {
        file.set_len(64 * 65_536).unwrap();
    } else {
        file.write_all_at(b"end", 64 * 65_536).unwrap();
    }
    let file = fs::File::create(dir.path().join("hole")).unwrap();
    file.set_len(1 << 20).unwrap();
    fs::write(dir.path().join("solid"), [9; 5000]).unwrap();
    dir
}

#[test]
fn sparse_files_of_every_format_get_their_holes_back() {
    for end_in_hole in [true, false] {
        let dir = sparse_folder(end_in_hole);
        let blocks = fs::metadata(dir.path().join("sparse")).unwrap().blocks();
        assert!(
            blocks * 512 < 1 << 20,
            "TMPDIR must be on a file system with holes"
        );
        for arguments in [
            &["--format=gnu"][..],
            &["--format=oldgnu"],
            &["--format=pax", "--sparse-version=0.0"],
            &["--format=pax", "--sparse-version=0.1"],
            &["--format=pax", "--sparse-version=1.0"],
        ] {
            let packed = run(Command::new("tar")
                .args(arguments)
                .args(["-S", "-cf", "-", "-C"])
                .arg(dir.path())
                .arg("."));
            assert!(packed.stdout.len() < 1 << 20, "{arguments:?} packed no holes");
            assert_same(&packed.stdout, &tar(Compression::None), dir.path());
        }
    }
}

#[test]
fn debian_packages_are_read() {
    let dir = folder(true);
    // dpkg takes no line feed in a name.
    fs::remove_file(dir.path().join(OsStr::from_bytes(b"n\xf6n-utf8\n"))).unwrap();
    // An absolute link is fine where the top is the system's root.
    symlink("/etc/alternatives/x", dir.path().join("bin/x")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let wanted = wanted(dir.path());
    let control =
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n";
    fs::create_dir(dir.path().join("DEBIAN")).unwrap();
    fs::write(dir.path().join("DEBIAN/control"), control).unwrap();
    let out = tempfile::tempdir().unwrap();
    for compression in ["none", "gzip", "xz", "zstd"] {
        let package = out.path().join("x.deb");
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b", &format!("-Z{compression}")])
            .args([dir.path(), &package]));
        let bytes = fs::read(&package).unwrap();
        let stage = read_bytes(&bytes, &Format::from_file_name("x.deb").unwrap()).unwrap();
        assert_eq!(listing(&stage), wanted, "{compression}");
    }
}

#[test]
fn zip_archives_are_read() {
    let dir = folder(true);
    // zip knows no hard links, and changes names that are not UTF-8.
    fs::remove_file(dir.path().join("bin/same")).unwrap();
    fs::remove_file(dir.path().join("long hard link")).unwrap();
    fs::remove_file(dir.path().join(OsStr::from_bytes(b"n\xf6n-utf8\n"))).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let check = |arguments: &str| {
        let archive = out.path().join("x.zip");
        run(Command::new("sh")
            .arg("-c")
            .arg(format!("cd \"$2\" && zip {arguments}"))
            .args([OsStr::new("sh"), archive.as_os_str(), dir.path().as_os_str()]));
        let bytes = fs::read(&archive).unwrap();
        fs::remove_file(&archive).unwrap();
        assert_same(&bytes, &Format::Zip, dir.path());
    };
    check("-qry $1 .");
    check("-qry -0 $1 .");
    check("-qry -fz $1 .");
    check("-qryz $1 . <<END\ncomment\nEND\n");
    // With sizes behind the data zip writes no links.
    for link in ["lib/x.so", "lib/back", "lib/dangling", "long link"] {
        fs::remove_file(dir.path().join(link)).unwrap();
    }
    check("-qr - . | cat > $1");
    assert!(read_bytes(&zip(&[]), &Format::Zip).unwrap().is_empty());
}

#[test]
fn zip64_end_records_are_read_and_must_agree() {
    let plain = zip(&[ZipEntry::file("a"), ZipEntry::file("b")]);
    let at = plain.len() - 22;
    let word = |at: usize| u64::from(u32::from_le_bytes(plain[at..at + 4].try_into().unwrap()));
    let large = |entries: u64, marked: bool| {
        let mut bytes = plain[..at].to_vec();
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for value in [entries, entries, word(at + 12), word(at + 16)] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(&plain[at..]);
        let end = bytes.len() - 22;
        if marked {
            bytes[end + 8..end + 20].fill(0xff);
        }
        bytes
    };
    for bytes in [large(2, false), large(2, true)] {
        let stage = read_bytes(&bytes, &Format::Zip).unwrap();
        assert_eq!(text(&stage, "b"), "content");
    }
    for (bytes, reason) in [
        (large(1, false), "its two end records disagree"),
        (
            large(1, true),
            "its directory has something behind its last entry",
        ),
        (large(3, true), "its directory is malformed"),
    ] {
        let error = read_bytes(&bytes, &Format::Zip).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the zip archive is malformed: {reason}")
        );
    }
    // An entry that the directory does not list.
    let hidden = zip_edited(&[ZipEntry::file("a"), ZipEntry::file("b")], |directory| {
        directory.truncate(directory.len() / 2);
    });
    assert!(read_bytes(&hidden, &Format::Zip).is_err());
}

#[test]
fn compressed_streams_one_after_the_other_are_one() {
    let whole = Tar::new().file("a").entry(b'0', "b", &[7; 5000]).end();
    let (first, second) = whole.split_at(3000);
    let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip";
    for (compression, bytes) in [
        (Compression::Gzip, [gzip(first), gzip(b""), gzip(second)].concat()),
        (Compression::Xz, [xz(first), xz(second)].concat()),
        (
            Compression::Zstd,
            [&zstd(first)[..], skippable, &zstd(second), skippable].concat(),
        ),
    ] {
        let stage = read_bytes(&bytes, &tar(compression)).unwrap();
        assert_eq!(text(&stage, "a"), "content", "{compression:?}");
    }
}

#[test]
fn a_bare_program_is_a_tree_of_one_file() {
    let stage = read_bytes(b"\x7fELF", &Format::from_file_name("runc.amd64").unwrap()).unwrap();
    assert_eq!(text(&stage, "runc.amd64"), "\x7fELF");
    let name = TreePath::parse("runc.amd64").unwrap();
    assert_eq!(stage.get(&name).unwrap().mode, 0o755);
    assert_eq!(stage.len(), 2);
}

#[test]
fn what_only_looks_hostile_is_taken() {
    let t = Tar::new;
    let mut blank = header(b'0', b"blank", 7);
    blank[148..156].fill(0);
    seal(&mut blank);
    let binary_size = |header: &mut [u8; 512]| {
        header[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x07");
    };
    for (archive, path) in [
        (t().directory("./").directory("./").file("./a"), "a"),
        (t().directory("d").directory("d/").file("d/a"), "d/a"),
        (t().file("d/a").directory("d"), "d/a"),
        (t().file("a").link(b'1', "b", "./a"), "b"),
        (t().file("..a/b..").file("..."), "..a/b.."),
        (t().file("d/a").symlink("d/e/l", "../../d/./a"), "d/a"),
        (t().file("a").symlink("l", "n/../a").symlink("m", "l/x"), "a"),
        (t().edited(b'0', b"a", b"content", binary_size), "a"),
        (t().entry(b'7', "a", b"content"), "a"),
        (t().entry(0, "a", b"content").entry(0, "d/", b""), "a"),
        (
            t().pax(&[("size", "7"), ("path", "a"), ("path", "a")]).file("x"),
            "a",
        ),
        (
            t().pax(&[("mtime", "1.5"), ("SCHILY.xattr.x", "\0")])
                .long(b'L', "a")
                .file("x"),
            "a",
        ),
        (
            t().long(b'K', "y").long(b'L', "z").symlink("x", "x").file("a"),
            "a",
        ),
        (
            t().entry(b'g', "g", record("comment", "x").as_bytes()).file("a"),
            "a",
        ),
    ] {
        let bytes = archive.end();
        let stage = read_bytes(&bytes, &tar(Compression::None)).unwrap();
        assert_eq!(text(&stage, path), "content");
    }
    let system = Format::Tar {
        compression: Compression::None,
        root: Root::System,
    };
    let archive = t().symlink("bin/sh", "/usr/bin/dash").end();
    for bytes in [(&archive, &system), (&deb(&archive), &Format::Deb)] {
        let stage = read_bytes(bytes.0, bytes.1).unwrap();
        let node = stage.get(&TreePath::parse("bin/sh").unwrap()).unwrap();
        assert!(matches!(&node.kind, Kind::Symlink(target) if target == b"/usr/bin/dash"));
    }
}

#[test]
fn hard_links_share_their_content_and_mode() {
    let bytes = Tar::new()
        .edited(b'0', b"a", b"content", |header| {
            header[100..107].copy_from_slice(b"0004711")
        })
        .link(b'1', "b", "a")
        .symlink("l", "a")
        .link(b'1', "m", "l")
        .end();
    let stage = read_bytes(&bytes, &tar(Compression::None)).unwrap();
    let node = |name: &str| stage.get(&TreePath::parse(name).unwrap()).unwrap();
    let (Kind::File(a), Kind::File(b)) = (&node("a").kind, &node("b").kind) else {
        panic!("no files");
    };
    assert!(a.is_same(b));
    assert_eq!((node("a").mode, node("b").mode), (0o4711, 0o4711));
    assert!(matches!(&node("m").kind, Kind::Symlink(target) if target == b"a"));
}

#[test]
fn sizes_that_only_a_pax_header_can_tell_are_taken() {
    let size = (1_u64 << 33) + 5;
    for field in [b"00000000000\0", b"77777777777\0"] {
        let bytes = Tar::new()
            .pax(&[("size", &size.to_string())])
            .edited(b'0', b"huge", b"", |header| {
                header[124..136].copy_from_slice(field)
            })
            .end();
        let huge = Limits {
            total_bytes: u64::MAX,
            ..limits()
        };
        // It is believed: what follows is too short for it.
        let error = read_within(&bytes, &tar(Compression::None), &huge).unwrap_err();
        assert_eq!(error.to_string(), "the archive is cut short in `huge`");
    }
}

/// A gzip file that is made while it is read: a tar archive with one file of
/// zeros, `members` times 16 MiB long.
struct Zeros {
    parts: Vec<Vec<u8>>,
    order: Vec<usize>,
    at: Cursor<Vec<u8>>,
}

impl Zeros {
    fn new(members: usize) -> Self {
        let size = members << 24;
        let mut header = header(b'0', b"zeros", size);
        seal(&mut header);
        let parts = vec![gzip(&header), gzip(&vec![0; 1 << 24]), gzip(&[0; 1024])];
        let mut order = vec![2];
        order.extend(vec![1; members]);
        order.push(0);
        Self {
            parts,
            order,
            at: Cursor::default(),
        }
    }
}

impl Read for Zeros {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.at.read(buf)? {
                0 => match self.order.pop() {
                    Some(part) => self.at = Cursor::new(self.parts[part].clone()),
                    None => return Ok(0),
                },
                n => return Ok(n),
            }
        }
    }
}

impl Seek for Zeros {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::other("only a zip archive is sought in"))
    }
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn memory_does_not_grow_with_the_archive() {
    if !is_child() {
        return in_child("archive::honest::memory_does_not_grow_with_the_archive", ":");
    }
    let input = Zeros::new(24);
    let before = peak_memory();
    let mut spool = Spool::new().unwrap();
    let stage = read(input, &tar(Compression::Gzip), &limits(), &mut spool).unwrap();
    assert_eq!(stage.content_size(), 24 << 24);
    let more = peak_memory() - before;
    assert!(more < 8 << 20, "{more} bytes more for 384 MiB");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let small = Limits {
        total_bytes: 1 << 20,
        ..limits()
    };
    let mut spool = Spool::new().unwrap();
    let error = read(Zeros::new(64), &tar(Compression::Gzip), &small, &mut spool).unwrap_err();
    let message = "the archive holds more than 1048576 bytes; the limit is passed in `zeros`";
    assert_eq!(error.to_string(), message);
    let mut padded = Vec::new();
    padded.write_all(&gzip(&Tar::new().file("a").end())).unwrap();
    padded.extend(gzip(&vec![0; 1 << 21]));
    let error = read_within(&padded, &tar(Compression::Gzip), &small).unwrap_err();
    let message = "the archive holds more than 1048576 bytes; the limit is passed after `a`";
    assert_eq!(error.to_string(), message);
}
