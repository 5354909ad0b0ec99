//! Files and folders under way: removed when dropped, when the program is
//! interrupted, and, if it was killed, by the next run that looks.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The beginning of the name of everything that is under way.
pub const PREFIX: &str = ".tcforge-";

static HELD: Mutex<()> = Mutex::new(());
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
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create(dir.path().join("lock"))?;
        lock.lock()?;
        let path = dir.keep();
        live().push(path.clone());
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        live().retain(|path| *path != self.path);
    }
}

/// While this is held, an interrupt waits: what gets its names now gets all of
/// them.
pub fn hold_interrupts() -> impl Drop {
    HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes every scratch folder of this process: for the interrupt handler,
/// which ends the program then. Nothing can be published any more.
pub fn remove_all() {
    std::mem::forget(hold_interrupts());
    for path in live().drain(..) {
        let _ = fs::remove_dir_all(path);
    }
}

fn live() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        // Without a lock file it is being made, or being removed, by another.
        let Ok(lock) = File::open(entry.path().join("lock")) else {
            continue;
        };
        match lock.try_lock() {
            Ok(()) => fs::remove_dir_all(entry.path())?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
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
}
