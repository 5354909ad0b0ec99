//! Sparse files of GNU tar: the old format (type `S`) and the PAX formats 0.0,
//! 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").
//!
//! The library reads only the old one.

use std::io::{self, Read};

use super::super::error::ArchiveError;
use super::super::stream::{Exact, StreamError};
use super::header::{BLOCK, Header, number};
use super::pax::{Records, decimal};

/// The parts of a sparse file that are stored: offset and length of each, in bytes.
type Parts = Vec<(u64, u64)>;

/// What is stored of a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    parts: Parts,
    /// The file's size with its holes, in bytes.
    pub(super) size: u64,
}

/// Where the map of a sparse file is.
pub(super) enum MapSource {
    /// In the header of the old format, and in further blocks behind it.
    Old {
        /// The parts in the header.
        parts: Parts,
        /// Bytes of the file.
        size: u64,
        /// Whether there are further blocks.
        more: bool,
    },
    /// In a PAX header (formats 0.0 and 0.1).
    Known {
        /// The parts.
        parts: Parts,
        /// Bytes of the file.
        size: u64,
    },
    /// At the beginning of the data (format 1.0).
    InData {
        /// Bytes of the file.
        size: u64,
    },
}

impl Map {
    /// Checks that the parts follow each other inside the file, that each
    /// begins on a block (so all but the last fill theirs), and that they are
    /// all of the `stored` bytes.
    fn new(parts: Parts, size: u64, stored: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (offset, length) in &parts {
            if *offset < end {
                return Err("its parts overlap or are not in order");
            }
            if sum % BLOCK as u64 != 0 && *length != 0 {
                return Err("a part does not begin on a block");
            }
            end = offset.checked_add(*length).ok_or("a part is too long")?;
            sum = sum.checked_add(*length).ok_or("a part is too long")?;
        }
        if end > size {
            return Err("a part lies behind the end of the file");
        }
        if sum != stored {
            return Err("its parts are not as long as the data");
        }
        Ok(Self { parts, size })
    }

    /// Bytes that are stored.
    pub(super) fn stored(&self) -> u64 {
        self.parts.iter().map(|(_, length)| length).sum()
    }

    /// The whole file, with its holes as zeros.
    pub(super) fn reader<R: Read>(self, input: R) -> SparseReader<R> {
        SparseReader {
            input,
            size: self.size,
            parts: self.parts.into_iter(),
            part: (0, 0),
            at: 0,
        }
    }
}

/// Why there is no map.
pub(super) enum MapError {
    /// It makes no sense.
    Wrong(&'static str),
    /// It is longer than the limit.
    TooLong,
    /// The stream failed.
    Stream(io::Error),
}

impl From<&'static str> for MapError {
    fn from(reason: &'static str) -> Self {
        Self::Wrong(reason)
    }
}

impl From<io::Error> for MapError {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl MapSource {
    /// What a header of the old format says.
    pub(super) fn old(header: &Header) -> Result<Self, &'static str> {
        let gnu = header.gnu().ok_or("the header is not GNU's")?;
        let mut parts = Vec::new();
        push_parts(&mut parts, &gnu.sparse)?;
        Ok(Self::Old {
            parts,
            size: number(&gnu.realsize).ok_or("the size is not a number")?,
            more: flag(gnu.isextended)?,
        })
    }

    /// The map, read from the input as far as it lies there; `stored` bytes
    /// follow the headers, and the map itself may be no longer than `limit`.
    pub(super) fn read(self, stored: u64, input: &mut dyn Read, limit: u64) -> Result<Map, MapError> {
        match self {
            Self::Known { parts, size } => Ok(Map::new(parts, size, stored)?),
            Self::InData { size } => {
                let mut text = MapText::new(Exact::new(input, stored), limit);
                let mut parts = Vec::new();
                for _ in 0..text.number()? {
                    parts.push((text.number()?, text.number()?));
                }
                let stored = text.input.left();
                Ok(Map::new(parts, size, stored)?)
            }
            Self::Old {
                mut parts,
                size,
                mut more,
            } => {
                let mut taken = 0;
                while more {
                    taken += BLOCK as u64;
                    if taken > limit {
                        return Err(MapError::TooLong);
                    }
                    let mut block = ::tar::GnuExtSparseHeader::new();
                    Exact::new(input, BLOCK as u64).read_exact(block.as_mut_bytes())?;
                    push_parts(&mut parts, block.sparse())?;
                    more = flag(block.isextended)?;
                }
                Ok(Map::new(parts, size, stored)?)
            }
        }
    }
}

/// Whether a further block follows. Readers differ in what else than 1 says so.
fn flag(field: [u8; 1]) -> Result<bool, &'static str> {
    match field {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err("it does not say whether there is more of it"),
    }
}

fn push_parts(parts: &mut Parts, fields: &[::tar::GnuSparseHeader]) -> Result<(), &'static str> {
    for field in fields.iter().take_while(|field| !field.is_empty()) {
        let offset = number(&field.offset).ok_or("an offset is not a number")?;
        let length = number(&field.numbytes).ok_or("a length is not a number")?;
        parts.push((offset, length));
    }
    Ok(())
}

/// What the PAX records of a sparse file say. The inner error is what is wrong
/// with the records together, the outer one with one of them.
pub(super) fn pax(records: &Records) -> Result<Result<MapSource, &'static str>, ArchiveError> {
    let major = records.number("GNU.sparse.major")?;
    let minor = records.number("GNU.sparse.minor")?;
    let size = records.number("GNU.sparse.size")?;
    let real = records.number("GNU.sparse.realsize")?;
    let count = records.number("GNU.sparse.numblocks")?;
    let map = records.text("GNU.sparse.map")?;
    let no_map = map.is_none() && records.blocks.is_empty();
    Ok(match (major.zip(minor), size, real) {
        (Some((1, 0)), None, Some(size)) if no_map => Ok(MapSource::InData { size }),
        (None | Some((0, 0 | 1)), Some(size), None) => {
            known(records, map, count).map(|parts| MapSource::Known { parts, size })
        }
        _ => Err("its keywords do not fit together"),
    })
}

fn known(records: &Records, map: Option<&[u8]>, count: Option<u64>) -> Result<Parts, &'static str> {
    let numbers = match map {
        None => records.blocks.clone(),
        Some(_) if !records.blocks.is_empty() => return Err("there are two"),
        Some(map) => map
            .split(|byte| *byte == b',')
            .map(decimal)
            .collect::<Option<_>>()
            .ok_or("it is not made of numbers")?,
    };
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || count != Some(pairs.len() as u64) {
        return Err("it has another number of parts than it says");
    }
    Ok(pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
}

/// The map at the beginning of the data: numbers, each on a line, filled up to
/// whole blocks.
struct MapText<'a> {
    input: Exact<'a, dyn Read + 'a>,
    limit: u64,
    block: [u8; BLOCK],
    at: usize,
}

impl<'a> MapText<'a> {
    fn new(input: Exact<'a, dyn Read + 'a>, limit: u64) -> Self {
        Self {
            input,
            limit,
            block: [0; BLOCK],
            at: BLOCK,
        }
    }

    fn number(&mut self) -> Result<u64, MapError> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' if digits.is_empty() => return Err("a number is missing".into()),
                b'\n' => return Ok(decimal(&digits).ok_or("it is not made of numbers")?),
                _ if digits.len() == 20 => return Err("it is not made of numbers".into()),
                byte => digits.push(byte),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, MapError> {
        if self.at == BLOCK {
            let block = BLOCK as u64;
            self.limit = self.limit.checked_sub(block).ok_or(MapError::TooLong)?;
            if self.input.left() < block {
                return Err("it is longer than the data".into());
            }
            self.input.read_exact(&mut self.block)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

/// Reads a sparse file: see [`Map::reader`].
pub(super) struct SparseReader<R> {
    input: R,
    size: u64,
    parts: std::vec::IntoIter<(u64, u64)>,
    /// Offset and remaining length of the part that is read, or comes next.
    part: (u64, u64),
    at: u64,
}

impl<R: Read> Read for SparseReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.part.1 == 0 {
            self.part = self.parts.next().unwrap_or((self.size, u64::MAX));
        }
        let in_hole = self.at < self.part.0;
        let until = if in_hole {
            self.part.0
        } else {
            self.size.min(self.at.saturating_add(self.part.1))
        };
        let left = usize::try_from(until - self.at).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        let buf = &mut buf[..want];
        if buf.is_empty() {
            return Ok(0);
        }
        let n = if in_hole {
            buf.fill(0);
            buf.len()
        } else {
            self.input.read(buf)?
        };
        if n == 0 {
            return Err(StreamError::Truncated.into());
        }
        self.at += n as u64;
        if !in_hole {
            self.part = (self.at, self.part.1 - n as u64);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_fit_the_file_and_the_data() {
        for (parts, size, stored, ok) in [
            (&[(0, 512), (1024, 3)][..], 2000, 515, true),
            (&[(100, 3), (2000, 0)], 2000, 3, true),
            (&[], 2000, 0, true),
            (&[(1024, 512), (0, 512)], 2000, 1024, false),
            (&[(0, 512), (511, 512)], 2000, 1024, false),
            (&[(0, 3), (1024, 512)], 2000, 515, false),
            (&[(0, 512), (1600, 512)], 2000, 1024, false),
            (&[(0, 512)], 2000, 511, false),
            (&[(u64::MAX, 2)], u64::MAX, 2, false),
            (&[(0, 512), (512, u64::MAX - 512)], u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(Map::new(parts.into(), size, stored).is_ok(), ok, "{parts:?}");
        }
    }

    #[test]
    fn holes_are_zeros() {
        let map = Map::new(vec![(2, 512), (1000, 1), (1003, 0)], 1004, 513).unwrap();
        let data: Vec<u8> = vec![7; 513];
        let mut file = Vec::new();
        map.reader(&data[..]).read_to_end(&mut file).unwrap();
        let mut wanted = vec![0; 1004];
        wanted[2..514].fill(7);
        wanted[1000] = 7;
        assert_eq!(file, wanted);
    }
}
