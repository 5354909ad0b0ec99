//! Reading archives: honest ones made by the usual programs, and every kind of
//! hostile one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bytes;
mod honest;
mod hostile;
mod random;

use std::io::Cursor;
use std::process::{Command, Output};

use tcforge::archive::{ArchiveError, Compression, Format, Limits, Root, read};
use tcforge::stage::{Kind, Spool, Stage, TreePath};

fn limits() -> Limits {
    Limits::built_in().unwrap()
}

fn tar(compression: Compression) -> Format {
    Format::Tar {
        compression,
        root: Root::Own,
    }
}

fn read_bytes(bytes: &[u8], format: &Format) -> Result<Stage, ArchiveError> {
    read_within(bytes, format, &limits())
}

fn read_within(bytes: &[u8], format: &Format, limits: &Limits) -> Result<Stage, ArchiveError> {
    read(Cursor::new(bytes), format, limits, &mut Spool::new().unwrap())
}

/// Every path of a tree with its kind, mode and content, for comparison. Hard
/// links are told by the first path of the same content.
fn listing(stage: &Stage) -> Vec<String> {
    let mut firsts: Vec<(usize, String)> = Vec::new();
    stage
        .iter()
        .map(|(path, node)| {
            let name = format!("{path:?} {:o}", node.mode);
            match &node.kind {
                Kind::Directory => format!("{name} directory"),
                Kind::Symlink(target) => format!("{path:?} -> {}", target.escape_ascii()),
                Kind::File(content) => {
                    let identity = content.identity();
                    match firsts.iter().find(|(known, _)| *known == identity) {
                        Some((_, first)) => format!("{name} is {first}"),
                        None => {
                            firsts.push((identity, format!("{path:?}")));
                            let sum = tcforge::digest::Sha256::of(&content.read_all().unwrap());
                            format!("{name} {} {sum}", content.len())
                        }
                    }
                }
            }
        })
        .collect()
}

fn text(stage: &Stage, path: &str) -> String {
    match &stage.get(&TreePath::parse(path).unwrap()).unwrap().kind {
        Kind::File(content) => String::from_utf8(content.read_all().unwrap()).unwrap(),
        other => panic!("`{path}` is {other:?}"),
    }
}

/// Runs a program that the tests need.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}\nhint: apt-get install tar gzip xz-utils zstd dpkg zip")
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Runs one test of this binary again in a process of its own, with `TCFORGE_TEST_CHILD`
/// set, after the shell commands `before`.
fn in_child(test: &str, before: &str) {
    run(Command::new("sh")
        .args(["-c", &format!("{before}; exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("TCFORGE_TEST_CHILD", "1"));
}

fn is_child() -> bool {
    std::env::var_os("TCFORGE_TEST_CHILD").is_some()
}
