//! Reading an extension's image, by a library that shares nothing with the
//! writer: what checks the writer, and what the audit reads through.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use backhand::compression::{CompressionAction, Compressor, DefaultCompressor};
use backhand::kind::Kind;
use backhand::v4::inode::{BasicDirectory, Inode, InodeHeader, InodeId, InodeInner};
use backhand::{
    BackhandError, FilesystemCompressor, FilesystemReader, InnerNode, Squashfs, SquashfsFileReader,
    SuperBlock,
};

use crate::stage::{Owner, TreePath};

/// An opened squashfs 4.0 image.
pub struct Image {
    path: PathBuf,
    superblock: SuperBlock,
    squashfs: FilesystemReader<'static>,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot open `{}`", path.display())]
    #[diagnostic(help("name an image that is there and that you may read"))]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not an image, or a damaged one.
    #[error("`{}` is not a squashfs image, or is damaged: {reason}", path.display())]
    #[diagnostic(help("fetch it again and compare it with its .md5.txt"))]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
}

/// One path of an image.
pub struct ImageNode<'a> {
    /// Where.
    pub path: TreePath,
    /// The twelve permission bits.
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
    /// Seconds since 1970.
    pub mtime: u32,
    /// What it is.
    pub kind: ImageKind<'a>,
}

/// What a path of an image is.
pub enum ImageKind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File(ImageFile<'a>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A device, fifo or socket, by its name in English.
    Special(&'static str),
}

/// A file of an image, to be read.
pub struct ImageFile<'a> {
    squashfs: &'a FilesystemReader<'static>,
    file: &'a SquashfsFileReader,
}

/// Where in an image a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The fragment that holds its end, if one does.
    pub fragment: Option<u32>,
    /// Where in that fragment.
    pub offset: u32,
    /// Where its first block is.
    pub start: u64,
    /// Its size in bytes.
    pub len: u64,
}

/// A second access to an image's files, for another thread, which forgets
/// when dropped: the library keeps every fragment that it has read.
pub struct Contents {
    squashfs: FilesystemReader<'static>,
}

impl Contents {
    /// Reads a file of the image from the start.
    pub fn open<'a>(&'a self, file: &ImageFile<'a>) -> io::Result<impl Read + 'a> {
        open(&self.squashfs, file.file)
    }
}

fn open<'a>(
    squashfs: &'a FilesystemReader<'static>,
    file: &'a SquashfsFileReader,
) -> io::Result<impl Read + 'a> {
    squashfs
        .file(file)
        .reader_checked()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, reason(&error)))
}

impl ImageFile<'_> {
    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.file.file_len() as u64
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its content is. Files with equal places have the same content.
    pub fn place(&self) -> Place {
        Place {
            len: self.len(),
            start: self.file.blocks_start(),
            fragment: u32::try_from(self.file.frag_index())
                .ok()
                .filter(|index| *index != u32::MAX),
            offset: self.file.block_offset(),
        }
    }

    /// Reads it from the start.
    pub fn open(&self) -> io::Result<impl Read + '_> {
        open(self.squashfs, self.file)
    }

    /// All of it; an error if it is larger than `limit` bytes.
    pub fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.len() > limit {
            return Err(io::Error::other(format!("larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        self.open()?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Image {
    /// Opens an image and reads its directories.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let damaged = |reason: String| ReadError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let file = Window::open(path)?;
        check_head(&file.file).map_err(damaged)?;
        let damaged = |error| damaged(reason(&error));
        let kind = Kind::new_v4(&Decoder);
        let squashfs = Squashfs::from_reader_with_offset_and_kind(file, 0, kind).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            superblock: squashfs.superblock,
            squashfs: squashfs.into_filesystem_reader().map_err(damaged)?,
        })
    }

    /// Another access to the files.
    pub fn contents(&self) -> Result<Contents, ReadError> {
        let squashfs = Squashfs {
            kind: self.squashfs.kind.clone(),
            superblock: self.superblock,
            compression_options: self.squashfs.compression_options,
            inodes: Default::default(),
            root_inode: empty_directory(),
            dir_blocks: Default::default(),
            fragments: self.squashfs.fragments.clone(),
            export: None,
            id: self.squashfs.id_table.clone(),
            file: Box::new(Window::open(&self.path)?),
        };
        let squashfs = squashfs.into_filesystem_reader();
        Ok(Contents {
            squashfs: squashfs.map_err(|error| ReadError::Damaged {
                path: self.path.clone(),
                reason: reason(&error),
            })?,
        })
    }

    /// The file it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in a data block.
    pub fn block_size(&self) -> u32 {
        self.superblock.block_size
    }

    /// The number of inodes: hard links have one together.
    pub fn inodes(&self) -> u32 {
        self.superblock.inode_count
    }

    /// When it was made, in seconds since 1970.
    pub fn time(&self) -> u32 {
        self.superblock.mod_time
    }

    /// Every path, the root first, in the image's order.
    pub fn nodes(&self) -> Result<Vec<ImageNode<'_>>, ReadError> {
        self.squashfs.files().map(|node| self.node(node)).collect()
    }

    fn node<'a>(&'a self, node: &'a backhand::Node<SquashfsFileReader>) -> Result<ImageNode<'a>, ReadError> {
        let name = node.fullpath.as_os_str().as_bytes();
        let path = TreePath::parse_absolute(name).map_err(|error| ReadError::Damaged {
            path: self.path.clone(),
            reason: format!("`{}`: {error}", node.fullpath.display()),
        })?;
        let kind = match &node.inner {
            InnerNode::Dir(_) => ImageKind::Directory,
            InnerNode::File(file) => ImageKind::File(ImageFile {
                squashfs: &self.squashfs,
                file,
            }),
            InnerNode::Symlink(link) => ImageKind::Symlink(link.link.as_os_str().as_bytes().to_owned()),
            InnerNode::CharacterDevice(_) => ImageKind::Special("character device"),
            InnerNode::BlockDevice(_) => ImageKind::Special("block device"),
            InnerNode::NamedPipe => ImageKind::Special("named pipe"),
            InnerNode::Socket => ImageKind::Special("socket"),
        };
        Ok(ImageNode {
            path,
            mode: node.header.permissions & 0o7777,
            owner: Owner {
                uid: node.header.uid,
                gid: node.header.gid,
            },
            mtime: node.header.mtime,
            kind,
        })
    }
}

/// Whether a file begins as a squashfs 4.0 image and has the length that it says:
/// of what the library trips over there, it says nothing useful. Offsets are
/// those of Linux's fs/squashfs/squashfs_fs.h.
fn check_head(file: &File) -> Result<(), String> {
    let mut head = [0; 96];
    let wrong = |error: io::Error| error.to_string();
    let length = file.metadata().map_err(wrong)?.len();
    let got = file.read_at(&mut head, 0).map_err(wrong)?;
    if !head.starts_with(b"hsqs") {
        return Err("it does not begin as one does (`hsqs`)".to_owned());
    }
    if got < head.len() {
        return Err(format!("it has {got} bytes, fewer than its head has"));
    }
    let [major, minor] = [28, 30].map(|at| u16::from_le_bytes([head[at], head[at + 1]]));
    if (major, minor) != (4, 0) {
        return Err(format!("it is of squashfs {major}.{minor}, not 4.0"));
    }
    let used = head[40..48]
        .iter()
        .rfold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if length < used {
        return Err(format!("it has {length} bytes, and begins one of {used}"));
    }
    Ok(())
}

/// What is wrong with an image, in words: as it is built here, the library has
/// none of its own.
fn reason(error: &BackhandError) -> String {
    let words = match error {
        BackhandError::StdIo(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it ends where more is to come"
        }
        BackhandError::StdIo(error) => return error.to_string(),
        BackhandError::UnsupportedCompression(_) => "it is compressed in a way that is not read here",
        BackhandError::UnsupportedInode | BackhandError::UnexpectedInode => {
            "a file in it is of a kind that is not known or not expected there"
        }
        BackhandError::InvalidIdTable | BackhandError::IdNotFoundInTable => {
            "a file's owner is not in its table of owners"
        }
        BackhandError::InvalidFilePath | BackhandError::UndefineFileName => "a name in it cannot be one",
        BackhandError::DuplicatedFileName => "a name is twice in a directory",
        BackhandError::TryReserveError(_) => "it asks for more memory than there is",
        _ => "its tables contradict each other, or their content cannot be decompressed",
    };
    words.to_owned()
}

/// A file read in large pieces. The library seeks before each block, mostly
/// to where it is anyway: what was read ahead is kept.
struct Window {
    file: File,
    /// Where `bytes` begin in the file.
    start: u64,
    bytes: Vec<u8>,
    /// Where the next read begins in the file.
    position: u64,
}

impl Window {
    const SIZE: u64 = 64 * 1024;

    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file,
            start: 0,
            bytes: Vec::new(),
            position: 0,
        })
    }

    fn ahead(&self) -> &[u8] {
        let offset = self.position.checked_sub(self.start).map(usize::try_from);
        match offset {
            Some(Ok(offset)) => self.bytes.get(offset..).unwrap_or_default(),
            _ => &[],
        }
    }
}

impl BufRead for Window {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead().is_empty() {
            self.bytes.resize(Self::SIZE as usize, 0);
            self.start = self.position;
            let read = self.file.read_at(&mut self.bytes, self.position);
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        Ok(self.ahead())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}

impl Read for Window {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(by) => (self.position, by),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
        };
        let position = from.checked_add_signed(by);
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Decompresses with libdeflate where the library would use zlib: verifying
/// an image takes half the time. What this shares with the writer is a
/// decoder that zlib streams' own checksums check; how the image is put
/// together stays the library's to read.
struct Decoder;

thread_local! {
    static LIBDEFLATE: RefCell<libdeflater::Decompressor> = RefCell::default();
}

impl CompressionAction for Decoder {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    /// `out` comes with room for as much as a block can hold.
    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, compressor: Compressor) -> Result<(), Self::Error> {
        if compressor != Compressor::Gzip {
            return DefaultCompressor.decompress(bytes, out, compressor);
        }
        out.resize(out.capacity(), 0);
        let len = LIBDEFLATE.with_borrow_mut(|libdeflate| libdeflate.zlib_decompress(bytes, out));
        out.truncate(len.map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?);
        Ok(())
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, Self::Error> {
        Err(BackhandError::UnsupportedCompression(
            "this only reads".to_owned(),
        ))
    }
}

/// A root for a tree that nobody looks at.
fn empty_directory() -> Inode {
    let header = InodeHeader::default();
    let directory = BasicDirectory {
        block_index: 0,
        link_count: 2,
        file_size: 3,
        block_offset: 0,
        parent_inode: 0,
    };
    Inode::new(
        InodeId::BasicDirectory,
        header,
        InodeInner::BasicDirectory(directory),
    )
}
