//! The same inputs give the same bytes, wherever and however they are built.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::world::{Run, World, contents, noise, tar_gz};

/// A world with enough in it to keep several threads busy.
fn world() -> World {
    let world = World::new();
    let files: Vec<_> = (0..40).map(|n| (format!("share/{n}"), noise(3000 * n))).collect();
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), 0o644, bytes.as_slice()))
        .collect();
    world.upstream("data.tar.gz", &tar_gz(&files));
    world.recipe(
        "data",
        "[[release.test.asset]]\n\
         url = \"https://upstream.invalid/data.tar.gz\"\n\
         place = [{ from = \"share/**\", to = \"usr/local/share/data/\" }]\n",
    );
    world
}

#[test]
fn a_build_is_the_same_on_every_machine() {
    let here = world();
    here.build();
    let wanted = here.made();
    assert_eq!(wanted.len(), 7, "{:?}", wanted.keys());

    let ways: [(&str, &[&str], &[(&str, &str)]); 4] = [
        (
            "another time zone, language and user",
            &[],
            &[
                ("TZ", "Pacific/Kiritimati"),
                ("LANG", "tr_TR.UTF-8"),
                ("LC_ALL", "C"),
                ("HOME", "/nonexistent"),
                ("USER", "someone"),
            ],
        ),
        (
            "another umask",
            &["sh", "-c", "umask 077; exec \"$@\"", "sh"],
            &[],
        ),
        ("one thread", &["taskset", "--cpu-list", "0"], &[]),
        (
            "another folder in the project",
            &[
                "sh",
                "-c",
                "mkdir -p deep/er && cd deep/er && exec \"$@\" --out ../../out",
                "sh",
            ],
            &[],
        ),
    ];
    for (what, starter, environment) in ways {
        // Each has a path of its own.
        let there = world();
        let mut command = there.through(starter, &["build", "--quiet"]);
        command.envs(environment.iter().copied());
        Run::of(&mut command).succeeded("");
        assert!(there.made() == wanted, "{what}");
    }
}

/// A folder with many files, made in the order of `numbers`.
fn make_folder(folder: &Path, numbers: impl Iterator<Item = usize>) {
    for n in numbers {
        let parent = folder.join(format!("usr/local/share/{}", n % 7));
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(n.to_string()), noise(n * 500)).unwrap();
        symlink(n.to_string(), parent.join(format!("link-{n}"))).unwrap();
    }
}

#[test]
fn a_packed_folder_is_the_same_whatever_order_it_was_made_in() {
    let world = World::new();
    make_folder(&world.path("one"), 0..100);
    // Each number once: 37 and 101 have no common divisor.
    make_folder(&world.path("two"), (1..=100).map(|n| n * 37 % 101 - 1));
    fs::set_permissions(
        world.path("two/usr"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    for (folder, said) in [
        ("one", ""),
        (
            "two",
            "warning: an extension has Tiny Core's owners and modes: 1 directory open to everybody now (usr)\n",
        ),
    ] {
        let out = world.text_path(&format!("out-{folder}/data.tcz"));
        let run = world.run(&["pack", &world.text_path(folder), &out, "--quiet"]);
        run.succeeded(said);
    }
    let (one, two) = (contents(&world.path("out-one")), contents(&world.path("out-two")));
    assert_eq!(one.len(), 7, "{:?}", one.keys());
    assert!(one == two);
}

#[test]
fn the_time_is_the_release_day_or_what_is_asked_for() {
    let world = world();
    let days = |out: &str| {
        let image = world.path(&format!("project/{out}/data.tcz"));
        let output = Command::new("unsquashfs")
            .env("TZ", "UTC")
            .arg("-lln")
            .arg(image)
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let mut days: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3))
            .map(str::to_owned)
            .collect();
        days.dedup();
        days
    };
    for (epoch, day, zsync, created) in [
        (
            None,
            "2026-01-31",
            "Sat, 31 Jan 2026 00:00:00 +0000",
            "2026-01-31T00:00:00Z",
        ),
        (
            Some("0"),
            "1970-01-01",
            "Thu, 01 Jan 1970 00:00:00 +0000",
            "1970-01-01T00:00:00Z",
        ),
        (
            Some("4294967295"),
            "2106-02-07",
            "Sun, 07 Feb 2106 06:28:15 +0000",
            "2106-02-07T06:28:15Z",
        ),
    ] {
        let mut command = world.command(&["build", "--quiet"]);
        command.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        Run::of(&mut command).succeeded("");
        assert_eq!(days("out"), [day]);
        let made = world.made();
        let zsync_file = String::from_utf8_lossy(&made["data.tcz.zsync"]);
        assert!(
            zsync_file.contains(&format!("\nMTime: {zsync}\n")),
            "{zsync_file}"
        );
        let sbom: serde_json::Value = serde_json::from_slice(&made["data.tcz.spdx.json"]).unwrap();
        assert_eq!(sbom["creationInfo"]["created"], created);
    }
}

#[test]
fn a_wrong_time_is_answered() {
    let world = world();
    fs::create_dir_all(world.path("project/folder/usr")).unwrap();
    for epoch in ["", "-1", "4294967296", "1e9", "2026-01-31", " 1"] {
        for args in [&["build"][..], &["pack", "folder", "x.tcz"]] {
            let mut command = world.command(args);
            Run::of(command.env("SOURCE_DATE_EPOCH", epoch)).failed(&format!(
                "error: SOURCE_DATE_EPOCH is `{epoch}`, not a number from 0 to 4294967295\nhint: a squashfs holds \
                 seconds from 1970 to 2106; unset it, or set it as `git log -1 --format=%ct` prints it\n"
            ));
        }
    }
    world.assert_nothing_left();
}
