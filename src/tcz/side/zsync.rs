//! `NAME.tcz.zsync`: what `zsyncmake -u NAME.tcz NAME.tcz` writes: a header,
//! then a weak and a strong sum of every block, by which an update fetches
//! only the blocks that changed.
//!
//! Source: zsync 0.6.2 (`make.c`, `librcksum/rsum.c`); the tests compare with
//! its zsyncmake byte for byte.

use std::io::Write as _;

use md4::{Digest as _, Md4};

use crate::digest::hex;

/// The version whose format this is.
const VERSION: &str = "0.6.2";

/// Files from this length on have larger blocks.
const LARGE: u64 = 100_000_000;

/// How much of its sums a block keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashLengths {
    /// Blocks in a row that have to match.
    pub sequence: u8,
    /// Bytes of the weak sum, 1 to 4.
    pub weak: u8,
    /// Bytes of the MD4 sum, 1 to 16.
    pub strong: u8,
}

/// How a file is cut and summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the file.
    pub length: u64,
    /// Bytes of a block; a power of two.
    pub block_size: u32,
    /// What is kept of the sums.
    pub hash_lengths: HashLengths,
}

/// Why a text is not a zsync file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("not a zsync file: {0}")]
#[diagnostic(help("make it anew, in the extension's folder: `zsyncmake -u NAME.tcz NAME.tcz`"))]
pub struct ZsyncError(String);

impl Layout {
    /// The layout that zsyncmake chooses for a file of a length.
    pub fn for_length(length: u64) -> Self {
        let block_size = if length < LARGE { 2048 } else { 4096 };
        Self {
            length,
            block_size,
            hash_lengths: HashLengths::for_file(length, block_size),
        }
    }

    /// The number of blocks.
    pub fn blocks(&self) -> u64 {
        self.length.div_ceil(u64::from(self.block_size))
    }
}

impl HashLengths {
    /// zsyncmake's estimate of how long sums have to be for a false match to be
    /// unlikely.
    fn for_file(length: u64, block_size: u32) -> Self {
        let sequence = if length > u64::from(block_size) { 2 } else { 1 };
        let per_byte = f64::from(sequence) * 8.0;
        let (len, size) = (length as f64, f64::from(block_size));
        let log2 = |x: f64| x.ln() / 2f64.ln();
        let blocks = log2((1 + length / u64::from(block_size)) as f64);
        let weak = (((len.ln() + size.ln()) / 2f64.ln() - 8.6) / per_byte).ceil();
        let strong = ((20.0 + log2(len) + blocks) / per_byte).ceil();
        let at_least = ((7.9 + (20.0 + blocks)) / 8.0).floor();
        Self {
            sequence,
            weak: weak.clamp(2.0, 4.0) as u8,
            strong: strong.max(at_least).clamp(3.0, 16.0) as u8,
        }
    }
}

/// Sums the blocks of a file that is read once, front to back.
#[derive(Debug)]
pub struct BlockSums {
    layout: Layout,
    block: Vec<u8>,
    sums: Vec<u8>,
}

impl BlockSums {
    /// Nothing read yet.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            block: Vec::with_capacity(layout.block_size as usize),
            sums: Vec::new(),
        }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let size = self.layout.block_size as usize;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(size - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == size {
                self.end_block();
            }
        }
    }

    /// The sums of all blocks, the last one filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            self.block.resize(self.layout.block_size as usize, 0);
            self.end_block();
        }
        self.sums
    }

    fn end_block(&mut self) {
        let lengths = self.layout.hash_lengths;
        let weak = weak_sum(&self.block).to_be_bytes();
        self.sums
            .extend_from_slice(&weak[4 - usize::from(lengths.weak)..]);
        let strong = Md4::digest(&self.block);
        self.sums
            .extend_from_slice(&strong[..usize::from(lengths.strong)]);
        self.block.clear();
    }
}

/// The rolling sum of a block: the sum of its bytes in the upper half, that of
/// its bytes times their distance from the end in the lower.
fn weak_sum(block: &[u8]) -> u32 {
    let (mut a, mut b) = (0u16, 0u16);
    for byte in block {
        a = a.wrapping_add(u16::from(*byte));
        b = b.wrapping_add(a);
    }
    u32::from(a) << 16 | u32::from(b)
}

/// A zsync file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zsync {
    /// The file's name.
    pub file_name: String,
    /// The file's time as `Sat, 01 Feb 2020 00:00:00 +0000`; clients give it to
    /// what they fetch.
    pub mtime: Option<String>,
    /// How it is cut and summed.
    pub layout: Layout,
    /// Where it is fetched from: relative to the zsync file's own URL.
    pub url: String,
    /// The SHA-1 sum of the whole.
    pub sha1: [u8; 20],
    /// The blocks' sums.
    pub sums: Vec<u8>,
}

impl Zsync {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Layout {
            length,
            block_size,
            hash_lengths,
        } = self.layout;
        let HashLengths {
            sequence,
            weak,
            strong,
        } = hash_lengths;
        let mut bytes = format!("zsync: {VERSION}\nFilename: {}\n", self.file_name).into_bytes();
        if let Some(mtime) = &self.mtime {
            let _ = writeln!(bytes, "MTime: {mtime}");
        }
        let _ = write!(
            bytes,
            "Blocksize: {block_size}\nLength: {length}\nHash-Lengths: {sequence},{weak},{strong}\nURL: {}\nSHA-1: \
             {}\n\n",
            self.url,
            hex(&self.sha1)
        );
        bytes.extend_from_slice(&self.sums);
        bytes
    }

    /// Parses a zsync file. The length of the sums is checked against the
    /// header, their values are not.
    pub fn parse(bytes: &[u8]) -> Result<Self, ZsyncError> {
        let fail = |reason: &str| ZsyncError(reason.to_owned());
        let end = bstr::ByteSlice::find(bytes, "\n\n").ok_or_else(|| fail("the header has no end"))?;
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| fail("the header is not text"))?;
        let header = Header::parse(header)?;
        let zsync = Self {
            file_name: header.get("Filename")?.to_owned(),
            mtime: header.get("MTime").ok().map(str::to_owned),
            layout: header.layout()?,
            url: header.get("URL")?.to_owned(),
            sha1: parse_sha1(header.get("SHA-1")?).ok_or_else(|| fail("`SHA-1` is not a sum"))?,
            sums: bytes[end + 2..].to_owned(),
        };
        let HashLengths { weak, strong, .. } = zsync.layout.hash_lengths;
        let expected = u128::from(zsync.layout.blocks()) * u128::from(weak + strong);
        if zsync.sums.len() as u128 != expected {
            return Err(fail(
                "there are more or fewer block sums than the length asks for",
            ));
        }
        Ok(zsync)
    }
}

struct Header<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Result<Self, ZsyncError> {
        let fields: Option<Vec<_>> = text.lines().map(|line| line.split_once(": ")).collect();
        match fields {
            Some(fields) if fields.first().is_some_and(|(name, _)| *name == "zsync") => Ok(Self(fields)),
            _ => Err(ZsyncError("the header is not lines of `Name: value`".into())),
        }
    }

    fn get(&self, name: &str) -> Result<&'a str, ZsyncError> {
        let field = self.0.iter().find(|(field, _)| *field == name);
        field
            .map(|(_, value)| *value)
            .ok_or_else(|| ZsyncError(format!("`{name}` is missing")))
    }

    fn layout(&self) -> Result<Layout, ZsyncError> {
        let wrong = |name: &str| ZsyncError(format!("`{name}` is not what it should be"));
        let block_size = self.get("Blocksize")?.parse().ok();
        let block_size = block_size.filter(|size: &u32| size.is_power_of_two() && *size <= 1 << 24);
        let lengths: Option<Vec<u8>> = self
            .get("Hash-Lengths")?
            .split(',')
            .map(|number| number.parse().ok())
            .collect();
        let hash_lengths = match lengths.as_deref() {
            Some(&[sequence @ 1..=2, weak @ 1..=4, strong @ 3..=16]) => HashLengths {
                sequence,
                weak,
                strong,
            },
            _ => return Err(wrong("Hash-Lengths")),
        };
        Ok(Layout {
            length: self.get("Length")?.parse().map_err(|_| wrong("Length"))?,
            block_size: block_size.ok_or_else(|| wrong("Blocksize"))?,
            hash_lengths,
        })
    }
}

fn parse_sha1(text: &str) -> Option<[u8; 20]> {
    if text.len() != 40 || !text.is_ascii() {
        return None;
    }
    let mut sum = [0; 20];
    for (byte, at) in sum.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(sum)
}

/// A time as zsyncmake writes it, from seconds since 1970.
pub fn mtime(seconds: u32) -> String {
    // Every u32 is a year from 1970 to 2106, which jiff can hold.
    jiff::Timestamp::from_second(i64::from(seconds))
        .unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S +0000")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zsync() -> Zsync {
        let layout = Layout::for_length(5000);
        let mut sums = BlockSums::new(layout);
        sums.update(&[7; 5000]);
        Zsync {
            file_name: "x.tcz".into(),
            mtime: Some(mtime(0)),
            layout,
            url: "x.tcz".into(),
            sha1: [0xab; 20],
            sums: sums.finish(),
        }
    }

    #[test]
    fn what_is_written_is_parsed() {
        let zsync = zsync();
        assert_eq!(zsync.mtime.as_deref(), Some("Thu, 01 Jan 1970 00:00:00 +0000"));
        assert_eq!(zsync.layout.blocks(), 3);
        assert_eq!(Zsync::parse(&zsync.to_bytes()), Ok(zsync));
    }

    #[test]
    fn a_wrong_file_is_named() {
        let good = zsync().to_bytes();
        let text = |from: &str, to: &str| bstr::ByteSlice::replacen(&good[..], from, to, 1);
        for (bytes, wanted) in [
            (b"".to_vec(), "the header has no end"),
            (b"<html>\n\n".to_vec(), "the header is not lines of `Name: value`"),
            (
                good[..good.len() - 1].to_vec(),
                "there are more or fewer block sums",
            ),
            (
                text("Length: 5000", "Length: 18446744073709551615"),
                "there are more or fewer",
            ),
            (
                text("Length: 5000", "Length: -1"),
                "`Length` is not what it should be",
            ),
            (text("Blocksize: 2048", "Blocksize: 0"), "`Blocksize` is not"),
            (text("Lengths: 2,", "Lengths: 2,9,"), "`Hash-Lengths` is not"),
            (text("SHA-1: a", "SHA-1: "), "`SHA-1` is not a sum"),
            (text("URL: ", "Url: "), "`URL` is missing"),
        ] {
            let error = Zsync::parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error} instead of {wanted}");
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let data: Vec<u8> = (0..10_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let layout = Layout::for_length(10_000);
        let sums = |piece: usize| {
            let mut sums = BlockSums::new(layout);
            data.chunks(piece).for_each(|chunk| sums.update(chunk));
            sums.finish()
        };
        assert_eq!(sums(1), sums(10_000));
        assert_eq!(sums(2047), sums(4096));
    }
}
