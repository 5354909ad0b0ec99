//! How an image is packed.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// How an image is packed. The default is the mirror's way (gzip, 4096 byte
/// blocks) with time 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// Bytes in a data block.
    pub block_size: BlockSize,
    /// How blocks and tables are compressed.
    pub compression: Compression,
    /// The time of every inode and of the image, in seconds since 1970
    /// (SOURCE_DATE_EPOCH).
    pub time: u32,
    /// How many threads compress. The image does not depend on it.
    pub threads: NonZeroUsize,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            block_size: BlockSize::default(),
            compression: Compression::new(Algorithm::Gzip),
            time: 0,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// An option that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum OptionError {
    /// Not a block size.
    #[error("`{0}` is not a block size")]
    #[diagnostic(help("a power of two from 4096 to 1048576; the mirror has 4096, and 131072 packs smaller"))]
    BlockSize(String),
    /// Not a compression.
    #[error("`{0}` is not a compression")]
    #[diagnostic(help("gzip is what the mirror has; xz and zstd are possible too"))]
    Algorithm(String),
    /// Not a level of this compression.
    #[error("{algorithm} has no level {level}")]
    #[diagnostic(help("its levels are {min} to {max}"))]
    Level {
        /// Of which compression.
        algorithm: Algorithm,
        /// What was asked for.
        level: u8,
        /// The lowest.
        min: u8,
        /// The highest.
        max: u8,
    },
}

/// Bytes in a data block: a power of two from 4096 to 1048576.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u32);

impl BlockSize {
    /// The smallest, and the mirror's.
    pub const MIN: Self = Self(1 << 12);
    /// The largest.
    pub const MAX: Self = Self(1 << 20);

    /// A block size, if it is one.
    pub fn new(bytes: u32) -> Result<Self, OptionError> {
        if bytes.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(OptionError::BlockSize(bytes.to_string()))
        }
    }

    /// The number of bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The number of bytes, as the length of a buffer.
    pub(super) fn len(self) -> usize {
        self.0 as usize
    }

    /// The binary logarithm.
    pub(super) fn log(self) -> u16 {
        self.0.ilog2() as u16
    }
}

impl Default for BlockSize {
    fn default() -> Self {
        Self::MIN
    }
}

impl FromStr for BlockSize {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text
            .parse()
            .map_err(|_| OptionError::BlockSize(text.to_owned()))?;
        Self::new(bytes)
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A compression that Linux 5.4's squashfs reads, and Tiny Core 11's kernel
/// has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib streams: what the mirror has.
    Gzip,
    /// LZMA2 with CRC32: the smallest, slow to read.
    Xz,
    /// Zstandard: larger blocks get smaller than with gzip, fast to read.
    Zstd,
}

impl Algorithm {
    /// The lowest and highest level.
    fn levels(self) -> (u8, u8) {
        match self {
            Self::Gzip => (1, 12),
            Self::Xz => (0, 9),
            Self::Zstd => (1, 22),
        }
    }
}

impl FromStr for Algorithm {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "xz" => Ok(Self::Xz),
            "zstd" => Ok(Self::Zstd),
            _ => Err(OptionError::Algorithm(text.to_owned())),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// A compression and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    algorithm: Algorithm,
    level: Option<u8>,
}

impl Compression {
    /// An algorithm with the level that pays: for gzip the fastest whose
    /// images are no larger than those of mksquashfs's level 9
    /// (docs/squashfs.md has the measurements), mksquashfs's own for the
    /// others.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            level: None,
        }
    }

    /// An algorithm with a level of its own: libdeflate's 1 to 12 for gzip, 0
    /// to 9 for xz, 1 to 22 for zstd.
    pub fn with_level(algorithm: Algorithm, level: u8) -> Result<Self, OptionError> {
        let (min, max) = algorithm.levels();
        if (min..=max).contains(&level) {
            let level = Some(level);
            return Ok(Self { algorithm, level });
        }
        Err(OptionError::Level {
            algorithm,
            level,
            min,
            max,
        })
    }

    /// The algorithm.
    pub fn algorithm(self) -> Algorithm {
        self.algorithm
    }

    /// The level, if it was chosen.
    pub fn level(self) -> Option<u8> {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["", "4095", "2048", "8388608", "128K", "-4096", "12288"] {
            assert_eq!(
                text.parse::<BlockSize>(),
                Err(OptionError::BlockSize(text.to_owned())),
                "{text}"
            );
        }
        for text in ["lzo", "GZIP", ""] {
            assert!(text.parse::<Algorithm>().is_err(), "{text}");
        }
        for (name, level, possible) in [
            ("gzip", 0, false),
            ("gzip", 12, true),
            ("gzip", 13, false),
            ("xz", 0, true),
            ("xz", 10, false),
            ("zstd", 0, false),
            ("zstd", 22, true),
            ("zstd", 23, false),
        ] {
            let got = Compression::with_level(name.parse().unwrap(), level);
            assert_eq!(got.is_ok(), possible, "{name} {level}");
        }
    }

    #[test]
    fn the_default_is_the_mirrors_way() {
        let options = PackOptions::default();
        assert_eq!(options.block_size.get(), 4096);
        assert_eq!(options.compression.algorithm(), Algorithm::Gzip);
        assert_eq!(options.time, 0);
    }
}
