//! The bytes of a disk that is a CD, a USB stick and a hard disk at once: an
//! ISO 9660 file system, a FAT partition for UEFI whose large files are the same
//! blocks as those of the CD, and what firmware looks for at its beginning.
//!
//! xorriso and mtools could make most of it. Written here because xorriso alone takes
//! as long as a whole image may (docs/appliances.md), and because nothing but this
//! lets the two file systems share their files. xorriso reads it back in the tests.
//! The FAT's files are all on the CD, too, at the same paths: whoever copies the CD's
//! files to a FAT has one that UEFI starts.
//!
//! | blocks | what |
//! | --- | --- |
//! | 0 | MBR, GPT |
//! | 16 | descriptors of ISO 9660 and El Torito |
//! | 19 | El Torito's catalog |
//! | 20 | path tables, directories |
//! | then | the FAT, with what it shares |
//! | then | all other files |
//! | at the end | the copy of the GPT |

mod boot;
mod fat;
mod iso9660;
mod stream;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::digest::Sha256;
use crate::stage::Content;
use boot::{Range, SystemArea};
use fat::{Fat, Label};
use iso9660::{Extent, Tree};
use stream::Piece;

/// Bytes of a block of a CD, by which everything here counts.
pub(super) const BLOCK: u64 = 2048;
/// Bytes of a sector of a disk, and how many are a block.
const SECTOR: u64 = 512;
const SECTORS: u64 = BLOCK / SECTOR;
/// FAT knows no time before 1980.
pub(super) const FAT_BEGINS: u32 = 315_532_800;
const CATALOG: u64 = 19;
const TREE: u64 = CATALOG + 1;

/// A file of the CD: its path, without a slash in front, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct DiskFile {
    pub(super) path: String,
    /// One after the other, each with what its sum is to be.
    pub(super) parts: Vec<(Content, Sha256)>,
}

impl DiskFile {
    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(|(content, _)| content.len()).sum()
    }
}

/// What a disk is made of.
pub(super) struct Disk<'a> {
    /// Its name: at most eleven capital letters.
    pub(super) volume: &'a str,
    /// Seconds since 1970: the time stamp of everything.
    pub(super) time: u32,
    /// The CD's files, in the order in which they lie there.
    pub(super) files: &'a [DiskFile],
    /// GRUB's MBR.
    pub(super) mbr: &'a [u8],
    /// The path of what BIOS starts; told where on the disk it is, it differs from the
    /// file that was given.
    pub(super) bios: &'a str,
    /// Those of the files that are on UEFI's partition, too, in the order in which they
    /// lie there.
    pub(super) efi: &'a [String],
    /// What tells the disk from others.
    pub(super) identity: Sha256,
}

/// Why a disk was not written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DiskError {
    /// A number of ISO 9660 or of FAT has 32 bits.
    #[error("`{path}` has {len} bytes; a file on the disk has less than 4 GiB")]
    #[diagnostic(help("split what it holds: several extensions, or several container images"))]
    TooLarge {
        /// Its path on the disk.
        path: String,
        /// Bytes.
        len: u64,
    },
    /// UEFI's partition is a FAT of 16 bits.
    #[error("kernel and initrds are more than the 2 GiB that the partition of UEFI may have")]
    #[diagnostic(help("they lie in memory when the box runs: put what is large into extensions"))]
    Partition,
    /// A file is no longer what it was.
    #[error("`{path}` changed while it was written: its sum is {found}, and was {wanted}")]
    #[diagnostic(help(
        "something else writes to it, or what is kept in the cache is damaged: run this again with an empty `--cache`"
    ))]
    Changed {
        /// Its path on the disk.
        path: String,
        /// Its sum before.
        wanted: Sha256,
        /// Its sum now.
        found: Sha256,
    },
    /// A file of the disk could not be read.
    #[error("cannot read what becomes `{path}` on the disk")]
    #[diagnostic(help("check that the file is there, and that nothing else writes to it"))]
    Read {
        /// Its path on the disk.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk could not be written.
    #[error("cannot write the image")]
    #[diagnostic(help("make room, or write to a folder where there is some"))]
    Write(#[source] io::Error),
}

/// Where everything lies.
struct Layout<'a> {
    tree: Tree<'a>,
    fat: Fat,
    efi: Range,
    size: u64,
}

impl Disk<'_> {
    /// Writes it, comparing every file with its sum on the way. Its size in bytes, and
    /// its own sum.
    pub(super) fn write(&self, out: &mut File) -> Result<(u64, Sha256), DiskError> {
        let layout = self.lay_out()?;
        let mut pieces = self.firmware(&layout)?;
        let own = |(block, bytes)| Piece::bytes(block, bytes);
        pieces.extend(layout.tree.write(TREE, layout.size).into_iter().map(own));
        let label = Label {
            volume: self.volume,
            serial: u32::from_le_bytes(self.identity.as_bytes()[..4].try_into().unwrap_or_default()),
            time: date(self.time.max(FAT_BEGINS)),
            begin: (layout.efi.first * SECTORS) as u32,
        };
        for (block, bytes) in layout.fat.write(&label) {
            pieces.push(Piece::bytes(layout.efi.first + block, bytes));
        }
        for file in self.files.iter().filter(|file| file.path != self.bios) {
            pieces.push(Piece::file(layout.tree.files[file.path.as_str()].block, file));
        }
        stream::write(pieces, layout.size, out)
    }

    /// What a machine starts from.
    fn firmware(&self, layout: &Layout<'_>) -> Result<Vec<Piece<'_>>, DiskError> {
        let bios = layout.tree.files[self.bios].block;
        let area = SystemArea {
            mbr: self.mbr,
            bios,
            efi: layout.efi,
            size: layout.size,
            identity: self.identity,
        };
        let image = self.files.iter().filter(|file| file.path == self.bios);
        let mut grub = Vec::new();
        for (content, _) in image.flat_map(|file| &file.parts) {
            let read = |source| DiskError::Read {
                path: self.bios.to_owned(),
                source,
            };
            grub.extend(content.read_all().map_err(read)?);
        }
        boot::patch_grub(&mut grub, bios);
        let mut end = area.end();
        end.splice(..0, vec![0; (boot::END * BLOCK) as usize - end.len()]);
        Ok(vec![
            Piece::bytes(0, area.begin()),
            Piece::bytes(iso9660::BOOT_RECORD, boot::record(CATALOG)),
            Piece::bytes(CATALOG, boot::catalog(bios, layout.efi)),
            Piece::bytes(bios, grub),
            Piece::bytes(layout.size - boot::END, end),
        ])
    }

    fn lay_out(&self) -> Result<Layout<'_>, DiskError> {
        let mut lengths = BTreeMap::new();
        for file in self.files {
            let (path, len) = (file.path.as_str(), file.len());
            if len > u32::MAX.into() {
                return Err(DiskError::TooLarge {
                    path: file.path.clone(),
                    len,
                });
            }
            lengths.insert(path, len);
        }
        let len = |path: &str| lengths.get(path).copied().unwrap_or_default();
        let efi = self.efi.iter().map(|path| (path.as_str(), len(path)));
        let fat = Fat::new(&efi.collect::<Vec<_>>()).ok_or(DiskError::Partition)?;
        let nowhere = lengths
            .iter()
            .map(|(path, len)| (*path, Extent { block: 0, len: *len }));
        let mut tree = Tree {
            volume: self.volume,
            time: date(self.time),
            files: nowhere.collect(),
        };
        let efi = Range {
            first: TREE + tree.blocks(),
            count: fat.blocks(),
        };
        let size = self.place(&mut tree, &fat, efi) + boot::END;
        Ok(Layout { tree, fat, efi, size })
    }

    /// Gives every file of the tree its block; the first that is left.
    fn place(&self, tree: &mut Tree<'_>, fat: &Fat, efi: Range) -> u64 {
        let mut next = efi.first + efi.count;
        for file in self.files {
            let Some(extent) = tree.files.get_mut(file.path.as_str()) else {
                continue;
            };
            let shared = fat.block_of(&file.path);
            extent.block = match shared {
                Some(block) => efi.first + block,
                None => next,
            };
            if shared.is_none() {
                next += extent.len.div_ceil(BLOCK);
            }
        }
        next
    }
}

/// A time in UTC.
fn date(seconds: u32) -> DateTime {
    let time = Timestamp::from_second(seconds.into()).unwrap_or_default();
    TimeZone::UTC.to_datetime(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: Content) -> DiskFile {
        DiskFile {
            path: path.to_owned(),
            parts: vec![(content, Sha256::of(b"what it was"))],
        }
    }

    fn write(files: &[DiskFile]) -> Result<(u64, Sha256), DiskError> {
        let disk = Disk {
            volume: "TEST",
            time: 0,
            files,
            mbr: &[],
            bios: "boot",
            efi: &["boot".to_owned()],
            identity: Sha256::of(b""),
        };
        disk.write(&mut tempfile::tempfile().unwrap())
    }

    #[test]
    fn what_is_no_longer_what_it_was_is_refused() {
        let boot = file("boot", Content::bytes("grub"));
        let good = file("good", Content::bytes("what it was"));
        assert!(write(&[boot.clone(), good.clone()]).is_ok());
        let bad = file("bad", Content::bytes("what it is!"));
        let error = write(&[boot, bad, good]).unwrap_err();
        let wanted = format!(
            "`bad` changed while it was written: its sum is {}, and was {}",
            Sha256::of(b"what it is!"),
            Sha256::of(b"what it was")
        );
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn files_without_bytes_take_no_room_wherever_they_are() {
        let files = |names: &[&str]| -> Vec<_> {
            let empty = |name: &&str| DiskFile {
                path: (*name).to_owned(),
                parts: vec![(Content::bytes(""), Sha256::of(b""))],
            };
            let boot = file("boot", Content::bytes("what it was"));
            let (before, after) = names.split_at(names.len() / 2);
            let before: Vec<_> = before.iter().map(empty).collect();
            [before, vec![boot], after.iter().map(empty).collect()].concat()
        };
        let alone = write(&files(&[])).unwrap().0;
        assert_eq!(write(&files(&["a", "z"])).unwrap().0, alone);
    }

    #[test]
    fn what_cannot_be_read_or_is_too_large_is_refused() {
        let boot = file("boot", Content::bytes("grub"));
        let gone = file("gone", Content::host("/does/not/exist", 7));
        let error = write(&[boot.clone(), gone]).unwrap_err();
        assert!(
            matches!(&error, DiskError::Read { path, .. } if path == "gone"),
            "{error}"
        );
        let large = file("large", Content::host("/does/not/exist", 1 << 32));
        let error = write(&[boot, large]).unwrap_err();
        assert!(
            matches!(
                error,
                DiskError::TooLarge {
                    len: 4_294_967_296,
                    ..
                }
            ),
            "{error}"
        );
    }
}
