//! What firmware starts from: El Torito's catalog on a CD, an MBR and a GPT on a
//! disk.

use std::ops::Range as Sectors;

use flate2::Crc;

use super::{BLOCK, SECTOR, SECTORS};
use crate::digest::Sha256;

/// Code in an MBR, before the partitions.
const MBR_CODE: usize = 440;
/// Where GRUB's MBR has the sector of GRUB (`boot_hybrid.img`), which is one block
/// behind the beginning of its file.
const MBR_GRUB: usize = 0x1b0;
/// Where GRUB's file has a table of itself ("boot info table", as mkisofs writes it),
/// and which part of the file that table sums.
const INFO_TABLE: usize = 8;
const INFO_SUMMED: usize = 64;
/// Where it has its own second sector behind that block (`grub2-boot-info` of xorriso).
const INFO_GRUB: usize = 2548;

/// GPT: entries, bytes of each, and the sectors that they take.
const ENTRIES: u32 = 128;
const ENTRY: u32 = 128;
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// Sectors of its header and entries.
pub(super) const GPT: u64 = 1 + ENTRY_SECTORS;
const GPT_HEADER: u32 = 92;
/// An EFI system partition, as it is written: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const EFI_PARTITION: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// "Linux reserved", which nobody formats or mounts: 8DA63339-0007-60C0-C436-083AC8230908.
const RESERVED: [u8; 16] = [
    0x39, 0x33, 0xa6, 0x8d, 0x07, 0x00, 0xc0, 0x60, 0xc4, 0x36, 0x08, 0x3a, 0xc8, 0x23, 0x09, 0x08,
];
/// What the rest of the image is called.
const CD_PARTITION: &str = "ISO 9660";

/// Blocks: the first, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// El Torito's record, which leads to its catalog.
pub(super) fn record(catalog: u64) -> Vec<u8> {
    let mut bytes = b"\x00CD001\x01EL TORITO SPECIFICATION".to_vec();
    bytes.resize(71, 0);
    bytes.extend((catalog as u32).to_le_bytes());
    bytes
}

/// El Torito's catalog: GRUB's file for BIOS, a partition for UEFI.
pub(super) fn catalog(bios: u64, efi: Range) -> Vec<u8> {
    // The checksum makes the words of this entry add up to zero.
    let mut bytes = vec![0; 28];
    bytes[0] = 1;
    bytes.extend([0xaa, 0x55, 0x55, 0xaa]);
    bytes.extend(boot_entry(4, bios));
    // One more, the last: UEFI's.
    bytes.extend([0x91, 0xef, 1, 0]);
    bytes.resize(96, 0);
    // Zero means all that is left of the disk.
    bytes.extend(boot_entry(
        u16::try_from(efi.count * SECTORS).unwrap_or(0),
        efi.first,
    ));
    bytes
}

/// An entry that is not emulated as a floppy.
fn boot_entry(sectors: u16, block: u64) -> Vec<u8> {
    let mut bytes = vec![0x88, 0, 0, 0, 0, 0];
    bytes.extend(sectors.to_le_bytes());
    bytes.extend((block as u32).to_le_bytes());
    bytes.resize(32, 0);
    bytes
}

/// Writes into GRUB's file where on the disk it is.
pub(super) fn patch_grub(image: &mut [u8], block: u64) {
    put(image, INFO_GRUB, &(block * SECTORS + SECTORS + 1).to_le_bytes());
    let words = image.get(INFO_SUMMED..).unwrap_or_default().chunks(4);
    let sum = words.fold(0_u32, |sum, word| {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        sum.wrapping_add(u32::from_le_bytes(bytes))
    });
    let table = [
        super::iso9660::DESCRIPTOR as u32,
        block as u32,
        image.len() as u32,
        sum,
    ];
    put(image, INFO_TABLE, &table.map(u32::to_le_bytes).concat());
    put(image, INFO_TABLE + 16, &[0; 40]);
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// What stands at both ends of a disk.
pub(super) struct SystemArea<'a> {
    /// GRUB's `boot_hybrid.img`.
    pub(super) mbr: &'a [u8],
    /// The block of GRUB's file.
    pub(super) bios: u64,
    /// The partition of UEFI.
    pub(super) efi: Range,
    /// Blocks of the disk.
    pub(super) size: u64,
    /// What tells this disk from others.
    pub(super) identity: Sha256,
}

impl SystemArea<'_> {
    /// MBR and GPT.
    pub(super) fn begin(&self) -> Vec<u8> {
        let mut bytes = self.mbr.to_vec();
        bytes.resize(MBR_CODE, 0);
        put(
            &mut bytes,
            MBR_GRUB,
            &(self.bios * SECTORS + SECTORS).to_le_bytes(),
        );
        bytes.extend([0; 6]);
        let sectors = u32::try_from(self.sectors() - 1).unwrap_or(u32::MAX);
        // All of it is GPT's.
        bytes.extend([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
        bytes.extend([1, sectors].map(u32::to_le_bytes).concat());
        // Some BIOSes start no disk without an active partition.
        bytes.extend([0x80, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00]);
        bytes.extend([0, 1].map(u32::to_le_bytes).concat());
        bytes.resize(SECTOR as usize - 2, 0);
        bytes.extend([0x55, 0xaa]);
        bytes.extend(self.header(1, self.sectors() - 1, 2));
        bytes.extend(self.entries());
        bytes
    }

    /// The copy of the GPT: the last sectors.
    pub(super) fn end(&self) -> Vec<u8> {
        let last = self.sectors() - 1;
        [self.entries(), self.header(last, 1, last - ENTRY_SECTORS)].concat()
    }

    fn sectors(&self) -> u64 {
        self.size * SECTORS
    }

    /// A header (UEFI 2.10, 5.3.2): where it is, where the other is, where its entries are.
    fn header(&self, own: u64, other: u64, entries: u64) -> Vec<u8> {
        let places = [own, other, 1 + GPT, self.sectors() - 1 - GPT];
        let mut bytes = b"EFI PART\x00\x00\x01\x00".to_vec();
        bytes.extend(GPT_HEADER.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(places.map(u64::to_le_bytes).concat());
        bytes.extend(self.guid(0));
        bytes.extend(entries.to_le_bytes());
        bytes.extend(
            [ENTRIES, ENTRY, crc32(&self.entries())]
                .map(u32::to_le_bytes)
                .concat(),
        );
        let sum = crc32(&bytes);
        put(&mut bytes, 16, &sum.to_le_bytes());
        bytes.resize(SECTOR as usize, 0);
        bytes
    }

    /// UEFI's partition, and all else: a sector that no partition has is one that
    /// whoever adds a partition takes.
    fn partitions(&self) -> [Partition; 3] {
        // One sector more than the FAT knows of. sgdisk tells of a partition that does not
        // end at a multiple of what all begin at; the last ends at an odd sector, so one
        // has to begin at one.
        let efi = self.efi.first * SECTORS..(self.efi.first + self.efi.count) * SECTORS + 1;
        let rest = |sectors| Partition {
            kind: RESERVED,
            name: CD_PARTITION,
            sectors,
        };
        [
            rest(1 + GPT..efi.start),
            Partition {
                kind: EFI_PARTITION,
                name: "EFI boot partition",
                sectors: efi.clone(),
            },
            rest(efi.end..self.sectors() - GPT),
        ]
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, partition) in (1..).zip(self.partitions()) {
            bytes.extend(partition.entry(self.guid(number)));
        }
        bytes.resize((ENTRIES * ENTRY) as usize, 0);
        bytes
    }

    /// A name of 16 bytes that no other disk has: of version 8 (RFC 9562).
    fn guid(&self, number: u8) -> [u8; 16] {
        let sum = Sha256::of(&[&self.identity.as_bytes()[..], &[number]].concat());
        let mut guid = [0; 16];
        guid.copy_from_slice(&sum.as_bytes()[..16]);
        // The third part is written with its low byte first.
        guid[7] = guid[7] & 0x0f | 0x80;
        guid[8] = guid[8] & 0x3f | 0x80;
        guid
    }
}

/// A partition of the GPT.
struct Partition {
    kind: [u8; 16],
    name: &'static str,
    sectors: Sectors<u64>,
}

impl Partition {
    /// Its entry (UEFI 2.10, 5.3.3).
    fn entry(&self, guid: [u8; 16]) -> Vec<u8> {
        // To be read only (Microsoft's bit 60), and needed.
        let attributes = 1 << 60 | 1;
        let numbers = [self.sectors.start, self.sectors.end - 1, attributes];
        let mut bytes = [self.kind, guid].concat();
        bytes.extend(numbers.map(u64::to_le_bytes).concat());
        bytes.extend(self.name.encode_utf16().flat_map(u16::to_le_bytes));
        bytes.resize(ENTRY as usize, 0);
        bytes
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Blocks at the end that hold the copy of the GPT.
pub(super) const END: u64 = (GPT * SECTOR).div_ceil(BLOCK);
