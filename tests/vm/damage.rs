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
        booted.sh("ctr version");
    }
}
