//! The folder for what is this user's alone and stays from run to run:
//! `$XDG_STATE_HOME/tcforge`, by default in `~/.local/state`.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::plain;
use crate::user_folder::user_folder;

/// Where the folder is or would be; `None` where neither variable says it.
pub(crate) fn path() -> Option<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state")
}

/// The folder, made if it is not there, and closed to others if it is this user's.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let folder = path().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let meta = fs::metadata(&folder)?;
    let mode = meta.permissions().mode();
    if plain::is_own(&meta) && mode & 0o077 != 0 {
        fs::set_permissions(&folder, Permissions::from_mode(mode & 0o700))?;
    }
    Ok(folder)
}
