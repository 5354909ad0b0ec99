//! `tcforge pack` from end to end.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::world::{Run, World, chmod, without_powers};

/// A world with a folder `root` that holds a program and its licence.
fn world() -> World {
    let world = World::new();
    world.write("project/root/usr/local/bin/hello", "#!/bin/sh\necho hello\n");
    chmod(&world.path("project/root/usr/local/bin/hello"), 0o755);
    world.write("project/root/usr/local/share/doc/hello/COPYING", "As you like.\n");
    world
}

const NOTE: &str = "      note nothing is said in the info file; `--info FILE` takes its texts from a file\n";

const INFO: &str = "Title:          hello.tcz
Description:    hello
Version:        unknown
Author:         unknown
Original-site:  unknown
Copying-policy: unknown
Size:           4.0K
Extension_by:   tcforge
Tags:           
Comments:       
Change-log:     
Current:        2020/03/01 Original
";

#[test]
fn owners_and_modes_are_forced_to_the_rules() {
    let world = world();
    let root = |name: &str| world.path(&format!("project/root/{name}"));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root("usr/local/bin/hello"), Some(1234), Some(5678)).unwrap();
    }
    chmod(&root("usr/local/bin/hello"), 0o6777);
    chmod(&root("usr/local/bin"), 0o1777);
    chmod(&root("usr/local/share/doc"), 0o700);
    world.write("project/root/usr/local/lib/libhello.so.1", "");
    chmod(&root("usr/local/lib/libhello.so.1"), 0o644);
    world.write(
        "project/root/usr/local/tce.installed/hello",
        "#!/bin/sh\nexit 0\n",
    );
    chmod(&root("usr/local/tce.installed/hello"), 0o755);
    symlink("hello", root("usr/local/bin/hi")).unwrap();
    fs::hard_link(root("usr/local/bin/hello"), root("usr/local/bin/same")).unwrap();
    let run = world.run(&["pack", "root", "hello.tcz"]);
    run.succeeded(&format!(
        "warning: an extension has Tiny Core's owners and modes: 2 setuid bits dropped (usr/local/bin/hello, \
         usr/local/bin/same), 2 setgid bits dropped (usr/local/bin/hello, usr/local/bin/same), 1 sticky bit dropped \
         (usr/local/bin), 1 directory open to everybody now (usr/local/share/doc)\n{NOTE}    Packed `hello.tcz`: 6 \
         files, 72 B into 4.00 KiB\n"
    ));
    assert_eq!(run.stdout, "");
    assert_eq!(
        world.listing("project/hello.tcz"),
        [
            "drwxr-xr-x 0/0 ",
            "drwxr-xr-x 0/0 /usr",
            "drwxr-xr-x 0/0 /usr/local",
            "drwxr-xr-x 0/0 /usr/local/bin",
            "-rwxr-xr-x 0/0 /usr/local/bin/hello",
            "lrwxrwxrwx 0/0 /usr/local/bin/hi -> hello",
            "-rwxr-xr-x 0/0 /usr/local/bin/same",
            "drwxr-xr-x 0/0 /usr/local/lib",
            "-rwxr-xr-x 0/0 /usr/local/lib/libhello.so.1",
            "drwxr-xr-x 0/0 /usr/local/share",
            "drwxr-xr-x 0/0 /usr/local/share/doc",
            "drwxr-xr-x 0/0 /usr/local/share/doc/hello",
            "-rw-r--r-- 0/0 /usr/local/share/doc/hello/COPYING",
            "drwxrwxr-x 0/50 /usr/local/tce.installed",
            "-rwxrwxr-x 0/50 /usr/local/tce.installed/hello",
        ]
    );
    assert_eq!(
        world.content("project/hello.tcz", "usr/local/bin/same"),
        "#!/bin/sh\necho hello\n"
    );
}

#[test]
fn what_an_extension_cannot_keep_is_told_once_with_numbers() {
    let world = world();
    for name in ["a", "b", "c", "d", "key"] {
        world.write(&format!("project/root/usr/local/etc/{name}"), "x");
        chmod(&world.path(&format!("project/root/usr/local/etc/{name}")), 0o400);
    }
    let hello = world.text_path("project/root/usr/local/bin/hello");
    let share = world.text_path("project/root/usr/local/share");
    for (attribute, path) in [
        ("user.note", &hello),
        ("user.other", &hello),
        ("user.note", &share),
    ] {
        rustix::fs::setxattr(path.as_str(), attribute, b"x", rustix::fs::XattrFlags::CREATE).unwrap();
    }
    let mut wanted =
        "5 files readable by everybody now (usr/local/etc/a, usr/local/etc/b, usr/local/etc/c, …)".to_owned();
    wanted.insert_str(
        0,
        "extended attributes of 2 paths dropped (usr/local/bin/hello, usr/local/share), ",
    );
    let packed = world.run(&["pack", "root", "hello.tcz", "-q"]);
    packed.succeeded(&format!(
        "warning: an extension has Tiny Core's owners and modes: {wanted}\n"
    ));

    let json = world.run(&["pack", "root", "hello.tcz", "-q", "--json"]);
    json.succeeded("");
    let files = ["a", "b", "c", "d", "key"].map(|name| format!("usr/local/etc/{name}"));
    assert_eq!(
        json.json()["lost"],
        serde_json::json!({
            "acl": [],
            "attributes": ["usr/local/bin/hello", "usr/local/share"],
            "capabilities": [],
            "private_directories": [],
            "private_files": files,
            "setgid": [],
            "setuid": [],
            "sticky": [],
        })
    );
}

/// Only root may give capabilities, and not each file system keeps ACLs.
#[test]
fn capabilities_and_acls_are_told_of() {
    let world = world();
    let hello = world.text_path("project/root/usr/local/bin/hello");
    // cap_net_raw, permitted and effective (linux/capability.h, revision 2).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Version 2; the owner, user 1000, the group, the mask and the others, all may read.
    let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[4, 0], &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let entries = [(1, none), (2, 1000), (4, none), (16, none), (32, none)];
    let acl = [vec![2, 0, 0, 0], entries.map(|(tag, id)| entry(tag, id)).concat()].concat();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(hello.as_str(), name, value, rustix::fs::XattrFlags::CREATE).is_ok()
    };
    let mut wanted = Vec::new();
    if set("security.capability", &capability) {
        wanted.push("capabilities of 1 file dropped (usr/local/bin/hello)");
    }
    if set("system.posix_acl_access", &acl) {
        wanted.push("1 ACL dropped (usr/local/bin/hello)");
    }
    chmod(&world.path("project/root/usr/local/bin/hello"), 0o755);
    let said = match wanted.as_slice() {
        [] => String::new(),
        some => format!(
            "warning: an extension has Tiny Core's owners and modes: {}\n",
            some.join(", ")
        ),
    };
    world.run(&["pack", "root", "hello.tcz", "-q"]).succeeded(&said);
}

#[test]
fn side_files_are_written_and_old_ones_go() {
    let world = world();
    let side = |world: &World| {
        let names = world.names("project");
        let side = names.iter().filter_map(|name| name.strip_prefix("hello.tcz."));
        side.map(str::to_owned).collect::<Vec<_>>()
    };
    let args = [
        "pack",
        "root",
        "hello.tcz",
        "-q",
        "--dep",
        "coreutils.tcz",
        "--dep",
        "attr.tcz",
        "--dep",
        "coreutils.tcz",
    ];
    world.run(&args).succeeded("");
    assert_eq!(
        side(&world),
        ["dep", "info", "list", "md5.txt", "spdx.json", "tree", "zsync"]
    );
    assert_eq!(world.read("project/hello.tcz.dep"), "coreutils.tcz\nattr.tcz\n");
    assert_eq!(
        world.read("project/hello.tcz.tree"),
        "hello.tcz\n   coreutils.tcz\n   attr.tcz\n\n"
    );
    assert_eq!(world.read("project/hello.tcz.info"), INFO);
    assert_eq!(
        world.read("project/hello.tcz.list"),
        "/usr/local/bin/hello\n/usr/local/share/doc/hello/COPYING\n"
    );

    world.run(&["pack", "root", "hello.tcz", "-q"]).succeeded("");
    assert_eq!(
        side(&world),
        ["info", "list", "md5.txt", "spdx.json", "tree", "zsync"]
    );
    assert_eq!(world.read("project/hello.tcz.tree"), "hello.tcz\n\n");
    world.run(&["check", "-q", "hello.tcz"]).succeeded("");
    assert_eq!(world.names("tmp"), [""; 0]);
}

#[test]
fn the_info_files_texts_are_taken_over() {
    let world = world();
    let given = INFO
        .replace("hello.tcz", "")
        .replace("4.0K", "")
        .replacen("unknown", "1.5", 1)
        .replace("unknown", "Jane Doe");
    world.write("project/good.info", &given);
    world
        .run(&["pack", "root", "hello.tcz", "-q", "--info", "good.info"])
        .succeeded("");
    let wanted = given
        .replace("Title:          ", "Title:          hello.tcz")
        .replace("Size:           ", "Size:           4.0K");
    assert_eq!(world.read("project/hello.tcz.info"), wanted);
    for (name, bytes, stderr) in [
        (
            "short.info",
            &b"Title:          x.tcz\n"[..],
            "error: the info file `short.info` is not as Tiny Core wants it: the field `Description` is \
             missing\nhint: docs/extensions.md shows how an info file looks\n",
        ),
        (
            "latin1.info",
            b"Title: \xe9\n",
            "error: the info file `latin1.info` is not as Tiny Core wants it: there are bytes that are not \
             UTF-8\nhint: docs/extensions.md shows how an info file looks\n",
        ),
    ] {
        world.write(&format!("project/{name}"), bytes);
        world
            .run(&["pack", "root", "other.tcz", "--info", name])
            .failed(stderr);
    }
    world
        .run(&["pack", "root", "other.tcz", "--info", "none"])
        .failed(
            "error: cannot read the info file `none`\n  because: No such file or directory (os error 2)\n",
        );
    assert!(!world.path("project/other.tcz").exists());
}

#[test]
fn block_sizes_and_compressions_have_words() {
    let world = world();
    for (args, block, compression) in [
        (&[][..], 4096, "gzip"),
        (&["--block-size", "4K"], 4096, "gzip"),
        (&["--block-size", "128k"], 131_072, "gzip"),
        (&["--block-size", "1M"], 1 << 20, "gzip"),
        (&["--block-size", "65536", "--compression", "zstd"], 65536, "zstd"),
        (&["--compression", "xz", "--level", "0"], 4096, "xz"),
        (&["--compression", "zstd", "--level", "22"], 4096, "zstd"),
        (&["--level", "1"], 4096, "gzip"),
    ] {
        world
            .run(&[&["pack", "root", "hello.tcz", "-q"], args].concat())
            .succeeded("");
        let image = fs::read(world.path("project/hello.tcz")).unwrap();
        let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        let algorithms = [(1, "gzip"), (4, "xz"), (6, "zstd")];
        assert_eq!(number(12), block, "{args:?}");
        assert!(
            algorithms.contains(&(number(20) & 0xffff, compression)),
            "{args:?}"
        );
        fs::remove_file(world.path("project/hello.tcz")).unwrap();
    }
    for size in [
        "",
        "2K",
        "5000",
        "2M",
        "0",
        "K",
        "4KiB",
        "4294967296",
        "4194304K",
        "4.0K",
    ] {
        world
            .run(&["pack", "root", "hello.tcz", "--block-size", size])
            .failed(&format!(
                "error: `{size}` is not a block size\nhint: a power of two from 4096 to 1048576; the mirror has \
                 4096, and 131072 packs smaller\n"
            ));
    }
    for (args, stderr) in [
        (
            &["--level", "0"][..],
            "error: gzip has no level 0\nhint: its levels are 1 to 12\n",
        ),
        (
            &["--level", "13"],
            "error: gzip has no level 13\nhint: its levels are 1 to 12\n",
        ),
        (
            &["--compression", "xz", "--level", "10"],
            "error: xz has no level 10\nhint: its levels are 0 to 9\n",
        ),
        (
            &["--compression", "zstd", "--level", "0"],
            "error: zstd has no level 0\nhint: its levels are 1 to 22\n",
        ),
    ] {
        world
            .run(&[&["pack", "root", "hello.tcz"], args].concat())
            .failed(stderr);
    }
    let run = world.run(&["pack", "root", "hello.tcz", "--compression", "lz4"]);
    assert_eq!(run.code, Some(2));
    assert!(!world.path("project/hello.tcz").exists());
}

#[test]
fn what_cannot_be_an_extension_is_named() {
    let world = world();
    fs::create_dir(world.path("project/empty")).unwrap();
    world.write("project/file", "");
    let name = |name: &str| {
        format!(
            "error: `{name}` cannot be the name of an extension\nhint: it must end in `.tcz` and have only letters, \
             digits, `.`, `_`, `+` and `-` before that\n"
        )
    };
    let inside = |name: &str| {
        format!(
            "error: `{name}` lies in the folder that is to be packed\nhint: write it beside the folder: inside, the \
             next one would hold this one\n"
        )
    };
    let dep = |name: &str, why: &str| {
        format!("error: `{name}` cannot be a dependency: `{name}` {why}\nhint: write it as `coreutils.tcz`\n")
    };
    for (args, stderr) in [
        (&["root", "hello.tgz"][..], name("hello.tgz")),
        (&["root", "hello world.tcz"], name("hello world.tcz")),
        (&["root", ".tcz"], name(".tcz")),
        (&["root", "out/"], name("out/")),
        (&["root", ".."], name("..")),
        (&["root", "root/hello.tcz"], inside("root/hello.tcz")),
        (&["root", "root/usr/../hello.tcz"], inside("root/usr/../hello.tcz")),
        (&[".", "hello.tcz"], inside("hello.tcz")),
        (
            &["none", "hello.tcz"],
            "error: cannot read `none`\n  because: No such file or directory (os error 2)\nhint: tcforge must be able \
             to read everything that goes into the extension\n"
                .to_owned(),
        ),
        (
            &["file", "hello.tcz"],
            "error: cannot read `file`\n  because: Not a directory (os error 20)\nhint: tcforge must be able to read \
             everything that goes into the extension\n"
                .to_owned(),
        ),
        (
            &["empty", "hello.tcz"],
            "error: hello.tcz: empty: it holds nothing, and there is no .dep that would make it a meta extension (put \
             files into it, or write a .dep)\nerror: the audit found errors, and `hello.tcz` was not written\nhint: \
             see the errors above; `--force` writes the extension all the same\n"
                .to_owned(),
        ),
        (
            &["root", "hello.tcz", "--dep", "coreutils"],
            dep("coreutils", "does not end in `.tcz`"),
        ),
        (
            &["root", "hello.tcz", "--dep", "../x.tcz"],
            dep("../x.tcz", "is a path; a `.dep` holds bare names"),
        ),
        (
            &["root", "hello.tcz", "--dep", "hello.tcz"],
            "error: the dependencies go in a circle: hello.tcz → hello.tcz\nhint: remove one of them from the `.dep` \
             of the one before it\n"
                .to_owned(),
        ),
        (
            &["root", "file/hello.tcz"],
            "error: cannot make the folder `file`\n  because: File exists (os error 17)\nhint: a file is in the way: \
             name another folder, or remove it\n"
                .to_owned(),
        ),
    ] {
        world.run(&[&["pack"], args].concat()).failed(&stderr);
        assert_eq!(world.names("project"), ["empty", "file", "recipes", "root", "tcforge.lock"], "{args:?}");
    }
    // One folder more, and it is a meta extension.
    world
        .run(&["pack", "empty", "hello.tcz", "-q", "--dep", "coreutils.tcz"])
        .succeeded("");
}

#[test]
fn a_circle_through_extensions_beside_it_is_told() {
    let world = world();
    world.write("project/one.tcz.dep", "two.tcz\n");
    world.write("project/two.tcz.dep", "hello.tcz\n");
    world
        .run(&["pack", "root", "hello.tcz", "--dep", "one.tcz"])
        .failed(
            "error: the dependencies go in a circle: hello.tcz → one.tcz → two.tcz → hello.tcz\nhint: remove one of \
             them from the `.dep` of the one before it\n",
        );
    assert!(!world.path("project/hello.tcz").exists());
}

#[test]
fn files_that_cannot_be_packed_are_named() {
    let world = world();
    let fifo = world.path("project/root/pipe");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    world.run(&["pack", "root", "hello.tcz"]).failed(
        "error: `root/pipe` is a named pipe, which an extension cannot hold\nhint: remove it from the folder\n",
    );
    fs::remove_file(fifo).unwrap();

    let link = world.path("project/root/usr/local/share/long");
    std::os::unix::fs::symlink("x".repeat(256), &link).unwrap();
    world.run(&["pack", "root", "hello.tcz"]).failed(
        "error: the target of the link `usr/local/share/long` has 256 bytes: an image with it cannot be verified\nhint: \
         squashfs could hold it, but the reader that every image is checked with takes 255 bytes at most; shorten the \
         link\n",
    );
    fs::remove_file(link).unwrap();

    let secret = world.path("project/root/usr/local/bin/hello");
    chmod(&secret, 0o000);
    let mut command = world.through(without_powers(), &["pack", "root", "hello.tcz"]);
    Run::of(&mut command).failed(
        "error: cannot pack `hello.tcz`\n  because: cannot read the content of `usr/local/bin/hello`\n  because: \
         Permission denied (os error 13)\nhint: check that the file can still be read, and try again\n",
    );
    chmod(&secret, 0o755);

    let folder = world.path("project/root/usr/local/share");
    chmod(&folder, 0o000);
    let mut command = world.through(without_powers(), &["pack", "root", "hello.tcz"]);
    let run = Run::of(&mut command);
    chmod(&folder, 0o755);
    run.failed(
        "error: cannot read `root/usr/local/share`\n  because: Permission denied (os error 13)\nhint: tcforge must be \
         able to read everything that goes into the extension\n",
    );
    assert_eq!(world.names("project"), ["recipes", "root", "tcforge.lock"]);
    assert_eq!(world.names("tmp"), [""; 0]);
}

#[test]
fn names_need_not_be_text_but_one_line() {
    let world = world();
    let share = world.path("project/root/usr/local/share");
    fs::write(share.join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    world.run(&["pack", "root", "hello.tcz", "-q"]).succeeded("");
    assert_eq!(
        fs::read(world.path("project/hello.tcz.list")).unwrap(),
        b"/usr/local/bin/hello\n/usr/local/share/caf\xe9\n/usr/local/share/doc/hello/COPYING\n"
    );
    let image = world.text_path("project/hello.tcz");
    let listed = std::process::Command::new("unsquashfs")
        .args(["-l", &image])
        .output()
        .unwrap();
    let name = b"/usr/local/share/caf\xe9\n";
    assert!(listed.stdout.windows(name.len()).any(|window| window == name));

    fs::write(share.join("a\nb"), "").unwrap();
    world.run(&["pack", "root", "other.tcz"]).failed(
        "error: `usr/local/share/a\nb` has a line break in its name\nhint: rename the file; a .list has one path a \
         line\n",
    );
    assert!(!world.path("project/other.tcz").exists());
}

#[test]
fn names_do_not_reach_the_terminal() {
    let world = world();
    world.write(
        "project/root/usr/local/tce.installed/\u{1b}]0;x\u{7}",
        "#!/bin/sh\n",
    );
    let run = world.run(&["pack", "root", "hello.tcz", "--force"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let finding = "usr/local/tce.installed/\\u{1b}]0;x\\u{7}: the one script";
    assert!(run.stderr.contains(finding), "{}", run.stderr);
    let check = world.run(&["check", "hello.tcz"]);
    assert!(check.stdout.contains(finding), "{}", check.stdout);
    assert!(!check.stdout.contains('\u{1b}'));
}

#[test]
fn errors_of_the_audit_keep_it_back_unless_forced() {
    let world = world();
    world.write("project/root/usr/local/tce.installed/other", "#!/bin/sh\n");
    let run = world.run(&["pack", "root", "hello.tcz"]);
    let (findings, end) = run.stderr.split_once("error: the audit found").unwrap();
    assert_eq!(
        findings,
        "error: hello.tcz: installed: usr/local/tce.installed/other: the one script in tce.installed has the \
         extension's name, `hello`\n"
    );
    assert_eq!(
        end,
        " errors, and `hello.tcz` was not written\nhint: see the errors above; `--force` writes the extension all \
         the same\n"
    );
    run.failed(&run.stderr);
    assert_eq!(world.names("project"), ["recipes", "root", "tcforge.lock"]);

    let run = world.run(&["pack", "root", "hello.tcz", "--force", "--json"]);
    run.succeeded(&format!(
        "warning: `hello.tcz` was written with 1 error of the audit, as `--force` asks for\n{NOTE}    Packed \
         `hello.tcz`: 3 files, 44 B into 4.00 KiB, with 1 error\n"
    ));
    let json = run.json();
    assert_eq!(json["extension"], "hello.tcz");
    assert_eq!(json["files"], 3);
    assert!(json["write_seconds"].as_f64().unwrap() > 0.0);
    assert!(world.path("project/hello.tcz").exists());
}

/// The audit of what was made here does not read the image once more.
#[test]
fn what_was_made_is_audited_as_what_was_found() {
    let world = world();
    let root = |name: &str| world.path(&format!("project/root/usr/local/{name}"));
    fs::create_dir_all(root("lib/x/y")).unwrap();
    fs::copy("/bin/ls", root("bin/ls")).unwrap();
    fs::copy("/bin/ls", root("lib/x/liby.so")).unwrap();
    fs::write(root("lib/x/short"), b"\x7fELF").unwrap();
    fs::write(root("lib/x/empty"), "").unwrap();
    fs::write(root("bin/script"), "#!/bin/none\n").unwrap();
    chmod(&root("bin/script"), 0o755);
    symlink("nowhere", root("lib/x/link")).unwrap();
    world.write(
        "project/root/usr/local/etc/init.d/hello",
        "#!/bin/sh\nno_such_command\n",
    );
    chmod(&root("etc/init.d/hello"), 0o755);
    let made = world
        .run(&["pack", "root", "hello.tcz", "--force", "--json"])
        .json();
    let found = world.run(&["check", "hello.tcz", "--json"]).json();
    assert_eq!(made["findings"], found[0]["findings"]);
    let findings = found[0]["findings"].to_string();
    for needle in ["no_such_command", "/bin/none", "nowhere", "bin/ls"] {
        assert!(findings.contains(needle), "{needle} in {findings}");
    }
}

#[test]
fn what_lies_where_the_system_writes_is_refused() {
    let world = world();
    world.write("project/root/var/run/hello.pid", "1\n");
    world.run(&["pack", "root", "hello.tcz"]).failed(
        "error: hello.tcz holds `var/run/hello.pid`, where the running system writes\nhint: loaded files are links \
         into a read-only image; ship a template, and make the file from the tce.installed script\n",
    );
    assert!(!world.path("project/hello.tcz").exists());
}
