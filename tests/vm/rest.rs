//! A machine whose only disk is the one that it boots from: its rest keeps the data.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tcforge::vm::{Boot, Bus, Disk, Firmware, Guest, Machine};

use crate::appliance::{BOOT, Image, SCRIPT, Turn, folder, on_each_base};

/// Of the disk, bytes; the data begins at 1 GiB.
const SIZE: u64 = 1536 << 20;

/// An image, and a newer one, on a base.
struct Images {
    old: Image,
    newer: Image,
}

/// On every base that there is.
fn images() -> &'static [Images] {
    static IMAGES: OnceLock<Vec<Images>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let make = |name: &str, extensions: &str| {
            let text = format!(
                "title = 'Rest'\nbase = 'mini'\nchannels = ['debian']\nextensions = [{extensions}]\n\
                 persistent = ['home']\n[data-disk]\nformat = 'rest'\n"
            );
            fs::write(folder().join(format!("project/iso/{name}.toml")), text).unwrap();
            on_each_base(name, &[])
        };
        let old = make("rest", "'probe-a.tcz'");
        let newer = make("rest-newer", "'probe-b.tcz', 'attr.tcz'");
        let both = old.into_iter().zip(newer);
        both.map(|(old, newer)| Images { old, newer }).collect()
    })
}

/// Starts a machine with that disk alone, and waits until it is up.
fn boot(disk: &Path, bus: Bus, firmware: Firmware) -> Guest {
    let mut machine = Machine::new(Boot::WritableDisk(Disk {
        file: disk.to_owned(),
        bus,
    }));
    machine.firmware = firmware;
    machine.cpus = 1;
    let mut guest = machine.start(disk.parent().unwrap()).unwrap();
    let ready = guest.wait_for("tcforge: ready", BOOT);
    ready.unwrap_or_else(|error| panic!("{bus:?}, {firmware:?}: {error}"));
    guest
}

/// How often the box said that it formatted something.
fn formatted(guest: &Guest) -> usize {
    let lines = guest.console().lines().into_iter();
    lines
        .filter(|line| line.text.contains("formatted the rest of /dev/"))
        .count()
}

fn assert_in_order(disk: &Path) {
    let output = Command::new("sgdisk")
        .arg("--verify")
        .arg(disk)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .expect("sgdisk is needed: apt-get install gdisk");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("No problems found"), "{said}");
}

fn keeps_its_data(base: usize, bus: Bus, firmware: Firmware) {
    let images = &images()[base % images().len()];
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::copy(&images.old.iso, &disk).unwrap();
    let file = OpenOptions::new().write(true).open(&disk).unwrap();
    file.set_len(SIZE).unwrap();
    let _turn = Turn::wait();

    let mut guest = boot(&disk, bus, firmware);
    assert_eq!(formatted(&guest), 1, "{}", guest.console().end());
    guest.expect("echo first >/home/file", SCRIPT).unwrap();
    guest.power_off(SCRIPT).unwrap();
    assert_in_order(&disk);

    let mut guest = boot(&disk, bus, firmware);
    assert_eq!(formatted(&guest), 0, "{}", guest.console().end());
    let script = "cat /home/file && ! command -v getfattr && echo second >>/home/file && sync";
    assert_eq!(guest.expect(script, SCRIPT).unwrap(), "first\n");
    guest.cut_power();

    file.write_all_at(&fs::read(&images.newer.iso).unwrap(), 0)
        .unwrap();
    let mut guest = boot(&disk, bus, firmware);
    assert_eq!(formatted(&guest), 0, "{}", guest.console().end());
    let script = "cat /home/file && command -v getfattr >/dev/null";
    assert_eq!(guest.expect(script, SCRIPT).unwrap(), "first\nsecond\n");
    guest.power_off(SCRIPT).unwrap();
    assert_in_order(&disk);
}

#[test]
fn on_virtio_by_bios() {
    keeps_its_data(0, Bus::Virtio, Firmware::Bios);
}

#[test]
fn on_scsi_by_uefi() {
    keeps_its_data(1, Bus::Scsi, Firmware::Uefi);
}

#[test]
fn on_nvme_by_uefi() {
    keeps_its_data(0, Bus::Nvme, Firmware::Uefi);
}

#[test]
fn on_a_usb_stick_by_bios() {
    keeps_its_data(1, Bus::Usb, Firmware::Bios);
}
