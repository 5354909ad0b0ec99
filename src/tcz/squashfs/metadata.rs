//! Metadata: streams of bytes cut into compressed blocks of 8192, and lists
//! of such blocks.

use std::cell::RefCell;

use super::PackError;
use super::compress::Compressor;
use super::format::{METADATA_RAW, METADATA_SIZE, Reference};

/// A stream of metadata, compressed as it grows. Several grow at once and
/// share a compressor.
pub(super) struct Stream<'c> {
    compressor: &'c RefCell<Compressor>,
    block: Vec<u8>,
    packed: Vec<u8>,
    /// Where each block begins in `packed`.
    starts: Vec<usize>,
}

impl<'c> Stream<'c> {
    pub(super) fn new(compressor: &'c RefCell<Compressor>) -> Self {
        Self {
            compressor,
            block: Vec::with_capacity(METADATA_SIZE),
            packed: Vec::new(),
            starts: vec![0],
        }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA_SIZE - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == METADATA_SIZE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> Result<Reference, PackError> {
        Ok(Reference {
            block: self.block_start(self.starts.len() - 1)?,
            offset: self.block.len() as u16,
        })
    }

    /// The number of bytes written, uncompressed.
    pub(super) fn len(&self) -> usize {
        (self.starts.len() - 1) * METADATA_SIZE + self.block.len()
    }

    /// The compressed offset of a block that is full, or of the current one.
    pub(super) fn block_start(&self, block: usize) -> Result<u32, PackError> {
        u32::try_from(self.starts[block]).map_err(|_| PackError::TooLarge("inodes or names"))
    }

    fn flush(&mut self) -> Result<(), PackError> {
        let at = self.packed.len();
        self.packed.extend([0; 2]);
        let mut compressor = self.compressor.borrow_mut();
        let stored = compressor.append(&self.block, &mut self.packed)?;
        let raw = if stored.raw { METADATA_RAW } else { 0 };
        self.packed[at..at + 2].copy_from_slice(&(stored.len as u16 | raw).to_le_bytes());
        self.block.clear();
        self.starts.push(self.packed.len());
        Ok(())
    }

    /// The blocks, each behind its size.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, PackError> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok(self.packed)
    }
}

/// Metadata blocks, and after them where each begins: how fragments, owners
/// and exported inodes are found.
pub(super) struct List {
    packed: Vec<u8>,
    starts: Vec<usize>,
}

impl List {
    pub(super) fn new(
        items: impl Iterator<Item = u8>,
        compressor: &RefCell<Compressor>,
    ) -> Result<Self, PackError> {
        let mut stream = Stream::new(compressor);
        stream.write(&items.collect::<Vec<_>>())?;
        let mut starts = stream.starts.clone();
        if stream.block.is_empty() {
            starts.pop();
        }
        Ok(Self {
            packed: stream.finish()?,
            starts,
        })
    }

    /// Appends blocks and index to `tail`, which begins at `base` in the
    /// image, and gives the index's place in the image.
    pub(super) fn append(&self, base: u64, tail: &mut Vec<u8>) -> u64 {
        let blocks = base + tail.len() as u64;
        tail.extend_from_slice(&self.packed);
        let index = base + tail.len() as u64;
        for start in &self.starts {
            tail.extend((blocks + *start as u64).to_le_bytes());
        }
        index
    }
}
