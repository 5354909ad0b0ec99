//! Why an archive is refused: one variant for each way to be wrong.

use std::fmt;
use std::io;

use bstr::BString;

/// A name as an archive writes it: hostile bytes, so it is shown with what a
/// terminal would act on escaped, and cut when it is very long.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EntryName(BString);

impl EntryName {
    /// The most characters of a name that a message shows.
    const SHOWN: usize = 200;

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]>> From<T> for EntryName {
    fn from(name: T) -> Self {
        Self(name.as_ref().into())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                shown += 1;
                match c {
                    _ if shown > Self::SHOWN => return f.write_str("…"),
                    '\\' => f.write_str("\\\\")?,
                    '\0'..='\x1f' | '\x7f' => write!(f, "\\x{:02X}", u32::from(c))?,
                    _ if is_acted_on(c) => write!(f, "{}", c.escape_unicode())?,
                    _ => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                shown += 1;
                match byte {
                    _ if shown > Self::SHOWN => return f.write_str("…"),
                    _ => write!(f, "\\x{byte:02X}")?,
                }
            }
        }
        Ok(())
    }
}

/// Whether a terminal does something else with a character than show it where
/// it stands: controls (above ASCII too), and marks of the writing direction.
fn is_acted_on(c: char) -> bool {
    let direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || direction
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Where in an archive something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// Before the first entry, or in no entry.
    #[default]
    Start,
    /// In this entry.
    In(EntryName),
    /// Between this entry and what should come next.
    After(EntryName),
    /// Behind all entries.
    End,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("before its first entry"),
            Self::In(name) => write!(f, "in `{name}`"),
            Self::After(name) => write!(f, "after `{name}`"),
            Self::End => f.write_str("at its end"),
        }
    }
}

const DAMAGED: &str = "the file is damaged, or was made to harm: compare its sha256 with upstream's";
const HOSTILE: &str = "no honest archive holds this: compare its sha256 with upstream's, and tell upstream";
const LIMIT: &str = "if the archive is honest, raise the limit in `recipes/limits.toml`";

/// Why an archive is refused. Nothing of it is kept.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ArchiveError {
    /// A kind of archive that is not read.
    #[error("`{name}` is of a kind that is not read")]
    #[diagnostic(help("known are .tar, .tar.gz, .tar.xz, .tar.zst, .deb, .zip, and bare programs"))]
    UnknownFormat {
        /// The archive's file name.
        name: EntryName,
    },
    /// The file is not what its name says.
    #[error("this is not {expected}")]
    #[diagnostic(help("the server may have sent an error page; look at the file"))]
    NotThisFormat {
        /// What it should be: `gzip data`.
        expected: &'static str,
    },
    /// The archive could not be read from the disk.
    #[error("cannot read the archive")]
    #[diagnostic(help("look at the disk that it lies on"))]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The contents could not be kept.
    #[error("cannot keep the content of the archive {place} in a temporary file")]
    #[diagnostic(help("there must be room for the unpacked archive where TMPDIR points to"))]
    Spool {
        /// How far it came.
        place: Place,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive ends too early.
    #[error("the archive is cut short {place}")]
    #[diagnostic(help("fetch it again"))]
    Truncated {
        /// Where it ends.
        place: Place,
    },
    /// Something follows what should be the end.
    #[error("there is something behind {end}, {place}")]
    #[diagnostic(help("{HOSTILE}"))]
    Trailing {
        /// What should be the end: `the end of the gzip data`.
        end: &'static str,
        /// The last that was read.
        place: Place,
    },
    /// The compressed data make no sense, or a checksum of theirs is wrong.
    #[error("the {format} data are damaged {place}")]
    #[diagnostic(help("{DAMAGED}"))]
    Corrupt {
        /// Which data: `gzip`.
        format: &'static str,
        /// How far it came.
        place: Place,
        /// What the decompressor says.
        #[source]
        source: io::Error,
    },
    /// The decompressor would need too much memory.
    #[error("unpacking the {format} data would take more than {limit} bytes of memory")]
    #[diagnostic(help("{LIMIT} (`decoder-memory`)"))]
    TooMuchMemory {
        /// Which data: `xz`.
        format: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The archive, or what is in it, is too big.
    #[error("the archive holds more than {limit} bytes; the limit is passed {place}")]
    #[diagnostic(help("{LIMIT} (`total-bytes`)"))]
    TooManyBytes {
        /// Where that was noticed.
        place: Place,
        /// The limit, in bytes.
        limit: u64,
    },
    /// There are too many entries.
    #[error("the archive has more than {limit} entries; `{entry}` is one too many")]
    #[diagnostic(help("{LIMIT} (`entries`)"))]
    TooManyEntries {
        /// The first beyond the limit.
        entry: EntryName,
        /// The limit.
        limit: u64,
    },
    /// A name is too long.
    #[error("the name `{entry}` has {length} bytes; {limit} are allowed")]
    #[diagnostic(help("{LIMIT} (`path-bytes`)"))]
    PathTooLong {
        /// The entry.
        entry: EntryName,
        /// Its length in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A part of a name is too long.
    #[error("a part of the name `{entry}` has {length} bytes; {limit} are allowed")]
    #[diagnostic(help("{LIMIT} (`name-bytes`); a file system takes no more than 255"))]
    NameTooLong {
        /// The entry.
        entry: EntryName,
        /// The part's length in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A name has too many parts.
    #[error("`{entry}` lies {depth} directories deep; {limit} are allowed")]
    #[diagnostic(help("{LIMIT} (`depth`)"))]
    TooDeep {
        /// The entry.
        entry: EntryName,
        /// Its depth.
        depth: usize,
        /// The limit.
        limit: usize,
    },
    /// What describes an entry is too long.
    #[error("the headers of `{entry}` take more than {limit} bytes")]
    #[diagnostic(help("{LIMIT} (`header-bytes`)"))]
    HeaderTooLong {
        /// The entry.
        entry: EntryName,
        /// The limit, in bytes.
        limit: u64,
    },

    /// A name begins with `/`.
    #[error("the name `{entry}` is absolute")]
    #[diagnostic(help("{HOSTILE}"))]
    AbsoluteName {
        /// The entry.
        entry: EntryName,
    },
    /// A name has a `..` in it.
    #[error("the name `{entry}` has a `..` in it")]
    #[diagnostic(help("{HOSTILE}"))]
    ParentName {
        /// The entry.
        entry: EntryName,
    },
    /// A name or a link's target has a NUL byte in it.
    #[error("the name or target of `{entry}` has a NUL byte in it")]
    #[diagnostic(help("{HOSTILE}"))]
    NulName {
        /// The entry.
        entry: EntryName,
    },
    /// Something that is not a directory is named like the top of the tree.
    #[error("`{entry}` is no name for a {kind}")]
    #[diagnostic(help("{HOSTILE}"))]
    NoName {
        /// The entry.
        entry: EntryName,
        /// `file` or `link`.
        kind: &'static str,
    },
    /// An entry lies below a symbolic link of the archive.
    #[error("`{entry}` would be written through the symbolic link `{link}`")]
    #[diagnostic(help("{HOSTILE}"))]
    ThroughSymlink {
        /// The entry.
        entry: EntryName,
        /// The link.
        link: EntryName,
    },
    /// An entry lies below a file.
    #[error("`{entry}` lies below `{file}`, which is a file")]
    #[diagnostic(help("{DAMAGED}"))]
    BelowFile {
        /// The entry.
        entry: EntryName,
        /// The file.
        file: EntryName,
    },
    /// A path is there twice. A directory may be.
    #[error("`{entry}` is in the archive twice")]
    #[diagnostic(help("{HOSTILE}"))]
    Duplicate {
        /// The path.
        entry: EntryName,
    },
    /// A symbolic link has no target, or one that is too long.
    #[error("the link `{entry}` has a target of {length} bytes; 1 to {limit} are allowed")]
    #[diagnostic(help("{LIMIT} (`path-bytes`)"))]
    LinkLength {
        /// The link.
        entry: EntryName,
        /// The target's length in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A symbolic link is absolute, in an archive that has a place of its own.
    #[error("the link `{entry}` has the absolute target `{target}`")]
    #[diagnostic(help("only a Debian package's links may start at the system's root"))]
    AbsoluteLink {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
    },
    /// A symbolic link leads out of the tree.
    #[error("the link `{entry}` leads out of the tree, to `{target}`")]
    #[diagnostic(help("{HOSTILE}"))]
    LinkLeavesTree {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
    },
    /// A symbolic link goes through another one and up again, so that its name
    /// does not tell where it leads.
    #[error("the link `{entry}` to `{target}` goes up again behind the link `{through}`")]
    #[diagnostic(help("{HOSTILE}"))]
    LinkBehindLink {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
        /// The other link.
        through: EntryName,
    },
    /// A hard link's target is absolute or has a `..` in it.
    #[error("the hard link `{entry}` leads out of the tree, to `{target}`")]
    #[diagnostic(help("{HOSTILE}"))]
    HardLinkLeavesTree {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
    },
    /// A hard link's target is not there before it.
    #[error("the hard link `{entry}` is to `{target}`, which is not in the archive before it")]
    #[diagnostic(help("{DAMAGED}"))]
    HardLinkMissing {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
    },
    /// A hard link's target is a directory.
    #[error("the hard link `{entry}` is to `{target}`, which is a directory")]
    #[diagnostic(help("{DAMAGED}"))]
    HardLinkToDirectory {
        /// The link.
        entry: EntryName,
        /// Its target.
        target: EntryName,
    },
    /// A device, a named pipe or a socket.
    #[error("`{entry}` is a {kind}, which an extension cannot hold")]
    #[diagnostic(help("Tiny Core makes its own devices: take another release file"))]
    Special {
        /// The entry.
        entry: EntryName,
        /// Which.
        kind: &'static str,
    },
    /// A type of entry that is not known.
    #[error("`{entry}` is of the unknown type `{kind}`")]
    #[diagnostic(help("{DAMAGED}"))]
    UnknownType {
        /// The entry.
        entry: EntryName,
        /// The type as the archive gives it.
        kind: EntryName,
    },

    /// A tar header's checksum is wrong.
    #[error("the header of `{entry}` has a wrong checksum, {place}")]
    #[diagnostic(help("{DAMAGED}"))]
    HeaderChecksum {
        /// The name in that header.
        entry: EntryName,
        /// The last entry that was good.
        place: Place,
    },
    /// A field of a header makes no sense.
    #[error("the header of `{entry}` is wrong: {reason}")]
    #[diagnostic(help("{DAMAGED}"))]
    Header {
        /// The entry.
        entry: EntryName,
        /// What is wrong.
        reason: &'static str,
    },
    /// A PAX header is not made of records.
    #[error("the PAX header of `{entry}` is malformed: {reason}")]
    #[diagnostic(help("{DAMAGED}"))]
    PaxMalformed {
        /// The entry, or the extended header's own name.
        entry: EntryName,
        /// What is wrong.
        reason: &'static str,
    },
    /// A PAX header gives two values to a keyword.
    #[error("the PAX header of `{entry}` gives `{keyword}` twice, and not the same")]
    #[diagnostic(help("{HOSTILE}"))]
    PaxRepeated {
        /// The entry, or the extended header's own name.
        entry: EntryName,
        /// The keyword.
        keyword: EntryName,
    },
    /// A PAX header says something else than another header of the same entry.
    #[error("the headers of `{entry}` disagree about its {what}: `{pax}` and `{other}`")]
    #[diagnostic(help("{HOSTILE}"))]
    PaxDisagrees {
        /// The entry.
        entry: EntryName,
        /// About what: `size`.
        what: &'static str,
        /// What the PAX header says.
        pax: EntryName,
        /// What the other says.
        other: EntryName,
    },
    /// A global PAX header sets what only an entry's own may.
    #[error("a global PAX header sets `{keyword}` for all that follows, {place}")]
    #[diagnostic(help("{HOSTILE}"))]
    PaxGlobal {
        /// The keyword.
        keyword: EntryName,
        /// The last entry before it.
        place: Place,
    },
    /// An entry is described twice in ways that readers rank differently.
    #[error("`{entry}` has two headers that give its {what}")]
    #[diagnostic(help("{HOSTILE}"))]
    DescribedTwice {
        /// The entry, or what the extended header says.
        entry: EntryName,
        /// What both give: `name`.
        what: &'static str,
    },
    /// A PAX size and a GNU long name describe the same entry. Readers differ
    /// in whether such a size is the long name's or the entry's, which hides
    /// entries from one of them (CVE-2025-62518, GHSA-3cv2-h65g-fgmm).
    #[error("`{entry}` has both a PAX size and a GNU long name")]
    #[diagnostic(help("{HOSTILE}"))]
    MixedHeaders {
        /// The entry.
        entry: EntryName,
    },
    /// An extended header is not followed by the entry that it describes.
    #[error("an extended header describes no entry, {place}")]
    #[diagnostic(help("{DAMAGED}"))]
    StrayHeader {
        /// The last entry before it.
        place: Place,
    },
    /// The map of a sparse file makes no sense.
    #[error("the map of the sparse file `{entry}` is wrong: {reason}")]
    #[diagnostic(help("{DAMAGED}"))]
    Sparse {
        /// The entry.
        entry: EntryName,
        /// What is wrong.
        reason: &'static str,
    },

    /// A Debian package is not made of its three members.
    #[error("the member `{member}` of the Debian package is wrong: {reason}")]
    #[diagnostic(help("{DAMAGED}"))]
    DebMember {
        /// The member as it is named.
        member: EntryName,
        /// What is wrong.
        reason: &'static str,
    },

    /// The zip's own structure is wrong.
    #[error("the zip archive is malformed: {reason}")]
    #[diagnostic(help("{DAMAGED}"))]
    Zip {
        /// What is wrong; the library's words may hold names.
        reason: EntryName,
    },
    /// An entry of a zip is described differently in the two places that do.
    #[error("the headers of `{entry}` in the zip archive disagree: {reason}")]
    #[diagnostic(help("{HOSTILE}"))]
    ZipDisagrees {
        /// The entry.
        entry: EntryName,
        /// About what; the library's words may hold names.
        reason: EntryName,
    },
    /// Two entries of a zip share bytes.
    #[error("`{entry}` and `{other}` overlap in the zip archive")]
    #[diagnostic(help("{HOSTILE}"))]
    ZipOverlap {
        /// The entry that comes first.
        entry: EntryName,
        /// The entry that begins before the first one ends.
        other: EntryName,
    },
    /// There are bytes between two entries of a zip that belong to none.
    #[error("the zip archive hides {bytes} bytes {place}")]
    #[diagnostic(help("{HOSTILE}"))]
    ZipGap {
        /// How many.
        bytes: u64,
        /// Where.
        place: Place,
    },
    /// An entry of a zip is encrypted.
    #[error("`{entry}` is encrypted")]
    #[diagnostic(help("tcforge has no passwords: take another release file"))]
    Encrypted {
        /// The entry.
        entry: EntryName,
    },
    /// An entry of a zip is compressed in a way that is not read.
    #[error("`{entry}` is compressed by the method {method}, which is not read")]
    #[diagnostic(help("stored and deflated entries are read: take another release file"))]
    ZipMethod {
        /// The entry.
        entry: EntryName,
        /// PKWARE's name or number of it.
        method: String,
    },
}
