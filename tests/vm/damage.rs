//! Images that are damaged, and machines that are too small.

use std::fs;
use std::path::Path;

use crate::appliance::{Setup, find_in, flip, images};

fn extension(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm/out");
    fs::read(folder.join(name)).unwrap()
}

/// The box boots, says which extension is damaged, and loads the rest.
#[test]
fn a_flipped_byte_is_told() {
    for image in images() {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("flipped.iso");
        fs::copy(&image.iso, &iso).unwrap();
        let content = extension("probe-a.tcz");
        // In the superblock: the image cannot be mounted.
        flip(&iso, find_in(&iso, &content));
        let mut booted = Setup::new(&iso).start();
        let verdict = booted.wait_for_verdict();
        assert!(
            verdict.contains("not ready") && verdict.contains("probe-a.tcz"),
            "{verdict}"
        );
        let told = booted.said("the extension probe-a.tcz on the disk is damaged");
        assert_eq!(told.len(), 1, "{}: {}", image.base, booted.guest.console().end());
        // The rest is loaded, what needs the damaged one too.
        booted.sh("ctr version && cat /usr/local/share/probe/probe-b");
        assert_eq!(booted.sh("cat /tmp/installed"), "probe-b\n", "{}", image.base);
    }
}
#[test]
fn a_truncated_image_is_told() {
    for image in images() {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("short.iso");
        fs::copy(&image.iso, &iso).unwrap();
        // Not even the first extension is whole.
        let at = find_in(&iso, &extension("containerd.tcz"));
        fs::OpenOptions::new()
            .write(true)
            .open(&iso)
            .unwrap()
            .set_len(at + 4096)
            .unwrap();
        let mut booted = Setup::new(&iso).start();
        let verdict = booted.wait_for_verdict();
        assert!(verdict.contains("not ready"), "{verdict}");
        assert!(
            !booted.said("is damaged").is_empty(),
            "{}",
            booted.guest.console().end()
        );
    }
}

#[test]
fn too_little_memory_is_told() {
    for image in images() {
        let mut booted = Setup {
            memory: 256,
            ..Setup::new(&image.iso)
        }
        .start();
        let line = booted.guest.wait_for("MiB of memory", crate::appliance::BOOT);
        let text = line
            .unwrap_or_else(|error| panic!("{}: {error}", image.base))
            .text;
        assert!(text.contains("tcforge: warning: "), "{text}");
    }
}
