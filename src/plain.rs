//! Opening what has to be a plain file. Where others may write, anything can lie in
//! its place: a link that leads elsewhere, a pipe that keeps who opens it waiting, a
//! device that acts when it is opened.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::path::Arg;

/// Opens a file of the person's for reading, which may be a link to one.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_at(CWD, path, OFlags::RDONLY, Mode::empty())
}

/// All of such a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    all_of(open(path)?)
}

/// Opens a file that this program keeps for itself, which is never a link.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    open_at(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())
}

/// All of such a file.
pub(crate) fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    all_of(open_own(path)?)
}

/// All of such a file that only this user can have written.
pub(crate) fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_own(path)?;
    let meta = file.metadata()?;
    match is_own(&meta) && meta.mode() & 0o022 == 0 {
        true => all_of(file),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user, or others may write to it",
        )),
    }
}

/// Opens such a file for reading and writing; makes it, with this mode less the
/// umask, if it is not there.
pub(crate) fn open_or_make_own(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    open_at(CWD, path, flags, Mode::from_raw_mode(mode))
}

/// Opens such a file to write at its end; makes it if it is not there.
pub(crate) fn append_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
    open_at(CWD, path, flags, Mode::from_raw_mode(0o666))
}

/// Replaces the content of such a file.
pub(crate) fn write_own(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open_or_make_own(path, 0o666)?;
    file.set_len(0)?;
    file.write_all(bytes)
}

/// Whether it belongs to this user.
pub(crate) fn is_own(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Opens a file by its name in a folder that is open.
pub(crate) fn open_at(
    folder: impl AsFd,
    name: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> io::Result<File> {
    let links = match flags.contains(OFlags::NOFOLLOW) {
        true => AtFlags::SYMLINK_NOFOLLOW,
        false => AtFlags::empty(),
    };
    let not_plain = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file");
    let there = statat(&folder, name, links);
    if there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile) {
        return Err(not_plain());
    }
    let at_once = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(&folder, name, flags | at_once, mode)?);
    // Something else may have been put there in between.
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_plain()),
    }
}

fn all_of(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::os::unix::net::UnixListener;

    use rustix::fs::mknodat;

    use super::*;

    /// What can lie in the place of a plain file: a name, and how it is put there.
    pub(crate) const OBSTACLES: [(&str, fn(&Path)); 6] = [
        ("a pipe", |path| {
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a link to a device", |path| symlink("/dev/zero", path).unwrap()),
        ("a link to nothing", |path| symlink("nothing", path).unwrap()),
        ("a link to itself", |path| symlink(path, path).unwrap()),
    ];

    #[test]
    fn nothing_else_is_opened_or_waited_for() {
        for (name, put) in OBSTACLES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            put(&path);
            for opened in [
                open(&path),
                open_own(&path),
                open_or_make_own(&path, 0o600),
                append_own(&path),
            ] {
                assert!(opened.is_err(), "{name}");
            }
            assert!(write_own(&path, b"x").is_err(), "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        }
    }

    #[test]
    fn what_others_may_have_written_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read_private(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        write_own(&path, b"mine").unwrap();
        for (mode, read) in [
            (0o600, true),
            (0o644, true),
            (0o620, false),
            (0o602, false),
            (0o666, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), read, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(read_private(&link).is_err());
        // Only root can make what belongs to another.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65534), None).unwrap();
            assert!(read_private(&path).is_err());
        }
    }

    #[test]
    fn a_link_is_followed_to_what_is_not_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write_own(&file, b"long").unwrap();
        write_own(&file, b"new").unwrap();
        assert_eq!(read_own(&file).unwrap(), b"new");
        symlink("file", &link).unwrap();
        assert_eq!(read(&link).unwrap(), b"new");
        assert!(read_own(&link).is_err());
        assert!(write_own(&link, b"x").is_err());
        assert_eq!(read(&file).unwrap(), b"new");
    }
}
