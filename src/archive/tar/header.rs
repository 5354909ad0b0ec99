//! One header block of a tar archive, taken strictly.

use super::super::error::{ArchiveError, EntryName, Place};

/// Bytes of a block; headers are one, and data are padded to whole ones.
pub(super) const BLOCK: usize = 512;

/// A header whose checksum is right.
pub(super) struct Header {
    raw: ::tar::Header,
    /// The name in this header; extended headers may give another.
    pub(super) name: EntryName,
    /// Bytes of data that follow, unless a PAX header says otherwise.
    pub(super) size: u64,
}

impl Header {
    /// Takes a block apart; `place` is the entry before it.
    pub(super) fn parse(block: [u8; BLOCK], place: &Place) -> Result<Self, ArchiveError> {
        let raw = ::tar::Header::from_byte_slice(&block);
        let shown = || EntryName::from(raw.path_bytes());
        let wrong = |reason| ArchiveError::Header {
            entry: shown(),
            reason,
        };
        if number(&raw.as_old().cksum) != Some(checksum(&block)) {
            return Err(ArchiveError::HeaderChecksum {
                entry: shown(),
                place: place.clone(),
            });
        }
        // A header of the time before ustar has nothing where the magic is;
        // star's is ustar's but for times in the name's prefix.
        let old = block[257..265].iter().all(|byte| *byte == 0);
        let star = block.ends_with(b"tar\0");
        if star || !(old || raw.as_ustar().is_some() || raw.as_gnu().is_some()) {
            return Err(wrong("it is neither v7, ustar, GNU nor PAX"));
        }
        let size = number(&raw.as_old().size).ok_or_else(|| wrong("its size is not a number"))?;
        let name = name(raw)?;
        Ok(Self {
            raw: raw.clone(),
            name,
            size,
        })
    }

    /// The type of entry, as the byte that is written.
    pub(super) fn kind(&self) -> u8 {
        self.raw.as_old().linkflag[0]
    }

    /// The permission bits.
    pub(super) fn mode(&self) -> Result<u16, ArchiveError> {
        match number(&self.raw.as_old().mode) {
            Some(mode) => Ok((mode & 0o7777) as u16),
            None => Err(ArchiveError::Header {
                entry: self.name.clone(),
                reason: "its mode is not a number",
            }),
        }
    }

    /// A link's target in this header.
    pub(super) fn link(&self) -> Result<&[u8], ArchiveError> {
        text(&self.raw.as_old().linkname).ok_or_else(|| ArchiveError::NulName {
            entry: self.name.clone(),
        })
    }

    /// The GNU fields.
    pub(super) fn gnu(&self) -> Option<&::tar::GnuHeader> {
        self.raw.as_gnu()
    }
}

fn name(raw: &::tar::Header) -> Result<EntryName, ArchiveError> {
    let nul = || ArchiveError::NulName {
        entry: raw.path_bytes().into(),
    };
    let name = text(&raw.as_old().name).ok_or_else(nul)?;
    let prefix = match raw.as_ustar() {
        Some(ustar) => text(&ustar.prefix).ok_or_else(nul)?,
        None => b"",
    };
    Ok(if prefix.is_empty() {
        name.into()
    } else {
        [prefix, b"/", name].concat().into()
    })
}

/// The sum of a header's bytes, its own field counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let field = 148..156;
    block
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if field.contains(&at) { b' ' } else { *byte }))
        .sum()
}

/// A text that is filled up with NULs; `None` if something is behind the first.
pub(super) fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (text, rest) = field.split_at(end);
    rest.iter().all(|byte| *byte == 0).then_some(text)
}

/// A numeric field: octal digits between spaces and NULs, or, with the first
/// bit set, binary (GNU's base-256).
///
/// The library's own parser is not used: it takes signs, stops at the first NUL
/// whatever comes behind, and drops the upper bytes of a binary number, so that
/// it sees other sizes than other readers do.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return rest.iter().try_fold(u64::from(first & 0x7f), |number, byte| {
            Some(number.checked_mul(256)? | u64::from(*byte))
        });
    }
    let field = field.trim_ascii_start();
    let end = field.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = field.split_at(end.unwrap_or(field.len()));
    if !rest.iter().all(|byte| matches!(byte, b' ' | 0)) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_strictly() {
        for (field, wanted) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"77777777777\0", Some((8 << 30) - 1)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(8 << 30)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Some(u64::MAX)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000648\0", None),
            (b"+000644\0", None),
            (b"-000644\0", None),
            (b"00\x00644\0", None),
            (b"0x00644\0", None),
            (b"\0\0\0\0\0\0\0\0", None),
            (b"        ", None),
            (b"", None),
        ] {
            assert_eq!(number(field), wanted, "{field:?}");
        }
    }

    #[test]
    fn text_ends_at_the_first_nul_and_for_good() {
        assert_eq!(text(b"ab\0\0"), Some(&b"ab"[..]));
        assert_eq!(text(b"abcd"), Some(&b"abcd"[..]));
        assert_eq!(text(b"a\0b\0"), None);
    }
}
