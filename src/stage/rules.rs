//! Tiny Core's rules for what an extension holds.

use super::{Kind, Node, Owner, Stage, TreePath};
use crate::base::Base;

/// Directory of the scripts that run once after an extension is loaded.
const INSTALLED: &str = "usr/local/tce.installed";

/// Gives every path the owner and mode that Tiny Core asks for, whatever the
/// archive or folder it came from said:
///
/// - everything is root:root; directories 755, programs and shared libraries
///   755, other files 644; setuid, setgid and sticky bits are dropped;
/// - `usr/local/tce.installed` and the scripts in it are 775 root:staff;
/// - a directory that the system already has (`home/tc`, `opt`, `tmp`, …) keeps
///   the system's values, because tce-load would change the system's to those
///   that the extension has.
///
/// Source: corebook, submitqc and Core-scripts' tce-load (`cp -ais`).
pub fn apply_rules(stage: &mut Stage, base: &Base) {
    let installed = TreePath::parse(INSTALLED).unwrap_or_default();
    for (path, node) in stage.iter_mut() {
        let (mode, owner) = match base.directory(path) {
            Some(system) if node.is_dir() => (system.mode, system.owner),
            _ if path.strip_prefix(&installed).is_some() => (0o775, Owner::ROOT_STAFF),
            _ => (ruled_mode(path, node), Owner::ROOT),
        };
        node.owner = owner;
        if !matches!(node.kind, Kind::Symlink(_)) {
            node.mode = mode;
        }
    }
}

/// The mode that a file or directory of an extension has to have.
fn ruled_mode(path: &TreePath, node: &Node) -> u16 {
    let program = node.mode & 0o111 != 0 || is_shared_library(path);
    if node.is_dir() || program { 0o755 } else { 0o644 }
}

/// Whether a name is that of a shared library: `x.so` or `x.so.1.2`.
pub fn is_shared_library(path: &TreePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    match name.rsplit_once(".so") {
        Some((stem, version)) => !stem.is_empty() && version.chars().all(|c| c == '.' || c.is_ascii_digit()),
        None => false,
    }
}

/// The paths that lie where the running system writes: as links into the
/// read-only image they would break it.
pub fn written_at_run_time<'a>(stage: &'a Stage, base: &'a Base) -> impl Iterator<Item = &'a TreePath> {
    stage.file_paths().filter(|path| base.is_run_time_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Content;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    #[test]
    fn owners_and_modes_follow_the_rules() {
        let base = Base::built_in().unwrap();
        let staff = Owner::ROOT_STAFF;
        let tc = Owner { uid: 1001, gid: 50 };
        let cases = [
            ("usr/local/bin/x", 0o4555, false, 0o755, Owner::ROOT),
            ("usr/local/lib/libx.so.1.2", 0o600, false, 0o755, Owner::ROOT),
            ("usr/local/share/x.sources", 0o666, false, 0o644, Owner::ROOT),
            ("usr/local/tce.installed/x", 0o755, false, 0o775, staff),
            ("usr/local/tce.installed", 0o755, true, 0o775, staff),
            ("usr/local/share", 0o700, true, 0o755, Owner::ROOT),
            ("home/tc", 0o755, true, 0o755, tc),
            ("opt", 0o755, true, 0o2775, staff),
            ("tmp", 0o755, true, 0o1777, staff),
        ];
        let mut stage = Stage::new();
        for (name, mode, dir, ..) in cases {
            let kind = if dir {
                Kind::Directory
            } else {
                Kind::File(Content::bytes(*b""))
            };
            let owner = Owner { uid: 1000, gid: 1000 };
            stage.insert(path(name), Node { kind, mode, owner }).unwrap();
        }
        apply_rules(&mut stage, &base);
        for (name, .., mode, owner) in cases {
            let node = stage.get(&path(name)).unwrap();
            assert_eq!((node.mode, node.owner), (mode, owner), "{name}: {:o}", node.mode);
        }
    }

    #[test]
    fn what_is_written_at_run_time_is_found() {
        let base = Base::built_in().unwrap();
        let mut stage = Stage::new();
        for name in [
            "var/run/x.pid",
            "tmp/x",
            "var/lib/x",
            "usr/local/bin/x",
            "etc/mtab",
        ] {
            stage
                .insert(path(name), Node::file(Content::bytes(*b""), 0o644))
                .unwrap();
        }
        let found: Vec<_> = written_at_run_time(&stage, &base).cloned().collect();
        assert_eq!(found, ["etc/mtab", "tmp/x", "var/run/x.pid"].map(path));
    }
}
