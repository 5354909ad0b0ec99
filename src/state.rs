//! What is remembered of this user and host, and can be forgotten at the price of
//! finding it out again: small files, in the folder that the XDG base directory
//! specification has for them.

use std::env;
use std::path::PathBuf;

/// `$XDG_STATE_HOME/tcforge`, or `~/.local/state/tcforge`; `None` where neither
/// variable names a folder.
pub fn folder() -> Option<PathBuf> {
    // The specification has relative values ignored.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .map(|folder| folder.join("tcforge"))
}
