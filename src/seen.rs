//! Sums that nobody but upstream itself publishes: taken from its own list when a file is
//! fetched first, kept, and from then on held to.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256;
use crate::fetch::{FetchError, Fetcher};
use crate::plain;
use crate::progress::Progress;
use crate::project::{LOCK_NAME, Project, ProjectError, write_privately};
use crate::recipe::{Lock, LockError, LockedFile, Plan, PlannedAsset, SourceFile};
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
    /// What was built in since is not what this user saw first.
    #[error("the locks disagree on `{name}`: its sha256 is {built_in} in the built-in one, {own} in `{}`", path.display())]
    #[diagnostic(help(
        "upstream replaced the file, or somebody changed it on the way: find out which. To go by the built-in lock, \
         remove the entry from the other, and run this again"
    ))]
    Disagree {
        /// What the file is called.
        name: String,
        /// Its sum in the built-in lock.
        built_in: Sha256,
        /// The one that the user saw first.
        own: Sha256,
        /// The user's own lock.
        path: PathBuf,
    },
    /// The lock that another plan could not use.
    #[error("the lock for its sums cannot be used, as for `{0}`")]
    #[diagnostic(help("what is said of that one says why: mend it, and run this again"))]
    As(String),
}

/// An error that several plans have, told in full of the first.
struct Shared {
    error: Option<PinError>,
    first: String,
}

/// What is known before upstream is asked.
struct Known {
    /// The project's lock, or the built-in one.
    lock: Lock,
    /// The user's own.
    own: Result<Lock, Shared>,
}

/// A plan, those of its sums that are to be kept, and why there are not all.
struct Looked {
    plan: Plan,
    found: Vec<LockedFile>,
    error: Option<PinError>,
}

impl Shared {
    fn new(error: PinError) -> Self {
        Self {
            error: Some(error),
            first: String::new(),
        }
    }

    fn of(&mut self, plan: &Plan) -> PinError {
        match self.error.take() {
            Some(error) => {
                self.first.clone_from(&plan.name);
                error
            }
            None => PinError::As(self.first.clone()),
        }
    }
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

    /// All that is known now, but what the locks disagree on. The user's own lock may be
    /// damaged: [`Self::pin`] tells that of the plans that need it.
    pub fn load(&self) -> Result<Lock, LockError> {
        let lock = Lock::load(self.project)?;
        Ok(match self.own() {
            Ok(own) => self.joined(lock, &own),
            Err(_) => lock,
        })
    }

    /// Finds out, and keeps, the sums of those files of plans that no lock knows and that
    /// upstream has a list for. A file that is not what its list says is kept by nobody.
    pub fn pin(
        &self,
        plans: Vec<Plan>,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<Pinned, PinError> {
        let mut known = Known {
            lock: Lock::load(self.project)?,
            own: self.own().map_err(Shared::new),
        };
        let plans = plans.into_iter();
        let looked: Vec<_> = plans
            .map(|plan| self.look_up(plan, &mut known, fetcher, progress))
            .collect();
        let found: Vec<_> = looked.iter().flat_map(|one| one.found.iter().cloned()).collect();
        let kept = match found.is_empty() {
            true => Ok(Lock::default()),
            false => self.keep(found, progress).map_err(Shared::new),
        };
        let mut lock = match known.own {
            Ok(own) => self.joined(known.lock, &own),
            Err(_) => known.lock,
        };
        if let Ok(kept) = &kept {
            lock.insert_unknown(kept.iter().cloned());
        }
        let (plans, unknown) = sorted(looked, kept.err());
        Ok(Pinned { lock, plans, unknown })
    }

    /// Looks up all files of a plan. What is found of it stays, whatever the others are.
    fn look_up(&self, plan: Plan, known: &mut Known, fetcher: &Fetcher, progress: &dyn Progress) -> Looked {
        let (mut found, mut error) = (Vec::new(), None);
        for asset in plan.assets.iter().filter(|asset| !asset.is_unlocked()) {
            match self.look_up_one(&plan, asset, known, fetcher, progress) {
                Ok(file) => found.extend(file),
                Err(new) => error = error.or(Some(new)),
            }
        }
        Looked { plan, found, error }
    }

    /// What is to be kept of a file: nothing if a lock that counts here knows it, or if
    /// upstream has no list of its own for it.
    fn look_up_one(
        &self,
        plan: &Plan,
        asset: &PlannedAsset,
        known: &mut Known,
        fetcher: &Fetcher,
        progress: &dyn Progress,
    ) -> Result<Option<LockedFile>, PinError> {
        let locked = known.lock.find(&asset.origin);
        if locked.is_some() && self.is_projects() {
            return Ok(None);
        }
        let own = match &mut known.own {
            Ok(own) => own.find(&asset.origin),
            Err(shared) if asset.sum_list.is_some() => return Err(shared.of(plan)),
            Err(_) => None,
        };
        match (locked, own, &asset.sum_list) {
            (Some(locked), Some(own), _) if locked.sha256 != own.sha256 => Err(PinError::Disagree {
                name: asset.name.clone(),
                built_in: locked.sha256,
                own: own.sha256,
                path: self.state.clone().unwrap_or_default().join(LOCK_NAME),
            }),
            // A project is held to what its user saw before there was one.
            (None, Some(own), _) => Ok(self.is_projects().then(|| own.clone())),
            (None, None, Some(list)) => {
                let found = fetcher.discover_listed(&asset.name, &asset.origin, list, progress)?;
                Ok(Some(LockedFile {
                    name: asset.name.clone(),
                    url: asset.origin.clone(),
                    size: Some(found.cached.size),
                    sha256: found.cached.sha256,
                    source: found.vouched.source(),
                }))
            }
            _ => Ok(None),
        }
    }

    /// Puts new sums into the lock that they belong in, and gives that.
    fn keep(&self, found: Vec<LockedFile>, progress: &dyn Progress) -> Result<Lock, PinError> {
        let home = self.home()?;
        let _held = home.hold(progress)?;
        // As it is now: what another run saw first meanwhile counts.
        let mut lock = match self.is_projects() {
            true => Lock::load(&home)?,
            false => self.own()?,
        };
        let new = lock.insert_unknown(found);
        let path = home.lock_path().unwrap_or_default();
        match self.is_projects() {
            true => lock.save(&home)?,
            false => write_privately(&path, lock.to_text()?.as_bytes()).map_err(io_error("write", &path))?,
        }
        for file in new {
            progress.note(&format!(
                "{}: its sha256 is {} ({}); kept in `{}`, and from now on held to",
                file.name,
                file.sha256,
                file.source,
                path.display()
            ));
        }
        Ok(lock)
    }

    /// Whether new sums go to the project's lock, and not to the user's own.
    fn is_projects(&self) -> bool {
        self.project.owns(LOCK_NAME)
    }

    /// Where the lock is that new sums go to.
    fn home(&self) -> Result<Project, PinError> {
        match (self.is_projects(), &self.state) {
            (true, _) => Ok(self.project.clone()),
            (false, Some(path)) => {
                let folder = state::folder().map_err(io_error("make", path))?;
                Ok(Project::in_folder(folder))
            }
            (false, None) => Err(PinError::NoState),
        }
    }

    /// The user's own lock.
    pub(crate) fn own(&self) -> Result<Lock, PinError> {
        let Some(folder) = &self.state else {
            return Ok(Lock::default());
        };
        let path = folder.join(LOCK_NAME);
        let text = match plain::read_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEADER.to_owned(),
            other => other
                .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
                .map_err(io_error("read", &path))?,
        };
        let source = SourceFile::new(&path.display().to_string(), &text);
        Ok(Lock::parse(&source).map_err(LockError::from)?)
    }

    /// A lock, and what the user saw first, where that counts.
    fn joined(&self, mut lock: Lock, own: &Lock) -> Lock {
        if !self.is_projects() {
            for file in own.iter() {
                if lock
                    .find(&file.url)
                    .is_some_and(|locked| locked.sha256 != file.sha256)
                {
                    lock.remove(&file.url);
                } else {
                    lock.insert_unknown([file.clone()]);
                }
            }
        }
        lock
    }
}

/// The plans whose sums are known, and the others; `not_kept` says why what was found
/// could not be kept.
fn sorted(looked: Vec<Looked>, mut not_kept: Option<Shared>) -> (Vec<Plan>, Vec<(Plan, PinError)>) {
    let (mut plans, mut unknown) = (Vec::new(), Vec::new());
    for Looked { plan, found, error } in looked {
        let of_lock = not_kept.as_mut().filter(|_| !found.is_empty());
        match error.or_else(|| of_lock.map(|shared| shared.of(&plan))) {
            Some(error) => unknown.push((plan, error)),
            None => plans.push(plan),
        }
    }
    (plans, unknown)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProjectError {
    let path = path.to_owned();
    move |source| ProjectError::Io { action, path, source }
}
