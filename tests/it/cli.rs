//! The program as a person or a script meets it.

use std::fs;
use std::process::Output;

use assert_cmd::Command;

/// The program with a clean environment, in a folder of its own.
pub(crate) fn tcforge(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(folder)
        .env_remove("TCFORGE_PROJECT")
        .env_remove("TCFORGE_CHANNEL")
        .env_remove("TCFORGE_OFFLINE")
        .env_remove("TCFORGE_MIRROR")
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    for (args, message) in [
        (&["biuld"][..], "a similar subcommand exists: 'build'"),
        (
            &["build", "--chanel", "x"],
            "a similar argument exists: '--channel'",
        ),
        (&["pack", "only-one"], "<OUT.tcz>"),
        (&["check"], "<FILE>"),
        (&["build", "-q", "-v"], "cannot be used with"),
        (&["completions", "tcsh"], "possible values"),
        (&[], "Usage: tcforge"),
    ] {
        let output = tcforge(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn init_writes_a_project_that_wins_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let output = tcforge(dir.path(), &["init", "box"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let programs = dir.path().join("box/recipes/programs.toml");
    fs::write(
        &programs,
        "[[program]]\nname = 'sh'\nfor = 'a test'\npackage = 'dash'\n",
    )
    .unwrap();
    let output = tcforge(&dir.path().join("box/recipes"), &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found[0]["purpose"], "a test");
    assert_eq!(found.as_array().unwrap().len(), 1);

    let output = tcforge(dir.path(), &["init", "box"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is there already\nhint: name an empty folder"),
        "{}",
        stderr(&output)
    );
    assert!(fs::read_to_string(&programs).unwrap().contains("a test"));
}

#[test]
fn doctor_names_what_is_missing_and_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::cargo_bin("tcforge")
        .unwrap()
        .current_dir(dir.path())
        .env("PATH", dir.path())
        .args(["doctor", "--color", "never"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = stdout(&output);
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with("mksquashfs "));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().take(2).collect();
    assert_eq!(words, ["mksquashfs", "missing"], "{table}");
    assert!(
        stderr(&output).contains("sudo apt-get install apt bc bison busybox-static"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn completions_and_man_pages_come_from_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = tcforge(dir.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("block-size"), "{shell}");
    }
    let output = tcforge(dir.path(), &["man", "man"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["tcforge.1", "tcforge-build.1", "tcforge-check.1"] {
        let text = fs::read_to_string(dir.path().join("man").join(page)).unwrap();
        assert!(text.contains(".TH tcforge"), "{page}");
    }
}

#[test]
fn a_project_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for (project, message) in [
        (
            "nowhere",
            "error: the project folder `nowhere` does not exist\nhint: make one with `tcforge init DIR`\n",
        ),
        (
            "file",
            "error: the project `file` is not a folder\nhint: name the folder that holds tcforge.lock\n",
        ),
    ] {
        let output = tcforge(dir.path(), &["doctor", "--project", project]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output), message);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["completions", "bash"][..],
        &["list"],
        &["list", "--json"],
        &["doctor", "--json"],
        &["init", "there", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("tcforge"))
            .current_dir(dir.path())
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        let said = stderr(&output);
        let errors: Vec<_> = said.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!((errors, output.status.code()), (vec![], Some(0)), "{args:?}");
    }
}
