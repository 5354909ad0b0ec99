//! Locks between programs, on open files and folders. They end with the program,
//! however it ends.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::{plain, state};

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

/// A folder that is kept from others, until this is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _own: Option<OwnLock>,
    _folder: File,
}

/// Keeps a folder from other programs that ask for it so: from this user's, and from
/// anybody's where others may write, too. Who can only read a folder could lock it all
/// the same; that keeps nobody waiting, nor does it where everybody can, as in /tmp.
pub(crate) fn folder(path: &Path, waiting: impl Fn()) -> io::Result<FolderLock> {
    folder_by(state::folder().ok().as_deref(), path, waiting)
}

fn folder_by(state: Option<&Path>, path: &Path, waiting: impl Fn()) -> io::Result<FolderLock> {
    let folder = File::open(path)?;
    let meta = folder.metadata()?;
    let name = format!("{:x}-{:x}.lock", meta.dev(), meta.ino());
    let own = state.map(|state| OwnLock::take(state.join(name), &waiting));
    let own = own.and_then(Result::ok);
    let is_shared = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
    if is_shared || own.is_none() {
        lock(&folder, waiting)?;
    }
    Ok(FolderLock {
        _own: own,
        _folder: folder,
    })
}

/// A locked file that is there as long as it is locked.
#[derive(Debug)]
struct OwnLock {
    path: PathBuf,
    _file: File,
}

impl OwnLock {
    fn take(path: PathBuf, waiting: impl Fn()) -> io::Result<Self> {
        let mut waiting = Some(waiting);
        loop {
            let file = open(&path)?;
            lock(&file, || {
                waiting.take().inspect(|waiting| waiting());
            })?;
            // Who had it before may have removed it.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for OwnLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

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

    /// A folder and another one for this user's state.
    fn two() -> (tempfile::TempDir, tempfile::TempDir) {
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_folder_is_one_programs_at_a_time() {
        let (state, folder) = two();
        for state in [Some(state.path()), None] {
            let first = RefCell::new(Some(
                folder_by(state, folder.path(), || panic!("it is free")).unwrap(),
            ));
            // Ends the first once the second has to wait for it.
            let second = folder_by(state, folder.path(), || drop(first.take())).unwrap();
            assert!(first.borrow().is_none());
            drop(second);
        }
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_may_not_write_keeps_nobody_waiting() {
        for (mode, waits) in [
            (0o755, false),
            (0o700, false),
            (0o1777, false),
            (0o775, true),
            (0o777, true),
        ] {
            let (state, folder) = two();
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let bystander = File::open(folder.path()).unwrap();
            bystander.lock().unwrap();
            let waited = Cell::new(false);
            let waiting = || {
                waited.set(true);
                bystander.unlock().unwrap();
            };
            folder_by(Some(state.path()), folder.path(), waiting).unwrap();
            assert_eq!(waited.get(), waits, "{mode:o}");
        }
    }

    #[test]
    fn many_at_once_take_turns() {
        let (state, folder) = two();
        let turns = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = folder_by(Some(state.path()), folder.path(), || {}).unwrap();
                        assert_eq!(turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        turns.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
