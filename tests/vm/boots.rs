//! The ways in which an image boots: each reaches a containerd that answers.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The files of a CD, copied to a stick with a FAT.
fn copied_to_a_fat(iso: &Path, folder: &Path) -> PathBuf {
    let stick = folder.join("stick");
    let script = r#"
        xorriso -report_about FATAL -osirrox on -indev "$1" -extract / "$2/files"
        mformat -C -i "$3" -v TCFORGE -T 524288 -h 255 -s 63 ::
        mcopy -s -i "$3" "$2"/files/* ::
        chmod -R u+w "$2/files"
    "#;
    let mut command = Command::new("sh");
    command.args(["-ec", script, "sh"]).args([iso, folder, &stick]);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "xorriso and mtools are needed: {output:?}"
    );
    stick
}

#[test]
fn by_uefi_from_its_files_on_a_stick() {
    let image = &images()[0];
    let folder = tempfile::tempdir().unwrap();
    let stick = Image {
        iso: copied_to_a_fat(&image.iso, folder.path()),
        ..image.clone()
    };
    reaches_containerd(&stick, As::UefiStick);
}
