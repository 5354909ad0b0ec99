//! tar archives: v7, ustar, GNU and PAX, with GNU's long names and all of its
//! sparse formats.
//!
//! The headers' layouts are those of the `tar` library; the walk from one to
//! the next is ours, for the library's
//! - takes an archive without its end mark, and whatever comes behind it;
//! - hides which of several headers a name or size comes from, so that those
//!   that disagree cannot be told (in its raw mode it does not know the size of
//!   a file whose size only a PAX header gives);
//! - reads extended headers of any size into memory;
//! - has no sparse files of the PAX formats, and takes numbers loosely.
//!
//! Two readers that disagree about where an entry ends see two archives in one
//! file, of which only one was reviewed (CVE-2025-62518, CVE-2026-33055,
//! RUSTSEC-2026-0112). So whatever readers are known to disagree about is
//! refused rather than decided.

mod header;
mod member;
mod pax;
mod sparse;

use std::io::Read;

use self::header::{BLOCK, Header, text};
use self::member::{Data, Extended, Kind, Member};
use self::pax::Records;
use self::sparse::{Map, MapError, MapSource};
use super::error::{ArchiveError, EntryName, Place};
use super::stream::{Exact, archive_error, fill};
use super::tree::Tree;

/// Puts everything of an archive into the tree. The input is read to its end.
pub(super) fn read(input: &mut dyn Read, tree: &mut Tree<'_>) -> Result<(), ArchiveError> {
    let mut reader = Reader {
        input,
        tree,
        extended: Extended::default(),
        last: Place::Start,
    };
    while let Some(header) = reader.header()? {
        reader.entry(header)?;
    }
    reader.end()
}

struct Reader<'a, 't> {
    input: &'a mut dyn Read,
    tree: &'a mut Tree<'t>,
    /// What was said about the entry that comes next.
    extended: Extended,
    /// The last entry, for messages.
    last: Place,
}

impl Reader<'_, '_> {
    /// The next header; `None` for the first block of the end mark.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let block = self.block()?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        Header::parse(block, &self.last).map(Some)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        let mut block = [0; BLOCK];
        match fill(self.input, &mut block) {
            Ok(BLOCK) => Ok(block),
            Ok(_) => Err(ArchiveError::Truncated {
                place: self.last.clone(),
            }),
            Err(error) => Err(archive_error(error, self.last.clone())),
        }
    }

    /// The second block of the end mark, and that only zeros follow it.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let place = self.last.clone();
        if !self.extended.is_empty() {
            return Err(ArchiveError::StrayHeader { place });
        }
        let trailing = ArchiveError::Trailing {
            end: "the end mark of the tar archive",
            place: place.clone(),
        };
        if self.block()? != [0; BLOCK] {
            return Err(trailing);
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match fill(self.input, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) if buffer[..n].iter().any(|byte| *byte != 0) => return Err(trailing),
                Ok(_) => {}
                Err(error) => return Err(archive_error(error, place)),
            }
        }
    }

    fn entry(&mut self, header: Header) -> Result<(), ArchiveError> {
        match header.kind() {
            b'L' => {
                let name = self.long_name(&header)?;
                self.describe(&header, "name", |extended| extended.name.replace(name).is_some())
            }
            b'K' => {
                let link = self.long_name(&header)?;
                self.describe(&header, "target", |extended| {
                    extended.link.replace(link).is_some()
                })
            }
            b'x' => {
                let records = Records::parse(&header.name, &self.data(&header)?)?;
                self.describe(&header, "PAX records", |extended| {
                    extended.pax.replace(records).is_some()
                })
            }
            b'g' if !self.extended.is_empty() => Err(ArchiveError::StrayHeader {
                place: self.last.clone(),
            }),
            b'g' => Records::parse(&header.name, &self.data(&header)?)?.check_global(&self.last),
            _ => {
                let extended = std::mem::take(&mut self.extended);
                let Member { name, mode, kind } = Member::new(&header, extended)?;
                self.member(&name, mode, kind)?;
                self.last = Place::After(name);
                Ok(())
            }
        }
    }

    /// Keeps what an extended header says; `set` tells whether another one of
    /// the same entry said it before.
    fn describe(
        &mut self,
        header: &Header,
        what: &'static str,
        set: impl FnOnce(&mut Extended) -> bool,
    ) -> Result<(), ArchiveError> {
        if set(&mut self.extended) {
            return Err(ArchiveError::DescribedTwice {
                entry: header.name.clone(),
                what,
            });
        }
        Ok(())
    }

    /// The data of an extended header.
    fn data(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let limit = self.tree.limits.header_bytes;
        if header.size > limit {
            return Err(ArchiveError::HeaderTooLong {
                entry: header.name.clone(),
                limit,
            });
        }
        let place = Place::In(header.name.clone());
        let mut data = Vec::new();
        Exact::new(self.input, header.size)
            .read_to_end(&mut data)
            .map_err(|error| archive_error(error, place.clone()))?;
        self.skip_padding(header.size, place)?;
        Ok(data)
    }

    /// A GNU long name: the data up to the NULs at their end.
    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let data = self.data(header)?;
        match text(&data) {
            Some(b"") => Err(ArchiveError::Header {
                entry: header.name.clone(),
                reason: "it gives an empty name",
            }),
            Some(name) => Ok(name.to_vec()),
            None => Err(ArchiveError::NulName { entry: data.into() }),
        }
    }

    fn skip_padding(&mut self, size: u64, place: Place) -> Result<(), ArchiveError> {
        let block = BLOCK as u64;
        let padding = (block - size % block) % block;
        Exact::new(self.input, padding)
            .skip()
            .map_err(|error| archive_error(error, place))
    }

    fn member(&mut self, name: &EntryName, mode: u16, kind: Kind) -> Result<(), ArchiveError> {
        match kind {
            Kind::Directory => self.tree.directory(name, mode),
            Kind::Symlink(target) => self.tree.symlink(name, &target),
            Kind::HardLink(target) => self.tree.hard_link(name, &target),
            Kind::File(Data::Plain(size)) => {
                let mut data = Exact::new(self.input, size);
                self.tree.file(name, mode, size, &mut data)?;
                self.skip_padding(size, Place::In(name.clone()))
            }
            Kind::File(Data::Sparse { map, stored }) => {
                let map = self.map(name, map, stored)?;
                let (size, stored) = (map.size, map.stored());
                let mut data = map.reader(Exact::new(self.input, stored));
                self.tree.file(name, mode, size, &mut data)?;
                self.skip_padding(stored, Place::In(name.clone()))
            }
        }
    }

    fn map(&mut self, name: &EntryName, map: MapSource, stored: u64) -> Result<Map, ArchiveError> {
        let limit = self.tree.limits.header_bytes;
        map.read(stored, self.input, limit).map_err(|error| match error {
            MapError::Stream(error) => archive_error(error, Place::In(name.clone())),
            MapError::Wrong(reason) => ArchiveError::Sparse {
                entry: name.clone(),
                reason,
            },
            MapError::TooLong => ArchiveError::HeaderTooLong {
                entry: name.clone(),
                limit,
            },
        })
    }
}
