//! What a folder's files lose when they become an extension, and which of them more
//! people can read then.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::stage::{Kind, Node, Stage, TreePath};

/// One kind of what an extension does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The bit by which a program runs as its owner.
    Setuid,
    /// The bit by which a program runs as its group, or files take over a directory's.
    Setgid,
    /// The bit by which only owners remove files.
    Sticky,
    /// What a program may do without being root's.
    Capabilities,
    /// Permissions of more users and groups than the file's.
    Acl,
    /// Other extended attributes.
    Attributes,
    /// A file that everybody can read now.
    PrivateFile,
    /// A directory that everybody can look into now.
    PrivateDirectory,
}

impl Loss {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Setuid,
        Self::Setgid,
        Self::Sticky,
        Self::Capabilities,
        Self::Acl,
        Self::Attributes,
        Self::PrivateFile,
        Self::PrivateDirectory,
    ];

    /// Whether one of a mode's bits is meant that is gone.
    fn is_of_mode(self, before: &Node, after: &Node) -> bool {
        let lost = |bit| before.mode & bit != 0 && after.mode & bit == 0;
        let given = |bits| before.mode & bits != bits && after.mode & bits == bits;
        match self {
            Self::Setuid => lost(0o4000),
            Self::Setgid => lost(0o2000),
            Self::Sticky => lost(0o1000),
            Self::PrivateFile => !before.is_dir() && given(0o004),
            Self::PrivateDirectory => before.is_dir() && given(0o005),
            Self::Capabilities | Self::Acl | Self::Attributes => false,
        }
    }

    /// What is lost with an extended attribute, if anything is: SELinux labels are this
    /// machine's own.
    fn of_attribute(name: &[u8]) -> Option<Self> {
        match name {
            b"security.selinux" => None,
            b"security.capability" => Some(Self::Capabilities),
            b"system.posix_acl_access" | b"system.posix_acl_default" | b"system.nfs4_acl" => Some(Self::Acl),
            _ => Some(Self::Attributes),
        }
    }
}

/// Everything that an extension does not keep of a folder: the paths, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<Loss, Vec<TreePath>>);

impl Losses {
    /// What is lost between a folder, staged as it is, and the same stage with Tiny
    /// Core's owners and modes. Of the folder itself nothing is kept.
    pub(super) fn of(folder: &Path, before: &Stage, after: &Stage) -> Self {
        let mut losses = Self::default();
        let mut names = vec![0; LIST_MAX];
        for (path, node) in before.iter().filter(|(path, _)| !path.is_root()) {
            let Some(ruled) = after.get(path) else { continue };
            if matches!(node.kind, Kind::Symlink(_)) {
                continue;
            }
            let of_mode = |loss: &Loss| loss.is_of_mode(node, ruled);
            losses.add(path, Loss::ALL.into_iter().filter(of_mode));
            let host = folder.join(OsStr::from_bytes(path.as_bytes()));
            losses.add(path, attributes(&host, &mut names));
        }
        losses
    }

    fn add(&mut self, path: &TreePath, lost: impl IntoIterator<Item = Loss>) {
        for loss in lost {
            let paths = self.0.entry(loss).or_default();
            if paths.last() != Some(path) {
                paths.push(path.clone());
            }
        }
    }

    /// The paths that a kind of loss is of, sorted.
    pub fn paths(&self, loss: Loss) -> &[TreePath] {
        self.0.get(&loss).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether all is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The most that Linux gives of a file's list of attributes (XATTR_LIST_MAX).
const LIST_MAX: usize = 65536;

/// What is lost with a file's extended attributes, whose names go to `names` first. One
/// whose file system has none, or that is not to be asked, has none.
fn attributes(host: &Path, names: &mut [u8]) -> Vec<Loss> {
    let length = rustix::fs::llistxattr(host, &mut *names).unwrap_or_default();
    let names = names[..length].split(|byte| *byte == 0);
    names
        .filter(|name| !name.is_empty())
        .filter_map(Loss::of_attribute)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Content;

    #[test]
    fn modes_that_change_are_told_by_kind() {
        let path = TreePath::parse("x").unwrap();
        let stage = |kind: &Kind, mode| {
            let mut stage = Stage::new();
            let (kind, owner) = (kind.clone(), Default::default());
            stage.insert(path.clone(), Node { kind, mode, owner }).unwrap();
            stage
        };
        let file = Kind::File(Content::bytes(""));
        let directory = Kind::Directory;
        for (kind, before, after, wanted) in [
            (&file, 0o644, 0o644, &[][..]),
            (&file, 0o664, 0o644, &[]),
            (&file, 0o777, 0o755, &[]),
            (&file, 0o7755, 0o755, &[Loss::Setuid, Loss::Setgid, Loss::Sticky]),
            (&file, 0o400, 0o644, &[Loss::PrivateFile]),
            (&file, 0o4711, 0o755, &[Loss::Setuid, Loss::PrivateFile]),
            (&directory, 0o700, 0o755, &[Loss::PrivateDirectory]),
            (&directory, 0o754, 0o755, &[Loss::PrivateDirectory]),
            (&directory, 0o2775, 0o2775, &[]),
            (&directory, 0o3777, 0o755, &[Loss::Setgid, Loss::Sticky]),
            (&Kind::Symlink(b"y".to_vec()), 0o7777, 0o777, &[]),
        ] {
            let losses = Losses::of(Path::new("/nowhere"), &stage(kind, before), &stage(kind, after));
            let found: Vec<_> = Loss::ALL
                .into_iter()
                .filter(|loss| !losses.paths(*loss).is_empty())
                .collect();
            assert_eq!(found, wanted, "{before:o} {after:o}");
        }
    }

    #[test]
    fn attributes_are_told_by_kind() {
        for (name, wanted) in [
            ("security.selinux", None),
            ("security.capability", Some(Loss::Capabilities)),
            ("system.posix_acl_access", Some(Loss::Acl)),
            ("system.posix_acl_default", Some(Loss::Acl)),
            ("user.note", Some(Loss::Attributes)),
            ("trusted.overlay.opaque", Some(Loss::Attributes)),
        ] {
            assert_eq!(Loss::of_attribute(name.as_bytes()), wanted, "{name}");
        }
    }
}
