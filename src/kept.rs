//! What took long to make, kept in the cache for the next time:
//! `FOLDER/KEY.ENDING` beside `FOLDER/KEY.sha256`. A file that does not have its
//! sum is as good as none, and so is a sum that is not sealed by this user: others may
//! be able to write to the cache. Large files are summed again only if the file system
//! says anything else of them than when they were kept, as git does it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::digest::{Sha256, Sha256Writer, hex};
use crate::project::write_atomically;
use crate::scratch::Scratch;
use crate::{plain, seal};

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
        let Some((mut file, sum, _)) = unless_absent(self.open())? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((Sha256::of(&bytes) == sum).then_some(bytes))
    }

    /// The file, for what is large; `None` as with [`Kept::load`].
    pub fn find(&self) -> io::Result<Option<Found>> {
        let Some((mut file, sha256, known)) = unless_absent(self.open())? else {
            return Ok(None);
        };
        let meta = file.metadata()?;
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
    }

    /// The file, its sum, and what was known of it, all of it said by this user; as if
    /// there were none if it is not.
    fn open(&self) -> io::Result<(File, Sha256, String)> {
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let text = plain::read_own(&self.sum_path())?;
        let text = String::from_utf8_lossy(&text);
        let (said, seal) = text.trim_ascii().rsplit_once(' ').ok_or_else(absent)?;
        let (sum, known) = said.split_once(' ').ok_or_else(absent)?;
        let file = plain::open_own(&self.path())?;
        // What another can write to may change while it is read.
        let meta = file.metadata()?;
        let ours = plain::is_own(&meta) && meta.mode() & 0o022 == 0;
        match ours && seal::fits(&self.sealed(said), seal)? {
            true => Ok((file, sum.parse().map_err(|_| absent())?, known.to_owned())),
            false => Err(absent()),
        }
    }

    /// What is sealed: what is said of a file, and of which.
    fn sealed(&self, said: &str) -> String {
        let folder = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("{folder}/{}.{} {said}", self.key, self.ending)
    }

    /// Keeps what `write` writes.
    pub fn keep<E: From<io::Error>>(
        &self,
        write: impl FnOnce(&mut Sha256Writer<File>) -> Result<(), E>,
    ) -> Result<(), E> {
        fs::create_dir_all(&self.folder)?;
        let scratch = Scratch::in_dir(&self.folder)?;
        let made = scratch.path().join("made");
        let mut file = OpenOptions::new();
        let file = file
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&made)?;
        let mut writer = Sha256Writer::new(file);
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
        let said = format!("{sum} {}", hex(&state(meta)));
        let seal = seal::of(&self.sealed(&said))?;
        write_atomically(&self.sum_path(), format!("{said} {seal}\n").as_bytes())
    }
}

/// What is not a plain file is not there, either.
fn unless_absent<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{InvalidInput, NotFound};
    match opened {
        Err(error) if matches!(error.kind(), InvalidInput | NotFound) => Ok(None),
        other => other.map(Some),
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plain::tests::OBSTACLES;

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

    /// Others may be able to write to the cache.
    #[test]
    fn what_another_has_said_is_not_believed() {
        let cache = tempfile::tempdir().unwrap();
        let kept = |folder, input: &[u8], text: &[u8]| {
            let kept = Kept::new(cache.path(), folder, "bin", &[input]);
            kept.keep::<io::Error>(|file| file.write_all(text)).unwrap();
            kept
        };
        let (one, other) = (kept("things", b"1", b"made"), kept("things", b"2", b"evil"));
        let elsewhere = kept("more", b"1", b"evil");
        let seal = || fs::read_to_string(one.sum_path()).unwrap().trim_end()[64..].to_owned();
        let say = |line: String| fs::write(one.sum_path(), line).unwrap();
        let take = |from: &Kept, path: fn(&Kept) -> PathBuf| {
            fs::copy(path(from), path(&one)).unwrap();
        };
        let evil = Sha256::of(b"evil");
        let changes: [(&str, &dyn Fn()); 7] = [
            ("the file", &|| {}),
            ("the sum", &|| say(format!("{evil}\n"))),
            ("the sum and what is known", &|| say(format!("{evil} 00\n"))),
            ("the sum, with a seal made up", &|| {
                say(format!("{evil} 00 {evil}\n"))
            }),
            ("the sum, under the old seal", &|| {
                say(format!("{evil}{}\n", seal()))
            }),
            ("the sum, with another's seal", &|| take(&other, Kept::sum_path)),
            ("the sum, with one from elsewhere", &|| {
                take(&elsewhere, Kept::sum_path)
            }),
        ];
        for (name, change) in changes {
            kept("things", b"1", b"made");
            assert_eq!(one.load().unwrap().as_deref(), Some(&b"made"[..]), "{name}");
            change();
            take(&other, Kept::path);
            assert_eq!(one.load().unwrap(), None, "{name}");
            assert!(one.find().unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn what_another_could_change_meanwhile_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let kept = Kept::new(cache.path(), "things", "bin", &[]);
        kept.keep::<io::Error>(|file| file.write_all(b"made")).unwrap();
        for (mode, taken) in [(0o600, true), (0o444, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(kept.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(kept.load().unwrap().is_some(), taken, "{mode:o}");
            assert_eq!(kept.find().unwrap().is_some(), taken, "{mode:o}");
        }
        for (name, put) in OBSTACLES {
            for path in [kept.path(), kept.sum_path()] {
                kept.keep::<io::Error>(|file| file.write_all(b"made")).unwrap();
                fs::remove_file(&path).unwrap();
                put(&path);
                assert!(!matches!(kept.find(), Ok(Some(_))), "{name}");
                assert!(!matches!(kept.load(), Ok(Some(_))), "{name}");
                let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
            }
        }
    }
}
