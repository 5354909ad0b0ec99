//! The tree that an archive's entries make. Every name and link passes through
//! here, whatever the format, so the rules are in one place.

use std::io::Read;

use super::error::{ArchiveError, EntryName, Place};
use super::limits::Limits;
use super::stream::archive_error;
use crate::stage::{Kind, Node, PathError, SYMLINK_MAX, Spool, Stage, StageError, TreePath};

/// What the top of an archive's tree stands for, which decides what its
/// absolute links may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A directory of the archive's own, that will lie anywhere: an absolute
    /// link would lead out of it.
    Own,
    /// The root of a system, as in a Debian package: an absolute link leads to
    /// a path in the tree, or in the system it is laid over.
    System,
}

/// A tree under way.
pub(super) struct Tree<'a> {
    stage: Stage,
    spool: &'a mut Spool,
    pub(super) limits: &'a Limits,
    root: Root,
    entries: u64,
    bytes: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: Root, limits: &'a Limits, spool: &'a mut Spool) -> Self {
        Self {
            stage: Stage::new(),
            spool,
            limits,
            root,
            entries: 0,
            bytes: 0,
        }
    }

    /// A directory. It may be there already; the last one's mode counts.
    pub(super) fn directory(&mut self, entry: &EntryName, mode: u16) -> Result<(), ArchiveError> {
        let path = self.path(entry)?;
        let node = Node {
            mode,
            ..Node::directory()
        };
        self.insert(entry, path, node)
    }

    /// A file of `size` bytes, all of which are taken from `data`.
    pub(super) fn file(
        &mut self,
        entry: &EntryName,
        mode: u16,
        size: u64,
        data: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let path = self.path(entry)?;
        no_root(entry, &path, "file")?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes {
            return Err(ArchiveError::TooManyBytes {
                place: Place::In(entry.clone()),
                limit: self.limits.total_bytes,
            });
        }
        let content = self
            .spool
            .add(data)
            .map_err(|error| archive_error(error, Place::In(entry.clone())))?;
        self.insert(entry, path, Node::file(content, mode))
    }

    /// A symbolic link.
    pub(super) fn symlink(&mut self, entry: &EntryName, target: &[u8]) -> Result<(), ArchiveError> {
        let path = self.path(entry)?;
        no_root(entry, &path, "link")?;
        self.check_target(entry, &path, target)?;
        self.insert(entry, path, Node::symlink(target))
    }

    /// A hard link to a file, or a symbolic link, that came before.
    pub(super) fn hard_link(&mut self, entry: &EntryName, target: &[u8]) -> Result<(), ArchiveError> {
        let path = self.path(entry)?;
        no_root(entry, &path, "link")?;
        let named = || (entry.clone(), EntryName::from(target));
        let to = TreePath::parse(target).map_err(|error| {
            let (entry, target) = named();
            match error {
                PathError::Nul => ArchiveError::NulName { entry },
                PathError::Absolute | PathError::Parent => ArchiveError::HardLinkLeavesTree { entry, target },
            }
        })?;
        let (name, target) = named();
        let node = match self.stage.get(&to) {
            None => return Err(ArchiveError::HardLinkMissing { entry: name, target }),
            Some(node) if node.is_dir() => {
                return Err(ArchiveError::HardLinkToDirectory { entry: name, target });
            }
            Some(node) => node.clone(),
        };
        // A symbolic link's target means something else from another directory.
        if let Kind::Symlink(target) = &node.kind {
            self.check_target(entry, &path, target)?;
        }
        self.insert(entry, path, node)
    }

    /// The whole tree, once the links in it have been followed.
    pub(super) fn finish(self) -> Result<Stage, ArchiveError> {
        for (path, node) in self.stage.iter() {
            if let Kind::Symlink(target) = &node.kind {
                self.check_detour(path, target)?;
            }
        }
        Ok(self.stage)
    }

    /// Counts an entry, and makes a path of its name.
    fn path(&mut self, entry: &EntryName) -> Result<TreePath, ArchiveError> {
        self.entries += 1;
        self.check_count(entry)?;
        let name = entry.as_bytes();
        let limit = self.limits.path_bytes;
        if name.len() > limit {
            return Err(ArchiveError::PathTooLong {
                entry: entry.clone(),
                length: name.len(),
                limit,
            });
        }
        let entry = entry.clone();
        let path = match TreePath::parse(name) {
            Ok(path) => path,
            Err(PathError::Absolute) => return Err(ArchiveError::AbsoluteName { entry }),
            Err(PathError::Parent) => return Err(ArchiveError::ParentName { entry }),
            Err(PathError::Nul) => return Err(ArchiveError::NulName { entry }),
        };
        let (depth, limit) = (path.components().count(), self.limits.depth);
        if depth > limit {
            return Err(ArchiveError::TooDeep { entry, depth, limit });
        }
        let length = path.components().map(<[u8]>::len).max().unwrap_or(0);
        let limit = self.limits.name_bytes;
        if length > limit {
            return Err(ArchiveError::NameTooLong { entry, length, limit });
        }
        Ok(path)
    }

    fn check_count(&self, entry: &EntryName) -> Result<(), ArchiveError> {
        let limit = self.limits.entries;
        // The stage's root is no entry.
        let paths = self.stage.len() as u64 - 1;
        if self.entries.max(paths) > limit {
            return Err(ArchiveError::TooManyEntries {
                entry: entry.clone(),
                limit,
            });
        }
        Ok(())
    }

    fn insert(&mut self, entry: &EntryName, path: TreePath, node: Node) -> Result<(), ArchiveError> {
        let inserted = self.stage.insert(path, node);
        let entry = entry.clone();
        match inserted {
            Ok(()) => self.check_count(&entry),
            Err(StageError::Exists(_)) => Err(ArchiveError::Duplicate { entry }),
            Err(StageError::NotADirectory { above, .. }) => {
                let in_the_way = EntryName::from(above.as_bytes());
                Err(match self.stage.get(&above).map(|node| &node.kind) {
                    Some(Kind::Symlink(_)) => ArchiveError::ThroughSymlink {
                        entry,
                        link: in_the_way,
                    },
                    _ => ArchiveError::BelowFile {
                        entry,
                        file: in_the_way,
                    },
                })
            }
            Err(StageError::LinkTarget(_, length)) => Err(ArchiveError::LinkLength {
                entry,
                length,
                limit: SYMLINK_MAX,
            }),
        }
    }

    /// Whether a symbolic link's target, read as text, stays in the tree.
    fn check_target(&self, entry: &EntryName, path: &TreePath, target: &[u8]) -> Result<(), ArchiveError> {
        let (name, to) = (entry.clone(), EntryName::from(target));
        let (length, limit) = (target.len(), self.limits.path_bytes.min(SYMLINK_MAX));
        if !(1..=limit).contains(&length) {
            return Err(ArchiveError::LinkLength {
                entry: name,
                length,
                limit,
            });
        }
        if target.contains(&0) {
            return Err(ArchiveError::NulName { entry: name });
        }
        if target.starts_with(b"/") && self.root == Root::Own {
            return Err(ArchiveError::AbsoluteLink {
                entry: name,
                target: to,
            });
        }
        if path.resolve_link(target).is_none() {
            return Err(ArchiveError::LinkLeavesTree {
                entry: name,
                target: to,
            });
        }
        Ok(())
    }

    /// Whether a symbolic link leads where its target, read as text, says.
    ///
    /// It does when every `..` comes first: those go up real directories, since
    /// nothing in a stage lies below a link, and what follows only goes down,
    /// through links that are checked themselves. A `..` that comes after the
    /// name of another link goes up from wherever that one leads; such a target
    /// is refused, as no honest archive was seen to have one.
    fn check_detour(&self, path: &TreePath, target: &[u8]) -> Result<(), ArchiveError> {
        let mut at = match target.first() {
            Some(b'/') => TreePath::root(),
            _ => path.parent().unwrap_or_default(),
        };
        // How many components below `at` are not in the tree.
        let mut missing = 0_usize;
        let mut through = None;
        for component in target.split(|byte| *byte == b'/') {
            match (component, &through) {
                (b"" | b".", _) => {}
                (b"..", Some(link)) => {
                    return Err(ArchiveError::LinkBehindLink {
                        entry: path.as_bytes().into(),
                        target: target.into(),
                        through: EntryName::clone(link),
                    });
                }
                (b"..", None) if missing > 0 => missing -= 1,
                (b"..", None) => at = at.parent().unwrap_or_default(),
                (_, Some(_)) => {}
                (_, None) if missing > 0 => missing += 1,
                (name, None) => {
                    let below = at.join(&TreePath::parse(name).unwrap_or_default());
                    match self.stage.get(&below).map(|node| &node.kind) {
                        None => missing = 1,
                        Some(Kind::Symlink(_)) => through = Some(EntryName::from(below.as_bytes())),
                        Some(_) => at = below,
                    }
                }
            }
        }
        Ok(())
    }
}

fn no_root(entry: &EntryName, path: &TreePath, kind: &'static str) -> Result<(), ArchiveError> {
    if path.is_root() {
        return Err(ArchiveError::NoName {
            entry: entry.clone(),
            kind,
        });
    }
    Ok(())
}
