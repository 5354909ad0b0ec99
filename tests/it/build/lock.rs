//! A build reads nothing that the lock does not vouch for, and `fetch` gets
//! everything that it reads.

use std::collections::BTreeMap;

use crate::mirror::Mirror;
use crate::world::{Run, World, by_sum, chmod, tar_gz, without_powers};

fn archive() -> Vec<u8> {
    tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")])
}

#[test]
fn a_file_that_is_not_in_the_lock_stops_the_build() {
    let world = World::with_tool(&archive());
    world.write("project/tcforge.lock", "version = 1\n");
    for command in ["build", "fetch"] {
        world.run(&[command]).failed(
            "error: `tool.tar.gz` of `tool` is not in the lock: https://upstream.invalid/tool.tar.gz\n\
             hint: `tcforge update tool --channel test` fetches it and records its sum; `--file tool.tar.gz=PATH` takes a \
             file of yours without one\n",
        );
        world.assert_nothing_left();
    }
}

#[test]
fn a_lock_with_a_mistake_is_shown() {
    let world = World::with_tool(&archive());
    world.edit("project/tcforge.lock", "source = ", "sauce = ");
    let run = world.run(&["build", "--color", "never"]);
    let lock = world.text_path("project/tcforge.lock");
    run.failed(&format!(
        "  × {lock}:8: there is no key `sauce`
   ╭─[{lock}:8:1]
 7 │ sha256 = \"{}\"
 8 │ sauce = \"a test\"
   · ──┬──
   ·   ╰── unknown key
   ╰────
  help: did you mean `source`?
",
        tcforge::digest::Sha256::of(&archive())
    ));
}

/// The sum of npm's is-number 7.0.0, which never changes.
const NUMBER: &str = "7b75c1057198cf97696909a9bee176c9c5e9bcb5b03bf3ecef2f484defadd51e";

#[test]
fn a_file_that_differs_stops_the_build_with_both_sums() {
    let world = World::new();
    world.recipe(
        "number",
        "[[release.test.asset]]\nnpm = \"is-number\"\nversion = \"7.0.0\"\n\
         place = [{ from = \"package/index.js\", to = \"usr/local/lib/number/\" }]\n",
    );
    let wrong = "0".repeat(64);
    world.write(
        "project/tcforge.lock",
        format!(
            "version = 1\n\n[[file]]\nname = \"is-number\"\nurl = \"npm:is-number@7.0.0\"\nsha256 = \"{wrong}\"\n\
             source = \"a test\"\n"
        ),
    );
    let mut command = world.command(&["build"]);
    Run::of(command.env_remove("TCFORGE_MIRROR")).failed(&format!(
        "error: `npm:is-number@7.0.0` is not the file that was asked for: its sha256 is {NUMBER}, not {wrong}\nhint: \
         upstream replaced the file, or somebody changed it on the way: find out which. To take the new one, remove \
         its entry from the lock that has it, and run this again\n"
    ));
    world.assert_nothing_left();
}

#[test]
fn a_mirror_with_another_file_is_passed_over_with_both_sums() {
    let world = World::with_tool(&archive());
    world.settings("recipes/network.toml", &[("attempts = 5", "attempts = 1")]);
    let wanted = tcforge::digest::Sha256::of(&archive());
    let same_size = tar_gz(&[("bin/tool", 0o755, b"#!/bin/SH\n")]);
    assert_eq!(same_size.len(), archive().len(), "only the sum differs");
    let (shorter, longer) = (b"gone".to_vec(), [archive(), archive()].concat());
    for other in [same_size, shorter, longer] {
        let mirror = Mirror::of(BTreeMap::from([("/tool.tar.gz".to_owned(), other.clone())]));
        let run = world.run(&["build", "--mirror", &mirror.url()]);
        let sizes = match (other.len(), archive().len()) {
            (found, wanted) if found == wanted => String::new(),
            (found, wanted) => format!(" ({found} bytes, not {wanted})"),
        };
        let note = format!(
            "      note tool.tar.gz: `{}/tool.tar.gz` is not the file that was asked for: its sha256 is {}, not \
             {wanted}{sizes}\n",
            mirror.url(),
            tcforge::digest::Sha256::of(&other),
        );
        assert!(run.stderr.contains(&note), "{}", run.stderr);
        assert_eq!(run.code, Some(1));
        world.assert_nothing_left();
    }
}

#[test]
fn fetch_fills_the_cache_for_a_build_without_any_network() {
    let world = World::with_tool(&archive());
    let cached = format!("{}{}", world.text_path("cache"), by_sum(&archive()));
    let missing = "error: not in the cache, and this is offline: tool.tar.gz \
                   (https://upstream.invalid/tool.tar.gz)\nhint: run `tcforge fetch` on a machine with network, \
                   and copy its cache here\n";
    let mirror = Mirror::of(BTreeMap::from([(by_sum(&archive()), archive())]));
    let url = mirror.url();
    world
        .run(&["build", "--offline", "--mirror", &url])
        .failed(missing);
    world.assert_nothing_left();

    let run = world.run(&["fetch", "--mirror", &url]);
    run.succeeded(&format!(
        "   Fetched 1 file, {} B, into `{}`\n",
        archive().len(),
        world.text_path("cache")
    ));
    assert_eq!(run.stdout, "");
    drop(mirror);
    let run = world.run(&["fetch", "--quiet", "--json", "--mirror", &url]);
    run.succeeded("");
    assert_eq!(
        run.json(),
        serde_json::json!([{
            "name": "tool.tar.gz",
            "url": "https://upstream.invalid/tool.tar.gz",
            "size": archive().len(),
            "sha256": tcforge::digest::Sha256::of(&archive()).to_string(),
            "source": "a test",
            "path": cached,
        }])
    );
    world
        .run(&["build", "--offline", "--mirror", &url])
        .succeeded("     Wrote 1 extension to `out`\n");
}

/// The world's lock without the size.
fn without_size(world: &World) -> String {
    world.edit(
        "project/tcforge.lock",
        &format!("size = {}\n", archive().len()),
        "",
    );
    world.read("project/tcforge.lock")
}

#[test]
fn the_first_fetch_writes_a_size_that_was_missing_and_the_next_compares_it() {
    let world = World::with_tool(&archive());
    world.edit(
        "project/tcforge.lock",
        "version = 1\n",
        "# mine\nversion = 1 # one\n",
    );
    world.edit(
        "project/tcforge.lock",
        "source = \"a test\"",
        "source = \"a test\" # me",
    );
    let full = world.read("project/tcforge.lock");
    let bare = without_size(&world);

    // A build reads the lock, and leaves it as it is.
    world.build();
    assert_eq!(world.read("project/tcforge.lock"), bare);

    let fetched = format!(
        "   Fetched 1 file, {} B, into `{}`\n",
        archive().len(),
        world.text_path("cache")
    );
    let recorded = "  Recorded the size of 1 file in tcforge.lock\n";
    world.run(&["fetch"]).succeeded(&format!("{recorded}{fetched}"));
    assert_eq!(world.read("project/tcforge.lock"), full);
    world.run(&["fetch"]).succeeded(&fetched);
    assert_eq!(world.read("project/tcforge.lock"), full);

    let (right, wrong) = (archive().len(), archive().len() + 1);
    world.edit(
        "project/tcforge.lock",
        &format!("size = {right}"),
        &format!("size = {wrong}"),
    );
    world.run(&["fetch"]).failed(&format!(
        "error: `https://upstream.invalid/tool.tar.gz` has {right} bytes, not {wrong}, and the \
         right sha256\nhint: the lock is wrong: correct the size in tcforge.lock\n"
    ));
}

#[test]
fn a_lock_that_cannot_be_written_does_not_keep_a_fetch_from_success() {
    let world = World::with_tool(&archive());
    let bare = without_size(&world);
    chmod(&world.path("project"), 0o555);
    let run = Run::of(&mut world.through(without_powers(), &["fetch", "-q"]));
    chmod(&world.path("project"), 0o755);
    run.succeeded(&format!(
        "warning: sizes were not recorded: cannot write `{}`\n",
        world.text_path("project/tcforge.lock")
    ));
    assert_eq!(world.read("project/tcforge.lock"), bare);
    assert_eq!(world.names("project"), ["recipes", "tcforge.lock"]);
}
