//! Sums that nobody but upstream itself publishes: taken from its own list when a file is
//! fetched first, kept, and from then on held to.

use std::fs;
use std::path::PathBuf;

use crate::fetch::{FetchError, Fetcher};
use crate::progress::Progress;
use crate::project::{LOCK_NAME, Project, ProjectError};
use crate::recipe::{Lock, LockError, LockedFile, Plan};
use crate::state;

/// What stands above the entries of a user's own lock.
const HEADER: &str = "\
# The sums of files that only upstream itself publishes, as its lists said when this
# user fetched the files first, without a project. Every build is held to them.
version = 1
";

/// The locks that hold for a project: the one in its folder, or else the built-in one and
/// with it what this user saw first.
#[derive(Debug)]
pub struct Locks<'a> {
    project: &'a Project,
    /// Where the user's own lock is.
    state: Option<PathBuf>,
}

/// Plans, and what is known of the sums of their files.
#[derive(Debug)]
pub struct Pinned {
    /// All that is known now.
    pub lock: Lock,
    /// The plans of which upstream's lists, where they were asked, said what was to be
    /// found out.
    pub plans: Vec<Plan>,
    /// The others, and why they did not.
    pub unknown: Vec<(Plan, PinError)>,
}

/// Why a sum could not be had, or not be kept.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PinError {
    /// Upstream's list or file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// The lock that it is to be kept in.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// The folder of that.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// There is nowhere for it.
    #[error("no place to keep what was seen first: neither XDG_STATE_HOME nor HOME is set")]
    #[diagnostic(help(
        "set XDG_STATE_HOME to a folder that you may write to, or use a project: `tcforge init DIR`"
    ))]
    NoState,
}

impl<'a> Locks<'a> {
    /// The locks of a project and of the user who runs this: `$XDG_STATE_HOME/tcforge`, or
    /// `~/.local/state/tcforge`.
    pub fn of_user(project: &'a Project) -> Self {
        Self {
            project,
            state: state::path(),
        }
    }

    /// All that is known now.
    pub fn load(&self) -> Result<Lock, LockError> {
        let mut lock = Lock::load(self.project)?;
        if let Ok(home) = self.home()
            && !self.project.owns(LOCK_NAME)
        {
            // What is built in has better witnesses.
            lock.insert_unknown(own_lock(&home)?.iter().cloned());
        }
        Ok(lock)
    }

    /// Finds out, and keeps, the sums of those files of plans that no lock knows and that
    /// upstream has a list for. A file that is not what its list says is kept by nobody.
    pub fn pin(
        &self,
        plans: Vec<Plan>,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<Pinned, PinError> {
        let mut pinned = Pinned {
            lock: self.load()?,
            plans: Vec::new(),
            unknown: Vec::new(),
        };
        let mut found = Vec::new();
        for plan in plans {
            match look_up(&plan, &pinned.lock, fetcher, progress) {
                Ok(files) => {
                    found.extend(files);
                    pinned.plans.push(plan);
                }
                Err(error) => pinned.unknown.push((plan, error.into())),
            }
        }
        if !found.is_empty() {
            self.keep(found, progress)?;
            pinned.lock = self.load()?;
        }
        Ok(pinned)
    }

    fn keep(&self, found: Vec<LockedFile>, progress: &dyn Progress) -> Result<(), PinError> {
        let home = self.home()?;
        if let Some(folder) = home.folder() {
            fs::create_dir_all(folder).map_err(|source| ProjectError::Io {
                action: "make",
                path: folder.to_owned(),
                source,
            })?;
        }
        let _held = home.hold(progress)?;
        // As it is now: what another run saw first meanwhile counts.
        let mut lock = own_lock(&home)?;
        let path = home.lock_path().unwrap_or_default();
        for file in lock.insert_unknown(found) {
            progress.note(&format!(
                "{}: upstream's own list says {}; kept in `{}`, and from now on held to",
                file.name,
                file.sha256,
                path.display()
            ));
        }
        Ok(lock.save(&home)?)
    }

    /// Where the lock is that new sums go to.
    fn home(&self) -> Result<Project, PinError> {
        match (self.project.owns(LOCK_NAME), &self.state) {
            (true, _) => Ok(self.project.clone()),
            (false, Some(state)) => Ok(Project::in_folder(state)),
            (false, None) => Err(PinError::NoState),
        }
    }
}

/// What is to be kept of those files of a plan that the lock does not know and that
/// upstream has a list of its own for.
fn look_up(
    plan: &Plan,
    lock: &Lock,
    fetcher: &Fetcher,
    progress: &dyn Progress,
) -> Result<Vec<LockedFile>, FetchError> {
    let mut files = Vec::new();
    for asset in &plan.assets {
        if let Some(list) = &asset.sum_list
            && !asset.is_unlocked()
            && lock.find(&asset.origin).is_none()
        {
            let found = fetcher.discover_listed(&asset.name, &asset.origin, list, progress)?;
            files.push(LockedFile {
                name: asset.name.clone(),
                url: asset.origin.clone(),
                size: Some(found.cached.size),
                sha256: found.cached.sha256,
                source: found.vouched.source(),
            });
        }
    }
    Ok(files)
}

/// The lock in a folder, which may not be there yet.
fn own_lock(home: &Project) -> Result<Lock, LockError> {
    match home.owns(LOCK_NAME) {
        true => Lock::load(home),
        false => Ok(Lock::empty(HEADER)?),
    }
}
