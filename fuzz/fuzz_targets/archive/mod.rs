//! What must hold of every tree that comes out of an archive.

use std::io::Cursor;

use tcforge::archive::{Format, Limits, read};
use tcforge::stage::{Kind, Spool, Stage};

/// Reads bytes as a format, within limits that keep a run short.
pub fn check(bytes: &[u8], format: &Format) {
    let limits = Limits {
        total_bytes: 1 << 20,
        entries: 1000,
        path_bytes: 300,
        name_bytes: 255,
        depth: 20,
        header_bytes: 1 << 16,
        decoder_memory: 1 << 24,
    };
    let mut spool = Spool::new().expect("there is room for a temporary file");
    match read(Cursor::new(bytes), format, &limits, &mut spool) {
        Ok(stage) => closed(&stage),
        // The message is made of hostile bytes as well.
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
}

/// No path and no link leads out, and what a path lies in is a directory.
fn closed(stage: &Stage) {
    for (path, node) in stage.iter() {
        assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..")));
        if let Some(above) = path.parent() {
            assert!(stage.get(&above).is_some_and(|node| node.is_dir()));
        }
        match &node.kind {
            Kind::Symlink(target) => assert!(path.resolve_link(target).is_some()),
            Kind::File(content) => {
                let bytes = content.read_all().expect("the spool holds every content");
                assert_eq!(bytes.len() as u64, content.len());
            }
            Kind::Directory => {}
        }
    }
}
