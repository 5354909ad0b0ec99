//! The ways in which an image boots: each reaches a containerd that answers.

use crate::appliance::{As, Setup, images};

fn reaches_containerd(how: As) {
    for image in images() {
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
        booted.guest.power_off(crate::appliance::SCRIPT).unwrap();
    }
}

#[test]
fn by_uefi_from_a_cd() {
    reaches_containerd(As::UefiCd);
}

#[test]
fn raw_as_a_disk() {
    reaches_containerd(As::Disk);
}

#[test]
fn raw_as_a_usb_stick() {
    reaches_containerd(As::Stick);
}
