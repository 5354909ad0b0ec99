//! What other users of the machine may see, change, or keep waiting: nothing.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::world::{Run, World, chmod, without_powers};

pub(crate) fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// A world with a folder `root` to pack.
fn world() -> World {
    let world = World::new();
    world.write("project/root/usr/local/share/doc/hello/LICENSE", "As you like.\n");
    world
}

const PACK: [&str; 4] = ["pack", "root", "hello.tcz", "-q"];

#[test]
fn a_persons_folders_are_nobodys_scratch() {
    let world = world();
    world.write("project/.tcforge-notes/todo", "mine");
    world.write("project/.tcforge-abc123/lock", "");
    world.write("project/.tcforge-abc123/todo", "mine");
    fs::create_dir(world.path("project/.tcforge-x")).unwrap();
    fs::create_dir(world.path("project/.tcforge-pipe00")).unwrap();
    for name in ["x", "pipe00"] {
        let folder = world.path(&format!("project/.tcforge-{name}"));
        chmod(&folder, 0o700);
        pipe(&folder.join("lock"));
    }
    world.run(&PACK).succeeded("");
    let left = world
        .names("project")
        .into_iter()
        .filter(|name| name.starts_with('.'));
    assert_eq!(
        left.collect::<Vec<_>>(),
        [
            ".tcforge-abc123",
            ".tcforge-notes",
            ".tcforge-pipe00",
            ".tcforge-x"
        ]
    );
    assert_eq!(world.read("project/.tcforge-notes/todo"), "mine");
    assert_eq!(world.read("project/.tcforge-abc123/todo"), "mine");
}

/// In /tmp anybody may put anything beside the output, and lock the folder.
#[test]
fn what_others_do_to_a_shared_folder_keeps_nobody_waiting() {
    let world = world();
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    chmod(&shared, 0o1777);
    for name in ["other.tcz", "other.tcz.dep", "hello.tcz.dep", "hello.tcz"] {
        pipe(&shared.join(name));
    }
    let bystander = File::open(&shared).unwrap();
    bystander.lock().unwrap();
    let args = ["pack", "root", "../shared/hello.tcz", "-q", "--dep", "other.tcz"];
    let run = Run::of(&mut world.through(&["timeout", "600"], &args));
    run.succeeded("");
    assert!(shared.join("hello.tcz").symlink_metadata().unwrap().is_file());
    assert_eq!(world.read("shared/hello.tcz.dep"), "other.tcz\n");
}

/// What starts the program with a umask.
fn with_umask(umask: &str) -> Vec<String> {
    let script = format!("umask {umask}; exec \"$@\"");
    let words = without_powers()
        .iter()
        .copied()
        .chain(["sh", "-c", &script, "sh"]);
    words.map(str::to_owned).collect()
}

fn run(world: &World, umask: &str, args: &[&str], environment: &[(&str, &Path)]) -> Run {
    let starter = with_umask(umask);
    let starter: Vec<_> = starter.iter().map(String::as_str).collect();
    let mut command = world.through(&starter, args);
    Run::of(command.envs(environment.iter().copied()))
}

#[test]
fn a_umask_keeps_out_others_but_not_the_program() {
    for (umask, mode) in [("0", 0o666), ("027", 0o640), ("0777", 0o600)] {
        let world = world();
        run(&world, umask, &PACK, &[]).succeeded("");
        for name in ["hello.tcz", "hello.tcz.info"] {
            let meta = world.path(&format!("project/{name}")).metadata().unwrap();
            assert_eq!(meta.mode() & 0o777, mode, "umask {umask}: {name}");
        }
    }
}

/// Says where the socket is that it is to connect to, and who may do so; then it gives
/// up.
const QEMU: &str = r#"#!/bin/sh
for word; do
    case $word in
    socket,*) socket=${word##*path=} ;;
    stdio,*) log=${word##*logfile=} ;;
    esac
done
stat -c '%a %n' "$socket" "${socket%/*}" "${socket%/*/*}" >"$SEEN"
echo "password: secret" >>"$log"
exit 1
"#;

/// A world with a QEMU of its own, and an image.
fn world_with_qemu() -> World {
    let world = World::new();
    world.write("bin/qemu-system-x86_64", QEMU);
    chmod(&world.path("bin/qemu-system-x86_64"), 0o755);
    world.write("project/box.iso", vec![0; 1 << 20]);
    fs::create_dir(world.path("runtime")).unwrap();
    world
}

/// Runs `tcforge run --check` on it: what QEMU has seen of the socket.
fn seen(world: &World, umask: &str, runtime: &Path) -> Vec<(String, String)> {
    let system = std::env::var_os("PATH").unwrap();
    let folders = [world.path("bin")]
        .into_iter()
        .chain(std::env::split_paths(&system));
    let path = std::env::join_paths(folders).unwrap();
    let (path, seen) = (Path::new(&path), world.path("seen"));
    let environment = [("PATH", path), ("SEEN", &seen), ("XDG_RUNTIME_DIR", runtime)];
    let args = ["run", "--check", "box.iso", "--report", "report"];
    let run = run(world, umask, &args, &environment);
    assert_eq!(run.code, Some(1), "{run:?}");
    let lines = world.read("seen");
    let words = lines.lines().map(|line| line.split_once(' ').unwrap());
    words
        .map(|(mode, name)| (mode.to_owned(), name.to_owned()))
        .collect()
}

#[test]
fn the_shell_of_a_box_is_for_nobody_else() {
    for umask in ["0", "022", "0777"] {
        for (mode, named) in [(0o700, "runtime"), (0o755, "tmp"), (0o1777, "tmp")] {
            let world = world_with_qemu();
            let runtime = world.path("runtime");
            chmod(&runtime, mode);
            let seen = seen(&world, umask, &runtime);
            let at = format!("umask {umask}, {mode:o}: {seen:?}");
            assert_eq!(seen.len(), 3, "{at}");
            assert!(seen.iter().all(|(mode, _)| mode == "700"), "{at}");
            let folder = world.text_path(named);
            assert!(seen.iter().all(|(_, name)| name.starts_with(&folder)), "{at}");
            assert_eq!(world.names("tmp"), [""; 0], "{at}");
            assert_eq!(world.names("runtime"), [""; 0], "{at}");
        }
        // Neither of these is a folder for this.
        for runtime in ["project", "../runtime", "/dev/null", ""] {
            let world = world_with_qemu();
            chmod(&world.path("runtime"), 0o700);
            let seen = seen(&world, umask, Path::new(runtime));
            let folder = world.text_path("tmp");
            assert!(seen.iter().all(|(_, name)| name.starts_with(&folder)), "{seen:?}");
        }
    }
}

#[test]
fn what_a_box_says_is_for_nobody_else() {
    let world = world_with_qemu();
    world.write("project/mine", "mine");
    fs::create_dir(world.path("project/report")).unwrap();
    symlink("../mine", world.path("project/report/console.log")).unwrap();
    seen(&world, "0", Path::new(""));
    assert_eq!(world.read("project/mine"), "mine");
    assert_eq!(world.read("project/report/console.log"), "password: secret\n");
    let meta = world
        .path("project/report/console.log")
        .symlink_metadata()
        .unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
}
