//! What a box is like that was booted by BIOS from a CD.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tcforge::vm::{Forward, timeline};

use crate::appliance::{Booted, IMAGE, RENAMED, SCRIPT, Setup, images};
use crate::containers;

/// Boots once a base: a boot is what takes the time.
#[test]
fn by_bios_from_a_cd() {
    for image in images() {
        let forwards = ports();
        let mut booted = Setup {
            forwards: forwards.clone(),
            ..Setup::new(&image.iso)
        }
        .boot();
        let told = booted.said("no data disk: /var/lib/containerd are in memory");
        assert_eq!(told.len(), 1, "{}", booted.guest.console().end());
        nothing_listens(&mut booted, &forwards);
        let steps: [(&str, fn(&mut Booted)); 9] = [
            ("extensions", extensions_are_loaded),
            ("regressions", earlier_failures_do_not_come_back),
            ("images", images_have_the_names_that_they_were_given),
            ("a container", a_container_is_on_its_own),
            ("the network", containers::reach_each_other_and_out),
            ("memory", containers::a_memory_limit_holds),
            ("processors", containers::a_cpu_limit_holds),
            ("the service", a_service_is_managed),
            ("the timeline", the_boot_is_told),
        ];
        for (name, step) in steps {
            // Tells which one it was, should the test be ended from outside.
            println!("{}: {name}", image.base);
            step(&mut booted);
        }
        booted.guest.power_off(SCRIPT).unwrap();
    }
}

/// Ports of the host that lead to those which something might listen on inside.
fn ports() -> Vec<Forward> {
    let open: Vec<_> = [22, 23, 80, 111, 443, 2375, 5000, 8080, 8081, 7777]
        .into_iter()
        .map(|guest| (guest, TcpListener::bind("127.0.0.1:0").unwrap()))
        .collect();
    open.iter()
        .map(|(guest, listener)| Forward {
            host: listener.local_addr().unwrap().port(),
            guest: *guest,
        })
        .collect()
}

fn images_have_the_names_that_they_were_given(booted: &mut Booted) {
    let (namespace, name) = RENAMED;
    let names = booted.sh(&format!("ctr -n {namespace} images ls -q; ctr images ls -q"));
    assert_eq!(names.lines().collect::<Vec<_>>(), [name, IMAGE]);
}

/// Every extension on the disk is loaded, its files are links into its mount,
/// and its script ran once, after those of what it needs.
fn extensions_are_loaded(booted: &mut Booted) {
    let wrong = booted.sh(r#"
        cde=$(cat /etc/sysconfig/cde)
        while read -r name; do
            stem=${name%.tcz}
            [ -e "/usr/local/tce.installed/$stem" ] || echo "$name has no mark"
            # An extension without files need not be mounted.
            [ -s "$cde/$name.list" ] || continue
            grep -q " /tmp/tcloop/$stem squashfs " /proc/mounts || echo "$name is not mounted"
            find "/tmp/tcloop/$stem" ! -type d | while read -r file; do
                [ "$(readlink "/${file#"/tmp/tcloop/$stem/"}")" = "$file" ] || echo "no link to $file"
            done
        done </etc/tcforge/extensions
        "#);
    assert_eq!(wrong, "");
    let mounted = booted.sh("ls /tmp/tcloop");
    for name in [
        "containerd",
        "runc",
        "cni-plugins",
        "iptables",
        "probe-a",
        "probe-b",
    ] {
        assert!(mounted.lines().any(|line| line == name), "{name}: {mounted}");
    }
    assert_eq!(booted.sh("cat /tmp/installed"), "probe-a\nprobe-b\n");
}

/// What went wrong for those who tried before, in the order of the list in
/// docs/appliances.md. Two of its points are the kernel's: getxattr and bzImage.
fn earlier_failures_do_not_come_back(booted: &mut Booted) {
    for (what, script) in [
        ("ctr starts without Tiny Core's /lib64", "ctr version"),
        ("the kernel has overlay", "grep -qw overlay /proc/filesystems"),
        (
            "control groups are mounted",
            "grep -q ' - cgroup' /proc/self/mountinfo",
        ),
        (
            "the root can be pivoted",
            "awk '$2 == \"/\" && $3 != \"rootfs\" { found = 1 } END { exit !found }' /proc/mounts",
        ),
        (
            "there are bridges",
            "test -d /sys/module/bridge || modprobe bridge",
        ),
        ("iptables is found", "iptables -t nat -S"),
        (
            "memory is limited by groups",
            "awk '$1 == \"memory\" && $4 == 1 { found = 1 } END { exit !found }' /proc/cgroups",
        ),
        (
            "certificates are there",
            "test \"$(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt)\" -gt 100",
        ),
    ] {
        let output = booted.guest.run(script, SCRIPT).unwrap();
        assert_eq!(output.status, 0, "{what}: {}", output.text);
    }
    // The import at boot waited until containerd answered.
    let images = booted.sh("ctr images ls -q");
    assert!(images.lines().any(|line| line == IMAGE), "{images}");
}

/// From inside, and by connecting from outside.
fn nothing_listens(booted: &mut Booted, forwards: &[Forward]) {
    let open = booted
        .sh("netstat -lntu | awk '/^(tcp|udp)/ && $4 !~ /^(127\\.|::1:|::ffff:127\\.)/ { print $1, $4 }'");
    assert_eq!(open, "");
    // What does listen is reached, so that silence means something.
    booted.sh("nc -lk -p 7777 -e echo open >/dev/null 2>&1 || nc -ll -p 7777 -e echo open >/dev/null 2>&1 &");
    let (open, closed) = forwards.split_last().unwrap();
    let deadline = Instant::now() + SCRIPT;
    while !answers(open) {
        assert!(Instant::now() < deadline, "a port that is open is not reached");
    }
    for forward in closed {
        assert!(!answers(forward), "port {} answers", forward.guest);
    }
    booted.sh("killall nc");
    assert_eq!(booted.said("is open to the network"), Vec::<String>::new());
    // Nobody logs in with a password that everybody knows.
    let shadow = booted.sh("awk -F: '$2 != \"*\" && $2 !~ /^!/ { print $1, $2 }' /etc/shadow");
    assert_eq!(shadow, "");
}

/// Whether something in the box says a word. QEMU takes every connection, and
/// ends it when the box refuses.
fn answers(forward: &Forward) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", forward.host)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    matches!(stream.read(&mut [0]), Ok(1))
}

fn a_container_is_on_its_own(booted: &mut Booted) {
    let printed = booted.sh(&format!(
        "ctr run --rm {IMAGE} own /bin/busybox sh -c 'echo \"process $$\"; busybox ls /; busybox ls -d /tmp/tcloop'; true"
    ));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "process 1", "{printed}");
    assert!(lines.contains(&"bin") && lines.contains(&"proc"), "{printed}");
    assert!(!lines.contains(&"/tmp/tcloop"), "{printed}");
    let printed = booted.sh(&format!(
        r#"
        hostname=$(hostname)
        mkdir -p /tmp/bundle/rootfs && cd /tmp/bundle
        ctr images mount --rw {IMAGE} /tmp/bundle/rootfs >/dev/null 2>&1
        runc spec
        sed -i 's/"terminal": true/"terminal": false/; s/"hostname": "[^"]*"/"hostname": "of-its-own"/; s/"sh"$/"\/bin\/busybox", "hostname"/' config.json
        runc run named
        ctr images unmount /tmp/bundle/rootfs >/dev/null 2>&1
        [ "$(hostname)" = "$hostname" ] && echo unchanged
        "#
    ));
    assert_eq!(printed, "of-its-own\nunchanged\n");
}

fn a_service_is_managed(booted: &mut Booted) {
    let service = "/usr/local/etc/init.d/containerd";
    let pid = |booted: &mut Booted| booted.sh("cat /var/run/containerd.pid");
    let first = pid(booted);
    booted.sh(&format!("{service} status"));
    booted.sh(&format!("{service} start"));
    assert_eq!(pid(booted), first, "started when it ran already");
    booted.sh(&format!("{service} restart"));
    let second = pid(booted);
    assert_ne!(first, second);
    let second = second.trim();
    booted.sh(&format!(
        "kill -9 {second}; while [ -e /proc/{second} ]; do sleep 0.1; done"
    ));
    let output = booted.guest.run(&format!("{service} status"), SCRIPT).unwrap();
    assert_eq!(output.status, 1, "killed: {}", output.text);
    // The pid file of the killed one is there still.
    booted.sh(&format!("{service} start && ctr version"));
    booted.sh(&format!("{service} stop"));
    let output = booted.guest.run(&format!("{service} status"), SCRIPT).unwrap();
    assert_eq!(output.status, 3, "stopped: {}", output.text);
    booted.sh(&format!(
        "echo 1 >/var/run/containerd.pid; {service} start && ctr version"
    ));
    assert_ne!(pid(booted).trim(), "1", "a stale pid file");
}

fn the_boot_is_told(booted: &mut Booted) {
    let timeline = timeline::Timeline::of_guest(&mut booted.guest, "test", "").unwrap();
    let names: Vec<_> = timeline.events.iter().map(|event| event.name.as_str()).collect();
    let place = |name: &str| {
        let place = names.iter().position(|other| *other == name);
        place.unwrap_or_else(|| panic!("no {name} in {names:?}"))
    };
    let order = ["kernel", "init", "probe-b.tcz", "prompt", "containerd", "ready"].map(place);
    assert!(order.is_sorted(), "{names:?}");
}
