//! The ways in which an image boots: each reaches a containerd that answers.

use crate::appliance::{As, Image, SCRIPT, Setup, images};

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

/// By BIOS from a CD: `running`; raw as a disk: `data_disk`.
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
