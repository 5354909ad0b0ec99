//! Fetching: origins, the cache, and what may go wrong on the way.
//!
//! A [`Fetcher`] makes the files of the lock ([`Wanted`]) into files of the cache
//! ([`Cached`]), checked against their sums, whatever server or mirror they came
//! from. For files whose sums are not known yet it has [`Fetcher::discover`], and
//! for newer releases [`Fetcher::latest`].

mod apt_login;
mod apt_route;
mod apt_sources;
mod cache;
mod debian;
mod error;
mod http;
mod latest;
mod mirror;
mod network;
mod npm;
mod npmrc;
mod origin;
mod route;
mod sum_list;

use std::collections::{BTreeMap, BTreeSet};

pub use cache::{Cache, Cached};
pub use error::FetchError;
pub use latest::{Found, FoundFile, Upstream, Wish, compare};
pub use mirror::{Mirror, ParseMirrorError};
pub use network::Network;
pub use origin::{DEFAULT_ARCH, DebianPackage, NpmPackage, Origin, ParseOriginError};
pub use sum_list::ListFault;

use cache::{Checked, Entry, EntryLock, Expected, Part};
use debian::Debian;
use http::{Http, Job};
use npm::{Archive, Npm};
use route::Access;

use crate::digest::Sha256;
use crate::pool;
use crate::progress::{Progress, Task};
use crate::url::WebUrl;

/// How files are fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Where they are kept.
    pub cache: Cache,
    /// Time-outs, retries, limits.
    pub network: Network,
    /// Asked before the mirrors of `network`, and these before the origins.
    pub mirrors: Vec<Mirror>,
    /// Never open a socket, never run a program: the cache and local files only.
    pub offline: bool,
}

/// A file that is to be had, as the lock describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What messages and bars call it.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// Its sum.
    pub sha256: Sha256,
}

/// A file that was fetched to learn its sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Where it is, with its size and sum.
    pub cached: Cached,
    /// Who says that these are upstream's bytes.
    pub vouched: Vouched,
}

/// Who says that a file's bytes are upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// Only the server that it came from, by its certificate.
    FirstFetch,
    /// The sum in the suite's index, whose signature apt checked.
    SignedIndex,
    /// The sum that the npm registry gives.
    NpmIntegrity(String),
    /// The list that upstream publishes beside the file, and nobody else.
    OwnList,
    /// Nobody: it was a file of this machine.
    LocalFile,
}

/// What the `source` of a lock's entry begins with whose sum only upstream publishes.
pub const FIRST_SEEN: &str = "upstream's own list, first seen on";

impl Vouched {
    /// What the lock says of a sum that was found out today.
    pub fn source(&self) -> String {
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        match self {
            Self::FirstFetch => format!("first fetch by you over https, {today}; no other record of the sum"),
            Self::SignedIndex => format!("Debian's signed package index, {today}"),
            Self::NpmIntegrity(sum) => format!("npm registry, {sum}"),
            Self::OwnList => format!("{FIRST_SEEN} {today}"),
            Self::LocalFile => format!("a file of yours, {today}"),
        }
    }
}

/// Fetches files into a cache.
pub struct Fetcher {
    cache: Cache,
    mirrors: Vec<Mirror>,
    offline: bool,
    http: Http,
    debian: Debian,
    npm: Npm,
}

/// What came of fetching several files, each by itself.
#[derive(Debug)]
pub struct Fetched(BTreeMap<Sha256, Result<Cached, FetchError>>);

impl Fetched {
    /// The files, in the order of `wanted`, or why there are none: all failures. Who asks
    /// again for a file that failed is told that, and not why once more.
    pub fn take(&mut self, wanted: &[Wanted]) -> Result<Vec<Cached>, FetchError> {
        let (mut files, mut errors, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for one in wanted {
            let result = match self.0.get(&one.sha256) {
                Some(Ok(cached)) => sized(cached.clone(), one),
                _ if !seen.insert(one.sha256) => continue,
                _ => self.failure(one),
            };
            match result {
                Ok(cached) => files.push(cached),
                Err(error) => errors.push(error),
            }
        }
        match FetchError::gather(errors) {
            Some(error) => Err(error),
            None => Ok(files),
        }
    }

    fn failure(&mut self, wanted: &Wanted) -> Result<Cached, FetchError> {
        let name = wanted.name.clone();
        self.0
            .remove(&wanted.sha256)
            .unwrap_or(Err(FetchError::Told { name }))
    }
}

/// One file under way.
struct Errand<'a> {
    name: &'a str,
    expected: Expected,
    // What its part and its lock are called.
    key: &'a str,
    lock: &'a EntryLock,
    progress: &'a dyn Progress,
    task: &'a dyn Task,
}

impl Errand<'_> {
    fn job<'a>(
        &'a self,
        url: &'a WebUrl,
        access: &'a Access,
        expected: &'a Expected,
        attempts: u32,
    ) -> Job<'a> {
        Job {
            url,
            access,
            name: self.name,
            expected,
            attempts,
            progress: self.progress,
            task: self.task,
        }
    }

    /// The error where there is no place to ask.
    fn nowhere(&self) -> FetchError {
        FetchError::Offline {
            missing: vec![self.name.to_owned()],
        }
    }
}

/// How a part was filled.
struct Filled {
    /// Whether bytes from an earlier attempt are in it.
    resumed: bool,
    vouched: Vouched,
    /// What it must be: more is known of some files than was asked for.
    expected: Expected,
}

impl Fetcher {
    /// A fetcher. Nothing is read or opened before a file is asked for.
    pub fn new(options: FetchOptions) -> Self {
        let FetchOptions {
            cache,
            network,
            mut mirrors,
            offline,
        } = options;
        mirrors.extend(network.mirrors.iter().cloned());
        Self {
            mirrors,
            offline,
            debian: Debian::new(&cache, &network),
            npm: Npm::default(),
            http: Http::new(network),
            cache,
        }
    }

    /// The cache that it fills.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Brings all files into the cache as [`Fetcher::fetch_each`] does. The results are
    /// in the order of `wanted`; the error tells all failures.
    pub fn fetch_all(&self, wanted: &[Wanted], progress: &dyn Progress) -> Result<Vec<Cached>, FetchError> {
        self.fetch_each(wanted, progress).take(wanted)
    }

    /// Brings files into the cache, several at a time; one that is wanted more than
    /// once is fetched once. A failure does not keep the other files from being fetched.
    pub fn fetch_each(&self, wanted: &[Wanted], progress: &dyn Progress) -> Fetched {
        let mut seen = BTreeSet::new();
        let different: Vec<_> = wanted.iter().filter(|one| seen.insert(one.sha256)).collect();
        let absent: Vec<_> = different
            .iter()
            .filter(|one| !self.cache.path_of(&one.sha256).exists())
            .collect();
        let total = absent.iter().map(|one| one.size).sum();
        let group = match absent.is_empty() {
            true => None,
            false => progress.group("total", total),
        };
        let progress = group.as_deref().unwrap_or(progress);
        let jobs = self.http.network().jobs.get();
        let results = pool::map(&different, jobs, |one| (one.sha256, self.fetch(one, progress)));
        Fetched(results.into_iter().collect())
    }

    /// Brings one file into the cache.
    pub fn fetch(&self, wanted: &Wanted, progress: &dyn Progress) -> Result<Cached, FetchError> {
        if let Entry::Good(cached) = self.cache.look_up(&wanted.sha256)? {
            return sized(cached, wanted);
        }
        let sources = self.sources(wanted);
        let offline = || FetchError::Offline {
            missing: vec![format!("{} ({})", wanted.name, wanted.origin.to_string())],
        };
        if sources.is_empty() {
            return Err(offline());
        }
        let key = wanted.sha256.to_string();
        let lock = self.lock(&key, &wanted.name, progress)?;
        match self.cache.look_up(&wanted.sha256)? {
            // Another has fetched it in the meantime.
            Entry::Good(cached) => return sized(cached, wanted),
            Entry::Absent => {}
            Entry::Damaged(path) => {
                progress.note(&format!("{}: damaged in the cache, fetched again", wanted.name));
                self.cache.remove(&path)?;
            }
        }
        let errand = Errand {
            name: &wanted.name,
            expected: Expected {
                sum: Some(wanted.sha256),
                size: wanted.size,
                limit: self.http.network().limit(wanted.size),
            },
            key: &key,
            lock: &lock,
            progress,
            task: &*progress.start(&wanted.name, wanted.size),
        };
        let is_local = matches!(wanted.origin, Origin::File(_));
        self.fetch_from_first(&sources, &errand).map_err(|error| {
            // That a mirror's folder lacks the file says less than that nobody else was asked.
            match self.offline && !is_local && error.is_absence() {
                true => offline(),
                false => error,
            }
        })
    }

    /// Fetches a file whose sum is not known yet, and keeps it in the cache.
    ///
    /// Over plain http this is refused, except from this machine itself: somebody
    /// in between would choose the sum.
    pub fn discover(&self, origin: &Origin, progress: &dyn Progress) -> Result<Discovered, FetchError> {
        let name = origin.file_name();
        match origin {
            Origin::File(_) => {}
            _ if self.offline => {
                return Err(FetchError::Offline {
                    missing: vec![origin.to_string()],
                });
            }
            Origin::Web(url) if is_plain_http(url) => {
                return Err(FetchError::PlainHttp {
                    url: origin.to_string(),
                });
            }
            _ => {}
        }
        let key = format!("new-{}", Sha256::of(origin.identity().as_bytes()));
        let lock = self.lock(&key, &name, progress)?;
        let errand = Errand {
            name: &name,
            expected: Expected {
                sum: None,
                size: None,
                limit: self.http.network().largest_file,
            },
            key: &key,
            lock: &lock,
            progress,
            task: &*progress.start(&name, None),
        };
        let attempts = self.http.network().attempts.get();
        let (cached, vouched) = self.fetch_from(origin, attempts, &errand)?;
        Ok(Discovered { cached, vouched })
    }

    /// Fetches a file whose sum is not known yet, but is in a list that upstream publishes,
    /// and keeps it in the cache if it has that sum. The list comes from its own place and
    /// never over plain http, except from this machine itself; the file from anywhere.
    pub fn discover_listed(
        &self,
        name: &str,
        origin: &Origin,
        list: &WebUrl,
        progress: &dyn Progress,
    ) -> Result<Discovered, FetchError> {
        if self.offline {
            return Err(FetchError::OfflineList {
                name: name.to_owned(),
                list: list.to_string(),
            });
        }
        if is_plain_http(list) {
            return Err(FetchError::PlainHttp {
                url: list.to_string(),
            });
        }
        let sum = self.listed(name, origin, list, progress)?;
        let wanted = Wanted {
            name: name.to_owned(),
            origin: origin.clone(),
            size: None,
            sha256: sum,
        };
        let cached = self.fetch(&wanted, progress).map_err(|error| match error {
            FetchError::WrongSum { from, found, .. } => FetchError::NotAsListed {
                from,
                list: list.to_string(),
                listed: sum,
                found,
            },
            other => other,
        })?;
        let vouched = Vouched::OwnList;
        Ok(Discovered { cached, vouched })
    }

    /// The sum that a list has of a file.
    fn listed(
        &self,
        name: &str,
        origin: &Origin,
        list: &WebUrl,
        progress: &dyn Progress,
    ) -> Result<Sha256, FetchError> {
        let no_sum = |why: String| FetchError::NoSum {
            list: list.to_string(),
            name: name.to_owned(),
            why,
        };
        let limit = self.http.network().largest_list;
        let body = match self.http.read(list, &Access::default(), "*/*", limit, progress) {
            Err(FetchError::Status { status, .. }) if matches!(status, 404 | 410) => {
                return Err(no_sum(format!("the server answers {status}")));
            }
            other => other?,
        };
        sum_list::sum_in(&body, &origin.file_name()).map_err(|fault| no_sum(fault.to_string()))
    }

    fn lock(&self, key: &str, name: &str, progress: &dyn Progress) -> Result<EntryLock, FetchError> {
        self.cache.lock(key, || {
            progress.note(&format!("{name}: waiting for another run that is fetching it"));
        })
    }

    /// Who may have a file, in order, and where: each mirror, then its origin.
    fn sources(&self, wanted: &Wanted) -> Vec<Vec<Origin>> {
        let file_name = wanted.origin.file_name();
        let mirrors = self.mirrors.iter();
        mirrors
            .map(|mirror| mirror.places(&wanted.sha256, &file_name))
            .chain([vec![wanted.origin.clone()]])
            .map(|mut places| {
                places.retain(|place| !self.offline || matches!(place, Origin::File(_)));
                places
            })
            .filter(|places| !places.is_empty())
            .collect()
    }

    /// Fetches from the first source that has it. The last one's failure counts,
    /// unless the cache is to blame: then no other is asked.
    fn fetch_from_first(&self, sources: &[Vec<Origin>], errand: &Errand) -> Result<Cached, FetchError> {
        let (last, before) = sources.split_last().ok_or_else(|| errand.nowhere())?;
        for places in before {
            match self.fetch_from_one_of(places, 1, errand) {
                Ok(cached) => return Ok(cached),
                Err(error) if places.iter().all(|place| error.is_of_the_cache(place)) => return Err(error),
                Err(error) => errand.progress.note(&format!("{}: {error}", errand.name)),
            }
        }
        let attempts = self.http.network().attempts.get();
        self.fetch_from_one_of(last, attempts, errand)
    }

    /// Fetches from the first of a source's places that has it. Otherwise the
    /// last failure counts; that the file is not there says less than others.
    fn fetch_from_one_of(
        &self,
        places: &[Origin],
        attempts: u32,
        errand: &Errand,
    ) -> Result<Cached, FetchError> {
        let mut failure: Option<FetchError> = None;
        for place in places {
            let error = match self.fetch_from(place, attempts, errand) {
                Ok((cached, _)) => return Ok(cached),
                Err(error) => error,
            };
            if error.is_of_the_cache(place) {
                return Err(error);
            }
            let counts = |before: &FetchError| before.is_absence() || !error.is_absence();
            if failure.as_ref().is_none_or(counts) {
                failure = Some(error);
            }
        }
        Err(failure.unwrap_or_else(|| errand.nowhere()))
    }

    fn fetch_from(
        &self,
        place: &Origin,
        attempts: u32,
        errand: &Errand,
    ) -> Result<(Cached, Vouched), FetchError> {
        let mut part = self.cache.part(errand.key, errand.lock)?;
        match self.fill_and_check(place, attempts, errand, &mut part) {
            Ok((checked, vouched)) => Ok((self.cache.admit(part, checked)?, vouched)),
            Err(error) => {
                if error.spoils() {
                    part.discard()?;
                }
                Err(error)
            }
        }
    }

    fn fill_and_check(
        &self,
        place: &Origin,
        attempts: u32,
        errand: &Errand,
        part: &mut Part,
    ) -> Result<(Checked, Vouched), FetchError> {
        let from = place.to_string();
        let filled = self.fill(place, attempts, errand, part)?;
        match part.check(&filled.expected, &from) {
            Err(FetchError::WrongSum { .. } | FetchError::WrongSize { .. }) if filled.resumed => {
                errand.progress.note(&format!(
                    "{}: the earlier part does not fit, fetched anew",
                    errand.name
                ));
                part.begin(None)?;
                let filled = self.fill(place, attempts, errand, part)?;
                Ok((part.check(&filled.expected, &from)?, filled.vouched))
            }
            checked => Ok((checked?, filled.vouched)),
        }
    }

    /// Brings bytes into a part. They are not checked yet.
    fn fill(
        &self,
        place: &Origin,
        attempts: u32,
        errand: &Errand,
        part: &mut Part,
    ) -> Result<Filled, FetchError> {
        match place {
            Origin::Web(url) => {
                let access = Access::default();
                let job = errand.job(url, &access, &errand.expected, attempts);
                self.download(&job, part)
            }
            Origin::Npm(package) => {
                let archive = self.npm.archive(&self.http, package, errand.progress)?;
                self.fill_from_npm(package, &archive, attempts, errand, part)
            }
            Origin::Debian(package) => self.fill_from_debian(package, attempts, errand, part),
            Origin::File(path) => {
                part.copy_from(path, &errand.expected)?;
                errand.task.set_position(part.length());
                Ok(Filled {
                    resumed: false,
                    vouched: Vouched::LocalFile,
                    expected: errand.expected,
                })
            }
        }
    }

    fn fill_from_debian(
        &self,
        package: &DebianPackage,
        attempts: u32,
        errand: &Errand,
        part: &mut Part,
    ) -> Result<Filled, FetchError> {
        let (expected, progress) = (&errand.expected, errand.progress);
        let found = self.debian.find(package, expected, progress)?;
        match self.fill_with_package(&found, package, attempts, errand, part) {
            // The lists may be older than the mirror's pool.
            Err(error) if error.is_absence() || matches!(error, FetchError::Apt { .. }) => {
                match self.debian.find_anew(package, expected, progress)? {
                    Some(found) => self.fill_with_package(&found, package, attempts, errand, part),
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    fn fill_with_package(
        &self,
        found: &debian::Found,
        package: &DebianPackage,
        attempts: u32,
        errand: &Errand,
        part: &mut Part,
    ) -> Result<Filled, FetchError> {
        let resumed = match &found.web {
            Some((url, route)) => {
                let access = Access::by(route);
                let job = errand.job(url, &access, &found.expected, attempts);
                self.http.download(&job, part)?
            }
            None => {
                found.download_by_apt(package, part, errand.task)?;
                false
            }
        };
        Ok(Filled {
            resumed,
            vouched: Vouched::SignedIndex,
            expected: found.expected,
        })
    }

    fn fill_from_npm(
        &self,
        package: &NpmPackage,
        archive: &Archive,
        attempts: u32,
        errand: &Errand,
        part: &mut Part,
    ) -> Result<Filled, FetchError> {
        let mut downloaded = Err(FetchError::NoRegistry {
            origin: errand.name.to_owned(),
        });
        for (url, access) in &archive.places {
            let job = errand.job(url, access, &errand.expected, attempts);
            downloaded = self.download(&job, part);
            if downloaded.is_err() {
                continue;
            }
            if errand.expected.size.is_none_or(|size| size == part.length()) {
                break;
            }
            // A page, say, that a registry has to show. The next place does not go on from it.
            downloaded = part.check(&errand.expected, &url.to_string()).and(downloaded);
            part.begin(None)?;
        }
        let Filled {
            resumed, expected, ..
        } = downloaded?;
        let vouched = match &archive.integrity {
            // A part that does not fit is found by its sha256, and begun anew.
            Some(integrity) if resumed => Vouched::NpmIntegrity(integrity.as_str().to_owned()),
            Some(integrity) => {
                integrity.check(part, package)?;
                Vouched::NpmIntegrity(integrity.as_str().to_owned())
            }
            None if errand.expected.sum.is_some() => Vouched::FirstFetch,
            None => {
                return Err(FetchError::Integrity {
                    origin: Origin::Npm(package.clone()).to_string(),
                    why: "has no sha512 in its registry".to_owned(),
                });
            }
        };
        Ok(Filled {
            resumed,
            vouched,
            expected,
        })
    }

    fn download(&self, job: &Job, part: &mut Part) -> Result<Filled, FetchError> {
        Ok(Filled {
            resumed: self.http.download(job, part)?,
            vouched: Vouched::FirstFetch,
            expected: *job.expected,
        })
    }
}

/// Refuses an entry whose size is not the lock's: then the lock is wrong.
fn sized(cached: Cached, wanted: &Wanted) -> Result<Cached, FetchError> {
    match wanted.size {
        Some(size) if size != cached.size => Err(FetchError::WrongSize {
            from: wanted.origin.to_string(),
            wanted: size,
            found: cached.size,
        }),
        _ => Ok(cached),
    }
}

/// Whether others may read and change what comes from there: not if it is from this
/// machine.
fn is_plain_http(url: &WebUrl) -> bool {
    let url = url.with_secrets();
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !is_here
}
