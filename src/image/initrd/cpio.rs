//! The archive's format: Documentation/driver-api/early-userspace/buffer-format.rst
//! of the kernel ("newc").

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Read, Write};

use super::{Device, InitrdError, Tree};
use crate::stage::{Content, Kind, Node, Owner, TreePath};

/// Changes with the bytes that are made of the same tree: numbers, order, padding.
pub(super) const METHOD: &[u8] = b"newc 1";

/// Kinds of files in a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const BLOCK: u32 = 0o060_000;
const CHARACTER: u32 = 0o020_000;

/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Everything in the archive begins at a multiple of this.
const ALIGNMENT: u64 = 4;

pub(super) fn write(tree: &Tree, out: impl Write, time: u32) -> Result<(), InitrdError> {
    let entries = entries(tree)?;
    let mut archive = Archive {
        out: BufWriter::with_capacity(128 * 1024, out),
        position: 0,
        time,
    };
    let mut links = Links::of(tree);
    for (number, (path, entry)) in (1..).zip(&entries) {
        archive.entry(path, entry, number, &mut links)?;
    }
    let end = Header {
        links: 1,
        ..Header::default()
    };
    archive.header(&end, TRAILER).map_err(InitrdError::Write)?;
    archive.out.flush().map_err(InitrdError::Write)
}

enum Entry<'a> {
    Node(&'a Node),
    Device(&'a Device),
}

fn entries(tree: &Tree) -> Result<BTreeMap<&TreePath, Entry<'_>>, InitrdError> {
    let mut entries: BTreeMap<_, _> = tree
        .stage
        .iter()
        .map(|(path, node)| (path, Entry::Node(node)))
        .collect();
    for device in &tree.devices {
        let above = device.path.parent().and_then(|above| tree.stage.get(&above));
        let has_place = above.is_some_and(Node::is_dir);
        if !has_place || entries.insert(&device.path, Entry::Device(device)).is_some() {
            return Err(InitrdError::Device(device.path.clone()));
        }
    }
    Ok(entries)
}

/// Files that are the same: the last one carries the content, the ones before
/// it only name its inode, as GNU cpio writes them.
struct Links(HashMap<LinkKey, Link>);

/// An inode has one mode and one owner.
type LinkKey = (usize, u16, Owner);

struct Link {
    names: u32,
    left: u32,
    inode: Option<u32>,
}

impl Links {
    fn of(tree: &Tree) -> Self {
        let mut links = HashMap::new();
        for (_, node) in tree.stage.iter() {
            if let Kind::File(content) = &node.kind {
                let link = links.entry(key(node, content)).or_insert(Link {
                    names: 0,
                    left: 0,
                    inode: None,
                });
                link.names += 1;
                link.left += 1;
            }
        }
        Self(links)
    }

    /// Inode, number of names, and whether the content comes with this one.
    fn next(&mut self, node: &Node, content: &Content, number: u32) -> (u32, u32, bool) {
        let Some(link) = self.0.get_mut(&key(node, content)) else {
            return (number, 1, true);
        };
        link.left -= 1;
        let inode = *link.inode.get_or_insert(number);
        (inode, link.names, link.left == 0)
    }
}

fn key(node: &Node, content: &Content) -> LinkKey {
    (content.identity(), node.mode, node.owner)
}

#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    owner: Owner,
    links: u32,
    time: u32,
    size: u32,
    device: (u32, u32),
}

struct Archive<W: Write> {
    out: BufWriter<W>,
    position: u64,
    time: u32,
}

impl<W: Write> Archive<W> {
    fn entry(
        &mut self,
        path: &TreePath,
        entry: &Entry<'_>,
        number: u32,
        links: &mut Links,
    ) -> Result<(), InitrdError> {
        let name = match path.as_bytes() {
            b"" => b".",
            name => name,
        };
        let header = Header {
            inode: number,
            links: 1,
            time: self.time,
            ..Header::default()
        };
        match entry {
            Entry::Device(device) => {
                let header = Header {
                    mode: u32::from(device.mode) | if device.block { BLOCK } else { CHARACTER },
                    owner: device.owner,
                    device: (device.major, device.minor),
                    ..header
                };
                self.header(&header, name).map_err(InitrdError::Write)
            }
            Entry::Node(node) => self.node(path, name, node, header, links),
        }
    }

    fn node(
        &mut self,
        path: &TreePath,
        name: &[u8],
        node: &Node,
        mut header: Header,
        links: &mut Links,
    ) -> Result<(), InitrdError> {
        header.owner = node.owner;
        header.mode = u32::from(node.mode);
        let too_large = |len| InitrdError::TooLarge {
            path: path.clone(),
            len,
        };
        match &node.kind {
            Kind::Directory => {
                header.mode |= DIRECTORY;
                header.links = 2;
                self.header(&header, name).map_err(InitrdError::Write)
            }
            Kind::Symlink(target) => {
                header.mode |= SYMLINK;
                header.size = u32::try_from(target.len()).map_err(|_| too_large(target.len() as u64))?;
                self.header(&header, name).map_err(InitrdError::Write)?;
                self.put(target).map_err(InitrdError::Write)?;
                self.pad().map_err(InitrdError::Write)
            }
            Kind::File(content) => {
                let (inode, names, with_content) = links.next(node, content, header.inode);
                header.mode |= FILE;
                (header.inode, header.links) = (inode, names);
                let size = u32::try_from(content.len()).map_err(|_| too_large(content.len()))?;
                header.size = if with_content { size } else { 0 };
                self.header(&header, name).map_err(InitrdError::Write)?;
                if with_content {
                    self.content(path, content)?;
                }
                self.pad().map_err(InitrdError::Write)
            }
        }
    }

    fn header(&mut self, header: &Header, name: &[u8]) -> io::Result<()> {
        let (major, minor) = header.device;
        // Inode, mode, owner, links, time, size, the device that it lies on
        // (none), the device that it is, and the length of the name with its NUL.
        let fields = [
            header.inode,
            header.mode,
            header.owner.uid,
            header.owner.gid,
            header.links,
            header.time,
            header.size,
            0,
            0,
            major,
            minor,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        let mut text = "070701".to_owned();
        for field in fields {
            text.push_str(&format!("{field:08x}"));
        }
        self.put(text.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad()
    }

    fn content(&mut self, path: &TreePath, content: &Content) -> Result<(), InitrdError> {
        let read = |source| InitrdError::Read {
            path: path.clone(),
            source,
        };
        let mut reader = content.open().map_err(read)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match reader.read(&mut buffer).map_err(read)? {
                0 => return Ok(()),
                n => self.put(&buffer[..n]).map_err(InitrdError::Write)?,
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let over = self.position % ALIGNMENT;
        let missing = (ALIGNMENT - over) % ALIGNMENT;
        self.put(&[0; ALIGNMENT as usize][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        let twice = Content::bytes(*b"hello");
        let node = |content: &Content| Node::file(content.clone(), 0o755);
        let home = Node {
            owner: Owner { uid: 1001, gid: 50 },
            ..Node::directory()
        };
        for (name, node) in [
            ("bin/a", node(&twice)),
            ("bin/b", node(&twice)),
            ("bin/sh", Node::symlink("busybox")),
            ("empty", Node::file(Content::bytes(*b""), 0o600)),
            ("home/tc", home),
            ("dev", Node::directory()),
        ] {
            tree.stage.insert(path(name), node).unwrap();
        }
        tree.devices.push(Device {
            path: path("dev/console"),
            block: false,
            major: 5,
            minor: 1,
            mode: 0o600,
            owner: Owner::ROOT,
        });
        tree
    }

    fn bytes(tree: &Tree, time: u32) -> Vec<u8> {
        let mut out = Vec::new();
        tree.write_cpio(&mut out, time).unwrap();
        out
    }

    /// An archive read back: name, mode, inode, links, content.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, u32, u32, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let field = |at: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * at..14 + 8 * at]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[..6], b"070701");
            let (name_end, size) = (110 + field(11) as usize, field(6) as usize);
            let name = String::from_utf8(bytes[110..name_end - 1].to_vec()).unwrap();
            let start = name_end.next_multiple_of(4);
            let entry = (
                name,
                field(1),
                field(0),
                field(4),
                bytes[start..start + size].to_vec(),
            );
            bytes = &bytes[(start + size).next_multiple_of(4)..];
            if entry.0.as_bytes() == TRAILER {
                assert!(bytes.is_empty());
                return all;
            }
            all.push(entry);
        }
    }

    #[test]
    fn everything_is_written_in_order_and_links_share_an_inode() {
        let entry = |name: &str, mode, inode, links, content: &[u8]| {
            (name.to_owned(), mode, inode, links, content.to_vec())
        };
        assert_eq!(
            read(&bytes(&tree(), 1)),
            [
                entry(".", 0o040_755, 1, 2, b""),
                entry("bin", 0o040_755, 2, 2, b""),
                entry("bin/a", 0o100_755, 3, 2, b""),
                entry("bin/b", 0o100_755, 3, 2, b"hello"),
                entry("bin/sh", 0o120_777, 5, 1, b"busybox"),
                entry("dev", 0o040_755, 6, 2, b""),
                entry("dev/console", 0o020_600, 7, 1, b""),
                entry("empty", 0o100_600, 8, 1, b""),
                entry("home", 0o040_755, 9, 2, b""),
                entry("home/tc", 0o040_755, 10, 2, b""),
            ]
        );
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        assert_eq!(bytes(&tree(), 7), bytes(&tree(), 7));
        assert_ne!(bytes(&tree(), 7), bytes(&tree(), 8));
        let cache = tempfile::tempdir().unwrap();
        let write = |cache| {
            let mut out = Vec::new();
            tree().write(&mut out, 7, cache).unwrap();
            out
        };
        let gzip = || write(None);
        // No flags, no time; the fastest and the best are not meant; no system.
        assert_eq!(gzip()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(gzip(), gzip());
        // Made, and taken from the cache.
        for _ in 0..2 {
            assert_eq!(write(Some(cache.path())), gzip());
        }
    }

    #[test]
    fn a_device_needs_a_place() {
        for name in ["nowhere/null", "empty", "empty/x"] {
            let mut tree = tree();
            tree.devices[0].path = path(name);
            let error = tree.write_cpio(io::sink(), 0).unwrap_err();
            assert!(matches!(error, InitrdError::Device(at) if at == path(name)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut tree = tree();
        let gone = Node::file(Content::host("/nonexistent/x", 3), 0o644);
        tree.stage.insert(path("etc/x"), gone).unwrap();
        let error = tree.write_cpio(io::sink(), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read what becomes `etc/x` in the initrd"
        );
        let large = Node::file(Content::host("/nonexistent/x", 1 << 32), 0o644);
        tree.stage.insert(path("a"), large).unwrap();
        let error = tree.write_cpio(io::sink(), 0).unwrap_err();
        assert!(matches!(
            error,
            InitrdError::TooLarge {
                len: 0x1_0000_0000,
                ..
            }
        ));
    }
}
