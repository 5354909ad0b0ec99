//! zip archives (PKWARE's APPNOTE 6.3.10).
//!
//! A zip archive describes each entry twice, before its data and in the
//! directory at the end, and says twice where things are. Readers differ in
//! what they believe, so here all must agree: the entries' bytes lie one after
//! the other from the first byte of the file to the directory, and the
//! directory goes on to the end record, which ends with the file. The library
//! reads the entries and compares their headers; that nothing lies between,
//! before or behind, and that no name is there twice, is checked here, for it
//! finds the archive inside other bytes and keeps one entry of each name.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use ::zip::read::{ArchiveOffset, Config, ZipFile};
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, System, ZipArchive, ZipReadOptions};

use super::error::{ArchiveError, EntryName, Place};
use super::limits::Limits;
use super::stream::{Source, StreamError, archive_error, fill, is_tagged};
use super::tree::{Root, Tree};
use crate::stage::{Spool, Stage};

/// Bytes of the end record without the comment.
const END: usize = 22;
/// Bytes of the ZIP64 locator, which comes right before the end record.
const LOCATOR: u64 = 20;
/// Bytes of an entry of the directory without its texts.
const ENTRY: usize = 46;

/// Reads an archive into a tree.
pub(super) fn read<R: Read + Seek>(
    mut input: Source<R>,
    limits: &Limits,
    spool: &mut Spool,
) -> Result<Stage, ArchiveError> {
    let end = End::find(&mut input)?;
    let listed = directory(&mut input, &end, limits)?;
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let mut archive = ZipArchive::with_config(config, input).map_err(|error| failed(error, Place::Start))?;
    if archive.central_directory_start() != end.directory || archive.len() != listed.len() {
        return Err(malformed("it has more than one directory"));
    }
    check_layout(&mut archive, &listed, &end)?;
    let mut tree = Tree::new(Root::Own, limits, spool);
    for (index, entry) in listed.iter().enumerate() {
        read_entry(&mut archive, index, entry, &mut tree)?;
    }
    tree.finish()
}

fn malformed(reason: &'static str) -> ArchiveError {
    ArchiveError::Zip {
        reason: reason.into(),
    }
}

/// What a library's error means that is not about one entry's headers.
fn failed(error: ZipError, place: Place) -> ArchiveError {
    match error {
        ZipError::Io(error) => archive_error(meaning(error), place),
        error => ArchiveError::Zip {
            reason: error.to_string().into(),
        },
    }
}

/// Marks an error of the library's as the stream's.
fn meaning(error: io::Error) -> io::Error {
    if is_tagged(&error) {
        error
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        StreamError::Truncated.into()
    } else {
        StreamError::Corrupt("zip", error).into()
    }
}

/// Little-endian numbers in a record of fixed length.
fn number<const N: usize>(record: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    if let Some(field) = record.get(at..at + N) {
        bytes[..N].copy_from_slice(field);
    }
    u64::from_le_bytes(bytes)
}

/// Reads bytes at a position; all must be there.
fn at<R: Read + Seek>(input: &mut R, position: u64, buf: &mut [u8]) -> Result<(), ArchiveError> {
    let read = input
        .seek(SeekFrom::Start(position))
        .and_then(|_| fill(input, buf));
    match read {
        Ok(n) if n == buf.len() => Ok(()),
        Ok(_) => Err(ArchiveError::Truncated { place: Place::End }),
        Err(error) => Err(archive_error(error, Place::End)),
    }
}

/// What the end record says.
struct End {
    /// How many entries the directory has.
    entries: u64,
    /// Where the directory begins.
    directory: u64,
    /// Where it ends.
    directory_end: u64,
}

impl End {
    /// Finds the record that ends with the file.
    fn find<R: Read + Seek>(input: &mut R) -> Result<Self, ArchiveError> {
        let length = input
            .seek(SeekFrom::End(0))
            .map_err(|error| archive_error(error, Place::Start))?;
        let size = length.min((END + usize::from(u16::MAX)) as u64);
        let mut tail = vec![0; size as usize];
        at(input, length - size, &mut tail)?;
        let starts: Vec<_> = (0..tail.len().saturating_sub(END - 1))
            .filter(|at| tail[*at..].starts_with(b"PK\x05\x06"))
            .collect();
        let fits = |at: &usize| at + END + number::<2>(&tail[*at..], 20) as usize == tail.len();
        match starts.last() {
            Some(last) if fits(last) => {
                Self::parse(input, &tail[*last..], length - (tail.len() - last) as u64)
            }
            Some(_) => Err(ArchiveError::Trailing {
                end: "the end record of the zip archive",
                place: Place::End,
            }),
            None => {
                let mut first = [0; 4];
                match at(input, 0, &mut first) {
                    Ok(()) if first == *b"PK\x03\x04" => Err(ArchiveError::Truncated { place: Place::End }),
                    Err(error @ ArchiveError::Read { .. }) => Err(error),
                    _ => Err(ArchiveError::NotThisFormat {
                        expected: "a zip archive",
                    }),
                }
            }
        }
    }

    fn parse<R: Read + Seek>(input: &mut R, record: &[u8], position: u64) -> Result<Self, ArchiveError> {
        let classic = [
            number::<2>(record, 4),
            number::<2>(record, 6),
            number::<2>(record, 8),
            number::<2>(record, 10),
            number::<4>(record, 12),
            number::<4>(record, 16),
        ];
        let (values, end) = match Self::zip64(input, position)? {
            Some((values, end)) => {
                let full = [0xffff, 0xffff, 0xffff, 0xffff, 0xffff_ffff, 0xffff_ffff];
                let differs = |at: usize| classic[at] != values[at] && classic[at] != full[at];
                if (0..classic.len()).any(differs) {
                    return Err(malformed("its two end records disagree"));
                }
                (values, end)
            }
            None => (classic, position),
        };
        let [disk, directory_disk, entries_here, entries, size, directory] = values;
        if disk != 0 || directory_disk != 0 || entries_here != entries {
            return Err(malformed("it is one of several parts"));
        }
        if directory.checked_add(size) != Some(end) {
            return Err(malformed(
                "its directory does not end where the end record begins",
            ));
        }
        Ok(Self {
            entries,
            directory,
            directory_end: end,
        })
    }

    /// The same values from the ZIP64 end record, and where that begins.
    fn zip64<R: Read + Seek>(input: &mut R, end: u64) -> Result<Option<([u64; 6], u64)>, ArchiveError> {
        let Some(position) = end.checked_sub(LOCATOR) else {
            return Ok(None);
        };
        let mut locator = [0; LOCATOR as usize];
        at(input, position, &mut locator)?;
        if !locator.starts_with(b"PK\x06\x07") {
            return Ok(None);
        }
        let start = number::<8>(&locator, 8);
        let mut record = [0; 56];
        at(input, start, &mut record)?;
        let size = number::<8>(&record, 4).checked_add(12);
        if !record.starts_with(b"PK\x06\x06")
            || size.and_then(|size| size.checked_add(start)) != Some(position)
        {
            return Err(malformed("its ZIP64 end record is not where it should be"));
        }
        let values = [
            number::<4>(&record, 16),
            number::<4>(&record, 20),
            number::<8>(&record, 24),
            number::<8>(&record, 32),
            number::<8>(&record, 40),
            number::<8>(&record, 48),
        ];
        Ok(Some((values, start)))
    }
}

/// An entry as the directory lists it.
struct Listed {
    name: EntryName,
    flags: u64,
}

impl Listed {
    /// Whether its data, or its headers, are encrypted (bits 0, 6 and 13).
    fn is_encrypted(&self) -> bool {
        self.flags & 0x2041 != 0
    }

    /// Whether a descriptor of 12 to 24 bytes follows the data (bit 3).
    fn has_descriptor(&self) -> bool {
        self.flags & 8 != 0
    }
}

/// Walks through the directory: the names in it, each once, up to its end.
fn directory<R: Read + Seek>(input: &mut R, end: &End, limits: &Limits) -> Result<Vec<Listed>, ArchiveError> {
    let mut names = HashSet::new();
    let mut listed = Vec::new();
    let mut position = end.directory;
    for index in 0..end.entries {
        let mut header = [0; ENTRY];
        at(input, position, &mut header)?;
        let length = number::<2>(&header, 28);
        let texts = length + number::<2>(&header, 30) + number::<2>(&header, 32);
        let next = position + ENTRY as u64 + texts;
        if !header.starts_with(b"PK\x01\x02") || next > end.directory_end {
            return Err(malformed("its directory is malformed"));
        }
        let mut name = vec![0; length as usize];
        at(input, position + ENTRY as u64, &mut name)?;
        let entry = EntryName::from(&name);
        if index >= limits.entries {
            return Err(ArchiveError::TooManyEntries {
                entry,
                limit: limits.entries,
            });
        }
        if !names.insert(name) {
            return Err(ArchiveError::Duplicate { entry });
        }
        listed.push(Listed {
            name: entry,
            flags: number::<2>(&header, 8),
        });
        position = next;
    }
    if position != end.directory_end {
        return Err(malformed("its directory has something behind its last entry"));
    }
    Ok(listed)
}

/// Checks that the entries fill the file up to the directory.
fn check_layout<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    listed: &[Listed],
    end: &End,
) -> Result<(), ArchiveError> {
    let mut extents = Vec::new();
    for (index, entry) in listed.iter().enumerate() {
        let file = archive
            .by_index_raw(index)
            .map_err(|error| failed(error, Place::In(entry.name.clone())))?;
        let start = file.header_start();
        let stop = file
            .data_start()
            .and_then(|data| data.checked_add(file.compressed_size()))
            .filter(|stop| *stop <= end.directory)
            .ok_or_else(|| ArchiveError::Truncated {
                place: Place::In(entry.name.clone()),
            })?;
        extents.push((start, stop, entry));
    }
    extents.sort_by_key(|(start, stop, _)| (*start, *stop));
    let mut at = (0, Place::Start, None);
    for (start, stop, entry) in extents {
        check_gap(at, start, &entry.name)?;
        at = (stop, Place::After(entry.name.clone()), Some(entry));
    }
    check_gap(at, end.directory, &EntryName::from("the directory"))
}

/// Checks what lies between the end of one entry and the start of the next.
fn check_gap(
    (stop, place, before): (u64, Place, Option<&Listed>),
    next: u64,
    name: &EntryName,
) -> Result<(), ArchiveError> {
    match (next.checked_sub(stop), before) {
        (Some(0), before) if before.is_none_or(|entry| !entry.has_descriptor()) => Ok(()),
        // With and without a signature, with sizes of 4 and of 8 bytes.
        (Some(12 | 16 | 20 | 24), Some(entry)) if entry.has_descriptor() => Ok(()),
        (Some(bytes), _) => Err(ArchiveError::ZipGap { bytes, place }),
        (None, before) => Err(ArchiveError::ZipOverlap {
            entry: before.map_or_else(EntryName::default, |entry| entry.name.clone()),
            other: name.clone(),
        }),
    }
}

/// Puts one entry into the tree.
fn read_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
    listed: &Listed,
    tree: &mut Tree<'_>,
) -> Result<(), ArchiveError> {
    let name = &listed.name;
    if listed.is_encrypted() {
        return Err(ArchiveError::Encrypted { entry: name.clone() });
    }
    let method = archive.by_index_data(index).map(|entry| entry.compression());
    match method {
        Ok(CompressionMethod::Stored | CompressionMethod::Deflated) => {}
        Ok(method) => {
            return Err(ArchiveError::ZipMethod {
                entry: name.clone(),
                method: method.to_string(),
            });
        }
        Err(error) => return Err(failed(error, Place::In(name.clone()))),
    }
    let options = ZipReadOptions::new().enforce_header_consistency(true);
    match archive.by_index_with_options(index, options) {
        Ok(file) => put(file, tree),
        Err(ZipError::InvalidArchive(reason)) => Err(ArchiveError::ZipDisagrees {
            entry: name.clone(),
            reason: reason.as_bytes().into(),
        }),
        Err(error) => Err(failed(error, Place::In(name.clone()))),
    }
}

/// The Unix mode, of which the library drops setuid and setgid.
fn mode<R: Read>(file: &ZipFile<'_, R>, slash: bool) -> u32 {
    let unix = file.external_attributes() >> 16;
    match file.unix_mode() {
        Some(_) if file.system() == System::Unix && unix != 0 => unix,
        Some(mode) if file.system() != System::Unix => mode,
        _ if slash => 0o040_755,
        _ => 0o100_644,
    }
}

fn put<R: Read>(file: ZipFile<'_, R>, tree: &mut Tree<'_>) -> Result<(), ArchiveError> {
    let name = EntryName::from(file.name_raw());
    let slash = file.name_raw().ends_with(b"/");
    let mode = mode(&file, slash);
    let permissions = (mode & 0o7777) as u16;
    let size = file.size();
    let wrong = |reason| ArchiveError::Header {
        entry: name.clone(),
        reason,
    };
    let special = |kind| ArchiveError::Special {
        entry: name.clone(),
        kind,
    };
    match mode & 0o170_000 {
        0o040_000 if slash && size != 0 => Err(wrong("it is no file, and has a size")),
        0o040_000 | 0 if slash && size == 0 => tree.directory(&name, permissions),
        0o040_000 => Err(wrong("it is a directory, and its name does not end in `/`")),
        0o100_000 | 0o120_000 | 0 if slash => Err(wrong("it is no directory, and its name ends in `/`")),
        0o100_000 | 0 => tree.file(&name, permissions, size, &mut Whole::new(file)),
        0o120_000 => {
            // Longer targets than the tree takes need not be read.
            let most = tree.limits.path_bytes as u64 + 1;
            let mut target = Vec::new();
            Whole::new(file)
                .take(most)
                .read_to_end(&mut target)
                .map_err(|error| archive_error(error, Place::In(name.clone())))?;
            tree.symlink(&name, &target)
        }
        0o010_000 => Err(special("named pipe")),
        0o020_000 => Err(special("character device")),
        0o060_000 => Err(special("block device")),
        0o140_000 => Err(special("socket")),
        other => Err(ArchiveError::UnknownType {
            entry: name.clone(),
            kind: format!("{other:o}").into(),
        }),
    }
}

/// An entry's content, which must be as long as its headers say. Its checksum
/// is compared by the library when the end is reached.
struct Whole<'a, R: Read> {
    file: ZipFile<'a, R>,
    left: u64,
}

impl<'a, R: Read> Whole<'a, R> {
    fn new(file: ZipFile<'a, R>) -> Self {
        Self {
            left: file.size(),
            file,
        }
    }
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf).map_err(meaning)?;
        match self.left.checked_sub(n as u64) {
            Some(left) if n > 0 || left == 0 || buf.is_empty() => self.left = left,
            Some(_) => return Err(StreamError::Truncated.into()),
            None => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "there is more than its size");
                return Err(StreamError::Corrupt("zip", error).into());
            }
        }
        Ok(n)
    }
}
