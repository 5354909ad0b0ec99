//! gzip with a header that says nothing of the machine or the moment.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// As `gzip` does unless told otherwise.
const LEVEL: u32 = 6;

/// Changes with the bytes that are made of the same input: with the library
/// (Cargo.lock has zlib-rs), or the level.
pub(super) const METHOD: &[u8] = b"zlib-rs 6";

/// Compresses what is written to it. No name, no time, no system in the header.
pub(in crate::image) struct Writer<W: Write>(GzEncoder<W>);

impl<W: Write> Writer<W> {
    pub(in crate::image) fn new(out: W) -> Self {
        Self(GzBuilder::new().write(out, Compression::new(LEVEL)))
    }

    pub(in crate::image) fn finish(self) -> io::Result<()> {
        self.0.finish()?.flush()
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
