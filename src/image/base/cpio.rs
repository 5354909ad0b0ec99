//! Reading gzipped cpio archives ("newc", "initramfs buffer format" in the
//! kernel's documentation): a Tiny Core release's root filesystem and modules.
//!
//! Own code: the format is one fixed header, and here it must bound what it
//! reads and refuse what leads out of the tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::BaseError;
use crate::archive::Limits;
use crate::image::initrd::{Device, Tree};
use crate::stage::{Content, Kind, Node, Owner, Spool, TreePath};

/// Bytes of a header: a magic number and 13 fields of 8 hexadecimal digits.
const HEADER: usize = 110;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Reads those entries of an archive whose path `wanted` takes.
pub(super) fn read(
    path: &Path,
    limits: &Limits,
    spool: &mut Spool,
    wanted: impl Fn(&TreePath) -> bool,
) -> Result<Tree, BaseError> {
    let file = File::open(path).map_err(|source| BaseError::read(path, source))?;
    let gzip = MultiGzDecoder::new(BufReader::new(file)).take(limits.total_bytes);
    let mut archive = Archive { input: gzip, at: 0 };
    archive
        .tree(limits, spool, wanted)
        .map_err(|error| BaseError::Cpio {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// One entry's header.
struct Header {
    /// What makes a file the same as another: device and inode.
    identity: [u32; 3],
    mode: u32,
    owner: Owner,
    links: u32,
    size: u64,
    device: (u32, u32),
    name_size: usize,
}

struct Archive<R> {
    input: R,
    /// How far it was read; names and contents begin at multiples of four.
    at: u64,
}

impl<R: Read> Archive<R> {
    fn tree(
        &mut self,
        limits: &Limits,
        spool: &mut Spool,
        wanted: impl Fn(&TreePath) -> bool,
    ) -> io::Result<Tree> {
        let mut tree = Tree::default();
        // The names of each file that has several; one of them has the content.
        let mut links: BTreeMap<[u32; 3], (Vec<TreePath>, Option<Content>)> = BTreeMap::new();
        let mut entries = 0;
        while let Some((header, path)) = self.next(limits)? {
            entries += 1;
            if entries > limits.entries {
                return Err(invalid("it has too many entries"));
            }
            if !wanted(&path) {
                self.skip(header.size)?;
                continue;
            }
            if let Some(block) = header.device_kind() {
                self.skip(header.size)?;
                tree.devices.push(header.device_at(path, block));
                continue;
            }
            let node = self.node(&header, spool)?;
            if let (Kind::File(content), true) = (&node.kind, header.links > 1) {
                let (paths, whole) = links.entry(header.identity).or_default();
                paths.push(path.clone());
                if !content.is_empty() {
                    *whole = Some(content.clone());
                }
            }
            tree.stage.insert(path, node).map_err(io::Error::other)?;
        }
        let whole = links.into_values();
        let contents: BTreeMap<_, _> = whole
            .filter_map(|(paths, content)| Some((paths, content?)))
            .flat_map(|(paths, content)| paths.into_iter().map(move |path| (path, content.clone())))
            .collect();
        for (path, node) in tree.stage.iter_mut() {
            if let (Some(content), Kind::File(there)) = (contents.get(path), &mut node.kind) {
                *there = content.clone();
            }
        }
        tree.devices.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// The next entry; `None` at the end.
    fn next(&mut self, limits: &Limits) -> io::Result<Option<(Header, TreePath)>> {
        let mut bytes = [0; HEADER];
        self.fill(&mut bytes)?;
        let header = Header::parse(&bytes).ok_or_else(|| invalid("a header is malformed"))?;
        if !(2..=limits.path_bytes).contains(&header.name_size) {
            return Err(invalid("a name is empty or too long"));
        }
        let mut name = vec![0; header.name_size];
        self.fill(&mut name)?;
        self.align()?;
        if name.pop() != Some(0) {
            return Err(invalid("a name does not end"));
        }
        if name == TRAILER {
            return Ok(None);
        }
        let path = TreePath::parse(&name).map_err(io::Error::other)?;
        Ok(Some((header, path)))
    }

    fn node(&mut self, header: &Header, spool: &mut Spool) -> io::Result<Node> {
        let before = self.at;
        let mut content = self.by_ref().take(header.size);
        let kind = match header.mode & 0o170_000 {
            0o040_000 => Kind::Directory,
            0o100_000 => Kind::File(spool.add(&mut content)?),
            0o120_000 => {
                let mut target = Vec::new();
                content.by_ref().take(4096).read_to_end(&mut target)?;
                Kind::Symlink(target)
            }
            _ => return Err(invalid("it holds a pipe or a socket")),
        };
        let rest = header.size - (self.at - before);
        self.skip(rest)?;
        Ok(Node {
            kind,
            mode: (header.mode & 0o7777) as u16,
            owner: header.owner,
        })
    }

    /// Passes over what is left of an entry, and what fills it up.
    fn skip(&mut self, rest: u64) -> io::Result<()> {
        if io::copy(&mut self.by_ref().take(rest), &mut io::sink())? != rest {
            return Err(invalid("it is cut short"));
        }
        self.align()
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid("it is cut short"),
            _ => error,
        })
    }

    fn align(&mut self) -> io::Result<()> {
        let rest = (4 - self.at % 4) % 4;
        let mut padding = [0; 4];
        self.fill(&mut padding[..rest as usize])
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(bytes)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        if !matches!(&bytes[..6], b"070701" | b"070702") {
            return None;
        }
        let field = |index: usize| {
            let digits = &bytes[6 + 8 * index..14 + 8 * index];
            let text = std::str::from_utf8(digits).ok()?;
            let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| u32::from_str_radix(text, 16).ok())?
        };
        Some(Self {
            identity: [field(0)?, field(7)?, field(8)?],
            mode: field(1)?,
            owner: Owner {
                uid: field(2)?,
                gid: field(3)?,
            },
            links: field(4)?,
            size: field(6)?.into(),
            device: (field(9)?, field(10)?),
            name_size: usize::try_from(field(11)?).ok()?,
        })
    }

    /// Whether it is a device of blocks, or of characters, or none.
    fn device_kind(&self) -> Option<bool> {
        match self.mode & 0o170_000 {
            0o060_000 => Some(true),
            0o020_000 => Some(false),
            _ => None,
        }
    }

    fn device_at(&self, path: TreePath, block: bool) -> Device {
        Device {
            path,
            block,
            major: self.device.0,
            minor: self.device.1,
            mode: (self.mode & 0o7777) as u16,
            owner: self.owner,
        }
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An entry: inode, mode, links, device, name, content.
    fn entry(inode: u32, mode: u32, links: u32, device: (u32, u32), name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        let size = content.len() as u32;
        let name_size = name.len() as u32 + 1;
        for field in [
            inode, mode, 1001, 50, links, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ] {
            write!(bytes, "{field:08x}").unwrap();
        }
        let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        pad(&mut bytes);
        bytes.extend_from_slice(content);
        pad(&mut bytes);
        bytes
    }

    fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let end = entry(0, 0, 1, (0, 0), "TRAILER!!!", b"");
        [entries.concat(), end].concat()
    }

    fn tree(bytes: &[u8]) -> Result<Tree, String> {
        let (limits, mut spool) = (Limits::built_in().unwrap(), Spool::new().unwrap());
        let mut archive = Archive { input: bytes, at: 0 };
        archive
            .tree(&limits, &mut spool, |path| path.as_bytes() != b"not")
            .map_err(|error| error.to_string())
    }

    #[test]
    fn everything_that_a_root_filesystem_holds_is_read() {
        let tree = tree(&archive(&[
            entry(1, 0o040_755, 2, (0, 0), ".", b""),
            entry(2, 0o100_644, 2, (0, 0), "./a", b""),
            entry(2, 0o100_644, 2, (0, 0), "b", b"twice"),
            entry(3, 0o120_777, 1, (0, 0), "l", b"b"),
            entry(4, 0o020_620, 1, (5, 1), "dev/console", b""),
            entry(5, 0o100_644, 1, (0, 0), "not", b"wanted"),
        ]))
        .unwrap();
        let get = |name: &str| tree.stage.get(&TreePath::parse(name).unwrap());
        let (Kind::File(a), Kind::File(b)) = (&get("a").unwrap().kind, &get("b").unwrap().kind) else {
            panic!("not files");
        };
        assert!(a.is_same(b));
        assert_eq!(b.read_all().unwrap(), b"twice");
        assert!(matches!(&get("l").unwrap().kind, Kind::Symlink(target) if target == b"b"));
        assert!(get("not").is_none());
        let owner = Owner { uid: 1001, gid: 50 };
        assert_eq!(get("b").unwrap().owner, owner);
        let console = Device {
            path: TreePath::parse("dev/console").unwrap(),
            block: false,
            major: 5,
            minor: 1,
            mode: 0o620,
            owner,
        };
        assert_eq!(tree.devices, [console]);
    }

    #[test]
    fn what_is_damaged_or_leads_out_is_refused() {
        let file = |name: &str| entry(1, 0o100_644, 1, (0, 0), name, b"content");
        let whole = archive(&[file("a")]);
        let mut digits = whole.clone();
        digits[20] = b'x';
        for (name, bytes, why) in [
            ("empty", Vec::new(), "it is cut short"),
            ("no end", file("a"), "it is cut short"),
            ("cut", whole[..120].to_vec(), "it is cut short"),
            ("digits", digits, "a header is malformed"),
            ("out", archive(&[file("../a")]), "the name has a `..` in it"),
            ("absolute", archive(&[file("/a")]), "the name is absolute"),
            ("twice", archive(&[file("a"), file("a")]), "`a` is there already"),
            (
                "below a file",
                archive(&[file("a"), file("a/b")]),
                "`a/b` would lie below `a`, which is not a directory",
            ),
            (
                "pipe",
                archive(&[entry(1, 0o010_644, 1, (0, 0), "p", b"")]),
                "it holds a pipe or a socket",
            ),
        ] {
            assert_eq!(tree(&bytes).unwrap_err(), why, "{name}");
        }
    }
}
