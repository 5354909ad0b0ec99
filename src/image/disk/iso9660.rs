//! The file system of a CD: ISO 9660 (ECMA-119) with Rock Ridge (IEEE P1282), by
//! which Linux and GRUB know names, owners and modes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;

use super::BLOCK;

/// The blocks of the descriptors: of the volume, of what boots, and their end.
pub(super) const DESCRIPTOR: u64 = 16;
pub(super) const BOOT_RECORD: u64 = 17;
const TERMINATOR: u64 = 18;
/// What every descriptor has behind its kind.
const STANDARD: &[u8; 6] = b"CD001\x01";

const DIRECTORY: u8 = 0x02;
/// `-r--r--r--` and `dr-xr-xr-x`, whose they are is root's.
const FILE_MODE: u32 = 0o100_444;
const DIRECTORY_MODE: u32 = 0o040_555;
/// Of a name, so much fits into one field.
const NAME_PART: usize = 200;
/// A record has a length of one byte, an even one.
const RECORD: usize = 254;
/// Bytes of a record before the name.
const RECORD_HEAD: usize = 33;
/// Bytes of the field that says where others are.
const CONTINUATION: usize = 28;
/// What says that Rock Ridge is meant, in its first version, which all know.
const EXTENSION: [&[u8]; 3] = [
    b"RRIP_1991A",
    b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
    b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR \
      CONTACT INFORMATION.",
];

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first block.
    pub(super) block: u64,
    /// Bytes.
    pub(super) len: u64,
}

/// The tree of a disk: directories, and where files are by their paths.
pub(super) struct Tree<'a> {
    /// Capital letters.
    pub(super) volume: &'a str,
    /// The time stamp of everything.
    pub(super) time: DateTime,
    pub(super) files: BTreeMap<&'a str, Extent>,
}

/// A directory: the number of the one above it, and what is in it by the names of
/// ISO 9660.
struct Directory {
    path: String,
    identifier: String,
    parent: usize,
    entries: Vec<(String, Entry)>,
}

/// An entry: its real name, and what it is.
struct Entry {
    name: String,
    path: String,
    directory: bool,
}

/// The tree as it lies on the disk, from the block of the path tables on.
struct Written {
    paths: [Vec<u8>; 2],
    directories: Vec<Vec<u8>>,
    continuation: Vec<u8>,
}

impl Tree<'_> {
    /// How many blocks it takes from the first after the descriptors' on, whatever the
    /// places of the files.
    pub(super) fn blocks(&self) -> u64 {
        let written = self.lay_out(&self.directories(), 0);
        let parts = written.paths.iter().chain(&written.directories);
        parts
            .chain([&written.continuation])
            .map(|part| blocks_of(part))
            .sum()
    }

    /// Descriptors and tree, the tree beginning at `begin`: blocks, and what is
    /// written there. The volume has `size` blocks.
    pub(super) fn write(&self, begin: u64, size: u64) -> Vec<(u64, Vec<u8>)> {
        let directories = self.directories();
        let written = self.lay_out(&directories, begin);
        let mut next = begin;
        let mut place = |bytes: Vec<u8>| {
            let block = next;
            next += blocks_of(&bytes);
            (block, bytes)
        };
        let length = written.paths[0].len();
        let root = record(&Record {
            identifier: &[0],
            extent: written.extent_of(0, begin),
            directory: true,
            time: self.time,
            system_use: &[],
        });
        let mut parts = vec![
            (DESCRIPTOR, self.descriptor(&root, begin, length, size)),
            (TERMINATOR, [b"\xff", &STANDARD[..]].concat()),
        ];
        parts.extend(written.paths.into_iter().map(&mut place));
        parts.extend(written.directories.into_iter().map(&mut place));
        parts.push(place(written.continuation));
        parts
    }

    /// All directories, the top one first, each level by its parents and names, as
    /// path tables have them.
    fn directories(&self) -> Vec<Directory> {
        let mut all = vec![Directory::new(String::new(), "\0".to_owned(), 0)];
        let mut next = 0;
        while next < all.len() {
            let path = all[next].path.clone();
            let entries = self.entries(&path);
            let below = entries.iter().filter(|(_, entry)| entry.directory);
            let below: Vec<_> = below
                .map(|(identifier, entry)| Directory::new(entry.path.clone(), identifier.clone(), next))
                .collect();
            all.extend(below);
            all[next].entries = entries;
            next += 1;
        }
        all
    }

    fn entries(&self, directory: &str) -> Vec<(String, Entry)> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let below = self.files.keys().filter_map(|path| path.strip_prefix(&prefix));
        let names: BTreeSet<_> = below
            .map(|rest| match rest.split_once('/') {
                Some((name, _)) => (name, true),
                None => (rest, false),
            })
            .collect();
        let mut entries = BTreeMap::new();
        for (name, directory) in names {
            let identifier = identifier(name, directory, |one| entries.contains_key(one));
            let path = format!("{prefix}{name}");
            let name = name.to_owned();
            entries.insert(
                identifier,
                Entry {
                    name,
                    path,
                    directory,
                },
            );
        }
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_cached_key(|(identifier, _)| order(identifier));
        entries
    }

    fn lay_out(&self, directories: &[Directory], begin: u64) -> Written {
        // Lengths do not depend on places, so that a first turn tells the lengths.
        let mut written = Written {
            paths: path_tables(directories, &vec![0; directories.len()]),
            directories: vec![Vec::new(); directories.len()],
            continuation: Vec::new(),
        };
        for _ in 0..2 {
            let extents: Vec<_> = (0..directories.len())
                .map(|index| written.extent_of(index, begin))
                .collect();
            let mut continuation = Continuation {
                block: written.end_of(directories.len(), begin),
                bytes: Vec::new(),
            };
            let write = |index| self.write_directory(directories, index, &extents, &mut continuation);
            written.directories = (0..directories.len()).map(write).collect();
            written.continuation = continuation.bytes;
            let blocks: Vec<_> = extents.iter().map(|extent| extent.block).collect();
            written.paths = path_tables(directories, &blocks);
        }
        written
    }

    fn write_directory(
        &self,
        all: &[Directory],
        index: usize,
        extents: &[Extent],
        continuation: &mut Continuation,
    ) -> Vec<u8> {
        let directory = &all[index];
        let mut bytes = Vec::new();
        let mut add = |identifier: &[u8], extent, is_directory, fields: Vec<Vec<u8>>| {
            let head = (RECORD_HEAD + identifier.len()).next_multiple_of(2);
            let system_use = continuation.fit(fields, RECORD - head);
            let record = record(&Record {
                identifier,
                extent,
                directory: is_directory,
                time: self.time,
                system_use: &system_use,
            });
            let within = bytes.len() % BLOCK as usize;
            if within + record.len() > BLOCK as usize {
                bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            }
            bytes.extend(record);
        };
        let links =
            |at: &Directory| 2 + at.entries.iter().filter(|(_, entry)| entry.directory).count() as u32;
        let attributes = |at: usize| self.attributes(DIRECTORY_MODE, links(&all[at]));
        let mut own = attributes(index);
        if index == 0 {
            own.insert(0, b"SP\x07\x01\xbe\xef\x00".to_vec());
            own.push(extension());
        }
        add(&[0], extents[index], true, own);
        add(
            &[1],
            extents[directory.parent],
            true,
            attributes(directory.parent),
        );
        for (identifier, entry) in &directory.entries {
            let below = all
                .iter()
                .position(|one| entry.directory && one.path == entry.path);
            let (extent, mut fields) = match below {
                Some(below) => (extents[below], attributes(below)),
                None => (self.files[entry.path.as_str()], self.attributes(FILE_MODE, 1)),
            };
            fields.extend(names(&entry.name));
            add(identifier.as_bytes(), extent, entry.directory, fields);
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        bytes
    }

    /// Mode, owner and times.
    fn attributes(&self, mode: u32, links: u32) -> Vec<Vec<u8>> {
        let numbers = [mode, links, 0, 0].map(both32).concat();
        // Modified, read, changed.
        let times = [&[0x0e][..], &[short_time(self.time); 3].concat()].concat();
        vec![field(b"PX", &numbers), field(b"TF", &times)]
    }

    /// The primary descriptor (ECMA-119, 8.4).
    fn descriptor(&self, root: &[u8], begin: u64, paths: usize, size: u64) -> Vec<u8> {
        let table = (begin as u32, begin as u32 + blocks_of_len(paths as u64) as u32);
        let mut bytes = [b"\x01", &STANDARD[..], &[0]].concat();
        bytes.extend(spaces("", 32));
        bytes.extend(spaces(self.volume, 32));
        bytes.extend([0; 8]);
        bytes.extend(both32(size as u32));
        bytes.extend([0; 32]);
        // One disk of a set of one, with blocks of 2048 bytes.
        bytes.extend([1, 1, BLOCK as u16].map(both16).concat());
        bytes.extend(both32(paths as u32));
        bytes.extend(table.0.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(table.1.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(root);
        bytes.extend(spaces("", 128 * 4 + 37 * 3));
        // Made, changed; never void, valid from the beginning.
        let never = [&[b'0'; 16][..], &[0]].concat();
        let made = long_time(self.time);
        bytes.extend([&made[..], &made, &never, &never].concat());
        bytes.extend([1, 0]);
        bytes
    }
}

impl Directory {
    fn new(path: String, identifier: String, parent: usize) -> Self {
        Self {
            path,
            identifier,
            parent,
            entries: Vec::new(),
        }
    }
}

impl Written {
    /// Where a directory is.
    fn extent_of(&self, index: usize, begin: u64) -> Extent {
        Extent {
            block: self.end_of(index, begin),
            len: self.directories[index].len() as u64,
        }
    }

    /// The block after so many directories.
    fn end_of(&self, count: usize, begin: u64) -> u64 {
        let before = self.paths.iter().chain(&self.directories[..count]);
        begin + before.map(|part| blocks_of(part)).sum::<u64>()
    }
}

/// Where fields go that do not fit into their record.
struct Continuation {
    block: u64,
    bytes: Vec<u8>,
}

impl Continuation {
    /// The fields that have room, and where the others are. Those are in one block.
    fn fit(&mut self, fields: Vec<Vec<u8>>, room: usize) -> Vec<u8> {
        if fields.iter().map(Vec::len).sum::<usize>() <= room {
            return fields.concat();
        }
        let mut inline = Vec::new();
        let mut fields = fields.into_iter().peekable();
        while let Some(field) = fields.next_if(|field| inline.len() + field.len() + CONTINUATION <= room) {
            inline.extend(field);
        }
        let rest = fields.flatten().collect::<Vec<_>>();
        let left = BLOCK as usize - self.bytes.len() % BLOCK as usize;
        if rest.len() > left {
            self.bytes.resize(self.bytes.len() + left, 0);
        }
        let at = self.bytes.len() as u64;
        let place = [
            (self.block + at / BLOCK) as u32,
            (at % BLOCK) as u32,
            rest.len() as u32,
        ];
        inline.extend(field(b"CE", &place.map(both32).concat()));
        self.bytes.extend(rest);
        inline
    }
}

/// What a directory says of one thing (ECMA-119, 9.1).
struct Record<'a> {
    identifier: &'a [u8],
    extent: Extent,
    directory: bool,
    time: DateTime,
    system_use: &'a [u8],
}

fn record(of: &Record<'_>) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(of.extent.block as u32));
    bytes.extend(both32(of.extent.len as u32));
    bytes.extend(short_time(of.time));
    bytes.extend([if of.directory { DIRECTORY } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(of.identifier.len() as u8);
    bytes.extend(of.identifier);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(of.system_use);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// A field of Rock Ridge.
fn field(kind: &[u8; 2], content: &[u8]) -> Vec<u8> {
    [kind, &[content.len() as u8 + 4, 1][..], content].concat()
}

/// The fields of a name: all but the last say that it goes on.
fn names(name: &str) -> Vec<Vec<u8>> {
    let parts: Vec<_> = name.as_bytes().chunks(NAME_PART).collect();
    let last = parts.len() - 1;
    let part = |(number, part): (usize, &&[u8])| field(b"NM", &[&[u8::from(number < last)], *part].concat());
    parts.iter().enumerate().map(part).collect()
}

fn extension() -> Vec<u8> {
    let lengths = EXTENSION.map(|text| text.len() as u8);
    field(b"ER", &[&lengths[..], &[1], &EXTENSION.concat()].concat())
}

/// A name of capital letters, digits and `_`, eight and three, that is not taken.
fn identifier(name: &str, directory: bool, taken: impl Fn(&str) -> bool) -> String {
    let plain = |text: &str, most| -> String {
        let letter = |letter: char| match letter.to_ascii_uppercase() {
            letter @ ('A'..='Z' | '0'..='9') => letter,
            _ => '_',
        };
        text.chars().take(most).map(letter).collect()
    };
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !directory => (stem, format!(".{};1", plain(ending, 3))),
        _ if directory => (name, String::new()),
        _ => (name, ".;1".to_owned()),
    };
    let numbered = |number: u32| match number {
        0 => plain(stem, 8) + &ending,
        _ => {
            let number = number.to_string();
            plain(stem, 8 - number.len()) + &number + &ending
        }
    };
    (0..10_000_000)
        .map(numbered)
        .find(|one| !taken(one))
        .unwrap_or_default()
}

/// By what identifiers are in order (ECMA-119, 9.3): a short part goes before one that
/// it begins.
fn order(identifier: &str) -> String {
    identifier.replace(';', "\x01").replace('.', "\x02")
}

/// The path tables, of little and of big numbers (ECMA-119, 9.4).
fn path_tables(directories: &[Directory], blocks: &[u64]) -> [Vec<u8>; 2] {
    let table = |big: bool| {
        let mut bytes = Vec::new();
        for (directory, block) in directories.iter().zip(blocks) {
            let (block, parent) = (*block as u32, directory.parent as u16 + 1);
            bytes.extend([directory.identifier.len() as u8, 0]);
            match big {
                true => bytes.extend([&block.to_be_bytes()[..], &parent.to_be_bytes()].concat()),
                false => bytes.extend([&block.to_le_bytes()[..], &parent.to_le_bytes()].concat()),
            }
            bytes.extend(directory.identifier.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(2), 0);
        }
        bytes
    };
    [table(false), table(true)]
}

fn blocks_of(bytes: &[u8]) -> u64 {
    blocks_of_len(bytes.len() as u64)
}

fn blocks_of_len(len: u64) -> u64 {
    len.div_ceil(BLOCK)
}

/// A number in both orders, as the format has them.
fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

fn both32(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

/// A text and spaces.
fn spaces(text: &str, len: usize) -> Vec<u8> {
    format!("{text:len$}").into_bytes()
}

/// A time of seven bytes, in UTC (ECMA-119, 9.1.5).
fn short_time(time: DateTime) -> [u8; 7] {
    let year = time.year().saturating_sub(1900);
    let [month, day, hour, minute, second] = [
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    ]
    .map(i8::unsigned_abs);
    [
        u8::try_from(year).unwrap_or(u8::MAX),
        month,
        day,
        hour,
        minute,
        second,
        0,
    ]
}

/// A time of seventeen bytes, in UTC (ECMA-119, 8.4.26.1).
fn long_time(time: DateTime) -> Vec<u8> {
    let text = format!("{}00", time.strftime("%Y%m%d%H%M%S"));
    [text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_iso_9660_and_no_two_are_the_same() {
        let mut taken = BTreeSet::new();
        for (name, directory, wanted) in [
            ("vmlinuz64", false, "VMLINUZ6.;1"),
            ("corepure64.gz", false, "COREPURE.GZ;1"),
            ("x.tcz.md5.txt", false, "X_TCZ_MD.TXT;1"),
            ("X.tcz.md5.txt", false, "X_TCZ_M1.TXT;1"),
            ("x.tcz.md5-txt", false, "X_TCZ.MD5;1"),
            ("tcforge", true, "TCFORGE"),
            ("d.d", true, "D_D"),
        ] {
            let one = identifier(name, directory, |one| taken.contains(one));
            assert_eq!(one, wanted, "{name}");
            taken.insert(one);
        }
    }

    #[test]
    fn what_is_shorter_goes_first() {
        let sorted = ["A.;1", "A.1;1", "A1.;1", "X.T;1", "X.T1;1", "X1.T;1"];
        assert!(sorted.is_sorted_by_key(|identifier| order(identifier)));
    }

    #[test]
    fn times_are_in_utc() {
        let time = DateTime::constant(2020, 9, 13, 12, 26, 40, 0);
        assert_eq!(short_time(time), [120, 9, 13, 12, 26, 40, 0]);
        assert_eq!(long_time(time), b"2020091312264000\0");
    }

    /// The names that Rock Ridge gives the entries of the top directory.
    fn names_of_top(parts: &[(u64, Vec<u8>)], block: u64) -> Vec<String> {
        let at = |wanted: u64| {
            let (first, bytes) = parts.iter().rev().find(|(first, _)| *first <= wanted).unwrap();
            &bytes[((wanted - first) * BLOCK) as usize..]
        };
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let (directory, mut names, mut next) = (at(block), Vec::new(), 0);
        while next < directory.len() {
            let len = usize::from(directory[next]);
            if len == 0 {
                next = (next + 1).next_multiple_of(BLOCK as usize);
                continue;
            }
            let record = &directory[next..next + len];
            let head = (RECORD_HEAD + usize::from(record[32])).next_multiple_of(2);
            let (mut fields, mut name) = (&record[head..], Vec::new());
            while fields.len() > 3 {
                let (field, rest) = fields.split_at(usize::from(fields[2]));
                fields = rest;
                match &field[..2] {
                    b"NM" => name.extend(&field[5..]),
                    b"CE" => {
                        let (block, offset, len) =
                            (number(&field[4..]), number(&field[12..]), number(&field[20..]));
                        assert!(offset + len <= BLOCK as u32);
                        fields = &at(block.into())[offset as usize..][..len as usize];
                    }
                    _ => {}
                }
            }
            names.push(String::from_utf8(name).unwrap());
            next += len;
        }
        names
    }

    #[test]
    fn long_names_go_on_elsewhere() {
        let names: Vec<_> = (1..=255).map(|len| "n".repeat(len)).collect();
        let nowhere = Extent { block: 0, len: 0 };
        let tree = Tree {
            volume: "TEST",
            time: DateTime::constant(2020, 9, 13, 12, 26, 40, 0),
            files: names.iter().map(|name| (name.as_str(), nowhere)).collect(),
        };
        let parts = tree.write(20, 1000);
        let last = parts.iter().map(|(block, bytes)| block + blocks_of(bytes)).max();
        assert_eq!(last, Some(20 + tree.blocks()));
        // A path table of each kind is before it.
        let mut found = names_of_top(&parts, 22);
        found.sort();
        assert_eq!(found, [&["".to_owned(), "".to_owned()], &names[..]].concat());
    }
}
