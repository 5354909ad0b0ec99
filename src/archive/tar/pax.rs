//! The records of PAX extended headers (POSIX.1-2017, pax, "pax Extended
//! Header"): `LENGTH KEYWORD=VALUE\n`.
//!
//! The library's parser is not used: it splits at line ends instead of by the
//! lengths, takes the first of several values, and skips what it does not
//! understand; each lets two readers see two different archives.

use std::collections::BTreeMap;

use super::super::error::{ArchiveError, EntryName, Place};

/// What a sparse file's keywords begin with.
pub(super) const SPARSE: &[u8] = b"GNU.sparse.";

/// The records of one extended header.
#[derive(Debug)]
pub(super) struct Records {
    /// The header's own name, for messages.
    header: EntryName,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The map of a sparse file in GNU's format 0.0, which repeats its keywords:
    /// offset and length in turn.
    pub(super) blocks: Vec<u64>,
}

impl Records {
    /// Parses all of a header's data.
    pub(super) fn parse(header: &EntryName, mut data: &[u8]) -> Result<Self, ArchiveError> {
        let mut records = Self {
            header: header.clone(),
            values: BTreeMap::new(),
            blocks: Vec::new(),
        };
        while !data.is_empty() {
            let (record, rest) = split(data).map_err(|reason| records.malformed(reason))?;
            records.add(record)?;
            data = rest;
        }
        if !records.blocks.len().is_multiple_of(2) {
            return Err(records.malformed("a sparse file's offset has no length"));
        }
        Ok(records)
    }

    fn add(&mut self, (keyword, value): (&[u8], &[u8])) -> Result<(), ArchiveError> {
        let is_length = match keyword {
            b"GNU.sparse.offset" => false,
            b"GNU.sparse.numbytes" => true,
            _ => return self.set(keyword, value),
        };
        match decimal(value) {
            Some(number) if is_length != self.blocks.len().is_multiple_of(2) => {
                self.blocks.push(number);
                Ok(())
            }
            Some(_) => Err(self.malformed("a sparse file's offsets and lengths do not alternate")),
            None => Err(self.malformed("a sparse file's map is not made of numbers")),
        }
    }

    fn set(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match self.values.insert(keyword.into(), value.into()) {
            Some(other) if other != value => Err(ArchiveError::PaxRepeated {
                entry: self.header.clone(),
                keyword: keyword.into(),
            }),
            _ => Ok(()),
        }
    }

    fn malformed(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::PaxMalformed {
            entry: self.header.clone(),
            reason,
        }
    }

    /// The value of a keyword. An empty one is refused: it means "as if the
    /// keyword were not there", and not every reader knows.
    pub(super) fn text(&self, keyword: &str) -> Result<Option<&[u8]>, ArchiveError> {
        match self.values.get(keyword.as_bytes()) {
            Some(value) if value.is_empty() => Err(self.malformed("a value is empty")),
            Some(value) if value.contains(&0) => Err(ArchiveError::NulName {
                entry: self.header.clone(),
            }),
            value => Ok(value.map(Vec::as_slice)),
        }
    }

    /// The value of a keyword that is a number.
    pub(super) fn number(&self, keyword: &str) -> Result<Option<u64>, ArchiveError> {
        let Some(value) = self.text(keyword)? else {
            return Ok(None);
        };
        match decimal(value) {
            Some(number) => Ok(Some(number)),
            None => Err(self.malformed("a value that should be a number is not")),
        }
    }

    /// Whether they describe a sparse file.
    pub(super) fn is_sparse(&self) -> bool {
        !self.blocks.is_empty() || self.values.keys().any(|keyword| keyword.starts_with(SPARSE))
    }

    /// Whether they may stand for every entry that follows: git's `comment`
    /// may, and times and owners, which are not read; a name, a target or a
    /// size may not.
    pub(super) fn check_global(&self, place: &Place) -> Result<(), ArchiveError> {
        let forbidden = |keyword: &[u8]| {
            matches!(keyword, b"path" | b"linkpath" | b"size") || keyword.starts_with(SPARSE)
        };
        let sparse = (!self.blocks.is_empty()).then_some(SPARSE);
        let keyword = self
            .values
            .keys()
            .map(Vec::as_slice)
            .find(|keyword| forbidden(keyword));
        match keyword.or(sparse) {
            None => Ok(()),
            Some(keyword) => Err(ArchiveError::PaxGlobal {
                keyword: keyword.into(),
                place: place.clone(),
            }),
        }
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// The first record, and what follows it.
fn split(data: &[u8]) -> Result<(Record<'_>, &[u8]), &'static str> {
    let space = data
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or("a record has no length")?;
    let length = decimal(&data[..space])
        .and_then(|length| usize::try_from(length).ok())
        .ok_or("a record's length is not a number")?;
    if length <= space + 1 || length > data.len() {
        return Err("a record's length is wrong");
    }
    let (record, rest) = data.split_at(length);
    let Some((b'\n', record)) = record[space + 1..].split_last() else {
        return Err("a record does not end in a line feed");
    };
    let equals = record
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or("a record has no `=`")?;
    let (keyword, value) = (&record[..equals], &record[equals + 1..]);
    if keyword.is_empty() || keyword.contains(&0) {
        return Err("a record's keyword is empty or has a NUL byte in it");
    }
    Ok(((keyword, value), rest))
}

/// A decimal number: digits alone.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: &[u8]) -> Result<Records, ArchiveError> {
        Records::parse(&"x".into(), data)
    }

    #[test]
    fn records_are_split_by_their_lengths() {
        let records = parse(b"14 path=a\n9 b\n9 size=1\n12 comment=\n").unwrap();
        assert_eq!(records.text("path").unwrap(), Some(&b"a\n9 b"[..]));
        assert_eq!(records.number("size").unwrap(), Some(1));
        assert_eq!(records.text("linkpath").unwrap(), None);
        assert!(records.text("comment").is_err() && records.number("path").is_err());
        assert!(!records.is_sparse());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for data in [
            &b"9 size=1"[..],
            b"8 size=1\n",
            b"11 size=1\n",
            b"99999999999999999999 a=b\n",
            b"+9 size=1\n",
            b" size=1\n",
            b"2 \n",
            b"3 \n\n",
            b"0 \n",
            b"6 =ab\n",
            b"5 ab\n",
            b"7 a\0=b\n",
            b"9 size=1\n\0",
            b"size=1\n",
        ] {
            let result = parse(data);
            assert!(
                matches!(result, Err(ArchiveError::PaxMalformed { .. })),
                "{data:?}: {result:?}"
            );
        }
    }

    #[test]
    fn one_keyword_has_one_value() {
        assert!(parse(b"9 size=1\n9 size=1\n").is_ok());
        assert!(matches!(
            parse(b"9 size=1\n9 size=2\n"),
            Err(ArchiveError::PaxRepeated { keyword, .. }) if keyword.as_bytes() == b"size"
        ));
    }

    #[test]
    fn a_global_header_sets_nothing_that_matters() {
        let check = |data: &[u8]| parse(data).unwrap().check_global(&Place::Start);
        assert!(check(b"12 comment=\n12 mtime=42\n").is_ok());
        for data in [
            &b"9 size=1\n"[..],
            b"9 path=a\n",
            b"14 linkpath=a\n",
            b"21 GNU.sparse.name=a\n",
        ] {
            assert!(
                matches!(check(data), Err(ArchiveError::PaxGlobal { .. })),
                "{data:?}"
            );
        }
    }
}
