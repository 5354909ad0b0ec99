//! Archives that mean harm: refused with the file's name, the entry's name and
//! the reason, and nothing is written.

use tar::EntryType;

use crate::world::{World, gzip, noise, tar_gz};

/// An entry with a name that no tar library would write.
fn entry(name: &str, kind: EntryType, target: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    let mut entry = [header.as_bytes(), bytes].concat();
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn file(name: &str) -> Vec<u8> {
    entry(name, EntryType::Regular, "", b"bad")
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[entries.concat(), vec![0; 1024]].concat())
}

const NOT_HONEST: &str =
    "no honest archive holds this: compare its sha256 with upstream's, and tell upstream";

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let link = |name, target| entry(name, EntryType::Symlink, target, b"");
    let good = tar_gz(&[("bin/tool", 0o755, &noise(1 << 16))]);
    let cases: [(&str, Vec<u8>, &str, &str); 9] = [
        (
            "absolute",
            archive(&[file("/etc/passwd")]),
            "the name `/etc/passwd` is absolute",
            NOT_HONEST,
        ),
        (
            "parent",
            archive(&[file("bin/../../x")]),
            "the name `bin/../../x` has a `..` in it",
            NOT_HONEST,
        ),
        (
            "through a link",
            archive(&[link("bin", "lib"), file("bin/x")]),
            "`bin/x` would be written through the symbolic link `bin`",
            NOT_HONEST,
        ),
        (
            "a link out",
            archive(&[link("bin/x", "../../../etc/passwd")]),
            "the link `bin/x` leads out of the tree, to `../../../etc/passwd`",
            NOT_HONEST,
        ),
        (
            "fifo",
            archive(&[entry("bin/x", EntryType::Fifo, "", b"")]),
            "`bin/x` is a named pipe, which an extension cannot hold",
            "Tiny Core makes its own devices: take another release file",
        ),
        (
            "twice",
            archive(&[file("bin/x"), file("bin/x")]),
            "`bin/x` is in the archive twice",
            NOT_HONEST,
        ),
        (
            "bomb",
            archive(&[entry("bin/x", EntryType::Regular, "", &vec![0; 1 << 20])]),
            "the archive holds more than 524288 bytes; the limit is passed in `bin/x`",
            "if the archive is honest, raise the limit in `recipes/limits.toml` (`total-bytes`)",
        ),
        (
            "cut short",
            good[..good.len() / 2].to_vec(),
            "the archive is cut short in `bin/tool`",
            "fetch it again",
        ),
        (
            "something behind it",
            [good.clone(), b"more".to_vec()].concat(),
            "there is something behind the end of the gzip data, after `bin/tool`",
            NOT_HONEST,
        ),
    ];
    for (what, bytes, reason, hint) in cases {
        let world = World::with_tool(&bytes);
        world.settings(
            "recipes/limits.toml",
            &[("total-bytes = 4_294_967_296", "total-bytes = 524_288")],
        );
        let run = world.run(&["build"]);
        assert_eq!(
            run.stderr,
            format!("error: cannot unpack `tool.tar.gz` of tool\n  because: {reason}\nhint: {hint}\n"),
            "{what}"
        );
        run.failed(&run.stderr);
        world.assert_nothing_left();
    }
}

#[test]
fn a_limit_that_is_no_limit_is_shown() {
    let world = World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"")]));
    world.settings(
        "recipes/limits.toml",
        &[("entries = 200_000", "entries = \"many\"")],
    );
    let run = world.run(&["build"]);
    let path = world.text_path("project/recipes/limits.toml");
    assert!(
        run.stderr
            .starts_with(&format!("error: `{path}` is wrong: TOML parse error at line ")),
        "{}",
        run.stderr
    );
    run.failed(&run.stderr);
    world.assert_nothing_left();
}
