//! The rest of the boot medium as the data disk (iso/boot/rest.sh), on a file that
//! stands for the medium.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::boot::{install, said};
use super::machine::{Machine, System, systems};
use crate::gpt::{self, Partition, SECTOR};
use crate::iso::partitions::assert_in_order;
use crate::iso::{APPLIANCE, Bench};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 80 * MIB;
/// Where the data begins, and where in it somebody has a file.
const BEGINS: u64 = 8 * MIB;
const FILE: u64 = BEGINS + 5 * MIB;
const CONTENT: &[u8] = b"somebody's";
const LABEL: &str = "tcforge-data";
/// Enough writes for everything.
const ALL: u32 = 100;

const FORMATTED: &str = "tcforge: formatted the rest of /dev/disk as the data disk tcforge-data\n";
const KEEPS: &str = "tcforge: the data disk keeps /var/lib/a\n";

/// Only the first writes to the medium happen; then the power has failed. The kernel
/// knows the partitions that it found when it started.
const PROGRAMS: &str = r#"
dd() {
    case " $* " in *" of=/dev/disk "*) writes || return 0 ;; esac
    command dd "$@"
}
writes() { read -r left </etc/left; [ "$left" -gt 0 ] && echo $((left - 1)) >/etc/left; }
losetup() { case $1 in -f) echo /dev/loop0 ;; -o) echo "$2" >/var/loop ;; -d) ;; esac; }
mount() { echo "$*" >>/var/mounted; }
findfs() { [ -s /etc/found ] && cat /etc/found; }
blkid() { findfs; }
mknod() { :; }
udevadm() { :; }
e2fsck() { :; }
modprobe() { :; }
"#;

/// What becomes of a file system: something first, what it is known by at the end.
const MKFS: &str = r#"#!/bin/sh
write() {
    read -r left </etc/left
    [ "$left" -gt 0 ] && echo $((left - 1)) >/etc/left &&
        dd of=/dev/disk bs=1 seek=$(($(cat /var/loop) + $1)) conv=notrunc 2>/dev/null
}
echo "$*" >>/var/made
echo tables | write 4096
{ head -c 56 /dev/zero; printf '\123\357'; head -c 62 /dev/zero; printf %s "$4"; } | write 1024
"#;

/// A box, and the medium that it is booted from.
struct Medium {
    machine: Machine,
}

impl Medium {
    fn new(system: &System, image: &Path) -> Self {
        let machine = Machine::start(system);
        install(&machine, "data.sh", PROGRAMS);
        machine.install("/usr/local/sbin/mkfs.ext4", MKFS);
        machine.write("/etc/cmdline", "quiet tcforge.format=rest\n");
        machine.write(
            "/etc/tcforge/appliance",
            format!("DATA_LABEL='{LABEL}'\nDATA_BEGINS='8'\nDATA_FORMAT=''\nPERSISTENT='/var/lib/a'\n"),
        );
        machine.write("/etc/shadow", "");
        machine.write("/etc/sysconfig/cde", "/mnt/disk/cde/optional\n");
        machine.write("/etc/mounts", "/dev/disk /mnt/disk iso9660 ro 0 0\n");
        let about = [
            ("disk/ro", "0"),
            ("disk/queue/logical_block_size", "512"),
            ("disk/disk4/partition", "4"),
        ];
        for (file, text) in about {
            machine.write(&format!("/sys/block/{file}"), format!("{text}\n"));
        }
        fs::create_dir_all(machine.path("/sys/class/block")).unwrap();
        for (name, to) in [("disk", "disk"), ("disk4", "disk/disk4")] {
            let link = machine.path("/sys/class/block").join(name);
            symlink(format!("/sys/block/{to}"), link).unwrap();
        }
        let new = Self { machine };
        new.insert(image, SIZE);
        new
    }

    fn disk(&self) -> PathBuf {
        self.machine.path("/dev/disk")
    }

    /// Another medium that an image was written to.
    fn insert(&self, image: &Path, size: u64) {
        fs::copy(image, self.disk()).unwrap();
        self.resize(size);
    }

    fn resize(&self, size: u64) {
        let disk = OpenOptions::new().write(true).open(self.disk()).unwrap();
        disk.set_len(size).unwrap();
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let disk = OpenOptions::new().write(true).open(self.disk()).unwrap();
        disk.write_all_at(bytes, at).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(self.disk())
            .unwrap()
            .read_exact_at(&mut bytes, at)
            .unwrap();
        bytes
    }

    /// Starts the box, whose power fails after so many writes: what it said.
    fn boot(&mut self, writes: u32) -> String {
        let disk = self.disk();
        self.machine
            .write("/sys/block/disk/size", format!("{}\n", gpt::sectors(&disk)));
        let data = gpt::partitions(&disk).into_iter().nth(3).filter(|data| {
            let label = data.first * SECTOR + 1024 + 120;
            self.read(label, LABEL.len()) == LABEL.as_bytes()
        });
        if let Some(Partition { first, .. }) = &data {
            self.machine
                .write("/sys/block/disk/disk4/start", format!("{first}\n"));
        }
        self.machine
            .write("/etc/found", data.map_or("", |_| "/dev/disk4\n"));
        self.machine.write("/etc/left", format!("{writes}\n"));
        for file in ["/var/log/tcforge.log", "/var/made", "/var/mounted"] {
            self.machine.write(file, "");
        }
        self.machine.run("/etc/tcforge/script");
        said(&self.machine)
    }

    /// Writes that did not happen.
    fn left(&self) -> u32 {
        self.machine.read("/etc/left").trim().parse().unwrap()
    }
}

/// An image, larger by so many bytes than the smallest.
fn image(larger: u64) -> (Bench, PathBuf) {
    let bench = Bench::new();
    fs::write(bench.path().join("lib.tcz"), vec![1; larger as usize]).unwrap();
    bench.make(APPLIANCE, 0).unwrap();
    let iso = bench.iso();
    (bench, iso)
}

/// The partitions of a medium whose rest is the data disk.
fn wanted(image: &Path, size: u64) -> Vec<Partition> {
    let mut all = gpt::table(image, 1).unwrap();
    all[2].last = BEGINS / SECTOR - 1;
    all.push(Partition {
        first: BEGINS / SECTOR,
        last: size / SECTOR - 41,
        name: LABEL.to_owned(),
    });
    all
}

#[test]
fn it_becomes_the_data_disk_once() {
    let (_bench, image) = image(0);
    for system in systems() {
        let mut medium = Medium::new(&system, &image);
        assert_eq!(medium.boot(ALL), format!("{FORMATTED}{KEEPS}"), "{}", system.name);
        assert_eq!(gpt::partitions(&medium.disk()), wanted(&image, SIZE));
        assert_in_order(&medium.disk());
        let kib = (SIZE - BEGINS - 40 * SECTOR) / 1024;
        assert_eq!(
            medium.machine.read("/var/made"),
            format!("-q -F -L tcforge-data /dev/loop0 {kib}k\n")
        );
        // The image is as it was, but for its tables.
        let bytes = fs::read(&image).unwrap();
        let range = 34 * SECTOR as usize..bytes.len();
        assert!(medium.read(34 * SECTOR, range.len()) == bytes[range]);
        // Its partition cannot be mounted, because the whole disk is.
        for found in ["", "/dev/disk4"] {
            assert!(
                medium
                    .machine
                    .read("/var/mounted")
                    .starts_with("-t ext4 /dev/loop0 /mnt/tcforge-data\n"),
                "{found}"
            );
            assert_eq!(medium.machine.read("/var/loop"), format!("{BEGINS}\n"), "{found}");
            medium.machine.write("/var/loop", "");
            assert_eq!(medium.boot(ALL), KEEPS, "{}", system.name);
            assert_eq!(
                (medium.left(), medium.machine.read("/var/made")),
                (ALL, String::new())
            );
        }
    }
}

#[test]
fn the_appliance_asks_for_it_and_the_boot_code_wins() {
    let (_bench, image) = image(0);
    let lost = "tcforge: no data disk: /var/lib/a are in memory";
    for system in systems() {
        for (file, code, wanted) in [
            ("rest", "", FORMATTED),
            ("rest", "tcforge.format=none", lost),
            ("none", "tcforge.format=rest", FORMATTED),
            ("", "", lost),
        ] {
            let mut medium = Medium::new(&system, &image);
            let text = medium.machine.read("/etc/tcforge/appliance");
            let text = text.replace("DATA_FORMAT=''", &format!("DATA_FORMAT='{file}'"));
            medium.machine.write("/etc/tcforge/appliance", text);
            medium.machine.write("/etc/cmdline", format!("quiet {code}\n"));
            let said = medium.boot(ALL);
            assert!(
                said.starts_with(wanted),
                "{}, {file}, {code}: {said}",
                system.name
            );
        }
    }
}

/// After each write but the last, the medium boots, and the next boot does the rest.
#[test]
fn the_power_may_fail_at_any_write() {
    let (_bench, image) = image(0);
    let efi = &gpt::table(&image, 1).unwrap()[1];
    for system in systems() {
        let mut medium = Medium::new(&system, &image);
        medium.boot(ALL);
        let writes = ALL - medium.left();
        assert_eq!(writes, 7, "{}", system.name);
        for writes in 0..writes {
            medium.insert(&image, SIZE);
            medium.boot(writes);
            assert_eq!(medium.left(), 0);
            assert_eq!(&gpt::partitions(&medium.disk())[1], efi, "{writes} writes");
            let said = medium.boot(ALL);
            assert!(said.ends_with(KEEPS), "{writes} writes: {said}");
            assert_eq!(
                gpt::partitions(&medium.disk()),
                wanted(&image, SIZE),
                "{writes} writes"
            );
            assert_in_order(&medium.disk());
        }
    }
}

/// Larger or smaller than the old one, and whenever the power fails after it was
/// written.
#[test]
fn a_newer_image_over_the_old_one_finds_the_data() {
    let (_small, small) = image(0);
    let (_large, large) = image(3 * MIB);
    for system in systems() {
        for (old, new) in [(&small, &large), (&large, &small)] {
            let mut medium = Medium::new(&system, old);
            medium.boot(ALL);
            medium.write(FILE, CONTENT);
            let before = medium.machine.path("/var/before");
            medium.write(0, &fs::read(new).unwrap());
            fs::copy(medium.disk(), &before).unwrap();
            for writes in (0..5).chain([ALL]) {
                fs::copy(&before, medium.disk()).unwrap();
                medium.boot(writes);
                assert!(writes == ALL || medium.left() == 0);
                let efi = &gpt::table(new, 1).unwrap()[1];
                assert_eq!(&gpt::partitions(&medium.disk())[1], efi, "{writes} writes");
                assert_eq!(medium.boot(ALL), KEEPS, "{}: {writes} writes", system.name);
                assert_eq!(medium.machine.read("/var/made"), "");
                assert_eq!(
                    gpt::partitions(&medium.disk()),
                    wanted(new, SIZE),
                    "{writes} writes"
                );
                assert_eq!(medium.read(FILE, CONTENT.len()), CONTENT, "{writes} writes");
                assert_in_order(&medium.disk());
            }
        }
    }
}

#[test]
fn on_a_disk_that_grew_the_tables_follow() {
    let (_bench, image) = image(0);
    for system in systems() {
        let mut medium = Medium::new(&system, &image);
        medium.boot(ALL);
        medium.write(FILE, CONTENT);
        medium.resize(SIZE + 16 * MIB);
        assert_eq!(medium.boot(ALL), KEEPS, "{}", system.name);
        assert_eq!(gpt::table(&medium.disk(), 1), Some(wanted(&image, SIZE)));
        assert_in_order(&medium.disk());
        medium.write(0, &fs::read(&image).unwrap());
        assert_eq!(medium.boot(ALL), KEEPS, "{}", system.name);
        assert_eq!(medium.read(FILE, CONTENT.len()), CONTENT);
    }
}

#[test]
fn a_damaged_entry_is_written_anew() {
    let (_bench, image) = image(0);
    for system in systems() {
        let mut medium = Medium::new(&system, &image);
        medium.boot(ALL);
        medium.write(FILE, CONTENT);
        // Where the partition begins, in both tables.
        for entries in [2, SIZE / SECTOR - 33] {
            medium.write(entries * SECTOR + 3 * 128 + 32, &[0xff; 8]);
            assert_eq!(medium.boot(ALL), KEEPS, "{}", system.name);
            assert_eq!(gpt::table(&medium.disk(), 1), Some(wanted(&image, SIZE)));
            assert_in_order(&medium.disk());
        }
        assert_eq!(medium.read(FILE, CONTENT.len()), CONTENT);
    }
}

const MORE: &str = "does not format the rest of /dev/disk: there is more than the image on it";
const NO_DISK: &str =
    "the boot medium is no disk that one of these images was written to: no data disk is made on it";
const NO_ROOM: &str = "/dev/disk has no room for a data disk: it would begin at 8 MiB, behind the image, and have 64 MiB at least";

type Change = Box<dyn Fn(&Medium)>;

/// What is done to the medium, what is said, and that nothing is written.
#[test]
fn what_is_not_the_image_alone_stays_as_it_is() {
    let (_bench, image) = image(0);
    let end = image.metadata().unwrap().len();
    let add_partition = |medium: &Medium| {
        let script = "echo ,, | PATH=$PATH:/sbin sfdisk --quiet --append \"$1\" 2>/dev/null";
        let status = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(medium.disk())
            .status();
        assert!(status.unwrap().success());
    };
    let about = |file: &'static str, text: &'static str| {
        move |medium: &Medium| medium.machine.write(&format!("/sys/block/disk/{file}"), text)
    };
    let cases: Vec<(&str, Change, &str)> = vec![
        (
            "behind the image",
            Box::new(move |medium| medium.write(end + 5000, b"x")),
            MORE,
        ),
        (
            "where it would begin",
            Box::new(|medium| medium.write(BEGINS + MIB, b"x")),
            MORE,
        ),
        (
            "in the middle",
            Box::new(|medium| medium.write(40 * MIB, &vec![1; 4 << 20])),
            MORE,
        ),
        (
            "at the end",
            Box::new(|medium| medium.write(SIZE - 1, b"x")),
            MORE,
        ),
        ("GPT", Box::new(add_partition), MORE),
        ("an entry", Box::new(|medium| medium.write(5000, b"x")), MORE),
        ("MBR", Box::new(|medium| medium.write(446 + 36, b"\x83")), MORE),
        (
            "a small disk",
            Box::new(|medium| medium.resize(72 * MIB)),
            NO_ROOM,
        ),
        ("no image", Box::new(|medium| medium.write(32769, b"x")), NO_DISK),
        (
            "another's CD",
            Box::new(|medium| medium.write(32808, b"OTHER  ")),
            NO_DISK,
        ),
        ("a CD", Box::new(about("ro", "1\n")), NO_DISK),
        ("a partition", Box::new(about("partition", "1\n")), NO_DISK),
        (
            "large sectors",
            Box::new(about("queue/logical_block_size", "4096\n")),
            NO_DISK,
        ),
    ];
    for system in systems() {
        for (what, change, reason) in &cases {
            let mut medium = Medium::new(&system, &image);
            change(&medium);
            let said = medium.boot(ALL);
            assert!(
                said.starts_with(&format!("tcforge: {reason}\ntcforge: no data disk: ")),
                "{}, {what}: {said}",
                system.name
            );
            assert_eq!(
                (medium.left(), medium.machine.read("/var/made")),
                (ALL, String::new()),
                "{what}"
            );
        }
    }
}

/// A partition that was the data disk is not made anew, whatever became of it.
#[test]
fn what_was_the_data_disk_is_not_formatted_again() {
    let (_bench, image) = image(0);
    let (_large, large) = self::image(BEGINS);
    let large = fs::read(large).unwrap();
    for system in systems() {
        for (writes, at, bytes, reason) in [
            (
                ALL,
                BEGINS + 1024 + 120,
                &b"other"[..],
                "the partition tcforge-data of /dev/disk has no file system of that name: it stays as it is",
            ),
            (
                ALL,
                0,
                &large,
                "the image on /dev/disk was written over the data disk, which began at 8 MiB",
            ),
            // While it was being made.
            (2, 0, &large, NO_ROOM),
        ] {
            let mut medium = Medium::new(&system, &image);
            medium.boot(writes);
            medium.write(at, bytes);
            let said = medium.boot(ALL);
            assert!(
                said.starts_with(&format!("tcforge: {reason}\n")),
                "{}: {said}",
                system.name
            );
            assert_eq!(
                (medium.left(), medium.machine.read("/var/made")),
                (ALL, String::new())
            );
        }
    }
}
