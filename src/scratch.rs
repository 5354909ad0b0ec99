//! Folders under way: removed when dropped, when the program is interrupted, and, if
//! it was killed, by the next run that looks.
//!
//! What carries the mark of this program, was made by this user, and is no longer
//! used is swept, and nothing else, whatever its name: a person's folder may have a
//! name like ours, and where others may write they may put anything.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::plain::{self, is_own};

/// The beginning of the name of everything that is under way.
pub const PREFIX: &str = ".tcforge-";

/// How many letters and digits, by chance, come after it.
const CHANCE: usize = 6;

/// The file in each scratch folder that its owner keeps locked, and what is in it.
const LOCK: &CStr = c"lock";
const MARK: &[u8] = b"a scratch folder of tcforge: it may be removed when no program has this file locked\n";

/// Only its owner may do anything with a scratch folder.
const PRIVATE: u32 = 0o700;

/// A folder, opened as one and not through a link.
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

static LIVE: Mutex<Vec<Arc<Folder>>> = Mutex::new(Vec::new());

/// A folder in which outputs are made before they get their names. It lies
/// beside its destination, so that a rename is atomic. Nobody else may enter it,
/// whatever the umask.
#[derive(Debug)]
pub struct Scratch(Arc<Folder>);

impl Scratch {
    /// Makes a scratch folder in `parent` (which must exist), after removing
    /// those that killed runs left there.
    pub fn in_dir(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        // An interrupt waits until the folder is known, or it is never made.
        let mut live = live();
        loop {
            if let Some(folder) = Folder::make(parent)? {
                let folder = Arc::new(folder);
                live.push(Arc::clone(&folder));
                return Ok(Self(folder));
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.remove();
        live().retain(|folder| !Arc::ptr_eq(folder, &self.0));
    }
}

/// The folder for what no other user may reach and nobody keeps:
/// `$XDG_RUNTIME_DIR`, if that is ours alone, or the one for temporary files.
pub fn runtime_dir() -> PathBuf {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let private =
        |path: &PathBuf| path.is_absolute() && path.symlink_metadata().is_ok_and(|meta| is_private(&meta));
    named.filter(private).unwrap_or_else(std::env::temp_dir)
}

/// Removes every scratch folder of this process: for the interrupt handler,
/// which ends the program then. Whoever makes or drops one, or publishes, waits
/// for that end.
pub fn remove_all() {
    let live = live();
    live.iter().for_each(|folder| folder.remove());
    std::mem::forget(live);
}

/// While this is held, an interrupt waits: what gets its names now gets all of
/// them. No scratch folder may be made or dropped meanwhile.
pub fn hold_interrupts() -> impl Drop {
    live()
}

fn live() -> MutexGuard<'static, Vec<Arc<Folder>>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How often a folder is removed that others still write into.
const REMOVALS: usize = 1000;

/// A scratch folder that is in nobody else's use.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The folder, whatever comes to have its name.
    dir: File,
    // Held as long as this: tells other runs that the folder is in use.
    _lock: File,
}

impl Folder {
    /// A new one; `None` if another run took it for a dead one's before it was
    /// marked.
    fn make(parent: &Path) -> io::Result<Option<Self>> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(CHANCE)
            .permissions(fs::Permissions::from_mode(PRIVATE))
            .tempdir_in(parent)?;
        match mark(made.path()) {
            Ok((dir, lock)) => Ok(Some(Self {
                path: made.keep(),
                dir,
                _lock: lock,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One that was left, as far as it is known to be.
    fn left(path: PathBuf) -> io::Result<Option<Self>> {
        let dir = open_folder(&path)?;
        // Another may have got its name in between.
        if !is_private(&dir.metadata()?) {
            return Ok(None);
        }
        let lock = lock_if_dead(&dir)?;
        Ok(lock.map(|lock| Self {
            path,
            dir,
            _lock: lock,
        }))
    }

    /// Removes it, and what other threads write into it meanwhile. If this is
    /// killed, the next run goes on with it: the mark goes last.
    fn remove(&self) {
        let remove = || -> io::Result<()> {
            empty(&self.dir, Some(LOCK))?;
            unless_gone(unlinkat(&self.dir, LOCK, AtFlags::empty()))?;
            fs::remove_dir(&self.path)
        };
        for _ in 0..REMOVALS {
            match remove() {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                // Gone, or beyond our power: then the next run sweeps.
                _ => return,
            }
        }
    }
}

/// Marks and locks a new folder. Nobody takes the lock of one that is not marked
/// yet.
fn mark(path: &Path) -> io::Result<(File, File)> {
    let dir = open_folder(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let mut lock = plain::open_at(&dir, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
    let meta = dir.metadata()?;
    // Who owns what is made just now is us, even where a file system knows no users.
    if meta.uid() != lock.metadata()?.uid() {
        return Err(io::Error::other("another user put a folder in its place"));
    }
    if meta.mode() & 0o777 != PRIVATE {
        dir.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    }
    lock.lock()?;
    lock.write_all(MARK)?;
    Ok((dir, lock))
}

/// Removes scratch folders in `parent` whose owner is gone. What is not ours is
/// not opened.
fn sweep(parent: &Path) {
    // Whether it can be written to shows soon.
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if is_name(&entry.file_name()) && entry.metadata().is_ok_and(|meta| is_private(&meta)) {
            sweep_one(entry.path());
        }
    }
}

fn sweep_one(path: PathBuf) {
    // One whose maker was killed before it was marked is empty. If that is still
    // alive, it finds its folder gone, and makes another.
    if fs::remove_dir(&path).is_err()
        && let Ok(Some(folder)) = Folder::left(path)
    {
        folder.remove();
    }
}

/// Whether a name is one of those that scratch folders get.
fn is_name(name: &OsStr) -> bool {
    let chance = name.as_encoded_bytes().strip_prefix(PREFIX.as_bytes());
    chance.is_some_and(|chance| chance.len() == CHANCE && chance.iter().all(u8::is_ascii_alphanumeric))
}

/// Whether it is a folder of this user that nobody else may enter.
fn is_private(meta: &Metadata) -> bool {
    meta.is_dir() && is_own(meta) && meta.mode() & 0o777 == PRIVATE
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = FOLDER.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The lock of a folder that carries our mark and that nobody uses any more.
fn lock_if_dead(dir: &File) -> io::Result<Option<File>> {
    // Some network file systems lock only what can be written to.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW;
    let lock = plain::open_at(dir, LOCK, flags, Mode::empty())?;
    let mut found = Vec::new();
    (&lock).take(MARK.len() as u64 + 1).read_to_end(&mut found)?;
    let dead = found == MARK && is_own(&lock.metadata()?) && lock.try_lock().is_ok();
    Ok(dead.then_some(lock))
}

/// Removes what is in a folder, except for one name, through no link.
fn empty(dir: impl AsFd, except: Option<&CStr>) -> io::Result<()> {
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && Some(name) != except {
            unless_gone(remove_in(&dir, name))?;
        }
    }
    Ok(())
}

fn remove_in(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        // What the one and the other system say of a folder.
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return Ok(other?),
    }
    empty(openat(&dir, name, FOLDER, Mode::empty())?, None)?;
    Ok(unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
}

/// Another thread, or another run, may have been quicker.
fn unless_gone<E: Into<io::Error>>(removed: Result<(), E>) -> io::Result<()> {
    match removed.map_err(Into::into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;
    use crate::plain::tests::OBSTACLES;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What a run that is killed leaves: a folder that carries the mark.
    fn leave(parent: &Path, name: &str) -> PathBuf {
        let left = parent.join(name);
        fs::create_dir(&left).unwrap();
        chmod(&left, PRIVATE);
        fs::write(left.join("lock"), MARK).unwrap();
        fs::create_dir_all(left.join("half/made")).unwrap();
        fs::write(left.join("half/made/x.tcz"), "x").unwrap();
        left
    }

    #[test]
    fn a_folder_lives_as_long_as_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::in_dir(parent.path()).unwrap();
        fs::write(scratch.path().join("half"), "made").unwrap();
        let other = Scratch::in_dir(parent.path()).unwrap();
        assert!(scratch.path().exists(), "another run removed a folder in use");
        assert!(is_name(scratch.path().file_name().unwrap()));
        assert!(is_private(&scratch.path().metadata().unwrap()));
        drop((scratch, other));
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_nothing_that_it_leads_to() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("mine"), "stays").unwrap();
        let left = leave(parent.path(), ".tcforge-killed");
        symlink("../..", left.join("half/up")).unwrap();
        symlink("../../mine", left.join("half/made/link")).unwrap();
        fs::create_dir(parent.path().join(".tcforge-empty1")).unwrap();
        chmod(&parent.path().join(".tcforge-empty1"), PRIVATE);
        drop(Scratch::in_dir(parent.path()).unwrap());
        assert_eq!(names(parent.path()), ["mine"]);
    }

    #[test]
    fn what_is_not_known_to_be_ours_stays_as_it_is() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 9] = [
            ("a name of a person's", |left| {
                fs::rename(left, left.with_file_name(".tcforge-notes-2")).unwrap();
            }),
            ("a folder that others may enter", |left| chmod(left, 0o755)),
            ("a folder without a lock", |left| {
                fs::remove_file(left.join("lock")).unwrap();
            }),
            ("a lock without a mark", |left| {
                fs::write(left.join("lock"), "").unwrap();
            }),
            ("a lock with half a mark", |left| {
                fs::write(left.join("lock"), &MARK[1..]).unwrap();
            }),
            ("a lock with more than the mark", |left| {
                fs::write(left.join("lock"), [MARK, b"\n"].concat()).unwrap();
            }),
            ("a link to a lock", |left| {
                fs::rename(left.join("lock"), left.join("real")).unwrap();
                symlink("real", left.join("lock")).unwrap();
            }),
            ("a link to the folder", |left| {
                let real = left.with_file_name("real");
                fs::rename(left, &real).unwrap();
                symlink(&real, left).unwrap();
            }),
            ("a file", |left| {
                fs::remove_dir_all(left).unwrap();
                fs::write(left, MARK).unwrap();
            }),
        ];
        let obstacles = OBSTACLES.map(|(name, put)| {
            let change = move |left: &Path| {
                fs::remove_file(left.join("lock")).unwrap();
                put(&left.join("lock"));
            };
            (name, Box::new(change) as Box<dyn Fn(&Path)>)
        });
        let changes = changes.map(|(name, change)| (name, Box::new(change) as Box<dyn Fn(&Path)>));
        for (name, change) in changes.into_iter().chain(obstacles) {
            let parent = tempfile::tempdir().unwrap();
            change(&leave(parent.path(), ".tcforge-killed"));
            let before = names(parent.path());
            drop(Scratch::in_dir(parent.path()).unwrap());
            assert_eq!(names(parent.path()), before, "{name}");
            let left = parent.path().join(&before[0]);
            assert!(left.is_file() || left.join("half/made/x.tcz").exists(), "{name}");
        }
    }

    /// Only root can make what belongs to another.
    #[test]
    fn what_belongs_to_another_user_stays_and_is_no_error() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let other = Some(65534);
        for (name, give) in [("a folder", "."), ("a lock in a folder of ours", "lock")] {
            let parent = tempfile::tempdir().unwrap();
            let left = leave(parent.path(), ".tcforge-killed");
            chown(left.join(give), other, other).unwrap();
            drop(Scratch::in_dir(parent.path()).unwrap());
            assert!(left.join("half/made/x.tcz").exists(), "{name}");
        }
        let parent = tempfile::tempdir().unwrap();
        let empty = parent.path().join(".tcforge-empty1");
        fs::create_dir(&empty).unwrap();
        chmod(&empty, PRIVATE);
        chown(&empty, other, other).unwrap();
        drop(Scratch::in_dir(parent.path()).unwrap());
        assert!(empty.exists());
    }

    #[test]
    fn the_mark_goes_last() {
        let parent = tempfile::tempdir().unwrap();
        let left = leave(parent.path(), ".tcforge-killed");
        empty(open_folder(&left).unwrap(), Some(LOCK)).unwrap();
        assert_eq!(names(&left), ["lock"]);
        drop(Scratch::in_dir(parent.path()).unwrap());
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    fn many_at_once_do_not_sweep_each_other() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let scratch = Scratch::in_dir(parent.path()).unwrap();
                        fs::write(scratch.path().join("half"), "made").unwrap();
                    }
                });
            }
        });
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    fn a_folder_is_removed_while_others_write_into_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::in_dir(parent.path()).unwrap();
        let path = scratch.path().to_owned();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends when the folder is gone.
                for n in 0.. {
                    if fs::write(path.join(n.to_string()), "").is_err() {
                        break;
                    }
                }
            });
            drop(scratch);
        });
        assert!(!path.exists());
    }
}
