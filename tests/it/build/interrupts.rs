//! Ctrl-C, SIGTERM and SIGKILL in the middle of things.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::mirror::Mirror;
use crate::world::{Run, World, by_sum, noise, tar_gz};

fn start(world: &World, args: &[&str]) -> Child {
    let mut command = world.command(args);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

const SIGNALS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

#[test]
fn a_fetch_that_is_interrupted_leaves_nothing_that_is_trusted() {
    for signal in SIGNALS {
        let archive = tar_gz(&[("bin/tool", 0o755, &noise(1 << 16))]);
        let world = World::with_tool(&archive);
        let files = BTreeMap::from([(by_sum(&archive), archive.clone())]);
        let mirror = Mirror::stalling(files);
        let build = start(&world, &["build", "--mirror", &mirror.url()]);
        assert_eq!(mirror.wait_for_stall(), by_sum(&archive));
        kill(&build, signal);
        let run = Run::ended(build.wait_with_output().unwrap());
        assert_eq!(
            (run.code, run.stderr.as_str(), run.stdout.as_str()),
            (Some(130), "error: interrupted\n", ""),
            "{signal:?}"
        );
        world.assert_nothing_left();
        assert!(!world.path("cache/sha256").exists(), "{signal:?}");
        world.build();
    }
}

#[test]
fn an_interrupt_ends_a_build_in_which_something_failed_at_once() {
    let archive = tar_gz(&[("bin/tool", 0o755, &noise(1 << 16))]);
    let world = World::with_tool(&archive);
    world.recipe(
        "unknown",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/x\"\nplace = [{ to = \"usr/local/bin/x\" }]\n",
    );
    let mirror = Mirror::stalling(BTreeMap::from([(by_sum(&archive), archive.clone())]));
    let build = start(&world, &["build", "--mirror", &mirror.url()]);
    mirror.wait_for_stall();
    kill(&build, Signal::INT);
    let run = Run::ended(build.wait_with_output().unwrap());
    assert_eq!(
        (run.code, run.stderr.as_str(), run.stdout.as_str()),
        (Some(130), "error: interrupted\n", "")
    );
    world.assert_nothing_left();
}

/// A folder with a file of 64 GiB that takes no room: packing it takes long.
fn endless_folder(world: &World) {
    fs::create_dir_all(world.path("project/folder/usr/local/share")).unwrap();
    let file = File::create(world.path("project/folder/usr/local/share/zeros")).unwrap();
    file.set_len(64 << 30).unwrap();
}

/// Starts to pack it, and waits until the image is begun.
fn start_packing(world: &World) -> Child {
    let mut pack = start(world, &["pack", "folder", "out/x.tcz", "--block-size", "1M"]);
    let begun = || {
        let folders = world.names("project/out");
        folders
            .iter()
            .any(|folder| world.path(&format!("project/out/{folder}/x.tcz")).exists())
    };
    while !begun() {
        assert!(pack.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    pack
}

#[test]
fn packing_that_is_interrupted_leaves_nothing() {
    for signal in SIGNALS {
        let world = World::new();
        endless_folder(&world);
        let pack = start_packing(&world);
        kill(&pack, signal);
        let run = Run::ended(pack.wait_with_output().unwrap());
        assert_eq!(
            (run.code, run.stderr.as_str(), run.stdout.as_str()),
            (Some(130), "error: interrupted\n", ""),
            "{signal:?}"
        );
        world.assert_nothing_left();
    }
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next() {
    let world = World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")]));
    endless_folder(&world);
    let mut pack = start_packing(&world);
    kill(&pack, Signal::KILL);
    assert_eq!(pack.wait().unwrap().signal(), Some(9));
    let left = world.names("project/out");
    assert!(
        left.iter().all(|name| name.starts_with(".tcforge-")) && left.len() == 1,
        "{left:?}"
    );
    world.build();
    let made = world.names("project/out");
    assert!(made.iter().all(|name| name.starts_with("tool.tcz")), "{made:?}");
}
