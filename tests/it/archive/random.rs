//! Whatever the bytes are, nothing panics, and no path or link leads out.

use proptest::prelude::*;

use tcforge::archive::{Compression, Format, Limits, Root};
use tcforge::stage::{Kind, Stage, TreePath};

use super::bytes::{Tar, ZipEntry, deb, gzip, seal, xz, zip, zstd};
use super::{limits, read_within, tar};

fn formats() -> Vec<Format> {
    let system = Format::Tar {
        compression: Compression::None,
        root: Root::System,
    };
    vec![
        tar(Compression::None),
        system,
        tar(Compression::Gzip),
        tar(Compression::Xz),
        tar(Compression::Zstd),
        Format::Deb,
        Format::Zip,
        Format::from_file_name("x").unwrap(),
    ]
}

/// Small, so that a size that came out large does not fill the disk.
fn small() -> Limits {
    Limits {
        total_bytes: 1 << 20,
        ..limits()
    }
}

/// What must hold of every tree that is made.
fn assert_closed(stage: &Stage) {
    for (path, node) in stage.iter() {
        let components: Vec<_> = path.components().collect();
        assert!(
            components
                .iter()
                .all(|c| !c.is_empty() && *c != b"." && *c != b"..")
        );
        if let Some(above) = path.parent() {
            assert!(stage.get(&above).unwrap().is_dir(), "{path}");
        }
        if let Kind::Symlink(target) = &node.kind {
            let leads = walk(stage, path.parent().unwrap(), target, &mut 40);
            assert_ne!(leads, Err(Nowhere::Out), "{path} -> {}", target.escape_ascii());
        }
    }
}

/// Why a link leads nowhere.
#[derive(Debug, PartialEq)]
enum Nowhere {
    /// It leaves the tree.
    Out,
    /// It goes through more links than the kernel follows.
    Loop,
}

/// Where a link leads, followed as the kernel does it.
fn walk(stage: &Stage, start: TreePath, target: &[u8], links: &mut u32) -> Result<TreePath, Nowhere> {
    let mut at = if target.starts_with(b"/") {
        TreePath::root()
    } else {
        start
    };
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => at = at.parent().ok_or(Nowhere::Out)?,
            name => {
                let below = at.join(&TreePath::parse(name).unwrap());
                at = match stage.get(&below).map(|node| &node.kind) {
                    Some(Kind::Symlink(_)) if *links == 0 => return Err(Nowhere::Loop),
                    Some(Kind::Symlink(target)) => {
                        *links -= 1;
                        walk(stage, at, target, links)?
                    }
                    _ => below,
                };
            }
        }
    }
    Ok(at)
}

/// An archive with something of everything.
fn varied() -> Vec<u8> {
    Tar::new()
        .directory("./")
        .pax(&[("path", "a/b"), ("size", "7"), ("mtime", "1.5")])
        .file("x")
        .long(b'L', "a/long")
        .long(b'K', "b")
        .symlink("x", "x")
        .link(b'1', "a/h", "a/b")
        .symlink("l", "a/../a/b")
        .old_sparse("s", 2000, &[(0, 512), (1024, 3)], &[1; 515])
        .pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "t"),
            ("GNU.sparse.realsize", "2000"),
        ])
        .entry(
            b'0',
            "GNUSparseFile.1/t",
            &[&b"1\n9\n3\n"[..], &[0; 506], b"abc"].concat(),
        )
        .pax(&[
            ("GNU.sparse.size", "9"),
            ("GNU.sparse.numblocks", "1"),
            ("GNU.sparse.map", "2,7"),
        ])
        .file("u")
        .end()
}

/// Names and targets, most of which clash or climb.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ".", "..", ""]), 1..5)
        .prop_map(|components| components.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for format in formats() {
            if let Ok(stage) = read_within(&bytes, &format, &small()) {
                assert_closed(&stage);
            }
        }
    }

    #[test]
    fn a_changed_tar_archive_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        sealed in any::<bool>(),
    ) {
        let mut bytes = varied();
        let whole = bytes.len();
        for (at, byte) in changes {
            bytes[at.index(whole)] = byte;
        }
        if sealed {
            // Every block that has a header's magic gets the right checksum.
            for block in bytes.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    seal(block);
                }
            }
        }
        for format in &formats()[..2] {
            if let Ok(stage) = read_within(&bytes, format, &small()) {
                assert_closed(&stage);
            }
        }
    }

    #[test]
    fn a_changed_archive_of_any_kind_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let whole = varied();
        let link = ZipEntry::new("l", 0o120_777, b"a/b");
        let cases = [
            (gzip(&whole), tar(Compression::Gzip)),
            (xz(&whole), tar(Compression::Xz)),
            (zstd(&whole), tar(Compression::Zstd)),
            (deb(&whole), Format::Deb),
            (zip(&[ZipEntry::file("a/b"), link]), Format::Zip),
        ];
        for (mut bytes, format) in cases {
            let length = bytes.len();
            for (at, byte) in &changes {
                bytes[at.index(length)] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(length));
                prop_assert!(read_within(&bytes, &format, &small()).is_err());
            } else if let Ok(stage) = read_within(&bytes, &format, &small()) {
                assert_closed(&stage);
            }
        }
    }

    /// Files, directories, links and hard links with names that clash.
    #[test]
    fn any_entries_make_a_closed_tree_or_none(
        entries in prop::collection::vec((prop::sample::select(b"0125".to_vec()), name(), name()), 1..12),
    ) {
        for format in &formats()[..2] {
            let archive = entries.iter().fold(Tar::new(), |tar, (kind, name, target)| match kind {
                b'0' | b'5' => tar.entry(*kind, name, b""),
                _ => tar.link(*kind, name, target),
            });
            if let Ok(stage) = read_within(&archive.end(), format, &small()) {
                assert_closed(&stage);
            }
        }
    }
}

#[test]
fn the_archive_that_is_changed_is_good() {
    let stage = read_within(&varied(), &tar(Compression::None), &small()).unwrap();
    let names: Vec<_> = stage.file_paths().map(ToString::to_string).collect();
    assert_eq!(names, ["a/b", "a/h", "a/long", "l", "s", "t", "u"]);
    assert_closed(&stage);
}
