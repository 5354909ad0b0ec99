//! GPTs as firmware reads them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::Crc;

/// Bytes of a sector, and of an entry.
pub(crate) const SECTOR: u64 = 512;
const ENTRY: usize = 128;

/// A partition: its first and last sector, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) name: String,
}

/// Sectors of a disk.
pub(crate) fn sectors(disk: &Path) -> u64 {
    disk.metadata().unwrap().len() / SECTOR
}

/// The partitions of the table whose header is at a sector; none if it is not whole.
pub(crate) fn table(disk: &Path, header: u64) -> Option<Vec<Partition>> {
    let file = File::open(disk).unwrap();
    let read = |sector: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, sector * SECTOR).unwrap();
        bytes
    };
    let mut own = read(header, 92);
    let sum = four(&own, 16);
    own[16..20].fill(0);
    let entries = read(eight(&own, 72).min(sectors(disk) - 33), 128 * ENTRY);
    let whole = own.starts_with(b"EFI PART")
        && crc32(&own) == sum
        && eight(&own, 24) == header
        && crc32(&entries) == four(&own, 88);
    let used = |entry: &&[u8]| entry[..16] != [0; 16];
    whole.then(|| entries.chunks(ENTRY).filter(used).map(partition).collect())
}

/// The partitions that firmware and kernel go by: none if no table is whole.
pub(crate) fn partitions(disk: &Path) -> Vec<Partition> {
    let copy = || table(disk, sectors(disk) - 1);
    table(disk, 1).or_else(copy).unwrap_or_default()
}

fn partition(entry: &[u8]) -> Partition {
    let name = entry[56..]
        .chunks(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name: Vec<_> = name.take_while(|unit| *unit != 0).collect();
    Partition {
        first: eight(entry, 32),
        last: eight(entry, 40),
        name: String::from_utf16(&name).unwrap(),
    }
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
