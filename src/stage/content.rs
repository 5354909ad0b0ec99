//! What is in a staged file, and where it can be read.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Sha256, Sha256Writer};

/// The content of a staged file. Cheap to clone; clones share their identity,
/// and files that share one are hard links of each other.
#[derive(Clone, Debug)]
pub struct Content(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    len: u64,
    sha256: Option<Sha256>,
}

#[derive(Debug)]
enum Source {
    Memory(Vec<u8>),
    Host(PathBuf),
    Spool { file: Arc<File>, offset: u64 },
}

impl Content {
    /// Content held in memory: for what is small or made here.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self(Arc::new(Inner {
            len: bytes.len() as u64,
            sha256: Some(Sha256::of(&bytes)),
            source: Source::Memory(bytes),
        }))
    }

    /// A file on the host, read when it is needed. `len` is its size now; a
    /// reader of a file that changed since is given an error.
    pub fn host(path: impl Into<PathBuf>, len: u64) -> Self {
        Self(Arc::new(Inner {
            source: Source::Host(path.into()),
            len,
            sha256: None,
        }))
    }

    /// A part of a file that stays as it is.
    pub fn within(file: &Arc<File>, offset: u64, len: u64) -> Self {
        Self(Arc::new(Inner {
            source: Source::Spool {
                file: Arc::clone(file),
                offset,
            },
            len,
            sha256: None,
        }))
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The sum, where it was taken when the content was staged; files on the
    /// host have none until they are read.
    pub fn sha256(&self) -> Option<Sha256> {
        self.0.sha256
    }

    /// Whether both are the same content by identity, as hard links are.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A number that is equal for contents that are the same by identity, as
    /// long as one of them lives.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The file on the host that it is read from, if any.
    pub fn host_path(&self) -> Option<&Path> {
        match &self.0.source {
            Source::Host(path) => Some(path),
            _ => None,
        }
    }

    /// Reads it from the start. The reader gives exactly [`Content::len`]
    /// bytes, or an error.
    pub fn open(&self) -> io::Result<ContentReader<'_>> {
        let inner = match &self.0.source {
            Source::Memory(bytes) => ReaderKind::Memory(Cursor::new(bytes)),
            Source::Host(path) => ReaderKind::Host(File::open(path)?),
            Source::Spool { file, offset } => ReaderKind::Spool {
                file,
                offset: *offset,
            },
        };
        Ok(ContentReader {
            inner,
            len: self.0.len,
            left: self.0.len,
        })
    }

    /// All of it, for files known to be small.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Content`].
#[derive(Debug)]
pub struct ContentReader<'a> {
    inner: ReaderKind<'a>,
    len: u64,
    left: u64,
}

#[derive(Debug)]
enum ReaderKind<'a> {
    Memory(Cursor<&'a Vec<u8>>),
    Host(File),
    Spool { file: &'a File, offset: u64 },
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return self.expect_end(buf.is_empty());
        }
        let buf = &mut buf[..want];
        let n = match &mut self.inner {
            ReaderKind::Memory(cursor) => cursor.read(buf)?,
            ReaderKind::Host(file) => file.read(buf)?,
            ReaderKind::Spool { file, offset } => {
                let n = file.read_at(buf, *offset)?;
                *offset += n as u64;
                n
            }
        };
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

impl ContentReader<'_> {
    fn expect_end(&mut self, nothing_asked: bool) -> io::Result<usize> {
        if let (ReaderKind::Host(file), false) = (&mut self.inner, nothing_asked)
            && file.read(&mut [0])? != 0
        {
            return Err(io::Error::other("the file became longer while it was read"));
        }
        Ok(0)
    }
}

impl Seek for ContentReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let now = self.len - self.left;
        let (from, by) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(by) => (now, by),
            SeekFrom::End(by) => (self.len, by),
        };
        let position = from
            .checked_add_signed(by)
            .filter(|position| *position <= self.len);
        let position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match &mut self.inner {
            ReaderKind::Memory(cursor) => cursor.set_position(position),
            ReaderKind::Host(file) => {
                file.seek(SeekFrom::Start(position))?;
            }
            ReaderKind::Spool { offset, .. } => *offset = *offset + position - now,
        }
        self.left = self.len - position;
        Ok(position)
    }
}

/// Takes the contents of unpacked files, one after the other, into one unnamed
/// temporary file, so that nothing of an archive ever gets a name on the host.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    end: u64,
}

impl Spool {
    /// An empty spool in the system's folder for temporary files.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(tempfile::tempfile()?),
            end: 0,
        })
    }

    /// An empty spool in a folder, for more than the system's own may hold.
    pub fn in_dir(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(tempfile::tempfile_in(folder)?),
            end: 0,
        })
    }

    /// Copies a reader to its end, and gives back what was read as content.
    pub fn add(&mut self, reader: &mut dyn Read) -> io::Result<Content> {
        let offset = self.end;
        let mut writer = Sha256Writer::new(At {
            file: &self.file,
            offset,
        });
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => writer.write_all(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (sha256, len, _) = writer.finish();
        self.end += len;
        Ok(Content(Arc::new(Inner {
            source: Source::Spool {
                file: Arc::clone(&self.file),
                offset,
            },
            len,
            sha256: Some(sha256),
        })))
    }
}

struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_gives_back_what_it_took() {
        let mut spool = Spool::new().unwrap();
        let first = spool.add(&mut &b"first"[..]).unwrap();
        let empty = spool.add(&mut io::empty()).unwrap();
        let second = spool.add(&mut &b"second"[..]).unwrap();
        assert_eq!(first.read_all().unwrap(), b"first");
        assert_eq!(second.read_all().unwrap(), b"second");
        assert_eq!(first.sha256(), Some(Sha256::of(b"first")));
        assert!(empty.is_empty() && !first.is_same(&second) && first.is_same(&first.clone()));
    }

    #[test]
    fn contents_are_read_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "0123456789").unwrap();
        let mut spool = Spool::new().unwrap();
        spool.add(&mut &b"before"[..]).unwrap();
        for content in [
            Content::bytes("0123456789"),
            Content::host(&path, 10),
            spool.add(&mut &b"0123456789"[..]).unwrap(),
        ] {
            let mut reader = content.open().unwrap();
            for (to, position, rest) in [
                (SeekFrom::Start(7), 7, "789"),
                (SeekFrom::Current(-2), 8, "89"),
                (SeekFrom::End(-1), 9, "9"),
                (SeekFrom::Start(0), 0, "0123456789"),
                (SeekFrom::End(0), 10, ""),
            ] {
                assert_eq!(reader.seek(to).unwrap(), position, "{to:?}");
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text, rest, "{to:?}");
            }
            for to in [SeekFrom::Start(11), SeekFrom::End(1), SeekFrom::Current(-11)] {
                assert!(reader.seek(to).is_err(), "{to:?}");
            }
        }
    }

    #[test]
    fn a_host_file_that_changed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (now, message) in [("12", "shorter"), ("1234", "longer")] {
            std::fs::write(&path, now).unwrap();
            let error = Content::host(&path, 3).read_all().unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        std::fs::write(&path, "123").unwrap();
        assert_eq!(Content::host(&path, 3).read_all().unwrap(), b"123");
    }
}
