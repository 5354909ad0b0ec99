//! Blocks go out to compressing threads in batches, and come back in order.

use std::collections::VecDeque;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::PackError;
use super::compress::{CompressError, Compressor};
use super::format::DATA_RAW;
use super::options::PackOptions;

/// Input bytes that one batch holds, if blocks are not larger: enough that
/// handing it over costs nothing beside compressing it.
const BATCH: usize = 128 * 1024;
/// What compressors and batches may take together. With the code and the
/// tables this stays under 64 MiB; only machines with many processors have to
/// use fewer of them for it.
const MEMORY: usize = 40 * 1024 * 1024;
/// Batches for each thread: one under way, one waiting to be taken, one
/// finished and waiting for its turn.
const BATCHES: usize = 3;

/// Whose block it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The next block of this file.
    File(usize),
    /// This fragment.
    Fragment(usize),
}

/// One block of a batch.
pub(super) struct Block {
    pub(super) target: Target,
    /// Bytes before compression.
    pub(super) len: usize,
    /// The size as the image's tables say it, once it is compressed: 0 is a
    /// hole, [`DATA_RAW`] marks what is stored as it is.
    pub(super) size: u32,
}

/// Blocks on their way: first their content, then also the result.
pub(super) struct Batch {
    /// As long as a batch can be, so that it is not cleared before it is
    /// filled again.
    input: Box<[u8]>,
    filled: usize,
    pub(super) output: Vec<u8>,
    pub(super) blocks: Vec<Block>,
}

impl Batch {
    fn new(len: usize) -> Self {
        Self {
            input: vec![0; len].into(),
            filled: 0,
            output: Vec::with_capacity(len),
            blocks: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.output.clear();
        self.blocks.clear();
    }

    /// The part of the input that is not filled yet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.input[self.filled..]
    }

    /// Adds the first `len` bytes of the room, as blocks.
    pub(super) fn push(&mut self, target: Target, len: usize, block_size: usize) {
        let new = &self.input[self.filled..self.filled + len];
        self.blocks.extend(new.chunks(block_size).map(|block| Block {
            target,
            len: block.len(),
            size: 0,
        }));
        self.filled += len;
    }

    fn compress(&mut self, compressor: &mut Compressor) -> Result<(), CompressError> {
        let mut rest = &self.input[..self.filled];
        for block in &mut self.blocks {
            let (content, later) = rest.split_at(block.len);
            rest = later;
            if matches!(block.target, Target::File(_)) && is_zero(content) {
                continue;
            }
            let stored = compressor.append(content, &mut self.output)?;
            block.size = stored.len as u32 | if stored.raw { DATA_RAW } else { 0 };
        }
        Ok(())
    }
}

/// Whether there is nothing but zeros: the first is, and each is as the one
/// before it.
fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [0, rest @ ..] => rest == &bytes[..bytes.len() - 1],
        _ => false,
    }
}

type Done = Result<Batch, CompressError>;

/// The near end of the pipeline.
pub(super) struct Pipeline {
    jobs: Sender<(Batch, Sender<Done>)>,
    in_flight: VecDeque<Receiver<Done>>,
    limit: usize,
    spare: Vec<Batch>,
    /// Input bytes that a batch can hold; a multiple of the block size.
    batch_len: usize,
}

/// Runs `work` with a pipeline for about `content` bytes, and ends the
/// pipeline's threads after it.
pub(super) fn run<T>(
    options: &PackOptions,
    content: u64,
    work: impl FnOnce(Pipeline) -> Result<T, PackError>,
) -> Result<T, PackError> {
    let block_len = options.block_size.len();
    // What is small is cut smaller, so that every thread has work.
    let share = usize::try_from(content).unwrap_or(usize::MAX) / (BATCHES * options.threads.get());
    let batch_len = share.min(BATCH).max(block_len).next_multiple_of(block_len);
    let each = options.compression.memory(options.block_size) + BATCHES * 2 * batch_len;
    let batches = usize::try_from(content).unwrap_or(usize::MAX).div_ceil(batch_len);
    let threads = options.threads.get().min(MEMORY / each).min(batches).max(1);
    let limit = BATCHES * threads;
    let (jobs, queue) = bounded::<(Batch, Sender<Done>)>(limit);
    thread::scope(|scope| {
        for _ in 0..threads {
            let queue = queue.clone();
            scope.spawn(move || compress_all(&queue, options));
        }
        drop(queue);
        work(Pipeline {
            jobs,
            in_flight: VecDeque::with_capacity(limit),
            limit,
            spare: Vec::new(),
            batch_len,
        })
    })
}

fn compress_all(queue: &Receiver<(Batch, Sender<Done>)>, options: &PackOptions) {
    let mut compressor = None;
    for (mut batch, reply) in queue {
        let mut compress = || {
            let compressor = match &mut compressor {
                Some(compressor) => compressor,
                None => compressor.insert(options.compression.compressor(options.block_size)?),
            };
            batch.compress(compressor)
        };
        // Nobody waits for the reply if the work has failed elsewhere.
        let _ = reply.send(compress().map(|()| batch));
    }
}

impl Pipeline {
    /// An empty batch.
    pub(super) fn batch(&mut self) -> Batch {
        let len = self.batch_len;
        self.spare.pop().unwrap_or_else(|| Batch::new(len))
    }

    /// Takes back a batch that is done with.
    pub(super) fn recycle(&mut self, mut batch: Batch) {
        batch.clear();
        self.spare.push(batch);
    }

    /// Hands over a batch.
    pub(super) fn submit(&mut self, batch: Batch) -> Result<(), PackError> {
        let (reply, done) = bounded(1);
        self.jobs
            .send((batch, reply))
            .map_err(|_| CompressError::Thread)?;
        self.in_flight.push_back(done);
        Ok(())
    }

    /// Whether no more may be submitted before [`Pipeline::next`].
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() >= self.limit
    }

    /// The oldest batch under way, compressed; waits for it.
    pub(super) fn next(&mut self) -> Option<Result<Batch, PackError>> {
        let done = self.in_flight.pop_front()?;
        let batch = done
            .recv()
            .map_err(|_| CompressError::Thread)
            .and_then(|done| done);
        Some(batch.map_err(PackError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_seen() {
        for (bytes, zero) in [
            (&[0][..], true),
            (&[1], false),
            (&[], false),
            (&[0; 4096], true),
            (&[0, 0, 0, 1], false),
            (&[0, 1, 0, 0], false),
        ] {
            assert_eq!(is_zero(bytes), zero, "{}", bytes.len());
        }
    }
}
