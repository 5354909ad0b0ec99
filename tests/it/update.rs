//! `tcforge update` from end to end, against a GitHub of our own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;
use tcforge::digest::Sha256;

use crate::mirror::Mirror;
use crate::world::{World, chmod, tar_gz};

fn archive(version: &str) -> Vec<u8> {
    let name = format!("tool-{version}/bin/tool");
    tar_gz(&[(&name, 0o755, b"#!/bin/sh\n")])
}

const RECIPE: &str = r#"name = "tool" # and not tools
description = "Does one thing well"
author = "Jane Doe"
site = "https://example.org/tool"
license = "MIT"
tags = "example"

# 1.x: the API of 2 is another.
[release.test]
version = "1.2"    # the newest when this was written
date = "2026-01-31"
watch = { github = "example/tool", prefix = "1." }

[[release.test.asset]]
url = "https://upstream.invalid/v{version}/tool-{version}.tar.gz"
place = [{ from = "tool-{version}/bin/*", to = "usr/local/bin/" }]
"#;

/// A project with `tool` 1.2, and a GitHub where 1.3 and 2.0 are out.
fn world() -> (World, Mirror) {
    let world = World::new();
    world.write("project/recipes/tool/recipe.toml", RECIPE);
    world.mirror(&archive("1.2"));
    world.mirror(&archive("1.3"));
    world.write("project/tcforge.lock", lock("1.2", "a test"));
    let release = |version: &str, day: &str| {
        json!({
            "tag_name": format!("v{version}"),
            "draft": false,
            "prerelease": false,
            "published_at": format!("{day}T12:00:00Z"),
            "assets": [{
                "name": format!("tool-{version}.tar.gz"),
                "size": archive(version).len(),
                "browser_download_url":
                    format!("https://upstream.invalid/v{version}/tool-{version}.tar.gz"),
                "digest": format!("sha256:{}", Sha256::of(&archive(version))),
            }],
        })
    };
    let releases = json!([
        release("2.0", "2026-05-01"),
        release("1.3", "2026-04-01"),
        release("1.2", "2026-01-31")
    ]);
    let github = github("example/tool", &releases, &world);
    (world, github)
}

/// A GitHub that has the releases of one project, and the world's only one.
fn github(project: &str, releases: &serde_json::Value, world: &World) -> Mirror {
    let github = Mirror::of(BTreeMap::from([(
        format!("/repos/{project}/releases"),
        releases.to_string().into_bytes(),
    )]));
    world.settings(
        "recipes/network.toml",
        &[
            ("https://api.github.com", &github.url()),
            ("attempts = 5", "attempts = 1"),
        ],
    );
    github
}

/// The lock's text with one version of the tool.
fn lock(version: &str, source: &str) -> String {
    let header = tcforge::recipe::Lock::default().to_text().unwrap();
    format!(
        "{header}\n[[file]]\nname = \"tool-{version}.tar.gz\"\nurl = \
         \"https://upstream.invalid/v{version}/tool-{version}.tar.gz\"\nsize = {}\nsha256 = \"{}\"\nsource = \
         \"{source}\"\n",
        archive(version).len(),
        Sha256::of(&archive(version))
    )
}

#[test]
fn a_newer_release_is_shown_and_written() {
    let (world, _github) = world();
    let file = |version: &str| {
        let (sum, size) = (Sha256::of(&archive(version)), archive(version).len());
        format!("https://upstream.invalid/v{version}/tool-{version}.tar.gz {sum} ({size} bytes)")
    };
    let change = format!(
        "tool (test): 1.2 → 1.3\n  tool-1.3.tar.gz: nothing → {}\n  tool-1.2.tar.gz: {} → nothing",
        file("1.3"),
        file("1.2")
    );
    let files = || {
        (
            world.read("project/recipes/tool/recipe.toml"),
            world.read("project/tcforge.lock"),
        )
    };
    let before = files();

    let run = world.run(&["update", "--dry-run"]);
    run.succeeded(&format!("Would update {change}\n"));
    assert_eq!(run.stdout, "");
    assert_eq!(files(), before);

    let run = world.run(&["update", "tool", "--json"]);
    run.succeeded(&format!("   Updated {change}\n"));
    assert_eq!(
        run.json(),
        json!([{
            "recipe": "tool",
            "channel": "test",
            "old_version": "1.2",
            "new_version": "1.3",
            "changed": true,
            "files": ["tool-1.3.tar.gz", "tool-1.2.tar.gz"],
            "upstream": [{
                "name": "tool-1.3.tar.gz",
                "url": "https://upstream.invalid/v1.3/tool-1.3.tar.gz",
                "sha256": Sha256::of(&archive("1.3")).to_string(),
                "source": "GitHub's list of the release",
            }],
        }])
    );
    let recipe = RECIPE
        .replace("\"1.2\"", "\"1.3\"")
        .replace("2026-01-31", "2026-04-01");
    assert_eq!(files(), (recipe, lock("1.3", "GitHub's list of the release")));

    let run = world.run(&["update"]);
    run.succeeded("   Current tool 1.3\n");
    world.build();
    assert!(
        world
            .read("project/out/tool.tcz.info")
            .contains("\nVersion:        1.3\n")
    );
}

#[test]
fn a_file_that_is_not_the_one_that_github_lists_is_refused() {
    let (world, _github) = world();
    fs::remove_dir_all(world.path("mirror")).unwrap();
    world.write("mirror/tool-1.3.tar.gz", archive("1.4"));
    let before = world.read("project/recipes/tool/recipe.toml");
    let run = world.run(&["update"]);
    let (wanted, found) = (Sha256::of(&archive("1.3")), Sha256::of(&archive("1.4")));
    assert!(
        run.stderr
            .contains(&format!("its sha256 is {found}, not {wanted}")),
        "{}",
        run.stderr
    );
    assert_eq!(run.code, Some(1));
    assert_eq!(world.read("project/recipes/tool/recipe.toml"), before);
    assert_eq!(world.read("project/tcforge.lock"), lock("1.2", "a test"));
}

#[test]
fn sums_that_are_missing_are_recorded() {
    let (world, _github) = world();
    world.write("project/tcforge.lock", "version = 1\n");
    // 1.2 is the newest that is wanted.
    world.edit(
        "project/recipes/tool/recipe.toml",
        "prefix = \"1.\"",
        "prefix = \"1.2\"",
    );
    world.run(&["update"]).succeeded(&format!(
        "   Updated tool (test): 1.2\n  tool-1.2.tar.gz: nothing → \
         https://upstream.invalid/v1.2/tool-1.2.tar.gz {} ({} bytes)\n",
        Sha256::of(&archive("1.2")),
        archive("1.2").len()
    ));
    assert_eq!(
        world.read("project/tcforge.lock"),
        lock("1.2", "GitHub's list of the release")
    );

    // And a size that is.
    let size = format!("size = {}\n", archive("1.2").len());
    world.edit("project/tcforge.lock", &size, "");
    world.run(&["update", "-q"]).succeeded("");
    assert_eq!(
        world.read("project/tcforge.lock"),
        lock("1.2", "GitHub's list of the release")
    );
}

#[test]
fn one_at_a_time_changes_a_project() {
    let (world, _github) = world();
    // This test is another run, of another user who may change the project, too, and
    // has read the lock.
    chmod(&world.path("project"), 0o775);
    let other = File::open(world.path("project")).unwrap();
    other.lock().unwrap();
    let mut command = world.command(&["update"]);
    let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        format!(
            "      note waiting for another run that changes `{}`",
            world.text_path("project")
        )
    );
    world.lock("other.tar.gz", &Sha256::of(b"other").to_string(), 5);
    drop(other);
    assert!(
        lines
            .next()
            .unwrap()
            .unwrap()
            .contains("Updated tool (test): 1.2")
    );
    assert!(running.wait().unwrap().success());
    let lock = world.read("project/tcforge.lock");
    assert!(
        lock.contains("/other.tar.gz\"\n") && lock.contains("/tool-1.3.tar.gz\"\n"),
        "{lock}"
    );
}

#[test]
fn what_the_npm_registry_says_is_recorded() {
    let world = World::new();
    world.recipe(
        "number",
        "[[release.test.asset]]\nnpm = \"is-number\"\nversion = \"7.0.0\"\n\
         place = [{ from = \"package/index.js\", to = \"usr/local/lib/number/\" }]\n",
    );
    world.run(&["update", "number", "-q"]).succeeded("");
    let lock = world.read("project/tcforge.lock");
    let source = "source = \"npm registry, sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==\"";
    assert!(
        lock.contains("url = \"npm:is-number@7.0.0\"") && lock.contains(source),
        "{lock}"
    );
    world.build();
    assert!(
        world
            .content("project/out/number.tcz", "usr/local/lib/number/index.js")
            .contains("isFinite")
    );
}

#[test]
fn without_a_project_nothing_can_be_written() {
    let (world, _github) = world();
    fs::remove_file(world.path("project/tcforge.lock")).unwrap();
    world.run(&["update", "runc", "--channel", "classic"]).failed(
        "error: there is no project here to write `tcforge.lock` to\nhint: make one with `tcforge init DIR`, then run \
         this again inside DIR\n",
    );
    assert!(!world.path("project/tcforge.lock").exists());
}

#[test]
fn a_built_in_recipe_is_written_into_the_project() {
    let world = World::new();
    let built_in = tcforge::project::Project::built_in();
    world.write(
        "project/tcforge.lock",
        built_in.read_text("tcforge.lock").unwrap(),
    );
    let (url, program) = (
        "https://github.com/opencontainers/runc/releases/download/v1.4.99/runc.amd64",
        b"runc",
    );
    world.mirror(program);
    let releases = json!([{
        "tag_name": "v1.4.99",
        "draft": false,
        "prerelease": false,
        "published_at": "2027-01-01T00:00:00Z",
        "assets": [{
            "name": "runc.amd64",
            "size": program.len(),
            "browser_download_url": url,
            "digest": format!("sha256:{}", Sha256::of(program)),
        }],
    }]);
    let github = github("opencontainers/runc", &releases, &world);
    let run = world.run(&["update", "runc", "--channel", "current", "-q"]);
    run.succeeded("");
    let recipe = world.read("project/recipes/runc/recipe.toml");
    assert!(
        recipe.contains("version = \"1.4.99\"\ndate = \"2027-01-01\"\n"),
        "{recipe}"
    );
    assert!(world.read("project/tcforge.lock").contains(url));
    drop(github);
}

#[test]
fn wrong_requests_are_answered_and_nothing_is_written() {
    let (world, github) = world();
    let before = world.read("project/tcforge.lock");
    for (args, stderr) in [
        (
            &["update", "tol"][..],
            "error: there is no recipe `tol`\nhint: did you mean `tool`?\n".to_owned(),
        ),
        (
            &["update", "--offline"],
            "error: an update has to ask upstream, and this is offline\nhint: leave `--offline` out, and unset \
             TCFORGE_OFFLINE\n"
                .to_owned(),
        ),
    ] {
        world.run(args).failed(&stderr);
    }
    world.edit(
        "project/recipes/tool/recipe.toml",
        "prefix = \"1.\"",
        "prefix = \"7.\"",
    );
    world.run(&["update"]).failed(
        "error: `github:example/tool` has no release beginning with 7.\nhint: check the recipe's `watch`\n",
    );
    world.edit("project/recipes/tool/recipe.toml", "example/tool", "example/gone");
    world.run(&["update"]).failed(&format!(
        "error: the server of `{}/repos/example/gone/releases?…` answers 404\nhint: upstream moved or removed the file: \
         look for another URL, or use `--mirror URL`\n",
        github.url()
    ));
    assert_eq!(world.read("project/tcforge.lock"), before);
}
