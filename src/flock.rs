//! Locks between programs, on open files and folders. They end with the program,
//! however it ends.

use std::fs::{File, TryLockError};
use std::io;

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
