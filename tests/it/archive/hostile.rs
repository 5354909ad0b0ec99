//! One case, at least, for each way to be refused.

use std::io::{self, Read, Seek, SeekFrom};

use tcforge::archive::{ArchiveError, Compression, Format, Limits, read};
use tcforge::stage::Spool;

use super::bytes::{Tar, ZipEntry, ar, deb, gzip, record, xz, zip, zip_edited, zstd};
use super::{in_child, is_child, limits, read_bytes, read_within, tar};

const TAR: Format = Format::Tar {
    compression: Compression::None,
    root: tcforge::archive::Root::Own,
};

/// The variant's name and the message, with what it is caused by.
fn told(error: &ArchiveError) -> (String, String) {
    let debug = format!("{error:?}");
    let variant = debug.split([' ', '(']).next().unwrap().to_owned();
    let help = miette::Diagnostic::help(error).unwrap().to_string();
    assert!(!help.is_empty() && !help.contains('{'), "{help}");
    (variant, error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], format: &Format, limits: &Limits, variant: &str, message: &str) {
    let error = match read_within(bytes, format, limits) {
        Ok(stage) => panic!("taken: {:?}\nwanted: {message}", super::listing(&stage)),
        Err(error) => error,
    };
    assert_eq!(told(&error), (variant.to_owned(), message.to_owned()));
}

fn t() -> Tar {
    Tar::new()
}

#[test]
fn names_links_and_types_are_refused() {
    let deep = "d/".repeat(48) + "d";
    let cases: &[(Tar, &str, &str)] = &[
        (
            t().file("/etc/x"),
            "AbsoluteName",
            "the name `/etc/x` is absolute",
        ),
        (
            t().file("a/../../x"),
            "ParentName",
            "the name `a/../../x` has a `..` in it",
        ),
        (
            t().directory(".."),
            "ParentName",
            "the name `..` has a `..` in it",
        ),
        (
            t().entry(b'0', "a\0b", b""),
            "NulName",
            "the name or target of `a` has a NUL byte in it",
        ),
        (
            t().edited(b'2', b"l", b"", |header| {
                header[157..160].copy_from_slice(b"a\0b")
            }),
            "NulName",
            "the name or target of `l` has a NUL byte in it",
        ),
        (
            t().file("./"),
            "Header",
            "the header of `./` is wrong: a file's name ends in `/`",
        ),
        (t().file("."), "NoName", "`.` is no name for a file"),
        (t().symlink("./.", "x"), "NoName", "`./.` is no name for a link"),
        (
            t().symlink("l", "d").directory("d").file("l/x"),
            "ThroughSymlink",
            "`l/x` would be written through the symbolic link `l`",
        ),
        (
            t().symlink("a/l", ".").directory("a/l/b/c"),
            "ThroughSymlink",
            "`a/l/b/c` would be written through the symbolic link `a/l`",
        ),
        (
            t().file("f").file("f/x"),
            "BelowFile",
            "`f/x` lies below `f`, which is a file",
        ),
        (
            t().file("f").file("./f"),
            "Duplicate",
            "`./f` is in the archive twice",
        ),
        (
            t().file("d/f").file("d"),
            "Duplicate",
            "`d` is in the archive twice",
        ),
        (
            t().file("f").directory("f/"),
            "Duplicate",
            "`f/` is in the archive twice",
        ),
        // The directory would change the mode of what the link leads to (CVE-2026-33056).
        (
            t().symlink("l", "d").directory("l/."),
            "Duplicate",
            "`l/.` is in the archive twice",
        ),
        (
            t().symlink("l", "a").symlink("l", "b"),
            "Duplicate",
            "`l` is in the archive twice",
        ),
        (
            t().symlink("l", ""),
            "LinkLength",
            "the link `l` has a target of 0 bytes; 1 to 1024 are allowed",
        ),
        (
            t().long(b'K', &"x".repeat(1025)).symlink("l", "x"),
            "LinkLength",
            "the link `l` has a target of 1025 bytes; 1 to 1024 are allowed",
        ),
        (
            t().symlink("l", "/etc/passwd"),
            "AbsoluteLink",
            "the link `l` has the absolute target `/etc/passwd`",
        ),
        (
            t().symlink("a/l", "../../x"),
            "LinkLeavesTree",
            "the link `a/l` leads out of the tree, to `../../x`",
        ),
        (
            t().symlink("a/l", "b/../../../x"),
            "LinkLeavesTree",
            "the link `a/l` leads out of the tree, to `b/../../../x`",
        ),
        (
            t().symlink("a/b", "..").symlink("l", "a/b/../x"),
            "LinkBehindLink",
            "the link `l` to `a/b/../x` goes up again behind the link `a/b`",
        ),
        (
            t().symlink("l", "n/o/../../a/b/c/../x").symlink("a/b", ".."),
            "LinkBehindLink",
            "the link `l` to `n/o/../../a/b/c/../x` goes up again behind the link `a/b`",
        ),
        (
            t().file("f").link(b'1', "h", "/f"),
            "HardLinkLeavesTree",
            "the hard link `h` leads out of the tree, to `/f`",
        ),
        (
            t().file("f").link(b'1', "h", "../f"),
            "HardLinkLeavesTree",
            "the hard link `h` leads out of the tree, to `../f`",
        ),
        (
            t().link(b'1', "h", "f").file("f"),
            "HardLinkMissing",
            "the hard link `h` is to `f`, which is not in the archive before it",
        ),
        (
            t().link(b'1', "h", "h"),
            "HardLinkMissing",
            "the hard link `h` is to `h`, which is not in the archive before it",
        ),
        (
            t().directory("d").link(b'1', "h", "d"),
            "HardLinkToDirectory",
            "the hard link `h` is to `d`, which is a directory",
        ),
        // From another directory the same target leads elsewhere.
        (
            t().symlink("a/l", "../x").link(b'1', "h", "a/l"),
            "LinkLeavesTree",
            "the link `h` leads out of the tree, to `../x`",
        ),
        (
            t().entry(b'3', "dev/x", b""),
            "Special",
            "`dev/x` is a character device, which an extension cannot hold",
        ),
        (
            t().entry(b'4', "dev/x", b""),
            "Special",
            "`dev/x` is a block device, which an extension cannot hold",
        ),
        (
            t().entry(b'6', "p", b""),
            "Special",
            "`p` is a named pipe, which an extension cannot hold",
        ),
        (
            t().entry(b'M', "x", b""),
            "UnknownType",
            "`x` is of the unknown type `M`",
        ),
        (
            t().entry(0x1b, "x", b""),
            "UnknownType",
            "`x` is of the unknown type `\\x1B`",
        ),
        (
            t().file(&deep),
            "TooDeep",
            &format!("`{deep}` lies 49 directories deep; 48 are allowed"),
        ),
        (
            t().long(b'L', &"n".repeat(256)).file("x"),
            "NameTooLong",
            &format!(
                "a part of the name `{}…` has 256 bytes; 255 are allowed",
                "n".repeat(200)
            ),
        ),
        (
            t().long(b'L', &("n/".repeat(513) + "n")).file("x"),
            "PathTooLong",
            &format!(
                "the name `{}…` has 1027 bytes; 1024 are allowed",
                "n/".repeat(100)
            ),
        ),
        // What a terminal would act on is escaped.
        (
            t().edited(b'0', b"/\x1b[31m\xff", b"", |_| {}),
            "AbsoluteName",
            "the name `/\\x1B[31m\\xFF` is absolute",
        ),
        (
            t().file("/\u{9b}31m\u{202e}\u{e9}"),
            "AbsoluteName",
            "the name `/\\u{9b}31m\\u{202e}\u{e9}` is absolute",
        ),
    ];
    for (archive, variant, message) in cases {
        let bytes = archive.clone().end();
        refused(&bytes, &TAR, &limits(), variant, message);
    }
}

#[test]
fn headers_that_are_wrong_or_disagree_are_refused() {
    let wrong = |reason: &str| format!("the header of `x` is wrong: {reason}");
    let pax = |reason: &str| format!("the PAX header of `PaxHeaders/x` is malformed: {reason}");
    let size = |size: &str| {
        let size = size.to_owned();
        t().edited(b'0', b"x", b"", move |header| {
            header[124..136].copy_from_slice(size.as_bytes());
        })
    };
    let raw_pax = |data: &[u8]| t().entry(b'x', "PaxHeaders/x", data).file("x");
    let sparse = |reason: &str| format!("the map of the sparse file `x` is wrong: {reason}");
    let cases: Vec<(Tar, &str, String)> = vec![
        (size("0000000000x\0"), "Header", wrong("its size is not a number")),
        (size("-0000000001\0"), "Header", wrong("its size is not a number")),
        (
            size("000\x0000000001"),
            "Header",
            wrong("its size is not a number"),
        ),
        (
            t().edited(b'0', b"x", b"", |header| header[100] = b'9'),
            "Header",
            wrong("its mode is not a number"),
        ),
        (
            t().edited(b'0', b"x", b"", |header| header[262] = b'x'),
            "Header",
            wrong("it is neither v7, ustar, GNU nor PAX"),
        ),
        (
            t().edited(b'0', b"x", b"", |header| header[508..].copy_from_slice(b"tar\0")),
            "Header",
            wrong("it is neither v7, ustar, GNU nor PAX"),
        ),
        (
            t().entry(b'5', "x", b"data"),
            "Header",
            wrong("it is no file, and has a size"),
        ),
        (
            t().entry(b'2', "x", b"data"),
            "Header",
            wrong("it is no file, and has a size"),
        ),
        (
            t().entry(b'1', "x", b"data"),
            "Header",
            wrong("it is no file, and has a size"),
        ),
        (
            t().long(b'K', "y").file("x"),
            "Header",
            wrong("it is no link, and has a target"),
        ),
        (
            t().pax(&[("linkpath", "y")]).directory("x"),
            "Header",
            wrong("it is no link, and has a target"),
        ),
        (
            t().entry(b'L', "x", b"\0").file("y"),
            "Header",
            wrong("it gives an empty name"),
        ),
        (
            t().entry(b'L', "x", b"a\0b\0").file("y"),
            "NulName",
            "the name or target of `a\\x00b\\x00` has a NUL byte in it".into(),
        ),
        (
            t().pax(&[("path", "a\0b")]).file("x"),
            "NulName",
            "the name or target of `PaxHeaders/x` has a NUL byte in it".into(),
        ),
        (
            raw_pax(b"9 path=x"),
            "PaxMalformed",
            pax("a record's length is wrong"),
        ),
        (
            raw_pax(b"8 path=x\n"),
            "PaxMalformed",
            pax("a record does not end in a line feed"),
        ),
        (
            raw_pax(b"x path=x\n"),
            "PaxMalformed",
            pax("a record's length is not a number"),
        ),
        (
            raw_pax(b"path=x\n"),
            "PaxMalformed",
            pax("a record has no length"),
        ),
        (raw_pax(b"7 path\n"), "PaxMalformed", pax("a record has no `=`")),
        (
            raw_pax(b"5 =x\n"),
            "PaxMalformed",
            pax("a record's keyword is empty or has a NUL byte in it"),
        ),
        (
            t().pax(&[("path", "")]).file("x"),
            "PaxMalformed",
            pax("a value is empty"),
        ),
        (
            t().pax(&[("size", "0x7")]).file("x"),
            "PaxMalformed",
            pax("a value that should be a number is not"),
        ),
        (
            t().pax(&[("path", "a"), ("mtime", "1"), ("path", "b")]).file("x"),
            "PaxRepeated",
            "the PAX header of `PaxHeaders/x` gives `path` twice, and not the same".into(),
        ),
        (
            t().pax(&[("size", "8")]).file("x"),
            "PaxDisagrees",
            "the headers of `x` disagree about its size: `8` and `7`".into(),
        ),
        (
            t().pax(&[("size", "0")]).file("x"),
            "PaxDisagrees",
            "the headers of `x` disagree about its size: `0` and `7`".into(),
        ),
        (
            t().pax(&[
                ("GNU.sparse.name", "evil"),
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "0"),
            ])
            .entry(b'0', "x", b"0\n"),
            "PaxDisagrees",
            "the headers of `evil` disagree about its name: `evil` and `x`".into(),
        ),
        (
            t().file("a")
                .entry(b'g', "g", record("path", "x").as_bytes())
                .file("x"),
            "PaxGlobal",
            "a global PAX header sets `path` for all that follows, after `a`".into(),
        ),
        (
            t().entry(b'g', "g", record("GNU.sparse.offset", "1").as_bytes())
                .file("x"),
            "PaxMalformed",
            "the PAX header of `g` is malformed: a sparse file's offset has no length".into(),
        ),
        (
            t().long(b'L', "a").long(b'L', "b").file("x"),
            "DescribedTwice",
            "`././@LongLink` has two headers that give its name".into(),
        ),
        (
            t().long(b'K', "a").long(b'K', "b").symlink("x", "y"),
            "DescribedTwice",
            "`././@LongLink` has two headers that give its target".into(),
        ),
        (
            t().pax(&[("path", "a")]).pax(&[("path", "a")]).file("x"),
            "DescribedTwice",
            "`PaxHeaders/x` has two headers that give its PAX records".into(),
        ),
        (
            t().long(b'L', "a").pax(&[("path", "b")]).file("x"),
            "DescribedTwice",
            "`b` has two headers that give its name".into(),
        ),
        (
            t().pax(&[("linkpath", "b")]).long(b'K', "a").symlink("x", "y"),
            "DescribedTwice",
            "`b` has two headers that give its target".into(),
        ),
        // CVE-2025-62518: whose size is it?
        (
            t().pax(&[("size", "7")]).long(b'L', "a").file("x"),
            "MixedHeaders",
            "`a` has both a PAX size and a GNU long name".into(),
        ),
        (
            t().file("a").long(b'L', "x"),
            "StrayHeader",
            "an extended header describes no entry, after `a`".into(),
        ),
        (
            t().pax(&[("path", "x")]).entry(b'g', "g", b"").file("x"),
            "StrayHeader",
            "an extended header describes no entry, before its first entry".into(),
        ),
        (
            t().old_sparse("x", 2000, &[(0, 512), (100, 512)], &[1; 1024]),
            "Sparse",
            sparse("its parts overlap or are not in order"),
        ),
        (
            t().old_sparse("x", 2000, &[(0, 100), (1000, 100)], &[1; 200]),
            "Sparse",
            sparse("a part does not begin on a block"),
        ),
        (
            t().old_sparse("x", 500, &[(0, 512)], &[1; 512]),
            "Sparse",
            sparse("a part lies behind the end of the file"),
        ),
        (
            t().old_sparse("x", 2000, &[(0, 512)], &[1; 1024]),
            "Sparse",
            sparse("its parts are not as long as the data"),
        ),
        (
            t().entry(b'S', "x", b""),
            "Sparse",
            sparse("the header is not GNU's"),
        ),
        (
            t().pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")])
                .file("x"),
            "Sparse",
            sparse("its keywords do not fit together"),
        ),
        (
            t().pax(&[("GNU.sparse.size", "9"), ("GNU.sparse.realsize", "8")])
                .file("x"),
            "Sparse",
            sparse("its keywords do not fit together"),
        ),
        (
            t().pax(&[
                ("GNU.sparse.size", "9"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.map", "0,7"),
            ])
            .file("x"),
            "Sparse",
            sparse("it has another number of parts than it says"),
        ),
        (
            t().pax(&[("GNU.sparse.size", "9")]).directory("x"),
            "Sparse",
            sparse("its type is not that of a file"),
        ),
        (
            t().pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "9"),
            ])
            .entry(b'0', "x", &[b'1'; 512]),
            "Sparse",
            sparse("it is not made of numbers"),
        ),
        (
            t().pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "9"),
            ])
            .entry(b'0', "x", "1\n".repeat(256).as_bytes())
            .file("y"),
            "Sparse",
            sparse("its parts are not as long as the data"),
        ),
    ];
    for (archive, variant, message) in cases {
        refused(&archive.end(), &TAR, &limits(), variant, &message);
    }
    let mut broken = t().file("a").file("x").end();
    broken[1024] ^= 1;
    let message = "the header of `y` has a wrong checksum, after `a`";
    refused(&broken, &TAR, &limits(), "HeaderChecksum", message);
}

#[test]
fn archives_that_end_early_or_late_are_refused() {
    let whole = t().file("a").entry(b'0', "b", &[7; 1000]).end();
    let cut = |length: usize| whole[..length].to_vec();
    let with = |more: &[u8]| [&whole[..], more].concat();
    let gz = gzip(&whole);
    let package = deb(&whole);
    let short = |place: &str| format!("the archive is cut short {place}");
    let behind = |end: &str, place: &str| format!("there is something behind {end}, {place}");
    let mark = behind("the end mark of the tar archive", "after `b`");
    let gz_format = tar(Compression::Gzip);
    let cases: Vec<(Vec<u8>, Format, &str, String)> = vec![
        (vec![], TAR, "Truncated", short("before its first entry")),
        (cut(100), TAR, "Truncated", short("before its first entry")),
        (cut(700), TAR, "Truncated", short("in `a`")),
        (cut(515), TAR, "Truncated", short("in `a`")),
        (cut(1024), TAR, "Truncated", short("after `a`")),
        (cut(1024 + 512 + 999), TAR, "Truncated", short("in `b`")),
        (cut(1024 + 512 + 1001), TAR, "Truncated", short("in `b`")),
        (cut(1024 + 512 + 1024), TAR, "Truncated", short("after `b`")),
        (cut(1024 + 512 + 1024 + 512), TAR, "Truncated", short("after `b`")),
        (
            cut(1024 + 512 + 1024 + 1000),
            TAR,
            "Truncated",
            short("after `b`"),
        ),
        (with(b"x"), TAR, "Trailing", mark.clone()),
        (with(&whole), TAR, "Trailing", mark.clone()),
        (
            [&whole[..whole.len() - 512], &whole[..]].concat(),
            TAR,
            "Trailing",
            mark.clone(),
        ),
        (
            vec![],
            gz_format.clone(),
            "Truncated",
            short("before its first entry"),
        ),
        (
            gz[..5].to_vec(),
            gz_format.clone(),
            "Truncated",
            short("before its first entry"),
        ),
        (
            gz[..gz.len() - 9].to_vec(),
            gz_format.clone(),
            "Truncated",
            short("after `b`"),
        ),
        (
            gz[..gz.len() - 8].to_vec(),
            gz_format.clone(),
            "Truncated",
            short("after `b`"),
        ),
        (
            gz[..gz.len() - 1].to_vec(),
            gz_format.clone(),
            "Truncated",
            short("after `b`"),
        ),
        (
            [&gz[..], b"\0"].concat(),
            gz_format.clone(),
            "Trailing",
            behind("the end of the gzip data", "after `b`"),
        ),
        (
            [&gz[..], &gz].concat(),
            gz_format.clone(),
            "Trailing",
            mark.clone(),
        ),
        (
            [&xz(&whole)[..], b"\0\0\0\0"].concat(),
            tar(Compression::Xz),
            "Trailing",
            behind("the end of the xz data", "after `b`"),
        ),
        (
            xz(&whole)[..20].to_vec(),
            tar(Compression::Xz),
            "Truncated",
            short("before its first entry"),
        ),
        (
            [&zstd(&whole)[..], b"x"].concat(),
            tar(Compression::Zstd),
            "Trailing",
            behind("the end of the zstd data", "after `b`"),
        ),
        (
            {
                let bytes = zstd(&whole);
                bytes[..bytes.len() - 1].to_vec()
            },
            tar(Compression::Zstd),
            "Truncated",
            short("after `b`"),
        ),
        (
            [&package[..], b"x"].concat(),
            Format::Deb,
            "Trailing",
            behind("the last member of the Debian package", "after `data.tar`"),
        ),
        (
            package[..100].to_vec(),
            Format::Deb,
            "Truncated",
            short("in `control.tar`"),
        ),
        (
            package[..package.len() - 1].to_vec(),
            Format::Deb,
            "Truncated",
            short("after `b`"),
        ),
        (
            zip(&[ZipEntry::file("a")])[..60].to_vec(),
            Format::Zip,
            "Truncated",
            short("at its end"),
        ),
        (
            [&zip(&[ZipEntry::file("a")])[..], b"x"].concat(),
            Format::Zip,
            "Trailing",
            behind("the end record of the zip archive", "at its end"),
        ),
    ];
    for (bytes, format, variant, message) in cases {
        refused(&bytes, &format, &limits(), variant, &message);
    }
}

#[test]
fn what_is_of_another_kind_is_refused() {
    for (format, expected) in [
        (tar(Compression::Gzip), "gzip data"),
        (tar(Compression::Xz), "xz data"),
        (tar(Compression::Zstd), "zstd data"),
        (Format::Deb, "a Debian package"),
        (Format::Zip, "a zip archive"),
    ] {
        let page = b"<!DOCTYPE html><title>Not found</title>".repeat(30);
        let message = format!("this is not {expected}");
        refused(&page, &format, &limits(), "NotThisFormat", &message);
    }
    for name in ["x.tar.bz2", "x.gz", "x.rpm", "x.7z", "", ".", "../x", "/x"] {
        let error = Format::from_file_name(name).unwrap_err();
        let message = format!("`{name}` is of a kind that is not read");
        assert_eq!(told(&error), ("UnknownFormat".to_owned(), message));
    }
}

#[test]
fn damaged_data_are_refused() {
    let whole = t().entry(b'0', "b", &[7; 100_000]).end();
    for (name, mut bytes, compression) in [
        ("gzip", gzip(&whole), Compression::Gzip),
        ("xz", xz(&whole), Compression::Xz),
        ("zstd", zstd(&whole), Compression::Zstd),
    ] {
        // In the checksum behind the data (gzip's is followed by the length,
        // xz's by an index and more).
        let last = bytes.len() - if name == "zstd" { 2 } else { 6 };
        bytes[last] ^= 0x10;
        let error = read_bytes(&bytes, &tar(compression)).unwrap_err();
        let (variant, message) = told(&error);
        assert_eq!(variant, "Corrupt");
        assert_eq!(message, format!("the {name} data are damaged after `b`"));
    }
}

#[test]
fn more_than_the_limits_allow_is_refused() {
    let small = Limits {
        total_bytes: 10_000,
        entries: 3,
        header_bytes: 2048,
        decoder_memory: 1 << 20,
        ..limits()
    };
    let many = t().file("a").file("b").file("c").file("d").end();
    let repeated = t()
        .directory("a")
        .directory("a")
        .directory("a")
        .directory("a")
        .end();
    let implied = t().file("a/b/c/d").end();
    let big = t().entry(b'0', "big", &[7; 10_000]).end();
    let declared = t().edited(b'0', b"big", b"", |header| {
        header[124..136].copy_from_slice(b"77777777777\0");
    });
    let binary = t().edited(b'0', b"big", b"", |header| {
        header[124..136].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    });
    let holes = t().old_sparse("holes", (1 << 33) - 1, &[], b"");
    let padding = gzip(&[&t().file("a").end()[..], &[0; 10_000]].concat());
    let bytes = |place: &str| format!("the archive holds more than 10000 bytes; the limit is passed {place}");
    let entries = |name: &str| format!("the archive has more than 3 entries; `{name}` is one too many");
    let header = |name: &str| format!("the headers of `{name}` take more than 2048 bytes");
    let memory =
        |format: &str| format!("unpacking the {format} data would take more than 1048576 bytes of memory");
    let map = "1500\n".to_owned() + &"0\n".repeat(3000);
    let in_data = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "9"),
    ];
    let more = t().edited(b'S', b"old", b"", |header| {
        header[257..265].copy_from_slice(b"ustar  \0");
        header[482] = 1;
        header[483..495].copy_from_slice(b"00000000000\0");
    });
    let more = (0..5).fold(more, |tar, _| {
        let mut block = [0; 512];
        block[504] = 1;
        tar.data(&block)
    });
    let cases: Vec<(Vec<u8>, Format, &str, String)> = vec![
        (many, TAR, "TooManyEntries", entries("d")),
        (repeated, TAR, "TooManyEntries", entries("a")),
        (implied, TAR, "TooManyEntries", entries("a/b/c/d")),
        (big.clone(), TAR, "TooManyBytes", bytes("in `big`")),
        (
            gzip(&big),
            tar(Compression::Gzip),
            "TooManyBytes",
            bytes("in `big`"),
        ),
        (declared.end(), TAR, "TooManyBytes", bytes("in `big`")),
        (binary.end(), TAR, "TooManyBytes", bytes("in `big`")),
        (holes.end(), TAR, "TooManyBytes", bytes("in `holes`")),
        (
            padding,
            tar(Compression::Gzip),
            "TooManyBytes",
            bytes("after `a`"),
        ),
        (
            vec![0; 10_001],
            Format::from_file_name("prog").unwrap(),
            "TooManyBytes",
            bytes("in `prog`"),
        ),
        (
            zip(&[ZipEntry::new("big", 0o100_644, &[7; 10_001])]),
            Format::Zip,
            "TooManyBytes",
            bytes("in `big`"),
        ),
        (
            zip(&["a", "b", "c", "d"].map(ZipEntry::file)),
            Format::Zip,
            "TooManyEntries",
            entries("d"),
        ),
        (
            t().pax(&[("comment", &"x".repeat(3000))]).file("a").end(),
            TAR,
            "HeaderTooLong",
            header("PaxHeaders/x"),
        ),
        (
            t().long(b'L', &"x".repeat(3000)).file("a").end(),
            TAR,
            "HeaderTooLong",
            header("././@LongLink"),
        ),
        (
            t().pax(&in_data).entry(b'0', "map", map.as_bytes()).end(),
            TAR,
            "HeaderTooLong",
            header("map"),
        ),
        (more.end(), TAR, "HeaderTooLong", header("old")),
        (xz(&big), tar(Compression::Xz), "TooMuchMemory", memory("xz")),
        (
            wide_zstd(&big),
            tar(Compression::Zstd),
            "TooMuchMemory",
            memory("zstd"),
        ),
    ];
    for (bytes, format, variant, message) in cases {
        refused(&bytes, &format, &small, variant, &message);
    }
}

/// Data that need a window of 8 MiB to decompress.
fn wide_zstd(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn debian_packages_that_are_not_are_refused() {
    let control = t().end();
    let data = t().file("./x").end();
    let version = ("debian-binary", &b"2.0\n"[..]);
    let wrong = |member: &str, reason: &str| {
        format!("the member `{member}` of the Debian package is wrong: {reason}")
    };
    let mut malformed = deb(&data);
    malformed[8 + 58] = b'x';
    let mut number = deb(&data);
    number[8 + 48] = b'-';
    let order = "`control.tar` and `data.tar` must come in this order";
    let cases: Vec<(Vec<u8>, String)> = vec![
        (
            ar(&[("x", b"2.0\n"), version]),
            wrong("x", "the first one must be `debian-binary`"),
        ),
        (
            ar(&[("debian-binary", b"3.0\n")]),
            wrong("debian-binary", "its version of the format is not 2"),
        ),
        (
            ar(&[("debian-binary", &[b'2'; 4000])]),
            wrong("debian-binary", "its version of the format is not 2"),
        ),
        (
            ar(&[version, ("data.tar", &data), ("control.tar", &control)]),
            wrong("data.tar", order),
        ),
        (
            ar(&[version, ("control.tar", &control), ("_gpg", b"")]),
            wrong("_gpg", order),
        ),
        (
            ar(&[version, ("control.tar.bz2", &control)]),
            wrong(
                "control.tar.bz2",
                "its compression is not read (gz, xz and zst are)",
            ),
        ),
        (malformed, wrong("debian-binary", "its header is malformed")),
        (number, wrong("debian-binary", "its header is malformed")),
    ];
    for (bytes, message) in cases {
        refused(&bytes, &Format::Deb, &limits(), "DebMember", &message);
    }
    let hostile = deb(&t().file("../x").end());
    let message = "the name `../x` has a `..` in it";
    refused(&hostile, &Format::Deb, &limits(), "ParentName", message);
    let control = t().entry(b'3', "./control", b"").end();
    let hostile = ar(&[version, ("control.tar", &control), ("data.tar", &data)]);
    let message = "`./control` is a character device, which an extension cannot hold";
    refused(&hostile, &Format::Deb, &limits(), "Special", message);
}

#[test]
fn zip_archives_that_lie_are_refused() {
    let file = ZipEntry::file;
    let of = |name: &str, mode: u32| ZipEntry::new(name, mode, b"");
    let edited = |edit: fn(&mut ZipEntry)| {
        let mut entry = file("a");
        edit(&mut entry);
        zip(&[entry])
    };
    let disagree = "the headers of `a` in the zip archive disagree: header inconsistency detected: \
                    Local file header filename mismatch (does not match central directory)";
    let malformed = |reason: &str| format!("the zip archive is malformed: {reason}");
    let wrong = |name: &str, reason: &str| format!("the header of `{name}` is wrong: {reason}");
    let special = |kind: &str| format!("`a` is a {kind}, which an extension cannot hold");
    let cases: Vec<(Vec<u8>, &str, String)> = vec![
        (
            zip(&[file("/a")]),
            "AbsoluteName",
            "the name `/a` is absolute".into(),
        ),
        (
            zip(&[file("../a")]),
            "ParentName",
            "the name `../a` has a `..` in it".into(),
        ),
        (
            zip(&[file("a"), file("a")]),
            "Duplicate",
            "`a` is in the archive twice".into(),
        ),
        (
            zip(&[of("d/", 0o40_755), of("d/", 0o40_755)]),
            "Duplicate",
            "`d/` is in the archive twice".into(),
        ),
        (
            zip(&[ZipEntry::new("l", 0o120_777, b"../x")]),
            "LinkLeavesTree",
            "the link `l` leads out of the tree, to `../x`".into(),
        ),
        (
            zip(&[ZipEntry::new("l", 0o120_777, b"/x")]),
            "AbsoluteLink",
            "the link `l` has the absolute target `/x`".into(),
        ),
        (
            zip(&[ZipEntry::new("l", 0o120_777, b"d"), file("l/x")]),
            "ThroughSymlink",
            "`l/x` would be written through the symbolic link `l`".into(),
        ),
        (zip(&[of("a", 0o10_644)]), "Special", special("named pipe")),
        (zip(&[of("a", 0o20_644)]), "Special", special("character device")),
        (zip(&[of("a", 0o60_644)]), "Special", special("block device")),
        (zip(&[of("a", 0o140_644)]), "Special", special("socket")),
        (
            zip(&[of("a", 0o150_644)]),
            "UnknownType",
            "`a` is of the unknown type `150000`".into(),
        ),
        (
            zip(&[of("a", 0o40_755)]),
            "Header",
            wrong("a", "it is a directory, and its name does not end in `/`"),
        ),
        (
            zip(&[of("a/", 0o100_644)]),
            "Header",
            wrong("a/", "it is no directory, and its name ends in `/`"),
        ),
        (
            zip(&[ZipEntry::new("a/", 0o40_755, b"x")]),
            "Header",
            wrong("a/", "it is no file, and has a size"),
        ),
        (
            edited(|entry| entry.flags = 1),
            "Encrypted",
            "`a` is encrypted".into(),
        ),
        (
            edited(|entry| entry.method = 12),
            "ZipMethod",
            "`a` is compressed by the method Bzip2, which is not read".into(),
        ),
        (
            edited(|entry| entry.local = b"b".into()),
            "ZipDisagrees",
            disagree.into(),
        ),
        (
            edited(|entry| entry.crc ^= 1),
            "Corrupt",
            "the zip data are damaged in `a`".into(),
        ),
        (
            edited(|entry| entry.size = 6),
            "Corrupt",
            "the zip data are damaged in `a`".into(),
        ),
        (
            edited(|entry| entry.size = 8),
            "Truncated",
            "the archive is cut short in `a`".into(),
        ),
        (
            edited(|entry| entry.gap = 3),
            "ZipGap",
            "the zip archive hides 3 bytes after `a`".into(),
        ),
        (
            [b"#!/bin/sh\n", &zip(&[file("a")])[..]].concat(),
            "Zip",
            malformed("its directory does not end where the end record begins"),
        ),
        // The second entry is said to begin inside the first one's data.
        (
            zip_edited(&[file("a"), file("b")], |directory| {
                let second = directory.len() / 2;
                directory[second + 42..][..4].copy_from_slice(&[0; 4]);
            }),
            "ZipOverlap",
            "`a` and `b` overlap in the zip archive".into(),
        ),
        (
            zip_edited(&[file("a")], |directory| directory.push(0)),
            "Zip",
            malformed("its directory has something behind its last entry"),
        ),
        (
            zip_edited(&[file("a")], |directory| directory[0] = b'x'),
            "Zip",
            malformed("its directory is malformed"),
        ),
    ];
    for (bytes, variant, message) in cases {
        refused(&bytes, &Format::Zip, &limits(), variant, &message);
    }
}

/// A disk that fails, and that cannot seek.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

impl Seek for Failing {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_disk_that_fails_is_told() {
    for name in ["x.tar", "x.tgz", "x.tar.xz", "x.tar.zst", "x.deb", "x.zip", "x"] {
        let format = Format::from_file_name(name).unwrap();
        let error = read(Failing, &format, &limits(), &mut Spool::new().unwrap()).unwrap_err();
        let wanted = ("Read".to_owned(), "cannot read the archive".to_owned());
        assert_eq!(told(&error), wanted, "{name}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "the disk is gone");
    }
}

#[test]
fn a_full_disk_is_told() {
    if !is_child() {
        // Files of the child may have 16 blocks of 512 bytes.
        in_child(
            "archive::hostile::a_full_disk_is_told",
            "trap '' XFSZ; ulimit -f 16",
        );
        return;
    }
    let bytes = t().entry(b'0', "big", &[7; 20_000]).end();
    let message = "cannot keep the content of the archive in `big` in a temporary file";
    refused(&bytes, &TAR, &limits(), "Spool", message);
}

/// Every variant that the error's source lists is wanted by a case here.
#[test]
fn every_error_has_a_case() {
    let source = include_str!("../../../src/archive/error.rs");
    let (_, variants) = source.split_once("pub enum ArchiveError {").unwrap();
    let variants: Vec<_> = variants
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    assert!(variants.len() > 40, "{variants:?}");
    for variant in variants {
        let wanted = format!("\"{variant}\"");
        assert!(
            include_str!("hostile.rs").contains(&wanted),
            "{variant} has no case"
        );
    }
}
