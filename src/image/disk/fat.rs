//! The file system that UEFI reads: a FAT whose files may be files of the whole
//! disk, so that kernel and initrds are on it once.
//!
//! After Microsoft's "FAT: General Overview of On-Disk Format", 1.03. It is only
//! read, and so as large as what it holds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;

use super::BLOCK;

/// Bytes of a sector, by which the format counts.
const SECTOR: u64 = 512;
/// Bytes of an entry of a directory.
const ENTRY: usize = 32;
/// Entries of the top directory: a block of them.
const TOP_ENTRIES: u16 = 64;
/// Copies of the table: some firmware expects two.
const TABLES: u64 = 2;
/// The number of the first cluster.
const FIRST: u16 = 2;
/// With fewer clusters a table has 12 bits for each; with more it would have 32.
const SIXTEEN_BITS: std::ops::Range<u64> = 4085..65525;
/// The kind of disk: one that stays where it is.
const MEDIA: u8 = 0xf8;
/// Blocks that a cluster may have: at most 32 KiB.
const CLUSTERS: [u64; 5] = [1, 2, 4, 8, 16];
const END_OF_CHAIN: u16 = 0xffff;
const READ_ONLY: u8 = 0x01;
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
/// Characters in one entry of a long name, and where they are in it.
const LONG_PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Where everything lies. Blocks count from the beginning of the partition.
#[derive(Debug)]
pub(super) struct Fat {
    /// By path, files and directories; the top directory is not among them.
    nodes: BTreeMap<String, Node>,
    /// Blocks of a cluster.
    cluster: u64,
    /// How many there are.
    clusters: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    directory: bool,
    /// Its first cluster.
    first: u16,
    /// Bytes.
    len: u64,
}

/// What a partition says of itself.
pub(super) struct Label<'a> {
    /// At most eleven capital letters.
    pub(super) volume: &'a str,
    /// Any number.
    pub(super) serial: u32,
    /// From 1980 on.
    pub(super) time: DateTime,
    /// The sector of the disk where it begins.
    pub(super) begin: u32,
}

impl Fat {
    /// Lays out files, given by path and length, in their order, directories first;
    /// `None` if they are more than 2 GiB.
    pub(super) fn new(files: &[(&str, u64)]) -> Option<Self> {
        // As few blocks to a cluster as can be numbered.
        CLUSTERS
            .into_iter()
            .find_map(|cluster| Self::with_cluster(files, cluster))
    }

    fn with_cluster(files: &[(&str, u64)], cluster: u64) -> Option<Self> {
        let directories: BTreeSet<_> = files.iter().flat_map(|(path, _)| parents(path)).collect();
        let names = files
            .iter()
            .map(|(path, _)| *path)
            .chain(directories.iter().copied());
        let names: Vec<_> = names.collect();
        let sized = directories.iter().map(|path| {
            let entries: usize = children(&names, path).map(entries_of).sum();
            (*path, true, ((2 + entries) * ENTRY) as u64)
        });
        let (mut next, mut nodes) = (u64::from(FIRST), BTreeMap::new());
        for (path, directory, len) in sized.chain(files.iter().map(|(path, len)| (*path, false, *len))) {
            let count = len.div_ceil(cluster * BLOCK);
            // A file of no bytes has no cluster.
            let first = if count == 0 { 0 } else { next };
            next += count;
            let first = u16::try_from(first).ok()?;
            nodes.insert(
                path.to_owned(),
                Node {
                    directory,
                    first,
                    len,
                },
            );
        }
        let clusters = next - u64::from(FIRST);
        (clusters < SIXTEEN_BITS.end).then_some(Self {
            nodes,
            cluster,
            clusters,
        })
    }

    /// Its length.
    pub(super) fn blocks(&self) -> u64 {
        self.meta() + self.clusters * self.cluster
    }

    /// Where a file begins.
    pub(super) fn block_of(&self, path: &str) -> Option<u64> {
        Some(self.block(self.nodes.get(path)?))
    }

    fn block(&self, node: &Node) -> u64 {
        self.meta() + u64::from(node.first.saturating_sub(FIRST)) * self.cluster
    }

    /// Sectors of a table.
    fn table(&self) -> u64 {
        let bits = if self.is_wide() { 16 } else { 12 };
        ((self.clusters + u64::from(FIRST)) * bits).div_ceil(8 * SECTOR)
    }

    fn is_wide(&self) -> bool {
        self.clusters >= SIXTEEN_BITS.start
    }

    /// Blocks before the first cluster: the first sector, tables, and top directory.
    fn meta(&self) -> u64 {
        (SECTOR + TABLES * self.table() * SECTOR).div_ceil(BLOCK)
            + u64::from(TOP_ENTRIES) * ENTRY as u64 / BLOCK
    }

    /// All of it but the files: blocks, and what is written there.
    pub(super) fn write(&self, label: &Label<'_>) -> Vec<(u64, Vec<u8>)> {
        let mut start = self.first_sector(label);
        let reserved = self.reserved() * SECTOR;
        start.resize(reserved as usize, 0);
        let table = self.write_table();
        (0..TABLES).for_each(|_| start.extend(&table));
        start.extend(self.write_directory("", label));
        start.resize((self.meta() * BLOCK) as usize, 0);
        let directories = self.nodes.iter().filter(|(_, node)| node.directory);
        let directories =
            directories.map(|(path, node)| (self.block(node), self.write_directory(path, label)));
        [(0, start)].into_iter().chain(directories).collect()
    }

    /// Sectors before the tables: so many that clusters begin with a block.
    fn reserved(&self) -> u64 {
        let after = TABLES * self.table() + u64::from(TOP_ENTRIES) * ENTRY as u64 / SECTOR;
        self.meta() * BLOCK / SECTOR - after
    }

    fn first_sector(&self, label: &Label<'_>) -> Vec<u8> {
        let sectors = self.blocks() * BLOCK / SECTOR;
        let (small, large) = match u16::try_from(sectors) {
            Ok(small) => (small, 0),
            Err(_) => (0, sectors as u32),
        };
        let mut bytes = b"\xeb\x3c\x90TCFORGE ".to_vec();
        bytes.extend((SECTOR as u16).to_le_bytes());
        bytes.push((self.cluster * BLOCK / SECTOR) as u8);
        bytes.extend((self.reserved() as u16).to_le_bytes());
        bytes.push(TABLES as u8);
        bytes.extend(TOP_ENTRIES.to_le_bytes());
        bytes.extend(small.to_le_bytes());
        bytes.push(MEDIA);
        bytes.extend((self.table() as u16).to_le_bytes());
        // A geometry that nobody uses: 63 sectors, 255 heads.
        bytes.extend([63, 0, 255, 0]);
        bytes.extend(label.begin.to_le_bytes());
        bytes.extend(large.to_le_bytes());
        bytes.extend([0x80, 0, 0x29]);
        bytes.extend(label.serial.to_le_bytes());
        bytes.extend(padded(label.volume));
        bytes.extend(if self.is_wide() { b"FAT16   " } else { b"FAT12   " });
        bytes.resize(SECTOR as usize - 2, 0);
        bytes.extend([0x55, 0xaa]);
        bytes
    }

    fn write_table(&self) -> Vec<u8> {
        let mut next = vec![0xff00 | u16::from(MEDIA), END_OF_CHAIN];
        let mut nodes: Vec<_> = self.nodes.values().filter(|node| node.len > 0).collect();
        nodes.sort_by_key(|node| node.first);
        for node in nodes {
            let count = node.len.div_ceil(self.cluster * BLOCK) as u16;
            next.extend(node.first + 1..node.first + count);
            next.push(END_OF_CHAIN);
        }
        let mut bytes: Vec<u8> = match self.is_wide() {
            true => next.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
            false => next.chunks(2).flat_map(twelve_bits).collect(),
        };
        bytes.resize((self.table() * SECTOR) as usize, 0);
        bytes
    }

    fn write_directory(&self, path: &str, label: &Label<'_>) -> Vec<u8> {
        let first = |path: &str| self.nodes.get(path).map_or(0, |node| node.first);
        let entry = |short: &[u8; 11], kind, first, len| entry(short, kind, first, len, label.time);
        let mut bytes = Vec::new();
        if path.is_empty() {
            bytes.extend(entry(&padded(label.volume), VOLUME, 0, 0));
        } else {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            bytes.extend(entry(&padded("."), DIRECTORY, first(path), 0));
            bytes.extend(entry(&padded(".."), DIRECTORY, first(parent), 0));
        }
        let names: Vec<_> = self.nodes.keys().map(String::as_str).collect();
        for (number, name) in children(&names, path).enumerate() {
            let whole = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let Some(node) = self.nodes.get(&whole) else {
                continue;
            };
            let short = short_name(name, number + 1);
            if is_long(name) {
                bytes.extend(long_name(name, &short));
            }
            let (kind, len) = if node.directory {
                (DIRECTORY, 0)
            } else {
                (READ_ONLY, node.len as u32)
            };
            bytes.extend(entry(&short, kind, node.first, len));
        }
        bytes
    }
}

/// The directories above a path, without the top one.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// The names in a directory.
fn children<'a>(names: &[&'a str], directory: &str) -> impl Iterator<Item = &'a str> {
    let within = |path: &&'a str| {
        let rest = match directory {
            "" => Some(*path),
            _ => path.strip_prefix(directory)?.strip_prefix('/'),
        };
        rest.filter(|rest| !rest.contains('/'))
    };
    names
        .iter()
        .filter_map(within)
        .collect::<BTreeSet<_>>()
        .into_iter()
}

/// Entries that a name takes.
fn entries_of(name: &str) -> usize {
    1 + if is_long(name) {
        name.len().div_ceil(LONG_PLACES.len())
    } else {
        0
    }
}

/// Whether eight characters, a dot and three do not hold it.
fn is_long(name: &str) -> bool {
    let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    !(plain(stem) && plain(ending) && (1..=8).contains(&stem.len()) && ending.len() <= 3)
}

/// The short name; that of a long one is a part of it with a number.
fn short_name(name: &str, number: usize) -> [u8; 11] {
    let plain = |text: &str, most| -> String {
        let letters = text.chars().filter(char::is_ascii_alphanumeric).take(most);
        letters.map(|letter| letter.to_ascii_uppercase()).collect()
    };
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let tail = if is_long(name) {
        format!("~{number}")
    } else {
        String::new()
    };
    let stem = plain(stem, 8 - tail.len()) + &tail;
    padded(&format!("{stem:8}{}", plain(ending, 3)))
}

/// A long name: its end first, each part with a number and a sum of the short one.
fn long_name(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let sum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let letters: Vec<u16> = name.encode_utf16().collect();
    let parts: Vec<_> = letters.chunks(LONG_PLACES.len()).enumerate().collect();
    let mut bytes = Vec::new();
    for (number, part) in parts.iter().rev() {
        let last = if number + 1 == parts.len() { 0x40 } else { 0 };
        let mut entry = [0; ENTRY];
        entry[0] = (number + 1) as u8 | last;
        (entry[11], entry[13]) = (LONG_NAME, sum);
        // What follows the name: one zero, then ones.
        let letters = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (place, letter) in LONG_PLACES.into_iter().zip(letters) {
            entry[place..place + 2].copy_from_slice(&letter.to_le_bytes());
        }
        bytes.extend(entry);
    }
    bytes
}

fn entry(short: &[u8; 11], kind: u8, first: u16, len: u32, time: DateTime) -> [u8; ENTRY] {
    let number = |value: i16| value.unsigned_abs();
    let (year, month, day) = (number(time.year()) - 1980, time.month() as u16, time.day() as u16);
    let date = ((year << 9) | (month << 5) | day).to_le_bytes();
    let (hour, minute, second) = (time.hour() as u16, time.minute() as u16, time.second() as u16);
    let clock = ((hour << 11) | (minute << 5) | (second / 2)).to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(short);
    entry[11] = kind;
    entry[14..16].copy_from_slice(&clock);
    entry[16..18].copy_from_slice(&date);
    entry[18..20].copy_from_slice(&date);
    entry[22..24].copy_from_slice(&clock);
    entry[24..26].copy_from_slice(&date);
    entry[26..28].copy_from_slice(&first.to_le_bytes());
    entry[28..].copy_from_slice(&len.to_le_bytes());
    entry
}

/// Eleven bytes, those that are missing being spaces.
fn padded(text: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    bytes
        .iter_mut()
        .zip(text.bytes())
        .for_each(|(place, byte)| *place = byte);
    bytes
}

/// Two entries of twelve bits in three bytes.
fn twelve_bits(pair: &[u16]) -> [u8; 3] {
    let low = pair[0] & 0xfff;
    let high = pair.get(1).map_or(0, |entry| entry & 0xfff);
    [low as u8, ((low >> 8) | (high << 4)) as u8, (high >> 4) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn label() -> Label<'static> {
        Label {
            volume: "TEST",
            serial: 7,
            time: DateTime::constant(2020, 9, 13, 12, 26, 40, 0),
            begin: 120,
        }
    }

    #[test]
    fn clusters_are_as_small_as_can_be_numbered() {
        for (len, wide, cluster) in [
            (MIB, false, Some(1)),
            (100 * MIB, true, Some(1)),
            (200 * MIB, true, Some(2)),
            (2000 * MIB, true, Some(16)),
            (2100 * MIB, true, None),
        ] {
            let fat = Fat::new(&[("BOOT/KERNEL", len)]);
            assert_eq!(fat.as_ref().map(|fat| fat.cluster), cluster, "{len}");
            assert!(fat.is_none_or(|fat| fat.is_wide() == wide), "{len}");
        }
    }

    #[test]
    fn a_chain_leads_through_a_file_to_its_end() {
        // Twelve bits, where an entry may begin within a byte, and sixteen.
        for (len, wide) in [(3 * 2048 + 1, false), (9 * MIB, true)] {
            let fat = Fat::new(&[("A", 10), ("B", len), ("C", 0)]).unwrap();
            assert_eq!(fat.is_wide(), wide);
            let table = fat.write_table();
            let next = |cluster: usize| match wide {
                true => u16::from_le_bytes([table[cluster * 2], table[cluster * 2 + 1]]),
                false => {
                    let at = cluster * 3 / 2;
                    (u16::from_le_bytes([table[at], table[at + 1]]) >> (cluster % 2 * 4)) & 0xfff
                }
            };
            let end = if wide { 0xffff } else { 0xfff };
            assert_eq!(next(2), end);
            let (mut at, mut count) = (3, 1);
            while next(at) != end {
                assert_eq!(usize::from(next(at)), at + 1);
                (at, count) = (at + 1, count + 1);
            }
            assert_eq!(count, len.div_ceil(BLOCK));
            assert_eq!(fat.clusters, count + 1);
            assert_eq!(fat.block_of("B").unwrap() + count, fat.blocks());
        }
    }

    #[test]
    fn names_are_short_where_they_can_be() {
        for (name, short, entries) in [
            ("BOOTX64.EFI", "BOOTX64 EFI", 1),
            ("LOADER", "LOADER     ", 1),
            ("loader.conf", "LOADER~7CON", 2),
            ("a name of more than thirteen.conf", "ANAMEO~7CON", 4),
        ] {
            assert_eq!(short_name(name, 7), short.as_bytes(), "{name}");
            assert_eq!(entries_of(name), entries, "{name}");
        }
    }

    #[test]
    fn every_part_begins_with_a_block() {
        let fat = Fat::new(&[("EFI/BOOT/BOOTX64.EFI", 5000), ("LOADER/loader.conf", 3)]).unwrap();
        let parts = fat.write(&label());
        let blocks: Vec<_> = parts.iter().map(|(block, bytes)| (*block, bytes.len())).collect();
        // The beginning; EFI, EFI/BOOT, LOADER; then the files.
        assert_eq!(blocks, [(0, 2 * 2048), (2, 96), (3, 96), (4, 128)]);
        assert_eq!(fat.block_of("EFI/BOOT/BOOTX64.EFI"), Some(5));
        assert_eq!(fat.block_of("LOADER/loader.conf"), Some(8));
        assert_eq!(fat.blocks(), 9);
    }
}
