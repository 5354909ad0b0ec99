//! The partition tables of an image, by the tools that people add partitions with.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{APPLIANCE, Bench};
use crate::gpt::{self, Partition, SECTOR};

/// Sectors of a GPT's copy, which a tool moves to the end of a larger disk.
const COPY: u64 = 33;

/// Runs a tool on a disk, whose name comes after the first words of the command.
fn tool(command: &[&str], disk: &Path, more: &[&str], input: &str) -> Output {
    // An ordinary user may not have it on the PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .arg(disk)
        .args(more)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} is needed (ci/install-packages test): {error}", command[0]));
    // It may end before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// No tool has anything to say against the partition tables of a disk.
pub(crate) fn assert_in_order(disk: &Path) {
    for (command, more, wanted) in [
        (&["sgdisk", "--verify"][..], &[][..], "No problems found"),
        (&["sfdisk", "--verify"], &[], "No errors detected"),
        (&["parted", "--script"], &["print"], "Partition Table: gpt"),
        (&["fdisk", "--list"], &[], "Disklabel type: gpt"),
    ] {
        let output = tool(command, disk, more, "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(said.contains(wanted), "{command:?}: {said}");
        for word in ["Warning", "Caution", "Problem:", "Error"] {
            assert!(!said.contains(word), "{command:?}: {said}");
        }
    }
}

fn image(bench: &Bench) -> (std::path::PathBuf, Vec<u8>) {
    bench.make(APPLIANCE, 0).unwrap();
    (bench.iso(), fs::read(bench.iso()).unwrap())
}

#[test]
fn partitions_are_all_of_the_image() {
    let bench = Bench::new();
    let (iso, bytes) = image(&bench);
    let sectors = gpt::sectors(&iso);
    let table = gpt::table(&iso, 1).unwrap();
    assert_eq!(gpt::table(&iso, sectors - 1), Some(table.clone()));
    let names: Vec<_> = table.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ISO 9660", "EFI boot partition", "ISO 9660"]);
    // From behind the table to its copy.
    assert_eq!((table[0].first, table[2].last), (1 + COPY, sectors - COPY - 1));
    for pair in table.windows(2) {
        assert_eq!(pair[0].last + 1, pair[1].first);
    }
    // The MBR's first partition is GPT's, and has all but the MBR.
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(
        (bytes[450], number(454), number(458)),
        (0xee, 1, sectors as u32 - 1)
    );
}

#[test]
fn tools_find_nothing_to_say_of_an_image() {
    let bench = Bench::new();
    let (iso, bytes) = image(&bench);
    assert_in_order(&iso);
    let Partition { first, last, .. } = gpt::table(&iso, 1).unwrap()[1];
    let efi = bench.path().join("efi");
    fs::write(
        &efi,
        &bytes[(first * SECTOR) as usize..((last + 1) * SECTOR) as usize],
    )
    .unwrap();
    let output = tool(&["fsck.fat", "-n"], &efi, &[], "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    // Its version, and how much is used.
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(output.stderr.is_empty(), "{:?}", output.stderr);
}

/// On the image itself there is no room for a partition more; on a larger disk one
/// comes behind the image, and whatever is written to it, all files stay.
#[test]
fn no_tool_puts_a_partition_into_the_image() {
    let bench = Bench::new();
    let (_, bytes) = image(&bench);
    let disk = bench.path().join("disk");
    for (command, more, input) in [
        (&["sgdisk", "--new=0:0:0"][..], &[][..], ""),
        (&["sgdisk", "--move-second-header", "--new=0:0:0"], &[], ""),
        (&["sfdisk", "--append"], &[], ",,\n"),
        (&["fdisk", "--wipe=never"], &[], "n\n\n\n\nw\n"),
        (
            &["parted", "--script", "--fix"],
            &["mkpart", "more", "ext4", "0%", "100%"],
            "",
        ),
    ] {
        for larger in [0, 64 << 20] {
            fs::write(&disk, &bytes).unwrap();
            let file = OpenOptions::new().write(true).open(&disk).unwrap();
            file.set_len(bytes.len() as u64 + larger).unwrap();
            let output = tool(command, &disk, more, input);
            let new = gpt::partitions(&disk).into_iter().skip(3);
            for Partition { first, last, .. } in new {
                assert!(larger > 0, "{output:?}");
                file.write_all_at(
                    &vec![0xff; ((last + 1 - first) * SECTOR) as usize],
                    first * SECTOR,
                )
                .unwrap();
            }
            let range = (34 * SECTOR) as usize..bytes.len() - (COPY * SECTOR) as usize;
            let now = fs::read(&disk).unwrap();
            assert!(now[range.clone()] == bytes[range], "{output:?}");
        }
    }
    // Of those, some do add one.
    fs::write(&disk, [&bytes[..], &[0; 8 << 20]].concat()).unwrap();
    tool(&["sfdisk", "--append"], &disk, &[], ",,\n");
    assert_eq!(gpt::partitions(&disk).len(), 4);
}
