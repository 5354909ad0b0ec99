//! Packages unpacked once: that takes longer than everything else an image needs.
//! Of Debian's kernel package, for one, 25 of 300 MB are kept.

use std::fs;
use std::io;
use std::path::Path;

use super::kernel::IMAGE;
use super::{BaseError, Kernel, modules, rootfs};
use crate::kept::Kept;
use crate::stage::{Content, Kind, Node, Stage, TreePath};

/// What is part of every key, and changes with what is kept.
const FORMAT: &[u8] = b"2";

/// A place in the cache for a tree.
pub(super) struct Prepared(Kept);

impl Prepared {
    /// The place for what is made of these inputs, in a folder of the cache.
    pub(super) fn new(cache: &Path, folder: &str, inputs: &[&[u8]]) -> Self {
        Self(Kept::new(cache, folder, "tar", &[&[FORMAT], inputs].concat()))
    }

    /// The tree that was kept.
    pub(super) fn load_tree(&self) -> Result<Option<Stage>, BaseError> {
        let read = || match self.0.load()? {
            Some(bytes) => rootfs::unpack(&bytes[..]).map(|tree| Some(tree.stage)),
            None => Ok(None),
        };
        read().map_err(|source| BaseError::read(&self.0.path(), source))
    }

    /// Keeps a tree.
    pub(super) fn keep_tree(&self, tree: &Stage) -> Result<(), BaseError> {
        let kept = self.0.keep(|file| {
            let mut tar = tar::Builder::new(file);
            for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
                append(&mut tar, path, node)?;
            }
            tar.finish()
        });
        kept.map_err(|source| BaseError::write(&self.0.path(), source))
    }

    /// The kernel that was kept, its image in `scratch`.
    pub(super) fn load(&self, scratch: &Path) -> Result<Option<Kernel>, BaseError> {
        let Some(tree) = self.load_tree()? else {
            return Ok(None);
        };
        let mut kernel = Kernel {
            image: scratch.join(IMAGE),
            release: String::new(),
            modules: Stage::new(),
        };
        for (path, node) in tree.iter() {
            match (&node.kind, path.as_bytes() == IMAGE.as_bytes()) {
                (Kind::File(content), true) => {
                    let write = || fs::write(&kernel.image, content.read_all()?);
                    write().map_err(|source| BaseError::write(&kernel.image, source))?;
                }
                _ => kernel.modules.insert(path.clone(), node.clone())?,
            }
        }
        kernel.release = super::release_of(&kernel.image)?;
        modules::folder(&kernel.release)?;
        Ok(Some(kernel))
    }

    /// Keeps a kernel: its image beside its modules.
    pub(super) fn keep(&self, kernel: &Kernel) -> Result<(), BaseError> {
        let image = fs::metadata(&kernel.image).map_err(|source| BaseError::read(&kernel.image, source))?;
        let image = Node::file(Content::host(&kernel.image, image.len()), 0o644);
        let mut tree = kernel.modules.clone();
        let name = TreePath::parse(IMAGE)
            .map_err(|error| BaseError::write(&self.0.path(), io::Error::other(error)))?;
        tree.insert(name, image)?;
        self.keep_tree(&tree)
    }
}

fn append(tar: &mut tar::Builder<impl io::Write>, path: &TreePath, node: &Node) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let os = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes));
    let name = os(path.as_bytes());
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode.into());
    header.set_uid(node.owner.uid.into());
    header.set_gid(node.owner.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, name, io::empty())
        }
        Kind::File(content) => {
            header.set_size(content.len());
            tar.append_data(&mut header, name, content.open()?)
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, os(target))
        }
    }
}
