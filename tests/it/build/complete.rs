//! What a build makes, to the letter.

use serde_json::{Value, json};
use tcforge::digest::Sha256;

use crate::world::{Run, World, tar_gz};

const SERVICE: &str = "#!/bin/sh
# {{ name }} of {{ extension }} {{ version }}
case \"$1\" in
    start) sleep {{ with.timeout }} ;;
    *) exit 1 ;;
esac
";

/// A recipe with everything that a recipe can have.
const RECIPE: &str = r#"name = "tool"
description = "Does one thing well"
author = "Jane Doe"
site = "https://example.org/tool"
license = "MIT OR Apache-2.0"
tags = "tool example"
comments = """
Start: sudo /usr/local/etc/init.d/toold start"""
dependencies = ["ca-certificates.tcz", "net-bridging-KERNEL.tcz"]
persistent = ["var/lib/tool"]

[pack]
block-size = 131072
compression = "xz"
reason = "it is read once"

[[service]]
name = "toold"
template = "toold.sh"
with = { timeout = 30 }

[[file]]
from = "tool.conf"
to = "usr/local/etc/tool.conf.orig"

[[link]]
path = "usr/local/bin/t"
target = "{name}"

[release.test]
version = "1.2"
date = "2026-01-31"
license = "MIT"
dependencies = ["helper.tcz"]
with = { toold = { timeout = 60 } }

[[release.test.asset]]
url = "https://upstream.invalid/tool-{version}.tar.gz"
place = [
    { from = "tool-{version}/bin/*", to = "usr/local/bin/" },
    { from = "tool-{version}/LICENSE", to = "usr/local/share/doc/{name}/COPYING" },
]

[[release.test.asset]]
url = "https://upstream.invalid/extra"
place = [{ to = "usr/local/bin/extra" }]
"#;

/// `tool` with two files of upstream's, and `helper`, which it needs.
fn world() -> World {
    let world = World::new();
    world.write("project/recipes/tool/recipe.toml", RECIPE);
    world.write("project/recipes/tool/toold.sh", SERVICE);
    world.write("project/recipes/tool/tool.conf", "answer = 42\n");
    world.upstream("tool-1.2.tar.gz", &archive());
    world.upstream("extra", b"#!/bin/sh\n");
    world.recipe("helper", "dependencies = [\"coreutils.tcz\"]\n");
    world
}

fn archive() -> Vec<u8> {
    tar_gz(&[
        ("tool-1.2/bin/tool", 0o4711, b"#!/bin/sh\necho tool\n"),
        ("tool-1.2/LICENSE", 0o600, b"As you like.\n"),
        ("tool-1.2/README", 0o644, b"Not placed.\n"),
    ])
}

const INFO: &str = "Title:          tool.tcz
Description:    Does one thing well
Version:        1.2
Author:         Jane Doe
Original-site:  https://example.org/tool
Copying-policy: MIT
Size:           4.0K
Extension_by:   tcforge
Tags:           tool example
Comments:       Start: sudo /usr/local/etc/init.d/toold start
                State is kept in /var/lib/tool.
                Packed with 131072 byte blocks and xz: it is read once
Change-log:     
Current:        2026/01/31 1.2
";

const LISTING: [&str; 17] = [
    "drwxr-xr-x 0/0 ",
    "drwxr-xr-x 0/0 /usr",
    "drwxr-xr-x 0/0 /usr/local",
    "drwxr-xr-x 0/0 /usr/local/bin",
    "-rwxr-xr-x 0/0 /usr/local/bin/extra",
    "lrwxrwxrwx 0/0 /usr/local/bin/t -> tool",
    "-rwxr-xr-x 0/0 /usr/local/bin/tool",
    "drwxr-xr-x 0/0 /usr/local/etc",
    "drwxr-xr-x 0/0 /usr/local/etc/init.d",
    "-rwxr-xr-x 0/0 /usr/local/etc/init.d/toold",
    "-rw-r--r-- 0/0 /usr/local/etc/tool.conf.orig",
    "drwxr-xr-x 0/0 /usr/local/share",
    "drwxr-xr-x 0/0 /usr/local/share/doc",
    "drwxr-xr-x 0/0 /usr/local/share/doc/tool",
    "-rw-r--r-- 0/0 /usr/local/share/doc/tool/COPYING",
    "drwxrwxr-x 0/50 /usr/local/tce.installed",
    "-rwxrwxr-x 0/50 /usr/local/tce.installed/tool",
];

#[test]
fn an_extension_has_all_its_files_to_the_letter() {
    let world = world();
    let run = world.run(&["build"]);
    run.succeeded("     Wrote 2 extensions to `out`\n");
    let made = world.names("project/out");
    let tool: Vec<_> = made
        .iter()
        .filter_map(|name| name.strip_prefix("tool.tcz"))
        .collect();
    assert_eq!(
        tool,
        [
            "",
            ".dep",
            ".info",
            ".list",
            ".md5.txt",
            ".spdx.json",
            ".tree",
            ".zsync"
        ]
    );
    assert_eq!(made.len(), 16, "{made:?}");

    for (suffix, text) in [
        (
            "dep",
            "ca-certificates.tcz\nnet-bridging-KERNEL.tcz\nhelper.tcz\n",
        ),
        ("info", INFO),
        (
            "tree",
            "tool.tcz\n   ca-certificates.tcz\n   net-bridging-5.4.3-tinycore64.tcz\n   helper.tcz\n      \
             coreutils.tcz\n\n",
        ),
        (
            "list",
            "/usr/local/bin/extra\n/usr/local/bin/t\n/usr/local/bin/tool\n/usr/local/etc/init.d/toold\n\
             /usr/local/etc/tool.conf.orig\n/usr/local/share/doc/tool/COPYING\n/usr/local/tce.installed/tool\n",
        ),
    ] {
        assert_eq!(world.read(&format!("project/out/tool.tcz.{suffix}")), text);
    }
    assert_eq!(world.listing("project/out/tool.tcz"), LISTING);
    for (file, text) in [
        ("usr/local/bin/tool", "#!/bin/sh\necho tool\n"),
        ("usr/local/bin/extra", "#!/bin/sh\n"),
        ("usr/local/etc/tool.conf.orig", "answer = 42\n"),
        ("usr/local/share/doc/tool/COPYING", "As you like.\n"),
        (
            "usr/local/etc/init.d/toold",
            "#!/bin/sh\n# toold of tool 1.2\ncase \"$1\" in\n    start) sleep 60 ;;\n    *) exit 1 ;;\nesac\n",
        ),
    ] {
        assert_eq!(world.content("project/out/tool.tcz", file), text, "{file}");
    }
    let installed = world.content("project/out/tool.tcz", "usr/local/tce.installed/tool");
    assert_eq!(commands(&installed), ["mkdir -p '/var/lib/tool'", "exit 0"]);
}

/// The lines of a script that do something.
fn commands(script: &str) -> Vec<&str> {
    let lines = script.lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_bill_of_materials_names_upstreams_files_and_their_sums() {
    let world = world();
    world.build();
    let sbom: Value = serde_json::from_str(&world.read("project/out/tool.tcz.spdx.json")).unwrap();
    let image = Sha256::of(&world.made()["tool.tcz"]).to_string();
    let package = |name: &str| {
        let packages = sbom["packages"].as_array().unwrap();
        packages.iter().find(|package| package["name"] == name).unwrap()
    };
    for (name, sum, license, place) in [
        ("tool.tcz", image, "MIT", "NOASSERTION"),
        (
            "tool-1.2.tar.gz",
            Sha256::of(&archive()).to_string(),
            "MIT",
            "https://upstream.invalid/tool-1.2.tar.gz",
        ),
        (
            "extra",
            Sha256::of(b"#!/bin/sh\n").to_string(),
            "MIT",
            "https://upstream.invalid/extra",
        ),
    ] {
        let package = package(name);
        assert_eq!(package["checksums"][0]["checksumValue"], sum, "{name}");
        assert_eq!(package["licenseDeclared"], license, "{name}");
        assert_eq!(package["downloadLocation"], place, "{name}");
    }
    assert_eq!(sbom["creationInfo"]["created"], "2026-01-31T00:00:00Z");
}

/// A row of a table as words, without how long it took.
fn words(line: &str) -> Vec<&str> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    if let Some(unit) = words.iter().position(|word| *word == "s") {
        words[unit - 1].parse::<f64>().unwrap();
        words.drain(unit - 1..=unit);
    }
    words
}

#[test]
fn the_result_is_a_table_on_the_output_and_nothing_else_is() {
    let world = world();
    for (args, stderr) in [
        (&["build"][..], "     Wrote 2 extensions to `out`\n"),
        (&["build", "-q"], ""),
        (
            &["build", "helper", "tool", "tool", "--out", "there/deep"],
            "     Wrote 2 extensions to `there/deep`\n",
        ),
        (&["build", "helper"], "     Wrote 1 extension to `out`\n"),
    ] {
        let run = world.run(args);
        run.succeeded(stderr);
        let rows: Vec<_> = run.stdout.lines().map(words).collect();
        let tool = vec!["tool.tcz", "1.2", "7", "415", "B", "4.00", "KiB", "pass"];
        let helper = vec!["helper.tcz", "1.2", "0", "0", "B", "4.00", "KiB", "1", "warning"];
        let head = vec![
            "EXTENSION",
            "VERSION",
            "FILES",
            "BEFORE",
            "AFTER",
            "TIME",
            "RESULT",
        ];
        let wanted = match args.contains(&"helper") && !args.contains(&"tool") {
            true => vec![head, helper],
            false => vec![head, helper, tool],
        };
        assert_eq!(rows, wanted, "{args:?}");
    }
}

#[test]
fn json_is_for_scripts() {
    let world = world();
    let run = world.run(&["build", "tool", "--json"]);
    run.succeeded("     Wrote 1 extension to `out`\n");
    let mut rows = run.json();
    let image = &world.made()["tool.tcz"];
    let row = rows[0].as_object_mut().unwrap();
    assert!(row.remove("seconds").unwrap().is_f64());
    let findings = row.remove("findings").unwrap();
    let upstream = row.remove("upstream").unwrap();
    let vouched: Vec<_> = upstream
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["source"])
        .collect();
    assert_eq!(vouched, ["a test", "a test"]);
    assert_eq!(
        rows,
        json!([{
            "extension": "tool.tcz",
            "version": "1.2",
            "channel": "test",
            "files": 7,
            "content_size": 415,
            "size": image.len(),
            "sha256": Sha256::of(image).to_string(),
            "unlocked": false,
            "written": true,
            "result": "warning",
        }])
    );
    let findings = findings.as_array().unwrap();
    let warned = findings.iter().filter(|finding| finding["level"] != "pass");
    let warned: Vec<_> = warned.map(|finding| finding["check"].as_str().unwrap()).collect();
    // Not that it is packed in another way: the info file says why.
    assert_eq!(warned, ["dep-known"]);
}

#[test]
fn a_local_file_is_taken_and_marked() {
    let world = world();
    world.write("project/mine", "#!/bin/sh\necho mine\n");
    let run = world.run(&["build", "tool", "--file", "extra=mine"]);
    run.succeeded(
        "warning: tool.tcz was made with a local file that the lock says nothing of; \
         remove it from the folder to have it built again\n     \
         Wrote 1 extension to `out`\n",
    );
    let row = run.stdout.lines().nth(1).unwrap();
    assert_eq!(words(row)[..3], ["tool.tcz", "1.2", "(unlocked)"]);
    assert_eq!(
        world.content("project/out/tool.tcz", "usr/local/bin/extra"),
        "#!/bin/sh\necho mine\n"
    );
    let info = world.read("project/out/tool.tcz.info");
    let mark = "\n                UNLOCKED: made with a local file in the place of extra.\n";
    assert!(info.contains(mark), "{info}");
    let sbom: Value = serde_json::from_str(&world.read("project/out/tool.tcz.spdx.json")).unwrap();
    let packages = sbom["packages"].as_array().unwrap();
    let extra = packages
        .iter()
        .find(|package| package["name"] == "extra")
        .unwrap();
    assert_eq!(extra["downloadLocation"], "NOASSERTION");
    assert_eq!(
        extra["checksums"][0]["checksumValue"],
        Sha256::of(b"#!/bin/sh\necho mine\n").to_string()
    );

    let json = world.run(&["build", "tool", "--json", "--quiet", "--file", "extra=mine"]);
    assert_eq!(json.json()[0]["unlocked"], true);
    json.succeeded(
        "warning: tool.tcz was made with a local file that the lock says nothing of; \
         remove it from the folder to have it built again\n",
    );
}

#[test]
fn a_local_file_that_cannot_be_taken_is_answered() {
    let world = world();
    world.write("project/mine", "");
    for (files, stderr) in [
        (
            &["extr=mine"][..],
            "error: nothing that is built has an asset `extr`\nhint: did you mean `extra`?\n",
        ),
        (
            &["extra"],
            "error: `extra` is not ASSET=PATH\nhint: write it as `--file faasd=./faasd`\n",
        ),
        (
            &["extra=none"],
            "error: `none` for the asset `extra` is not a file\nhint: check the path\n",
        ),
        (
            &["extra=mine", "extra=mine"],
            "error: `extra` is given twice\nhint: leave one of the two out\n",
        ),
        (
            &["tool-1.2.tar.gz=mine"],
            "error: cannot unpack `tool-1.2.tar.gz` of tool\n  because: the archive is cut short before its first \
             entry\nhint: fetch it again\n",
        ),
    ] {
        let files = files.iter().flat_map(|file| ["--file", file]);
        let args: Vec<_> = ["build", "tool"].into_iter().chain(files).collect();
        world.run(&args).failed(stderr);
        world.assert_nothing_left();
    }
}

#[test]
fn what_a_build_made_passes_the_check_until_it_is_damaged() {
    let world = world();
    world.build();
    let check = |args: &[&str]| world.run(&[&["check"], args].concat());

    let run = check(&["out/tool.tcz", "out/helper.tcz"]);
    run.succeeded("");
    let rows = run.stdout.lines().filter(|line| line.contains("checks passed"));
    assert_eq!(
        rows.map(words).collect::<Vec<_>>(),
        [
            vec!["tool.tcz", "pass", "41", "checks", "passed"],
            vec!["helper.tcz", "1", "warning", "40", "checks", "passed"],
        ]
    );

    let run = check(&["--json", "out/tool.tcz"]);
    run.succeeded("");
    let report = &run.json()[0];
    assert_eq!(report["file"], "out/tool.tcz");
    assert!(report["findings"].as_array().unwrap().len() > 30, "{report}");

    // One byte of the image: the sums beside it are no longer its own.
    let mut image = world.made()["tool.tcz"].clone();
    image[100] ^= 1;
    world.write("project/out/tool.tcz", &image);
    let run = check(&["out/tool.tcz", "out/helper.tcz"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    assert!(run.stdout.contains("md5"), "{}", run.stdout);
    let run = check(&["--json", "out/tool.tcz"]);
    assert_eq!(run.code, Some(1));
    let errors: Vec<_> = run.json()[0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["level"] == "error")
        .map(|finding| finding["check"].as_str().unwrap().to_owned())
        .collect();
    assert!(errors.contains(&"md5".to_owned()), "{errors:?}");

    check(&["out/tool.tcz", "none.tcz"]).failed(
        "error: cannot read `none.tcz`\n  because: No such file or directory (os error 2)\nhint: name extensions \
         that are there and that you may read, as `out/containerd.tcz`\n",
    );
}

#[test]
fn an_error_of_the_audit_keeps_an_extension_back_unless_forced() {
    let world = world();
    // `tool` has this path too.
    world.upstream("bad", b"#!/bin/sh\n:\n");
    world.recipe(
        "bad",
        "[[release.test.asset]]\nurl = \"https://upstream.invalid/bad\"\nplace = [{ to = \"usr/local/bin/extra\" }]\n",
    );
    let run = world.run(&["build"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(words(run.stdout.lines().nth(1).unwrap())[0], "helper.tcz");
    let made = world.names("project/out");
    assert!(made.iter().all(|name| name.starts_with("helper.tcz")), "{made:?}");

    let forced = world.run(&["build", "--force"]);
    let findings = |name: &str, other: &str| {
        format!(
            "error: {name}: clash: usr/local/bin/extra: something else is in `{other}` (the one that is loaded first \
             wins)\nwarning: `out/{name}` was written with 1 error of the audit, as `--force` asks for\n"
        )
    };
    forced.succeeded(&format!(
        "{}{}     Wrote 3 extensions to `out`, with 2 errors\n",
        findings("bad.tcz", "tool.tcz"),
        findings("tool.tcz", "bad.tcz")
    ));
    assert!(world.path("project/out/bad.tcz").exists());
}

#[test]
fn the_output_goes_nowhere_but_the_exit_status_tells() {
    let world = world();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = world
        .command(&["build", "--quiet"])
        .stdout(full)
        .output()
        .unwrap();
    Run::ended(output)
        .failed("error: cannot write to the standard output: No space left on device (os error 28)\n");
}
