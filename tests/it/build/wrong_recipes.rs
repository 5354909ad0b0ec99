//! What a person sees who made a mistake in a recipe or in a name.

use crate::world::{World, tar_gz};

fn world() -> World {
    World::with_tool(&tar_gz(&[("bin/tool", 0o755, b"#!/bin/sh\n")]))
}

const RECIPE: &str = "project/recipes/tool/recipe.toml";

#[test]
fn mistakes_are_underlined() {
    for (from, to, stderr) in [
        (
            "author = ",
            "auhtor = ",
            "  × PATH:3: there is no key `auhtor`
   ╭─[PATH:3:1]
 2 │ description = \"Does one thing well\"
 3 │ auhtor = \"Jane Doe\"
   · ───┬──
   ·    ╰── unknown key
 4 │ site = \"https://example.org/tool\"
   ╰────
  help: did you mean `author`?
",
        ),
        (
            "https://upstream.invalid/tool.tar.gz",
            "https://upstream.invalid/{verison}.tar.gz",
            "  × PATH:13: `{verison}` stands for nothing
    ╭─[PATH:13:33]
 12 │ [[release.test.asset]]
 13 │ url = \"https://upstream.invalid/{verison}.tar.gz\"
    ·                                 ────┬────
    ·                                     ╰── unknown placeholder
 14 │ place = [{ from = \"**\", to = \"usr/local/\" }]
    ╰────
  help: `{version}` is the release's version, `{name}` the recipe's name
",
        ),
        (
            "2026-01-31",
            "31.1.2026",
            "  × PATH:10: `31.1.2026` is not a date
    ╭─[PATH:10:8]
  9 │ version = \"1.2\"
 10 │ date = \"31.1.2026\"
    ·        ─────┬─────
    ·             ╰── not YYYY-MM-DD
 11 │ 
    ╰────
  help: write the day of the release as YYYY-MM-DD
",
        ),
        (
            "to = \"usr/local/\"",
            "to = \"/usr/local/\"",
            "  × PATH:14: `/usr/local/` cannot be a path in an extension: the name is absolute
    ╭─[PATH:14:30]
 13 │ url = \"https://upstream.invalid/tool.tar.gz\"
 14 │ place = [{ from = \"**\", to = \"/usr/local/\" }]
    ·                              ──────┬──────
    ·                                    ╰── not a path
    ╰────
  help: write it from the top of the tree, as `usr/local/bin/x`
",
        ),
        (
            "license = \"MIT\"",
            "license = \"MTI\"",
            "  × PATH:5: `MTI` is not an SPDX licence expression: unknown term
   ╭─[PATH:5:12]
 4 │ site = \"https://example.org/tool\"
 5 │ license = \"MTI\"
   ·            ─┬─
   ·             ╰── not SPDX
 6 │ tags = \"example\"
   ╰────
  help: see spdx.org/licenses for the names; one that is not there is written `LicenseRef-NAME`
",
        ),
        (
            "version = \"1.2\"",
            "version = ",
            "  × PATH:9: string values must be quoted, expected literal string
    ╭─[PATH:9:11]
  8 │ [release.test]
  9 │ version = 
    ·           ▲
    ·           ╰── here
 10 │ date = \"2026-01-31\"
    ╰────
  help: compare it with one that is right: `tcforge init DIR` writes the built-in ones out
",
        ),
    ] {
        let world = world();
        world.edit(RECIPE, from, to);
        let run = world.run(&["build", "--color", "never"]);
        let shown = run.stderr.replace(&world.text_path(RECIPE), "PATH");
        assert_eq!(shown, stderr, "{to}");
        run.failed(&run.stderr);
        world.assert_nothing_left();
    }
}

#[test]
fn wrong_names_are_answered_with_the_nearest() {
    let world = world();
    world.recipe("other", "dependencies = [\"coreutils.tcz\"]\n");
    for (args, stderr) in [
        (
            &["build", "tol"][..],
            "error: there is no recipe `tol`\nhint: did you mean `tool`?\n",
        ),
        (
            &["build", "tool.tcz"],
            "error: there is no recipe `tool.tcz`\nhint: did you mean `tool`?\n",
        ),
        (
            &["fetch", "tool", "ohter"],
            "error: there is no recipe `ohter`\nhint: did you mean `other`?\n",
        ),
        (
            &["build", "--channel", "tset"],
            "error: there is no channel `tset`\nhint: did you mean `test`?\n",
        ),
        (
            &["list", "--channel", "x"],
            "error: there is no channel `x`\nhint: possible: `classic`, `current`, `debian`, `test`\n",
        ),
        (
            &["build", "tool", "--channel", "debian"],
            "error: `tool` has no release in the channel `debian`\nhint: it has one in `test`: choose with \
             `--channel`\n",
        ),
        (
            &["build", "--mirror", "ftp://host"],
            "error: `ftp://host` is no mirror: `ftp` is not spoken\nhint: write `https://HOST/FOLDER`, \
             `http://HOST/FOLDER` or `file:FOLDER`\n",
        ),
        (
            &["fetch", "--mirror", "files.example.org"],
            "error: `files.example.org` is no mirror: relative URL without a base\nhint: write \
             `https://HOST/FOLDER`, `http://HOST/FOLDER` or `file:FOLDER`\n",
        ),
    ] {
        world.run(args).failed(stderr);
        world.assert_nothing_left();
    }
}

#[test]
fn recipes_that_need_each_other_are_told() {
    let world = world();
    world.recipe("one", "dependencies = [\"two.tcz\"]\n");
    world.recipe("two", "dependencies = [\"three.tcz\"]\n");
    world.recipe("three", "dependencies = [\"one.tcz\"]\n");
    for args in [&["build", "one"][..], &["build", "tool"], &["list"]] {
        world.run(args).failed(
            "error: recipes depend on each other in a circle: one.tcz → two.tcz → three.tcz → one.tcz\nhint: remove \
             one of these dependencies\n",
        );
        world.assert_nothing_left();
    }
}

#[test]
fn an_archive_without_the_wanted_files_is_told() {
    let world = world();
    world.edit(RECIPE, "from = \"**\"", "from = \"sbin/*\"");
    world.run(&["build"]).failed(
        "error: cannot place the files of `tool.tar.gz` in tool\n  because: nothing in the archive matches \
         `sbin/*`\nhint: the nearest it has: `bin/tool`\n",
    );
    world.assert_nothing_left();
}

#[test]
fn two_parts_that_want_one_path_are_told() {
    let world = world();
    world.edit(
        RECIPE,
        "[release.test]",
        "[[link]]\npath = \"usr/local/bin/tool\"\ntarget = \"x\"\n\n[release.test]",
    );
    world.run(&["build"]).failed(
        "error: cannot put together tool\n  because: `usr/local/bin/tool` is there already\nhint: two parts of the \
         recipe want the same path\n",
    );
    world.assert_nothing_left();
}
