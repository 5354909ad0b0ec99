//! The first fetch: of a file that nobody has summed, and with bars.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tcforge::digest::Sha256;

use super::server::{AUTHORITY, Reply, Server};
use crate::mirror::Mirror;
use crate::world::{Run, UPSTREAM, World, by_sum, noise, tar_gz};

/// A run that trusts the server and asks nobody else for it.
fn run(world: &World, args: &[&str]) -> Run {
    let mut command = world.command(args);
    for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    Run::of(command.env("SSL_CERT_FILE", AUTHORITY))
}

#[test]
fn a_sum_that_nobody_published_is_recorded_once_and_then_held_to() {
    let [ours, theirs, forged] =
        ["ours", "them", "fake"].map(|text| tar_gz(&[("tool", 0o755, text.as_bytes())]));
    let now = Arc::new(Mutex::new(ours.clone()));
    let served = now.clone();
    let server = Server::tls(move |_, _| Reply::Good(served.lock().unwrap().clone()));
    let url = server.url("/tool.tar.gz");
    let world = World::new();
    world.recipe(
        "tool",
        &format!(
            "[[release.test.asset]]\nurl = \"{url}\"\nplace = [{{ from = \"*\", to = \"usr/local/bin/\" }}]\n"
        ),
    );
    // A mirror may have what it likes under that name: it is not asked for a sum.
    world.write("mirror/tool.tar.gz", &forged);

    let missing = format!(
        "error: `tool.tar.gz` of `tool` is not in the lock: {url}\nhint: `tcforge update tool --channel test` fetches it \
         and records its sum; `--file tool.tar.gz=PATH` takes a file of yours without one\n"
    );
    for args in [
        &["build"][..],
        &["fetch"],
        &["build", "--offline"],
        &["fetch", "--offline"],
    ] {
        run(&world, args).failed(&missing);
    }
    assert_eq!(server.requests(), []);

    let (sum, size) = (Sha256::of(&ours), ours.len());
    let change = format!("tool (test): 1.2\n  tool.tar.gz: nothing → {url} {sum} ({size} bytes)\n");
    run(&world, &["update", "--dry-run"]).succeeded(&format!("Would update {change}"));
    assert_eq!(world.read("project/tcforge.lock"), "version = 1\n");
    run(&world, &["update"]).succeeded(&format!("   Updated {change}"));
    let lock = world.read("project/tcforge.lock");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let entry = |day: jiff::civil::Date| {
        format!(
            "name = \"tool.tar.gz\"\nurl = \"{url}\"\nsize = {size}\nsha256 = \"{sum}\"\nsource = \"first fetch by you \
             over https, {day}; no other record of the sum\"\n"
        )
    };
    // Midnight may have been in between.
    let days = [today, today.yesterday().unwrap()];
    assert!(days.iter().any(|day| lock.ends_with(&entry(*day))), "{lock}");
    world.build();

    // Upstream has another file from now on.
    *now.lock().unwrap() = theirs.clone();
    run(&world, &["update"]).succeeded("   Current tool 1.2\n");
    let other = format!(
        "error: `{url}` is not the file that was asked for: its sha256 is {}, not {sum}\nhint: upstream replaced the \
         file, or somebody changed it on the way: find out which. To take the new one, remove its entry from \
         the lock that has it, and run this again\n",
        Sha256::of(&theirs)
    );
    assert_eq!(theirs.len(), size, "only the sum differs");
    let cache = world.text_path("empty");
    for command in ["build", "fetch"] {
        run(
            &world,
            &[command, "--mirror", "file:/nowhere", "--cache", &cache, "-q"],
        )
        .failed(&other);
    }
    run(&world, &["fetch", "--offline", "--mirror", "file:/nowhere", "-q", "--cache", &cache]).failed(&format!(
        "error: not in the cache, and this is offline: tool.tar.gz ({url})\nhint: run `tcforge fetch` on a machine with \
         network, and copy its cache here\n"
    ));
    assert_eq!(world.read("project/tcforge.lock"), lock);
}

#[test]
fn every_file_has_a_bar_and_all_together_have_one() {
    let world = World::new();
    let files = ["one.tar.gz", "two.tar.gz"].map(|name| {
        let bytes = [name.as_bytes(), &noise(100_000 - name.len())].concat();
        world.lock(name, &Sha256::of(&bytes).to_string(), bytes.len());
        let recipe = name.strip_suffix(".tar.gz").unwrap();
        let asset = format!("[[release.test.asset]]\nurl = \"{UPSTREAM}/{name}\"\nplace = [{{ from = \"*\", to = \"usr/\" }}]\n");
        world.recipe(recipe, &asset);
        (by_sum(&bytes), bytes)
    });
    // Half of each comes, and no more.
    let mirror = Mirror::stalling(files.into());
    let program = world.command(&[]);
    let line = format!(
        "stty cols 120 rows 40; exec '{}' build --mirror {}",
        program.get_program().to_str().unwrap(),
        mirror.url()
    );
    let mut terminal = Command::new("script");
    terminal.args(["-qfc", &line, "/dev/null"]);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut terminal = terminal
        .env("TERM", "xterm")
        .current_dir(world.path("project"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is needed: apt-get install bsdutils");
    let mut output = terminal.stdout.take().unwrap();
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    let wanted = [
        ("one.tar.gz", "48.83 KiB/97.66 KiB"),
        ("two.tar.gz", "48.83 KiB/97.66 KiB"),
        ("total", "97.66 KiB/195.31 KiB"),
    ];
    let is_shown = |shown: &str, name: &str, done: &str| {
        let mut lines = shown.split(['\r', '\n']);
        lines.any(|line| line.contains(&format!("{name} [")) && line.contains(done))
    };
    while !wanted.iter().all(|(name, done)| is_shown(&shown, name, done)) {
        let n = output.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "it ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    // Its terminal goes away, and it with that.
    terminal.kill().unwrap();
    terminal.wait().unwrap();
}
