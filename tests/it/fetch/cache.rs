//! The cache, mirrors, local files, several files at once, and offline.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tcforge::digest::Sha256;
use tcforge::fetch::{FetchError, FetchOptions, Fetcher, Mirror, Origin, Upstream, Vouched, Wanted, Wish};
use tcforge::progress::{Progress, Silent, Task};

use crate::private::pipe;

use super::server::{Gate, Reply, Server};
use super::{IsRight, Notes, body, fetcher, left, options, wanted};

fn with_mirrors(folder: &Path, mirrors: &[&str]) -> Fetcher {
    Fetcher::new(FetchOptions {
        mirrors: mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect(),
        ..options(folder)
    })
}

fn offline(folder: &Path) -> Fetcher {
    Fetcher::new(FetchOptions {
        offline: true,
        ..options(folder)
    })
}

#[test]
fn a_file_is_fetched_once_and_kept_under_its_sum() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let fetcher = fetcher(folder.path());
    let sum = Sha256::of(&body()).to_string();
    for name in ["/one", "/two", "/one"] {
        let cached = fetcher
            .fetch(&wanted(&server.url(name), &body()), &Silent)
            .unwrap();
        assert_eq!((cached.sha256.to_string(), cached.size), (sum.clone(), 100_000));
        assert_eq!(
            cached.path,
            folder.path().join("cache/sha256").join(&sum[..2]).join(&sum)
        );
        assert_eq!(
            std::io::read_to_string(cached.open().unwrap()).is_ok(),
            String::from_utf8(body()).is_ok()
        );
    }
    assert_eq!(server.targets(), ["/one"]);
    let entry = fetcher.cache().path_of(&sum.parse().unwrap());
    assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o7777, 0o444);
}

#[test]
fn a_damaged_entry_is_noticed_and_fetched_again() {
    fn replace(path: &Path, with: &[u8]) {
        fs::remove_file(path).unwrap();
        fs::write(path, with).unwrap();
    }
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        ("a wrong byte", |path| {
            let mut bytes = body();
            bytes[50_000] ^= 1;
            replace(path, &bytes);
        }),
        ("a missing end", |path| replace(path, &body()[..99_999])),
        ("nothing left", |path| replace(path, b"")),
        ("a byte too many", |path| {
            replace(path, &[body(), vec![0]].concat())
        }),
        ("a folder in its place", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir_all(path.join("sub")).unwrap();
        }),
        ("a pipe in its place", |path| {
            fs::remove_file(path).unwrap();
            pipe(path);
        }),
        ("a link to a device in its place", |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        }),
        ("a link to another file in its place", |path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let wanted = wanted(&server.url("/file"), &body());
    let cached = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap();
    for (n, (name, damage)) in damages.into_iter().enumerate() {
        damage(&cached.path);
        let error = offline(folder.path()).fetch(&wanted, &Silent).unwrap_err();
        assert!(matches!(error, FetchError::Offline { .. }), "{name}: {error:?}");
        let notes = Notes::default();
        fetcher(folder.path()).fetch(&wanted, &notes).unwrap();
        assert_eq!(
            notes.taken(),
            ["file: damaged in the cache, fetched again"],
            "{name}"
        );
        assert_eq!(fs::read(&cached.path).unwrap(), body(), "{name}");
        assert_eq!(server.requests().len(), n + 2, "{name}");
    }
}

#[test]
fn a_part_of_an_earlier_run_is_gone_on_with_but_not_trusted() {
    let changed: Vec<u8> = body().iter().map(|byte| !byte).collect();
    let long = [body(), vec![0; 5]].concat();
    for (name, part, mark, ranges) in [
        ("a good beginning", &body()[..1000], None, vec!["bytes=1000-"]),
        ("a bad beginning", &changed[..1000], None, vec!["bytes=1000-", ""]),
        (
            "a bad beginning with a mark",
            &changed[..1000],
            Some("x\n\r\ny"),
            vec!["bytes=1000-", ""],
        ),
        ("all of it", &body()[..], None, vec![]),
        ("all of another", &changed[..], None, vec![""]),
        ("more than all", &long[..], None, vec![""]),
        ("nothing", &[], None, vec![""]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(|_, _| Reply::Good(body()));
        let wanted = wanted(&server.url("/file"), &body());
        let partial = folder.path().join("cache/partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join(format!("{}.part", wanted.sha256)), part).unwrap();
        if let Some(mark) = mark {
            fs::write(partial.join(format!("{}.from", wanted.sha256)), mark).unwrap();
        }
        let cached = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap();
        assert_eq!(fs::read(cached.path).unwrap(), body(), "{name}");
        let requests = server.requests();
        let asked: Vec<&str> = requests.iter().map(|request| request.header("range")).collect();
        assert_eq!(asked, ranges, "{name}");
        assert_eq!(fs::read_dir(&partial).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn what_is_not_a_plain_file_in_the_cache_keeps_nobody_waiting() {
    for (place, refused) in [
        ("lock/KEY", true),
        ("partial/KEY.part", true),
        ("partial/KEY.from", false),
    ] {
        let puts: [fn(&Path); 2] = [pipe, |path| symlink("../mine", path).unwrap()];
        for put in puts {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::new(|_, _| Reply::Good(body()));
            let wanted = wanted(&server.url("/file"), &body());
            let path = folder
                .path()
                .join("cache")
                .join(place.replace("KEY", &wanted.sha256.to_string()));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mine = folder.path().join("cache/mine");
            fs::write(&mine, "mine").unwrap();
            put(&path);
            let fetched = fetcher(folder.path()).fetch(&wanted, &Silent);
            assert_eq!(fetched.is_err(), refused, "{place}: {fetched:?}");
            assert_eq!(fs::read_to_string(&mine).unwrap(), "mine", "{place}");
        }
    }
}

/// Opens a gate as soon as somebody has to wait.
struct OpensWhenWaiting(Arc<Gate>);

impl Progress for OpensWhenWaiting {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, text: &str) {
        assert_eq!(text, "file: waiting for another run that is fetching it");
        self.0.open();
    }
}

#[test]
fn two_at_once_ask_once() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let held = Reply::After(gate.clone(), Box::new(Reply::Good(body())));
    let server = Server::new(move |_, _| held.clone());
    let wanted = wanted(&server.url("/file"), &body());
    let progress = OpensWhenWaiting(gate);
    // Another fetcher is as another run.
    let (one, other) = (fetcher(folder.path()), fetcher(folder.path()));
    thread::scope(|scope| {
        let both = scope.spawn(|| {
            one.fetch_all(&[wanted.clone(), wanted.clone()], &progress)
                .unwrap()
        });
        let third = other.fetch(&wanted, &progress).unwrap();
        assert_eq!(both.join().unwrap(), [third.clone(), third]);
    });
    assert_eq!(server.requests().len(), 1);
}

/// The first file comes once the third is asked for, so whoever waited for it
/// in between would wait for ever.
#[test]
fn a_file_that_a_run_wants_twice_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let server = Server::new(move |_, request| match request.target.as_str() {
        "/file" => Reply::After(gate.clone(), Box::new(Reply::Good(body()))),
        _ => {
            gate.open();
            Reply::Good(b"other".to_vec())
        }
    });
    let file = wanted(&server.url("/file"), &body());
    let other = wanted(&server.url("/other"), b"other");
    let mut options = options(folder.path());
    options.network.jobs = 2.try_into().unwrap();
    let (notes, fetcher) = (Notes::default(), Fetcher::new(options));
    let all = [file.clone(), file.clone(), other];
    let sizes: Vec<_> = fetcher
        .fetch_all(&all, &notes)
        .unwrap()
        .iter()
        .map(|one| one.size)
        .collect();
    assert_eq!(sizes, [100_000, 100_000, 5]);
    assert_eq!(notes.taken(), [""; 0]);
    assert_eq!(server.requests().len(), 2);

    // Two entries of the lock with one sum: the one with the wrong size is wrong.
    let wrong = Wanted {
        size: Some(1),
        ..file.clone()
    };
    let error = fetcher.fetch_all(&[file, wrong], &notes).unwrap_err();
    assert!(
        matches!(error, FetchError::WrongSize { wanted: 1, .. }),
        "{error:?}"
    );
}

#[test]
fn all_failures_are_told_and_the_rest_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, request| match request.target.as_str() {
        "/good" => Reply::Good(body()),
        "/wrong" => Reply::Good(vec![7; 100_000]),
        _ => Reply::status(404),
    });
    let names = ["/gone", "/good", "/wrong", "/good", "/missing"];
    let mut all: Vec<Wanted> = names
        .iter()
        .map(|name| wanted(&server.url(name), &body()))
        .collect();
    // Files with one sum would be fetched after one another.
    for (n, bytes) in [(0, b"a"), (4, b"b")] {
        all[n].sha256 = Sha256::of(bytes);
    }
    all[2].sha256 = Sha256::of(b"c");
    let error = fetcher(folder.path()).fetch_all(&all, &Silent).unwrap_err();
    let FetchError::Several { errors } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(error.to_string(), "3 files could not be fetched");
    assert!(matches!(&errors[0], FetchError::Status { url, .. } if url.ends_with("/gone")));
    assert!(matches!(&errors[1], FetchError::WrongSum { from, .. } if from.ends_with("/wrong")));
    assert!(matches!(&errors[2], FetchError::Status { url, .. } if url.ends_with("/missing")));
    assert_eq!(left(folder.path()).entries, [Sha256::of(&body()).to_string()]);
    assert_eq!(left(folder.path()).parts, [""; 0]);
}

#[test]
fn the_size_of_the_lock_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let mut wanted = wanted(&server.url("/file"), &body());
    fetcher(folder.path()).fetch(&wanted, &Silent).unwrap();
    wanted.size = Some(99);
    let error = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::WrongSize {
                wanted: 99,
                found: 100_000,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn offline_opens_no_socket_and_runs_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let here = wanted(&server.url("/here"), &body());
    fetcher(folder.path()).fetch(&here, &Silent).unwrap();
    let local = folder.path().join("local");
    fs::write(&local, "local").unwrap();
    let local = Wanted {
        origin: Origin::File(local),
        ..wanted("file:local", b"local")
    };
    let before = server.connections();

    let mirror: Mirror = server.url("/").parse().unwrap();
    let fetcher = Fetcher::new(FetchOptions {
        offline: true,
        mirrors: vec![mirror],
        ..options(folder.path())
    });
    let found = fetcher.fetch_all(&[here.clone(), local], &Silent).unwrap();
    assert_eq!(
        found.iter().map(|cached| cached.size).collect::<Vec<_>>(),
        [100_000, 5]
    );

    let debian = "debian:bullseye/attr=1:2.4.48-6";
    let missing = [
        wanted(&server.url("/away"), b"away"),
        wanted(debian, b"deb"),
        wanted("npm:is-number@7.0.0", b"tgz"),
    ];
    let error = fetcher
        .fetch_all(&[missing.as_slice(), &[here]].concat(), &Silent)
        .unwrap_err();
    let FetchError::Offline { missing } = &error else {
        panic!("{error:?}");
    };
    let (away, npm) = (server.url("/away"), "npm:is-number@7.0.0");
    assert_eq!(
        missing[..],
        [
            format!("away ({away})"),
            format!("attr_2.4.48-6_amd64.deb ({debian})"),
            format!("is-number-7.0.0.tgz ({npm})"),
        ]
    );
    let upstream = Upstream::Debian {
        suite: "bullseye".to_owned(),
        package: "attr".to_owned(),
    };
    for error in [
        fetcher.discover(&debian.parse().unwrap(), &Silent).unwrap_err(),
        fetcher.latest(&upstream, &Wish::default(), &Silent).unwrap_err(),
    ] {
        assert!(matches!(error, FetchError::Offline { .. }), "{error:?}");
    }
    assert_eq!(server.connections(), before);
    assert!(!folder.path().join("cache/apt").exists());
}

#[test]
fn mirrors_are_asked_first_and_need_not_be_trusted() {
    let sum = Sha256::of(&body()).to_string();
    let by_sum = format!("/m/sha256/{}/{sum}", &sum[..2]);
    let (first, second) = (by_sum.as_str(), "/m/file");
    let bad = || Reply::Good(vec![7; 100_000]);
    let good = || Reply::Good(body());
    type Case<'a> = (&'a str, Vec<(&'a str, Reply)>, Vec<&'a str>, Option<&'a str>);
    let cases: Vec<Case> = vec![
        ("by sum", vec![(first, good())], vec![first], None),
        ("by name", vec![(second, good())], vec![first, second], None),
        (
            "not there",
            vec![],
            vec![first, second],
            Some("/m/file` answers 404"),
        ),
        (
            "other bytes",
            vec![(first, bad()), (second, bad())],
            vec![first, second],
            Some("/m/file` is not the file that was asked for"),
        ),
        (
            "other bytes under the sum only",
            vec![(first, bad())],
            vec![first, second],
            Some("` is not the file that was asked for"),
        ),
        (
            "broken",
            vec![(first, Reply::status(500)), (second, Reply::Reset)],
            vec![first, second],
            Some("/m/file` was cut"),
        ),
        (
            "cut",
            vec![(first, Reply::cut(&body())), (second, Reply::cut(&body()))],
            vec![first, second],
            Some("/m/file` was cut"),
        ),
        (
            "a circle",
            vec![(first, Reply::redirect(first))],
            vec![first; 5],
            Some("` is redirected more than"),
        ),
    ];
    for (name, replies, asked, noted) in cases {
        let replies: Vec<(String, Reply)> = replies
            .into_iter()
            .map(|(path, reply)| (path.to_owned(), reply))
            .collect();
        let mirror = Server::new(move |_, request| {
            let reply = replies.iter().find(|(path, _)| *path == request.target);
            reply.map_or(Reply::status(404), |(_, reply)| reply.clone())
        });
        let origin = Server::new(|_, _| Reply::Good(body()));
        let folder = tempfile::tempdir().unwrap();
        let fetcher = with_mirrors(folder.path(), &[&mirror.url("/m")]);
        let notes = Notes::default();
        let cached = fetcher
            .fetch(&wanted(&origin.url("/file"), &body()), &notes)
            .unwrap();
        assert_eq!(fs::read(cached.path).unwrap(), body(), "{name}");
        assert_eq!(mirror.targets()[..asked.len()], asked, "{name}");
        assert_eq!(origin.requests().len(), usize::from(noted.is_some()), "{name}");
        let notes = notes.taken();
        assert_eq!(notes.len(), usize::from(noted.is_some()), "{name}: {notes:?}");
        assert!(
            notes.iter().all(|note| note.contains(noted.unwrap_or_default())),
            "{name}: {notes:?}"
        );
    }
}

#[test]
fn a_mirror_may_be_a_cache_a_folder_or_nobody() {
    let (folder, filled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::new(|_, _| Reply::Good(body()));
    let file = wanted(&server.url("/file"), &body());
    fetcher(filled.path()).fetch(&file, &Silent).unwrap();
    let plain = folder.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file"), body()).unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = format!("http://127.0.0.1:{port}/");
    let cache = format!("file://{}", filled.path().join("cache").display());
    let plain = format!("file:{}", plain.display());
    for (mirrors, requests) in [
        ([&nobody, &cache], 1),
        ([&plain, &nobody], 1),
        ([&nobody, &nobody], 2),
    ] {
        let own = tempfile::tempdir().unwrap();
        let mirrors = mirrors.map(String::as_str);
        let cached = with_mirrors(own.path(), &mirrors).fetch(&file, &Silent).unwrap();
        assert_eq!(fs::read(cached.path).unwrap(), body());
        assert_eq!(server.requests().len(), requests, "{mirrors:?}");
    }
    // It stands in for every kind of origin, and local ones do so offline.
    let own = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(FetchOptions {
        offline: true,
        mirrors: vec![cache.parse().unwrap()],
        ..options(own.path())
    });
    let debian = wanted("debian:bullseye/attr=1.0", &body());
    assert_eq!(fetcher.fetch(&debian, &Silent).unwrap().size, 100_000);
}

#[test]
fn local_files_are_checked_like_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "local").unwrap();
    let origin = Origin::File(path);
    let fetcher = fetcher(folder.path());
    let found = fetcher.discover(&origin, &Silent).unwrap();
    assert_eq!(
        (found.vouched, found.cached.sha256),
        (Vouched::LocalFile, Sha256::of(b"local"))
    );

    let wanted = |origin: &Origin, size, bytes| Wanted {
        name: "file".to_owned(),
        origin: origin.clone(),
        size,
        sha256: Sha256::of(bytes),
    };
    let zero = Origin::File(PathBuf::from("/dev/zero"));
    let none = Origin::File(folder.path().join("none"));
    let refused: [(Wanted, IsRight); 4] = [
        (wanted(&origin, None, b"other"), |error| {
            matches!(error, FetchError::WrongSum { .. })
        }),
        (wanted(&origin, Some(4), b"other"), |error| {
            matches!(
                error,
                FetchError::WrongSum {
                    wanted_size: Some(4),
                    size: 5,
                    ..
                }
            )
        }),
        (wanted(&zero, None, b"other"), |error| {
            matches!(error, FetchError::TooLarge { limit: 1_048_576, .. })
        }),
        (wanted(&none, None, b"other"), |error| {
            matches!(error, FetchError::Io { action: "read", .. })
        }),
    ];
    for (wanted, is_right) in refused {
        let error = fetcher.fetch(&wanted, &Silent).unwrap_err();
        assert!(is_right(&error), "{error:?}");
        assert_eq!(left(folder.path()).parts, [""; 0]);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cache"), "a file in its place").unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let error = fetcher(folder.path())
        .fetch(&wanted(&server.url("/file"), &body()), &Silent)
        .unwrap_err();
    assert!(matches!(error, FetchError::Io { .. }), "{error:?}");
    assert_eq!(server.connections(), 0);
}
