//! The cache: files addressed by their sha256.
//!
//! ```text
//! sha256/ab/abcd…    whole files; they got their names after their sums were checked
//! partial/KEY.part   what an interrupted download left; never trusted
//! partial/KEY.from   where that came from
//! lock/KEY           held by whoever fetches KEY
//! apt/…              apt's private state
//! ```

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::FetchError;
use super::mirror::entry_path;
use crate::digest::Sha256;
use crate::user_folder::{set, user_folder};
use crate::{flock, plain};

/// A folder that keeps fetched files. Several processes may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// A whole file in the cache, whose sum and size were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Where it is. Do not change it.
    pub path: PathBuf,
    /// Its sum.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

impl Cached {
    /// Opens it for reading.
    pub fn open(&self) -> io::Result<File> {
        plain::open(&self.path)
    }
}

/// What a file must be, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) sum: Option<Sha256>,
    pub(super) size: Option<u64>,
    /// Bytes: no more than these are taken.
    pub(super) limit: u64,
}

impl Expected {
    /// Refuses another sum, or another size.
    pub(super) fn compare(&self, sum: Sha256, size: u64, from: String) -> Result<(), FetchError> {
        if let Some(wanted) = self.sum.filter(|&wanted| wanted != sum) {
            return Err(FetchError::WrongSum {
                from,
                wanted,
                found: sum,
                size,
                wanted_size: self.size,
            });
        }
        match self.size {
            Some(wanted) if wanted != size => Err(FetchError::WrongSize {
                from,
                wanted,
                found: size,
            }),
            _ => Ok(()),
        }
    }
}

/// What the cache has under a sum.
pub(super) enum Entry {
    Absent,
    Good(Cached),
    Damaged(PathBuf),
}

/// Held while an entry is fetched; freed when dropped, or when the process ends.
pub(super) struct EntryLock {
    // Only to be held: dropping it frees the lock.
    _file: File,
}

impl Cache {
    /// The cache in a folder, which is made when it is needed.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `$TCFORGE_CACHE`, or `$XDG_CACHE_HOME/tcforge`, or `~/.cache/tcforge`.
    pub fn from_environment() -> Result<Self, FetchError> {
        set("TCFORGE_CACHE")
            .map(PathBuf::from)
            .or_else(|| user_folder("XDG_CACHE_HOME", ".cache"))
            .map(Self::at)
            .ok_or(FetchError::NoCache)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file with this sum is, or would be.
    pub fn path_of(&self, sum: &Sha256) -> PathBuf {
        self.root.join(entry_path(sum))
    }

    /// Looks an entry up and sums it.
    pub(super) fn look_up(&self, sum: &Sha256) -> Result<Entry, FetchError> {
        let path = self.path_of(sum);
        let mut file = match plain::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Absent),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Entry::Damaged(path)),
            Err(error) => return Err(FetchError::io("read", path)(error)),
        };
        match Sha256::of_reader(&mut file) {
            Ok((found, size)) if found == *sum => Ok(Entry::Good(Cached {
                path,
                sha256: found,
                size,
            })),
            // A bad block: as damaged as a wrong byte.
            Ok(_) | Err(_) => Ok(Entry::Damaged(path)),
        }
    }

    /// Removes a damaged entry, whatever it is.
    pub(super) fn remove(&self, path: &Path) -> Result<(), FetchError> {
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(FetchError::io("remove", path)),
        }
    }

    /// Takes the lock of `key`; if another has it, calls `waiting` and waits.
    pub(super) fn lock(&self, key: &str, waiting: impl FnOnce()) -> Result<EntryLock, FetchError> {
        let path = self.folder("lock")?.join(key);
        let locked = || -> io::Result<File> {
            let file = flock::open(&path)?;
            flock::lock(&file, waiting)?;
            Ok(file)
        };
        let file = locked().map_err(FetchError::io("lock", &path))?;
        Ok(EntryLock { _file: file })
    }

    /// What an interrupted download of `key` left, or nothing yet.
    pub(super) fn part(&self, key: &str, _held: &EntryLock) -> Result<Part, FetchError> {
        let folder = self.folder("partial")?;
        Part::open(
            folder.join(format!("{key}.part")),
            folder.join(format!("{key}.from")),
        )
    }

    /// Gives a part, whose sum was checked, its name.
    pub(super) fn admit(&self, part: Part, checked: Checked) -> Result<Cached, FetchError> {
        let path = self.path_of(&checked.sum);
        let parent = self.folder(&format!("sha256/{}", &checked.sum.to_string()[..2]))?;
        let admit = || -> io::Result<()> {
            part.file.sync_all()?;
            fs::rename(&part.path, &path)?;
            // Not before: a part left by a kill here could not be written again.
            part.file.set_permissions(Permissions::from_mode(0o444))?;
            File::open(&parent)?.sync_all()
        };
        admit().map_err(FetchError::io("write", &path))?;
        Ok(Cached {
            path,
            sha256: checked.sum,
            size: checked.size,
        })
    }

    /// A folder of the cache, made if need be.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, FetchError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(FetchError::io("make", &path))?;
        Ok(path)
    }
}

/// A file under way. Nothing in it is trusted before [`Part::check`].
pub(super) struct Part {
    file: File,
    path: PathBuf,
    from: PathBuf,
    length: u64,
}

/// The sum and size of a part that is as expected.
pub(super) struct Checked {
    sum: Sha256,
    size: u64,
}

impl Part {
    fn open(path: PathBuf, from: PathBuf) -> Result<Self, FetchError> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = plain::open_or_make_own(&path, 0o666)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(FetchError::io("write", &path))?;
        Ok(Self {
            file,
            path,
            from,
            length,
        })
    }

    /// Bytes that are there.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The mark that [`Part::begin`] was given for these bytes.
    pub(super) fn mark(&self) -> Option<String> {
        plain::open_own(&self.from).and_then(io::read_to_string).ok()
    }

    /// Throws the bytes away. What is written next is marked with `mark`.
    pub(super) fn begin(&mut self, mark: Option<&str>) -> Result<(), FetchError> {
        let mut begin = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.rewind()?;
            remove_if_there(&self.from)?;
            match mark {
                Some(mark) => plain::write_own(&self.from, mark.as_bytes()),
                None => Ok(()),
            }
        };
        begin().map_err(FetchError::io("write", &self.path))?;
        self.length = 0;
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(FetchError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the bytes with a file's.
    pub(super) fn copy_from(&mut self, path: &Path, expected: &Expected) -> Result<(), FetchError> {
        let mut source = File::open(path).map_err(FetchError::io("read", path))?;
        self.begin(None)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = source.read(&mut buffer).map_err(FetchError::io("read", path))?;
            if n == 0 {
                return Ok(());
            }
            // A device or a growing file has no end that its size tells.
            if self.length + n as u64 > expected.limit {
                return Err(FetchError::TooLarge {
                    from: path.display().to_string(),
                    limit: expected.limit,
                });
            }
            self.write(&buffer[..n])?;
        }
    }

    /// Sums the whole file, as it is on the disk, and compares.
    pub(super) fn check(&mut self, expected: &Expected, from: &str) -> Result<Checked, FetchError> {
        let from = from.to_owned();
        let read = self.file.rewind();
        let read = read.and_then(|()| Sha256::of_reader(&mut self.file));
        let (sum, size) = read.map_err(FetchError::io("read", &self.path))?;
        expected.compare(sum, size, from)?;
        Ok(Checked { sum, size })
    }

    /// A reader over the whole file.
    pub(super) fn reader(&mut self) -> Result<&mut File, FetchError> {
        let rewound = self.file.rewind();
        rewound.map_err(FetchError::io("read", &self.path))?;
        Ok(&mut self.file)
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    pub(super) fn discard(self) -> Result<(), FetchError> {
        remove_if_there(&self.path).map_err(FetchError::io("remove", &self.path))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The part was renamed, removed, or never begun: its mark is of no use.
        let left = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.len() > 0);
        if !left {
            let _ = remove_if_there(&self.path);
            let _ = remove_if_there(&self.from);
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
