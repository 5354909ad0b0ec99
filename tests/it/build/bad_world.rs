//! Disks that are full, folders that are not ours, and others who build too.

use std::process::Stdio;

use tcforge::digest::Sha256;

use crate::world::{Run, World, chmod, noise, tar_gz, with_mounts, without_powers};

/// A megabyte that does not get smaller.
fn archive() -> Vec<u8> {
    tar_gz(&[("share/noise", 0o644, &noise(1 << 20))])
}

fn world() -> World {
    World::with_tool(&archive())
}

#[test]
fn an_output_folder_that_cannot_be_written_is_named() {
    let world = world();
    world.write("project/file", "");
    let mut at_a_file = world.command(&["build", "--out", "file"]);
    Run::of(&mut at_a_file).failed(
        "error: cannot make the folder `file`\n  because: File exists (os error 17)\nhint: a file is in the way: \
         name another folder, or remove it\n",
    );
    Run::of(&mut world.command(&["build", "--out", "file/below"])).failed(
        "error: cannot make the folder `file/below`\n  because: Not a directory (os error 20)\nhint: a file is in \
         the way: name another folder, or remove it\n",
    );

    std::fs::create_dir(world.path("project/out")).unwrap();
    chmod(&world.path("project/out"), 0o555);
    let run = Run::of(&mut world.through(without_powers(), &["build"]));
    assert_eq!(
        run.stderr_without_chance(),
        not_writable(&world, "Permission denied (os error 13)")
    );
    run.failed(&run.stderr);
    world.assert_nothing_left();
    chmod(&world.path("project/out"), 0o755);
}

fn not_writable(world: &World, why: &str) -> String {
    let scratch = world.text_path("project/out/.tcforge-");
    format!(
        "error: cannot write `out`\n  because: {why} at path \"{scratch}\"\nhint: write to a folder that you may \
         write to\n"
    )
}

#[test]
fn a_read_only_disk_is_named() {
    let world = world();
    let starter = with_mounts("mkdir out; mount -t tmpfs -o ro none out && exec \"$@\"");
    let run = Run::of(&mut world.through(&starter, &["build"]));
    assert_eq!(
        run.stderr_without_chance(),
        not_writable(&world, "Read-only file system (os error 30)")
    );
    run.failed(&run.stderr);
    world.assert_nothing_left();
}

/// Runs a build with a full disk of 256 KiB at a folder, which is listed
/// on the output afterwards.
fn on_a_small_disk(world: &World, folder: &str) -> Run {
    let script = format!(
        "mkdir -p {folder}; mount -t tmpfs -o size=256k none {folder} || exit 99; \
         \"$@\"; code=$?; find {folder} -type f -size +0; exit $code"
    );
    Run::of(&mut world.through(&with_mounts(&script), &["build"]))
}

#[test]
fn a_full_disk_is_named_and_nothing_stays_on_it() {
    for (folder, stderr) in [
        (
            "out",
            "error: cannot pack `tool.tcz`\n  because: cannot write the image\n  because: No space left on device (os \
             error 28)\nhint: is the disk full?\n",
        ),
        (
            "../tmp",
            "error: cannot unpack `tool.tar.gz` of tool\n  because: cannot keep the content of the archive in \
             `share/noise` in a temporary file\n  because: No space left on device (os error 28)\nhint: there must be \
             room for the unpacked archive where TMPDIR points to\n",
        ),
        (
            "../cache",
            "error: cannot write `CACHE/partial/SUM.part`: No space left on device (os error 28)\nhint: make room, or \
             set TCFORGE_CACHE to a folder where there is some\n",
        ),
    ] {
        let world = world();
        let sum = Sha256::of(&archive()).to_string();
        let stderr = stderr
            .replace("CACHE/", &(world.text_path("cache") + "/"))
            .replace("SUM", &sum);
        on_a_small_disk(&world, folder).failed(&stderr);
        world.assert_nothing_left();
        // With room, the same works.
        world.build();
    }
}

#[test]
fn several_builds_into_one_folder_do_not_hurt_each_other() {
    let world = world();
    world.build();
    let wanted = world.made();
    std::fs::remove_dir_all(world.path("project/out")).unwrap();
    std::fs::remove_dir_all(world.path("cache")).unwrap();

    let start = |_| {
        let mut command = world.command(&["build", "--quiet"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let builds: Vec<_> = (0..6).map(start).collect();
    for build in builds {
        Run::ended(build.wait_with_output().unwrap()).succeeded("");
    }
    assert!(world.made() == wanted, "{:?}", world.names("project/out"));
    assert_eq!(world.names("tmp"), [""; 0]);
}

#[test]
fn old_side_files_and_nobody_elses_are_replaced() {
    let world = world();
    for name in [
        "tool.tcz",
        "tool.tcz.dep",
        "tool.tcz.tree",
        "tool.tcz.dep.mine",
        "tools.tcz.dep",
    ] {
        world.write(&format!("project/out/{name}"), "old");
    }
    world.build();
    let made = world.made();
    assert!(!made.contains_key("tool.tcz.dep"), "{:?}", made.keys());
    let old: Vec<_> = made
        .iter()
        .filter(|(_, bytes)| *bytes == b"old")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(old, ["tool.tcz.dep.mine", "tools.tcz.dep"]);
}
