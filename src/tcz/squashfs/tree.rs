//! The second part of an image: inodes, directories, and the lists that
//! number owners, fragments and exported inodes.

use std::cell::RefCell;
use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};

use super::data::{Data, StoredFile};
use super::format::{HEADER_ENTRIES, IDS_MAX, METADATA_SIZE, NAME_MAX, NONE_32, Reference, inode_type};
use super::metadata::{List, Stream};
use super::options::PackOptions;
use super::{Counts, PackError};
use crate::stage::{Kind, Node, Owner, Stage, TreePath};

/// The tables of an image, compressed.
pub(super) struct Tables {
    pub(super) inodes: Vec<u8>,
    pub(super) directories: Vec<u8>,
    pub(super) fragments: List,
    pub(super) export: List,
    pub(super) ids: List,
    pub(super) id_count: u16,
    pub(super) root: Reference,
    pub(super) counts: Counts,
}

impl Tables {
    pub(super) fn of(stage: &Stage, data: &Data, options: &PackOptions) -> Result<Self, PackError> {
        let tree = Tree::of(stage)?;
        let ids = Ids::of(stage)?;
        let compressor = RefCell::new(options.compression.compressor(options.block_size)?);
        let mut writer = Writer {
            tree: &tree,
            data,
            ids: &ids,
            time: options.time,
            inodes: Stream::new(&compressor),
            listings: Stream::new(&compressor),
            references: vec![Reference::default(); tree.entries.len()],
        };
        writer.write_all()?;
        let (inodes, directories) = (writer.inodes.finish()?, writer.listings.finish()?);
        let references = writer.references;
        let mut by_number = vec![Reference::default(); tree.inodes as usize];
        for (entry, reference) in tree.entries.iter().zip(&references) {
            by_number[entry.number as usize - 1] = *reference;
        }
        let export = by_number
            .iter()
            .flat_map(|reference| reference.packed().to_le_bytes());
        let fragments = data.fragments.iter().flat_map(|fragment| {
            let unused = [0; 4];
            [
                &fragment.start.to_le_bytes()[..],
                &fragment.size.to_le_bytes(),
                &unused,
            ]
            .concat()
        });
        let id_bytes = ids.0.iter().flat_map(|id| id.to_le_bytes());
        Ok(Self {
            inodes,
            directories,
            fragments: List::new(fragments, &compressor)?,
            export: List::new(export, &compressor)?,
            ids: List::new(id_bytes, &compressor)?,
            id_count: ids.0.len() as u16,
            root: references[0],
            counts: tree.counts(),
        })
    }
}

/// The numbers that are used as owners, sorted: inodes name them by index.
struct Ids(Vec<u32>);

impl Ids {
    fn of(stage: &Stage) -> Result<Self, PackError> {
        let ids: BTreeSet<u32> = stage
            .iter()
            .flat_map(|(_, node)| [node.owner.uid, node.owner.gid])
            .collect();
        if ids.len() > IDS_MAX {
            return Err(PackError::TooManyOwners);
        }
        Ok(Self(ids.into_iter().collect()))
    }

    fn index(&self, id: u32) -> u16 {
        self.0.partition_point(|other| *other < id) as u16
    }
}

/// A stage's tree with what inodes need to know of each other.
struct Tree<'a> {
    /// In the stage's order: the root first, directories before their content.
    entries: Vec<Entry<'a>>,
    /// The number of inodes.
    inodes: u32,
}

struct Entry<'a> {
    path: &'a TreePath,
    node: &'a Node,
    /// Indexes; the root's is its own.
    parent: usize,
    children: Vec<usize>,
    /// The entry whose inode this one is a further name of: a later one.
    link_of: Option<usize>,
    links: u32,
    /// The inode's number, from 1.
    number: u32,
}

impl<'a> Tree<'a> {
    fn of(stage: &'a Stage) -> Result<Self, PackError> {
        let mut tree = Self {
            entries: Vec::with_capacity(stage.len()),
            inodes: 0,
        };
        let mut above: Vec<usize> = Vec::new();
        for (path, node) in stage.iter() {
            tree.push(path, node, &mut above)?;
        }
        tree.link();
        tree.number()?;
        Ok(tree)
    }

    /// Adds the next path of the stage; `above` are the directories that the
    /// last one lies in.
    fn push(&mut self, path: &'a TreePath, node: &'a Node, above: &mut Vec<usize>) -> Result<(), PackError> {
        let len = path.file_name().unwrap_or_default().len();
        if len > NAME_MAX {
            return Err(PackError::NameTooLong {
                path: path.clone(),
                len,
            });
        }
        let index = self.entries.len();
        above.truncate(path.components().count());
        let parent = above.last().copied().unwrap_or(index);
        if parent != index {
            self.entries[parent].children.push(index);
            self.entries[parent].links += u32::from(node.is_dir());
        }
        above.push(index);
        self.entries.push(Entry {
            path,
            node,
            parent,
            children: Vec::new(),
            link_of: None,
            // A directory has its own name and its `.`.
            links: if node.is_dir() { 2 } else { 1 },
            number: 0,
        });
        Ok(())
    }

    /// Finds the hard links: the same content with the same mode and owner.
    /// Inodes are written from the last entry to the first, so the last of an
    /// inode's names stands for it.
    fn link(&mut self) {
        let mut inodes: HashMap<(usize, u16, Owner), usize> = HashMap::new();
        for index in (0..self.entries.len()).rev() {
            let node = self.entries[index].node;
            let Kind::File(content) = &node.kind else {
                continue;
            };
            match inodes.entry((content.identity(), node.mode, node.owner)) {
                MapEntry::Vacant(inode) => {
                    inode.insert(index);
                }
                MapEntry::Occupied(inode) => {
                    self.entries[index].link_of = Some(*inode.get());
                    self.entries[*inode.get()].links += 1;
                }
            }
        }
    }

    /// Numbers a directory's entries one after the other, so that one header
    /// in its listing serves many.
    fn number(&mut self) -> Result<(), PackError> {
        let mut next = 1..=u32::MAX - 1;
        let mut number = || next.next().ok_or(PackError::TooLarge("inodes"));
        self.entries[0].number = number()?;
        for directory in 0..self.entries.len() {
            for child in self.entries[directory].children.clone() {
                if self.entries[child].link_of.is_none() {
                    self.entries[child].number = number()?;
                }
            }
        }
        self.inodes = number()? - 1;
        for index in 0..self.entries.len() {
            if let Some(inode) = self.entries[index].link_of {
                self.entries[index].number = self.entries[inode].number;
            }
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts {
            inodes: self.inodes,
            ..Counts::default()
        };
        for entry in &self.entries {
            *match entry.node.kind {
                Kind::Directory => &mut counts.directories,
                Kind::File(_) => &mut counts.files,
                Kind::Symlink(_) => &mut counts.symlinks,
            } += 1;
        }
        counts
    }
}

/// Where a directory's listing is.
struct Listing {
    start: Reference,
    len: usize,
    index: Vec<ListingIndex>,
}

/// Where in a listing's blocks a header begins: lets the kernel find a name
/// in a large directory without reading all of it.
struct ListingIndex {
    /// From the listing's start, uncompressed.
    offset: u32,
    /// The block's compressed offset in the table.
    block: u32,
    /// The first name behind the header.
    name: Vec<u8>,
}

struct Writer<'a> {
    tree: &'a Tree<'a>,
    data: &'a Data,
    ids: &'a Ids,
    time: u32,
    inodes: Stream<'a>,
    listings: Stream<'a>,
    /// Where each entry's inode is, once it is written.
    references: Vec<Reference>,
}

impl Writer<'_> {
    /// Writes from the last entry to the first: what is in a directory comes
    /// before the directory, whose listing says where it is.
    fn write_all(&mut self) -> Result<(), PackError> {
        let tree = self.tree;
        for (index, entry) in tree.entries.iter().enumerate().rev() {
            if let Some(inode) = entry.link_of {
                self.references[index] = self.references[inode];
                continue;
            }
            let inode = match &entry.node.kind {
                Kind::Directory => self.directory(index)?,
                Kind::Symlink(target) => self.symlink(entry, target),
                Kind::File(content) => {
                    let file = self.data.stored(content);
                    self.file(entry, file.ok_or(PackError::TooLarge("files"))?)?
                }
            };
            self.references[index] = self.inodes.position()?;
            self.inodes.write(&inode)?;
        }
        Ok(())
    }

    /// What every inode begins with.
    fn header(&self, entry: &Entry, inode_type: u16) -> Vec<u8> {
        let mut inode = Vec::with_capacity(64);
        let Owner { uid, gid } = entry.node.owner;
        for field in [
            inode_type,
            entry.node.mode,
            self.ids.index(uid),
            self.ids.index(gid),
        ] {
            inode.extend(field.to_le_bytes());
        }
        push_32(&mut inode, [self.time, entry.number]);
        inode
    }

    fn symlink(&self, entry: &Entry, target: &[u8]) -> Vec<u8> {
        let mut inode = self.header(entry, inode_type::SYMLINK);
        push_32(&mut inode, [entry.links, target.len() as u32]);
        inode.extend_from_slice(target);
        inode
    }

    fn file(&self, entry: &Entry, file: &StoredFile) -> Result<Vec<u8>, PackError> {
        let (fragment, offset) = file.fragment.unwrap_or((NONE_32, 0));
        let short = (u32::try_from(file.start), u32::try_from(file.len));
        let mut inode = match short {
            (Ok(start), Ok(len)) if entry.links == 1 && file.holes == 0 => {
                let mut inode = self.header(entry, inode_type::FILE);
                push_32(&mut inode, [start, fragment, offset, len]);
                inode
            }
            _ => {
                let mut inode = self.header(entry, inode_type::EXTENDED_FILE);
                for field in [file.start, file.len, file.holes] {
                    inode.extend(field.to_le_bytes());
                }
                let no_xattrs = NONE_32;
                push_32(&mut inode, [entry.links, fragment, offset, no_xattrs]);
                inode
            }
        };
        inode.reserve(4 * file.blocks.len());
        inode.extend(file.blocks.iter().flat_map(|size| size.to_le_bytes()));
        Ok(inode)
    }

    fn directory(&mut self, index: usize) -> Result<Vec<u8>, PackError> {
        let entry = &self.tree.entries[index];
        let listing = self.listing(&entry.children)?;
        // The root's parent is a number that no inode has, as in mksquashfs.
        let parent = match entry.parent {
            parent if parent == index => self.tree.inodes + 1,
            parent => self.tree.entries[parent].number,
        };
        // Readers count the entries `.` and `..`, which are not stored, as 3.
        let len = u32::try_from(listing.len + 3).map_err(|_| PackError::TooLarge("names"))?;
        let Reference { block, offset } = listing.start;
        if let (Ok(len), true) = (u16::try_from(len), listing.index.is_empty()) {
            let mut inode = self.header(entry, inode_type::DIRECTORY);
            push_32(&mut inode, [block, entry.links]);
            push_16(&mut inode, [len, offset]);
            push_32(&mut inode, [parent]);
            return Ok(inode);
        }
        let mut inode = self.header(entry, inode_type::EXTENDED_DIRECTORY);
        push_32(&mut inode, [entry.links, len, block, parent]);
        let count = u16::try_from(listing.index.len()).map_err(|_| PackError::TooLarge("names"))?;
        push_16(&mut inode, [count, offset]);
        push_32(&mut inode, [NONE_32]);
        for index in listing.index {
            push_32(
                &mut inode,
                [index.offset, index.block, index.name.len() as u32 - 1],
            );
            inode.extend(index.name);
        }
        Ok(inode)
    }

    /// Writes a directory's entries, in runs that share a header.
    fn listing(&mut self, children: &[usize]) -> Result<Listing, PackError> {
        let start = self.listings.position()?;
        let begin = self.listings.len();
        let mut index = Vec::new();
        let mut block = begin / METADATA_SIZE;
        let mut rest = children;
        while let Some(first) = rest.first() {
            let at = self.listings.len();
            if at / METADATA_SIZE != block {
                block = at / METADATA_SIZE;
                index.push(ListingIndex {
                    offset: u32::try_from(at - begin).map_err(|_| PackError::TooLarge("names"))?,
                    block: self.listings.block_start(block)?,
                    name: self.name(*first).to_owned(),
                });
            }
            let (run, later) = rest.split_at(self.run(rest));
            self.write_run(run)?;
            rest = later;
        }
        let len = self.listings.len() - begin;
        if len <= METADATA_SIZE {
            index.clear();
        }
        Ok(Listing { start, len, index })
    }

    fn name(&self, index: usize) -> &[u8] {
        self.tree.entries[index].path.file_name().unwrap_or_default()
    }

    /// How many of these entries can share a header: their inodes lie in one
    /// block, their numbers are near the first one's, and the next header
    /// comes no later than in the next block.
    fn run(&self, children: &[usize]) -> usize {
        let first = children[0];
        let number = |index: usize| i64::from(self.tree.entries[index].number);
        let mut left = METADATA_SIZE - self.listings.len() % METADATA_SIZE;
        let mut fits = |index: usize| {
            let near = i16::try_from(number(index) - number(first)).is_ok();
            let fits = near && left > 0 && self.references[index].block == self.references[first].block;
            left = left.saturating_sub(ENTRY_SIZE + self.name(index).len());
            fits
        };
        let longest = children.iter().take(HEADER_ENTRIES);
        longest.take_while(|index| fits(**index)).count()
    }

    fn write_run(&mut self, run: &[usize]) -> Result<(), PackError> {
        let first = run[0];
        let number = self.tree.entries[first].number;
        let mut bytes = Vec::new();
        push_32(
            &mut bytes,
            [run.len() as u32 - 1, self.references[first].block, number],
        );
        for index in run {
            let entry = &self.tree.entries[*index];
            let inode_type = match entry.node.kind {
                Kind::Directory => inode_type::DIRECTORY,
                Kind::File(_) => inode_type::FILE,
                Kind::Symlink(_) => inode_type::SYMLINK,
            };
            let name = self.name(*index);
            // The difference of the numbers is signed; `run` sees to its size.
            let difference = entry.number.wrapping_sub(number) as u16;
            push_16(
                &mut bytes,
                [
                    self.references[*index].offset,
                    difference,
                    inode_type,
                    name.len() as u16 - 1,
                ],
            );
            bytes.extend_from_slice(name);
        }
        self.listings.write(&bytes)
    }
}

/// Bytes of a directory entry besides its name.
const ENTRY_SIZE: usize = 8;

fn push_16<const N: usize>(bytes: &mut Vec<u8>, fields: [u16; N]) {
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
}

fn push_32<const N: usize>(bytes: &mut Vec<u8>, fields: [u32; N]) {
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
}
