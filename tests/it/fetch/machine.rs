//! Machines that are set up in other ways than this one: what apt and npm are told
//! by their environment, or that they are not there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tcforge::digest::Sha256;
use tcforge::fetch::Wanted;

use super::process::{Running, command};
use super::server::{Reply, Server};
use super::{body, wanted};

/// Runs an errand in a changed environment; its last word.
fn said(folder: &Path, wanted: &Wanted, environment: &[(&str, &str)]) -> String {
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
        (("PATH", "/nowhere"), "error Program { program: \"apt-get\", "),
    ] {
        let said = said(folder.path(), &attr(), &[environment]);
        assert!(said.starts_with(error), "{said}");
    }
}

#[test]
fn an_unsigned_suite_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let release = "Origin: Debian\nLabel: Debian\nSuite: bullseye\nCodename: bullseye\n";
    let mirror = Server::new(move |_, request| match request.target.ends_with("/Release") {
        true => Reply::Whole(release.into()),
        false => Reply::status(404),
    });
    let sources = format!("deb {} bullseye main\n", mirror.url("/debian"));
    // As if the lists for it had been there before.
    fs::write(folder.path().join("sources.list"), sources).unwrap();
    let host = mirror.url("/debian").replace("http://", "").replace('/', "_");
    let lists = folder.path().join("lists");
    fs::create_dir_all(lists.join("partial")).unwrap();
    let (release_file, packages) = (
        lists.join(format!("{host}_dists_bullseye_Release")),
        lists.join(format!("{host}_dists_bullseye_main_binary-amd64_Packages")),
    );
    fs::write(release_file, release).unwrap();
    fs::write(packages, "").unwrap();
    let at = folder.path().display();
    let settings = format!(
        "Dir::State::lists \"{at}/lists/\";\nDir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n"
    );
    let config = apt_config(folder.path(), &settings);
    let said = said(folder.path(), &attr(), &[("APT_CONFIG", &config)]);
    assert!(
        said.starts_with("error Apt { action: \"read the index of bullseye\""),
        "{said}"
    );
    assert!(said.contains("is not signed"), "{said}");
}

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
