//! Sums that only upstream itself publishes: taken from its list once, and held to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tcforge::digest::Sha256;

use super::server::{AUTHORITY, Gate, Reply, Server};
use crate::world::{Run, World, by_sum, chmod, tar_gz, without_powers};

/// Upstream: a file and its list, which change as a test says.
struct Upstream {
    server: Server,
    files: Arc<Mutex<BTreeMap<String, Reply>>>,
}

impl Upstream {
    fn new(archive: &[u8], list: &str) -> Self {
        let files: Arc<Mutex<BTreeMap<String, Reply>>> = Arc::default();
        let served = files.clone();
        let server = Server::tls(move |_, request| {
            let path = request.target.split('?').next().unwrap_or_default();
            let files = served.lock().unwrap();
            files.get(path).cloned().unwrap_or(Reply::status(404))
        });
        let upstream = Self { server, files };
        upstream.set("/tool.tar.gz", Reply::Good(archive.to_vec()));
        upstream.set("/list", Reply::Good(list.into()));
        upstream
    }

    fn set(&self, path: &str, reply: Reply) {
        self.files.lock().unwrap().insert(path.to_owned(), reply);
    }

    fn list(&self) -> String {
        self.server.url("/list")
    }

    fn file(&self) -> String {
        self.server.url("/tool.tar.gz")
    }

    /// A world with the recipe `tool` of this upstream.
    fn world(&self) -> World {
        let world = World::new();
        let asset = format!(
            "[[release.test.asset]]\nurl = \"{}\"\nsum = {{ url = \"{}\" }}\nplace = [{{ from = \"*\", to = \
             \"usr/local/bin/\" }}]\n",
            self.file(),
            self.list()
        );
        world.recipe("tool", &asset);
        world.settings("recipes/network.toml", &[("attempts = 5", "attempts = 1")]);
        world
    }
}

fn archive(text: &str) -> Vec<u8> {
    tar_gz(&[("tool", 0o755, text.as_bytes())])
}

/// The program, which trusts the server and asks nobody else for it.
fn command(world: &World, args: &[&str]) -> Command {
    let mut command = world.command(args);
    let proxies = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    for name in proxies.into_iter().chain(["TCFORGE_MIRROR"]) {
        command.env_remove(name);
    }
    command.env("SSL_CERT_FILE", AUTHORITY);
    command
}

fn run(world: &World, args: &[&str]) -> Run {
    Run::of(&mut command(world, args))
}

/// The lock that the sums are kept in, and how the program is told of the project.
#[derive(Clone, Copy)]
enum Home {
    /// A project's own.
    Project,
    /// The user's, for who has none.
    User,
}

impl Home {
    fn lock(self) -> &'static str {
        match self {
            Self::Project => "project/tcforge.lock",
            Self::User => "state/tcforge/tcforge.lock",
        }
    }

    /// Makes a world one in which sums are kept there.
    fn prepare(self, world: &World) -> Vec<&'static str> {
        match self {
            Self::Project => Vec::new(),
            Self::User => {
                fs::remove_file(world.path("project/tcforge.lock")).unwrap();
                vec!["--project", "."]
            }
        }
    }
}

impl Home {
    /// A project's files are for all who may see it; the user's own are not.
    fn assert_is_private(self, world: &World) {
        let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
        match self {
            Self::Project => assert!(!world.path(Self::User.lock()).exists()),
            Self::User => assert_eq!((mode("state/tcforge"), mode(self.lock())), (0o700, 0o600)),
        }
    }
}

/// An entry of a lock.
fn entry(name: &str, url: &str, sum: Sha256, source: &str) -> String {
    format!("\n[[file]]\nname = \"{name}\"\nurl = \"{url}\"\nsha256 = \"{sum}\"\nsource = \"{source}\"\n")
}

/// The grade of a sum that was seen today.
fn grade(text: &str) -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    // Midnight may have been in between.
    let days = [today, today.yesterday().unwrap()];
    let grades = days.map(|day| format!("upstream's own list, first seen on {day}"));
    let found = grades.into_iter().find(|grade| text.contains(grade));
    found.unwrap_or_else(|| panic!("no grade in {text}"))
}

#[test]
fn a_sum_of_upstreams_own_is_kept_said_and_held_to() {
    let (ours, theirs) = (archive("ours"), archive("them"));
    let (sum, size) = (Sha256::of(&ours), ours.len());
    for home in [Home::Project, Home::User] {
        // As faasd's Makefile writes it.
        let upstream = Upstream::new(&ours, &format!("{sum}  bin/tool.tar.gz\n"));
        let (world, file) = (upstream.world(), upstream.file());
        let rest = home.prepare(&world);
        let with = |args: &[&'static str]| [args, &rest].concat();

        let lock = world.text_path(home.lock());
        let offline = format!(
            "error: the sum of `tool.tar.gz` is not known here yet, and this is offline: it is in `{}`\nhint: run \
             `tcforge fetch` on a machine with network, and copy its cache here, and the lock that it names\n",
            upstream.list()
        );
        run(&world, &with(&["build", "--offline"])).failed(&offline);
        assert_eq!(upstream.server.targets(), [""; 0]);
        assert!(!world.path("state").exists(), "nothing was kept");

        // It may be there, open to all.
        fs::create_dir_all(world.path("state/tcforge")).unwrap();
        chmod(&world.path("state/tcforge"), 0o755);
        let first = run(&world, &with(&["build", "--json"]));
        let lock_text = world.read(home.lock());
        home.assert_is_private(&world);
        let grade = grade(&lock_text);
        first.succeeded(&format!(
            "      note tool.tar.gz: its sha256 is {sum} ({grade}); kept in `{lock}`, and from now on held to\n   \
             Trusted tool.tar.gz: {grade}\n     Wrote 1 extension to `out`\n"
        ));
        let entry = format!(
            "\n[[file]]\nname = \"tool.tar.gz\"\nurl = \"{file}\"\nsize = {size}\nsha256 = \"{sum}\"\nsource = \"{grade}\"\n"
        );
        assert!(lock_text.ends_with(&entry), "{lock_text}");
        let said = json!([{"name": "tool.tar.gz", "url": file, "sha256": sum.to_string(), "source": grade}]);
        assert_eq!(first.json()[0]["upstream"], said);
        let sbom: Value = serde_json::from_str(&world.read("project/out/tool.tcz.spdx.json")).unwrap();
        assert_eq!(
            sbom["packages"][1]["sourceInfo"],
            format!("Who says that this is its sha256: {grade}")
        );

        // The pin is an input: another machine with it makes the same bytes.
        let made = world.made();
        assert_eq!(upstream.server.targets(), ["/list", "/tool.tar.gz"]);
        upstream.set("/list", Reply::Good(Sha256::of(&theirs).to_string().into()));
        upstream.set("/tool.tar.gz", Reply::Good(theirs.clone()));
        for args in [&["build"][..], &["build", "--offline"]] {
            fs::remove_dir_all(world.path("project/out")).unwrap();
            let again = run(&world, &with(args));
            again.succeeded(&format!(
                "   Trusted tool.tar.gz: {grade}\n     Wrote 1 extension to `out`\n"
            ));
            assert_eq!(world.made(), made);
        }
        let fetched = run(&world, &with(&["fetch", "--offline", "--json"]));
        assert_eq!(fetched.json()[0]["source"], grade);
        assert!(
            fetched
                .stderr
                .starts_with(&format!("   Trusted tool.tar.gz: {grade}\n"))
        );

        // Upstream says something else from now on: it is not asked.
        fs::remove_dir_all(world.path("cache")).unwrap();
        for args in [&["build"][..], &["fetch"]] {
            let error = format!(
                "error: `{file}` is not the file that was asked for: its sha256 is {}, not {sum}\nhint: upstream replaced \
                 the file, or somebody changed it on the way: find out which. To take the new one, remove its entry \
                 from the lock that has it, and run this again\n",
                Sha256::of(&theirs)
            );
            run(&world, &with(args)).failed(&error);
        }
        let asked = upstream.server.targets().into_iter().skip(2);
        assert!(asked.clone().count() > 0 && asked.clone().all(|path| path == "/tool.tar.gz"));
        assert_eq!(world.read(home.lock()), lock_text);
    }
}

#[test]
fn every_kind_of_list_will_do() {
    let ours = archive("ours");
    let (sum, other) = (Sha256::of(&ours).to_string(), Sha256::of(b"other"));
    let github = json!({"tag_name": "1.2", "assets": [
        {"name": "other", "digest": format!("sha256:{other}")},
        {"name": "tool.tar.gz", "digest": format!("sha256:{sum}")},
    ]});
    for list in [
        format!("{sum}\r\n"),
        format!("{other}  tool.tar.gz.asc\n{} *tool.tar.gz\n", sum.to_uppercase()),
        format!("SHA256 (tool.tar.gz) = {sum}\n"),
        github.to_string(),
    ] {
        let upstream = Upstream::new(&ours, &list);
        let world = upstream.world();
        // Of the release, and with its version in it.
        world.edit(
            "project/recipes/tool/recipe.toml",
            &format!("sum = {{ url = \"{}\" }}\n", upstream.list()),
            "",
        );
        upstream.set("/v1.2/sums", Reply::Good(list.clone().into()));
        world.edit(
            "project/recipes/tool/recipe.toml",
            "version = \"1.2\"\n",
            &format!(
                "version = \"1.2\"\nsum = {{ url = \"{}\" }}\n",
                upstream.server.url("/v{version}/sums?a=b")
            ),
        );
        // A mirror may say what it likes: it is not asked for a list.
        world.write("mirror/sums", other.to_string());
        let mirror = format!("file:{}", world.text_path("mirror"));
        let fetched = run(&world, &["fetch", "-q", "--mirror", &mirror]);
        fetched.succeeded("");
        assert!(world.read("project/tcforge.lock").contains(&sum), "{list}");
    }
}

#[test]
fn update_takes_upstreams_list_too() {
    let ours = archive("ours");
    let upstream = Upstream::new(&ours, &Sha256::of(&ours).to_string());
    let world = upstream.world();
    // GitHub has the sum, too, but a build does not ask it.
    let releases = json!([{
        "tag_name": "v1.2", "draft": false, "prerelease": false, "published_at": "2026-01-31T12:00:00Z",
        "assets": [{
            "name": "tool.tar.gz", "size": ours.len(), "browser_download_url": upstream.file(),
            "digest": format!("sha256:{}", Sha256::of(&ours)),
        }],
    }]);
    let path = "/repos/example/tool/releases";
    upstream.set(path, Reply::Good(releases.to_string().into()));
    let network = "project/recipes/network.toml";
    world.edit(network, "https://api.github.com", &upstream.server.url(""));
    world.edit(
        "project/recipes/tool/recipe.toml",
        "date = \"2026-01-31\"\n",
        "date = \"2026-01-31\"\nwatch = { github = \"example/tool\" }\n",
    );
    let updated = run(&world, &["update", "--json"]);
    let lock = world.read("project/tcforge.lock");
    let grade = grade(&lock);
    assert!(lock.contains(&format!("source = \"{grade}\"\n")), "{lock}");
    assert!(
        updated
            .stderr
            .ends_with(&format!("\n   Trusted tool.tar.gz: {grade}\n")),
        "{}",
        updated.stderr
    );
    assert_eq!(updated.json()[0]["upstream"][0]["source"], grade);
    let mut asked = upstream.server.targets();
    asked.retain(|target| !target.starts_with(path));
    assert_eq!(asked, ["/list", "/tool.tar.gz"]);
}

#[test]
fn an_image_takes_and_tells_it_too() {
    let ours = archive("ours");
    let upstream = Upstream::new(&ours, &Sha256::of(&ours).to_string());
    let world = upstream.world();
    world.write(
        "project/iso/box.toml",
        "title = \"Box\"\nextensions = [\"tool.tcz\"]\n",
    );
    // The base cannot be had, so no image comes of it.
    for (args, built) in [
        (&["iso", "box", "--base", "mini"][..], true),
        (&["iso", "box", "--base", "mini", "--offline"], false),
    ] {
        let run = run(&world, args);
        let grade = grade(&world.read("project/tcforge.lock"));
        assert!(
            run.stderr.contains(&format!("   Trusted tool.tar.gz: {grade}\n")),
            "{}",
            run.stderr
        );
        assert_eq!(
            run.stderr.contains("     Built 1 extension: tool.tcz\n"),
            built,
            "{}",
            run.stderr
        );
        assert_eq!(
            run.stderr.contains("and from now on held to"),
            built,
            "{}",
            run.stderr
        );
    }
    assert_eq!(upstream.server.targets(), ["/list", "/tool.tar.gz"]);

    // Another day is another grade in the bill of materials, which is made anew.
    let today = grade(&world.read("project/tcforge.lock"));
    world.edit(
        "project/tcforge.lock",
        &today,
        "upstream's own list, first seen on 2026-01-31",
    );
    let run = run(&world, &["iso", "box", "--base", "mini", "--offline"]);
    assert!(
        run.stderr.contains("     Built 1 extension: tool.tcz\n"),
        "{}",
        run.stderr
    );
    assert!(
        world
            .read("project/out/tool.tcz.spdx.json")
            .contains("first seen on 2026-01-31")
    );
}

#[test]
fn nothing_is_kept_where_list_and_file_do_not_fit() {
    let ours = archive("ours");
    let (sum, other) = (Sha256::of(&ours), Sha256::of(b"other"));
    type Told<'a> = Box<dyn Fn(&str, &str) -> String + 'a>;
    let why = |why: &'static str| -> Told<'static> {
        Box::new(move |list, _| {
            format!(
                "error: `{list}` tells no sum of `tool.tar.gz`: {why}\nhint: look at it in a browser, and correct `sum` in \
                 the recipe; `--file tool.tar.gz=PATH` takes a file of yours without a sum\n"
            )
        })
    };
    let cases: Vec<(Reply, Told)> = vec![
        (Reply::status(404), why("the server answers 404")),
        (
            Reply::Good("<html>Sign in</html>".into()),
            why("it is a page or another document, not a list of sums"),
        ),
        (Reply::Good(vec![0xff, 0xfe]), why("it is not text")),
        (
            Reply::Good(format!("{sum}  tool.zip\n").into()),
            why("it has no sha256 of that name"),
        ),
        (
            Reply::Good(format!("{sum}  tool.tar.gz\n{other}  tool.tar.gz\n").into()),
            why("it has different sums of that name"),
        ),
        (
            Reply::Good(other.to_string().into()),
            Box::new(|list, file| {
                format!(
                    "error: `{file}` is not the file that `{list}` tells of: its sha256 is {sum}, not {other}\nhint: upstream \
                     may be in the middle of a release, then try again later; or somebody changed one of the two: ask \
                     upstream. Nothing was recorded\n"
                )
            }),
        ),
        (
            Reply::Good(vec![b'a'; (4 << 20) + 1]),
            Box::new(|list, _| {
                format!(
                    "error: `{list}` is larger than 4194304 bytes\nhint: the limit is largest-file, largest-index or \
                     largest-list in recipes/network.toml, or a little more than twice the lock's size\n"
                )
            }),
        ),
        (
            Reply::redirect("http://127.0.0.1:9/list?token=hidden"),
            Box::new(|list, _| {
                format!(
                    "error: `{list}` is redirected to `http://127.0.0.1:9/list?…`, which is not encrypted\nhint: the server \
                     is broken, or somebody is in between: look for another URL\n"
                )
            }),
        ),
    ];
    for (reply, told) in cases {
        let upstream = Upstream::new(&ours, "");
        upstream.set("/list", reply);
        let world = upstream.world();
        let told = told(&upstream.list(), &upstream.file());
        run(&world, &["build"]).failed(&told);
        // It goes on with other recipes first, and tells of them.
        let fetched = run(&world, &["fetch"]);
        assert!(fetched.stderr.ends_with(&told), "{}", fetched.stderr);
        assert_eq!((fetched.code, fetched.stdout.as_str()), (Some(1), ""));
        assert_eq!(world.read("project/tcforge.lock"), "version = 1\n");
        assert!(!world.path("state").exists());
        world.assert_nothing_left();
    }
}

#[test]
fn two_builds_at_once_keep_one_sum() {
    let ours = archive("ours");
    let sum = Sha256::of(&ours);
    let upstream = Upstream::new(&ours, "");
    let gate = Arc::new(Gate::default());
    let list = Reply::Good(sum.to_string().into());
    upstream.set("/list", Reply::After(gate.clone(), Box::new(list)));
    let world = upstream.world();
    let rest = Home::User.prepare(&world);
    let running = ["one", "two"].map(|out| {
        let args = [&["build", "--out", out][..], &rest].concat();
        command(&world, &args).stderr(Stdio::piped()).spawn().unwrap()
    });
    while upstream.server.targets().len() < 2 {
        std::thread::yield_now();
    }
    gate.open();
    let mut kept = 0;
    for mut run in running {
        let lines = BufReader::new(run.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        kept += lines.filter(|line| line.contains(" kept in ")).count();
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(kept, 1);
    let lock = world.read(Home::User.lock());
    assert_eq!(lock.matches("[[file]]").count(), 1, "{lock}");
    let made = ["one", "two"].map(|out| crate::world::contents(&world.path(&format!("project/{out}"))));
    assert_eq!(made[0], made[1]);
    assert_eq!(world.names("state/tcforge"), ["tcforge.lock"]);
}

#[test]
fn a_sum_that_cannot_be_kept_is_not_used() {
    let ours = archive("ours");
    let upstream = Upstream::new(&ours, &Sha256::of(&ours).to_string());
    let world = upstream.world();
    let rest = Home::User.prepare(&world);
    let args = [&["build", "-q"][..], &rest].concat();
    let mut homeless = command(&world, &args);
    homeless.env_remove("XDG_STATE_HOME").env("HOME", "");
    Run::of(&mut homeless).failed(
        "error: no place to keep what was seen first: neither XDG_STATE_HOME nor HOME is set\nhint: set XDG_STATE_HOME to \
         a folder that you may write to, or use a project: `tcforge init DIR`\n",
    );
    fs::create_dir_all(world.path("state/tcforge")).unwrap();
    chmod(&world.path("state/tcforge"), 0o555);
    let mut program = world.through(without_powers(), &args);
    program.env("SSL_CERT_FILE", AUTHORITY);
    let run = Run::of(&mut program);
    chmod(&world.path("state/tcforge"), 0o755);
    assert!(
        run.stderr.starts_with(&format!(
            "error: cannot write `{}`\n",
            world.text_path(Home::User.lock())
        )),
        "{}",
        run.stderr
    );
    assert_eq!(run.code, Some(1));
    assert_eq!(world.names("state/tcforge"), [""; 0]);
    world.assert_nothing_left();

    world.write(Home::User.lock(), "version = 1\n[[file]]\n");
    let run = self::run(&world, &args);
    assert!(
        run.stderr.contains("tcforge.lock:2: the key `name` is missing"),
        "{}",
        run.stderr
    );
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_lock_that_cannot_be_used_fails_only_what_needs_it() {
    let (ours, plain) = (archive("ours"), archive("plain"));
    let user = Home::User.lock();
    let no_lock = |world: &World, text: &str, mode: u32| {
        world.write(user, text);
        chmod(&world.path(user), mode);
    };
    type Damage<'a> = Box<dyn Fn(&World) + 'a>;
    let cases: Vec<(Damage, &str)> = vec![
        (
            Box::new(|world| no_lock(world, "version = 1\n[[file]]\n", 0o600)),
            "the key `name` is missing",
        ),
        (
            Box::new(|world| no_lock(world, "version = 1\n", 0o622)),
            "it belongs to another user, or others may write to it",
        ),
        (
            Box::new(|world| fs::create_dir_all(world.path(user)).unwrap()),
            "it is not a plain file",
        ),
        (
            Box::new(|world| chmod(&world.path("project"), 0o555)),
            "Permission denied",
        ),
    ];
    for (damage, why) in cases {
        let upstream = Upstream::new(&ours, &Sha256::of(&ours).to_string());
        let world = upstream.world();
        let recipe = world.read("project/recipes/tool/recipe.toml");
        world.write(
            "project/recipes/other/recipe.toml",
            recipe.replace("name = \"tool\"", "name = \"other\""),
        );
        world.recipe(
            "plain",
            "[[release.test.asset]]\nurl = \"https://upstream.invalid/plain.tar.gz\"\nplace = [{ from = \"*\", to = \
             \"usr/local/bin/\" }]\n",
        );
        world.lock("plain.tar.gz", &Sha256::of(&plain).to_string(), plain.len());
        world.write(&format!("cache{}", by_sum(&plain)), &plain);
        damage(&world);
        let mut program = world.through(without_powers(), &["build", "--json", "--out", "../out"]);
        program.env("SSL_CERT_FILE", AUTHORITY);
        let run = Run::of(&mut program);
        chmod(&world.path("project"), 0o755);
        assert_eq!(run.code, Some(1), "{run:?}");
        let rows = run.json();
        let reason = |extension: &str| {
            let row = rows.as_array().unwrap().iter();
            let mut row = row.filter(|row| row["extension"] == extension);
            row.next().unwrap()["reasons"][0]["why"].clone()
        };
        assert_eq!(reason("plain.tcz"), Value::Null, "{why}");
        assert!(reason("other.tcz").as_str().unwrap().contains(why), "{run:?}");
        assert_eq!(
            reason("tool.tcz"),
            "the lock for its sums cannot be used, as for `other`",
            "{why}"
        );
        assert!(world.path("out/plain.tcz").exists(), "{why}");
        assert_eq!(
            world.names("out").len(),
            world
                .names("out")
                .iter()
                .filter(|name| name.starts_with("plain"))
                .count()
        );
    }
}

#[test]
fn what_is_found_of_a_recipe_stays_if_more_of_it_fails() {
    let ours = archive("ours");
    let upstream = Upstream::new(&ours, &format!("{}  tool.tar.gz\n", Sha256::of(&ours)));
    let world = upstream.world();
    let name = "project/recipes/tool/recipe.toml";
    let recipe = world.read(name);
    let (head, asset) = recipe.split_at(recipe.find("[[release.test.asset]]").unwrap());
    let absent = asset.replace("/tool.tar.gz", "/absent.tar.gz");
    world.write(name, format!("{head}{asset}\n{absent}"));
    let run = run(&world, &["build", "-q"]);
    assert!(
        run.stderr
            .contains("tells no sum of `absent.tar.gz`: it has no sha256 of that name"),
        "{}",
        run.stderr
    );
    let lock = world.read("project/tcforge.lock");
    assert!(lock.contains("name = \"tool.tar.gz\"\n"), "{lock}");
}

#[test]
fn a_project_is_held_to_what_its_user_saw_before() {
    let (ours, theirs) = (archive("ours"), archive("them"));
    let source = "upstream's own list, first seen on 2026-01-31";
    for command in ["build", "fetch", "update"] {
        let upstream = Upstream::new(&theirs, &Sha256::of(&theirs).to_string());
        let world = upstream.world();
        let seen = entry("tool.tar.gz", &upstream.file(), Sha256::of(&ours), source);
        world.write(Home::User.lock(), format!("version = 1\n{seen}"));
        chmod(&world.path(Home::User.lock()), 0o600);
        // Upstream has another file by now, and a list that fits.
        let failed = run(&world, &[command, "-q"]);
        assert!(
            failed.stderr.contains(&format!(
                "its sha256 is {}, not {}",
                Sha256::of(&theirs),
                Sha256::of(&ours)
            )),
            "{command}: {}",
            failed.stderr
        );
        assert_eq!(failed.code, Some(1));
        world.write(&format!("cache{}", by_sum(&ours)), &ours);
        run(&world, &[command, "-q"]).succeeded("");
        let lock = world.read("project/tcforge.lock");
        let kept = lock.replace(&format!("size = {}\n", ours.len()), "");
        assert!(kept.ends_with(&seen), "{command}: {lock}");
        assert!(
            upstream
                .server
                .targets()
                .iter()
                .all(|path| path == "/tool.tar.gz")
        );
    }
}

#[test]
fn locks_that_disagree_fail_the_extension() {
    let world = World::new();
    fs::remove_file(world.path("project/tcforge.lock")).unwrap();
    let url = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64";
    let built_in = tcforge::recipe::Lock::load(&tcforge::project::Project::built_in()).unwrap();
    let locked = built_in.find(&url.parse().unwrap()).unwrap().sha256;
    let seen = Sha256::of(b"else");
    world.write(
        Home::User.lock(),
        format!("version = 1\n{}", entry("runc.amd64", url, seen, "x")),
    );
    chmod(&world.path(Home::User.lock()), 0o600);
    let told = format!(
        "error: the locks disagree on `runc.amd64`: its sha256 is {locked} in the built-in one, {seen} in `{}`\nhint: \
         upstream replaced the file, or somebody changed it on the way: find out which. To go by the built-in lock, \
         remove the entry from the other, and run this again\n",
        world.text_path(Home::User.lock())
    );
    // That would do, if it counted.
    world.write(&format!("cache{}", by_sum(b"else")), b"else");
    let args = ["build", "runc", "--offline", "--channel", "current"];
    world.run(&args).failed(&told);
    world.edit(Home::User.lock(), &seen.to_string(), &locked.to_string());
    world.run(&args).failed(&format!(
        "error: not in the cache, and this is offline: runc.amd64 ({url})\nhint: run `tcforge fetch` on a machine with \
         network, and copy its cache here\n"
    ));
}
