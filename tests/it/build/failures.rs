//! A build of several extensions does what it can, and tells all that it could not do.

use serde_json::json;
use tcforge::tcz::side::SUFFIXES;

use crate::world::{Run, World, chmod, newer_glibc, tar_gz, with_mounts};

/// A recipe whose one file is one program.
fn program(world: &World, name: &str) {
    world.recipe(
        name,
        &format!(
            "[[release.test.asset]]\nurl = \"https://upstream.invalid/{name}\"\n\
             place = [{{ to = \"usr/local/bin/{name}\" }}]\n"
        ),
    );
}

/// `tool`, which can be built, and recipes that fail, each in its own way.
fn world() -> World {
    let world = World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")]));
    for name in ["absent", "clash", "good", "unknown"] {
        program(&world, name);
    }
    world.lock("absent", &"0".repeat(64), 4);
    world.upstream("good", b"#!/bin/sh\n");
    // `good` has this path, too.
    world.upstream("clash", b"#!/bin/sh\n:\n");
    world.edit("project/recipes/clash/recipe.toml", "bin/clash", "bin/good");
    world.recipe(
        "torn",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/torn.tar.gz\"\n\
         place = [{ from = \"**\", to = \"usr/local/\" }]\n",
    );
    world.upstream("torn.tar.gz", &tar_gz(&[("bin/torn", 0o755, b"x")])[..10]);
    world
}

/// The rows of a table as cells, which two blanks divide at least.
fn cells(text: &str) -> Vec<Vec<&str>> {
    let cells = |line| {
        str::split(line, "  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
    };
    text.lines().map(|line| cells(line).collect()).collect()
}

#[test]
fn what_can_be_built_is_and_one_table_tells_the_rest() {
    let world = world();
    let run = world.run(&["build", "--offline"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let (table, end) = run.stderr.split_once("error: ").unwrap();
    assert_eq!(
        cells(table),
        [
            vec!["Wrote 1 extension to `out`"],
            vec!["NOT BUILT", "WHY", "HINT"],
            vec![
                "unknown.tcz",
                "`unknown` of `unknown` is not in the lock: https://upstream.invalid/unknown",
                "`tcforge update unknown --channel test` fetches it and records its sum; `--file unknown=PATH` takes a \
                 file of yours without one",
            ],
            vec![
                "absent.tcz",
                "not in the cache, and this is offline: absent (https://upstream.invalid/absent)",
                "run `tcforge fetch` on a machine with network, and copy its cache here",
            ],
            vec![
                "torn.tcz",
                "cannot unpack `torn.tar.gz` of torn: the archive is cut short before its first entry",
                "fetch it again",
            ],
            vec![
                "clash.tcz",
                "clash: usr/local/bin/good: something else is in `good.tcz`",
                "the one that is loaded first wins",
            ],
            vec![
                "good.tcz",
                "clash: usr/local/bin/good: something else is in `clash.tcz`",
                "the one that is loaded first wins",
            ],
        ]
    );
    assert_eq!(
        end,
        "5 of 6 extensions could not be built\nhint: the table says why; `--force` writes also what only the audit \
         is against\n"
    );
    let results = run.stdout.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next().unwrap(), words.next_back().unwrap())
    });
    assert_eq!(
        results.collect::<Vec<_>>(),
        [
            ("EXTENSION", "RESULT"),
            ("tool.tcz", "warning"),
            ("unknown.tcz", "failed"),
            ("absent.tcz", "failed"),
            ("torn.tcz", "failed"),
            ("clash.tcz", "error"),
            ("good.tcz", "error"),
        ]
    );
    let made = world.names("project/out");
    assert!(
        made.iter().all(|name| name.starts_with("tool.tcz")) && made.len() == 7,
        "{made:?}"
    );
    assert_eq!(world.names("tmp"), [""; 0]);
}

#[test]
fn scripts_are_told_the_same() {
    let world = world();
    let run = world.run(&["build", "good", "unknown", "torn", "--json", "-q"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let rows = run.json();
    let told = |row: &serde_json::Value| {
        json!([
            row["extension"],
            row["result"],
            row["written"],
            row["reasons"],
            row["size"].is_u64()
        ])
    };
    assert_eq!(
        rows.as_array().unwrap().iter().map(told).collect::<Vec<_>>(),
        [
            json!(["good.tcz", "warning", true, null, true]),
            json!(["unknown.tcz", "failed", false, [{
                "why": "`unknown` of `unknown` is not in the lock: https://upstream.invalid/unknown",
                "hint": "`tcforge update unknown --channel test` fetches it and records its sum; `--file unknown=PATH` \
                         takes a file of yours without one",
            }], false]),
            json!(["torn.tcz", "failed", false, [{
                "why": "cannot unpack `torn.tar.gz` of torn: the archive is cut short before its first entry",
                "hint": "fetch it again",
            }], false]),
        ]
    );
    // Of one alone, too; its error is as without it.
    let alone = world.run(&["build", "unknown", "--json"]);
    assert_eq!(
        (alone.code, &alone.json()[0]["written"]),
        (Some(1), &json!(false))
    );
    assert!(
        alone
            .stderr
            .starts_with("error: `unknown` of `unknown` is not in the lock"),
        "{alone:?}"
    );
}

#[test]
fn a_fetch_gets_what_it_can_and_tells_the_rest() {
    let world = world();
    // One file of two.
    world.edit(
        "project/recipes/absent/recipe.toml",
        "[[release.test.asset]]",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/good\"\nplace = [{ to = \"usr/local/bin/x\" }]\n\n\
         [[release.test.asset]]",
    );
    program(&world, "unlisted");
    let run = world.run(&[
        "fetch",
        "--offline",
        "--json",
        "absent",
        "unknown",
        "unlisted",
        "tool",
    ]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let names: Vec<_> = run
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["good", "tool.tar.gz"]);
    let not_in_the_lock =
        |name: &str| format!("`{name}` of `{name}` is not in the lock: https://upstream.invalid/{name}");
    let rows = cells(&run.stderr);
    assert!(rows[0][0].starts_with("Fetched 2 files, "), "{rows:?}");
    assert_eq!(rows[1], ["NOT FETCHED", "WHY", "HINT"]);
    let whys: Vec<_> = rows[2..5].iter().map(|row| (row[0], row[1].to_owned())).collect();
    assert_eq!(
        whys,
        [
            ("unknown.tcz", not_in_the_lock("unknown")),
            ("unlisted.tcz", not_in_the_lock("unlisted")),
            (
                "absent.tcz",
                "not in the cache, and this is offline: absent (https://upstream.invalid/absent)".to_owned()
            ),
        ]
    );
    assert_eq!(
        rows[5],
        ["error: the files of 3 of 4 extensions could not be fetched"]
    );
}

#[test]
fn what_cannot_be_loaded_without_what_failed_is_built_and_warned_of() {
    let world = world();
    world.recipe("user", "dependencies = [\"unknown.tcz\", \"tool.tcz\"]\n");
    let build = || {
        world
            .run(&["build", "user", "tool", "unknown", "--offline", "-q"])
            .stderr
    };
    let warning = "warning: user.tcz cannot be loaded without unknown.tcz, which is not there\n";
    assert!(build().starts_with(warning), "{}", build());
    assert!(world.path("project/out/user.tcz").exists());
    // One of an earlier build will do.
    world.write("project/out/unknown.tcz", "");
    assert!(!build().contains(warning), "{}", build());
}

#[test]
fn a_file_that_two_want_is_told_of_once() {
    let world = World::new();
    for name in ["one", "two"] {
        program(&world, name);
        world.edit(
            &format!("project/recipes/{name}/recipe.toml"),
            &format!("invalid/{name}"),
            "invalid/same",
        );
    }
    world.lock("same", &"0".repeat(64), 4);
    let run = world.run(&["build", "--offline"]);
    let rows = cells(&run.stderr);
    let whys: Vec<_> = rows[1..3].iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(
        whys,
        [
            (
                "one.tcz",
                "not in the cache, and this is offline: same (https://upstream.invalid/same)"
            ),
            ("two.tcz", "`same` could not be fetched: the reason is told above"),
        ]
    );
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    world.assert_nothing_left();
}

#[test]
fn what_may_fail_on_the_box_is_listed_once_and_counted() {
    let world = World::new();
    world.recipe("calls", "");
    world.edit(
        "project/recipes/calls/recipe.toml",
        "[release.test]",
        "[[service]]\nname = \"callsd\"\ntemplate = \"callsd.sh\"\n\n[release.test]",
    );
    world.write("project/recipes/calls/callsd.sh", "#!/bin/sh\nno_such_command\n");
    let warning = "warning: calls.tcz: command: usr/local/etc/init.d/callsd: line 2: it calls `no_such_command`, \
                   which neither Tiny Core 11 x86_64 nor a dependency has\n";
    let run = world.run(&["build"]);
    run.succeeded(&format!(
        "{warning}     Wrote 1 extension to `out`, with 1 warning\n"
    ));
    world.run(&["build", "-q"]).succeeded(warning);
    // The others, which a person may want to look at, with -v.
    let more = world.run(&["build", "-v"]).stderr;
    assert!(
        more.contains("warning: calls.tcz: license: ") && more.contains(warning),
        "{more}"
    );
    assert!(!run.stderr.contains("license"), "{run:?}");

    world.write(
        "project/root/usr/local/etc/init.d/callsd",
        "#!/bin/sh\nno_such_command\n",
    );
    chmod(&world.path("project/root/usr/local/etc/init.d/callsd"), 0o755);
    let packed = world.run(&["pack", "root", "calls.tcz"]).stderr;
    assert!(
        packed.starts_with(warning) && packed.ends_with(", with 1 warning\n"),
        "{packed}"
    );
}

/// What a program cannot load at its start keeps its extension back, and what it does
/// without only if nobody says so.
#[test]
fn a_native_module_is_needed_unless_the_recipe_says_that_it_is_not() {
    const MODULE: &str = "usr/local/lib/tool/node_modules/x/x.node";
    let world = World::with_tool(&tar_gz(&[(
        "lib/tool/node_modules/x/x.node",
        0o644,
        &newer_glibc(),
    )]));
    let finding = format!("tool.tcz: glibc: {MODULE}: it needs GLIBC_2.34; there is 2.30");
    let hint =
        "(take one that is built for an older system; a recipe says in `optional` what programs do without)";
    let refused = world.run(&["build"]);
    let said = format!(
        "error: {finding} {hint}\nerror: the audit found errors, and `out/tool.tcz` was not written\n"
    );
    assert!(refused.stderr.starts_with(&said), "{refused:?}");
    assert_eq!(refused.code, Some(1));
    world.assert_nothing_left();

    world.edit(
        "project/recipes/tool/recipe.toml",
        "[[release.test.asset]]",
        "[[release.test.optional]]\npath = \"usr/local/lib/{name}/**/x.node\"\nreason = \"it has no x then\"\n\n\
         [[release.test.asset]]",
    );
    world.run(&["build"]).succeeded(&format!(
        "warning: {finding}; programs do without it, the info file says {hint}\n     Wrote 1 extension to `out`, with 1 \
         warning\n"
    ));
    let info = world.read("project/out/tool.tcz.info");
    let words: Vec<_> = info.split_whitespace().collect();
    let note = "Comments: Optional: usr/local/lib/tool/**/x.node (it has no x then) Change-log:";
    assert!(words.join(" ").contains(note), "{info}");
    // Whoever gets the extension sees the same.
    let check = world.run(&["check", "out/tool.tcz"]);
    assert_eq!(check.code, Some(0), "{check:?}");
}

/// A file that something is mounted on can be neither replaced nor removed.
#[test]
fn one_that_cannot_get_its_name_keeps_no_other_back_and_stays_what_it_was() {
    let world = World::new();
    for name in ["busy", "good"] {
        program(&world, name);
        world.upstream(name, format!("#!/bin/sh\n# {name}\n").as_bytes());
    }
    world.run(&["build", "busy", "-q"]).succeeded("");
    let before = world.made();
    world.edit("project/recipes/busy/recipe.toml", "bin/busy", "bin/busier");
    let script = "mount --bind /dev/null out/busy.tcz.info && exec \"$@\"";
    let args = ["build", "busy", "good", "absent", "--json"];
    program(&world, "absent");
    let run = Run::of(&mut world.through(&with_mounts(script), &args));
    assert_eq!(run.code, Some(1), "{run:?}");
    let told = |row: &serde_json::Value| json!([row["extension"], row["written"], row["reasons"][0]["why"]]);
    assert_eq!(
        run.json()
            .as_array()
            .unwrap()
            .iter()
            .map(told)
            .collect::<Vec<_>>(),
        [
            json!(["good.tcz", true, null]),
            json!([
                "absent.tcz",
                false,
                "`absent` of `absent` is not in the lock: https://upstream.invalid/absent"
            ]),
            json!([
                "busy.tcz",
                false,
                "cannot write `out/busy.tcz.info`: Device or resource busy (os error 16)"
            ]),
        ]
    );
    let (good, busy): (Vec<_>, Vec<_>) = world
        .made()
        .into_iter()
        .partition(|(name, _)| name.starts_with("good"));
    assert_eq!(busy, before.into_iter().collect::<Vec<_>>());
    assert_eq!(good.len(), 7);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_found_before_anything_is_written() {
    let side_files = SUFFIXES.map(|suffix| format!(".{suffix}"));
    for ending in [String::new()].into_iter().chain(side_files) {
        let world = World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")]));
        let folder = format!("out/tool.tcz{ending}");
        std::fs::create_dir_all(world.path(&format!("project/{folder}"))).unwrap();
        let error = format!(
            "error: cannot write `{folder}`: a folder of that name is there\nhint: move the folder away, or write to \
             another one\n"
        );
        world.run(&["build"]).failed(&error);
        world.write("project/root/usr/local/bin/x", "#!/bin/sh\n");
        world.run(&["pack", "root", "out/tool.tcz"]).failed(&error);
        assert_eq!(
            world.names("project/out"),
            [format!("tool.tcz{ending}")],
            "{ending}"
        );
        assert_eq!(world.names("tmp"), [""; 0]);
    }
}
