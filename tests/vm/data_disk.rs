//! The disk that keeps what has to last.

use crate::appliance::{As, Booted, IMAGE, SCRIPT, Setup, data_disk, images};

fn boot(iso: &std::path::Path, disk: &std::path::Path) -> Booted {
    Setup {
        how: As::Disk,
        disk: Some(disk),
        ..Setup::new(iso)
    }
    .boot()
}

/// An image imported before a reboot is there after it; a power cut in the
/// middle of an import leaves a box that boots and a containerd that answers.
#[test]
fn what_was_imported_lasts() {
    for image in images() {
        let folder = tempfile::tempdir().unwrap();
        let disk = data_disk(folder.path(), 2048);
        let mut booted = boot(&image.iso, &disk);
        assert_eq!(
            booted.said("the data disk keeps /var/lib/containerd").len(),
            1,
            "{}",
            image.base
        );
        booted.sh(&format!(
            "ctr -n other images tag {IMAGE} docker.io/library/kept:1 2>/dev/null || \
             ctr images tag {IMAGE} docker.io/library/kept:1"
        ));
        booted.guest.power_off(SCRIPT).unwrap();
        drop(booted);

        let mut booted = boot(&image.iso, &disk);
        let names = booted.sh("ctr images ls -q");
        assert!(
            names.contains("docker.io/library/kept:1"),
            "{}: {names}",
            image.base
        );
        // The power fails while a large image is read in.
        booted.sh(&format!(
            r#"
            ctr images export /tmp/one.tar {IMAGE}
            (while :; do ctr -n cut images import /tmp/one.tar; ctr -n cut images rm {IMAGE}; done >/tmp/import 2>&1) &
            until grep -q unpacking /tmp/import 2>/dev/null; do sleep 0.1; done
            "#
        ));
        booted.guest.cut_power();

        let mut booted = boot(&image.iso, &disk);
        booted.sh(&format!("ctr run --rm {IMAGE} after /bin/busybox true"));
        assert!(booted.sh("ctr images ls -q").contains("docker.io/library/kept:1"));
        booted.guest.power_off(SCRIPT).unwrap();
    }
}

#[test]
fn a_full_one_is_survived() {
    for image in &images()[..1] {
        let folder = tempfile::tempdir().unwrap();
        let disk = data_disk(folder.path(), 64);
        let mut booted = boot(&image.iso, &disk);
        booted.sh("dd if=/dev/zero of=/mnt/tcforge-data/fill bs=1048576 2>/dev/null; sync; true");
        booted.guest.power_off(SCRIPT).unwrap();
        drop(booted);
        let mut booted = Setup {
            how: As::Disk,
            disk: Some(&disk),
            ..Setup::new(&image.iso)
        }
        .start();
        let verdict = booted.wait_for_verdict();
        let full = booted.said("warning: the data disk is full");
        assert!(
            !full.is_empty(),
            "{}: {verdict}\n{}",
            image.base,
            booted.guest.console().end()
        );
        booted.sh("true");
    }
}
