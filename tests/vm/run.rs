//! `tcforge run`, as a person or a script meets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::appliance::{BOOT, Turn, broken_image, images, write_program};

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
        let report = |name| fs::read_to_string(report.join(name)).unwrap();
        assert!(report("console.log").contains("tcforge: ready"));
        assert!(report("logs/dmesg").contains("Linux version"));
        assert!(report("logs/containerd.log").contains("containerd successfully booted"));
    }
}

/// Who waits is told where the box stands; a box that is not as it should be says
/// why, and its report holds as much as one of a box that is.
#[test]
fn a_box_with_a_broken_service_tells_why() {
    let _turn = Turn::wait();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let image = broken_image();
    let output = run(&["--check", "--report"])
        .arg(&report)
        .arg(image)
        .output()
        .unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for text in [
        " s, for the service `broken`",
        "error: the box is not ready: broken\n",
        "broken: gives up\n--- the end of /var/log/broken.log:\nthe moon is in the wrong place\n",
    ] {
        assert!(message.contains(text), "{text}: {message}");
    }
    let report = |name| fs::read_to_string(report.join(name)).unwrap();
    assert!(report("console.log").contains("tcforge: not ready"));
    assert!(report("logs/dmesg").contains("Linux version"));
    assert_eq!(report("logs/broken.log"), "the moon is in the wrong place\n");
    assert!(report("logs/tcforge.log").contains("broken: gives up\n"));
    assert!(report("timeline.svg").contains("not ready"));
    let timeline: serde_json::Value = serde_json::from_str(&report("timeline.json")).unwrap();
    let events = timeline["events"].as_array().unwrap();
    let happened: Vec<_> = events
        .iter()
        .map(|event| (event["kind"].as_str().unwrap(), event["name"].as_str().unwrap()))
        .collect();
    for event in [
        ("kernel", "kernel"),
        ("extension", "broken.tcz"),
        ("failure", "broken"),
        ("failure", "not ready"),
    ] {
        assert!(happened.contains(&event), "{event:?}: {timeline}");
    }
}

/// A host whose processor says that it runs machines, and a KVM with which QEMU
/// starts and Linux hangs: for the first machine that is found out, and then known.
#[test]
fn a_machine_that_hangs_with_kvm_is_emulated() {
    let _turn = Turn::wait();
    let folder = tempfile::tempdir().unwrap();
    let log = pretend_kvm(folder.path());
    let boot = |args: &[&str]| {
        fs::write(&log, "").unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["-rm", "sh", "-c", WITH_KVM, "sh"])
            .arg(folder.path());
        command
            .arg(env!("CARGO_BIN_EXE_tcforge"))
            .args(["run", "--check"]);
        command.args(args).arg(broken_image());
        let output = command
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .env_remove("TCFORGE_ACCELERATOR")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (said(&output), fs::read_to_string(&log).unwrap())
    };
    let silent = "with KVM the machine said nothing for 60 seconds";
    let up = "error: the box is not ready: broken\n";
    let (message, machines) = boot(&[]);
    assert_eq!(machines, "probe\nkvm\ntcg\n", "{message}");
    assert!(message.contains("with KVM\n"), "{message}");
    assert_eq!(message.matches(silent).count(), 1, "{message}");
    assert!(message.contains(up), "{message}");

    let (message, machines) = boot(&[]);
    assert_eq!(machines, "tcg\n", "{message}");
    assert!(
        message.contains("with TCG (emulation") && !message.contains(silent),
        "{message}"
    );
    assert!(message.contains(up), "{message}");

    // By hand: what is remembered does not count, and nothing takes its place.
    let (message, machines) = boot(&["--accelerator", "kvm", "--timeout", "1"]);
    assert_eq!(machines, "kvm\n", "{message}");
    assert!(
        message.contains("gave up after 1 s waiting for the service `broken`"),
        "{message}"
    );
}

/// Runs `$@` where there is a /dev/kvm, and a processor that has its flag, whatever
/// this machine is.
const WITH_KVM: &str = r#"
set -e
folder=$1
shift
mount --bind "$folder/cpuinfo" /proc/cpuinfo
mount -t tmpfs none "$folder/dev"
for device in null zero full random urandom tty; do
    touch "$folder/dev/$device"
    mount --bind "/dev/$device" "$folder/dev/$device"
done
touch "$folder/dev/kvm"
mount --rbind "$folder/dev" /dev
PATH=$folder:$PATH
exec "$@"
"#;

/// A QEMU whose machines with KVM never get past their first instruction, but for
/// the one that only looks whether KVM is there. Gives the log of what it was to do.
fn pretend_kvm(folder: &Path) -> PathBuf {
    let log = folder.join("machines");
    let qemu = ["/usr/bin", "/usr/local/bin", "/bin"]
        .map(|folder| Path::new(folder).join("qemu-system-x86_64"))
        .into_iter()
        .find(|file| file.is_file())
        .expect("QEMU is needed: apt-get install qemu-system-x86");
    let script = format!(
        "#!/bin/sh
        case \"$*\" in
        *'-accel kvm'*isa-debug-exit*) echo probe >>{log}; exit 33 ;;
        *'-accel kvm'*) echo kvm >>{log} ;;
        *) echo tcg >>{log}; exec {qemu} \"$@\" ;;
        esac
        for word; do
            shift
            case $word in kvm) word=tcg ;; host) word=max ;; esac
            set -- \"$@\" \"$word\"
        done
        exec {qemu} \"$@\" -S\n",
        log = log.display(),
        qemu = qemu.display()
    );
    write_program(&folder.join("qemu-system-x86_64"), &script);
    fs::write(folder.join("cpuinfo"), "processor\t: 0\nflags\t\t: fpu svm\n").unwrap();
    fs::create_dir(folder.join("dev")).unwrap();
    log
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
        (
            vec![file, "--timeout", "18446744073709551615"],
            "is not in 0..=604800",
        ),
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
    assert!(
        message.contains("gave up after 0 s waiting for `tcforge: ready` on the console"),
        "{message}"
    );
    assert_eq!(message.matches("the end of the console").count(), 1, "{message}");
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
