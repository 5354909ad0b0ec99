//! Which channel each recipe comes from.

use serde_json::{Value, json};

use crate::world::{Run, World, tar_gz};

/// A world with `tool` and what it needs, `helper`, in the channel `test`, and with another
/// `tool` in the channel `other`, which needs nothing.
fn world() -> World {
    let world = World::new();
    world.write(
        "project/recipes/channels/other.toml",
        "title = \"Other\"\ndescription = \"Has another tool\"\n",
    );
    let asset = |name: &str, channel: &str| {
        let program = name.split('-').next().unwrap_or_default();
        world.upstream(name, &tar_gz(&[(program, 0o755, name.as_bytes())]));
        format!(
            "[[release.{channel}.asset]]\nurl = \"https://upstream.invalid/{name}\"\nplace = [{{ from = \"*\", to = \
             \"usr/local/bin/\" }}]\n"
        )
    };
    world.recipe("helper", &asset("helper-1.tar.gz", "test"));
    world.recipe(
        "tool",
        &format!(
            "{}\n[release.other]\nversion = \"2.0\"\ndate = \"2026-02-28\"\n{}",
            asset("tool-1.tar.gz", "test"),
            asset("tool-2.tar.gz", "other")
        ),
    );
    world.edit(
        "project/recipes/tool/recipe.toml",
        "date = \"2026-01-31\"\n",
        "date = \"2026-01-31\"\ndependencies = [\"helper.tcz\"]\n",
    );
    world
}

/// What a run built: extensions, their versions and channels.
fn built(run: &Run) -> Value {
    assert_eq!(run.code, Some(0), "{run:?}");
    let rows = run.json();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| json!([row["extension"], row["version"], row["channel"]]))
        .collect()
}

#[test]
fn a_recipe_comes_from_the_first_channel_that_has_it_or_from_its_own() {
    let world = world();
    let helper = json!(["helper.tcz", "1.2", "test"]);
    let (old, new) = (
        json!(["tool.tcz", "1.2", "test"]),
        json!(["tool.tcz", "2.0", "other"]),
    );
    for (channels, made) in [
        (&["test"][..], json!([helper, old])),
        (&["other"], json!([new])),
        (&["test", "other"], json!([helper, old])),
        (&["other", "test"], json!([helper, new])),
        (&["test", "tool=other"], json!([helper, new])),
        (&["tool=other", "test"], json!([helper, new])),
        (&["test,tool=other"], json!([helper, new])),
        (&["other", "tool=test"], json!([old])),
        (
            &["test", "helper=test", "tool=other", "tool=other"],
            json!([helper, new]),
        ),
    ] {
        let said: Vec<_> = channels
            .iter()
            .flat_map(|channel| ["--channel", channel])
            .collect();
        let run = world.run(&[&["build", "--json", "-q"], said.as_slice()].concat());
        assert_eq!(built(&run), made, "{channels:?}");
        let fetched = world.run(&[&["fetch", "--json", "-q"], said.as_slice()].concat());
        assert_eq!(
            fetched.json().as_array().unwrap().len(),
            made.as_array().unwrap().len(),
            "{channels:?}"
        );
    }
    // The tree of an extension is that of what was built with it.
    let mixed = ["build", "-q", "--channel", "test", "--channel", "tool=other"];
    world.run(&mixed).succeeded("");
    assert!(!world.path("project/out/tool.tcz.dep").exists());
    world
        .run(&["build", "-q", "--channel", "other", "--channel", "tool=test"])
        .succeeded("");
    assert!(world.path("project/out/tool.tcz.dep").exists());
}

#[test]
fn what_is_no_channel_or_no_recipe_is_answered_with_the_nearest() {
    let world = world();
    for (channels, error) in [
        (
            &["tset"][..],
            "error: there is no channel `tset`\nhint: did you mean `test`?\n",
        ),
        (
            &["test", "tool=othre"],
            "error: there is no channel `othre`\nhint: did you mean `other`?\n",
        ),
        (
            &["test", "tol=other"],
            "error: there is no recipe `tol`\nhint: did you mean `tool`?\n",
        ),
        (
            &["test", "tool.tcz=other"],
            "error: there is no recipe `tool.tcz`\nhint: did you mean `tool`?\n",
        ),
        (
            &["test", "helper=other"],
            "error: `helper` has no release in the channel `other`\nhint: it has one in `test`: choose with `--channel`\n",
        ),
        (
            &["tool=other", "tool=test"],
            "error: two channels are named for `tool`\nhint: leave one of the two out\n",
        ),
        (
            &["tool="],
            "error: `tool=` is neither CHANNEL nor NAME=CHANNEL\nhint: write it as `--channel current --channel nodejs=debian`\n",
        ),
        (
            &["=test"],
            "error: `=test` is neither CHANNEL nor NAME=CHANNEL\nhint: write it as `--channel current --channel nodejs=debian`\n",
        ),
        (
            &[""],
            "error: `` is neither CHANNEL nor NAME=CHANNEL\nhint: write it as `--channel current --channel nodejs=debian`\n",
        ),
    ] {
        let said: Vec<_> = channels
            .iter()
            .flat_map(|channel| ["--channel", channel])
            .collect();
        for command in ["build", "fetch", "update"] {
            world.run(&[&[command], said.as_slice()].concat()).failed(error);
        }
        world.assert_nothing_left();
    }
    let run = world.run(&["build", "helper", "--channel", "other,other"]);
    run.failed(
        "error: `helper` has no release in the channel `other` or `other`\nhint: it has one in `test`: choose with \
         `--channel`\n",
    );
}

#[test]
fn an_appliance_says_which_recipe_comes_from_which_channel() {
    let world = world();
    let channels = |appliance: &str, args: &[&str]| {
        world.write(
            "project/iso/box.toml",
            format!("title = \"Box\"\nextensions = [\"tool.tcz\"]\n{appliance}"),
        );
        std::fs::remove_dir_all(world.path("project/out")).unwrap_or_default();
        // The base cannot be had, so no image comes of it.
        let mut command = world.command(&[&["iso", "box", "--offline"], args].concat());
        let run = Run::of(command.env_remove("TCFORGE_CHANNEL"));
        let line = run
            .stderr
            .lines()
            .find_map(|line| line.trim().strip_prefix("Built "));
        line.unwrap_or_else(|| panic!("{run:?}")).to_owned()
    };
    let (old, new) = ("2 extensions: helper.tcz, tool.tcz", "1 extension: tool.tcz");
    for (appliance, args, built) in [
        ("channels = [\"test\"]\n", &[][..], old),
        ("channels = [\"test\"]\nfrom = { tool = \"other\" }\n", &[], new),
        ("channels = [\"test\"]\n[from]\ntool = \"other\"\n", &[], new),
        (
            "channels = [\"other\"]\nfrom = { tool = \"test\" }\n",
            &[],
            "1 extension: tool.tcz",
        ),
        // The command line wins, name by name.
        ("channels = [\"test\"]\n", &["--channel", "tool=other"], new),
        ("channels = [\"other\"]\n", &["--channel", "test"], old),
        (
            "channels = [\"test\"]\nfrom = { tool = \"other\" }\n",
            &["--channel", "tool=test"],
            old,
        ),
        (
            "channels = [\"test\"]\nfrom = { tool = \"other\" }\n",
            &["--channel", "test"],
            new,
        ),
    ] {
        assert_eq!(channels(appliance, args), built, "{appliance} {args:?}");
    }
}

#[test]
fn wrong_names_in_an_appliance_are_shown_where_they_are() {
    let world = world();
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = [\"tool.tcz\"]\n[from]\ntol = \"test\"\ntool = \"othre\"\n",
    );
    let run = world.run(&["iso", "box"]);
    for message in [
        "box.toml:4:1",
        "there is no recipe `tol`",
        "did you mean `tool`?",
        "there is no channel `othre`",
        "did you mean `other`?",
    ] {
        assert!(
            run.stderr.contains(message),
            "{message:?} is not in\n{}",
            run.stderr
        );
    }
    assert_eq!(run.code, Some(1));
}
