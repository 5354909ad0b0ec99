//! Real packages from the machine's own Debian mirror and npm registry.

use std::fs;
use std::path::Path;

use tcforge::digest::Sha256;
use tcforge::fetch::{FetchError, Network, Origin, Upstream, Vouched, Wanted, Wish};
use tcforge::progress::Silent;

use super::{Notes, fetcher, options};

pub(super) const ATTR: &str = "debian:bullseye/attr=1:2.4.48-6";
pub(super) const ATTR_SUM: &str = "dea5f6659a5a99a2eab1b43dc2c91b385580679b3149c77e3f220a64e50bef2b";
const IS_NUMBER: &str = "npm:is-number@7.0.0";

/// What is in a folder, with the times of last change.
fn snapshot(folder: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path(), entry.metadata().unwrap().modified().unwrap())
    });
    let mut all: Vec<_> = entries.collect();
    all.sort();
    all
}

#[test]
fn a_debian_package_comes_through_the_machines_apt() {
    let folder = tempfile::tempdir().unwrap();
    let lists = snapshot(Path::new("/var/lib/apt/lists"));
    let fetcher = fetcher(folder.path());
    let origin: Origin = ATTR.parse().unwrap();

    let found = fetcher.discover(&origin, &Silent).unwrap();
    assert_eq!(found.vouched, Vouched::SignedIndex);
    assert_eq!(found.cached.sha256.to_string(), ATTR_SUM);
    assert_eq!(found.cached.size, 41904);
    assert_eq!(
        Sha256::of(&fs::read(&found.cached.path).unwrap()),
        found.cached.sha256
    );

    // The lists are there now: the same by its sum asks only for the package.
    fs::remove_file(&found.cached.path).unwrap();
    let wanted = Wanted {
        name: "attr".to_owned(),
        origin,
        size: Some(41904),
        sha256: found.cached.sha256,
    };
    let notes = Notes::default();
    let again = fetcher.fetch_all(std::slice::from_ref(&wanted), &notes).unwrap();
    assert_eq!(again, [found.cached]);
    assert_eq!(notes.taken(), [""; 0]);

    // The signed index has another sum: nothing is downloaded.
    let wrong = Wanted {
        sha256: Sha256::of(b"else"),
        ..wanted
    };
    let error = fetcher.fetch(&wrong, &notes).unwrap_err();
    assert!(matches!(&error, FetchError::WrongSum { found, .. } if found.to_string() == ATTR_SUM));

    assert_eq!(snapshot(Path::new("/var/lib/apt/lists")), lists);
}

#[test]
fn a_debian_version_that_is_gone_is_answered_with_those_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let fetcher = fetcher(folder.path());
    let upstream = Upstream::Debian {
        suite: "bullseye".to_owned(),
        package: "attr".to_owned(),
    };
    let latest = fetcher.latest(&upstream, &Wish::default(), &Silent).unwrap();
    assert_eq!((latest.version.as_str(), latest.date), ("1:2.4.48-6", None));

    for (origin, versions) in [
        ("debian:bullseye/attr=1:1.0-1", vec!["1:2.4.48-6"]),
        ("debian:bullseye/no-such-package=1.0", vec![]),
    ] {
        let error = fetcher.discover(&origin.parse().unwrap(), &Silent).unwrap_err();
        let FetchError::NoVersion { there, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(there, versions);
    }

    let origin = "debian:no-such-suite/attr=1:2.4.48-6".parse().unwrap();
    let error = fetcher.discover(&origin, &Silent).unwrap_err();
    assert!(matches!(error, FetchError::Apt { .. }), "{error:?}");
}

#[test]
fn the_security_suite_comes_from_the_security_archive() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::Debian {
        suite: "bullseye-security".to_owned(),
        package: "containerd".to_owned(),
    };
    let latest = fetcher(folder.path())
        .latest(&upstream, &Wish::default(), &Silent)
        .unwrap();
    assert!(
        latest.version.starts_with("1.4.13~ds1-1~deb11u"),
        "{}",
        latest.version
    );
}

#[test]
fn an_npm_package_comes_from_the_machines_registry() {
    let folder = tempfile::tempdir().unwrap();
    let fetcher = fetcher(folder.path());
    let origin: Origin = IS_NUMBER.parse().unwrap();
    let found = fetcher.discover(&origin, &Silent).unwrap();
    // As the registry has published it since 2018.
    let integrity =
        "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==";
    assert_eq!(found.vouched, Vouched::NpmIntegrity(integrity.to_owned()));

    fs::remove_file(&found.cached.path).unwrap();
    let wanted = Wanted {
        name: "is-number".to_owned(),
        origin,
        size: None,
        sha256: found.cached.sha256,
    };
    assert_eq!(fetcher.fetch_all(&[wanted], &Silent).unwrap(), [found.cached]);

    let error = fetcher
        .discover(&"npm:is-number@7.0.1".parse().unwrap(), &Silent)
        .unwrap_err();
    let FetchError::NoVersion { there, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(there[..2], ["7.0.0", "6.0.0"]);
}

#[test]
fn npm_versions_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.network = Network {
        largest_index: 1 << 16,
        ..options.network
    };
    let fetcher = tcforge::fetch::Fetcher::new(options);
    let wish = Wish {
        prefix: Some("4.".to_owned()),
        below: None,
    };
    for (name, wish, version) in [
        ("is-number", Wish::default(), "7.0.0"),
        ("is-number", wish, "4.0.0"),
    ] {
        let upstream = Upstream::Npm(name.to_owned());
        let latest = fetcher.latest(&upstream, &wish, &Silent).unwrap();
        assert_eq!(latest.version, version);
        assert!(latest.date.is_some());
    }
    // A scoped package's document is larger than is allowed here.
    let upstream = Upstream::Npm("@types/node".to_owned());
    let error = fetcher.latest(&upstream, &Wish::default(), &Silent).unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { limit: 65536, .. }),
        "{error:?}"
    );
}
