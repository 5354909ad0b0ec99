//! A source tree on the disk, from an archive.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use crate::progress::Task;
use crate::stage::{Kind, Stage, TreePath};

/// Writes a staged tree into an empty folder. Whatever names and links it has,
/// nothing outside is touched: a stage has nothing below a link.
pub(super) fn lay_out(stage: &Stage, folder: &Path, task: &dyn Task) -> io::Result<()> {
    let mut done = 0;
    for (path, node) in stage.iter().filter(|(path, _)| !path.is_root()) {
        let at = folder.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        match &node.kind {
            // Its owner has to be able to work with it, whatever the archive says.
            Kind::Directory => DirBuilder::new().mode(0o755).create(&at)?,
            Kind::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), &at)?,
            Kind::File(content) => {
                let mode = if node.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&at)?;
                done += io::copy(&mut content.open()?, &mut file)?;
                task.set_position(done);
            }
        }
    }
    Ok(())
}

/// The one folder that everything is in, if there is one: archives of sources
/// have such a folder around them.
pub(super) fn top(stage: &Stage) -> TreePath {
    let mut tops = stage.iter().filter(|(path, _)| path.components().count() == 1);
    match (tops.next(), tops.next()) {
        (Some((path, node)), None) if node.is_dir() => path.clone(),
        _ => TreePath::root(),
    }
}

/// A folder in a scratch folder becomes one that everybody may read, as others are.
pub(super) fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::stage::{Content, Node};

    #[test]
    fn a_tree_is_laid_out_with_its_links() {
        let path = |text: &str| TreePath::parse(text).unwrap();
        let mut stage = Stage::new();
        stage
            .insert(path("linux/run"), Node::file(Content::bytes("x"), 0o4775))
            .unwrap();
        stage
            .insert(path("linux/a/b"), Node::file(Content::bytes("y"), 0o400))
            .unwrap();
        stage.insert(path("linux/l"), Node::symlink("a/b")).unwrap();
        assert_eq!(top(&stage), path("linux"));
        let dir = tempfile::tempdir().unwrap();
        lay_out(&stage, dir.path(), &Silent).unwrap();
        let mode = |name: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("linux/run"), mode("linux/a/b")), (0o755, 0o644));
        assert_eq!(fs::read(dir.path().join("linux/l")).unwrap(), b"y");
        // Never over something else.
        assert!(lay_out(&stage, dir.path(), &Silent).is_err());
        stage.insert(path("other"), Node::directory()).unwrap();
        assert_eq!(top(&stage), TreePath::root());
    }
}
