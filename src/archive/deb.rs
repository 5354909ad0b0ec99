//! Debian packages (deb(5)): an ar archive of `debian-binary`, `control.tar…`
//! and `data.tar…`, in this order.
//!
//! Own code, as the format is three fixed headers: an ar library would have to
//! be held to these members, this order, and to nothing behind them as well.
//! deb(5) lets further members follow; no package of Debian's has any, so here
//! they are rubbish behind the end.

use std::io::Read;

use super::error::{ArchiveError, EntryName, Place};
use super::limits::Limits;
use super::stream::{Compression, Exact, archive_error, decompress, fill};
use super::tar;
use super::tree::{Root, Tree};
use crate::stage::{Spool, Stage};

/// What an ar archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Reads a package; its data become the tree. The control files are read and
/// checked as well, though nothing is made of them.
pub(super) fn read(input: &mut dyn Read, limits: &Limits, spool: &mut Spool) -> Result<Stage, ArchiveError> {
    let mut magic = [0; MAGIC.len()];
    match fill(input, &mut magic) {
        Ok(_) if magic == *MAGIC => {}
        Ok(_) => {
            return Err(ArchiveError::NotThisFormat {
                expected: "a Debian package",
            });
        }
        Err(error) => return Err(archive_error(error, Place::Start)),
    }
    version(input)?;
    let mut control = Tree::new(Root::System, limits, spool);
    tar_member(input, "control.tar", &mut control)?;
    control.finish()?;
    let mut data = Tree::new(Root::System, limits, spool);
    let last = tar_member(input, "data.tar", &mut data)?;
    let place = Place::After(last);
    match fill(input, &mut [0]) {
        Ok(0) => data.finish(),
        Ok(_) => Err(ArchiveError::Trailing {
            end: "the last member of the Debian package",
            place,
        }),
        Err(error) => Err(archive_error(error, place)),
    }
}

/// The header of a member.
struct Member {
    name: EntryName,
    size: u64,
}

impl Member {
    /// Reads a header: name (16 bytes), time (12), user (6), group (6), mode
    /// (8), size (10, decimal), and two fixed bytes.
    fn read(input: &mut dyn Read, expected: &'static str) -> Result<Self, ArchiveError> {
        let mut header = [0; 60];
        Exact::new(input, 60)
            .read_exact(&mut header)
            .map_err(|error| archive_error(error, Place::In(expected.into())))?;
        let name = header[..16].trim_ascii_end();
        // GNU ar ends names with a slash, and dpkg takes that.
        let name = EntryName::from(name.strip_suffix(b"/").unwrap_or(name));
        let size = std::str::from_utf8(header[48..58].trim_ascii_end());
        let digits = size
            .ok()
            .filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|size| size.parse().ok()) {
            Some(size) if header[58..] == *b"`\n" => Ok(Self { name, size }),
            _ => Err(ArchiveError::DebMember {
                member: name,
                reason: "its header is malformed",
            }),
        }
    }

    fn wrong(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::DebMember {
            member: self.name.clone(),
            reason,
        }
    }

    /// Members begin at even positions.
    fn skip_padding(&self, input: &mut dyn Read) -> Result<(), ArchiveError> {
        Exact::new(input, self.size % 2)
            .skip()
            .map_err(|error| archive_error(error, Place::In(self.name.clone())))
    }
}

/// The first member, which tells the format's version.
fn version(input: &mut dyn Read) -> Result<(), ArchiveError> {
    let member = Member::read(input, "debian-binary")?;
    if member.name.as_bytes() != b"debian-binary" {
        return Err(member.wrong("the first one must be `debian-binary`"));
    }
    let mut version = Vec::new();
    Exact::new(input, member.size.min(16))
        .read_to_end(&mut version)
        .map_err(|error| archive_error(error, Place::In(member.name.clone())))?;
    if member.size > 16 || !version.starts_with(b"2.") || !version.ends_with(b"\n") {
        return Err(member.wrong("its version of the format is not 2"));
    }
    member.skip_padding(input)
}

/// Reads a member that is a tar archive into a tree; its name.
fn tar_member(
    input: &mut dyn Read,
    expected: &'static str,
    tree: &mut Tree<'_>,
) -> Result<EntryName, ArchiveError> {
    let member = Member::read(input, expected)?;
    let compression = match member.name.as_bytes().strip_prefix(expected.as_bytes()) {
        Some(b"") => Compression::None,
        Some(b".gz") => Compression::Gzip,
        Some(b".xz") => Compression::Xz,
        Some(b".zst") => Compression::Zstd,
        Some(_) => return Err(member.wrong("its compression is not read (gz, xz and zst are)")),
        None => return Err(member.wrong("`control.tar` and `data.tar` must come in this order")),
    };
    let bytes = Exact::new(input, member.size);
    tar::read(&mut decompress(bytes, compression, tree.limits), tree)?;
    member.skip_padding(input)?;
    Ok(member.name)
}
