//! What took long to make, kept in the cache for the next time:
//! `FOLDER/KEY.ENDING` beside `FOLDER/KEY.sha256`. A file that does not have its
//! sum is as good as none. Large ones are summed again only if the file system says
//! anything else of them than when they were kept, as git does it.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::digest::{Sha256, Sha256Writer, hex};
use crate::project::write_atomically;
use crate::scratch::Scratch;

/// A place in the cache for one thing.
#[derive(Debug, Clone)]
pub struct Kept {
    folder: PathBuf,
    key: Sha256,
    ending: &'static str,
}

/// A file that was kept, whole.
#[derive(Debug)]
pub struct Found {
    /// Open, at its beginning.
    pub file: File,
    /// Bytes.
    pub len: u64,
    /// Its sum.
    pub sha256: Sha256,
}

impl Kept {
    /// The place for what is made of these inputs: `folder` below the cache tells
    /// what it is, and one of the inputs the version of how it is made.
    pub fn new(cache: &Path, folder: &str, ending: &'static str, inputs: &[&[u8]]) -> Self {
        let sums: Vec<_> = inputs.iter().map(|input| Sha256::of(input).to_string()).collect();
        Self {
            folder: cache.join(folder),
            key: Sha256::of(sums.join(" ").as_bytes()),
            ending,
        }
    }

    /// What the inputs are together.
    pub fn key(&self) -> Sha256 {
        self.key
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.{}", self.key, self.ending))
    }

    fn sum_path(&self) -> PathBuf {
        self.folder.join(format!("{}.sha256", self.key))
    }

    /// The bytes; `None` if there are none, or none that have their sum.
    pub fn load(&self) -> io::Result<Option<Vec<u8>>> {
        let read = |path: PathBuf| match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        let (Some(bytes), Some(sum)) = (read(self.path())?, read(self.sum_path())?) else {
            return Ok(None);
        };
        let whole = sum.starts_with(Sha256::of(&bytes).to_string().as_bytes());
        Ok(whole.then_some(bytes))
    }

    /// The file, for what is large; `None` as with [`Kept::load`].
    pub fn find(&self) -> io::Result<Option<Found>> {
        let open = || -> io::Result<Option<Found>> {
            let text = fs::read(self.sum_path())?;
            let text = String::from_utf8_lossy(&text);
            let mut file = File::open(self.path())?;
            let meta = file.metadata()?;
            let (sum, known) = text.trim_ascii().split_once(' ').unwrap_or_default();
            let Ok(sha256) = sum.parse() else { return Ok(None) };
            if known != hex(&state(&meta)) {
                if Sha256::of_reader(&mut file)?.0 != sha256 {
                    return Ok(None);
                }
                file.rewind()?;
                // Only so that the next one need not sum.
                let _ = self.keep_sum(sha256, &meta);
            }
            let len = meta.len();
            Ok(Some(Found { file, len, sha256 }))
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }

    /// Keeps what `write` writes.
    pub fn keep<E: From<io::Error>>(
        &self,
        write: impl FnOnce(&mut Sha256Writer<File>) -> Result<(), E>,
    ) -> Result<(), E> {
        fs::create_dir_all(&self.folder)?;
        let scratch = Scratch::in_dir(&self.folder)?;
        let made = scratch.path().join("made");
        let mut writer = Sha256Writer::new(File::create_new(&made)?);
        write(&mut writer)?;
        writer.flush()?;
        let (sum, _, file) = writer.finish();
        file.sync_all()?;
        // The sum last: without its own, a file is not used.
        fs::rename(&made, self.path())?;
        self.keep_sum(sum, &file.metadata()?)?;
        Ok(())
    }

    fn keep_sum(&self, sum: Sha256, meta: &Metadata) -> io::Result<()> {
        let line = format!("{sum} {}\n", hex(&state(meta)));
        write_atomically(&self.sum_path(), line.as_bytes())
    }
}

/// All that the file system says of a file and that changes when the file does.
pub(crate) fn state(meta: &Metadata) -> Vec<u8> {
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    let numbers = [meta.dev(), meta.ino(), meta.len()];
    let numbers = numbers.map(u64::to_le_bytes).concat();
    [numbers, times.map(i64::to_le_bytes).concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_back_as_long_as_it_is_whole() {
        let cache = tempfile::tempdir().unwrap();
        let kept = |inputs: &[&[u8]]| Kept::new(cache.path(), "things", "bin", inputs);
        let one = kept(&[b"a", b"bc"]);
        assert_eq!(one.load().unwrap(), None);
        one.keep::<io::Error>(|file| file.write_all(b"made")).unwrap();
        assert_eq!(one.load().unwrap().as_deref(), Some(&b"made"[..]));
        let found = one.find().unwrap().unwrap();
        assert_eq!((found.len, found.sha256), (4, Sha256::of(b"made")));
        assert_eq!(io::read_to_string(found.file).unwrap(), "made");
        // A copy of it is another file, with the same sum.
        let copy = cache.path().join("copy");
        fs::copy(one.path(), &copy).unwrap();
        fs::rename(copy, one.path()).unwrap();
        assert_eq!(one.find().unwrap().unwrap().sha256, Sha256::of(b"made"));
        // Other inputs, another thing.
        assert_eq!(kept(&[b"ab", b"c"]).load().unwrap(), None);
        fs::write(one.path(), "damaged").unwrap();
        assert_eq!(one.load().unwrap(), None);
        assert!(one.find().unwrap().is_none());
        let error = one
            .keep::<io::Error>(|file| {
                file.write_all(b"half")?;
                Err(io::Error::other("no"))
            })
            .unwrap_err();
        assert_eq!(error.to_string(), "no");
        let names = fs::read_dir(cache.path().join("things")).unwrap();
        assert_eq!(names.count(), 2);
    }
}
