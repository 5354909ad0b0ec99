//! Packages unpacked once: that takes longer than everything else an image needs.
//! Of Debian's kernel package, for one, 25 of 300 MB are kept.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::kernel::IMAGE;
use super::{BaseError, Kernel, rootfs};
use crate::digest::Sha256;
use crate::image::initrd::{Device, Tree};
use crate::kept::Kept;
use crate::stage::{Content, Kind, Node, Owner, Stage, TreePath};

/// What is part of every key, and changes with what is kept.
const FORMAT: &[u8] = b"3";

/// A place in the cache for a tree.
pub(super) struct Prepared(Kept);

impl Prepared {
    /// The place for what is made of these inputs, in a folder of the cache.
    pub(super) fn new(cache: &Path, folder: &str, inputs: &[&[u8]]) -> Self {
        Self(Kept::new(cache, folder, "tar", &[&[FORMAT], inputs].concat()))
    }

    /// What the inputs are together.
    pub(super) fn key(&self) -> Sha256 {
        self.0.key()
    }

    /// The tree that was kept. Its contents stay where they are until they are read.
    pub(super) fn load_tree(&self) -> Result<Option<Tree>, BaseError> {
        let read = || {
            let Some(found) = self.0.find()? else {
                return Ok(None);
            };
            let file = Arc::new(found.file);
            let content = |entry: &mut tar::Entry<'_, _>| {
                Ok(Content::within(&file, entry.raw_file_position(), entry.size()))
            };
            rootfs::scan(&*file, content).map(Some)
        };
        read().map_err(|source| BaseError::read(&self.0.path(), source))
    }

    /// Keeps a tree, if it comes back from an archive as it is.
    pub(super) fn keep_tree(&self, tree: &Tree) -> Result<(), BaseError> {
        if tree.stage.iter().any(|(_, node)| !keeps(node)) {
            return Ok(());
        }
        let kept = self.0.keep(|file| {
            let mut tar = tar::Builder::new(file);
            let mut first = BTreeMap::new();
            for (path, node) in tree.stage.iter().filter(|(path, _)| !path.is_root()) {
                append(&mut tar, path, node, &mut first)?;
            }
            for device in &tree.devices {
                append_device(&mut tar, device)?;
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
        let (image, name) = (scratch.join(IMAGE), self.image_name()?);
        let mut modules = Stage::new();
        for (path, node) in tree.stage.iter() {
            match &node.kind {
                Kind::File(content) if *path == name => {
                    let write = || fs::write(&image, content.read_all()?);
                    write().map_err(|source| BaseError::write(&image, source))?;
                }
                _ => modules.insert(path.clone(), node.clone())?,
            }
        }
        let release = super::release_of(&image)?;
        super::modules::folder(&release)?;
        Ok(Some(Kernel {
            image,
            release,
            modules,
            made_of: Some(self.key()),
        }))
    }

    /// Keeps a kernel: its image beside its modules.
    pub(super) fn keep(&self, kernel: &Kernel) -> Result<(), BaseError> {
        let image = fs::metadata(&kernel.image).map_err(|source| BaseError::read(&kernel.image, source))?;
        let image = Node::file(Content::host(&kernel.image, image.len()), 0o644);
        let mut stage = kernel.modules.clone();
        stage.insert(self.image_name()?, image)?;
        self.keep_tree(&Tree {
            stage,
            devices: Vec::new(),
        })
    }

    fn image_name(&self) -> Result<TreePath, BaseError> {
        TreePath::parse(IMAGE).map_err(|error| BaseError::write(&self.0.path(), io::Error::other(error)))
    }
}

/// Whether a link stays as it is: `a//b` would become `a/b`.
fn keeps(node: &Node) -> bool {
    let Kind::Symlink(target) = &node.kind else {
        return true;
    };
    let parts = target.split(|byte| *byte == b'/').enumerate();
    let mut odd = parts.filter(|(at, part)| part == b"." || part.is_empty() && *at > 0);
    odd.next().is_none() || target == b"/" || target == b"."
}

/// Adds a file, directory or link. `first` has the first file with each content, of
/// which the others are hard links.
fn append<'a>(
    tar: &mut tar::Builder<impl io::Write>,
    path: &'a TreePath,
    node: &Node,
    first: &mut BTreeMap<usize, &'a TreePath>,
) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let os = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes));
    let name = os(path.as_bytes());
    let mut header = header(node.mode, node.owner);
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, name, io::empty())
        }
        Kind::File(content) if first.contains_key(&content.identity()) => {
            header.set_entry_type(tar::EntryType::Link);
            tar.append_link(&mut header, name, os(first[&content.identity()].as_bytes()))
        }
        Kind::File(content) => {
            first.insert(content.identity(), path);
            header.set_size(content.len());
            tar.append_data(&mut header, name, content.open()?)
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, os(target))
        }
    }
}

fn append_device(tar: &mut tar::Builder<impl io::Write>, device: &Device) -> io::Result<()> {
    let mut header = header(device.mode, device.owner);
    header.set_entry_type(match device.block {
        true => tar::EntryType::Block,
        false => tar::EntryType::Char,
    });
    header.set_device_major(device.major)?;
    header.set_device_minor(device.minor)?;
    tar.append_data(&mut header, device.path.to_string(), io::empty())
}

fn header(mode: u16, owner: Owner) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode.into());
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    header
}
