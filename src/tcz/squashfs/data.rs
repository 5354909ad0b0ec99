//! The first part of an image: what is in the files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use super::PackError;
use super::format::DATA_RAW;
use super::options::BlockSize;
use super::pipeline::{Batch, Pipeline, Target};
use crate::digest::{Sha256, Sha256Writer};
use crate::progress::Task;
use crate::stage::{Content, Kind, Stage, TreePath};

/// Where the contents are in the image.
#[derive(Default)]
pub(super) struct Data {
    /// Where the data ends.
    pub(super) end: u64,
    pub(super) fragments: Vec<FragmentBlock>,
    pub(super) duplicates: u32,
    pub(super) sums: BTreeMap<TreePath, Sha256>,
    stored: Vec<StoredFile>,
    /// Indexes of `stored`, by identity of the content.
    by_content: HashMap<usize, usize>,
}

/// A block that files smaller than one share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FragmentBlock {
    pub(super) start: u64,
    pub(super) size: u32,
}

/// A content in the image.
#[derive(Debug, Default)]
pub(super) struct StoredFile {
    pub(super) len: u64,
    pub(super) start: u64,
    /// The sizes of its blocks, as the image's tables say them.
    pub(super) blocks: Vec<u32>,
    /// The fragment that holds its end, and where in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Bytes in blocks that are nothing but zeros and not stored.
    pub(super) holes: u64,
    sum: Option<Sha256>,
}

impl Data {
    /// Where a content is; `None` for one that was not written.
    pub(super) fn stored(&self, content: &Content) -> Option<&StoredFile> {
        let index = self.by_content.get(&content.identity())?;
        self.stored.get(*index)
    }

    pub(super) fn blocks(&self) -> u64 {
        self.stored.iter().map(|file| file.blocks.len() as u64).sum()
    }
}

/// A content to be stored, and the path to name when that fails.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a TreePath,
    content: &'a Content,
}

impl Source<'_> {
    fn error(self, source: io::Error) -> PackError {
        PackError::Read {
            path: self.path.clone(),
            source,
        }
    }
}

/// Writes the contents of a stage's files, in the stage's order.
pub(super) struct DataWriter<'a> {
    stage: &'a Stage,
    out: &'a File,
    block_size: usize,
    pipeline: Pipeline,
    /// Blocks that are not handed over yet.
    batch: Batch,
    /// Small files that are not a fragment block yet.
    fragment: Vec<u8>,
    /// Sizes that more contents have than one: candidates for duplicates.
    shared_sizes: HashSet<u64>,
    by_sum: HashMap<Sha256, usize>,
    data: Data,
}

impl<'a> DataWriter<'a> {
    pub(super) fn new(
        stage: &'a Stage,
        out: &'a File,
        block_size: BlockSize,
        start: u64,
        mut pipeline: Pipeline,
    ) -> Self {
        Self {
            stage,
            out,
            block_size: block_size.len(),
            batch: pipeline.batch(),
            pipeline,
            fragment: Vec::new(),
            shared_sizes: shared_sizes(stage),
            by_sum: HashMap::new(),
            data: Data {
                end: start,
                ..Data::default()
            },
        }
    }

    pub(super) fn write_all(mut self, task: &dyn Task) -> Result<Data, PackError> {
        let mut position = 0;
        for (path, content) in files(self.stage) {
            let index = self.add(Source { path, content })?;
            if let Some(sum) = self.data.stored[index].sum {
                self.data.sums.insert(path.clone(), sum);
            }
            position += content.len();
            task.set_position(position);
        }
        self.flush_fragment(self.fragment.len())?;
        self.submit()?;
        while let Some(batch) = self.pipeline.next() {
            self.write_batch(batch?)?;
        }
        Ok(self.data)
    }

    /// Stores a content unless it is there, and gives its index.
    fn add(&mut self, source: Source<'_>) -> Result<usize, PackError> {
        let content = source.content;
        if let Some(index) = self.data.by_content.get(&content.identity()) {
            return Ok(*index);
        }
        let small = content.len() < self.block_size as u64;
        let known = match content.sha256() {
            None if !small && self.shared_sizes.contains(&content.len()) => Some(sum(source)?),
            known => known,
        };
        let there = known.and_then(|sum| self.by_sum.get(&sum).copied());
        let index = match there {
            Some(index) => self.duplicate(index),
            None if small => self.store_small(source, known)?,
            None => self.store_blocks(source, known)?,
        };
        self.data.by_content.insert(content.identity(), index);
        Ok(index)
    }

    fn duplicate(&mut self, index: usize) -> usize {
        // Empty files share nothing.
        self.data.duplicates += u32::from(self.data.stored[index].len > 0);
        index
    }

    fn store(&mut self, file: StoredFile) -> usize {
        let index = self.data.stored.len();
        if let Some(sum) = file.sum {
            self.by_sum.insert(sum, index);
        }
        self.data.stored.push(file);
        index
    }

    /// Stores a file smaller than a block in a fragment, with others. It is
    /// read right into the fragment, and taken out again if it is a duplicate.
    fn store_small(&mut self, source: Source<'_>, known: Option<Sha256>) -> Result<usize, PackError> {
        let mut start = self.fragment.len();
        let mut reader = source.content.open().map_err(|error| source.error(error))?;
        let len = reader
            .read_to_end(&mut self.fragment)
            .map_err(|error| source.error(error))?;
        let sum = known.unwrap_or_else(|| Sha256::of(&self.fragment[start..]));
        if let Some(index) = self.by_sum.get(&sum).copied() {
            self.fragment.truncate(start);
            return Ok(self.duplicate(index));
        }
        if self.fragment.len() > self.block_size {
            self.flush_fragment(start)?;
            start = 0;
        }
        let index = u32::try_from(self.data.fragments.len()).map_err(|_| PackError::TooLarge("files"))?;
        Ok(self.store(StoredFile {
            len: len as u64,
            fragment: (len > 0).then_some((index, start as u32)),
            sum: Some(sum),
            ..StoredFile::default()
        }))
    }

    /// Makes a block of the first `len` bytes of the fragment.
    fn flush_fragment(&mut self, len: usize) -> Result<(), PackError> {
        if len == 0 {
            return Ok(());
        }
        if self.batch.room().len() < len {
            self.submit()?;
        }
        let target = Target::Fragment(self.data.fragments.len());
        self.data.fragments.push(FragmentBlock::default());
        self.batch.room()[..len].copy_from_slice(&self.fragment[..len]);
        self.fragment.drain(..len);
        self.batch.push(target, len, self.block_size);
        Ok(())
    }

    /// Stores a file of a block or more, as blocks.
    fn store_blocks(&mut self, source: Source<'_>, known: Option<Sha256>) -> Result<usize, PackError> {
        let content = source.content;
        let index = self.store(StoredFile {
            len: content.len(),
            blocks: Vec::with_capacity(content.len().div_ceil(self.block_size as u64) as usize),
            ..StoredFile::default()
        });
        let mut reader = content.open().map_err(|error| source.error(error))?;
        // What was staged with its sum is compared when the image is verified.
        let mut hasher = content.sha256().is_none().then(|| Sha256Writer::new(io::sink()));
        let mut left = content.len();
        while left > 0 {
            let new = self.make_room(left)?;
            reader.read_exact(new).map_err(|error| source.error(error))?;
            if let Some(hasher) = &mut hasher {
                hasher.write_all(new).map_err(|error| source.error(error))?;
            }
            let len = new.len();
            self.batch.push(Target::File(index), len, self.block_size);
            left -= len as u64;
        }
        // The reader says here if the file has become longer.
        reader.read(&mut [0]).map_err(|error| source.error(error))?;
        let sum = hasher.map(|hasher| hasher.finish().0).or(known);
        if known.is_some() && sum != known {
            return Err(PackError::Changed {
                path: source.path.clone(),
            });
        }
        self.data.stored[index].sum = sum;
        self.by_sum.extend(sum.map(|sum| (sum, index)));
        Ok(index)
    }

    /// Room in the batch for `left` bytes of a file, or for as many whole blocks
    /// as it can take.
    fn make_room(&mut self, left: u64) -> Result<&mut [u8], PackError> {
        if self.batch.room().len() < self.block_size {
            self.submit()?;
        }
        let room = self.batch.room();
        let whole = room.len() - room.len() % self.block_size;
        let len = usize::try_from(left).unwrap_or(whole).min(whole);
        Ok(&mut room[..len])
    }

    /// Hands the batch over, and writes what is finished when the pipeline is
    /// full.
    fn submit(&mut self) -> Result<(), PackError> {
        if self.pipeline.is_full()
            && let Some(done) = self.pipeline.next()
        {
            self.write_batch(done?)?;
        }
        let next = self.pipeline.batch();
        self.pipeline.submit(std::mem::replace(&mut self.batch, next))
    }

    fn write_batch(&mut self, batch: Batch) -> Result<(), PackError> {
        self.out
            .write_all_at(&batch.output, self.data.end)
            .map_err(PackError::Write)?;
        for block in &batch.blocks {
            match block.target {
                Target::File(index) => {
                    let file = &mut self.data.stored[index];
                    if file.blocks.is_empty() {
                        file.start = self.data.end;
                    }
                    file.blocks.push(block.size);
                    file.holes += if block.size == 0 { block.len as u64 } else { 0 };
                }
                Target::Fragment(index) => {
                    self.data.fragments[index] = FragmentBlock {
                        start: self.data.end,
                        size: block.size,
                    }
                }
            }
            self.data.end += u64::from(block.size & !DATA_RAW);
        }
        self.pipeline.recycle(batch);
        Ok(())
    }
}

/// The sum of a content, by a reading of its own.
fn sum(source: Source<'_>) -> Result<Sha256, PackError> {
    let sum = source
        .content
        .open()
        .and_then(|mut reader| Sha256::of_reader(&mut reader));
    Ok(sum.map_err(|error| source.error(error))?.0)
}

fn files(stage: &Stage) -> impl Iterator<Item = (&TreePath, &Content)> {
    stage.iter().filter_map(|(path, node)| match &node.kind {
        Kind::File(content) => Some((path, content)),
        _ => None,
    })
}

/// The sizes that more than one content has; hard links are one content.
fn shared_sizes(stage: &Stage) -> HashSet<u64> {
    let mut identities = HashSet::new();
    let mut sizes = HashSet::new();
    files(stage)
        .filter(|(_, content)| identities.insert(content.identity()))
        .map(|(_, content)| content.len())
        .filter(|len| !sizes.insert(*len))
        .collect()
}
