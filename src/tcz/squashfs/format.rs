//! The numbers of the squashfs 4.0 format, and its superblock. All integers
//! are little-endian. Source: Linux's fs/squashfs/squashfs_fs.h.

use super::data::Data;
use super::options::{Algorithm, PackOptions};
use super::tree::Tables;
use super::{PackError, metadata};

pub(super) const SUPERBLOCK_SIZE: u64 = 96;
/// Uncompressed bytes in a block of the inode and directory tables and of the
/// lists.
pub(super) const METADATA_SIZE: usize = 8192;
/// mksquashfs pads to this, so that a loop device has whole sectors.
pub(super) const PADDING: u64 = 4096;
/// Linux's NAME_MAX; the format could hold one more.
pub(super) const NAME_MAX: usize = 255;
/// Owners are counted with 16 bits.
pub(super) const IDS_MAX: usize = u16::MAX as usize;
/// A table, fragment or attribute that is not there.
pub(super) const NONE_32: u32 = u32::MAX;
const NONE_64: u64 = u64::MAX;
/// In the size of a data block: it is stored as it is.
pub(super) const DATA_RAW: u32 = 1 << 24;
/// In the size of a metadata block: it is stored as it is.
pub(super) const METADATA_RAW: u16 = 1 << 15;
/// Entries that one directory header can have.
pub(super) const HEADER_ENTRIES: usize = 256;

const MAGIC: u32 = 0x7371_7368;
const FLAG_DUPLICATES: u16 = 1 << 6;
const FLAG_EXPORT: u16 = 1 << 7;
const FLAG_NO_XATTRS: u16 = 1 << 9;
const FLAG_COMPRESSOR_OPTIONS: u16 = 1 << 10;

/// Types of inodes. The extended ones have fields that few need; in directory
/// entries they appear as their basic type.
pub(super) mod inode_type {
    pub(in super::super) const DIRECTORY: u16 = 1;
    pub(in super::super) const FILE: u16 = 2;
    pub(in super::super) const SYMLINK: u16 = 3;
    pub(in super::super) const EXTENDED_DIRECTORY: u16 = 8;
    pub(in super::super) const EXTENDED_FILE: u16 = 9;
}

/// A reference to something in a metadata table: the compressed offset of its
/// block from the table's start, and the offset in the uncompressed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reference {
    pub(super) block: u32,
    pub(super) offset: u16,
}

impl Reference {
    pub(super) fn packed(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// The head of the image.
pub(super) struct Superblock {
    inodes: u32,
    time: u32,
    block_size: u32,
    fragments: u32,
    compression: u16,
    block_log: u16,
    flags: u16,
    ids: u16,
    root: Reference,
    bytes_used: u64,
    id_table: u64,
    inode_table: u64,
    directory_table: u64,
    fragment_table: u64,
    export_table: u64,
}

impl Superblock {
    /// Appends the tables to `tail`, which begins where the data ends, in
    /// mksquashfs's order.
    pub(super) fn lay_out(
        options: &PackOptions,
        data: &Data,
        tables: &Tables,
        tail: &mut Vec<u8>,
    ) -> Result<Self, PackError> {
        let mut flags = FLAG_DUPLICATES | FLAG_EXPORT | FLAG_NO_XATTRS;
        if !super::compress::options_block(options).is_empty() {
            flags |= FLAG_COMPRESSOR_OPTIONS;
        }
        let inode_table = data.end;
        tail.extend_from_slice(&tables.inodes);
        let directory_table = data.end + tail.len() as u64;
        tail.extend_from_slice(&tables.directories);
        let mut list = |list: &metadata::List| list.append(data.end, tail);
        let (fragment_table, export_table, id_table) =
            (list(&tables.fragments), list(&tables.export), list(&tables.ids));
        Ok(Self {
            inodes: tables.counts.inodes,
            time: options.time,
            block_size: options.block_size.get(),
            fragments: u32::try_from(data.fragments.len()).map_err(|_| PackError::TooLarge("fragments"))?,
            compression: match options.compression.algorithm() {
                Algorithm::Gzip => 1,
                Algorithm::Xz => 4,
                Algorithm::Zstd => 6,
            },
            block_log: options.block_size.log(),
            flags,
            ids: tables.id_count,
            root: tables.root,
            bytes_used: data.end + tail.len() as u64,
            id_table,
            inode_table,
            directory_table,
            fragment_table,
            export_table,
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SUPERBLOCK_SIZE as usize);
        for field in [MAGIC, self.inodes, self.time, self.block_size, self.fragments] {
            bytes.extend(field.to_le_bytes());
        }
        let (major, minor) = (4, 0);
        for field in [
            self.compression,
            self.block_log,
            self.flags,
            self.ids,
            major,
            minor,
        ] {
            bytes.extend(field.to_le_bytes());
        }
        let xattr_table = NONE_64;
        for field in [
            self.root.packed(),
            self.bytes_used,
            self.id_table,
            xattr_table,
            self.inode_table,
            self.directory_table,
            self.fragment_table,
            self.export_table,
        ] {
            bytes.extend(field.to_le_bytes());
        }
        bytes
    }
}
