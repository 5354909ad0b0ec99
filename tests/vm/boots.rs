//! The ways in which an image boots: each reaches a containerd that answers.

use crate::appliance::{As, Image, SCRIPT, Setup, data_disk, images};

fn reaches_containerd(image: &Image, how: As) {
    let mut booted = Setup {
        how,
        ..Setup::new(&image.iso)
    }
    .boot();
    let version = booted.sh("ctr version");
    assert!(
        version.contains("Server:"),
        "{} as {how:?}: {version}",
        image.base
    );
    booted.guest.power_off(SCRIPT).unwrap();
}

/// By BIOS from a CD: `running`.
#[test]
fn by_uefi_from_a_cd() {
    for image in images() {
        reaches_containerd(image, As::UefiCd);
    }
}

#[test]
fn raw_as_a_usb_stick() {
    reaches_containerd(&images()[0], As::Stick);
}

#[test]
fn raw_as_a_disk_with_a_data_disk() {
    for image in images() {
        let folder = tempfile::tempdir().unwrap();
        let disk = data_disk(folder.path(), 512);
        let mut booted = Setup {
            how: As::Disk,
            disk: Some(&disk),
            ..Setup::new(&image.iso)
        }
        .boot();
        let told = booted.said("the data disk keeps /var/lib/containerd");
        assert_eq!(told.len(), 1, "{}: {}", image.base, booted.guest.console().end());
        booted.sh("ctr version && grep -q ' /var/lib/containerd ext4 ' /proc/mounts");
        booted.guest.power_off(SCRIPT).unwrap();
    }
}
