//! Recipes, channels and the lock from outside: every kind of wrong recipe, and
//! all recipes that are built in.

use std::collections::BTreeSet;
use std::fs;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use tcforge::digest::Sha256;
use tcforge::project::{LOCK_NAME, Project};
use tcforge::recipe::update::{self, Found, Summed};
use tcforge::recipe::{
    Channel, Channels, Choice, Invalid, Lock, LockError, LockedFile, Override, Recipe, RecipeError, Recipes,
    SourceFile, apply_overrides, place,
};
use tcforge::stage::{Content, Kind, Node, Stage, TreePath};
use tempfile::TempDir;

/// Names that the official 11.x x86_64 repository has, as far as recipes use
/// them.
const OFFICIAL: [&str; 6] = [
    "attr.tcz",
    "ca-certificates.tcz",
    "coreutils.tcz",
    "iptables.tcz",
    "ipv6-netfilter-KERNEL.tcz",
    "net-bridging-KERNEL.tcz",
];

/// Files whose sum nobody but upstream publishes.
const NOT_LOCKED: [&str; 1] = ["https://github.com/openfaas/faasd/releases/download/0.19.0/faasd"];

const GOOD: &str = r#"name = "tool"
description = "A tool"
author = "Somebody"
site = "https://example.org"
license = "MIT"
tags = "tool"
dependencies = ["runc.tcz"]

[pack]
block-size = 131072
compression = "zstd"
reason = "it is big"

[[service]]
name = "tool"
template = "tool.sh"

[[file]]
from = "LICENSE"
to = "usr/local/share/doc/{name}/LICENSE"

[[link]]
path = "usr/local/bin/tool"
target = "../lib/tool-{version}/tool"

[release.current]
version = "1.2.3"
date = "2026-01-31"
watch = { github = "example/tool" }

[[release.current.asset]]
url = "https://example.org/v{version}/tool-{version}.tar.gz"
place = [{ from = "tool-{version}/**", to = "usr/local/lib/tool-{version}/", except = ["**/*.md"] }]

[[release.current.asset]]
name = "extra"
url = "https://example.org/extra"
place = [{ to = "usr/local/bin/extra", mode = "755" }]

[release.debian]
version = "1.2.0"
date = "2025-12-31"

[[release.debian.asset]]
debian = "tool"
version = "1.2.0-1"
place = [{ from = "usr/bin/tool", to = "usr/local/bin/" }]
"#;

fn project_with(recipe: &str) -> (TempDir, Project) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("recipes/tool");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("recipe.toml"), recipe).unwrap();
    fs::write(folder.join("LICENSE"), "free").unwrap();
    fs::write(folder.join("tool.sh"), "#!/bin/sh\n").unwrap();
    let project = Project::in_folder(dir.path());
    (dir, project)
}

fn invalid(recipe: &str) -> Invalid {
    let (_dir, project) = project_with(recipe);
    match Recipe::load(&project, "tool") {
        Err(RecipeError::Invalid(invalid)) => invalid,
        other => panic!("{other:?}"),
    }
}

/// Asserts that changing `from` into `to` in the good recipe is answered with
/// this one message, underlined text, label and hint.
fn assert_mistake([from, to, message, underlined, label, help]: [&str; 6]) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} has to be there once");
    let text = GOOD.replace(from, to);
    let invalid = invalid(&text);
    let [problem] = invalid.problems.as_slice() else {
        panic!("{to:?}: {:#?}", invalid.problems);
    };
    assert_eq!(problem.to_string(), message, "{to:?}");
    assert_eq!(&text[problem.span.clone()], underlined, "{to:?}: {message}");
    assert_eq!(problem.line, text[..problem.span.start].matches('\n').count() + 1);
    assert_eq!(
        problem.labels().unwrap().next().unwrap().label(),
        Some(label),
        "{to:?}"
    );
    let hint = problem.help().map(|hint| hint.to_string()).unwrap_or_default();
    assert_eq!(hint, help, "{to:?}");
    let shown = invalid.to_string();
    assert!(
        shown.ends_with(&format!("tool/recipe.toml:{}: {message}", problem.line)),
        "{shown}"
    );
}

#[test]
fn a_good_recipe_loads() {
    let (_dir, project) = project_with(GOOD);
    let recipe = Recipe::load(&project, "tool").unwrap();
    let plan = recipe.plan(&Channel::load(&project, "current").unwrap()).unwrap();
    assert_eq!(
        plan.assets[0].origin.to_string(),
        "https://example.org/v1.2.3/tool-1.2.3.tar.gz"
    );
    assert_eq!(plan.assets[0].name, "tool-1.2.3.tar.gz");
    assert_eq!(plan.assets[1].name, "extra");
    assert!(plan.assets[1].is_bare() && !plan.assets[0].is_bare());
    assert_eq!(plan.links[0].target, "../lib/tool-1.2.3/tool");
    assert_eq!(plan.files[0].to.to_string(), "usr/local/share/doc/tool/LICENSE");
    let file = |name| plan.data_file(&project, name);
    assert_eq!(file(&plan.files[0].from).unwrap(), "recipes/tool/LICENSE");
    assert_eq!(
        file("licenses/Apache-2.0.txt").unwrap(),
        "recipes/licenses/Apache-2.0.txt"
    );
    assert_eq!(file("faasd.sh").unwrap(), "initd/faasd.sh");
    assert!(file("none").is_err());
    let plan = recipe.plan(&Channel::load(&project, "debian").unwrap()).unwrap();
    assert_eq!(plan.assets[0].origin.to_string(), "debian:bullseye/tool=1.2.0-1");
    assert_eq!(plan.date.to_string(), "2025-12-31");
}

#[test]
fn keys_and_types_are_checked() {
    for case in [
        [
            "description = \"A tool\"",
            "descriptoin = \"A tool\"",
            "there is no key `descriptoin`",
            "descriptoin",
            "unknown key",
            "did you mean `description`?",
        ],
        [
            "tags = \"tool\"",
            "tags = \"tool\"\nzzzzzzzz = 1",
            "there is no key `zzzzzzzz`",
            "zzzzzzzz",
            "unknown key",
            "possible: `name`, `description`, `author`, `site`, `license`, `tags`, `comments`, \
             `dependencies`, `persistent`, `pack`, `service`, `file`, `link`, `optional`, `installed`, `release`",
        ],
        [
            "block-size = 131072",
            "block_size = 131072",
            "there is no key `block_size`",
            "block_size",
            "unknown key",
            "did you mean `block-size`?",
        ],
        [
            "from = \"usr/bin/tool\"",
            "form = \"usr/bin/tool\"",
            "there is no key `form`",
            "form",
            "unknown key",
            "did you mean `from`?",
        ],
        [
            "author = \"Somebody\"",
            "",
            "the key `author` is missing",
            "name = \"tool\"",
            "in this table",
            "add `author = …`; docs/ says what it means",
        ],
        [
            "version = \"1.2.3\"",
            "version = 1.2",
            "invalid type: floating point `1.2`, expected a string",
            "1.2",
            "here",
            "compare it with one that is right: `tcforge init DIR` writes the built-in ones out",
        ],
        [
            "tags = \"tool\"",
            "tags = \"tool",
            "invalid basic string, expected `\"`",
            "",
            "here",
            "compare it with one that is right: `tcforge init DIR` writes the built-in ones out",
        ],
        [
            "reason = \"it is big\"",
            "",
            "the key `reason` is missing",
            "[pack]",
            "in this table",
            "add `reason = …`; docs/ says what it means",
        ],
    ] {
        assert_mistake(case);
    }
}

#[test]
fn names_texts_and_licences_are_checked() {
    for case in [
        [
            "name = \"tool\"\ndescription",
            "name = \"other\"\ndescription",
            "the recipe is called `other`, its folder `tool`",
            "\"other\"",
            "not the folder's name",
            "give both the same name",
        ],
        [
            "author = \"Somebody\"",
            "author = \" \"",
            "`author` is empty",
            "\" \"",
            "say something",
            "the info file cannot do without it",
        ],
        [
            "tags = \"tool\"",
            "tags = \"one\\ntwo\"",
            "`tags` has to be one line without control characters",
            "\"one\\ntwo\"",
            "more than one line",
            "it is a field of the info file; put longer text into `comments`",
        ],
        [
            "license = \"MIT\"",
            "license = \"MIT OR Frei\"",
            "`MIT OR Frei` is not an SPDX licence expression: unknown term",
            "Frei",
            "not SPDX",
            "see spdx.org/licenses for the names; one that is not there is written `LicenseRef-NAME`",
        ],
        [
            "[\"runc.tcz\"]",
            "[\"runc\"]",
            "`runc` is not the name of an extension",
            "\"runc\"",
            "not NAME.tcz",
            "write it as a .dep file does: `runc.tcz`",
        ],
        [
            "[\"runc.tcz\"]",
            "[\"runc.tcz\", \"two words.tcz\"]",
            "`two words.tcz` is not the name of an extension",
            "\"two words.tcz\"",
            "not NAME.tcz",
            "write it as a .dep file does: `two words.tcz`",
        ],
        [
            "[\"runc.tcz\"]",
            "[\"tool.tcz\"]",
            "`tool.tcz` depends on itself",
            "\"tool.tcz\"",
            "this is the recipe itself",
            "remove the line",
        ],
        [
            "template = \"tool.sh\"",
            "template = \"tol.sh\"",
            "there is no template `tol.sh`",
            "\"tol.sh\"",
            "no such template",
            "put it into initd/ or into the recipe's folder",
        ],
        [
            "template = \"tool.sh\"",
            "template = \"buildkti.sh\"",
            "there is no template `buildkti.sh`",
            "\"buildkti.sh\"",
            "no such template",
            "put it into initd/ or into the recipe's folder; did you mean `buildkit.sh`?",
        ],
        [
            "template = \"tool.sh\"",
            "template = \"tool.sh\"\n\n[[service]]\nname = \"tool\"\ntemplate = \"faasd.sh\"",
            "two services are called `tool`",
            "\"tool\"",
            "the second one",
            "each has its own script usr/local/etc/init.d/NAME",
        ],
        [
            "from = \"LICENSE\"",
            "from = \"COPYING\"",
            "there is no file `COPYING`",
            "\"COPYING\"",
            "no such file",
            "put it into the recipe's folder, or below recipes/ for several recipes",
        ],
        [
            "block-size = 131072",
            "block-size = 5000",
            "5000 is not a block size",
            "5000",
            "not a block size",
            "take a power of two from 4096 to 1048576",
        ],
        [
            "block-size = 131072",
            "block-size = 2048",
            "2048 is not a block size",
            "2048",
            "not a block size",
            "take a power of two from 4096 to 1048576",
        ],
        [
            "compression = \"zstd\"",
            "compression = \"lzma\"",
            "there is no compression `lzma`",
            "\"lzma\"",
            "unknown compression",
            "take `gzip`, `xz` or `zstd`",
        ],
        [
            "reason = \"it is big\"",
            "reason = \" \"",
            "`reason` is empty",
            "\" \"",
            "say something",
            "say why; it goes into the info file",
        ],
        [
            "[release.debian]",
            "[[release.current.optional]]\npath = \"usr/{name}/**\"\nreason = \"\"\n\n[release.debian]",
            "`reason` is empty",
            "\"\"",
            "say something",
            "say why; it goes into the info file",
        ],
        [
            "[release.debian]",
            "[[release.debian.optional]]\npath = \"usr/a b\"\nreason = \"x\"\n\n[release.debian]",
            "`usr/a b` is not a glob: it has blanks in it",
            "\"usr/a b\"",
            "not a glob",
            "`*` and `?` stay within a name, `**` crosses directories, `{a,b}` is a choice",
        ],
    ] {
        assert_mistake(case);
    }
}

#[test]
fn what_a_program_does_without_is_of_the_recipe_and_of_the_release() {
    let optional = |path: &str, reason: &str| {
        format!(
            "[[{path}]]\npath = \"usr/local/lib/{{name}}-{{version}}/**/{reason}.node\"\nreason = \" no {reason} \"\n\n"
        )
    };
    let text = GOOD.replace(
        "[release.debian]\n",
        &format!(
            "{}{}[release.debian]\n",
            optional("release.current.optional", "search"),
            optional("optional", "watching")
        ),
    );
    let (_dir, project) = project_with(&text);
    let recipe = Recipe::load(&project, "tool").unwrap();
    let channel = |name| Channel::load(&project, name).unwrap();
    let planned = |name| -> Vec<(String, String)> {
        let plan = recipe.plan(&channel(name)).unwrap();
        let each = plan.optional.iter();
        each.map(|one| (one.path.as_str().to_owned(), one.reason.clone()))
            .collect()
    };
    let one = |version: &str, what: &str| {
        let path = format!("usr/local/lib/tool-{version}/**/{what}.node");
        (path, format!("no {what}"))
    };
    assert_eq!(planned("debian"), [one("1.2.0", "watching")]);
    let version = &recipe.releases["current"].version;
    assert_eq!(
        planned("current"),
        [one(version, "watching"), one(version, "search")]
    );
}

#[test]
fn releases_and_assets_are_checked() {
    for case in [
        [
            "[release.debian]",
            "[release.curent]\nversion = \"1\"\ndate = \"2026-01-31\"\n\n[release.debian]",
            "there is no channel `curent`",
            "curent",
            "unknown channel",
            "did you mean `current`?",
        ],
        [
            "version = \"1.2.3\"",
            "version = \"\"",
            "`` is not a version",
            "\"\"",
            "not a version",
            "use letters, digits and `. _ + ~ : -`, beginning with a letter or digit",
        ],
        [
            "version = \"1.2.3\"",
            "version = \"../1\"",
            "`../1` is not a version",
            "\"../1\"",
            "not a version",
            "use letters, digits and `. _ + ~ : -`, beginning with a letter or digit",
        ],
        [
            "version = \"1.2.3\"",
            "version = \"v1.2.3\"",
            "`v1.2.3` begins with a `v`",
            "\"v1.2.3\"",
            "without the `v`",
            "write `1.2.3`, and the `v` into the URL",
        ],
        [
            "date = \"2026-01-31\"",
            "date = \"2026-02-30\"",
            "`2026-02-30` is not a date",
            "\"2026-02-30\"",
            "not YYYY-MM-DD",
            "write the day of the release as YYYY-MM-DD",
        ],
        [
            "date = \"2026-01-31\"",
            "date = \"20260131\"",
            "`20260131` is not a date",
            "\"20260131\"",
            "not YYYY-MM-DD",
            "write the day of the release as YYYY-MM-DD",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "",
            "the asset has no origin; exactly one is needed",
            "[[release.current.asset]]",
            "exactly one is needed",
            "say where the file is with one of `url`, `debian` and `npm`",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "url = \"https://example.org/extra\"\nnpm = \"extra\"\n",
            "the asset has `url`, `npm`; exactly one is needed",
            "[[release.current.asset]]",
            "exactly one is needed",
            "say where the file is with one of `url`, `debian` and `npm`",
        ],
        [
            "\"https://example.org/extra\"",
            "\"http://example.org/extra\"",
            "`http://example.org/extra` is not an https URL",
            "\"http://example.org/extra\"",
            "not https",
            "files come over https only: write `https://HOST/PATH`",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "debian = \"extra\"\n",
            "the channel `current` has no Debian suite to take a package from",
            "\"extra\"",
            "no suite",
            "use `url`, or give recipes/channels/current.toml a `suite`",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "npm = \"-g\"\n",
            "`-g` cannot be the name of a package",
            "\"-g\"",
            "not a name",
            "write the name alone; `version` says which version of it",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "url = \"https://example.org/extra\"\nversion = \"2\"\n",
            "`version` means nothing for a `url`",
            "\"2\"",
            "belongs into the URL",
            "write the version into the URL",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "npm = \"extra\"\nsum = { url = \"https://example.org/sums\" }\n",
            "`sum` means nothing for a package",
            "{ url = \"https://example.org/sums\" }",
            "leave it out",
            "the index of its repository has its sum: leave the key out",
        ],
        [
            "url = \"https://example.org/extra\"\n",
            "url = \"https://example.org/extra\"\nsum = { url = \"http://example.org/sums\" }\n",
            "`http://example.org/sums` is not an https URL",
            "\"http://example.org/sums\"",
            "not https",
            "files come over https only: write `https://HOST/PATH`",
        ],
        [
            "watch = { github = \"example/tool\" }\n",
            "watch = { github = \"example/tool\" }\nsum = { url = \"https://example.org/{verison}/sums\" }\n",
            "`{verison}` stands for nothing",
            "{verison}",
            "unknown placeholder",
            "`{version}` is the release's version, `{name}` the recipe's name",
        ],
        [
            "\"https://example.org/extra\"",
            "\"https://example.org/v1.2.3/tool-1.2.3.tar.gz?file=extra\"",
            "`https://example.org/v1.2.3/tool-1.2.3.tar.gz?…` differs from another asset only in what may be secret",
            "\"https://example.org/v1.2.3/tool-1.2.3.tar.gz?file=extra\"",
            "login or query",
            "the lock has URLs without login, query and fragment: look for one whose path tells the files apart",
        ],
        [
            "name = \"extra\"",
            "name = \"tool-1.2.3.tar.gz\"",
            "two assets are called `tool-1.2.3.tar.gz`",
            "[[release.current.asset]]",
            "the second one",
            "tell them apart with `name`",
        ],
        [
            "place = [{ to = \"usr/local/bin/extra\", mode = \"755\" }]",
            "",
            "nothing says where the asset's files go",
            "[[release.current.asset]]",
            "no rules",
            "add `place = [{ from = \"GLOB\", to = \"PATH\" }]`",
        ],
        [
            "watch = { github = \"example/tool\" }",
            "watch = { github = \"example/tool\", npm = \"tool\" }",
            "the watch has `github`, `npm`; exactly one is needed",
            "{ github = \"example/tool\", npm = \"tool\" }",
            "exactly one is needed",
            "say where newer releases are with one of `github`, `npm` and `debian`",
        ],
    ] {
        assert_mistake(case);
    }
}

#[test]
fn values_for_services_belong_to_services() {
    assert_mistake([
        "watch = { github = \"example/tool\" }",
        "with = { tol = { timeout = 5 } }",
        "there is no service `tol`",
        "tol",
        "unknown service",
        "did you mean `tool`?",
    ]);
    let watch = "watch = { github = \"example/tool\" }";
    let template = "template = \"tool.sh\"";
    let text = GOOD.replace(watch, "with = { tool = { timeout = 5 } }").replace(
        template,
        &format!("{template}\nwith = {{ timeout = 1, user = \"tc\" }}"),
    );
    let (_dir, project) = project_with(&text);
    let recipe = Recipe::load(&project, "tool").unwrap();
    let with = |channel| {
        let plan = recipe.plan(&Channel::load(&project, channel).unwrap()).unwrap();
        let with = plan.services[0].with.clone();
        with.into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(with("current"), ["timeout=5", "user=\"tc\""]);
    assert_eq!(with("debian"), ["timeout=1", "user=\"tc\""]);
}

#[test]
fn paths_globs_and_modes_are_checked() {
    let path_help = "write it from the top of the tree, as `usr/local/bin/x`";
    let glob_help = "`*` and `?` stay within a name, `**` crosses directories, `{a,b}` is a choice";
    let to = "to = \"usr/local/bin/extra\"";
    for case in [
        [
            to,
            "to = \"/usr/local/bin/extra\"",
            "`/usr/local/bin/extra` cannot be a path in an extension: the name is absolute",
            "\"/usr/local/bin/extra\"",
            "not a path",
            path_help,
        ],
        [
            to,
            "to = \"usr/../../etc/passwd\"",
            "`usr/../../etc/passwd` cannot be a path in an extension: the name has a `..` in it",
            "\"usr/../../etc/passwd\"",
            "not a path",
            path_help,
        ],
        [
            to,
            "to = \"\"",
            "`` cannot be a path in an extension: it is empty",
            "\"\"",
            "not a path",
            path_help,
        ],
        [
            to,
            "to = \"var/run/extra\"",
            "`var/run/extra` lies where the running system writes",
            "\"var/run/extra\"",
            "written at run time",
            "in an extension it would be a read-only link; ship a template elsewhere, \
             or name it in `persistent`",
        ],
        [
            to,
            "to = \"usr/local/bin/\"",
            "a bare program needs the path of one file",
            "\"usr/local/bin/\"",
            "not one file",
            "write the whole path without `/` at the end, and no `except`",
        ],
        [
            "place = [{ to = \"usr/local/bin/extra\"",
            "place = [{ from = \"x\", to = \"usr/\" }, { to = \"usr/local/bin/extra\"",
            "a rule without `from` is for a bare program and stands alone",
            "{ to = \"usr/local/bin/extra\", mode = \"755\" }",
            "no `from`",
            "give it a `from`, or remove the other rules",
        ],
        [
            "except = [\"**/*.md\"]",
            "except = [\"[\"]",
            "`[` is not a glob: unclosed character class; missing ']'",
            "\"[\"",
            "not a glob",
            glob_help,
        ],
        [
            "from = \"usr/bin/tool\"",
            "from = \"./usr/bin/tool\"",
            "`./usr/bin/tool` is not a glob: write it as `a/b`, without `.` or empty parts",
            "\"./usr/bin/tool\"",
            "not a glob",
            glob_help,
        ],
        [
            "mode = \"755\"",
            "mode = \"rwx\"",
            "`rwx` is not a mode",
            "\"rwx\"",
            "not a mode",
            "write permission bits in octal: \"755\" or \"644\"",
        ],
        [
            "mode = \"755\"",
            "mode = \"4755\"",
            "`4755` is not a mode",
            "\"4755\"",
            "not a mode",
            "write permission bits in octal: \"755\" or \"644\"",
        ],
        [
            "https://example.org/v{version}/",
            "https://example.org/v{vresion}/",
            "`{vresion}` stands for nothing",
            "{vresion}",
            "unknown placeholder",
            "`{version}` is the release's version, `{name}` the recipe's name",
        ],
        [
            "from = \"tool-{version}/**\"",
            "from = \"tool-{vers}/**\"",
            "`{vers}` stands for nothing",
            "{vers}",
            "unknown placeholder",
            "`{version}` is the release's version, `{name}` the recipe's name",
        ],
        [
            "target = \"../lib/tool-{version}/tool\"",
            "target = \"\"",
            "a link cannot lead to ``",
            "\"\"",
            "not a target",
            "write 1 to 4095 characters, without control characters",
        ],
    ] {
        assert_mistake(case);
    }
}

#[test]
fn a_release_that_makes_nothing_is_refused() {
    let head = &GOOD[..GOOD.find("dependencies").unwrap()];
    let release = "[release.current]\nversion = \"1\"\ndate = \"2026-01-31\"\n";
    let found = invalid(&format!("{head}{release}"));
    assert_eq!(
        found.problems[0].to_string(),
        "the release has neither files nor dependencies"
    );
    assert_eq!(found.problems[0].line, 7);
    assert_eq!(
        found.problems[0].help().unwrap().to_string(),
        "add an `[[release.current.asset]]`, or `dependencies` for a meta extension"
    );
    let (_dir, project) = project_with(&format!("{head}dependencies = [\"runc.tcz\"]\n{release}"));
    let meta = Recipe::load(&project, "tool").unwrap();
    assert!(
        meta.plan(&Channel::load(&project, "current").unwrap())
            .unwrap()
            .is_meta()
    );
    let none = invalid(head);
    assert_eq!(none.problems[0].to_string(), "the recipe has no release");
}

#[test]
fn all_mistakes_are_shown_at_once_each_under_its_line() {
    let text = GOOD
        .replace("license = \"MIT\"", "license = \"Frei\"")
        .replace("mode = \"755\"", "mode = \"999\"");
    let mut shown = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut shown, &invalid(&text)).unwrap();
    let shown: Vec<_> = shown
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for wanted in [
        "5 │ license = \"Frei\"",
        "·            ──┬─",
        "·              ╰── not SPDX",
        "38 │ place = [{ to = \"usr/local/bin/extra\", mode = \"999\" }]",
        "help: write permission bits in octal: \"755\" or \"644\"",
    ] {
        assert!(shown.contains(&wanted), "{wanted}\n{shown:#?}");
    }
    assert!(shown[0].ends_with("recipe.toml` has 2 mistakes"), "{shown:#?}");
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let project = Project::built_in();
    let error = Recipe::load(&project, "contanerd").unwrap_err();
    assert_eq!(error.to_string(), "there is no recipe `contanerd`");
    assert_eq!(error.help().unwrap().to_string(), "did you mean `containerd`?");
    let error = Channel::load(&project, "debain").unwrap_err();
    assert_eq!(error.to_string(), "there is no channel `debain`");
    assert_eq!(error.help().unwrap().to_string(), "did you mean `debian`?");
    let recipe = Recipe::load(&project, "faasd").unwrap();
    let error = recipe
        .plan(&Channel::load(&project, "debian").unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`faasd` has no release in the channel `debian`"
    );
    assert_eq!(
        error.help().unwrap().to_string(),
        "it has one in `classic`, `current`: choose with `--channel`"
    );
}

#[test]
fn a_circle_of_dependencies_is_named() {
    let (dir, project) = project_with(&GOOD.replace("runc.tcz", "other.tcz"));
    let folder = dir.path().join("recipes/other");
    fs::create_dir_all(&folder).unwrap();
    let other = GOOD
        .replace("name = \"tool\"\ndescription", "name = \"other\"\ndescription")
        .replace("runc.tcz", "tool.tcz");
    fs::write(folder.join("recipe.toml"), other).unwrap();
    fs::write(folder.join("LICENSE"), "free").unwrap();
    fs::write(folder.join("tool.sh"), "#!/bin/sh\n").unwrap();
    let error = Recipes::load(&project).unwrap_err();
    assert_eq!(
        error.to_string(),
        "recipes depend on each other in a circle: other.tcz → tool.tcz → other.tcz"
    );
}

#[test]
fn recipes_come_after_what_they_depend_on() {
    let project = Project::built_in();
    let recipes = Recipes::load(&project).unwrap();
    let names = |chosen: Vec<&Recipe>| chosen.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
    let asked = ["vscode", "nodejs", "code-server"].map(String::from);
    let only = |name| Choice::only(Channel::load(&project, name).unwrap());
    let debian = only("debian");
    let chosen = recipes.choose(&only("current"), &asked).unwrap();
    assert_eq!(names(chosen), ["nodejs", "code-server", "vscode"]);
    let all = names(recipes.choose(&debian, &[]).unwrap());
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        recipes.in_channel("debian").count()
    );
    let order = names(recipes.order(&debian, ["containerd"]).unwrap());
    assert_eq!(order, ["libseccomp", "runc", "ca-certificates", "containerd"]);
    let error = recipes.choose(&debian, &asked).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`vscode` has no release in the channel `debian`"
    );
    let error = recipes.choose(&debian, &["rnuc".to_owned()]).unwrap_err();
    assert_eq!(error.help().unwrap().to_string(), "did you mean `runc`?");
}

#[test]
fn every_built_in_recipe_has_a_plan_in_every_channel_it_names() {
    let project = Project::built_in();
    let recipes = Recipes::load(&project).unwrap();
    let lock = Lock::load(&project).unwrap();
    let mut missing = BTreeSet::new();
    let mut used = BTreeSet::new();
    for channel in Channels::load(&project).unwrap().iter() {
        for recipe in recipes.in_channel(&channel.name) {
            let plan = recipe.plan(channel).unwrap();
            for asset in &plan.assets {
                used.insert(asset.origin.to_string());
                match lock.find(&asset.origin) {
                    Some(file) => assert_eq!(file.name, asset.name),
                    None => {
                        let list = asset.sum_list.as_ref().map(ToString::to_string);
                        assert_eq!(list, Some(format!("{}.sha256", asset.origin)));
                        missing.insert(asset.origin.to_string());
                    }
                }
            }
            for dependency in &plan.dependencies {
                let name = dependency.trim_end_matches(".tcz");
                let ours = recipes
                    .get(name)
                    .is_some_and(|one| one.releases.contains_key(&channel.name));
                assert!(
                    ours || OFFICIAL.contains(&dependency.as_str()),
                    "{name} of {}",
                    recipe.name
                );
            }
        }
    }
    assert_eq!(missing, NOT_LOCKED.map(str::to_owned).into());
    let locked: BTreeSet<_> = lock
        .iter()
        .map(|file| file.url.to_string())
        .filter(|url| !bases_name(&project, url))
        .collect();
    assert_eq!(
        locked.difference(&used).collect::<Vec<_>>(),
        [""; 0],
        "locked, and of no use"
    );
}

/// Whether an image's base, or a kernel, is made of a file.
fn bases_name(project: &Project, url: &str) -> bool {
    [
        "iso/bases.toml",
        "iso/mini/mini.toml",
        "kernel/build/sources.toml",
    ]
    .iter()
    .any(|name| project.read_text(name).unwrap().contains(url))
}

#[test]
fn every_channel_holds_what_it_is_meant_to() {
    let recipes = Recipes::load(&Project::built_in()).unwrap();
    let names = |channel| -> Vec<_> {
        recipes
            .in_channel(channel)
            .map(|recipe| recipe.name.as_str())
            .collect()
    };
    let stack = [
        "buildkit",
        "cni-plugins",
        "code-server",
        "containerd",
        "faas-cli",
        "faasd",
        "nodejs",
        "runc",
        "vscode",
    ];
    assert_eq!(names("current"), stack);
    assert_eq!(names("classic"), stack);
    assert_eq!(
        names("debian"),
        [
            "acl",
            "attr",
            "ca-certificates",
            "cni-plugins",
            "containerd",
            "coreutils",
            "gmp",
            "iptables",
            "libseccomp",
            "libselinux",
            "nodejs",
            "pcre2",
            "runc",
        ]
    );
}

#[test]
fn the_founding_texts_wishes_are_met() {
    let project = Project::built_in();
    for channel in ["current", "classic"] {
        let channel = Channel::load(&project, channel).unwrap();
        let plan = |name| Recipe::load(&project, name).unwrap().plan(&channel).unwrap();
        let buildkit = plan("buildkit");
        let services: Vec<_> = buildkit.services.iter().map(|service| &service.name).collect();
        assert_eq!(services, ["buildkit", "makedockerconfig"]);
        assert_eq!(
            buildkit.dependencies,
            ["coreutils.tcz", "containerd.tcz", "attr.tcz"]
        );
        let code = plan("code-server");
        let services: Vec<_> = code.services.iter().map(|service| &service.name).collect();
        assert_eq!(services, ["vscodeonline", "makevscodeconfig"]);
        assert_eq!(code.dependencies, ["nodejs.tcz"]);
        let links: Vec<_> = code
            .links
            .iter()
            .map(|l| format!("{} -> {}", l.path, l.target))
            .collect();
        let lib = format!("lib/code-server-{}", code.version);
        assert_eq!(
            links,
            [
                format!("usr/local/bin/code-server -> ../{lib}/bin/code-server"),
                format!("usr/local/{lib}/lib/node -> /usr/local/bin/node"),
            ]
        );
        assert_eq!(plan("vscode").dependencies, ["code-server.tcz"]);
        assert!(plan("vscode").is_meta());
    }
}

/// Places an archive with these paths (`link -> target`) as a recipe's first
/// asset, and lists what comes of it.
fn placed(recipe: &str, channel: &str, archive: &[&str]) -> Vec<String> {
    let project = Project::built_in();
    let channel = Channel::load(&project, channel).unwrap();
    let plan = Recipe::load(&project, recipe).unwrap().plan(&channel).unwrap();
    let path = |name: &str| TreePath::parse(name).unwrap();
    let mut tree = Stage::new();
    for entry in archive {
        let (name, node) = match entry.split_once(" -> ") {
            Some((name, target)) => (name, Node::symlink(target)),
            None => (*entry, Node::file(Content::bytes(*b""), 0o755)),
        };
        tree.insert(path(name), node).unwrap();
    }
    let mut stage = Stage::new();
    place(&tree, &plan.assets[0].rules, &mut stage).unwrap();
    for link in &plan.links {
        stage
            .insert(link.path.clone(), Node::symlink(link.target.as_bytes()))
            .unwrap();
    }
    let files = stage.iter().filter(|(_, node)| !node.is_dir());
    files
        .map(|(path, node)| match &node.kind {
            Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            _ => path.to_string(),
        })
        .collect()
}

/// The archives' paths are those of upstream's release scripts.
#[test]
fn code_servers_own_node_stays_behind() {
    let top = "code-server-3.8.0-linux-amd64";
    let archive = [
        "bin/code-server",
        "lib/node",
        "node -> ./lib/node",
        "code-server -> ./bin/code-server",
        "lib/vscode/node_modules/.bin/x -> ../x/x.js",
        "lib/vscode/node_modules/x/x.js",
        "LICENSE.txt",
    ]
    .map(|name| format!("{top}/{name}"));
    let archive: Vec<_> = archive.iter().map(String::as_str).collect();
    assert_eq!(
        placed("code-server", "classic", &archive),
        [
            "usr/local/bin/code-server -> ../lib/code-server-3.8.0/bin/code-server",
            "usr/local/lib/code-server-3.8.0/LICENSE.txt",
            "usr/local/lib/code-server-3.8.0/bin/code-server",
            "usr/local/lib/code-server-3.8.0/code-server -> ./bin/code-server",
            "usr/local/lib/code-server-3.8.0/lib/node -> /usr/local/bin/node",
            "usr/local/lib/code-server-3.8.0/lib/vscode/node_modules/.bin/x -> ../x/x.js",
            "usr/local/lib/code-server-3.8.0/lib/vscode/node_modules/x/x.js",
            "usr/local/share/doc/code-server/LICENSE.txt",
        ]
    );
}

/// Programs that need GLIBC_2.34: the audit would refuse the extension.
#[test]
fn what_tiny_core_cannot_start_of_code_server_stays_behind() {
    let sdk = "lib/vscode/node_modules/@microsoft/mxc-sdk";
    let archive = [
        "bin/code-server",
        &format!("{sdk}/bin/x64/lxc-exec"),
        &format!("{sdk}/dist/index.js"),
        "node_modules/argon2/argon2.cjs",
        "node_modules/argon2/prebuilds/linux-x64/argon2.glibc.node",
        "LICENSE",
    ]
    .map(|name| format!("code-server-4.139.1-linux-amd64/{name}"));
    let archive: Vec<_> = archive.iter().map(String::as_str).collect();
    assert_eq!(
        placed("code-server", "current", &archive),
        [
            "usr/local/bin/code-server -> ../lib/code-server-4.139.1/bin/code-server".to_owned(),
            "usr/local/lib/code-server-4.139.1/LICENSE".to_owned(),
            "usr/local/lib/code-server-4.139.1/bin/code-server".to_owned(),
            "usr/local/lib/code-server-4.139.1/lib/node -> /usr/local/bin/node".to_owned(),
            format!("usr/local/lib/code-server-4.139.1/{sdk}/dist/index.js"),
            "usr/local/share/doc/code-server/LICENSE".to_owned(),
        ]
    );
}

#[test]
fn archives_of_programs_go_where_they_are_looked_for() {
    let node = [
        "bin/node",
        "bin/npm -> ../lib/node_modules/npm/bin/npm-cli.js",
        "lib/node_modules/npm/bin/npm-cli.js",
        "include/node/node.h",
        "LICENSE",
    ]
    .map(|name| format!("node-v24.21.0-linux-x64/{name}"));
    let node: Vec<_> = node.iter().map(String::as_str).collect();
    assert_eq!(
        placed("nodejs", "current", &node),
        [
            "usr/local/bin/node",
            "usr/local/bin/npm -> ../lib/node_modules/npm/bin/npm-cli.js",
            "usr/local/lib/node_modules/npm/bin/npm-cli.js",
            "usr/local/share/doc/nodejs/LICENSE",
        ]
    );
    let plugins = ["bridge", "firewall", "LICENSE", "README.md"];
    for (channel, plugins) in [("current", &plugins[..]), ("classic", &plugins[..2])] {
        assert_eq!(
            placed("cni-plugins", channel, plugins),
            ["opt/cni/bin/bridge", "opt/cni/bin/firewall"]
        );
    }
    assert_eq!(placed("runc", "current", &["runc.amd64"]), ["usr/local/bin/runc"]);
    assert_eq!(
        placed("buildkit", "current", &["bin/buildctl", "bin/buildkitd"]),
        ["usr/local/bin/buildctl", "usr/local/bin/buildkitd"]
    );
}

#[test]
fn a_local_file_unlocks_its_asset_and_no_other() {
    let project = Project::built_in();
    let channel = Channel::load(&project, "current").unwrap();
    let plan = |name| Recipe::load(&project, name).unwrap().plan(&channel).unwrap();
    let mut plans = [plan("faasd"), plan("runc")];
    let lock = Lock::load(&project).unwrap();
    let error = lock.of_plan(&plans[0]).unwrap_err();
    assert!(
        matches!(&error, LockError::Missing { name, .. } if name == "faasd"),
        "{error}"
    );
    assert_eq!(
        error.help().unwrap().to_string(),
        "`tcforge update faasd --channel current` fetches it and records its sum; \
         `--file faasd=PATH` takes a file of yours without one"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let given = |text: &str| text.parse::<Override>();
    let good = given(&format!("faasd={}", file.path().display())).unwrap();
    apply_overrides(&mut plans, std::slice::from_ref(&good)).unwrap();
    assert!(plans[0].is_unlocked() && !plans[1].is_unlocked());
    assert_eq!(lock.of_plan(&plans[0]).unwrap(), [None]);
    for (overrides, message) in [
        (
            vec![given("fasd=/x").unwrap()],
            "nothing that is built has an asset `fasd`",
        ),
        (
            vec![given("runc.amd64=/none").unwrap()],
            "`/none` for the asset `runc.amd64` is not a file",
        ),
        (vec![good], "`faasd` is given twice"),
    ] {
        let error = apply_overrides(&mut plans, &overrides).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(
        given("faasd").unwrap_err().to_string(),
        "`faasd` is not ASSET=PATH"
    );
    let mut twice = [plan("runc"), plan("runc")];
    let error = apply_overrides(&mut twice, &[given("runc.amd64=/x").unwrap()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "more than one extension has an asset `runc.amd64`: `runc`, `runc`"
    );
}

fn lock(text: &str) -> Result<Lock, Invalid> {
    Lock::parse(&SourceFile::new(LOCK_NAME, text))
}

#[test]
fn the_built_in_lock_is_written_as_it_is_read() {
    let text = Project::built_in().read_text(LOCK_NAME).unwrap();
    assert_eq!(lock(&text).unwrap().to_text().unwrap(), text);
}

#[test]
fn a_lock_with_a_mistake_is_answered_with_its_place() {
    let sum = Sha256::of(b"x");
    let file =
        format!("[[file]]\nname = \"x\"\nurl = \"https://a/x\"\nsha256 = \"{sum}\"\nsource = \"me\"\n");
    for (text, message) in [
        (
            "version = 2\n".to_owned(),
            "tcforge.lock:1: the lock has version 2",
        ),
        (
            format!("version = 1\n{file}{file}"),
            "tcforge.lock:9: the lock has `https://a/x` twice",
        ),
        (
            format!("version = 1\n{file}").replace("https://a/x", "npm:x"),
            "tcforge.lock:4: `npm:x` is no place to fetch from: the version is missing",
        ),
        (
            format!("version = 1\n{file}").replace(&sum.to_string(), "00"),
            "tcforge.lock:5: `00` is not a sha256 sum: 64 hexadecimal digits are expected",
        ),
        (
            format!("version = 1\n{file}").replace("source", "sourec"),
            "tcforge.lock:6: there is no key `sourec`",
        ),
    ] {
        assert_eq!(lock(&text).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_update_changes_the_pins_and_nothing_else() {
    let (_dir, project) = project_with(GOOD);
    let recipe = Recipe::load(&project, "tool").unwrap();
    let debian = Channel::load(&project, "debian").unwrap();
    let found = Found {
        version: "1.3.0".to_owned(),
        date: "2026-02-28".parse().unwrap(),
        pins: [("tool".to_owned(), "1.3.0-2".to_owned())].into(),
    };
    let repinned = update::repin(&recipe, &debian, &found).unwrap();
    let wanted = GOOD
        .replace("version = \"1.2.0\"", "version = \"1.3.0\"")
        .replace("date = \"2025-12-31\"", "date = \"2026-02-28\"")
        .replace("version = \"1.2.0-1\"", "version = \"1.3.0-2\"");
    assert_eq!(repinned.text, wanted);
    assert_eq!(
        repinned.new.assets[0].origin.to_string(),
        "debian:bullseye/tool=1.3.0-2"
    );

    let old = LockedFile {
        name: "tool".to_owned(),
        url: repinned.old.assets[0].origin.clone(),
        size: None,
        sha256: Sha256::of(b"old"),
        source: "me".to_owned(),
    };
    let mut lock = Lock::default();
    lock.insert(old.clone());
    let before = lock.clone();
    let error = update::relock(&mut lock, &repinned, &[], &BTreeSet::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tool` of the new release was not fetched: debian:bullseye/tool=1.3.0-2"
    );
    assert_eq!(lock, before);
    let sums = [Summed {
        origin: repinned.new.assets[0].origin.clone(),
        size: 3,
        sha256: Sha256::of(b"new"),
        source: "you".to_owned(),
    }];
    // The old file is kept as long as another release needs it.
    let used = BTreeSet::from([old.url.clone()]);
    update::relock(&mut lock.clone(), &repinned, &sums, &used).unwrap();
    let change = update::relock(&mut lock, &repinned, &sums, &BTreeSet::new()).unwrap();
    assert_eq!(
        change.to_string(),
        format!(
            "tool (debian): 1.2.0 → 1.3.0\n  tool: debian:bullseye/tool=1.2.0-1 {} → \
             debian:bullseye/tool=1.3.0-2 {} (3 bytes)",
            Sha256::of(b"old"),
            Sha256::of(b"new")
        )
    );
    let urls: Vec<_> = lock.iter().map(|file| file.url.to_string()).collect();
    assert_eq!(urls, ["debian:bullseye/tool=1.3.0-2"]);

    // The lock has the new revision already, say because the recipe could not be
    // written then: that it moves is a change all the same.
    let found = Found {
        version: "1.2.0".to_owned(),
        date: "2025-12-31".parse().unwrap(),
        pins: [("tool".to_owned(), "1.2.0-2".to_owned())].into(),
    };
    let repinned = update::repin(&recipe, &debian, &found).unwrap();
    let mut lock = Lock::default();
    lock.insert(LockedFile {
        url: repinned.new.assets[0].origin.clone(),
        ..old
    });
    let change = update::relock(&mut lock, &repinned, &[], &BTreeSet::new()).unwrap();
    assert!(!change.is_empty());
    assert_eq!(
        change.to_string(),
        format!(
            "tool (debian): 1.2.0\n  tool: nothing → debian:bullseye/tool=1.2.0-2 {}",
            Sha256::of(b"old")
        )
    );
}

#[test]
fn an_update_keeps_comments_and_records_a_sum_that_was_missing() {
    let project = Project::built_in();
    let recipe = Recipe::load(&project, "faasd").unwrap();
    let channel = Channel::load(&project, "current").unwrap();
    let found = |version: &str, date: &str| Found {
        version: version.to_owned(),
        date: date.parse().unwrap(),
        pins: [].into(),
    };
    let mut lock = Lock::load(&project).unwrap();
    let same = update::repin(&recipe, &channel, &found("0.19.0", "2024-06-12")).unwrap();
    assert_eq!(same.text, recipe.source.text());
    let sums = [Summed {
        origin: same.new.assets[0].origin.clone(),
        size: 3,
        sha256: Sha256::of(b"new"),
        source: "first fetch".to_owned(),
    }];
    let recipes = Recipes::load(&project).unwrap();
    let channels = Channels::load(&project).unwrap();
    let used = update::origins_besides(&recipes, &channels, "faasd", "current").unwrap();
    let of_recipes = lock
        .iter()
        .filter(|file| !bases_name(&project, &file.url.to_string()));
    assert_eq!(used.len(), of_recipes.count());
    let change = update::relock(&mut lock, &same, &sums, &used).unwrap();
    assert_eq!(
        change.to_string(),
        format!(
            "faasd (current): 0.19.0\n  faasd: nothing → \
             https://github.com/openfaas/faasd/releases/download/0.19.0/faasd {} (3 bytes)",
            Sha256::of(b"new")
        )
    );
    assert!(lock.of_plan(&same.new).is_ok());
    let again = update::relock(&mut lock, &same, &[], &used).unwrap();
    assert!(again.is_empty());
    assert_eq!(again.to_string(), "faasd (current): 0.19.0, nothing new");
    let older = update::repin(&recipe, &channel, &found("0.18.8", "2024-05-01")).unwrap();
    let changed: Vec<_> = (older.text.lines())
        .zip(recipe.source.text().lines())
        .filter(|(new, old)| new != old)
        .collect();
    assert_eq!(
        changed,
        [
            ("version = \"0.18.8\"", "version = \"0.19.0\""),
            ("date = \"2024-05-01\"", "date = \"2024-06-12\""),
        ]
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever stands in the file, the answer is a recipe or mistakes with
    /// places that lie in the text.
    #[test]
    fn no_text_is_too_wrong(at in 0..GOOD.len(), len in 0..40_usize, put in "[ -~\\n]{0,12}|\\PC{0,4}") {
        let mut text = GOOD.to_owned();
        text.replace_range(at..(at + len).min(GOOD.len()), &put);
        let (_dir, project) = project_with(&text);
        if let Err(RecipeError::Invalid(invalid)) = Recipe::load(&project, "tool") {
            proptest::prop_assert!(!invalid.problems.is_empty());
            for problem in &invalid.problems {
                proptest::prop_assert!(text.get(problem.span.clone()).is_some(), "{:?}", problem);
            }
        }
    }
}
