//! The base `mini`: what is in it, and its scripts in a small machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tcforge::image::base::BaseKind;
use tcforge::stage::{Kind, Owner};
use tempfile::TempDir;

use super::{console, lay_out, load, mini, path, run, sum, text, tree};

#[test]
fn it_says_what_it_is() {
    let base = mini();
    assert_eq!(base.name, "mini");
    assert_eq!(
        base.title,
        "mini, a stand-in for Tiny Core, with Debian's kernel 5.10.0-32-amd64"
    );
    let stage = &tree(base).stage;
    for name in ["etc/os-release", "etc/motd", "etc/issue"] {
        assert!(
            text(stage, name).contains("mini, a stand-in for Tiny Core"),
            "{name}"
        );
    }
}

#[test]
fn paths_have_tiny_cores_modes_and_owners() {
    let stage = &tree(mini()).stage;
    for (name, mode, uid, gid) in [
        ("init", 0o755, 0, 0),
        ("bin/busybox", 0o755, 0, 0),
        ("lib/ld-linux-x86-64.so.2", 0o777, 0, 0),
        ("lib/libc-2.31.so", 0o755, 0, 0),
        ("usr/lib/libstdc++.so.6.0.28", 0o644, 0, 0),
        ("sbin/mke2fs", 0o755, 0, 0),
        ("sbin/mkfs.ext4", 0o777, 0, 0),
        ("usr/bin/tce-load", 0o755, 0, 0),
        ("etc/init.d/tc-config", 0o755, 0, 0),
        ("etc/shadow", 0o660, 0, 50),
        ("home/tc", 0o2750, 1001, 50),
        ("opt", 0o2775, 0, 50),
        ("opt/bootlocal.sh", 0o775, 0, 50),
        ("tmp", 0o1777, 0, 0),
        ("usr/local/tce.installed", 0o775, 0, 50),
        ("root", 0o700, 0, 0),
    ] {
        let node = stage.get(&path(name)).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((node.mode, node.owner), (mode, Owner { uid, gid }), "{name}");
    }
    // Extensions make this link.
    assert!(stage.get(&path("lib64")).is_none());
    assert!(tree(mini()).devices.contains(&console()));
}

#[test]
fn nobody_has_a_password_and_nothing_waits_for_one_from_outside() {
    let stage = &tree(mini()).stage;
    for line in text(stage, "etc/shadow").lines() {
        assert_eq!(line.split(':').nth(1), Some("*"), "{line}");
    }
    assert!(text(stage, "etc/passwd").contains("\ntc:x:1001:50:"));
    for (path, _) in stage.iter() {
        let name = path.to_string();
        assert!(!name.ends_with("telnetd") && !name.ends_with("httpd"), "{name}");
    }
}

#[test]
fn it_is_made_the_same_again() {
    let (again, _folder) = load(BaseKind::Mini, None, None).unwrap();
    assert_eq!(sum(tree(&again)), sum(tree(mini())));
}

/// The root filesystem on the host, for programs that run in it.
struct Machine {
    root: TempDir,
}

/// Stands in for mount(8) where no loop device may be had: an extension is a tar
/// archive here.
const MOUNT: &str = r#"#!/bin/sh
for file; do
    case $file in
        *.tcz) echo "$file" >>/tmp/mounted; exec tar -xf "$file" -C "$6" 2>/dev/null ;;
    esac
done
"#;

impl Machine {
    fn new(codes: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        lay_out(&tree(mini()).stage, root.path());
        let machine = Self { root };
        machine.write("proc/cmdline", codes);
        machine.write("proc/mounts", "");
        machine.write("dev/null", "");
        machine.write("etc/sysconfig/tcuser", "tc\n");
        machine
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        // What is there may be a link to busybox.
        let _ = fs::remove_file(self.path(name));
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script in it; both its outputs.
    fn run(&self, script: &str) -> String {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg("--root").arg(self.root.path());
        let path = "PATH=/sbin:/usr/sbin:/bin:/usr/bin; export PATH";
        command.args(["/bin/sh", "-c", &format!("{path}; exec 2>&1; {script}\n:")]);
        run(&mut command, "unshare is needed: apt-get install util-linux")
    }

    /// An extension with one program, and a script that notes that it was run.
    fn extension(&self, name: &str, needs: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("#!/bin/sh\necho {name} >>/tmp/ran\n");
        for (file, text) in [
            (
                format!("usr/local/bin/{name}"),
                format!("#!/bin/sh\necho {name}\n"),
            ),
            (format!("usr/local/tce.installed/{name}"), script),
            ("etc/hostname".to_owned(), "another\n".to_owned()),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let optional = self.path("tmp/builtin/optional");
        fs::create_dir_all(&optional).unwrap();
        let file = optional.join(format!("{name}.tcz"));
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&file).arg("-C").arg(folder.path()).arg(".");
        run(&mut tar, "tar is needed");
        if !needs.is_empty() {
            self.write(
                &format!("tmp/builtin/optional/{name}.tcz.dep"),
                &format!("{}\n", needs.join("\n")),
            );
        }
    }
}

#[test]
fn its_programs_run_without_lib64() {
    let machine = Machine::new("");
    assert_eq!(
        machine.run("mke2fs -V").lines().next(),
        Some("mke2fs 1.46.2 (28-Feb-2021)")
    );
    assert_eq!(
        machine.run("flock --version").trim(),
        "flock from util-linux 2.36.1"
    );
    assert_eq!(
        machine.run("ldconfig && blkid --version | cut -c1-5").trim(),
        "blkid"
    );
    // What Tiny Core's busybox lacks is not there either, and what extensions
    // bring is run, though busybox could do it.
    let lacks =
        "for name in ip stat nsenter unshare mountpoint; do type $name >/dev/null 2>&1 && echo $name; done";
    assert_eq!(machine.run(lacks), "");
    machine.program("usr/local/bin/stat", "#!/bin/sh\necho mine\n");
    assert_eq!(machine.run("PATH=/usr/local/bin:$PATH; stat /"), "mine\n");
}

#[test]
fn every_link_leads_somewhere() {
    let stage = &tree(mini()).stage;
    // Made by the kernel.
    let later = ["/proc/mounts"];
    for (path, node) in stage.iter() {
        let Kind::Symlink(target) = &node.kind else {
            continue;
        };
        let to = path.resolve_link(target).unwrap();
        let known = later.iter().any(|name| name.as_bytes() == target.as_slice());
        assert!(known || stage.get(&to).is_some(), "{path} -> {to}");
    }
}

#[test]
fn busybox_has_every_command_that_is_linked_to_it() {
    let machine = Machine::new("");
    let has = |name: &str| -> Vec<String> {
        let list = machine.run(&format!("/bin/{name} --list"));
        list.lines().map(str::to_owned).collect()
    };
    for program in ["busybox", "busybox.suid"] {
        let commands = has(program);
        assert!(commands.len() > 200, "{commands:?}");
        for (path, node) in tree(mini()).stage.iter() {
            let Kind::Symlink(target) = &node.kind else {
                continue;
            };
            let name = String::from_utf8_lossy(path.file_name().unwrap()).into_owned();
            if Path::new(std::str::from_utf8(target).unwrap())
                .file_name()
                .unwrap()
                == program
            {
                assert!(commands.contains(&name), "{program} has no {name}");
            }
        }
    }
}

#[test]
fn boot_codes_and_devices_are_read() {
    let machine = Machine::new("quiet base host=one host=two tce=LABEL=x/tce waitusb=5:LABEL=data xbase=1\n");
    for (script, wanted) in [
        ("flag base && echo yes", "yes\n"),
        ("flag xbase || echo no", "no\n"),
        ("flag host || echo no", "no\n"),
        ("getbootparam host", "two\n"),
        ("getbootparam waitusb", "5:LABEL=data\n"),
        ("getbootparam ost >/dev/null || echo no", "no\n"),
        ("device sda1; device /dev/vdb", "/dev/sda1\n/dev/vdb\n"),
        (
            "getMirror; echo $MIRROR",
            "http://repo.tinycorelinux.net/11.x/x86_64/tcz\n",
        ),
    ] {
        let got = machine.run(&format!(". /etc/init.d/tc-functions; {script}"));
        assert_eq!(got, wanted, "{script}");
    }
}

#[test]
fn extensions_are_loaded_with_what_they_need_and_their_scripts_run_in_order() {
    let machine = Machine::new("base\n");
    machine.program("bin/mount", MOUNT);
    machine.program("bin/umount", "#!/bin/sh\n");
    machine.program("sbin/depmod", "#!/bin/sh\n");
    let release = machine.run("uname -r");
    let module = format!("module-{}", release.trim());
    machine.extension("app", &["lib.tcz", "module-KERNEL.tcz"]);
    machine.extension("lib", &["deep.tcz", "app.tcz"]);
    machine.extension("deep", &[]);
    machine.extension(&module, &[]);
    machine.extension("alone", &[]);
    machine.extension("wants", &["nothing.tcz"]);
    machine.write("tmp/builtin/optional/damaged.tcz", "no archive");
    machine.write(
        "tmp/builtin/onboot.lst",
        "# these\ndamaged.tcz\nwants.tcz\napp.tcz # and this\n\nalone\n",
    );
    let said = machine.run("tce-setup booting 2>&1 | grep -v chown");
    let complaints: Vec<_> = said.lines().collect();
    assert_eq!(
        complaints,
        [
            "tce-load: damaged.tcz is damaged: it cannot be mounted",
            "tce-load: nothing.tcz is not there; wants.tcz needs it",
        ]
    );
    // What is needed first, a later line of a .dep before an earlier one.
    let order = [module.as_str(), "deep", "lib", "app", "alone"];
    let ran = fs::read_to_string(machine.path("tmp/ran")).unwrap();
    assert_eq!(ran.lines().collect::<Vec<_>>(), order);
    for name in order {
        let link = fs::read_link(machine.path(&format!("usr/local/bin/{name}"))).unwrap();
        let wanted = format!("/tmp/tcloop/{name}/usr/local/bin/{name}");
        assert_eq!(link, Path::new(&wanted));
    }
    // What the system has stays.
    assert_eq!(fs::read_to_string(machine.path("etc/hostname")).unwrap(), "box\n");
    assert!(!machine.path("usr/local/tce.installed/damaged").exists());
    // Once is enough.
    assert_eq!(
        machine.run("tce-load -i -t /tmp/builtin app"),
        "app is already installed!\n"
    );
}

#[test]
fn what_is_kept_is_restored() {
    let machine = Machine::new("");
    machine.write("etc/sysconfig/mydata", "mydata\n");
    machine.write("home/tc/file", "mine");
    machine.write("home/tc/.cache/big", "not kept");
    let script = "mkdir /mnt/disk && ln -sfn /mnt/disk /etc/sysconfig/tcedir && filetool.sh -b && \
                  rm -r /home/tc && /etc/init.d/tc-restore.sh && find /home/tc -type f && \
                  cat /etc/sysconfig/backup_device";
    assert_eq!(machine.run(script), "/home/tc/file\ndisk\n");
}
