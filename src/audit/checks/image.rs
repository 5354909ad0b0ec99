//! The image as a file: its name, its superblock, and its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::audit::report::{Check, Findings, Level};
use crate::audit::subject::file_name;
use crate::tcz::side::info::packing_note;
use crate::tcz::side::is_name;

/// Squashfs images are filled up to a multiple of this, for loop devices.
const PADDING: u64 = 4096;

/// The fields of a squashfs 4.0 superblock that say something here.
struct Superblock {
    block_size: u32,
    compression: u16,
    bytes_used: u64,
}

impl Superblock {
    fn parse(bytes: &[u8; 96]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        bytes.starts_with(b"hsqs").then_some(())?;
        Some(Self {
            block_size: u32_at(12)?,
            compression: u16::from_le_bytes([bytes[20], bytes[21]]),
            bytes_used: u64_at(40)?,
        })
    }

    fn compression(&self) -> String {
        let names = ["gzip", "lzma", "lzo", "xz", "lz4", "zstd"];
        let name = usize::from(self.compression)
            .checked_sub(1)
            .and_then(|number| names.get(number));
        name.map_or_else(
            || format!("number {}", self.compression),
            |name| (*name).to_owned(),
        )
    }
}

/// Checks what can be said of an extension even if its image cannot be read. `info`
/// is its info file, where it can.
pub(in crate::audit) fn check(file: &Path, info: Option<&[u8]>, findings: &mut Findings) -> io::Result<()> {
    findings.made(&[Check::Name]);
    let name = file_name(file);
    if !is_name(&name) {
        findings
            .add(
                Check::Name,
                Level::Error,
                format!("`{name}` cannot be the name of an extension"),
            )
            .hint("use letters, digits, `.`, `_`, `+` and `-`, with `.tcz` at the end");
    }
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let mut bytes = [0; 96];
    if file.read_exact(&mut bytes).is_err() {
        return Ok(());
    }
    if let Some(superblock) = Superblock::parse(&bytes) {
        check_end(superblock.bytes_used, length, findings);
        check_packing(&superblock, info, findings);
    }
    Ok(())
}

/// Whether it is packed as the mirror does it, or its info file says why not.
fn check_packing(superblock: &Superblock, info: Option<&[u8]>, findings: &mut Findings) {
    findings.made(&[Check::BlockSize, Check::Compression, Check::Appended]);
    let compression = superblock.compression();
    let note = packing_note(superblock.block_size, &compression);
    if info.is_some_and(|info| says(info, &note)) {
        return;
    }
    if superblock.block_size != 4096 {
        let size = superblock.block_size;
        findings
            .add(
                Check::BlockSize,
                Level::Warning,
                format!("the blocks have {size} bytes, not 4096"),
            )
            .hint("the kernel reads every size; the official repository asks for `mksquashfs -b 4096`");
    }
    if compression != "gzip" {
        // The kernel of Tiny Core 11 has no lzma.
        let level = match compression.as_str() {
            "xz" | "zstd" | "lzo" | "lz4" => Level::Warning,
            _ => Level::Error,
        };
        findings.add(
            Check::Compression,
            level,
            format!("it is compressed with {compression}, not gzip"),
        );
    }
}

/// Whether an info file says something, however its lines are broken.
fn says(info: &[u8], what: &str) -> bool {
    let text = String::from_utf8_lossy(info);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").contains(what)
}

/// Whether the file ends with the padding. What ends before is no image at all,
/// which reading it tells.
fn check_end(used: u64, length: u64, findings: &mut Findings) {
    let padded = used.div_ceil(PADDING).saturating_mul(PADDING);
    if length > padded {
        let more = length - padded;
        findings
            .add(
                Check::Appended,
                Level::Error,
                format!("{more} bytes follow the end of the image"),
            )
            .hint("pack it anew, with `mksquashfs -noappend`");
    }
    if (used..padded).contains(&length) {
        let message = match padded - length {
            1 => "its end is cut off: 1 byte is missing".to_owned(),
            missing => format!("its end is cut off: {missing} bytes are missing"),
        };
        findings.add(Check::Image, Level::Error, message).hint(
            "a loop device leaves out the last sector if it is not whole: fetch it again, or pack it anew \
             without `-nopad`",
        );
    }
}
