//! The machine driver itself, on machines that have nothing to boot.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tcforge::vm::{Boot, Bus, Machine, VmError};

fn nothing(folder: &Path) -> Machine {
    let image = folder.join("empty.iso");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    Machine::new(Boot::Cd(image))
}

#[test]
fn nothing_is_left_of_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = nothing(folder.path()).start(folder.path()).unwrap();
    let group = guest.process_group();
    let process = format!("/proc/{group}");
    assert!(
        fs::read_to_string(format!("{process}/cmdline"))
            .unwrap()
            .contains("qemu")
    );
    let error = guest
        .wait_for("a line that never comes", Duration::ZERO)
        .unwrap_err();
    assert!(matches!(error, VmError::TimeOut { .. }), "{error}");
    assert!(error.to_string().contains("the end of the console"), "{error}");
    let error = guest.run("true", Duration::ZERO).unwrap_err();
    assert!(matches!(error, VmError::TimeOut { .. }), "{error}");
    drop(guest);
    assert!(!Path::new(&process).exists());
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["console.log", "empty.iso", "qemu.log"]);
}

#[test]
fn what_qemu_does_not_like_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = nothing(folder.path());
    machine.cpus = 100_000;
    let mut guest = machine.start(folder.path()).unwrap();
    let error = guest.wait_for("anything", Duration::from_secs(600)).unwrap_err();
    assert!(matches!(error, VmError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("Invalid SMP CPUs 100000"), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let machine = nothing(folder.path());
    let error = machine.start(&none).unwrap_err();
    assert!(matches!(error, VmError::File { action: "write", .. }), "{error}");
    for boot in [
        Boot::Cd(none.clone()),
        Boot::Disk(none.clone(), Bus::Usb),
        Boot::Kernel {
            kernel: folder.path().join("empty.iso"),
            initrd: none.clone(),
            append: String::new(),
        },
    ] {
        let machine = Machine {
            boot,
            ..machine.clone()
        };
        let error = machine.start(folder.path()).unwrap_err();
        assert!(
            matches!(&error, VmError::File { action: "read", path, .. } if *path == none),
            "{error}"
        );
    }
}
