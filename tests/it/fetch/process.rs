//! What needs a process of its own: kills, limits, the environment, and two runs
//! at once. The process is this test program, told to run [`an_errand`].

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Wanted};
use tcforge::progress::{Progress, Silent, Task};

use super::server::{AUTHORITY, Gate, Reply, Server, TAG};
use super::{body, fetcher, left, network, wanted};

/// Where an errand is told what to fetch.
const ERRAND: &str = "TCFORGE_TEST_ERRAND";

/// Says on the standard output what happens, a line each.
struct Told;

fn tell(line: &str) {
    // The test harness may have begun a line.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

impl Progress for Told {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Told)
    }

    fn note(&self, text: &str) {
        tell(&format!("note {text}"));
    }
}

impl Task for Told {
    fn set_position(&self, bytes: u64) {
        tell(&format!("at {bytes}"));
    }

    fn set_total(&self, _: u64) {}
}

/// Fetches what the environment says, for the other tests; by itself, a file from
/// a server of its own.
#[test]
fn an_errand() {
    let Ok(errand) = std::env::var(ERRAND) else {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::replies(vec![Reply::Good(body())]);
        let errand = errand(folder.path(), &wanted(&server.url("/file"), &body()));
        return assert_eq!(run(&errand), format!("done {}", wanted("file:x", &body()).sha256));
    };
    tell(&run(&serde_json::from_str(&errand).unwrap()));
}

fn errand(folder: &Path, wanted: &Wanted) -> Value {
    json!({
        "cache": folder.join("cache"),
        "origin": wanted.origin,
        "size": wanted.size,
        "sha256": wanted.sha256,
    })
}

fn run(errand: &Value) -> String {
    let fetcher = Fetcher::new(FetchOptions {
        cache: Cache::at(errand["cache"].as_str().unwrap()),
        network: network(),
        mirrors: Vec::new(),
        offline: false,
    });
    let wanted = Wanted {
        name: "file".to_owned(),
        origin: errand["origin"].as_str().unwrap().parse().unwrap(),
        size: errand["size"].as_u64(),
        sha256: errand["sha256"].as_str().unwrap().parse().unwrap(),
    };
    match fetcher.fetch(&wanted, &Told) {
        Ok(cached) => format!("done {}", cached.sha256),
        Err(error) => format!("error {error:?}"),
    }
}

/// The command that runs an errand, with no proxy in its environment.
pub(super) fn command(shell: &str, folder: &Path, wanted: &Wanted) -> Command {
    // Whoever runs the tests may ignore the signal, and a shell keeps it so.
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=INT", "/bin/sh"]);
    command.args(["-c", &format!("{shell} exec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "fetch::process::an_errand", "--nocapture"]);
    command.env(ERRAND, errand(folder, wanted).to_string());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// An errand under way.
pub(super) struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on until it says something that begins so.
    pub(super) fn wait_for(&mut self, beginning: &str) -> String {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if let Some(said) = line.strip_prefix('@').filter(|said| said.starts_with(beginning)) {
                return said.to_owned();
            }
        }
        panic!("it ended without saying `{beginning}`");
    }

    /// What it says at its end.
    pub(super) fn result(mut self) -> String {
        let said = self.lines.by_ref().map(Result::unwrap);
        let said: Vec<String> = said
            .filter_map(|line| Some(line.strip_prefix('@')?.to_owned()))
            .collect();
        assert!(self.child.wait().unwrap().success());
        said.last().unwrap().clone()
    }
}

#[test]
fn a_kill_leaves_nothing_that_is_trusted_wrongly() {
    let body = body();
    let half = body.len() / 2;
    // Half a file; half of another file; nothing.
    let changed: Vec<u8> = body.iter().map(|byte| !byte).collect();
    for (first, at, asked) in [
        (
            Reply::Stall(Reply::promising(body.len(), &body[..half])),
            half,
            vec![(half, TAG)],
        ),
        (
            Reply::Stall(Reply::promising(body.len(), &changed[..half])),
            half,
            vec![(half, TAG), (0, "")],
        ),
        (Reply::Stall(Reply::promising(body.len(), &[])), 0, vec![(0, "")]),
    ] {
        for signal in [Signal::INT, Signal::KILL] {
            let folder = tempfile::tempdir().unwrap();
            let (asks, asked_for) = std::sync::mpsc::channel();
            let (first, good) = (first.clone(), Reply::Good(body.clone()));
            let server = Server::new(move |n, _| {
                // Nobody listens any more once the first has come.
                let _ = asks.send(());
                if n == 0 { first.clone() } else { good.clone() }
            });
            let wanted = wanted(&server.url("/file"), &body);
            let mut running = Running::start(command("", folder.path(), &wanted));
            running.wait_for(&format!("at {at}"));
            // `at 0` is said before anything is asked for.
            asked_for.recv().unwrap();
            kill_process(Pid::from_child(&running.child), signal).unwrap();
            assert_eq!(running.child.wait().unwrap().signal(), Some(signal.as_raw()));
            assert_eq!(left(folder.path()).entries, [""; 0]);

            let cached = fetcher(folder.path()).fetch(&wanted, &Silent).unwrap();
            assert_eq!(fs::read(cached.path).unwrap(), body);
            let requests = server.requests();
            let ranges: Vec<_> = requests
                .iter()
                .skip(1)
                .map(|r| (r.from(), r.header("if-range")))
                .collect();
            assert_eq!(ranges, asked, "{signal:?}");
            assert_eq!(left(folder.path()).parts, [""; 0]);
        }
    }
}

#[test]
fn two_processes_at_once_ask_once() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let held = Reply::After(gate.clone(), Box::new(Reply::Good(body())));
    let server = Server::new(move |_, _| held.clone());
    let wanted = wanted(&server.url("/file"), &body());
    let done = format!("done {}", wanted.sha256);
    let start = || Running::start(command("", folder.path(), &wanted));
    let (mut one, mut other) = (start(), start());
    // One of the two waits for the other; which, is nobody's business.
    let (waits, opens) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for running in [&mut one, &mut other] {
            let waits = waits.clone();
            scope.spawn(move || {
                let said = running.wait_for("");
                if said.starts_with("note file: waiting") {
                    waits.send(()).unwrap();
                }
            });
        }
        opens.recv().unwrap();
        gate.open();
    });
    assert_eq!([one.result(), other.result()], [done.clone(), done]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let stall = Reply::Stall(Reply::promising(100_000, &body()[..7]));
    let server = Server::replies(vec![stall, Reply::Good(body())]);
    let wanted = wanted(&server.url("/file"), &body());
    let mut first = Running::start(command("", folder.path(), &wanted));
    first.wait_for("at 7");
    let mut second = Running::start(command("", folder.path(), &wanted));
    second.wait_for("note file: waiting");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(second.result(), format!("done {}", wanted.sha256));
    assert_eq!(server.requests()[1].header("range"), "bytes=7-");
}

/// A limit on the size of files stands in for a full disk: the write fails in the
/// same place, and it needs neither root nor a disk to fill.
#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::Good(body()));
    let wanted = wanted(&server.url("/file"), &body());
    // 64 blocks of 512 bytes; the signal would end the process before the error.
    let shell = "trap '' XFSZ; ulimit -f 64;";
    let said = Running::start(command(shell, folder.path(), &wanted)).result();
    assert!(said.starts_with("error Io { action: \"write\""), "{said}");
    assert!(said.contains("kind: FileTooLarge"), "{said}");
    let left = left(folder.path());
    assert_eq!((left.entries, left.parts), (vec![], vec![]));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn proxies_come_from_the_environment() {
    for (variable, url, target) in [
        (
            "http_proxy",
            "http://upstream.invalid/file",
            "http://upstream.invalid/file",
        ),
        (
            "HTTPS_PROXY",
            "https://upstream.invalid/file",
            "upstream.invalid:443",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Server::new(|_, request| match request.target.starts_with("http") {
            true => Reply::Good(body()),
            false => Reply::status(407),
        });
        let wanted = wanted(url, &body());
        let mut command = command("", folder.path(), &wanted);
        command.env(variable, proxy.url(""));
        let said = Running::start(command).result();
        assert_eq!(said.starts_with("done"), variable == "http_proxy", "{said}");
        assert_eq!(proxy.targets()[0], target);
    }
}

#[test]
fn a_server_is_trusted_by_the_systems_authorities_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::tls(|_, request| match request.target.as_str() {
        "/file" => Reply::Good(body()),
        _ => Reply::redirect("http://127.0.0.1:9/file"),
    });
    let start = |path: &str, authority: Option<&str>| {
        let wanted = wanted(&server.url(path), &body());
        let mut command = command("", folder.path(), &wanted);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        Running::start(command).result()
    };
    // Once, and not again.
    let said = start("/file", None);
    assert!(said.starts_with("error Certificate {"), "{said}");
    assert_eq!(server.connections(), 1);

    let said = start("/leave", Some(AUTHORITY));
    let downgrade = format!(
        "error Downgrade {{ url: \"{}\", to: \"http://127.0.0.1:9/file\" }}",
        server.url("/leave")
    );
    assert_eq!(said, downgrade);
    assert_eq!(server.targets(), ["/leave"]);

    let said = start("/file", Some(AUTHORITY));
    assert!(said.starts_with("done "), "{said}");
}
