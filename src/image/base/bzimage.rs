//! What a boot loader takes as a kernel, by Linux's x86 boot protocol
//! (Documentation/x86/boot.rst of the kernel's source).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::BaseError;

/// As far into the file as the fields go that are looked at.
const HEADER: usize = 0x212;
/// The longest version text that is read; Linux's are about 100 bytes.
const VERSION_BYTES: u64 = 1024;

/// What a file is that is no kernel image, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBzImage {
    /// It ends before the header does.
    Short,
    /// It ends before the kernel does that its header announces.
    Cut,
    /// An ELF file: `vmlinux`, which `make` leaves beside the bzImage.
    Elf,
    /// Something compressed, say `vmlinux.gz`.
    Gzip,
    /// It has no boot signature, or no setup header.
    Unknown,
    /// A zImage, which is loaded low and has been gone for long.
    ZImage,
    /// A kernel that does not say which version it is.
    NoVersion,
}

impl NotBzImage {
    /// What it is, for a message.
    pub fn what(self) -> &'static str {
        match self {
            Self::Short => "too short for a kernel image",
            Self::Cut => "cut off: its header announces more than there is",
            Self::Elf => "an ELF file (`vmlinux`), not a bzImage",
            Self::Gzip => "gzip data, not a bzImage",
            Self::Unknown => "not a Linux kernel: it has no boot sector signature (0xAA55) and `HdrS` header",
            Self::ZImage => "a zImage, not a bzImage",
            Self::NoVersion => "a kernel image that does not say its version",
        }
    }

    /// What the person can do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Elf => {
                "a boot loader says \"invalid magic number\" of it; the file that boots is \
                 `arch/x86/boot/bzImage` of the same build"
            }
            Self::Gzip => "name the file as the build made it: `arch/x86/boot/bzImage`",
            _ => "name the `vmlinuz64` of a release, or `arch/x86/boot/bzImage` of a kernel build",
        }
    }
}

/// The release of the kernel in a bzImage, as `uname -r` says it.
///
/// Checked: the boot sector signature 0xAA55 at 0x1FE, `HdrS` at 0x202, that it
/// is loaded high (bit 0 at 0x211), that all of it is there (the sectors of the
/// setup at 0x1F1, and 16 bytes for each of the number at 0x1F4), and the version
/// text, which lies 0x200 behind the number at 0x20E.
pub fn release_of(path: &Path) -> Result<String, BaseError> {
    let mut file = File::open(path).map_err(|source| BaseError::read(path, source))?;
    let release = read(&mut file).map_err(|source| BaseError::read(path, source))?;
    release.map_err(|reason| BaseError::NotAKernel {
        path: path.to_owned(),
        reason,
    })
}

fn read(file: &mut (impl Read + Seek)) -> io::Result<Result<String, NotBzImage>> {
    let mut header = Vec::with_capacity(HEADER);
    file.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
    let version_at = match check_header(&header) {
        Ok(at) => at,
        Err(reason) => return Ok(Err(reason)),
    };
    if file.seek(SeekFrom::End(0))? < announced(&header) {
        return Ok(Err(NotBzImage::Cut));
    }
    file.seek(SeekFrom::Start(version_at))?;
    let mut version = Vec::new();
    file.take(VERSION_BYTES).read_to_end(&mut version)?;
    Ok(first_word(&version).ok_or(NotBzImage::NoVersion))
}

/// Checks the fixed fields; where the version text lies.
fn check_header(header: &[u8]) -> Result<u64, NotBzImage> {
    if header.starts_with(b"\x7fELF") {
        return Err(NotBzImage::Elf);
    }
    if header.starts_with(b"\x1f\x8b") {
        return Err(NotBzImage::Gzip);
    }
    if header.len() < HEADER {
        return Err(NotBzImage::Short);
    }
    if header[0x1fe..0x200] != [0x55, 0xaa] || &header[0x202..0x206] != b"HdrS" {
        return Err(NotBzImage::Unknown);
    }
    if header[0x211] & 1 == 0 {
        return Err(NotBzImage::ZImage);
    }
    match u16::from_le_bytes([header[0x20e], header[0x20f]]) {
        0 => Err(NotBzImage::NoVersion),
        at => Ok(u64::from(at) + 0x200),
    }
}

/// How many bytes the header, which is whole, says that there are.
fn announced(header: &[u8]) -> u64 {
    // Zero stands for four.
    let sectors = match header[0x1f1] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let number = [header[0x1f4], header[0x1f5], header[0x1f6], header[0x1f7]];
    (sectors + 1) * 512 + u64::from(u32::from_le_bytes(number)) * 16
}

/// `5.4.3-tinycore64` of `5.4.3-tinycore64 (tc@box) #2020 SMP …`.
fn first_word(version: &[u8]) -> Option<String> {
    let end = version
        .iter()
        .position(|byte| matches!(byte, 0 | b' '))
        .filter(|end| *end > 0)?;
    let word = &version[..end];
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(byte);
    // It becomes the name of a directory.
    let fits = word.iter().all(plain) && word[0].is_ascii_digit();
    fits.then(|| String::from_utf8_lossy(word).into_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The least that passes for a kernel.
    pub(in crate::image::base) fn bzimage(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x1f1] = 1;
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x200_u16.to_le_bytes());
        bytes[0x211] = 1;
        bytes.extend_from_slice(version.as_bytes());
        bytes.push(0);
        bytes
    }

    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = bzimage("5.4.3-tinycore64 (tc@box) #2020 SMP");
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_kernel_image_says_its_release_and_everything_else_what_it_is() {
        let cases: [(&str, Vec<u8>, Result<&str, NotBzImage>); 13] = [
            ("whole", changed(|_| ()), Ok("5.4.3-tinycore64")),
            ("no build", bzimage("6.12.0+"), Ok("6.12.0+")),
            ("empty", Vec::new(), Err(NotBzImage::Short)),
            ("cut", changed(|b| b.truncate(0x211)), Err(NotBzImage::Short)),
            (
                "cut behind",
                changed(|b| b.truncate(0x400)),
                Err(NotBzImage::NoVersion),
            ),
            ("cut at the end", changed(|b| b[0x1f4] = 9), Err(NotBzImage::Cut)),
            ("vmlinux", b"\x7fELF\x02\x01".to_vec(), Err(NotBzImage::Elf)),
            ("vmlinux.gz", b"\x1f\x8b\x08".to_vec(), Err(NotBzImage::Gzip)),
            (
                "no signature",
                changed(|b| b[0x1fe] = 0),
                Err(NotBzImage::Unknown),
            ),
            (
                "no header",
                changed(|b| b[0x202] = b'h'),
                Err(NotBzImage::Unknown),
            ),
            ("loaded low", changed(|b| b[0x211] = 0), Err(NotBzImage::ZImage)),
            (
                "no version",
                changed(|b| b[0x20f] = 0),
                Err(NotBzImage::NoVersion),
            ),
            (
                "a path for a version",
                bzimage("../x y"),
                Err(NotBzImage::NoVersion),
            ),
        ];
        for (name, bytes, wanted) in cases {
            let got = read(&mut io::Cursor::new(bytes)).unwrap();
            assert_eq!(got.as_deref().map_err(|reason| *reason), wanted, "{name}");
        }
    }
}
