//! `tcforge run`, as a person or a script meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::appliance::{BOOT, Turn, images};

fn run(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcforge"));
    command.arg("run").args(args).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `--check` waits for the services and a container, and tells when what came.
#[test]
fn a_box_is_checked() {
    for image in images() {
        let _turn = Turn::wait();
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report");
        let args = ["--check", "--json", "--cpus", "1", "--memory", "1024", "--report"];
        let output = run(&args).arg(&report).arg(&image.iso).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{}: {said}", image.base);
        assert!(
            said.contains("everything answers, and a container has run"),
            "{said}"
        );
        let timeline: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let events = timeline["events"].as_array().unwrap();
        let names: Vec<_> = events
            .iter()
            .map(|event| event["name"].as_str().unwrap())
            .collect();
        for name in ["containerd.tcz", "containerd", "ready"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let json = fs::read_to_string(report.join("timeline.json")).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            timeline
        );
        assert!(
            fs::read_to_string(report.join("timeline.svg"))
                .unwrap()
                .contains("</svg>")
        );
        assert!(
            fs::read_to_string(report.join("console.log"))
                .unwrap()
                .contains("tcforge: ready")
        );
    }
}

#[test]
fn what_cannot_be_booted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.iso");
    let whole = fs::read(&images()[0].iso).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let none = folder.path().join("none.iso");
    let file = file.to_str().unwrap();
    for (args, message) in [
        (vec![file], "is not whole: it has"),
        (vec![none.to_str().unwrap()], "cannot read the image"),
        (vec![file, "--memory", "much"], "invalid value 'much'"),
        (vec![file, "--boot", "tape"], "[possible values: cd, disk, usb]"),
    ] {
        let output = run(&args).output().unwrap();
        let said = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!output.status.success(), "{args:?}: {said}");
        assert!(said.contains(message), "{args:?}: {said}");
    }
}

/// A box that never gets up is told of in time, and Ctrl-C ends one at once;
/// neither leaves a machine behind.
#[test]
fn no_machine_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("empty.img");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let image = image.to_str().unwrap();
    let output = run(&["--check", "--timeout", "0", image]).output().unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("did not come within 0 seconds"), "{message}");
    assert_eq!(machines(image), 0);

    let mut child = run(&["--check", image]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| machines(image) > 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until(|| machines(image) == 0);
}

/// How many machines run with that image.
fn machines(image: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    lines
        .filter(|line| Path::new(line.split('\0').next().unwrap()).ends_with("qemu-system-x86_64"))
        .filter(|line| line.contains(image))
        .count()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + BOOT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
