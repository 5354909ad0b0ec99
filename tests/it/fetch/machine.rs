//! Machines that are set up in other ways than this one: what apt is told
//! by its environment, or that it is not there.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tcforge::digest::Sha256;
use tcforge::fetch::Wanted;

use super::process::{Running, command};
use super::server::{Reply, Request, Server, TAG};
use super::{body, wanted};
use crate::world::{Run, World};

/// Runs an errand in a changed environment; its last word.
pub(super) fn said(folder: &Path, wanted: &Wanted, environment: &[(&str, &str)]) -> String {
    let mut command = command("", folder, wanted);
    command.envs(environment.iter().copied());
    Running::start(command).result()
}

fn attr() -> Wanted {
    Wanted {
        sha256: super::registries::ATTR_SUM.parse().unwrap(),
        size: None,
        ..wanted(super::registries::ATTR, b"")
    }
}

/// An apt configuration over the machine's own.
fn apt_config(folder: &Path, settings: &str) -> String {
    let path = folder.join("apt.conf");
    fs::write(&path, settings).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_machine_that_has_no_lists_is_asked_what_its_sources_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    // Another vendor's source comes first, and is broken.
    let vendor = Server::new(|_, _| Reply::status(404));
    let source = format!("deb {} bullseye main\n", vendor.url("/debian"));
    fs::write(folder.path().join("vendor.list"), source).unwrap();
    fs::create_dir_all(folder.path().join("lists/partial")).unwrap();
    let settings =
        format!("Dir::State::lists \"{at}/lists/\";\nDir::Etc::sourcelist \"{at}/vendor.list\";\n");
    let config = apt_config(folder.path(), &settings);
    let said = said(folder.path(), &attr(), &[("APT_CONFIG", &config)]);
    assert_eq!(said, format!("done {}", attr().sha256));
    // It was looked at, but nothing was wanted from it.
    assert!(
        vendor
            .targets()
            .iter()
            .all(|target| target.contains("/dists/bullseye/"))
    );
    assert!(!vendor.targets().is_empty());
    let lists = fs::read_dir(folder.path().join("lists")).unwrap().count();
    assert_eq!(lists, 1, "the machine's lists were touched");
}

#[test]
fn a_machine_without_debian_or_apt_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = apt_config(
        folder.path(),
        "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"/dev/null\";\n",
    );
    for (environment, error) in [
        (
            ("APT_CONFIG", config.as_str()),
            "error NoDebianSource { label: \"Debian\", ",
        ),
        (("PATH", "/nowhere"), "error Program { program: \"apt-cache\", "),
    ] {
        let said = said(folder.path(), &attr(), &[environment]);
        assert!(said.starts_with(error), "{said}");
    }
}

/// A Debian mirror with one package, whose version can be changed; its suite is
/// not signed.
struct FakeMirror {
    server: Server,
    version: Arc<Mutex<&'static str>>,
    folder: tempfile::TempDir,
    config: String,
}

impl FakeMirror {
    /// The mirror, and a machine that knows only it, by an entry with these options.
    /// `pool`: what it gives for the package each time, and after the last.
    fn new(options: &str, pool: Vec<Reply>) -> Self {
        let version = Arc::new(Mutex::new("1.0"));
        let now = version.clone();
        let asked = Mutex::new(0);
        let server = Server::new(move |_, request| {
            let version = *now.lock().unwrap();
            let packages = packages(version);
            let target = request.target.as_str();
            // A proxy gets the whole URL.
            let path = target.strip_prefix("http://mirror.invalid").unwrap_or(target);
            match path.strip_prefix("/debian/dists/bullseye/") {
                Some("Release") => Reply::Whole(release(&packages).into()),
                Some("main/binary-amd64/Packages") => Reply::Whole(packages.into()),
                Some(_) => Reply::status(404),
                None if target.contains(version) => {
                    let mut asked = asked.lock().unwrap();
                    *asked += 1;
                    pool[pool.len().min(*asked) - 1].clone()
                }
                None => Reply::status(404),
            }
        });
        let mirror = Self::machine(server, version);
        let source = format!("deb {options} {} bullseye main\n", mirror.server.url("/debian"));
        mirror.write("sources.list", &source);
        mirror
    }

    /// A machine without a source.
    fn machine(server: Server, version: Arc<Mutex<&'static str>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        fs::create_dir_all(folder.path().join("lists/partial")).unwrap();
        let settings = format!(
            "Dir::State::lists \"{at}/lists/\";\nDir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n"
        );
        let config = apt_config(folder.path(), &settings);
        Self {
            server,
            version,
            folder,
            config,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Adds to apt's settings.
    fn set(&self, setting: &str) {
        let settings = fs::read_to_string(&self.config).unwrap();
        self.write("apt.conf", &format!("{settings}{setting}\n"));
    }

    /// What the package was asked for with: the first byte, `If-Range`.
    fn pool(&self) -> Vec<(usize, String)> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(|request| request.target.contains("/pool/"))
            .map(|request| (request.from(), request.header("if-range").to_owned()))
            .collect()
    }

    fn fetch(&self, version: &str) -> String {
        let wanted = wanted(&format!("debian:bullseye/tool={version}"), &body());
        said(self.folder.path(), &wanted, &[("APT_CONFIG", &self.config)])
    }
}

fn packages(version: &str) -> String {
    format!(
        "Package: tool\nVersion: {version}\nArchitecture: amd64\nMaintainer: me\nDescription: it\n\
         Filename: pool/tool_{version}_amd64.deb\nSize: 100000\nSHA256: {}\n",
        Sha256::of(&body())
    )
}

fn release(packages: &str) -> String {
    format!(
        "Origin: Debian\nLabel: Debian\nSuite: oldstable\nCodename: bullseye\n\
         Date: Wed, 21 Oct 2015 07:28:00 UTC\nArchitectures: amd64\nComponents: main\n\
         SHA256:\n {} {} main/binary-amd64/Packages\n",
        Sha256::of(packages.as_bytes()),
        packages.len()
    )
}

#[test]
fn lists_that_are_older_than_the_mirror_are_read_again() {
    let mirror = FakeMirror::new("[trusted=yes]", vec![Reply::Good(body())]);
    let done = format!("done {}", Sha256::of(&body()));
    assert_eq!(mirror.fetch("1.0"), done);
    let asked = mirror.server.targets().len();
    assert_eq!(mirror.fetch("1.0"), done);
    assert_eq!(mirror.server.targets().len(), asked);

    // A new version takes the place of the old one.
    let cache = mirror.folder.path().join("cache");
    let entry = tcforge::fetch::Cache::at(cache).path_of(&Sha256::of(&body()));
    fs::remove_file(entry).unwrap();
    *mirror.version.lock().unwrap() = "1.1";
    assert_eq!(
        mirror.fetch("1.0"),
        "error NoVersion { origin: \"debian:bullseye/tool=1.0\", there: [\"1.1\"] }"
    );
    assert_eq!(mirror.server.targets()[asked], "/debian/pool/tool_1.0_amd64.deb");
    assert_eq!(mirror.fetch("1.1"), done);
}

#[test]
fn a_package_that_the_index_does_not_vouch_for_is_refused() {
    let mirror = FakeMirror::new("[trusted=yes]", vec![Reply::Good(vec![7; 100_000])]);
    let said = mirror.fetch("1.0");
    assert!(said.starts_with("error WrongSum {"), "{said}");
    assert_eq!(mirror.pool().len(), 1, "a wrong sum does not pass");
    let left = super::left(mirror.folder.path());
    assert_eq!((left.entries, left.parts), (vec![], vec![]));
}

#[test]
fn a_package_is_fetched_as_any_file_is() {
    let body = body();
    let half = body.len() / 2;
    let whole = (0, String::new());
    let rest = (half, TAG.to_owned());
    let damaged: Vec<u8> = body.iter().map(|byte| !byte).collect();
    let done = format!("done {}", Sha256::of(&body));
    for (name, pool, asked, result) in [
        (
            "a cut",
            vec![Reply::cut(&body), Reply::Good(body.clone())],
            vec![whole.clone(), rest.clone()],
            &done[..],
        ),
        (
            "trouble that passes",
            vec![Reply::status(503), Reply::Reset, Reply::Good(body.clone())],
            vec![whole.clone(); 3],
            &done,
        ),
        (
            "half of another file",
            vec![Reply::cut(&damaged), Reply::Good(body.clone())],
            vec![whole.clone(), rest.clone(), whole.clone()],
            &done,
        ),
        (
            "trouble that stays",
            vec![Reply::status(503)],
            vec![whole.clone(); 3],
            "error Status { ",
        ),
        // The lists are new, so that it is not looked for in newer ones.
        (
            "a file that is gone",
            vec![Reply::status(404)],
            vec![whole.clone()],
            "error Status { ",
        ),
    ] {
        let mirror = FakeMirror::new("[trusted=yes]", pool);
        let said = mirror.fetch("1.0");
        assert!(said.starts_with(result), "{name}: {said}");
        assert_eq!(mirror.pool(), asked, "{name}");
    }
}

#[test]
fn a_package_is_gone_on_with_by_a_later_run() {
    let body = body();
    let cut = Reply::cut(&body);
    let pool = vec![cut, Reply::status(403), Reply::Good(body.clone())];
    let mirror = FakeMirror::new("[trusted=yes]", pool);
    let refused = mirror.fetch("1.0");
    assert!(refused.starts_with("error Status { "), "{refused}");
    assert_eq!(mirror.fetch("1.0"), format!("done {}", Sha256::of(&body)));
    let asked: Vec<usize> = mirror.pool().iter().map(|(from, _)| *from).collect();
    assert_eq!(asked, [0, body.len() / 2, body.len() / 2]);
}

#[test]
fn a_package_comes_by_the_proxy_that_apt_is_set_up_with() {
    let mirror = FakeMirror::new("", vec![Reply::cut(&body()), Reply::Good(body())]);
    mirror.write(
        "sources.list",
        "deb [trusted=yes] http://mirror.invalid/debian bullseye main\n",
    );
    mirror.set(&format!("Acquire::http::Proxy \"{}\";", mirror.server.url("")));
    assert_eq!(mirror.fetch("1.0"), format!("done {}", Sha256::of(&body())));
    assert_eq!(mirror.pool().len(), 2);
    assert!(
        mirror
            .server
            .targets()
            .contains(&"http://mirror.invalid/debian/pool/tool_1.0_amd64.deb".to_owned())
    );
}

#[test]
fn a_package_that_only_apt_can_get_is_got_by_apt() {
    let mirror = FakeMirror::new("[trusted=yes]", vec![Reply::cut(&body()), Reply::Good(body())]);
    mirror.write("logins", "machine elsewhere.invalid login a password b\n");
    let at = mirror.folder.path().display();
    mirror.set(&format!("Dir::Etc::netrc \"{at}/logins\";"));
    assert_eq!(mirror.fetch("1.0"), format!("done {}", Sha256::of(&body())));
    let apt = |agent: &str| agent.starts_with("Debian APT");
    let requests = mirror.server.requests();
    assert!(requests.iter().all(|request| apt(request.header("user-agent"))));
    assert_eq!(mirror.pool().len(), 2, "apt did not try again");
}

/// A mirror that wants a login, which stands in the source's URI.
#[test]
fn a_login_in_a_source_is_sent_and_stands_in_no_file() {
    let version = Arc::new(Mutex::new("1.0"));
    // `me:s3cr3t`, as apt and we send it.
    let is_let_in = |request: &Request| request.header("authorization") == "Basic bWU6czNjcjN0";
    let server = Server::new(move |_, request| match request.target.as_str() {
        _ if !is_let_in(request) => {
            Reply::Status(401, vec!["WWW-Authenticate: Basic realm=\"x\"".to_owned()])
        }
        "/debian/dists/bullseye/Release" => Reply::Whole(release(&packages("1.0")).into()),
        "/debian/dists/bullseye/main/binary-amd64/Packages" => Reply::Whole(packages("1.0").into()),
        "/debian/pool/tool_1.0_amd64.deb" => Reply::Good(body()),
        _ => Reply::status(404),
    });
    let mirror = FakeMirror::machine(server, version);
    let uri = |login: &str| {
        mirror
            .server
            .url("/debian")
            .replace("://", &format!("://{login}@"))
    };
    let source = |login: &str| format!("deb [trusted=yes] {} bullseye main\n", uri(login));
    let cache = mirror.folder.path().join("cache");
    let assert_hidden = |said: &str| {
        let leaks = |text: &str| {
            ["s3cr3t", "czNjcjN0", "wr0ng"]
                .iter()
                .any(|part| text.contains(part))
        };
        assert!(!leaks(said), "{said}");
        for (path, bytes) in super::secrets::files(&cache) {
            assert!(!leaks(&String::from_utf8_lossy(&bytes)), "{}", path.display());
        }
    };

    mirror.write("sources.list", &source("me:wr0ng"));
    let refused = mirror.fetch("1.0");
    assert!(refused.starts_with("error Apt {"), "{refused}");
    assert_hidden(&refused);

    fs::remove_dir_all(&cache).unwrap();
    mirror.write("sources.list", &source("me:s3cr3t"));
    let done = format!("done {}", Sha256::of(&body()));
    assert_eq!(mirror.fetch("1.0"), done);
    assert_hidden("");

    // The lists are there, and the package comes by apt: it has a login of its own, too.
    let entry = tcforge::fetch::Cache::at(&cache).path_of(&Sha256::of(&body()));
    fs::remove_file(entry).unwrap();
    mirror.write("logins", "machine elsewhere.invalid login a password b\n");
    mirror.set(&format!(
        "Dir::Etc::netrc \"{}/logins\";",
        mirror.folder.path().display()
    ));
    assert_eq!(mirror.fetch("1.0"), done);
    let last = mirror.server.requests().pop().unwrap();
    assert!(last.header("user-agent").starts_with("Debian APT"), "{last:?}");
    assert_hidden("");
}

/// Debian takes old suites off the mirrors. Who has another entry for the suite, say of
/// Debian's archive, means that one.
#[test]
fn an_entry_of_the_suite_itself_goes_before_others() {
    let archive = FakeMirror::new("[trusted=yes]", vec![Reply::Good(body())]);
    let new = Server::new(|_, request| match request.target.as_str() {
        "/debian/dists/bookworm/Release" => {
            Reply::Whole(release(&packages("1.0")).replace("bullseye", "bookworm").into())
        }
        "/debian/dists/bookworm/main/binary-amd64/Packages" => Reply::Whole(packages("1.0").into()),
        _ => Reply::status(404),
    });
    let newer = format!("deb [trusted=yes] {} bookworm main\n", new.url("/debian"));
    let own = fs::read_to_string(archive.folder.path().join("sources.list")).unwrap();

    archive.write("sources.list", &newer);
    let said = archive.fetch("1.0");
    assert!(
        said.starts_with("error Apt { action: \"read the index of bullseye\""),
        "{said}"
    );
    archive.write("sources.list", &format!("{newer}{own}"));
    // What is known of the sources is from before.
    fs::remove_dir_all(archive.folder.path().join("cache/apt")).unwrap();
    assert_eq!(archive.fetch("1.0"), format!("done {}", Sha256::of(&body())));
    let suites = |target: &String| target.contains("/dists/bookworm/") || target.contains("/dists/bullseye/");
    assert!(new.targets().iter().all(suites), "{:?}", new.targets());
}

/// A project whose bases and kernel are all made of one package.
fn world_with_bases(mirror: &FakeMirror, version: &str) -> World {
    let world = World::new();
    let pin = format!("\"debian:bullseye/tool={version}\"");
    world.write(
        "project/iso/bases.toml",
        format!("[kernel]\npackage = {pin} # the kernel\n"),
    );
    world.write(
        "project/iso/mini/mini.toml",
        format!("[[package]]\norigin = {pin}\n"),
    );
    world.write("project/kernel/build/sources.toml", "");
    let deb = format!(
        "\n[[file]]\nname = \"tool\"\nurl = {pin}\nsize = 100000\nsha256 = \"{}\"\nsource = \"me\" # 1\n",
        Sha256::of(&body())
    );
    let lock = format!("# mine\nversion = 1\n{deb}");
    world.write("project/tcforge.lock", lock);
    assert_eq!(mirror.fetch("1.0"), format!("done {}", Sha256::of(&body())));
    world
}

#[test]
fn what_bases_are_made_of_moves_on_with_the_mirror() {
    let mirror = FakeMirror::new("[trusted=yes]", vec![Reply::Good(body())]);
    let world = world_with_bases(&mirror, "1.0");
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        Run::of(
            command
                .env("APT_CONFIG", &mirror.config)
                .env_remove("TCFORGE_MIRROR"),
        )
    };
    let files = || {
        [
            "iso/bases.toml",
            "iso/mini/mini.toml",
            "kernel/build/sources.toml",
            "tcforge.lock",
        ]
        .map(|name| world.read(&format!("project/{name}")))
    };
    let before = files();
    run(&["update", "--bases", "-q"]).succeeded("");
    assert_eq!(files(), before);

    *mirror.version.lock().unwrap() = "1.1";
    let note = "      note apt: reading the index of bullseye (amd64)\n";
    let change = format!(
        "tool (bullseye): 1.0 → 1.1\n  tool: debian:bullseye/tool=1.0 {sum} (100000 bytes) → \
         debian:bullseye/tool=1.1 {sum} (100000 bytes)\n",
        sum = Sha256::of(&body())
    );
    run(&["update", "--bases", "--dry-run"]).succeeded(&format!("{note}Would update {change}"));
    assert_eq!(files(), before);
    let made = run(&["update", "--bases", "--json"]);
    made.succeeded(&format!("{note}   Updated {change}"));
    let mut rows = made.json();
    let upstream = rows[0]["upstream"].take();
    assert_eq!(upstream[0]["url"], "debian:bullseye/tool=1.1");
    assert_eq!(
        rows,
        serde_json::json!([{
            "recipe": "tool",
            "channel": "bullseye",
            "old_version": "1.0",
            "new_version": "1.1",
            "changed": true,
            "files": ["tool"],
            "upstream": null,
        }])
    );
    let after = files();
    for (old, new) in before.iter().zip(&after).take(3) {
        assert_eq!(*new, old.replace("tool=1.0", "tool=1.1"));
    }
    assert!(after[3].starts_with("# mine\nversion = 1\n"), "{}", after[3]);
    assert!(
        after[3].contains("tool=1.1") && !after[3].contains("tool=1.0"),
        "{}",
        after[3]
    );
    assert!(
        after[3].contains("source = \"Debian's signed package index, "),
        "{}",
        after[3]
    );

    run(&["update", "--bases", "tool"])
        .code
        .map(|code| assert_eq!(code, 2))
        .unwrap();
    std::fs::remove_file(world.path("project/tcforge.lock")).unwrap();
    run(&["update", "--bases"]).failed(
        "error: there is no project here to write `iso/bases.toml` to\nhint: make one with `tcforge init DIR`, then run \
         this again inside DIR\n",
    );
}

#[test]
fn a_suite_without_a_signature_is_refused() {
    let mirror = FakeMirror::new("", vec![Reply::Good(body())]);
    let said = mirror.fetch("1.0");
    assert!(said.starts_with("error Apt {"), "{said}");
    assert!(said.contains("is not signed"), "{said}");
    assert!(
        !mirror
            .server
            .targets()
            .iter()
            .any(|target| target.contains("/pool/"))
    );
}
