//! Data disks.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Command;

use super::VmError;
use crate::doctor::find_program;
use crate::image::overlay::DATA_LABEL;

/// Makes a new data disk: a sparse file of `size` bytes with an empty ext4 on it.
/// A file that is there already is an error, and stays as it is.
pub fn create_data_disk(file: &Path, size: u64) -> Result<(), VmError> {
    let program = find_program("mke2fs").or_else(|| {
        // Not on an ordinary user's PATH.
        let path = Path::new("/sbin/mke2fs");
        path.is_file().then(|| path.to_owned())
    });
    let program = program.ok_or_else(|| VmError::Missing {
        program: "mke2fs".to_owned(),
        package: "e2fsprogs",
    })?;
    let failed = |source| VmError::File {
        action: "write",
        path: file.to_owned(),
        source,
    };
    let disk = OpenOptions::new().write(true).create_new(true).open(file);
    let made = disk.and_then(|disk| disk.set_len(size)).map_err(failed);
    made.and_then(|()| {
        let mut command = Command::new(program);
        command
            .args(["-q", "-F", "-t", "ext4", "-L", DATA_LABEL])
            .arg(file);
        let output = command.output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let _ = fs::remove_file(file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(failed(io::Error::other(said)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        create_data_disk(&file, 64 << 20).unwrap();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(bytes.len(), 64 << 20);
        // The superblock's magic number and its label.
        assert_eq!(bytes[1024 + 0x38..1024 + 0x3a], [0x53, 0xef]);
        assert_eq!(&bytes[1024 + 0x78..1024 + 0x78 + 12], DATA_LABEL.as_bytes());
        let error = create_data_disk(&file, 64 << 20).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
        let small = folder.path().join("small");
        create_data_disk(&small, 1024).unwrap_err();
        assert!(!small.exists());
    }
}
