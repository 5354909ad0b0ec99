//! Sums of files that did not change since they were taken, as git knows its files: by
//! all that the file system says of them. Who writes such a file to a disk compares it
//! with its sum again, so that nothing wrong gets there.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use md5::Digest as _;

use crate::digest::{Sha256, Sha256Writer};
use crate::kept::{Kept, state};
use crate::tcz::side::{self, md5::Md5};

/// A file that was changed so shortly ago may change again without a trace.
const SETTLED: Duration = Duration::from_secs(2);

/// The sums of a file, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) md5: Md5,
    pub(super) sha256: Sha256,
    pub(super) len: u64,
}

impl Sums {
    /// Those that are kept in the cache, if there is one and the file is the same
    /// still; otherwise they are taken.
    pub(super) fn of(path: &Path, cache: Option<&Path>) -> io::Result<Self> {
        Self::of_at(path, cache, SystemTime::now())
    }

    fn of_at(path: &Path, cache: Option<&Path>, now: SystemTime) -> io::Result<Self> {
        let Some(cache) = cache else {
            return Self::take(path);
        };
        let meta = path.metadata()?;
        let kept = Kept::new(
            cache,
            "sums",
            "txt",
            &[path.as_os_str().as_bytes(), &state(&meta)],
        );
        // A cache that is of no use is no error: it only saves time.
        let known = kept.load().ok().flatten();
        if let Some(sums) = known.and_then(|text| Self::parse(&text, meta.len())) {
            return Ok(sums);
        }
        let sums = Self::take(path)?;
        if is_settled(&meta, now) && state(&path.metadata()?) == state(&meta) {
            let _ = kept.keep(|file| file.write_all(sums.text().as_bytes()));
        }
        Ok(sums)
    }

    /// What is kept: the one as it is, the other as md5sum prints it.
    fn text(&self) -> String {
        format!("{}\n{}", self.sha256, side::md5::print(self.md5, "image"))
    }

    fn parse(text: &[u8], len: u64) -> Option<Self> {
        let (sha256, md5) = std::str::from_utf8(text).ok()?.split_once('\n')?;
        Some(Self {
            md5: side::md5::parse(md5).ok()?.0,
            sha256: sha256.parse().ok()?,
            len,
        })
    }

    fn take(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (mut md5, mut sha256) = (md5::Md5::new(), Sha256Writer::new(io::sink()));
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    md5.update(&buffer[..n]);
                    sha256.write_all(&buffer[..n])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (sha256, len, _) = sha256.finish();
        let md5 = Md5(md5.finalize().into());
        Ok(Self { md5, sha256, len })
    }
}

fn is_settled(meta: &Metadata, now: SystemTime) -> bool {
    now.duration_since(changed(meta)).is_ok_and(|ago| ago > SETTLED)
}

fn changed(meta: &Metadata) -> SystemTime {
    let seconds = u64::try_from(meta.ctime()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The text that is kept of any file.
    fn kept(cache: &Path) -> Vec<String> {
        let folder = fs::read_dir(cache.join("sums")).into_iter().flatten();
        let files = folder.map(|entry| entry.unwrap().path());
        let texts = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
        texts.map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn what_changed_just_now_is_summed_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for text in ["one", "two"] {
            fs::write(&file, text).unwrap();
            let now = changed(&file.metadata().unwrap()) + SETTLED;
            let sums = Sums::of_at(&file, Some(folder.path()), now).unwrap();
            assert_eq!((sums.sha256, sums.len), (Sha256::of(text.as_bytes()), 3));
            assert_eq!(sums, Sums::of(&file, None).unwrap());
        }
        assert_eq!(kept(folder.path()), [""; 0]);
    }

    #[test]
    fn what_did_not_change_for_long_is_known() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sums_of = |path: &Path, age: Duration| {
            let now = changed(&path.metadata().unwrap()) + age;
            Sums::of_at(path, Some(cache.path()), now).unwrap()
        };
        let (file, long) = (folder.path().join("file"), SETTLED + Duration::from_secs(1));
        fs::write(&file, "one").unwrap();
        let sums = sums_of(&file, long);
        assert_eq!(kept(cache.path()), [sums.text()]);
        assert_eq!(sums_of(&file, Duration::ZERO), sums);
        // Another file than the one that was summed.
        let copy = folder.path().join("copy");
        fs::copy(&file, &copy).unwrap();
        assert_eq!(sums_of(&copy, Duration::ZERO), sums);
        assert_eq!(kept(cache.path()).len(), 1);
    }
}
