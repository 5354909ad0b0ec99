//! Debian's kernel package, unpacked once: that takes longer than everything else
//! an image needs, and what is kept of its 300 MB is 25.
//!
//! The cache has it as `kernels/KEY.tar` beside `KEY.sha256`. A file that does not
//! have its sum is made anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::kernel::IMAGE;
use super::{BaseError, Kernel, modules, rootfs};
use crate::digest::{Sha256, Sha256Writer};
use crate::project::write_atomically;
use crate::scratch::Scratch;
use crate::stage::{Content, Kind, Node, Stage, TreePath};

/// What is part of every key, and changes with what is kept.
const FORMAT: &str = "1";

/// A place in the cache for one kernel.
pub(super) struct Prepared {
    folder: PathBuf,
    key: Sha256,
}

impl Prepared {
    /// The place for what is made of these inputs.
    pub(super) fn new(cache: &Path, inputs: &[&[u8]]) -> Self {
        let sums: Vec<_> = inputs.iter().map(|input| Sha256::of(input).to_string()).collect();
        Self {
            folder: cache.join("kernels"),
            key: Sha256::of(format!("{FORMAT} {}", sums.join(" ")).as_bytes()),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.key))
    }

    /// What was kept, with the image in `scratch`; `None` if there is nothing, or
    /// nothing that has its sum.
    pub(super) fn load(&self, scratch: &Path) -> Result<Option<Kernel>, BaseError> {
        let path = self.path("tar");
        let read = |path: &Path| match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(|source| BaseError::read(path, source)),
        };
        let (Some(bytes), Some(sum)) = (read(&path)?, read(&self.path("sha256"))?) else {
            return Ok(None);
        };
        if Sha256::of(&bytes).to_string().as_bytes() != sum.trim_ascii() {
            return Ok(None);
        }
        let tree = rootfs::unpack(&bytes[..]).map_err(|source| BaseError::read(&path, source))?;
        let mut kernel = Kernel {
            image: scratch.join(IMAGE),
            release: String::new(),
            modules: Stage::new(),
        };
        for (path, node) in tree.stage.iter() {
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

    /// Keeps a kernel.
    pub(super) fn keep(&self, kernel: &Kernel) -> Result<(), BaseError> {
        let failed = |source| BaseError::write(&self.folder, source);
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let scratch = Scratch::in_dir(&self.folder).map_err(failed)?;
        let made = scratch.path().join("tar");
        let sum = write(kernel, &made).map_err(failed)?;
        // The sum last: without its own, a file is not used.
        fs::rename(&made, self.path("tar")).map_err(failed)?;
        write_atomically(&self.path("sha256"), format!("{sum}\n").as_bytes()).map_err(failed)
    }
}

fn write(kernel: &Kernel, to: &Path) -> io::Result<Sha256> {
    let mut tar = tar::Builder::new(Sha256Writer::new(File::create(to)?));
    let size = fs::metadata(&kernel.image)?.len();
    let image = Node::file(Content::host(&kernel.image, size), 0o644);
    let name = TreePath::parse(IMAGE).map_err(io::Error::other)?;
    for (path, node) in [(&name, &image)].into_iter().chain(kernel.modules.iter()) {
        if !path.is_root() {
            append(&mut tar, path, node)?;
        }
    }
    let mut writer = tar.into_inner()?;
    writer.flush()?;
    let (sum, _, file) = writer.finish();
    file.sync_all()?;
    Ok(sum)
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
