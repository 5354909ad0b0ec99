//! npm's settings, from wherever npm takes them, with npm and without.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tcforge::digest::Sha256;
use tcforge::fetch::Wanted;

use super::machine::said;
use super::process::{Running, command};
use super::server::{AUTHORITY, Reply, Request, Server};
use super::{body, wanted};

/// A registry with one package of one version.
fn registry(integrity: &'static str, long_only: bool) -> Arc<Server> {
    Arc::new(Server::new(move |_, request| {
        let host = request.header("host");
        let manifest = json!({"dist": {
            "tarball": format!("http://upstream.invalid/@scope/tool/-/tool-1.0.0.tgz?{host}"),
            "integrity": integrity,
        }});
        let long = json!({"versions": {"1.0.0": manifest, "0.9.0": manifest}});
        match request.target.as_str() {
            "/npm/@scope%2ftool/1.0.0" if !long_only => Reply::Whole(manifest.to_string().into()),
            "/npm/@scope%2ftool" => Reply::Whole(long.to_string().into()),
            "/npm/@scope/tool/-/tool-1.0.0.tgz" => Reply::Good(body()),
            _ => Reply::status(404),
        }
    }))
}

/// The body's sum: `openssl dgst -sha512 -binary | base64`.
const INTEGRITY: &str =
    "sha512-+Y+68qXZImJTZr2eUf5Zit5j7mwzcezBgee8D7cv0WRiIwq1CfemyKU9pInfELw+6+d3LzOFciC6+2Wel7/kNg==";

#[test]
fn the_npm_registry_is_the_one_that_is_set_up() {
    let tool = |version: &str| wanted(&format!("npm:@scope/tool@{version}"), &body());
    let done = format!("done {}", Sha256::of(&body()));
    let short = ["/npm/@scope%2ftool/1.0.0", "/npm/@scope/tool/-/tool-1.0.0.tgz"];
    let long = [
        "/npm/@scope%2ftool/1.0.0",
        "/npm/@scope%2ftool",
        "/npm/@scope/tool/-/tool-1.0.0.tgz",
    ];
    // Without npm on the path, and with it.
    let path = std::env::var("PATH").unwrap();
    for (path, long_only, asked) in [
        ("/nowhere", false, &short[..]),
        ("/nowhere", true, &long[..]),
        (&path, false, &short[..]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = registry(INTEGRITY, long_only);
        let url = server.url("/npm/");
        let environment = [("PATH", path), ("npm_config_registry", url.as_str())];
        assert_eq!(said(folder.path(), &tool("1.0.0"), &environment), done);
        assert_eq!(server.targets(), asked);
    }

    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let server = registry(INTEGRITY, false);
    let bare = [("PATH", "/nowhere"), ("HOME", home)];
    let none = said(folder.path(), &tool("1.0.0"), &bare);
    assert!(none.starts_with("error NoRegistry {"), "{none}");
    let npmrc = format!(
        "registry=http://127.0.0.1:9/\n@scope:registry={}\n",
        server.url("/npm")
    );
    fs::write(folder.path().join(".npmrc"), npmrc).unwrap();
    let gone = said(folder.path(), &tool("2.0.0"), &bare);
    assert_eq!(
        gone,
        "error NoVersion { origin: \"npm:@scope/tool@2.0.0\", there: [\"1.0.0\", \"0.9.0\"] }"
    );
    assert_eq!(said(folder.path(), &tool("1.0.0"), &bare), done);
}

#[test]
fn an_npm_archive_that_its_registry_does_not_vouch_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = registry("sha512-AAAA", false);
    let url = server.url("/npm/");
    let tool = wanted("npm:@scope/tool@1.0.0", &body());
    let said = said(
        folder.path(),
        &tool,
        &[("PATH", "/nowhere"), ("npm_config_registry", &url)],
    );
    assert!(said.starts_with("error Integrity {"), "{said}");
    assert!(said.contains(INTEGRITY), "{said}");
    assert_eq!(super::left(folder.path()).parts, [""; 0]);
}

#[test]
fn an_archive_is_gone_on_with_after_a_cut() {
    let archive = Server::new(|_, request| match request.from() {
        0 => Reply::cut(&body()),
        _ => Reply::Good(body()),
    });
    let manifest = json!({"dist": {"tarball": archive.url("/tool.tgz"), "integrity": INTEGRITY}});
    let server = Server::new(move |_, _| Reply::Whole(manifest.to_string().into()));
    assert_eq!(said_with(&server), done());
    let asked: Vec<usize> = archive.requests().iter().map(Request::from).collect();
    assert_eq!(asked, [0, body().len() / 2]);
}

/// A registry that stands in for another is asked for the archive first, and may have a
/// page to say instead.
#[test]
fn a_page_in_the_place_of_an_archive_is_passed_over() {
    let archive = Server::new(|_, _| Reply::Good(body()));
    let told = archive.url("/tool.tgz").replace("127.0.0.1", "localhost");
    let manifest = json!({"dist": {"tarball": told, "integrity": INTEGRITY}});
    let server = Server::new(move |_, request| match request.target.as_str() {
        "/npm/@scope/tool/-/tool.tgz" => Reply::Good(b"<h1>Welcome</h1>".to_vec()),
        _ => Reply::Whole(manifest.to_string().into()),
    });
    assert_eq!(said_with(&server), done());
    assert_eq!((server.requests().len(), archive.requests().len()), (2, 1));
}

/// What a fetch of the tool comes to on a machine without npm, with that registry.
fn said_with(registry: &Server) -> String {
    let cache = tempfile::tempdir().unwrap();
    let url = registry.url("/npm/");
    let environment = [("PATH", "/nowhere"), ("npm_config_registry", url.as_str())];
    said(cache.path(), &tool(), &environment)
}

/// A machine without npm, with settings in the user's file.
fn machine(npmrc: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".npmrc"), npmrc).unwrap();
    home
}

fn errand(home: &Path, environment: &[(&str, &str)]) -> Running {
    let mut command = command("", home, &tool());
    command
        .env("PATH", "/nowhere")
        .env("HOME", home)
        .current_dir(home);
    command.envs(environment.iter().copied());
    Running::start(command)
}

fn tool() -> Wanted {
    wanted("npm:@scope/tool@1.0.0", &body())
}

fn done() -> String {
    format!("done {}", Sha256::of(&body()))
}

/// A registry under `/npm/`, whose archive is answered with `archive`; `tarball`:
/// where it says that this is.
fn answer(request: &Request, tarball: &str, archive: &Reply) -> Reply {
    match request.target.rsplit_once("/npm/").map(|(_, path)| path) {
        Some("@scope%2ftool/1.0.0") => {
            let dist = json!({"tarball": tarball, "integrity": INTEGRITY});
            Reply::Whole(json!({ "dist": dist }).to_string().into())
        }
        Some("@scope/tool/-/tool-1.0.0.tgz") => archive.clone(),
        _ => Reply::status(404),
    }
}

fn authority(server: &Server) -> String {
    server
        .url("/")
        .trim_end_matches('/')
        .split_once(':')
        .unwrap()
        .1
        .to_owned()
}

#[test]
fn a_login_is_sent_to_its_host_and_not_on_to_others() {
    // The archive is elsewhere: by a redirect, or by the registry's own word.
    let elsewhere = Arc::new(Server::new(|_, _| Reply::Good(body())));
    let away = elsewhere.url("/tool-1.0.0.tgz");
    for (n, redirected) in [true, false].into_iter().enumerate() {
        let away = away.clone();
        let server = Server::new(move |_, request| {
            let here = format!(
                "http://{}/npm/@scope/tool/-/tool-1.0.0.tgz",
                request.header("host")
            );
            let tarball = if redirected { &here } else { &away };
            match request.header("authorization") {
                "Bearer hidden" => answer(request, tarball, &Reply::redirect(&away)),
                _ => Reply::status(401),
            }
        });
        let of_host = authority(&server);
        let home = machine(&format!(
            "registry={}\n{of_host}/npm/:_authToken=${{TOKEN}}\n",
            server.url("/npm/")
        ));
        assert_eq!(errand(home.path(), &[("TOKEN", "hidden")]).result(), done());
        assert_eq!(server.targets().len(), 1 + usize::from(redirected));
        assert_eq!(elsewhere.targets().len(), n + 1);
        assert_eq!(elsewhere.requests()[n].header("authorization"), "");

        let home = machine(&fs::read_to_string(home.path().join(".npmrc")).unwrap());
        let refused = errand(home.path(), &[("TOKEN", "hidden-too")]).result();
        assert!(refused.starts_with("error Status { "), "{refused}");
        assert!(refused.contains("status: 401"), "{refused}");
        assert!(!refused.contains("hidden"), "{refused}");
    }
}

/// Settings name hosts without a scheme, and registries tell their archives' URLs.
#[test]
fn a_token_is_not_sent_over_plain_http_for_a_registry_that_has_https() {
    let plain = Arc::new(Server::new(|_, _| Reply::Good(body())));
    let archive = plain.url("/tool-1.0.0.tgz");
    let server = Server::tls(move |_, request| match request.header("authorization") {
        "Bearer hidden" => answer(request, &archive, &Reply::status(404)),
        _ => Reply::status(401),
    });
    // As if the token were for the host on that port, too.
    let home = machine(&format!(
        "registry={}\ncafile={AUTHORITY}\n{}/npm/:_authToken=hidden\n{}/:_authToken=hidden\n",
        server.url("/npm/"),
        authority(&server),
        authority(&plain)
    ));
    assert_eq!(errand(home.path(), &[]).result(), done());
    // The registry's own place is asked first, with the token.
    assert_eq!(
        server.targets(),
        ["/npm/@scope%2ftool/1.0.0", "/npm/@scope/tool/-/tool-1.0.0.tgz"]
    );
    let sent: Vec<_> = plain
        .requests()
        .iter()
        .map(|asked| asked.header("authorization").to_owned())
        .collect();
    assert_eq!(sent, [""]);

    // A redirect to plain http is not followed at all.
    let away = plain.url("/tool-1.0.0.tgz");
    let server = Server::tls(move |_, request| {
        let here = format!(
            "https://{}/npm/@scope/tool/-/tool-1.0.0.tgz",
            request.header("host")
        );
        answer(request, &here, &Reply::redirect(&away))
    });
    let home = machine(&format!(
        "registry={}\ncafile={AUTHORITY}\n{}/npm/:_authToken=hidden\n",
        server.url("/npm/"),
        authority(&server)
    ));
    let refused = errand(home.path(), &[]).result();
    assert!(refused.starts_with("error Downgrade {"), "{refused}");
    assert_eq!(plain.requests().len(), 1, "it was asked once more");
}

#[test]
fn the_project_is_asked_before_the_user_and_all() {
    let [project, user, all] = [0; 3].map(|_| registry(INTEGRITY, false));
    let url = |server: &Server| server.url("/npm/");
    let home = machine(&format!("@scope:registry={}\n", url(&user)));
    let global = home.path().join("global");
    fs::write(&global, format!("@scope:registry={}\n", url(&all))).unwrap();
    let global = global.to_str().unwrap();
    // The strongest is taken away each time; the archive has to be fetched again.
    let npmrc = home.path().join("project/.npmrc");
    fs::create_dir_all(home.path().join("project/below")).unwrap();
    fs::write(home.path().join("project/package.json"), "{}").unwrap();
    fs::write(&npmrc, format!("@scope:registry={}\n", url(&project))).unwrap();
    let ask = || {
        fs::remove_dir_all(home.path().join("cache")).unwrap_or_default();
        let mut command = command("", home.path(), &tool());
        command.env("PATH", "/nowhere").env("HOME", home.path());
        command.env("npm_config_globalconfig", global);
        command.current_dir(home.path().join("project/below"));
        assert_eq!(Running::start(command).result(), done());
        [&project, &user, &all].map(|server| server.targets().len())
    };
    assert_eq!(ask(), [2, 0, 0]);
    fs::remove_file(npmrc).unwrap();
    assert_eq!(ask(), [2, 2, 0]);
    fs::remove_file(home.path().join(".npmrc")).unwrap();
    assert_eq!(ask(), [2, 2, 2]);
}

#[test]
fn npms_proxy_is_taken_but_for_its_exceptions() {
    const ARCHIVE: &str = "http://registry.invalid/npm/@scope/tool/-/tool-1.0.0.tgz";
    let server = Server::new(|_, request| answer(request, ARCHIVE, &Reply::Good(body())));
    let proxy = server.url("");
    let home = machine(&format!("registry=http://registry.invalid/npm/\nproxy={proxy}\n"));
    assert_eq!(errand(home.path(), &[]).result(), done());
    assert_eq!(
        server.targets()[0],
        "http://registry.invalid/npm/@scope%2ftool/1.0.0"
    );
    assert_eq!(server.targets().len(), 2);

    let home = machine(&format!("registry={}\n", server.url("/npm/")));
    let environment = [
        ("npm_config_proxy", "http://127.0.0.1:9/"),
        ("npm_config_noproxy", "127.0.0.1"),
    ];
    assert_eq!(errand(home.path(), &environment).result(), done());
    fs::remove_dir_all(home.path().join("cache")).unwrap();
    let refused = errand(home.path(), &environment[..1]).result();
    assert!(refused.starts_with("error Connect {"), "{refused}");
}

#[test]
fn npms_authority_is_trusted_and_certificates_are_always_checked() {
    let server = Server::tls(|_, request| {
        let tarball = format!(
            "https://{}/npm/@scope/tool/-/tool-1.0.0.tgz",
            request.header("host")
        );
        answer(request, &tarball, &Reply::Good(body()))
    });
    let pem = fs::read_to_string(AUTHORITY).unwrap();
    let registry = format!("registry={}\n", server.url("/npm/"));
    let inline = format!("{registry}ca=\"{}\"\n", pem.replace('\n', "\\n"));
    for npmrc in [format!("{registry}cafile={AUTHORITY}\n"), inline] {
        assert_eq!(errand(machine(&npmrc).path(), &[]).result(), done());
    }
    let home = machine(&format!("{registry}strict-ssl=false\n"));
    let mut errand = errand(home.path(), &[]);
    errand.wait_for("note npm: strict-ssl=false is not followed");
    let refused = errand.result();
    assert!(refused.starts_with("error Certificate {"), "{refused}");
}
