//! One file, one server, and everything that a server may do wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tcforge::fetch::{FetchError, FetchOptions, Fetcher, Network, Upstream, Vouched, Wish};
use tcforge::progress::Silent;

use super::server::{Reply, Server, TAG};
use super::{IsRight, Notes, body, fetcher, left, network, options, wanted};

/// A fetcher that takes a fifth of a second of silence for a stall.
fn impatient(folder: &Path) -> Fetcher {
    Fetcher::new(FetchOptions {
        network: Network {
            read_timeout: Duration::from_millis(200),
            slowest: 1 << 30,
            ..network()
        },
        ..options(folder)
    })
}

/// A failure: its name, the replies, what the error must be, how many requests
/// there must have been, and whether a part may be left for the next run.
type Failing = (&'static str, Vec<Reply>, IsRight, usize, bool);

fn fails(fetcher: fn(&Path) -> Fetcher, cases: Vec<Failing>) {
    let body = body();
    for (name, replies, is_right, requests, part) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::replies(replies);
        let wanted = wanted(&server.url("/file"), &body);
        let error = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap_err();
        assert!(is_right(&error), "{name}: {error:?}");
        assert_eq!(server.requests().len(), requests, "{name}");
        let left = left(folder.path());
        assert_eq!(left.parts.len(), usize::from(part), "{name}: {left:?}");
        assert_eq!(left.entries, [""; 0], "{name}");
    }
}

#[test]
fn what_cannot_pass_is_not_tried_again() {
    let body = body();
    let longer = [&body[..], b"more"].concat();
    let changed: Vec<u8> = body.iter().map(|byte| !byte).collect();
    let chunked = |body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        );
        Reply::Raw([head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat())
    };
    let busy = Reply::Status(429, vec!["Retry-After: 3600".to_owned()]);
    let mut cases: Vec<Failing> = vec![
        (
            "other bytes",
            vec![Reply::Good(changed)],
            |error| matches!(error, FetchError::WrongSum { wanted, found, .. } if wanted != found),
            1,
            false,
        ),
        (
            "an announced length that is too large",
            vec![Reply::Good(longer.clone())],
            |error| {
                matches!(
                    error,
                    FetchError::WrongSum {
                        wanted_size: Some(100_000),
                        size: 100_004,
                        ..
                    }
                )
            },
            1,
            false,
        ),
        (
            "an announced length that is too small",
            vec![Reply::Good(body[..5].to_vec())],
            |error| {
                matches!(
                    error,
                    FetchError::WrongSum {
                        wanted_size: Some(100_000),
                        size: 5,
                        ..
                    }
                )
            },
            1,
            false,
        ),
        (
            "an announced length beyond the largest file",
            vec![Reply::Raw(Reply::promising(1 << 21, b"some"))],
            |error| matches!(error, FetchError::TooLarge { limit: 1_048_576, .. }),
            1,
            false,
        ),
        (
            "more bytes than there should be, unannounced",
            vec![chunked(&longer)],
            |error| matches!(error, FetchError::WrongSum { size: 100_004, .. }),
            1,
            false,
        ),
        (
            "fewer bytes than there should be, unannounced",
            vec![chunked(&body[..5])],
            |error| matches!(error, FetchError::WrongSum { size: 5, .. }),
            1,
            false,
        ),
        (
            "far more bytes than there should be, unannounced",
            vec![chunked(&vec![7; 1_048_577])],
            |error| matches!(error, FetchError::TooLarge { limit: 1_048_576, .. }),
            1,
            false,
        ),
        (
            "a redirect in a circle",
            vec![Reply::redirect("/file"); 10],
            |error| matches!(error, FetchError::RedirectLoop { limit: 4, .. }),
            5,
            false,
        ),
        (
            "a redirect to another protocol",
            vec![Reply::redirect("ftp://127.0.0.1/file")],
            |error| matches!(error, FetchError::Request { .. }),
            1,
            false,
        ),
        (
            "a server that wants to be left alone for an hour",
            vec![busy],
            |error| {
                matches!(
                    error,
                    FetchError::Busy {
                        status: 429,
                        seconds: 3600,
                        ..
                    }
                )
            },
            1,
            false,
        ),
    ];
    for status in [400, 401, 403, 404, 410, 451, 501, 204, 304] {
        cases.push((
            "a refusal",
            vec![Reply::status(status)],
            |error| matches!(error, FetchError::Status { .. }),
            1,
            false,
        ));
    }
    fails(fetcher, cases);
}

#[test]
fn what_can_pass_is_tried_as_often_as_is_set() {
    let body = body();
    let half = body.len() / 2;
    let nothing_new = Reply::Raw(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 50000-99999/100000\r\nContent-Length: 50000\r\n\r\n"
            .to_vec(),
    );
    let not_http = Reply::Raw(b"220 mail.example ESMTP\r\n".to_vec());
    let endless = Reply::Raw([&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 1 << 20]].concat());
    fails(
        fetcher,
        vec![
            (
                "an error of the server",
                vec![Reply::status(500); 4],
                |error| matches!(error, FetchError::Status { status: 500, .. }),
                3,
                false,
            ),
            (
                "a reset instead of an answer",
                vec![Reply::Reset; 4],
                |error| matches!(error, FetchError::Cut { got: 0, .. }),
                3,
                false,
            ),
            (
                "the end instead of an answer",
                vec![Reply::Raw(Vec::new()); 4],
                |error| matches!(error, FetchError::Cut { got: 0, .. }),
                3,
                false,
            ),
            (
                "an answer that is no HTTP",
                vec![not_http; 4],
                |error| matches!(error, FetchError::Cut { got: 0, .. }),
                3,
                false,
            ),
            (
                "a head without an end",
                vec![endless; 4],
                |error| matches!(error, FetchError::Cut { got: 0, .. }),
                3,
                false,
            ),
            (
                "a body that is shorter than its length",
                vec![Reply::cut(&body), nothing_new.clone(), nothing_new],
                |error| matches!(error, FetchError::Cut { got: 50_000, .. }),
                3,
                true,
            ),
            (
                "a body that is too short, unannounced",
                vec![Reply::Raw([b"HTTP/1.0 200 OK\r\n\r\n", &body[..half]].concat()); 4],
                |error| matches!(error, FetchError::Cut { got: 50_000, .. }),
                3,
                true,
            ),
            (
                "another part than the one asked for, each time",
                vec![
                    Reply::cut(&body),
                    Reply::part(7, body.len(), &body[7..]),
                    Reply::part(0, body.len(), &body),
                ],
                |error| matches!(error, FetchError::WrongRange { from: 0, .. }),
                3,
                false,
            ),
        ],
    );
    fails(
        impatient,
        vec![
            (
                "silence instead of an answer",
                vec![Reply::Stall(Vec::new()); 4],
                |error| matches!(error, FetchError::Stalled { got: 0, .. }),
                3,
                false,
            ),
            (
                "silence in the middle",
                vec![Reply::Stall(Reply::promising(body.len(), &body[..half])); 4],
                |error| matches!(error, FetchError::Stalled { got: 50_000, .. }),
                3,
                true,
            ),
            (
                "a trickle",
                vec![Reply::Trickle(Reply::promising(100_000, b"")); 4],
                |error| matches!(error, FetchError::Stalled { .. }),
                3,
                true,
            ),
        ],
    );
}

#[test]
fn no_server_is_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was just given back: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let wanted = wanted(&format!("http://127.0.0.1:{port}/file"), &body());
    let notes = Notes::default();
    let error = fetcher(folder.path()).fetch(&wanted, &notes).unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error:?}");
    assert_eq!(notes.taken().len(), 2);
}

/// What goes wrong at first, and what each further request must ask for: the
/// first byte, and the validator.
#[test]
fn what_passes_ends_with_the_right_bytes() {
    let body = body();
    let changed: Vec<u8> = body.iter().map(|byte| !byte).collect();
    let half = body.len() / 2;
    let good = Reply::Good(body.clone());
    let retry_after = |text: &str| Reply::Status(503, vec![format!("Retry-After: {text}")]);
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    let dated = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: {date}\r\n\r\n",
        body.len()
    );
    let weak = dated.replace(&format!("Last-Modified: {date}"), "ETag: W/\"one\"");
    let half_of = |head: String| Reply::Raw([head.as_bytes(), &body[..half]].concat());
    for (name, replies, asked) in [
        ("nothing", vec![good.clone()], vec![]),
        (
            "an error of the server",
            vec![Reply::status(500), good.clone()],
            vec![(0, "")],
        ),
        (
            "a limit on requests",
            vec![Reply::status(429), retry_after("0"), good.clone()],
            vec![(0, ""); 2],
        ),
        (
            "a date to come back at",
            vec![retry_after(date), good.clone()],
            vec![(0, "")],
        ),
        ("a reset", vec![Reply::Reset, good.clone()], vec![(0, "")]),
        ("a cut", vec![Reply::cut(&body), good.clone()], vec![(half, TAG)]),
        (
            "a cut, marked by date",
            vec![half_of(dated), good.clone()],
            vec![(half, date)],
        ),
        (
            "a cut, marked weakly",
            vec![half_of(weak), good.clone()],
            vec![(half, "")],
        ),
        (
            "a cut, then the whole",
            vec![Reply::cut(&body), Reply::Whole(body.clone())],
            vec![(half, TAG)],
        ),
        (
            "a cut, then another part",
            vec![
                Reply::cut(&body),
                Reply::part(half + 1, body.len(), &body[half + 1..]),
                good.clone(),
            ],
            vec![(half, TAG), (0, "")],
        ),
        (
            "a cut, then no such part",
            vec![Reply::cut(&body), Reply::status(416), good.clone()],
            vec![(half, TAG), (0, "")],
        ),
        (
            "a cut, then the rest of another file",
            vec![
                Reply::cut(&body),
                Reply::part(half, body.len(), &changed[half..]),
                good.clone(),
            ],
            vec![(half, TAG), (0, "")],
        ),
        (
            "the beginning of another file, then the rest of this",
            vec![
                Reply::cut(&changed),
                Reply::part(half, body.len(), &body[half..]),
                good.clone(),
            ],
            vec![(half, TAG), (0, "")],
        ),
        (
            "a redirect",
            vec![Reply::redirect("/elsewhere?a=b"), good.clone()],
            vec![(0, "")],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::replies(replies);
        let wanted = wanted(&server.url("/file"), &body);
        let cached = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap();
        assert_eq!(fs::read(&cached.path).unwrap(), body, "{name}");
        let requests = server.requests();
        let ranges: Vec<_> = requests
            .iter()
            .skip(1)
            .map(|r| (r.from(), r.header("if-range")))
            .collect();
        assert_eq!(ranges, asked, "{name}");
        assert_eq!(left(folder.path()).parts, [""; 0], "{name}");
    }
}

#[test]
fn the_server_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let wait = Reply::Status(429, vec!["Retry-After: 1".to_owned()]);
    let server = Server::replies(vec![wait, Reply::Good(body())]);
    let wanted = wanted(&server.url("/file?key=hidden"), &body());
    let notes = Notes::default();
    fetcher(folder.path()).fetch(&wanted, &notes).unwrap();
    let asked = server.url("/file?…");
    let note = format!("file: the server of `{asked}` answers 429; attempt 2 of 3 in 1.0 s");
    assert_eq!(notes.taken(), [note]);
}

#[test]
fn requests_say_who_asks_and_want_plain_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::replies(vec![Reply::Good(body())]);
    let url = server.url("/file").replace("://", "://me:hidden@");
    fetcher(folder.path())
        .fetch(&wanted(&url, &body()), &Silent)
        .unwrap();
    let request = &server.requests()[0];
    assert_eq!(
        request.header("user-agent"),
        concat!("tcforge/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(request.header("accept-encoding"), "identity");
    // "me:hidden"
    assert_eq!(request.header("authorization"), "Basic bWU6aGlkZGVu");
}

#[test]
fn secrets_of_a_url_are_in_no_message() {
    for replies in [
        vec![],
        vec![Reply::Reset; 3],
        vec![Reply::cut(&body()); 3],
        vec![Reply::Good(vec![7; 100_000])],
        vec![Reply::redirect("/?token=hidden"); 9],
        vec![Reply::status(500); 3],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::replies(replies);
        let url = server.url("/file?token=hidden").replace("://", "://me:hidden@");
        let notes = Notes::default();
        let error = fetcher(folder.path())
            .fetch(&wanted(&url, &body()), &notes)
            .unwrap_err();
        let said = format!("{error} {error:?} {:?}", notes.taken());
        assert!(!said.contains("hidden"), "{said}");
    }
}

#[test]
fn a_file_of_unknown_size_has_a_limit() {
    let large = vec![0; (1 << 20) + 1];
    let open_end = |head: &str, body: &[u8]| Reply::Raw([head.as_bytes(), body].concat());
    let cases: Vec<(Reply, IsRight)> = vec![
        (Reply::Good(large.clone()), |error| {
            matches!(error, FetchError::TooLarge { limit: 1_048_576, .. })
        }),
        (open_end("HTTP/1.0 200 OK\r\n\r\n", &large), |error| {
            matches!(error, FetchError::TooLarge { limit: 1_048_576, .. })
        }),
    ];
    for (reply, is_right) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::replies(vec![reply]);
        let mut wanted = wanted(&server.url("/file"), &body());
        wanted.size = None;
        let error = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap_err();
        assert!(is_right(&error), "{error:?}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(left(folder.path()).parts, [""; 0]);
    }
}

#[test]
fn a_sum_is_found_out_from_one_whole_answer() {
    let body = body();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::replies(vec![Reply::cut(&body), Reply::Good(body.clone())]);
    let origin = server.url("/file").parse().unwrap();
    let found = fetcher(folder.path()).discover(&origin, &Silent).unwrap();
    assert_eq!(found.vouched, Vouched::FirstFetch);
    assert_eq!(found.cached.size, 100_000);
    assert_eq!(fs::read(&found.cached.path).unwrap(), body);
    assert_eq!(server.requests()[1].header("range"), "");

    // Whether this is all cannot be told.
    let server = Server::replies(vec![Reply::Raw([b"HTTP/1.0 200 OK\r\n\r\n", &body[..]].concat())]);
    let origin = server.url("/file").parse().unwrap();
    let error = fetcher(folder.path()).discover(&origin, &Silent).unwrap_err();
    assert!(matches!(error, FetchError::NoLength { .. }), "{error:?}");

    let origin = "http://192.0.2.1/file".parse().unwrap();
    let error = fetcher(folder.path()).discover(&origin, &Silent).unwrap_err();
    assert!(matches!(error, FetchError::PlainHttp { .. }), "{error:?}");
}

const RELEASES: &str = r#"[
    {"tag_name": "v2.0.0-rc.1", "draft": false, "prerelease": true, "published_at": "2024-05-01T00:00:00Z", "assets": []},
    {"tag_name": "v3.0.0", "draft": true, "prerelease": false, "published_at": null, "assets": []},
    {"tag_name": "api/v9.0.0", "draft": false, "prerelease": false, "published_at": "2024-05-01T00:00:00Z", "assets": []},
    {"tag_name": "v1.7.34", "draft": false, "prerelease": false, "published_at": "2024-06-12T08:00:00Z", "assets": [
        {"name": "tool.tgz", "size": 3, "browser_download_url": "https://host/tool.tgz",
         "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"name": "old.tgz", "size": 4, "browser_download_url": "https://host/old.tgz", "digest": null}]},
    {"tag_name": "v1.10.0", "draft": false, "prerelease": false, "published_at": "2024-04-01T00:00:00Z", "assets": []}
]"#;

#[test]
fn github_releases_are_found() {
    let server = Server::new(|n, _| match n {
        0 => Reply::status(502),
        _ => Reply::Whole(RELEASES.into()),
    });
    let wish = |prefix: Option<&str>, below: Option<&str>| Wish {
        prefix: prefix.map(str::to_owned),
        below: below.map(str::to_owned),
    };
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(FetchOptions {
        network: Network {
            github_api: server.url("/api").parse().unwrap(),
            ..network()
        },
        ..options(folder.path())
    });
    let upstream = Upstream::Github("owner/tool".to_owned());
    for (wish, version) in [
        (wish(None, None), "1.10.0"),
        (wish(Some("1.7."), None), "1.7.34"),
        (wish(None, Some("1.8")), "1.7.34"),
    ] {
        assert_eq!(
            fetcher.latest(&upstream, &wish, &Silent).unwrap().version,
            version
        );
    }
    let found = fetcher
        .latest(&upstream, &wish(Some("1.7."), None), &Silent)
        .unwrap();
    assert_eq!(found.date.as_deref(), Some("2024-06-12"));
    let sums: Vec<_> = found
        .files
        .iter()
        .map(|file| (&*file.name, file.size, file.sha256.is_some()))
        .collect();
    assert_eq!(sums, [("tool.tgz", 3, true), ("old.tgz", 4, false)]);

    let error = fetcher
        .latest(&upstream, &wish(Some("4."), None), &Silent)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`github:owner/tool` has no release beginning with 4."
    );
    assert_eq!(
        server.targets()[0],
        "/api/repos/owner/tool/releases?per_page=100&page=1"
    );
}

#[test]
fn an_answer_that_is_no_release_list_is_an_error() {
    for answer in ["", "<html>", "{}", "[{}]", "[{\"tag_name\": 5}]"] {
        let server = Server::replies(vec![Reply::Whole(answer.into())]);
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(FetchOptions {
            network: Network {
                github_api: server.url("").parse().unwrap(),
                ..network()
            },
            ..options(folder.path())
        });
        let upstream = Upstream::Github("owner/tool".to_owned());
        let error = fetcher.latest(&upstream, &Wish::default(), &Silent).unwrap_err();
        assert!(matches!(error, FetchError::Index { .. }), "{answer}: {error:?}");
    }
}
