//! The user's own folders, by the XDG base directory specification.

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable that is set to something.
pub(crate) fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The program's folder below the one that a variable names, or below `usual` in the
/// user's home; `None` where neither is known.
pub(crate) fn user_folder(variable: &str, usual: &str) -> Option<PathBuf> {
    // The specification has relative values ignored.
    let absolute = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(usual)));
    base.map(|base| base.join("tcforge"))
}
