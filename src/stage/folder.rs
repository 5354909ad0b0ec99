//! Staging a folder that somebody already has.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Content, Kind, Node, Owner, Stage, StageError, TreePath};

/// Why a folder could not be staged.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FolderError {
    /// A file or folder could not be read.
    #[error("cannot read `{}`", path.display())]
    #[diagnostic(help("tcforge must be able to read everything that goes into the extension"))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that an extension cannot hold.
    #[error("`{}` is a {what}, which an extension cannot hold", path.display())]
    #[diagnostic(help("remove it from the folder"))]
    Unsupported {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A name or a link that a stage refuses.
    #[error("cannot stage `{}`: {reason}", path.display())]
    #[diagnostic(help("rename it, or remove it from the folder"))]
    Stage {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Stage {
    /// Stages a folder as it is: modes and owners from the host, symbolic links
    /// as links, hard links as hard links. Sizes are taken now; content is read
    /// later.
    pub fn from_folder(folder: &Path) -> Result<Self, FolderError> {
        let mut walk = Walk {
            stage: Self::new(),
            links: HashMap::new(),
        };
        walk.directory(folder, &TreePath::root())?;
        Ok(walk.stage)
    }
}

struct Walk {
    stage: Stage,
    /// Contents of files that have more names than one, by device and inode.
    links: HashMap<(u64, u64), Content>,
}

impl Walk {
    fn directory(&mut self, host: &Path, at: &TreePath) -> Result<(), FolderError> {
        let read = |source| FolderError::Read {
            path: host.to_owned(),
            source,
        };
        let meta = fs::metadata(host).map_err(read)?;
        self.insert(host, at, &meta, Kind::Directory)?;
        for entry in fs::read_dir(host).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().into_vec();
            let host = entry.path();
            let at = at.join(&TreePath::parse(&name).map_err(|reason| FolderError::Stage {
                path: host.clone(),
                reason: reason.to_string(),
            })?);
            self.entry(&host, &at)?;
        }
        Ok(())
    }

    fn entry(&mut self, host: &Path, at: &TreePath) -> Result<(), FolderError> {
        let read = |source| FolderError::Read {
            path: host.to_owned(),
            source,
        };
        let meta = fs::symlink_metadata(host).map_err(read)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.directory(host, at);
        }
        let what = if kind.is_symlink() {
            let target = fs::read_link(host).map_err(read)?;
            return self.insert(host, at, &meta, Kind::Symlink(target.into_os_string().into_vec()));
        } else if kind.is_file() {
            let content = self.content(host, &meta);
            return self.insert(host, at, &meta, Kind::File(content));
        } else if kind.is_fifo() {
            "named pipe"
        } else if kind.is_socket() {
            "socket"
        } else {
            "device"
        };
        Err(FolderError::Unsupported {
            path: host.to_owned(),
            what,
        })
    }

    fn content(&mut self, host: &Path, meta: &fs::Metadata) -> Content {
        let new = || Content::host(host, meta.len());
        if meta.nlink() == 1 {
            return new();
        }
        self.links
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(new)
            .clone()
    }

    fn insert(
        &mut self,
        host: &Path,
        at: &TreePath,
        meta: &fs::Metadata,
        kind: Kind,
    ) -> Result<(), FolderError> {
        let node = Node {
            kind,
            mode: (meta.mode() & 0o7777) as u16,
            owner: Owner {
                uid: meta.uid(),
                gid: meta.gid(),
            },
        };
        self.stage
            .insert(at.clone(), node)
            .map_err(|error: StageError| FolderError::Stage {
                path: host.to_owned(),
                reason: error.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_folder_is_staged_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/x"), "x").unwrap();
        fs::set_permissions(dir.path().join("d/x"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(dir.path().join("d/x"), dir.path().join("y")).unwrap();
        symlink("d/x", dir.path().join("l")).unwrap();
        let stage = Stage::from_folder(dir.path()).unwrap();
        let get = |name: &str| stage.get(&TreePath::parse(name).unwrap()).unwrap();
        assert_eq!(get("d/x").mode, 0o4750);
        let (Kind::File(x), Kind::File(y)) = (&get("d/x").kind, &get("y").kind) else {
            panic!("not files");
        };
        assert!(x.is_same(y));
        assert!(matches!(&get("l").kind, Kind::Symlink(target) if target == b"d/x"));
        assert_eq!(stage.len(), 5);
    }

    #[test]
    fn what_cannot_be_held_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let error = Stage::from_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/s` is a socket"), "{error}");
        let error = Stage::from_folder(&dir.path().join("none"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot read"), "{error}");
    }
}
