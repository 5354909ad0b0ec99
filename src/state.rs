//! The folder for what is this user's alone and stays from run to run:
//! `$XDG_STATE_HOME/tcforge`, by default in `~/.local/state`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

/// The folder, made if it is not there.
pub(crate) fn folder() -> io::Result<PathBuf> {
    // The base directory specification has relative values ignored.
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let folder = state.ok_or(io::ErrorKind::NotFound)?.join("tcforge");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}
