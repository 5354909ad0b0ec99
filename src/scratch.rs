//! Files and folders under way: removed when dropped, when the program is
//! interrupted, and, if it was killed, by the next run that looks.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// The beginning of the name of everything that is under way.
pub const PREFIX: &str = ".tcforge-";

/// The file in each scratch folder that its owner keeps locked.
const LOCK: &str = "lock";

static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder in which outputs are made before they get their names. It lies
/// beside its destination, so that a rename is atomic.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    // Held for the lifetime: tells other runs that the folder is in use.
    _lock: File,
}

impl Scratch {
    /// Makes a scratch folder in `parent` (which must exist), after removing
    /// those that killed runs left there.
    pub fn in_dir(parent: &Path) -> io::Result<Self> {
        sweep(parent)?;
        // An interrupt waits until the folder is known, or it is never made.
        let mut live = live();
        loop {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            if let Some(lock) = take_lock(&dir.path().join(LOCK))? {
                let path = dir.keep();
                live.push(path.clone());
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
        live().retain(|path| *path != self.path);
    }
}

/// Makes and locks the lock file of a new folder; `None` if another run took
/// the folder for a dead one's before it was locked.
fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let lock = match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    lock.lock()?;
    let swept = lock.metadata()?.nlink() == 0;
    Ok((!swept).then_some(lock))
}

/// Removes every scratch folder of this process: for the interrupt handler,
/// which ends the program then. Whoever makes or drops one, or publishes, waits
/// for that end.
pub fn remove_all() {
    let live = live();
    live.iter().for_each(|path| remove(path));
    std::mem::forget(live);
}

/// While this is held, an interrupt waits: what gets its names now gets all of
/// them. No scratch folder may be made or dropped meanwhile.
pub fn hold_interrupts() -> impl Drop {
    live()
}

fn live() -> MutexGuard<'static, Vec<PathBuf>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How often a folder is removed that others still write into.
const REMOVALS: usize = 1000;

/// Removes a folder into which other threads may be writing: what they make
/// meanwhile too.
fn remove(path: &Path) {
    for _ in 0..REMOVALS {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            // Gone, or beyond our power: then the next run sweeps.
            _ => return,
        }
    }
}

/// Removes scratch folders in `parent` whose owner is gone.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        match File::open(entry.path().join(LOCK)).map(|lock| (lock.try_lock(), lock)) {
            Ok((Err(TryLockError::WouldBlock), _)) => {}
            Ok((Err(TryLockError::Error(error)), _)) => return Err(error),
            Ok((Ok(()), _)) => remove(&entry.path()),
            Err(_) => sweep_without_lock(&entry.path()),
        }
    }
    Ok(())
}

/// Removes a folder that has no lock file: one whose maker was killed before it
/// made that, or whose remover was killed after it removed that. A maker that
/// is still alive finds its empty folder gone, and makes another.
fn sweep_without_lock(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    if names.is_empty() {
        // Fails if the lock file was made meanwhile.
        let _ = fs::remove_dir(path);
    } else if names.iter().all(|name| name != LOCK) {
        remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lives_as_long_as_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::in_dir(parent.path()).unwrap();
        fs::write(scratch.path().join("half"), "made").unwrap();
        let other = Scratch::in_dir(parent.path()).unwrap();
        assert!(scratch.path().exists(), "another run removed a folder in use");
        drop((scratch, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(".tcforge-killed");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        let _scratch = Scratch::in_dir(parent.path()).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn what_was_killed_before_its_lock_or_while_it_was_removed_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        for (name, file) in [("empty", None), ("half", Some("x.tcz"))] {
            let left = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&left).unwrap();
            if let Some(file) = file {
                fs::write(left.join(file), "").unwrap();
            }
        }
        fs::write(parent.path().join(format!("{PREFIX}file")), "not ours to remove").unwrap();
        drop(Scratch::in_dir(parent.path()).unwrap());
        let names: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, [".tcforge-file"]);
    }

    #[test]
    fn many_at_once_do_not_sweep_each_other() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let scratch = Scratch::in_dir(parent.path()).unwrap();
                        fs::write(scratch.path().join("half"), "made").unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_removed_while_others_write_into_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("busy");
        fs::create_dir(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends when the folder is gone.
                for n in 0.. {
                    if fs::write(path.join(n.to_string()), "").is_err() {
                        break;
                    }
                }
            });
            remove(&path);
        });
        assert!(!path.exists());
    }
}
