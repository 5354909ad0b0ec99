//! Locks between programs, on open files and folders. They end with the program,
//! however it ends.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::plain;

/// Opens a file to be locked, made if it is not there. Whoever can read a file can
/// lock it, and keep others waiting: those can who may write to its folder anyway.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let writers = folder.unwrap_or(Path::new(".")).metadata()?.mode() & 0o022;
    let mode = 0o600 | writers | writers << 1;
    let file = plain::open_or_make_own(path, mode)?;
    if file.metadata()?.mode() & 0o777 != mode {
        // Another user's stays as it is, and so does one where there are no modes.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
    Ok(file)
}

/// Takes the lock of an open file or folder; if another has it, calls `waiting` and
/// waits.
pub(crate) fn lock(file: &File, waiting: impl FnOnce()) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            waiting();
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plain::tests::OBSTACLES;

    #[test]
    fn who_may_not_write_to_the_folder_can_lock_nothing_in_it() {
        for (folder_mode, mode) in [(0o755, 0o600), (0o775, 0o660), (0o777, 0o666), (0o700, 0o600)] {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
            let path = folder.path().join("lock");
            // As earlier versions made them.
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            for _ in 0..2 {
                let file = open(&path).unwrap();
                assert_eq!(file.metadata().unwrap().mode() & 0o777, mode, "{folder_mode:o}");
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_lock_is_a_plain_file() {
        for (name, put) in OBSTACLES {
            let folder = tempfile::tempdir().unwrap();
            put(&folder.path().join("lock"));
            assert!(open(&folder.path().join("lock")).is_err(), "{name}");
        }
    }
}
