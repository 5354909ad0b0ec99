//! The compressors, as Linux's squashfs wants their output.

use std::io;

use super::format::{METADATA_RAW, METADATA_SIZE};
use super::options::{Algorithm, BlockSize, Compression, PackOptions};

/// A compressor failed: a bug, or too little memory.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// libdeflate has no such level.
    #[error("libdeflate refuses level {0}")]
    Gzip(u8),
    /// liblzma failed.
    #[error("liblzma: {0}")]
    Xz(#[from] liblzma::stream::Error),
    /// libzstd failed.
    #[error("libzstd")]
    Zstd(#[source] io::Error),
    /// A thread of the pool is gone.
    #[error("a compressing thread ended early")]
    Thread,
}

/// How a block came to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// Bytes in the image.
    pub(super) len: usize,
    /// Whether compression did not pay.
    pub(super) raw: bool,
}

/// mksquashfs's level of zstd, and ours.
const ZSTD_LEVEL: u8 = 15;
/// xz's own default.
const XZ_LEVEL: u8 = 6;

/// One thread's compressor, used for block after block.
pub(super) enum Compressor {
    Gzip(Box<Gzip>),
    Xz { level: u8, dictionary: u32 },
    Zstd(zstd::bulk::Compressor<'static>),
}

/// libdeflate, perhaps at two levels: text gains less from the slower one.
pub(super) struct Gzip {
    text: Option<libdeflater::Compressor>,
    other: libdeflater::Compressor,
}

impl Gzip {
    /// The levels for text, if they differ, and for the rest that make no image
    /// larger than mksquashfs's: docs/squashfs.md.
    fn levels(level: Option<u8>, block_size: BlockSize) -> (Option<u8>, u8) {
        match level {
            Some(level) => (None, level),
            None if block_size == BlockSize::MIN => (Some(5), 6),
            None => (None, 7),
        }
    }

    fn new(level: Option<u8>, block_size: BlockSize) -> Result<Self, CompressError> {
        let compressor = |level: u8| {
            libdeflater::CompressionLvl::new(i32::from(level))
                .map(libdeflater::Compressor::new)
                .map_err(|_| CompressError::Gzip(level))
        };
        let (text, other) = Self::levels(level, block_size);
        Ok(Self {
            text: text.map(compressor).transpose()?,
            other: compressor(other)?,
        })
    }

    /// The compressor for a block. What has no zero byte is text: every
    /// program, library and table has zeros.
    fn choose(&mut self, block: &[u8]) -> &mut libdeflater::Compressor {
        match &mut self.text {
            Some(text) if !block.contains(&0) => text,
            _ => &mut self.other,
        }
    }
}

impl Compression {
    pub(super) fn compressor(self, block_size: BlockSize) -> Result<Compressor, CompressError> {
        Ok(match self.algorithm() {
            Algorithm::Gzip => Compressor::Gzip(Gzip::new(self.level(), block_size)?.into()),
            // Without an options block the kernel allocates a dictionary of
            // this size, and refuses streams that ask for a larger one.
            Algorithm::Xz => Compressor::Xz {
                level: self.level().unwrap_or(XZ_LEVEL),
                dictionary: block_size.get().max(METADATA_SIZE as u32),
            },
            // Compressed in one call, a frame's window is no larger than its
            // content, as the kernel's work space is.
            Algorithm::Zstd => {
                let level = self.level().unwrap_or(ZSTD_LEVEL);
                let zstd = zstd::bulk::Compressor::new(i32::from(level));
                Compressor::Zstd(zstd.map_err(CompressError::Zstd)?)
            }
        })
    }

    /// What one thread's compressor takes, in bytes, measured and rounded up.
    pub(super) fn memory(self, block_size: BlockSize) -> usize {
        const MIB: usize = 1 << 20;
        match self.algorithm() {
            Algorithm::Gzip if self.level() < Some(10) => 2 * MIB,
            Algorithm::Gzip => 9 * MIB,
            Algorithm::Xz => 2 * MIB + 12 * block_size.len(),
            Algorithm::Zstd => 2 * MIB + 8 * block_size.len(),
        }
    }
}

impl Compressor {
    /// Appends a block to `out`, compressed if that makes it smaller. `out`
    /// needs room for no more than the block itself.
    pub(super) fn append(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<Stored, CompressError> {
        let start = out.len();
        let smaller = match self {
            Self::Gzip(gzip) => {
                out.resize(start + block.len() - 1, 0);
                let gzip = gzip.choose(block);
                gzip.zlib_compress(block, &mut out[start..]).ok()
            }
            Self::Xz { level, dictionary } => Some(xz(block, *level, *dictionary, out)?),
            Self::Zstd(zstd) => {
                let packed = zstd.compress(block).map_err(CompressError::Zstd)?;
                out.extend_from_slice(&packed);
                Some(packed.len())
            }
        };
        match smaller.filter(|len| *len < block.len()) {
            Some(len) => {
                out.truncate(start + len);
                Ok(Stored { len, raw: false })
            }
            None => {
                out.truncate(start);
                out.extend_from_slice(block);
                Ok(Stored {
                    len: block.len(),
                    raw: true,
                })
            }
        }
    }
}

/// One .xz stream with a CRC32, the only check that the kernel knows.
fn xz(block: &[u8], level: u8, dictionary: u32, out: &mut Vec<u8>) -> Result<usize, CompressError> {
    use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
    let mut options = LzmaOptions::new_preset(u32::from(level))?;
    options.dict_size(dictionary);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32)?;
    let start = out.len();
    // LZMA2 stores what it cannot compress; the rest is the container's.
    out.reserve(block.len() + block.len() / 1024 + 256);
    let mut rest = block;
    loop {
        let before = stream.total_in();
        let status = stream.process_vec(rest, out, Action::Finish)?;
        rest = &rest[(stream.total_in() - before) as usize..];
        if status == Status::StreamEnd {
            return Ok(out.len() - start);
        }
        out.reserve(4096);
    }
}

/// What comes after the superblock when the compressor's options are not the
/// ones that readers assume: only zstd's level is told, so that `unsquashfs -s`
/// shows it. The kernel skips it.
pub(super) fn options_block(options: &PackOptions) -> Vec<u8> {
    match (options.compression.algorithm(), options.compression.level()) {
        (Algorithm::Zstd, Some(level)) if level != ZSTD_LEVEL => {
            let level = u32::from(level).to_le_bytes();
            let head = (level.len() as u16 | METADATA_RAW).to_le_bytes();
            [&head[..], &level].concat()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_get_smaller_is_stored_as_it_is() {
        for algorithm in [Algorithm::Gzip, Algorithm::Xz, Algorithm::Zstd] {
            let block_size = BlockSize::MIN;
            let mut compressor = Compression::new(algorithm).compressor(block_size).unwrap();
            let mut out = b"before".to_vec();
            for (block, raw) in [(&b"x"[..], true), (b"0123456789", true), (&[0; 4096], false)] {
                let start = out.len();
                let stored = compressor.append(block, &mut out).unwrap();
                assert_eq!(stored.raw, raw, "{algorithm} {}", block.len());
                assert_eq!(stored.len, out.len() - start);
                assert!(stored.len < block.len() || raw && out[start..] == *block);
            }
            assert!(out.starts_with(b"before"));
        }
    }
}
