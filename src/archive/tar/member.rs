//! One entry, from all the headers that describe it.

use super::super::error::{ArchiveError, EntryName};
use super::header::Header;
use super::pax::Records;
use super::sparse::{self, MapSource};

/// The largest size that the eleven octal digits of a header can tell.
const OCTAL_MAX: u64 = 0o77_777_777_777;

/// What extended headers say about the entry behind them.
#[derive(Default)]
pub(super) struct Extended {
    /// GNU's long name.
    pub(super) name: Option<Vec<u8>>,
    /// GNU's long target.
    pub(super) link: Option<Vec<u8>>,
    /// PAX records.
    pub(super) pax: Option<Records>,
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// An entry.
pub(super) struct Member {
    pub(super) name: EntryName,
    pub(super) mode: u16,
    pub(super) kind: Kind,
}

/// What an entry is.
pub(super) enum Kind {
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    File(Data),
}

/// How a file's content follows.
pub(super) enum Data {
    /// As it is: so many bytes.
    Plain(u64),
    /// Without its holes.
    Sparse {
        /// Where the holes are told.
        map: MapSource,
        /// Bytes that follow.
        stored: u64,
    },
}

impl Member {
    /// Puts the headers together, and refuses those that disagree.
    pub(super) fn new(header: &Header, extended: Extended) -> Result<Self, ArchiveError> {
        let Extended { name, link, pax } = extended;
        let mut parts = Parts {
            header,
            name: header.name.clone(),
            pax: pax.as_ref(),
        };
        let long = name.is_some() || link.is_some();
        if let Some(name) = parts.either("name", "path", name)? {
            parts.name = name.into();
        }
        let link = parts.either("target", "linkpath", link)?;
        let size = parts.size(long)?;
        let map = parts.sparse()?;
        let kind = parts.kind(link, size, map)?;
        Ok(Self {
            mode: header.mode()?,
            name: parts.name,
            kind,
        })
    }
}

struct Parts<'a> {
    header: &'a Header,
    /// The name as far as it is known.
    name: EntryName,
    pax: Option<&'a Records>,
}

impl Parts<'_> {
    fn wrong(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::Header {
            entry: self.name.clone(),
            reason,
        }
    }

    /// A text that either a GNU or a PAX header gives, but not both.
    fn either(
        &self,
        what: &'static str,
        keyword: &str,
        long: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, ArchiveError> {
        let pax = match self.pax {
            Some(records) => records.text(keyword)?.map(<[u8]>::to_vec),
            None => None,
        };
        match (pax, long) {
            (Some(name), Some(_)) => Err(ArchiveError::DescribedTwice {
                entry: name.into(),
                what,
            }),
            (pax, long) => Ok(pax.or(long)),
        }
    }

    /// Bytes that follow. A PAX header tells what the header has no room for;
    /// where the header has room, both must say the same, for there are readers
    /// that believe the one and readers that believe the other (CVE-2026-33055).
    fn size(&self, long: bool) -> Result<u64, ArchiveError> {
        let size = self.header.size;
        let pax = match self.pax {
            Some(records) => records.number("size")?,
            None => None,
        };
        match pax {
            None => Ok(size),
            Some(_) if long => Err(ArchiveError::MixedHeaders {
                entry: self.name.clone(),
            }),
            Some(pax) if pax == size || (pax > OCTAL_MAX && (size == 0 || size == OCTAL_MAX)) => Ok(pax),
            Some(pax) => Err(ArchiveError::PaxDisagrees {
                entry: self.name.clone(),
                what: "size",
                pax: pax.to_string().into(),
                other: size.to_string().into(),
            }),
        }
    }

    /// Where the map of a sparse file is, if it is one; its real name is taken.
    fn sparse(&mut self) -> Result<Option<MapSource>, ArchiveError> {
        let records = self.pax.filter(|records| records.is_sparse());
        let wrong = |reason| ArchiveError::Sparse {
            entry: self.name.clone(),
            reason,
        };
        match (self.header.kind(), records) {
            (b'S', None) => MapSource::old(self.header).map(Some).map_err(wrong),
            (b'0' | 0, Some(records)) => {
                let map = sparse::pax(records)?.map_err(wrong)?;
                self.sparse_name(records)?;
                Ok(Some(map))
            }
            (_, None) => Ok(None),
            (_, Some(_)) => Err(wrong("its type is not that of a file")),
        }
    }

    /// GNU tar puts a placeholder where other readers look for the name.
    fn sparse_name(&mut self, records: &Records) -> Result<(), ArchiveError> {
        let Some(name) = records.text("GNU.sparse.name")? else {
            return Ok(());
        };
        let mut components = self.name.as_bytes().split(|byte| *byte == b'/');
        if !components.any(|component| component.starts_with(b"GNUSparseFile.")) {
            return Err(ArchiveError::PaxDisagrees {
                entry: name.into(),
                what: "name",
                pax: name.into(),
                other: self.name.clone(),
            });
        }
        self.name = name.into();
        Ok(())
    }

    fn kind(&self, link: Option<Vec<u8>>, size: u64, map: Option<MapSource>) -> Result<Kind, ArchiveError> {
        let slash = self.name.as_bytes().ends_with(b"/");
        let code = self.header.kind();
        let is_link = matches!(code, b'1' | b'2');
        if link.is_some() && !is_link {
            return Err(self.wrong("it is no link, and has a target"));
        }
        let target = match link {
            None if is_link => self.header.link()?.to_vec(),
            link => link.unwrap_or_default(),
        };
        let kind = match code {
            // Before ustar there was no type for directories.
            0 if slash && map.is_none() => Kind::Directory,
            b'0' | 0 | b'7' | b'S' if slash => return Err(self.wrong("a file's name ends in `/`")),
            b'0' | 0 | b'7' | b'S' => {
                return Ok(Kind::File(match map {
                    Some(map) => Data::Sparse { map, stored: size },
                    None => Data::Plain(size),
                }));
            }
            b'1' => Kind::HardLink(target),
            b'2' => Kind::Symlink(target),
            b'5' => Kind::Directory,
            b'3' => return Err(self.special("character device")),
            b'4' => return Err(self.special("block device")),
            b'6' => return Err(self.special("named pipe")),
            _ => {
                return Err(ArchiveError::UnknownType {
                    entry: self.name.clone(),
                    kind: [code].into(),
                });
            }
        };
        if size != 0 {
            return Err(self.wrong("it is no file, and has a size"));
        }
        Ok(kind)
    }

    fn special(&self, kind: &'static str) -> ArchiveError {
        ArchiveError::Special {
            entry: self.name.clone(),
            kind,
        }
    }
}
