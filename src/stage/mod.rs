//! A tree that becomes an extension (later also an initrd or an image), held
//! as data: path → kind, mode, owner, content. Nothing of it exists as a file
//! with an owner on the host, so neither root nor fakeroot is needed.

mod content;
mod folder;
mod path;
mod rules;

use std::collections::BTreeMap;

pub use content::{Content, ContentReader, Spool};
pub use folder::FolderError;
pub use path::{PathError, TreePath};
pub use rules::{apply_rules, is_shared_library, written_at_run_time};

/// Numeric owner of a staged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner {
    /// User; 0 is root, Tiny Core's `tc` is 1001.
    pub uid: u32,
    /// Group; 0 is root, Tiny Core's `staff` is 50.
    pub gid: u32,
}

impl Owner {
    /// root:root
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
    /// root:staff
    pub const ROOT_STAFF: Self = Self { uid: 0, gid: 50 };
}

/// What a path in a stage is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory; its content is what lies below its path.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, at most [`SYMLINK_MAX`] bytes.
    Symlink(Vec<u8>),
}

/// The longest target of a symbolic link: Linux's PATH_MAX less the NUL.
pub const SYMLINK_MAX: usize = 4095;

/// One path of a stage.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits, with setuid, setgid and sticky.
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
}

impl Node {
    /// A directory, 755 root:root.
    pub fn directory() -> Self {
        Self::root(Kind::Directory, 0o755)
    }

    /// A file of root's.
    pub fn file(content: Content, mode: u16) -> Self {
        Self::root(Kind::File(content), mode)
    }

    /// A symbolic link.
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Self::root(Kind::Symlink(target.into()), 0o777)
    }

    fn root(kind: Kind, mode: u16) -> Self {
        Self {
            kind,
            mode,
            owner: Owner::ROOT,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

/// Why something could not be put into a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The path is taken.
    #[error("`{0}` is there already")]
    Exists(TreePath),
    /// Something above the path is not a directory.
    #[error("`{path}` would lie below `{above}`, which is not a directory")]
    NotADirectory {
        /// What was to be put there.
        path: TreePath,
        /// What is in the way.
        above: TreePath,
    },
    /// The target of a symbolic link is empty or too long.
    #[error("the link `{0}` has a target of {1} bytes; 1 to {SYMLINK_MAX} are possible")]
    LinkTarget(TreePath, usize),
}

/// The tree. Always closed: every path's parent is there and a directory. The
/// root is always there.
#[derive(Debug, Clone)]
pub struct Stage {
    nodes: BTreeMap<TreePath, Node>,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// A tree with nothing but its root, 755 root:root.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(TreePath::root(), Node::directory())]),
        }
    }

    /// Puts a node at a path. Missing directories above are made, 755 root:root.
    /// A directory that is there already takes the new one's mode and owner;
    /// anything else that is there is an error.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Result<(), StageError> {
        if let Kind::Symlink(target) = &node.kind
            && !(1..=SYMLINK_MAX).contains(&target.len())
        {
            return Err(StageError::LinkTarget(path, target.len()));
        }
        if let Some(there) = self.nodes.get(&path)
            && !(there.is_dir() && node.is_dir())
        {
            return Err(StageError::Exists(path));
        }
        self.make_parents(&path)?;
        self.nodes.insert(path, node);
        Ok(())
    }

    fn make_parents(&mut self, path: &TreePath) -> Result<(), StageError> {
        let mut missing = Vec::new();
        for above in path.ancestors() {
            match self.nodes.get(&above) {
                Some(node) if node.is_dir() => break,
                Some(_) => {
                    return Err(StageError::NotADirectory {
                        path: path.clone(),
                        above,
                    });
                }
                None => missing.push(above),
            }
        }
        let made = missing.into_iter().map(|above| (above, Node::directory()));
        self.nodes.extend(made);
        Ok(())
    }

    /// The node at a path.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Every path, sorted: the root first, directories before their content.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// Like [`Stage::iter`], with nodes that can be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Node)> {
        self.nodes.iter_mut()
    }

    /// The number of paths, the root among them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// The sum of all files' sizes in bytes, hard links counted each time.
    pub fn content_size(&self) -> u64 {
        self.nodes
            .values()
            .map(|node| match &node.kind {
                Kind::File(content) => content.len(),
                _ => 0,
            })
            .sum()
    }

    /// Every path that is not a directory: an extension's `.list`.
    pub fn file_paths(&self) -> impl Iterator<Item = &TreePath> {
        self.nodes
            .iter()
            .filter(|(_, node)| !node.is_dir())
            .map(|(path, _)| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    fn file() -> Node {
        Node::file(Content::bytes(*b"x"), 0o644)
    }

    #[test]
    fn a_stage_is_closed_and_sorted() {
        let mut stage = Stage::new();
        stage.insert(path("usr/local/bin/x"), file()).unwrap();
        stage.insert(path("usr/local"), Node::directory()).unwrap();
        let names: Vec<_> = stage.iter().map(|(p, _)| p.to_string()).collect();
        assert_eq!(
            names,
            ["/", "usr", "usr/local", "usr/local/bin", "usr/local/bin/x"]
        );
        assert_eq!(stage.content_size(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut stage = Stage::new();
        stage.insert(path("a"), file()).unwrap();
        assert_eq!(
            stage.insert(path("a"), file()),
            Err(StageError::Exists(path("a")))
        );
        assert_eq!(
            stage.insert(path("a/b"), file()),
            Err(StageError::NotADirectory {
                path: path("a/b"),
                above: path("a")
            })
        );
        assert!(stage.insert(path("a/b/c/d"), file()).is_err());
        assert_eq!(
            stage.insert(path("l"), Node::symlink("")),
            Err(StageError::LinkTarget(path("l"), 0))
        );
        assert_eq!(stage.len(), 2);
    }
}
