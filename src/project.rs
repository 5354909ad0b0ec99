//! Where recipes, templates and lists come from: the binary carries its own,
//! and a project folder's files win over them, file by file.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};
use serde::de::DeserializeOwned;

use crate::flock;
use crate::progress::Progress;
use crate::url::masked;

static RECIPES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/recipes");
static INITD: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/initd");
static ISO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/iso");
static KERNEL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/kernel");
static LOCK: &str = include_str!("../tcforge.lock");

/// The name of the lock file; the folder that holds it is the project's.
pub const LOCK_NAME: &str = "tcforge.lock";

/// A project: a folder with files of its own over the built-in ones, or the
/// built-in ones alone.
#[derive(Debug, Clone, Default)]
pub struct Project {
    folder: Option<PathBuf>,
}

/// A project that no other program changes; [`Project::hold`].
#[derive(Debug)]
pub struct Held {
    _folder: Option<flock::FolderLock>,
}

/// A data file that could not be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ProjectError {
    /// Neither the project nor the binary has it.
    #[error("there is no `{0}`, neither in the project nor built in")]
    #[diagnostic(help("`tcforge init DIR` writes the built-in files out: compare the name with theirs"))]
    Missing(String),
    /// It could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check its permissions and the disk, and that it is a plain text file"))]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The project could not be kept from others.
    #[error("cannot lock the folder `{}`", folder.display())]
    #[diagnostic(help(
        "check that you may read it; some network file systems can lock nothing: copy it elsewhere"
    ))]
    Hold {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{name}` is wrong: {source}")]
    #[diagnostic(help("`tcforge init` in an empty folder writes the original out to compare with"))]
    Syntax {
        /// Which file was read.
        name: String,
        /// What is wrong, with the line.
        source: Misread,
    },
    /// `tcforge init` found a file in its way.
    #[error("`{}` is there already", .0.display())]
    #[diagnostic(help("name an empty folder, or remove the file to have it written anew"))]
    Exists(PathBuf),
    /// The project is only the built-in data, which cannot be changed.
    #[error("there is no project here to write `{0}` to")]
    #[diagnostic(help("make one with `tcforge init DIR`, then run this again inside DIR"))]
    ReadOnly(String),
}

/// What is wrong in a TOML file, with the line; secrets of URLs in that are masked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misread(String);

impl Misread {
    /// Without the line's text, for a file of which that may be all secret.
    pub fn of_secret(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Self(format!("line {line}: {}", masked(error.message())))
    }
}

impl From<&toml::de::Error> for Misread {
    fn from(error: &toml::de::Error) -> Self {
        Self(masked(&error.to_string()))
    }
}

impl Project {
    /// The built-in data alone.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The project in `folder`.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(folder.into()),
        }
    }

    /// The project that `start` lies in: the nearest folder upwards that holds
    /// a `tcforge.lock`; the built-in data if there is none. One that another user has
    /// put there, as anybody may into /tmp, is passed over, and that is said.
    pub fn find(start: &Path, progress: &dyn Progress) -> Self {
        let mut folders = start.ancestors();
        let folder = folders.find(|folder| match lock_owner(folder) {
            Some(owner) if is_trusted(owner, start) => true,
            Some(_) => {
                let folder = folder.display();
                progress.note(&format!(
                    "passed over the project in `{folder}`, which is another user's: `--project {folder}` takes it"
                ));
                false
            }
            None => false,
        });
        Self {
            folder: folder.map(Path::to_owned),
        }
    }

    /// The project's folder; `None` for the built-in data.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether a data file is the project's own, and not a built-in one.
    pub fn owns(&self, name: &str) -> bool {
        self.own_path(name).is_some()
    }

    /// How a data file is called in messages: its path in the project if it is
    /// there, else `built-in NAME`.
    pub fn display_name(&self, name: &str) -> String {
        match self.own_path(name) {
            Some(path) => path.display().to_string(),
            None => format!("built-in {name}"),
        }
    }

    /// Where its own lock is, or would be.
    pub fn lock_path(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(LOCK_NAME))
    }

    fn own_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(name);
        path.is_file().then_some(path)
    }

    /// Reads a data file by its name with slashes, say `recipes/runc/recipe.toml`.
    pub fn read(&self, name: &str) -> Result<Cow<'static, [u8]>, ProjectError> {
        if let Some(path) = self.own_path(name) {
            return match fs::read(&path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(source) => Err(ProjectError::Io {
                    action: "read",
                    path,
                    source,
                }),
            };
        }
        built_in_file(name)
            .map(Cow::Borrowed)
            .ok_or_else(|| ProjectError::Missing(name.to_owned()))
    }

    /// Reads a data file that is text.
    pub fn read_text(&self, name: &str) -> Result<String, ProjectError> {
        let bytes = self.read(name)?.into_owned();
        String::from_utf8(bytes).map_err(|error| ProjectError::Io {
            action: "read",
            path: self.display_name(name).into(),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }

    /// Reads a data file that is TOML.
    pub fn read_toml<T: DeserializeOwned>(&self, name: &str) -> Result<T, ProjectError> {
        toml::from_str(&self.read_text(name)?).map_err(|source| ProjectError::Syntax {
            name: self.display_name(name),
            source: (&source).into(),
        })
    }

    /// Replaces a data file of the project, in one step.
    pub fn write(&self, name: &str, text: &str) -> Result<(), ProjectError> {
        let Some(folder) = &self.folder else {
            return Err(ProjectError::ReadOnly(name.to_owned()));
        };
        let path = folder.join(name);
        // The folder may have only the built-in file so far.
        write_with_parents(&path, text.as_bytes()).map_err(|source| ProjectError::Io {
            action: "write",
            path,
            source,
        })
    }

    /// Keeps other programs from changing the project's files until what is returned
    /// is dropped: for who reads files to write them back changed. Waits for one that
    /// does so now, and says that.
    pub fn hold(&self, progress: &dyn Progress) -> Result<Held, ProjectError> {
        let hold = |path: &PathBuf| {
            flock::folder(path, || {
                progress.note(&format!(
                    "waiting for another run that changes `{}`",
                    path.display()
                ));
            })
        };
        let error = |source| ProjectError::Hold {
            folder: self.folder.clone().unwrap_or_default(),
            source,
        };
        let folder = self.folder.as_ref().map(hold).transpose().map_err(error)?;
        Ok(Held { _folder: folder })
    }

    /// The names of the folders in `folder` (say `recipes`), built-in and the
    /// project's own together, sorted.
    pub fn folders(&self, folder: &str) -> Result<BTreeSet<String>, ProjectError> {
        self.names(folder, Path::is_dir, |entry| entry.as_dir().is_some())
    }

    /// The names of the files in `folder` (say `recipes/channels`), built-in
    /// and the project's own together, sorted.
    pub fn files(&self, folder: &str) -> Result<BTreeSet<String>, ProjectError> {
        self.names(folder, Path::is_file, |entry| entry.as_file().is_some())
    }

    fn names(
        &self,
        folder: &str,
        own: fn(&Path) -> bool,
        built_in: fn(&DirEntry<'static>) -> bool,
    ) -> Result<BTreeSet<String>, ProjectError> {
        let mut names: BTreeSet<String> = built_in_dir(folder)
            .into_iter()
            .flat_map(Dir::entries)
            .filter(|entry| built_in(entry))
            .filter_map(|entry| Some(entry.path().file_name()?.to_str()?.to_owned()))
            .collect();
        let Some(path) = self.folder.as_ref().map(|own| own.join(folder)) else {
            return Ok(names);
        };
        let read = |source| ProjectError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            other => other.map_err(read)?,
        };
        for entry in entries {
            let entry = entry.map_err(read)?;
            if own(&entry.path())
                && let Ok(name) = entry.file_name().into_string()
            {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Writes all built-in data out into `folder`, for editing. Nothing is
    /// overwritten: a file that is there already is an error, found before
    /// anything is written.
    pub fn init(folder: &Path) -> Result<Vec<String>, ProjectError> {
        let files = built_in_files();
        for (name, _) in &files {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(ProjectError::Exists(path));
            }
        }
        for (name, bytes) in &files {
            let path = folder.join(name);
            write_with_parents(&path, bytes).map_err(|source| ProjectError::Io {
                action: "write",
                path,
                source,
            })?;
        }
        Ok(files.into_iter().map(|(name, _)| name).collect())
    }
}

/// Who has made a folder a project, if anybody has.
fn lock_owner(folder: &Path) -> Option<u32> {
    let lock = folder.join(LOCK_NAME);
    // Of a link, its own: who made it chose where it leads.
    let meta = lock.is_file().then(|| lock.symlink_metadata());
    meta?.ok().map(|meta| meta.uid())
}

/// Whether a user is this one, root, or the owner of the folder that the person has
/// chosen to work in.
fn is_trusted(user: u32, start: &Path) -> bool {
    let chosen = start.metadata().map(|meta| meta.uid()).ok();
    user == 0 || user == rustix::process::geteuid().as_raw() || Some(user) == chosen
}

fn write_with_parents(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    write_atomically(path, bytes)
}

/// Writes a file beside its destination and renames it there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes, 0o666)
}

/// The same for what only its owner is to read.
pub fn write_privately(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes, 0o600)
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write as _;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(crate::scratch::PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempfile_in(parent.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn built_in_file(name: &str) -> Option<&'static [u8]> {
    if name == LOCK_NAME {
        return Some(LOCK.as_bytes());
    }
    let (top, rest) = name.split_once('/')?;
    let dir = top_dir(top)?;
    dir.get_file(rest).map(include_dir::File::contents)
}

fn built_in_dir(name: &str) -> Option<&'static Dir<'static>> {
    match name.split_once('/') {
        Some((top, rest)) => top_dir(top)?.get_dir(rest),
        None => top_dir(name),
    }
}

fn top_dir(name: &str) -> Option<&'static Dir<'static>> {
    match name {
        "recipes" => Some(&RECIPES),
        "initd" => Some(&INITD),
        "iso" => Some(&ISO),
        "kernel" => Some(&KERNEL),
        _ => None,
    }
}

fn built_in_files() -> Vec<(String, &'static [u8])> {
    fn walk(top: &str, dir: &'static Dir<'static>, files: &mut Vec<(String, &'static [u8])>) {
        for entry in dir.entries() {
            match entry {
                DirEntry::Dir(dir) => walk(top, dir, files),
                DirEntry::File(file) => {
                    files.push((format!("{top}/{}", file.path().display()), file.contents()));
                }
            }
        }
    }
    let mut files = vec![(LOCK_NAME.to_owned(), LOCK.as_bytes())];
    walk("recipes", &RECIPES, &mut files);
    walk("initd", &INITD, &mut files);
    walk("iso", &ISO, &mut files);
    walk("kernel", &KERNEL, &mut files);
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_projects_files_win_over_the_built_in_ones() {
        let dir = tempfile::tempdir().unwrap();
        let name = "recipes/base/tinycore-11.toml";
        let written = Project::init(dir.path()).unwrap();
        assert!(written.iter().any(|w| w == name) && written.iter().any(|w| w == LOCK_NAME));
        let project = Project::find(&dir.path().join("recipes/base"), &Silent);
        assert_eq!(project.folder(), Some(dir.path()));
        assert_eq!(
            project.read(name).unwrap(),
            Project::built_in().read(name).unwrap()
        );
        project.write(name, "mine").unwrap();
        assert_eq!(project.read_text(name).unwrap(), "mine");
        assert!(
            project
                .display_name(name)
                .starts_with(dir.path().to_str().unwrap())
        );
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_eq!(project.display_name(name), format!("built-in {name}"));
        fs::create_dir(dir.path().join("recipes/mine")).unwrap();
        let folders = project.folders("recipes").unwrap();
        assert!(folders.contains("mine") && folders.contains("base"));
        fs::write(dir.path().join("recipes/base/mine.toml"), "").unwrap();
        let files = project.files("recipes/base").unwrap();
        assert!(files.contains("mine.toml") && files.contains("tinycore-11.toml"));
        assert!(!project.files("recipes").unwrap().contains("mine"));
    }

    /// Only root can make what belongs to another.
    #[test]
    fn another_users_project_is_passed_over() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (other, third) = (Some(65534), Some(65533));
        let dir = tempfile::tempdir().unwrap();
        let (shared, mine) = (dir.path().join("shared"), dir.path().join("shared/mine"));
        fs::create_dir_all(&mine).unwrap();
        fs::write(dir.path().join(LOCK_NAME), "").unwrap();
        let planted = shared.join(LOCK_NAME);
        fs::write(&planted, "").unwrap();
        let found = || Project::find(&mine, &Silent).folder;
        for (owner, folder_of, taken) in [
            (None, None, &shared),
            (other, None, &dir.path().to_owned()),
            (other, third, &dir.path().to_owned()),
            (other, other, &shared),
        ] {
            chown(&planted, owner.or(Some(0)), None).unwrap();
            chown(&mine, folder_of.or(Some(0)), None).unwrap();
            assert_eq!(found().as_ref(), Some(taken), "{owner:?} {folder_of:?}");
        }
        // A link of another's to what is ours.
        fs::remove_file(&planted).unwrap();
        symlink(dir.path().join(LOCK_NAME), &planted).unwrap();
        chown(&mine, Some(0), None).unwrap();
        assert_eq!(found().as_ref(), Some(&shared));
        lchown(&planted, other, None).unwrap();
        assert_eq!(found().as_deref(), Some(dir.path()));
    }

    #[test]
    fn init_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_NAME), "mine").unwrap();
        let error = Project::init(dir.path()).unwrap_err();
        assert!(matches!(error, ProjectError::Exists(_)), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_built_in_data_cannot_be_written() {
        let project = Project::built_in();
        assert!(matches!(
            project.write(LOCK_NAME, ""),
            Err(ProjectError::ReadOnly(_))
        ));
        assert!(matches!(
            project.read("recipes/none"),
            Err(ProjectError::Missing(_))
        ));
    }
}
