//! What an appliance does when it boots: the scripts of `iso/boot/`.

use tcforge::project::Project;

use super::machine::{Machine, systems};
use super::screen::screen;

/// Installs a script of iso/boot and what it reads. Functions stand in for
/// programs that a small machine cannot run.
pub(super) fn install(machine: &Machine, script: &str, programs: &str) {
    let read = |name: &str| {
        let text = Project::built_in()
            .read_text(&format!("iso/boot/{name}"))
            .unwrap();
        // There the root filesystem can be written.
        text.replace("/usr/share/tcforge/", "/etc/tcforge/")
            .replace("/proc/cmdline", "/etc/cmdline")
            .replace("/proc/mounts", "/etc/mounts")
    };
    let text = read(script).replacen("#!/bin/sh\n", &format!("#!/bin/sh\n{programs}\n"), 1);
    machine.install("/etc/tcforge/script", &text);
    for name in ["common.sh", "rest.sh"] {
        machine.write(&format!("/etc/tcforge/{name}"), read(name));
    }
    machine.write("/etc/cmdline", "quiet\n");
    machine.write("/etc/mounts", "");
    machine.write(
        "/etc/tcforge/appliance",
        "APPLIANCE='box'\nDATA_LABEL='tcforge-data'\nDATA_BEGINS='1024'\nDATA_FORMAT=''\nPERSISTENT='/var/lib/a /home'\nLISTEN='tcp/22'\n",
    );
}

/// What was said.
pub(super) fn said(machine: &Machine) -> String {
    let log = machine.read("/var/log/tcforge.log");
    let lines = log.lines().filter(|line| line.starts_with("tcforge: "));
    lines.map(|line| line.to_owned() + "\n").collect()
}

fn service(machine: &Machine, name: &str, script: &str) {
    machine.install(
        &format!("/usr/local/etc/init.d/{name}"),
        &format!("#!/bin/sh\necho {name} $1 >>/var/calls\n{script}\n"),
    );
}

#[test]
fn services_start_in_order_and_the_box_says_how_each_came_out() {
    for system in systems() {
        let mut machine = Machine::start(&system);
        install(&machine, "start.sh", "netstat() { :; }");
        machine.write("/etc/tcforge/extensions", "a.tcz\n");
        machine.write("/usr/local/tce.installed/a", "");
        machine.write(
            "/etc/tcforge/services",
            "one\t-\t-\t-\t-\n\
             two\techo 'set up' >/etc/two\t/etc/two\t/etc/two\thttp://127.0.0.1:1\n",
        );
        service(&machine, "one", "cat");
        service(&machine, "two", "");
        machine.run("/etc/tcforge/script");
        let wanted = "tcforge: service one answers\ntcforge: service two answers: http://127.0.0.1:1\n\
                      tcforge: the password for two is in /etc/two\ntcforge: ready\n";
        assert_eq!(said(&machine), wanted, "{}", system.name);
        assert_eq!(machine.read("/var/calls"), "one start\ntwo start\n");
        assert_eq!(screen(&machine.read("/dev/console")), "tcforge: ready\n");
        // What is there is not made again.
        machine.write("/etc/two", "mine");
        machine.run("/etc/tcforge/script");
        assert_eq!(machine.read("/etc/two"), "mine");
    }
}

/// Wherever the line is on the screen, and however long the message.
#[test]
fn a_message_leaves_the_line_whole_that_somebody_types() {
    let short = "a service answers".to_owned();
    let long = format!("no data disk: {}", "x".repeat(200));
    for system in systems() {
        let mut machine = Machine::start(&system);
        install(&machine, "start.sh", "");
        for message in [&short, &long] {
            machine.run(&format!(". /etc/tcforge/common.sh; say '{message}'"));
            let printed = machine.read("/dev/console");
            for above in [0, 5, 23, 24, 40] {
                let lines: String = (0..above).map(|line| format!("{line}\r\n")).collect();
                let seen = screen(&format!("{lines}box:~$ echo h{printed}ello"));
                let told = screen(&format!("{lines}tcforge: {message}\r\nbox:~$ echo hello"));
                assert_eq!(seen, told, "{}: {above} lines above", system.name);
            }
        }
    }
}

#[test]
fn what_failed_is_named_and_the_rest_starts() {
    for system in systems() {
        let mut machine = Machine::start(&system);
        install(
            &machine,
            "start.sh",
            "netstat() { echo 'tcp 0 0 0.0.0.0:22 0.0.0.0:* LISTEN'; echo 'tcp 0 0 127.0.0.1:80 0.0.0.0:* LISTEN'; \
             echo 'udp 0 0 :::68 :::*'; }\nctr() { [ \"$*\" = '-n default images import /usr/local/share/tcforge/images/default/good.tar' ]; }",
        );
        machine.write("/etc/tcforge/extensions", "gone.tcz\na.tcz\nmarked.tcz\n");
        for name in ["a", "marked"] {
            machine.write(&format!("/usr/local/tce.installed/{name}"), "");
        }
        machine.write("/usr/local/share/a", "");
        for (name, list) in [
            ("a", "/usr/local/share/a\n"),
            // Tiny Core's loader marks what it could not mount.
            (
                "marked",
                "/usr/local/tce.installed/marked\n/usr/local/share/marked\n",
            ),
        ] {
            machine.write(&format!("/cde/optional/{name}.tcz.list"), list);
        }
        machine.write(
            "/etc/tcforge/services",
            "bad\t-\t-\t-\t-\nunmade\tfalse\t/etc/x\t-\t-\ncontainerd\t-\t-\t-\t-\n",
        );
        service(&machine, "bad", "exit 1");
        service(&machine, "containerd", "");
        for name in ["bad", "good"] {
            machine.write(&format!("/usr/local/share/tcforge/images/default/{name}.tar"), "");
        }
        machine.write("/etc/sysconfig/cde", "/cde/optional\n");
        machine.write("/cde/optional/a.tcz", "a");
        machine.write(
            "/cde/optional/a.tcz.md5.txt",
            "0cc175b9c0f1b6a831c399e269772661  a.tcz\n",
        );
        machine.write("/cde/optional/gone.tcz", "a");
        machine.write(
            "/cde/optional/gone.tcz.md5.txt",
            "92eb5ffee6ae2fec3ad71c777531578f  gone.tcz\n",
        );
        machine.run("/etc/tcforge/script");
        let wanted = "tcforge: service bad failed: see /var/log/tcforge.log and /var/log/bad.log\n\
            tcforge: the service unmade could not be set up: see /var/log/tcforge.log\n\
            tcforge: service containerd answers\n\
            tcforge: cannot import /usr/local/share/tcforge/images/default/bad.tar\n\
            tcforge: imported good.tar (namespace default)\n\
            tcforge: the extension gone.tcz was not loaded\n\
            tcforge: the extension marked.tcz was not loaded\n\
            tcforge: warning: udp/68 is open to the network (:::68), which the appliance does not mean\n\
            tcforge: the extension gone.tcz on the disk is damaged\n\
            tcforge: not ready: bad, unmade, bad.tar, \
            the extension gone.tcz was not loaded, the extension marked.tcz was not loaded\n";
        assert_eq!(said(&machine), wanted, "{}", system.name);
    }
}

#[test]
fn a_service_that_stays_in_the_foreground_does_not_keep_others_from_starting() {
    for system in systems() {
        let mut machine = Machine::start(&system);
        install(&machine, "start.sh", "netstat() { :; }");
        machine.write("/etc/cmdline", "quiet tcforge.timeout=1\n");
        machine.write("/etc/tcforge/extensions", "");
        machine.write(
            "/etc/tcforge/services",
            "foreground\t-\t-\t-\t-\nnext\t-\t-\t-\t-\n",
        );
        service(&machine, "foreground", "exec sleep 600");
        service(&machine, "next", "");
        machine.run("/etc/tcforge/script");
        let wanted = "tcforge: service foreground did not start within 1 seconds: see /var/log/tcforge.log\n\
            tcforge: service next answers\ntcforge: not ready: foreground\n";
        assert_eq!(said(&machine), wanted, "{}", system.name);
    }
}

#[test]
fn without_a_data_disk_the_box_says_what_is_lost() {
    for system in systems() {
        let mut machine = Machine::start(&system);
        install(
            &machine,
            "data.sh",
            "findfs() { return 1; }\nblkid() { return 2; }\nudevadm() { :; }",
        );
        machine.write("/etc/shadow", "root:*:1:0:::::\ntc::1:0:99999:7:::\n");
        machine.write("/etc/cmdline", "quiet tcforge.format=nothing\n");
        machine.run("/etc/tcforge/script");
        let wanted = "tcforge: cannot format /dev/nothing: there is no such disk\n\
            tcforge: no data disk: /var/lib/a /home are in memory, and what is in them is lost at power-off \
            (a disk with the label tcforge-data keeps them; the boot code tcforge.format=DEVICE makes a blank one it, \
            tcforge.format=rest the rest of the boot medium)\n";
        assert_eq!(said(&machine), wanted, "{}", system.name);
        // Nobody logs in as tc with an empty password.
        assert_eq!(
            machine.read("/etc/shadow"),
            "root:*:1:0:::::\ntc:*:1:0:99999:7:::\n"
        );
    }
}

#[test]
fn a_blank_disk_becomes_the_data_disk_and_no_other() {
    const SIZE: usize = (4 << 20) + 512;
    const BLANK: &str = "formatted /dev/vdb as the data disk tcforge-data\ntcforge: the data disk keeps";
    const OTHER: &str = "does not format /dev/vdb: it is not blank\ntcforge: no data disk:";
    for system in systems() {
        for (what, byte, partition, wanted) in [
            ("nothing", None, "vda1", BLANK),
            ("its beginning", Some(0), "vda1", OTHER),
            ("near its beginning", Some((2 << 20) - 1), "vda1", OTHER),
            ("its end", Some(SIZE - 1), "vda1", OTHER),
            ("a partition", None, "vdb1", OTHER),
        ] {
            let mut machine = Machine::start(&system);
            let programs = "findfs() { return 1; }\nblkid() { return 2; }\nudevadm() { :; }\n\
                            e2fsck() { :; }\nmount() { :; }";
            install(&machine, "data.sh", programs);
            machine.install("/usr/local/sbin/mkfs.ext4", "#!/bin/sh\n");
            machine.write("/etc/shadow", "");
            machine.write("/etc/cmdline", "quiet tcforge.format=vdb\n");
            let mut disk = vec![0; SIZE];
            if let Some(at) = byte {
                disk[at] = 1;
            }
            machine.write("/dev/vdb", disk);
            machine.write("/sys/class/block/vdb/size", format!("{}\n", SIZE / 512));
            machine.write(&format!("/sys/class/block/vdb/{partition}/size"), "");
            machine.run("/etc/tcforge/script");
            let said = said(&machine);
            assert!(
                said.starts_with(&format!("tcforge: {wanted}")),
                "{}, {what}: {said}",
                system.name
            );
        }
    }
}

#[test]
fn a_data_disk_takes_what_there_is_once_and_keeps_it() {
    for system in systems() {
        let mut machine = Machine::start(&system);
        // The disk is a directory; binding is for real.
        let programs = "findfs() { echo /dev/disk; }\nudevadm() { :; }\ne2fsck() { return 1; }\n\
             mount() { case \"$*\" in *bind*) command mount \"$@\" ;; *) command mount -o bind /disk \"$4\" ;; esac; }";
        install(&machine, "data.sh", programs);
        machine.write("/etc/shadow", "tc:mine:1:0:99999:7:::\n");
        machine.write("/disk/lost+found/x", "");
        machine.write("/home/tc/file", "first");
        machine.run("/etc/tcforge/script");
        assert_eq!(
            said(&machine),
            "tcforge: the data disk keeps /var/lib/a /home\n",
            "{}",
            system.name
        );
        assert_eq!(machine.read("/disk/home/tc/file"), "first");
        machine.run("echo second >/home/tc/file; echo x >/var/lib/a/x");
        assert_eq!(machine.read("/disk/home/tc/file"), "second\n");
        assert_eq!(machine.read("/disk/var/lib/a/x"), "x\n");
        // A password of one's own stays.
        assert_eq!(machine.read("/etc/shadow"), "tc:mine:1:0:99999:7:::\n");
        // The next boot: what the disk has wins.
        machine
            .run("umount /home /var/lib/a /mnt/tcforge-data; echo third >/home/tc/file; /etc/tcforge/script");
        assert_eq!(machine.run("cat /home/tc/file").stdout, "second\n");
    }
}
