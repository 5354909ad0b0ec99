//! The folder for what is this user's alone and stays from run to run:
//! `$XDG_STATE_HOME/tcforge`, by default in `~/.local/state`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use crate::user_folder::user_folder;

/// Where the folder is or would be; `None` where neither variable says it.
pub(crate) fn path() -> Option<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state")
}

/// The folder, made if it is not there.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let folder = path().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}
