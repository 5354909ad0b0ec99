//! The disk that keeps what has to last, and an image booted as a disk.

use std::path::Path;

use crate::appliance::{As, Booted, IMAGE, Image, SCRIPT, Setup, data_disk, images};

/// The image that a test keeps on the disk.
const KEPT: &str = "docker.io/library/kept:1";

/// A box is booted four times with the same disk, because a boot takes long: a
/// blank one, after a reboot, after a power cut, and full.
#[test]
fn raw_as_a_disk_with_a_data_disk() {
    for image in images() {
        let folder = tempfile::tempdir().unwrap();
        let disk = data_disk(folder.path(), 512);
        imports(image, &disk);
        imported_is_there_and_the_power_fails(image, &disk);
        a_power_cut_is_survived(image, &disk);
        a_full_disk_is_told(image, &disk);
    }
}

fn setup<'a>(image: &'a Image, disk: &'a Path) -> Setup<'a> {
    Setup {
        how: As::Disk,
        disk: Some(disk),
        ..Setup::new(&image.iso)
    }
}

fn end(booted: &Booted, image: &Image) -> String {
    format!("{}: {}", image.base, booted.guest.console().end())
}

fn imports(image: &Image, disk: &Path) {
    let mut booted = setup(image, disk).boot();
    let told = booted.said("the data disk keeps /var/lib/containerd");
    assert_eq!(told.len(), 1, "{}", end(&booted, image));
    booted.sh("ctr version && grep -q ' /var/lib/containerd ext4 ' /proc/mounts");
    booted.sh(&format!(
        "ctr images export /tmp/one.tar {IMAGE} && ctr -n other images import --base-name x /tmp/one.tar \
         && ctr images tag {IMAGE} {KEPT}"
    ));
    booted.guest.power_off(SCRIPT).unwrap();
}

fn imported_is_there_and_the_power_fails(image: &Image, disk: &Path) {
    let mut booted = setup(image, disk).boot();
    let names = booted.sh("ctr images ls -q; ctr -n other images ls -q");
    assert_eq!(
        names.lines().filter(|name| [KEPT, IMAGE].contains(name)).count(),
        3,
        "{}: {names}",
        image.base
    );
    // Imports follow each other without end; the power fails in one of them.
    booted.sh(&format!(
        r#"
        ctr images export /tmp/one.tar {IMAGE}
        while :; do
            ctr -n cut images import /tmp/one.tar && echo imported
            ctr -n cut images rm --sync {IMAGE}
        done >/tmp/imports 2>&1 </dev/null &
        until grep -q imported /tmp/imports; do sleep 0.1; done
        "#
    ));
    booted.guest.cut_power();
}

fn a_power_cut_is_survived(image: &Image, disk: &Path) {
    let mut booted = setup(image, disk).boot();
    booted.sh(&format!("ctr run --rm {KEPT} after /bin/busybox true"));
    // What was half imported can be imported.
    booted.sh(&format!(
        "ctr images export /tmp/one.tar {KEPT} && ctr -n cut images import /tmp/one.tar"
    ));
    // A disk that is full when the box boots again.
    booted.sh("dd if=/dev/zero of=/mnt/tcforge-data/fill bs=1048576 2>/dev/null; sync");
    booted.guest.power_off(SCRIPT).unwrap();
}

fn a_full_disk_is_told(image: &Image, disk: &Path) {
    let mut booted = setup(image, disk).start();
    let verdict = booted.wait_for_verdict();
    let told = booted.said("warning: the data disk is full (0 KiB are left)");
    assert_eq!(told.len(), 1, "{verdict}\n{}", end(&booted, image));
    // It can be looked at and mended from within.
    booted.sh(
        "rm /mnt/tcforge-data/fill && /usr/local/etc/init.d/containerd restart && ctr images ls -q | grep -q kept",
    );
    booted.guest.power_off(SCRIPT).unwrap();
}
