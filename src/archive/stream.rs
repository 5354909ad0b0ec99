//! The way from the file to the bytes of its container: errors that keep their
//! meaning through `Read`, limits, and decompression.
//!
//! gzip, xz and zstd files may be several compressed streams one after the
//! other: RFC 1952 §2.2, the .xz format §2 and RFC 8878 §3 say so, parallel
//! compressors write them, and every decompressor reads them as one. So that is
//! allowed here as well. The loop over the streams is ours because the
//! libraries' own loops do not tell a second stream from rubbish. Zero bytes
//! behind an xz stream ("stream padding") are refused: nobody writes them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;

use super::error::{ArchiveError, Place};
use super::limits::Limits;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// What went wrong in a stream, on its way through [`io::Error`]. An error that
/// is not one of these comes from the spool.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("cannot read")]
    Input(#[source] io::Error),
    #[error("cut short")]
    Truncated,
    #[error("something behind {0}")]
    Trailing(&'static str),
    #[error("not {0}")]
    NotThisFormat(&'static str),
    #[error("damaged {0} data")]
    Corrupt(&'static str, #[source] io::Error),
    #[error("too much memory for {0}")]
    Memory(&'static str, u64),
    #[error("more than {0} bytes")]
    TooManyBytes(u64),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::other(error)
    }
}

/// Gives an error of a stream its meaning back.
pub(super) fn archive_error(error: io::Error, place: Place) -> ArchiveError {
    match error.downcast::<StreamError>() {
        Ok(StreamError::Input(source)) => ArchiveError::Read { source },
        Ok(StreamError::Truncated) => ArchiveError::Truncated { place },
        Ok(StreamError::Trailing(end)) => ArchiveError::Trailing { end, place },
        Ok(StreamError::NotThisFormat(expected)) => ArchiveError::NotThisFormat { expected },
        Ok(StreamError::Corrupt(format, source)) => ArchiveError::Corrupt {
            format,
            place,
            source,
        },
        Ok(StreamError::Memory(format, limit)) => ArchiveError::TooMuchMemory { format, limit },
        Ok(StreamError::TooManyBytes(limit)) => ArchiveError::TooManyBytes { place, limit },
        Err(source) => ArchiveError::Spool { place, source },
    }
}

pub(super) fn is_tagged(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<StreamError>())
}

/// The file: its errors are marked as its own, interruptions are gone.
pub(super) struct Source<R>(pub(super) R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StreamError::Input(error).into()),
                Ok(n) => return Ok(n),
            }
        }
    }
}

impl<R: io::Seek> io::Seek for Source<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to).map_err(|error| StreamError::Input(error).into())
    }
}

/// Gives exactly `left` bytes: a stream that ends before is cut short.
pub(super) struct Exact<'a, R: ?Sized> {
    inner: &'a mut R,
    left: u64,
}

impl<'a, R: Read + ?Sized> Exact<'a, R> {
    pub(super) fn new(inner: &'a mut R, left: u64) -> Self {
        Self { inner, left }
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Reads what is left, and forgets it.
    pub(super) fn skip(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl<R: Read + ?Sized> Read for Exact<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..want])?;
        if n == 0 {
            return Err(StreamError::Truncated.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Fills the buffer as far as the stream goes; the number of bytes.
pub(super) fn fill<R: Read + ?Sized>(input: &mut R, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Lets no more than a number of bytes through: what stops a bomb.
pub(super) struct Metered<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Metered<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            limit,
            left: limit,
        }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => return Err(StreamError::TooManyBytes(self.limit).into()),
        }
        Ok(n)
    }
}

/// The decompressed, metered bytes of a stream.
pub(super) fn decompress<'a>(
    input: impl Read + 'a,
    compression: Compression,
    limits: &Limits,
) -> Box<dyn Read + 'a> {
    let input = BufReader::with_capacity(64 * 1024, input);
    let codec = match compression {
        Compression::None => return Box::new(Metered::new(input, limits.total_bytes)),
        Compression::Gzip => Codec::GZIP,
        Compression::Xz => Codec::XZ,
        Compression::Zstd => Codec::ZSTD,
    };
    let streams = Streams {
        state: State::Between(input),
        codec,
        memory: limits.decoder_memory,
        any: false,
    };
    Box::new(Metered::new(streams, limits.total_bytes))
}

/// What is particular to a compression.
#[derive(Clone, Copy)]
struct Codec {
    kind: Compression,
    name: &'static str,
    is: &'static str,
    end: &'static str,
    /// Whether a byte can begin a stream. One is enough: what goes on wrongly
    /// is damaged.
    begins: fn(u8) -> bool,
}

impl Codec {
    const GZIP: Self = Self {
        kind: Compression::Gzip,
        name: "gzip",
        is: "gzip data",
        end: "the end of the gzip data",
        begins: |byte| byte == 0x1f,
    };
    const XZ: Self = Self {
        kind: Compression::Xz,
        name: "xz",
        is: "xz data",
        end: "the end of the xz data",
        begins: |byte| byte == 0xfd,
    };
    const ZSTD: Self = Self {
        kind: Compression::Zstd,
        name: "zstd",
        is: "zstd data",
        end: "the end of the zstd data",
        // A frame, or a skippable one (pzstd writes those).
        begins: |byte| byte == 0x28 || byte & 0xf0 == 0x50,
    };

    fn decoder<R: BufRead>(self, input: R, memory: u64) -> io::Result<Decoder<R>> {
        Ok(match self.kind {
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(memory, 0)?;
                Decoder::Xz(XzDecoder::new_stream(input, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
                // Window sizes are powers of two, 2^10 the smallest.
                decoder.window_log_max(memory.max(1 << 10).ilog2().min(31))?;
                Decoder::Zstd(decoder)
            }
            Compression::Gzip | Compression::None => Decoder::Gzip(GzDecoder::new(input)),
        })
    }

    /// What a library's error means.
    fn error(self, error: io::Error, memory: u64) -> io::Error {
        if is_tagged(&error) {
            return error;
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return StreamError::Truncated.into();
        }
        let xz = error.get_ref().and_then(|inner| inner.downcast_ref());
        if matches!(xz, Some(liblzma::stream::Error::MemLimit))
            || (self.kind == Compression::Zstd && error.to_string().contains("too much memory"))
        {
            return StreamError::Memory(self.name, memory).into();
        }
        StreamError::Corrupt(self.name, error).into()
    }
}

enum Decoder<R: BufRead> {
    Gzip(GzDecoder<R>),
    Xz(XzDecoder<R>),
    Zstd(zstd::Decoder<'static, R>),
}

impl<R: BufRead> Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Xz(decoder) => decoder.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
        }
    }

    fn into_input(self) -> R {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

enum State<R: BufRead> {
    Between(R),
    In(Box<Decoder<R>>),
    End,
}

/// Compressed streams one after the other, read as one.
struct Streams<R: BufRead> {
    state: State<R>,
    codec: Codec,
    memory: u64,
    any: bool,
}

impl<R: BufRead> Streams<R> {
    /// The next state where a stream may begin.
    fn begin(&mut self, mut input: R) -> io::Result<State<R>> {
        match (input.fill_buf()?.first(), self.any) {
            (None, true) => return Ok(State::End),
            (None, false) => return Err(StreamError::Truncated.into()),
            (Some(byte), _) if (self.codec.begins)(*byte) => {}
            (Some(_), true) => return Err(StreamError::Trailing(self.codec.end).into()),
            (Some(_), false) => return Err(StreamError::NotThisFormat(self.codec.is).into()),
        }
        self.any = true;
        let decoder = self.codec.decoder(input, self.memory)?;
        Ok(State::In(Box::new(decoder)))
    }
}

impl<R: BufRead> Read for Streams<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            // An error leaves the stream ended.
            match std::mem::replace(&mut self.state, State::End) {
                State::End => return Ok(0),
                State::Between(input) => self.state = self.begin(input)?,
                State::In(mut decoder) => {
                    let read = decoder.read(buf);
                    match read.map_err(|error| self.codec.error(error, self.memory))? {
                        0 => self.state = State::Between(decoder.into_input()),
                        n => {
                            self.state = State::In(decoder);
                            return Ok(n);
                        }
                    }
                }
            }
        }
    }
}
