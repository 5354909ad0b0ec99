//! Archives put together byte by byte, so that they can be wrong.

use std::io::Write;

/// A tar archive under way.
#[derive(Default, Clone)]
pub(super) struct Tar(Vec<u8>);

/// The header of a file, 644, with the magic of ustar.
pub(super) fn header(kind: u8, name: &[u8], size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0001750\0");
    header[116..124].copy_from_slice(b"0001750\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"14000000000\0");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

/// Writes the right checksum into a header.
pub(super) fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Any entry, with its header changed before the checksum is made.
    pub(super) fn edited(
        mut self,
        kind: u8,
        name: &[u8],
        data: &[u8],
        edit: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = header(kind, name, data.len());
        edit(&mut header);
        seal(&mut header);
        self.0.extend(header);
        self.data(data)
    }

    /// Bytes, filled up to whole blocks.
    pub(super) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn entry(self, kind: u8, name: &str, data: &[u8]) -> Self {
        self.edited(kind, name.as_bytes(), data, |_| {})
    }

    pub(super) fn file(self, name: &str) -> Self {
        self.entry(b'0', name, b"content")
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.entry(b'5', name, b"")
    }

    pub(super) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.edited(kind, name.as_bytes(), b"", |header| {
            header[157..][..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    /// A GNU long name (`L`) or long target (`K`).
    pub(super) fn long(self, kind: u8, text: &str) -> Self {
        self.entry(kind, "././@LongLink", format!("{text}\0").as_bytes())
    }

    /// A PAX header.
    pub(super) fn pax(self, records: &[(&str, &str)]) -> Self {
        let data: String = records
            .iter()
            .map(|(keyword, value)| record(keyword, value))
            .collect();
        self.entry(b'x', "PaxHeaders/x", data.as_bytes())
    }

    /// A file of GNU tar's old sparse format with the given parts.
    pub(super) fn old_sparse(self, name: &str, size: u64, parts: &[(u64, u64)], data: &[u8]) -> Self {
        self.edited(b'S', name.as_bytes(), data, |header| {
            header[257..265].copy_from_slice(b"ustar  \0");
            for (at, (offset, length)) in parts.iter().enumerate() {
                let field = format!("{offset:011o}\0{length:011o}\0");
                header[386 + 24 * at..][..24].copy_from_slice(field.as_bytes());
            }
            header[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
        })
    }

    /// The whole archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A PAX record.
pub(super) fn record(keyword: &str, value: &str) -> String {
    let rest = format!(" {keyword}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// An ar archive of members.
pub(super) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let size = data.len();
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644);
        bytes.extend(header.as_bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// A Debian package with these data.
pub(super) fn deb(data: &[u8]) -> Vec<u8> {
    let control = Tar::new().file("./control").end();
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar", data),
    ])
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An entry of a zip archive, stored as it is.
#[derive(Clone)]
pub(super) struct ZipEntry {
    /// The name before the data.
    pub(super) local: Vec<u8>,
    /// The name in the directory.
    pub(super) listed: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// The size that both headers tell.
    pub(super) size: u32,
    /// Unix mode.
    pub(super) mode: u32,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    /// Bytes between this entry and the next.
    pub(super) gap: usize,
}

impl ZipEntry {
    pub(super) fn new(name: &str, mode: u32, data: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        Self {
            local: name.into(),
            listed: name.into(),
            data: data.into(),
            size: data.len() as u32,
            mode,
            flags: 0,
            method: 0,
            crc: crc.sum(),
            gap: 0,
        }
    }

    pub(super) fn file(name: &str) -> Self {
        Self::new(name, 0o100_644, b"content")
    }

    /// What both headers have, from the version needed to the two lengths.
    fn common(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for half in [20, self.flags, self.method, 0, 0x21] {
            bytes.extend(half.to_le_bytes());
        }
        for word in [self.crc, self.data.len() as u32, self.size] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }
}

/// A zip archive, whose directory can be changed before the end record is made.
pub(super) fn zip_edited(entries: &[ZipEntry], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = bytes.len() as u32;
        bytes.extend(b"PK\x03\x04");
        bytes.extend(entry.common(&entry.local));
        bytes.extend(&entry.local);
        bytes.extend(&entry.data);
        bytes.resize(bytes.len() + entry.gap, 0);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(entry.common(&entry.listed));
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.listed);
    }
    edit(&mut directory);
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

pub(super) fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_edited(entries, |_| {})
}
