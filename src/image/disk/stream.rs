//! Writes a disk from its pieces, once, while another thread sums what is written.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::{BLOCK, DiskError, DiskFile};
use crate::digest::{Sha256, Sha256Writer};
use crate::stage::Content;

/// Bytes that are read at once, and how many such buffers are under way.
const BUFFER: usize = 256 * 1024;
const BUFFERS: usize = 8;

/// What stands at a block of the disk.
pub(super) struct Piece<'a> {
    block: u64,
    what: What<'a>,
}

enum What<'a> {
    Bytes(Vec<u8>),
    File(&'a DiskFile),
}

impl<'a> Piece<'a> {
    pub(super) fn bytes(block: u64, bytes: Vec<u8>) -> Self {
        Self {
            block,
            what: What::Bytes(bytes),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.what {
            What::Bytes(bytes) => bytes.is_empty(),
            What::File(file) => file.len() == 0,
        }
    }

    pub(super) fn file(block: u64, file: &'a DiskFile) -> Self {
        Self {
            block,
            what: What::File(file),
        }
    }
}

/// What is summed.
enum Summed<'a> {
    /// Bytes of the disk alone.
    Bytes(Vec<u8>),
    /// Bytes of the part of a file that is being written.
    OfFile(Vec<u8>),
    /// That part of a file is written: its path, and what its sum is to be.
    End(&'a str, Sha256),
}

/// Writes pieces, with zeros between them, and zeros up to the size in blocks. The
/// size in bytes, and the sum.
pub(super) fn write(
    mut pieces: Vec<Piece<'_>>,
    size: u64,
    out: &mut File,
) -> Result<(u64, Sha256), DiskError> {
    // A file without bytes has the block of whatever comes next.
    pieces.sort_by_key(|piece| (piece.block, !piece.is_empty()));
    thread::scope(|scope| {
        let (sums, summed) = mpsc::sync_channel(BUFFERS);
        let (free, buffers) = mpsc::channel();
        let summing = scope.spawn(move || sum(&summed, |buffer| drop(free.send(buffer))));
        let mut writer = Writer {
            out,
            at: 0,
            sums,
            buffers,
        };
        let written = pieces.iter().try_for_each(|piece| writer.piece(piece));
        let written = written.and_then(|()| writer.zeros(size * BLOCK));
        drop(writer);
        let sum = match summing.join() {
            Ok(sum) => sum?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        written?;
        Ok((size * BLOCK, sum))
    })
}

/// Sums everything, and each part of a file, which it compares.
fn sum(summed: &Receiver<Summed<'_>>, free: impl Fn(Vec<u8>)) -> Result<Sha256, DiskError> {
    let mut disk = Sha256Writer::new(io::sink());
    let mut file = Sha256Writer::new(io::sink());
    // Writing to a sink does not fail.
    for next in summed {
        match next {
            Summed::Bytes(bytes) => disk.write_all(&bytes).map_err(DiskError::Write)?,
            Summed::OfFile(bytes) => {
                disk.write_all(&bytes).map_err(DiskError::Write)?;
                file.write_all(&bytes).map_err(DiskError::Write)?;
                free(bytes);
            }
            Summed::End(path, wanted) => {
                let whole = std::mem::replace(&mut file, Sha256Writer::new(io::sink()));
                let (found, ..) = whole.finish();
                if found != wanted {
                    let path = path.to_owned();
                    return Err(DiskError::Changed { path, wanted, found });
                }
            }
        }
    }
    Ok(disk.finish().0)
}

struct Writer<'a, 'b> {
    out: &'b mut File,
    at: u64,
    sums: SyncSender<Summed<'a>>,
    buffers: Receiver<Vec<u8>>,
}

impl<'a> Writer<'a, '_> {
    fn piece(&mut self, piece: &Piece<'a>) -> Result<(), DiskError> {
        self.zeros(piece.block * BLOCK)?;
        match &piece.what {
            What::Bytes(bytes) => self.put(bytes.clone(), Summed::Bytes),
            What::File(file) => {
                for (content, sum) in &file.parts {
                    self.content(content, &file.path)?;
                    self.tell(Summed::End(&file.path, *sum))?;
                }
                Ok(())
            }
        }
    }

    fn content(&mut self, content: &Content, path: &str) -> Result<(), DiskError> {
        let read = |source| DiskError::Read {
            path: path.to_owned(),
            source,
        };
        let mut reader = content.open().map_err(read)?;
        loop {
            let mut buffer = self.buffers.try_recv().unwrap_or_default();
            buffer.resize(BUFFER, 0);
            let count = match reader.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read(error)),
            };
            if count == 0 {
                return Ok(());
            }
            buffer.truncate(count);
            self.put(buffer, Summed::OfFile)?;
        }
    }

    fn put(&mut self, bytes: Vec<u8>, as_what: fn(Vec<u8>) -> Summed<'a>) -> Result<(), DiskError> {
        self.out.write_all(&bytes).map_err(DiskError::Write)?;
        self.at += bytes.len() as u64;
        self.tell(as_what(bytes))
    }

    /// Fails if nobody listens any more; why is what the other thread ended with.
    fn tell(&self, what: Summed<'a>) -> Result<(), DiskError> {
        let gone = |_| DiskError::Write(io::ErrorKind::BrokenPipe.into());
        self.sums.send(what).map_err(gone)
    }

    fn zeros(&mut self, until: u64) -> Result<(), DiskError> {
        match until.checked_sub(self.at) {
            Some(0) => Ok(()),
            Some(count) => self.put(vec![0; count as usize], Summed::Bytes),
            None => Err(DiskError::Write(io::Error::other(
                "two pieces of the disk overlap",
            ))),
        }
    }
}
