//! Logins and tokens in URLs are for servers alone: no output and no file has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tcforge::digest::Sha256;

use super::server::{AUTHORITY, Reply, Request, Server};
use crate::world::{Run, World, tar_gz};

/// What every secret of these tests begins with.
const SECRET: &str = "s3cr3t";

/// The bytes of a text in base64, as a login is sent.
const LOGIN: &str = "Basic bWU6czNjcjN0LXBhc3N3b3Jk";

/// Files that a person wrote, secrets and all.
const OWN: [&str; 2] = ["recipe.toml", "network.toml"];

/// All files below a folder.
pub(super) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(all.insert(path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    all
}

/// Nothing that was said or written has a secret in it, neither plain nor as it is sent.
#[track_caller]
fn assert_secret(runs: &[Run], folder: &Path) {
    let has_secret = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        text.contains(SECRET) || text.contains(&LOGIN[6..].to_lowercase())
    };
    for run in runs {
        assert!(
            !has_secret(run.stdout.as_bytes()) && !has_secret(run.stderr.as_bytes()),
            "{run:?}"
        );
    }
    for (path, bytes) in files(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            !has_secret(path.to_str().unwrap().as_bytes()),
            "{}",
            path.display()
        );
        assert!(OWN.contains(&name) || !has_secret(&bytes), "{}", path.display());
    }
}

/// The program, which trusts the test's server and asks it alone.
fn run(world: &World, args: &[&str], mirror: Option<&str>) -> Run {
    let mut command = world.command(args);
    for name in [
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "TCFORGE_MIRROR",
    ] {
        command.env_remove(name);
    }
    command.envs(mirror.map(|url| ("TCFORGE_MIRROR", url)));
    Run::of(command.env("SSL_CERT_FILE", AUTHORITY))
}

fn is_let_in(request: &Request) -> bool {
    request.header("authorization") == LOGIN && request.target.ends_with("?token=s3cr3t-token&x=1")
}

/// The URL of a path with a login and a token.
fn secret_url(server: &Server, path: &str) -> String {
    let url = server.url(path).replace("://", "://me:s3cr3t-password@");
    format!("{url}?token=s3cr3t-token&x=1")
}

fn archive() -> Vec<u8> {
    tar_gz(&[("tool", 0o755, b"#!/bin/sh\n")])
}

/// A server that lets in who has login and token, and then gives the replies by path.
fn server(replies: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
    Server::tls(move |_, request| match is_let_in(request) {
        true => replies(request.target.split('?').next().unwrap_or_default()),
        false => Reply::status(401),
    })
}

/// A world with the recipe `tool`, whose file and list are behind secrets.
fn world(server: &Server) -> World {
    let world = World::new();
    let (file, list) = (secret_url(server, "/tool.tar.gz"), secret_url(server, "/list"));
    world.recipe(
        "tool",
        &format!(
            "[[release.test.asset]]\nurl = \"{file}\"\nsum = {{ url = \"{list}\" }}\n\
             place = [{{ from = \"*\", to = \"usr/local/bin/\" }}]\n"
        ),
    );
    world.settings(
        "recipes/network.toml",
        &[
            ("attempts = 5", "attempts = 2"),
            ("first-wait = 1", "first-wait = 0.001"),
        ],
    );
    world
}

#[test]
fn a_build_from_behind_a_login_tells_nobody_of_it() {
    let served = server(|path| match path {
        "/list" => Reply::Good(Sha256::of(&archive()).to_string().into()),
        "/tool.tar.gz" => Reply::Good(archive()),
        _ => Reply::status(404),
    });
    let world = world(&served);
    let runs = [
        &["build", "--offline"][..],
        &["update", "--dry-run", "-v"],
        &["build", "-v", "--json"],
        &["fetch", "-v", "--json"],
        &["update", "-v", "--json"],
        &["iso", "minimal", "--offline"],
    ]
    .map(|args| run(&world, args, None));
    assert_eq!(runs[2].code, Some(0), "{:?}", runs[2]);
    assert_eq!(runs[3].json()[0]["url"], served.url("/tool.tar.gz"));
    assert_eq!(
        runs[2].json()[0]["upstream"][0]["url"],
        served.url("/tool.tar.gz")
    );
    let lock = world.read("project/tcforge.lock");
    assert!(
        lock.contains(&format!("url = \"{}\"\n", served.url("/tool.tar.gz"))),
        "{lock}"
    );
    let sbom = world.read("project/out/tool.tcz.spdx.json");
    let location = format!("\"downloadLocation\": \"{}\"", served.url("/tool.tar.gz"));
    assert!(sbom.contains(&location), "{sbom}");
    assert_secret(&runs, &world.path(""));

    // A token of another day leads to the same file.
    world.edit(
        "project/recipes/tool/recipe.toml",
        "token=s3cr3t-token",
        "token=s3cr3t-other",
    );
    run(&world, &["build", "-q"], None).succeeded("");
    // By a mirror with secrets of its own, when the cache is empty.
    fs::remove_dir_all(world.path("cache")).unwrap();
    let mirror = secret_url(&served, "");
    run(&world, &["build", "-q"], Some(&mirror)).succeeded("");
    assert_secret(&[], &world.path(""));
}

#[test]
fn an_error_tells_nobody_of_a_login() {
    let sum = Sha256::of(&archive());
    let locked = |world: &World, url: &str| {
        world.write(
            "project/tcforge.lock",
            format!("version = 1\n[[file]]\nname = \"tool\"\nurl = \"{url}\"\nsha256 = \"{sum}\"\nsource = \"me\"\n"),
        );
    };
    for reply in [
        Reply::status(404),
        Reply::status(401),
        Reply::status(503),
        Reply::cut(&archive()),
        Reply::Reset,
        Reply::Good(b"another file".to_vec()),
        Reply::redirect("http://me:s3cr3t@127.0.0.1:9/x?token=s3cr3t"),
        Reply::redirect("https://me:s3cr3t@127.0.0.1:9/x?token=s3cr3t"),
        Reply::Status(429, vec!["Retry-After: 9999".to_owned()]),
    ] {
        let told = reply.clone();
        let served = server(move |_| told.clone());
        let world = world(&served);
        let mirror = secret_url(&served, "");
        let mut runs = Vec::from(["build", "update"].map(|command| run(&world, &[command, "-v"], None)));
        locked(&world, &served.url("/tool.tar.gz"));
        runs.extend(["build", "fetch"].map(|command| run(&world, &[command, "-v"], Some(&mirror))));
        assert!(runs.iter().all(|run| run.code == Some(1)), "{runs:?}");
        assert!(
            runs.iter().all(|run| run.stderr.contains(&served.url(""))),
            "{runs:?}"
        );
        assert_secret(&runs, &world.path(""));
    }
}

#[test]
fn a_login_and_a_token_do_not_go_on_to_another_server() {
    let elsewhere = Server::tls(|_, _| Reply::Good(archive()));
    let away = elsewhere.url("/file");
    let served = server(move |path| match path {
        "/list" => Reply::Good(Sha256::of(&archive()).to_string().into()),
        _ => Reply::redirect(&away),
    });
    let world = world(&served);
    run(&world, &["fetch", "-q"], None).succeeded("");
    let asked = elsewhere.requests();
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(asked.target, "/file");
    let sent = ["authorization", "referer", "cookie"].map(|name| asked.header(name));
    assert_eq!(sent, [""; 3]);
}

/// A proxy that wants a login, from the environment or from npm's settings.
#[test]
fn an_error_tells_nobody_of_a_proxys_login() {
    let refusing = Server::new(|_, _| Reply::status(407));
    let served = server(|_| Reply::status(404));
    let proxy = refusing.url("").replace("://", "://me:s3cr3t-password@");
    for (name, value) in [
        ("https_proxy", proxy.as_str()),
        ("https_proxy", "http://me:s3cr3t@127.0.0.1:9"),
        ("https_proxy", "socks5://me:s3cr3t@127.0.0.1:9"),
        ("https_proxy", "me:s3cr3t@127.0.0.1:9"),
        ("npm_config_https_proxy", &proxy),
        ("npm_config_https_proxy", "http://me:s3cr3t@127.0.0.1:9"),
        ("npm_config_https_proxy", "http://me:s3cr3t@:9"),
        ("npm_config_https_proxy", "me:s3cr3t@:x"),
        ("npm_config_registry", "ftp://me:s3cr3t@127.0.0.1:9"),
        ("npm_config_registry", "https://me:s3cr3t@127.0.0.1:9/?s3cr3t"),
    ] {
        let world = world(&served);
        let is_npms = name.starts_with("npm");
        if is_npms {
            world.recipe(
                "tool",
                "[[release.test.asset]]\nnpm = \"tool\"\nplace = [{ from = \"*\", to = \"usr/\" }]\n",
            );
        }
        let mut command = world.command(&["update", "-v"]);
        for name in [
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
            "no_proxy",
            "NO_PROXY",
            "https_proxy",
            "TCFORGE_MIRROR",
        ] {
            command.env_remove(name);
        }
        if is_npms {
            command.env("npm_config_registry", served.url("/"));
        }
        let run = Run::of(command.env("SSL_CERT_FILE", AUTHORITY).env(name, value));
        assert_eq!(run.code, Some(1), "{name}={value}: {run:?}");
        assert_secret(&[run], &world.path(""));
    }
}

#[test]
fn a_mistake_beside_a_login_is_shown_without_it() {
    let served = server(|_| Reply::status(404));
    let recipe = "project/recipes/tool/recipe.toml";
    let network = "project/recipes/network.toml";
    for (file, from, to, shown) in [
        (recipe, "place = ", "plaice = ", "there is no key `plaice`"),
        (
            recipe,
            "url = \"https://me",
            "url = \"http://me",
            "is not an https URL",
        ),
        (
            recipe,
            "sum = { url = \"https://me",
            "sum = { url = \"ftp://me",
            "is not an https URL",
        ),
        (
            recipe,
            "x=1\"\nsum",
            "x=1\"\nnpm = \"a\"\nsum",
            "exactly one is needed",
        ),
        (recipe, "/tool.tar.gz?", "/?", "names no file"),
        (
            recipe,
            "name = \"tool\"",
            "name = \"https://me:s3cr3t@host/x\"",
            "the recipe is called",
        ),
        (
            network,
            "mirrors = []",
            "mirrors = [\"ftp://me:s3cr3t@host/?s3cr3t\"]",
            "is no mirror",
        ),
        (
            network,
            "mirrors = []",
            "mirrors = [\"me:s3cr3t@host/\"]",
            "is no mirror",
        ),
        (
            network,
            "mirrors = []",
            "mirrors = \"https://me:s3cr3t@host/\"",
            "invalid type",
        ),
        (
            network,
            "https://api.github.com\"",
            "https://me:s3cr3t@host\" x",
            "network.toml` is wrong",
        ),
    ] {
        let world = world(&served);
        world.edit(file, from, to);
        let run = run(&world, &["build"], None);
        assert!(run.stderr.contains(shown), "{to}: {}", run.stderr);
        assert_eq!(run.code, Some(1));
        assert_secret(&[run], &world.path("tmp"));
    }
    let world = world(&served);
    let runs = ["ftp://me:s3cr3t@host/", "me:s3cr3t@host/", "s3cr3t@host"]
        .map(|mirror| run(&world, &["build", "--mirror", mirror], None));
    assert!(
        runs.iter().all(|run| run.stderr.contains("is no mirror")),
        "{runs:?}"
    );
    assert_secret(&runs, &world.path(""));
    // A help text tells of variables, and not what is in them.
    for command in ["build", "fetch", "update", "iso", "kernel"] {
        let args: &[&str] = if command == "kernel" {
            &["kernel", "build", "--help"]
        } else {
            &[command, "--help"]
        };
        let run = run(&world, args, Some("https://me:s3cr3t@host/?s3cr3t"));
        assert!(run.stdout.contains("TCFORGE_MIRROR"), "{run:?}");
        assert_secret(&[run], &world.path(""));
    }
}
