//! Where the tests find Tiny Core's own files.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder that `TCFORGE_TINYCORE` names (empty: none), or the one beside the
/// project. `None` is said, once: what needs the files is checked with others then,
/// as far as that goes.
pub(crate) fn tiny_core() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = find();
        if folder.is_none() {
            // Not by a macro, whose lines are kept back for tests that pass.
            let line = "note: Tiny Core's own files are not here (set TCFORGE_TINYCORE); the tests of them use \
                        what the project brings or makes\n";
            let _ = io::stderr().write_all(line.as_bytes());
        }
        folder
    });
    folder.as_deref()
}

fn find() -> Option<PathBuf> {
    let Some(named) = env::var_os("TCFORGE_TINYCORE") else {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tinycore-11");
        return beside.is_dir().then_some(beside);
    };
    let named = Some(PathBuf::from(named)).filter(|folder| !folder.as_os_str().is_empty())?;
    assert!(named.is_dir(), "TCFORGE_TINYCORE names no folder: {named:?}");
    Some(named)
}
