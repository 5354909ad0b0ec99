//! Kernels that `tcforge kernel build` made, in the booted machine.
//!
//! Two of one source, one tree and one small configuration (kernel/small.config):
//! one with Tiny Core's values for what containers want and Tiny Core's kernel has
//! not, and one that was changed by the requirement lists. The same image boots with
//! both. What is expected of them is kernel/evidence.md, word for word.
//!
//! The source is Linux 5.10 of Debian 11: of what a Debian mirror still has it is the
//! nearest to Tiny Core's 5.4, and what is shown here is the same in both: ext4 serves
//! ext2 and ext3, EXT4_FS_SECURITY and MEMCG mean what they mean in 5.4, and control
//! groups are of version 1.

mod built;
#[path = "../shared/official.rs"]
mod official;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use bstr::ByteSlice as _;
use md5::Digest as _;
use tcforge::digest::hex;
use tcforge::image::base::release_of;
use tcforge::kernel::build::Record;

use crate::appliance::{Booted, IMAGE, SCRIPT, Setup, data_disk, image_with_kernel};
use crate::containers;
use built::{SETS, Variant};
use official::OFFICIAL;

/// As Tiny Core's, so that extensions for `-KERNEL` fit.
const RELEASE: &str = "5.10.223-tinycore64";

/// The lists that the small configuration is made by.
const STOCK_SETS: [&str; 3] = ["ext3-xattr", "containers", "tinycore"];
/// What file systems of Tiny Core's turn on that are not built here.
const TURNED_ON_THERE: (&str, &str) = ("ext3-xattr", "FS_POSIX_ACL");

#[test]
fn the_stock_kernel_fails_as_the_founding_text_says() {
    let variant = Variant::Stock;
    for set in STOCK_SETS {
        let (_, official) = OFFICIAL.iter().find(|(name, _)| *name == set).unwrap();
        let here = Some(TURNED_ON_THERE).filter(|(of, _)| *of == set);
        let wanted = official.iter().copied().chain(here.map(|(_, name)| name));
        let wanted = wanted.map(str::to_owned).collect();
        assert_eq!(lacks(variant, set), wanted, "{set}");
    }

    let folder = tempfile::tempdir().unwrap();
    let mut booted = boot(variant, folder.path());
    assert_eq!(attributes(&mut booted), evidence("Attributes, stock"));
    there_is_no_overlay(&mut booted);
    limits_are_refused(&mut booted);
    bridges_and_nat_are_there(&mut booted);
    assert_eq!(
        drivers(&mut booted),
        "virtio_blk: a module\nvirtio_net: a module\nvda: after init\n"
    );
}

#[test]
fn the_patched_kernel_has_what_containers_want() {
    let variant = Variant::Patched;
    for set in SETS {
        assert_eq!(lacks(variant, set), BTreeSet::new(), "{set}");
    }
    it_is_told_where_its_modules_are(variant);

    let folder = tempfile::tempdir().unwrap();
    let mut booted = boot(variant, folder.path());
    assert_eq!(
        drivers(&mut booted),
        "virtio_blk: built in\nvirtio_net: built in\nvda: before init\n"
    );
    assert_eq!(attributes(&mut booted), evidence("Attributes, patched"));
    containers::reach_each_other_and_out(&mut booted);
    containers::a_memory_limit_holds(&mut booted);
    containers::a_cpu_limit_holds(&mut booted);
}

/// What of a set the kernel lacks, by the configuration that it carries.
fn lacks(variant: Variant, set: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcforge"))
        .args(["kernel", "check", "--json", "--set", set, "--project"])
        .arg(built::project())
        .arg(variant.folder().join("vmlinuz64"))
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["kernel"], "5.10");
    let options = report["options"].as_array().unwrap().iter();
    let names: BTreeSet<_> = options
        .filter(|option| option["status"] == "missing")
        .map(|option| option["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(output.status.code(), Some(i32::from(!names.is_empty())));
    names
}

/// What is a real kernel's alone: a few of its modules with the files that they went
/// into, and its version text, which does not say who built it.
fn it_is_told_where_its_modules_are(variant: Variant) {
    let record = Record::read(variant.folder()).unwrap().unwrap();
    assert_eq!(record.release, RELEASE);
    assert_eq!(record.source, "Linux 5.10.223 as Debian 11 patches it");
    let image = variant.folder().join("vmlinuz64");
    assert_eq!(release_of(&image).unwrap(), RELEASE);
    assert!(fs::read(&image).unwrap().find(b"(tc@box) #1").is_some());
    for (name, path, file) in [
        ("bridge", "kernel/net/bridge/bridge.ko.gz", "net-bridging"),
        (
            "nf_conntrack",
            "kernel/net/netfilter/nf_conntrack.ko.gz",
            "ipv6-netfilter",
        ),
        ("overlay", "kernel/fs/overlayfs/overlay.ko.gz", "overlay"),
        ("squashfs", "kernel/fs/squashfs/squashfs.ko.gz", "modules64.gz"),
        ("zram", "kernel/drivers/block/zram/zram.ko.gz", "modules64.gz"),
    ] {
        let module = record.modules.iter().find(|module| module.name == name).unwrap();
        assert_eq!(module.path, path);
        assert_eq!(module.file.replace(&format!("-{RELEASE}.tcz"), ""), file);
    }
}

/// A box with the kernel, a data disk, and the appliance that all tests boot.
fn boot(variant: Variant, folder: &Path) -> Booted {
    let iso = image_with_kernel(variant.name(), variant.folder());
    let mut booted = Setup {
        disk: Some(&data_disk(folder, 64)),
        ..Setup::new(&iso)
    }
    .boot();
    assert_eq!(booted.sh("uname -r"), format!("{RELEASE}\n"));
    // It is the one whose configuration was looked at.
    let config = fs::read(variant.folder().join(format!("config-{RELEASE}"))).unwrap();
    let sum = booted.sh("zcat /proc/config.gz | md5sum | cut -d' ' -f1");
    assert_eq!(sum.trim(), hex(&md5::Md5::digest(config)));
    booted
}

/// What attributes.sh says.
fn attributes(booted: &mut Booted) -> String {
    booted.sh(&format!(
        "cat >/tmp/attributes.sh <<'END'\n{}END\nsh /tmp/attributes.sh",
        include_str!("kernel/attributes.sh")
    ))
}

/// The block of text below a heading of kernel/evidence.md.
fn evidence(heading: &str) -> &'static str {
    let text = include_str!("../../kernel/evidence.md");
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap();
    let (_, block) = section.split_once("```text\n").unwrap();
    block.split_once("```\n").unwrap().0
}

/// Each command of a block, `$ COMMAND`, fails with the lines that follow it.
fn fails_as_in_evidence(booted: &mut Booted, heading: &str) {
    let block = evidence(heading).replace("IMAGE", IMAGE);
    let (before, commands) = block.split_once("$ ").unwrap();
    assert_eq!(before, "");
    for one in commands.split("\n$ ") {
        let (command, wanted) = one.split_once('\n').unwrap_or((one, ""));
        let output = booted.guest.run(command, SCRIPT).unwrap();
        let text = output.text.trim_end();
        let wanted = wanted.trim_end();
        // What varies is left out there.
        let fits = match wanted.split_once('…') {
            Some((begin, end)) => text.starts_with(begin) && text.ends_with(end),
            None => text == wanted,
        };
        assert!(output.status != 0 && fits, "{command}: {text}");
    }
}

fn there_is_no_overlay(booted: &mut Booted) {
    fails_as_in_evidence(booted, "Overlay, stock");
    let told = booted.sh("grep -c 'this kernel has no overlay file system' /var/log/tcforge.log");
    assert_eq!(told, "1\n");
}

/// On a snapshotter that needs no overlay, so that nothing but the limits fails.
fn limits_are_refused(booted: &mut Booted) {
    booted.sh("ctr images import --snapshotter native /usr/local/share/tcforge/images/*/check.tar");
    let run = format!("ctr run --rm --snapshotter native {IMAGE} free /bin/busybox echo runs");
    assert_eq!(booted.sh(&run), "runs\n");
    fails_as_in_evidence(booted, "Limits, stock");
    let groups = booted.sh("awk '$4 == 1 { print $1 }' /proc/cgroups");
    assert_eq!(groups, "cpuset\ncpu\ncpuacct\nblkio\ndevices\nfreezer\npids\n");
}

/// What CNI wants is not what Tiny Core's kernel lacks.
fn bridges_and_nat_are_there(booted: &mut Booted) {
    let modules = "bridge veth br_netfilter xt_addrtype xt_comment xt_conntrack xt_MASQUERADE";
    let rules = booted.sh(&format!(
        "modprobe -a {modules} && iptables -t nat -S | head -n 1"
    ));
    assert_eq!(rules, "-P PREROUTING ACCEPT\n");
}

/// Whether disk and network have drivers of their own in the kernel: modules have an
/// `initstate`, and are loaded by a program.
fn drivers(booted: &mut Booted) -> String {
    booted.sh(r#"
        test -b /dev/vda && test -d /sys/class/net/eth0 || exit
        for driver in virtio_blk virtio_net; do
            if [ -e "/sys/module/$driver/initstate" ] && grep -q "^$driver " /proc/modules; then
                echo "$driver: a module"
            elif grep -q "/$driver.ko" "/lib/modules/$(uname -r)/modules.builtin"; then
                echo "$driver: built in"
            fi
        done
        dmesg | awk '/Run \/init/ { init = NR } / \[vda\] / { disk = NR }
            END { print "vda: " (!disk ? "not seen by" : disk < init ? "before" : "after") " init" }'
        "#)
}
