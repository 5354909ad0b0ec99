//! Debian packages, by the machine's own apt: its mirror, its keys, its proxies.
//!
//! For each suite and architecture apt gets a private state in the cache (source
//! file, lists, package cache, no installed packages), so that neither root nor
//! the system's lists are needed or touched. The source is the machine's entry
//! for Debian (or, for a `…-security` suite, for Debian's security archive), that of
//! the suite itself if there is one, else the first with the suite replaced; what the entry says about keys is kept, and apt checks the
//! suite's signature with them.
//!
//! The packages themselves are downloaded as every file is, from where apt says and
//! by the proxy that apt is set up with, and compared with the signed index.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use super::FetchError;
use super::apt_login::{Login, LoginFile};
use super::apt_route;
use super::apt_sources::{Stanza, find_entry, stanzas, with_suite};
use super::cache::{Cache, Expected, Part};
use super::network::Network;
use super::origin::{DebianPackage, parse_url};
use super::route::Route;
use crate::digest::Sha256;
use crate::progress::{Progress, Task};
use crate::project::write_atomically;
use crate::scratch::Scratch;
use crate::url::{WebUrl, masked};
use crate::{flock, plain};

/// Debian packages, in the private states of one cache.
pub(super) struct Debian {
    cache: Cache,
    network: Network,
    /// The states whose lists this process has brought up to date.
    fresh: Mutex<BTreeSet<PathBuf>>,
}

/// What Debian's signed index says of a package's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) version: String,
    pub(super) size: u64,
    pub(super) sum: Sha256,
}

/// A package's file.
pub(super) struct Found {
    /// What the signed index says of it.
    pub(super) expected: Expected,
    /// Where it is, and how apt would go there.
    pub(super) web: Option<(WebUrl, Route)>,
    state: State,
    login: Option<Login>,
}

/// A private state of apt.
struct State {
    folder: PathBuf,
    // Shared by downloads, alone for an update.
    lock: File,
    options: Vec<String>,
}

/// A machine's source entry that is for Debian.
struct Source {
    /// Without a login.
    uri: String,
    login: Option<Login>,
    entry: Stanza,
}

impl Debian {
    pub(super) fn new(cache: &Cache, network: &Network) -> Self {
        Self {
            cache: cache.clone(),
            network: network.clone(),
            fresh: Mutex::default(),
        }
    }

    /// Finds a package's file, in lists that may be old. Fails if the package is
    /// not in new ones either, or is another than `expected`.
    pub(super) fn find(
        &self,
        package: &DebianPackage,
        expected: &Expected,
        progress: &dyn Progress,
    ) -> Result<Found, FetchError> {
        let state = self.state(package)?;
        let listed = match self.listed(&state, package)? {
            Some(listed) => listed,
            None => {
                self.update(&state, package, progress)?;
                self.listed_or_versions(&state, package)?
            }
        };
        check_listed(package, &listed, expected)?;
        let login = match state.wants_login() {
            true => self.machine_source(package)?.login,
            false => None,
        };
        found(state, listed, login, package)
    }

    /// Finds it in new lists, or nothing if these were new already.
    pub(super) fn find_anew(
        &self,
        package: &DebianPackage,
        expected: &Expected,
        progress: &dyn Progress,
    ) -> Result<Option<Found>, FetchError> {
        let state = self.state(package)?;
        match self.update(&state, package, progress)? {
            true => self.find(package, expected, progress).map(Some),
            false => Ok(None),
        }
    }

    /// The versions of a package that its suite has now, newest first.
    pub(super) fn versions(
        &self,
        package: &DebianPackage,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, FetchError> {
        let state = self.state(package)?;
        self.update(&state, package, progress)?;
        let all = self.show(&state, package)?;
        Ok(all.into_iter().map(|listed| listed.version).collect())
    }

    fn state(&self, package: &DebianPackage) -> Result<State, FetchError> {
        let suite = package.suite().replace('/', "_");
        let folder = self.cache.folder(&format!("apt/{suite}_{}", package.arch()))?;
        State::open(folder, &self.network)
    }

    /// Writes the state's source file; its login, which is not in that, is given back.
    fn write_sources(&self, state: &State, package: &DebianPackage) -> Result<Option<Login>, FetchError> {
        let Source { uri, login, entry } = self.machine_source(package)?;
        let mut text = with_suite(&entry, &uri, package.suite(), package.arch());
        if login.is_some() {
            text = format!("{WANTS_LOGIN}\n{text}");
        }
        let path = state.sources();
        write_atomically(&path, text.as_bytes()).map_err(FetchError::io("write", path))?;
        Ok(login)
    }

    /// The machine's entry for the archive that has the package's suite.
    fn machine_source(&self, package: &DebianPackage) -> Result<Source, FetchError> {
        let security = package.suite().ends_with("-security") || package.suite().ends_with("/updates");
        let label = if security { "Debian-Security" } else { "Debian" };
        if let Some(source) = self.source_labelled(label, &[], package)? {
            return Ok(source);
        }
        // The machine never ran `apt-get update`, so nothing is known of what its
        // sources are: have them looked at, in a state of our own.
        let folder = self.cache.folder("apt/machine")?;
        let state = State::open(folder, &self.network)?;
        state.lock.lock().map_err(FetchError::io("lock", &state.folder))?;
        if let Some(source) = self.source_labelled(label, &state.options, package)? {
            return Ok(source);
        }
        let output = start(apt_get(&state.options).arg("update"), package)?;
        match self.source_labelled(label, &state.options, package)? {
            Some(source) => Ok(source),
            // Another source may have failed, which does not matter; or this one.
            None if !output.status.success() => Err(refused("read the machine's sources", &output.stderr)),
            None => Err(FetchError::NoDebianSource {
                label,
                origin: package.to_string(),
            }),
        }
    }

    fn source_labelled(
        &self,
        label: &str,
        options: &[String],
        package: &DebianPackage,
    ) -> Result<Option<Source>, FetchError> {
        // One line an index: what its signed Release file says, and which entry
        // of which file it is of.
        let format = "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(SOURCESENTRY)|$(REPO_URI)";
        let mut command = apt_get(options);
        command.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let output = run(&mut command, "list its sources", package)?;
        let mut first = None;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut parts = line.splitn(5, '|');
            let mut part = || parts.next().unwrap_or_default();
            let (origin, found, suite, entry, uri) = (part(), part(), part(), part(), part());
            if origin == "Debian" && found == label {
                let file = entry.rsplit_once(':').map_or(entry, |(file, _)| file);
                let text = fs::read_to_string(file).map_err(FetchError::io("read", file))?;
                let uri = uri.to_owned();
                let Some(entry) = find_entry(file, &text, &uri, suite) else {
                    continue;
                };
                let (uri, login) = Login::split(&uri);
                let source = Source { uri, login, entry };
                // An entry for this very suite may be there because others' mirror lacks it.
                if suite == package.suite() {
                    return Ok(Some(source));
                }
                first.get_or_insert(source);
            }
        }
        Ok(first)
    }

    /// Brings the lists up to date, once a process; false if they were.
    fn update(
        &self,
        state: &State,
        package: &DebianPackage,
        progress: &dyn Progress,
    ) -> Result<bool, FetchError> {
        // Held on, so that a second thread waits for the first's result.
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.contains(&state.folder) {
            return Ok(false);
        }
        progress.note(&format!(
            "apt: reading the index of {} ({})",
            package.suite(),
            package.arch()
        ));
        state.lock.lock().map_err(FetchError::io("lock", &state.folder))?;
        // The machine's mirror may have changed since.
        let updated = self.write_sources(state, package).and_then(|login| {
            let login = login_file(login.as_ref(), state, package)?;
            let mut command = state.apt_get(package);
            command.args(login.iter().flat_map(|file| ["-o".to_owned(), file.option()]));
            // Otherwise apt calls it a success when it has old lists.
            command.args(["-o", "APT::Update::Error-Mode=any", "update"]);
            run(
                &mut command,
                &format!("read the index of {}", package.suite()),
                package,
            )
        });
        state
            .lock
            .unlock()
            .map_err(FetchError::io("unlock", &state.folder))?;
        updated?;
        fresh.insert(state.folder.clone());
        Ok(true)
    }

    fn listed(&self, state: &State, package: &DebianPackage) -> Result<Option<Listed>, FetchError> {
        let all = self.show(state, package)?;
        Ok(all.into_iter().find(|listed| listed.version == package.version()))
    }

    fn listed_or_versions(&self, state: &State, package: &DebianPackage) -> Result<Listed, FetchError> {
        let all = self.show(state, package)?;
        let there = all.iter().map(|listed| listed.version.clone()).collect();
        all.into_iter()
            .find(|listed| listed.version == package.version())
            .ok_or_else(|| FetchError::NoVersion {
                origin: package.to_string(),
                there,
            })
    }

    /// All versions in the index, newest first.
    fn show(&self, state: &State, package: &DebianPackage) -> Result<Vec<Listed>, FetchError> {
        let _shared = state.share()?;
        let mut command = Command::new("apt-cache");
        command.args(&state.options).args(state.for_package(package));
        command.args([
            "show",
            "-a",
            "--",
            &format!("{}:{}", package.package(), package.arch()),
        ]);
        // It fails if there is no such package, or no index yet.
        let output = start(&mut command, package)?;
        Ok(stanzas(&String::from_utf8_lossy(&output.stdout))
            .iter()
            .filter_map(read_listed)
            .collect())
    }
}

/// Where a package's file is: on a web server, unless only apt can get it, from
/// another kind of place or with a login or certificates of its own.
fn found(
    state: State,
    listed: Listed,
    login: Option<Login>,
    package: &DebianPackage,
) -> Result<Found, FetchError> {
    let expected = Expected {
        sum: Some(listed.sum),
        size: Some(listed.size),
        limit: listed.size,
    };
    let mut command = state.apt_get(package);
    command.args(["download", "--print-uris", "--", &package.in_apts_words()]);
    let output = {
        let _shared = state.share()?;
        run(&mut command, &format!("find {package}"), package)?
    };
    // 'URL' NAME SIZE SUM
    let printed = String::from_utf8_lossy(&output.stdout);
    let url = printed.split('\'').nth(1).and_then(|url| parse_url(url).ok());
    let web = match url {
        Some(url) if !has_logins(&state, package)? => {
            let no_proxy = std::env::var("no_proxy").ok();
            let route = apt_route::route(&settings(&state, package)?, url.with_secrets(), no_proxy);
            let url = match &login {
                Some(login) => url.changed(|url| login.put_into(url)),
                None => url,
            };
            route.map(|route| (url, route))
        }
        _ => None,
    };
    Ok(Found {
        expected,
        web,
        state,
        login,
    })
}

/// apt's settings, a line each.
fn settings(state: &State, package: &DebianPackage) -> Result<String, FetchError> {
    let mut command = Command::new("apt-config");
    command.args(&state.options);
    command.args(["dump", "--format", "%f %v%n"]);
    let output = run(&mut command, "tell its settings", package)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether apt has logins for servers of its own.
fn has_logins(state: &State, package: &DebianPackage) -> Result<bool, FetchError> {
    let (file, folder) = login_places(state, package)?;
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    Ok(file.is_some_and(|file| file.exists()) || entries.is_some_and(|mut entries| entries.next().is_some()))
}

/// The file for apt with the login of a source, if that has one.
fn login_file(
    login: Option<&Login>,
    state: &State,
    package: &DebianPackage,
) -> Result<Option<LoginFile>, FetchError> {
    let Some(login) = login else { return Ok(None) };
    let machines = login_places(state, package)?
        .0
        .and_then(|file| fs::read(file).ok());
    let file = login.file(&machines.unwrap_or_default());
    file.map(Some).map_err(|error| FetchError::Apt {
        action: "read the index of its source".to_owned(),
        said: error.to_string(),
    })
}

/// Where apt has logins for servers (apt_auth.conf(5)): a file, and a folder of them.
fn login_places(
    state: &State,
    package: &DebianPackage,
) -> Result<(Option<PathBuf>, Option<PathBuf>), FetchError> {
    let mut command = Command::new("apt-config");
    command.args(&state.options);
    command.args([
        "shell",
        "FILE",
        "Dir::Etc::netrc/f",
        "FOLDER",
        "Dir::Etc::netrcparts/f",
    ]);
    let output = run(&mut command, "tell where its logins are", package)?;
    let said = String::from_utf8_lossy(&output.stdout);
    // FILE='…', FOLDER='…'
    let mut paths = said.split('\'').skip(1).step_by(2);
    Ok((paths.next().map(PathBuf::from), paths.next().map(PathBuf::from)))
}

impl Found {
    /// Downloads the file by apt, which goes on with what it has, and tries again.
    pub(super) fn download_by_apt(
        &self,
        package: &DebianPackage,
        part: &mut Part,
        task: &dyn Task,
    ) -> Result<(), FetchError> {
        let Self {
            state,
            expected,
            login,
            ..
        } = self;
        let login = login_file(login.as_ref(), state, package)?;
        let _shared = state.share()?;
        let scratch = Scratch::in_dir(&state.folder).map_err(FetchError::io("make", &state.folder))?;
        let mut command = state.apt_get(package);
        command.args(login.iter().flat_map(|file| ["-o".to_owned(), file.option()]));
        command.args([
            "-o",
            "APT::Status-Fd=1",
            "download",
            "--",
            &package.in_apts_words(),
        ]);
        command.current_dir(scratch.path());
        let action = format!("download {package}");
        task.set_total(expected.limit);
        watch(&mut command, &action, package, &mut |percent| {
            task.set_position((expected.limit as f64 * percent / 100.0) as u64);
        })?;
        let found = only_deb(scratch.path()).map_err(FetchError::io("read", scratch.path()))?;
        let Some(deb) = found else {
            return Err(FetchError::Apt {
                action,
                said: "it ended well, but left no package".to_owned(),
            });
        };
        part.copy_from(&deb, expected)
    }
}

/// Refuses what is known to be wrong before it is downloaded.
fn check_listed(package: &DebianPackage, listed: &Listed, expected: &Expected) -> Result<(), FetchError> {
    let from = package.to_string();
    expected.compare(listed.sum, listed.size, from.clone())?;
    let limit = expected.limit;
    match listed.size > limit {
        true => Err(FetchError::TooLarge { from, limit }),
        false => Ok(()),
    }
}

fn read_listed(stanza: &Stanza) -> Option<Listed> {
    Some(Listed {
        version: stanza.get("version")?.to_owned(),
        size: stanza.get("size")?.parse().ok()?,
        sum: stanza.get("sha256")?.parse().ok()?,
    })
}

fn only_deb(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Settings that have lists, and so cannot be given as options: the machine's
/// hooks are for its own lists, and only package indexes are wanted.
const CONFIG: &str = "\
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
#clear Acquire::Languages;
Acquire::Languages { \"none\"; };
";

/// What a source file begins with whose login is not in it.
const WANTS_LOGIN: &str = "# with the login of the machine's entry";

impl State {
    fn sources(&self) -> PathBuf {
        self.folder.join("debian.sources")
    }

    /// Whether its source is one with a login.
    fn wants_login(&self) -> bool {
        fs::read_to_string(self.sources()).is_ok_and(|text| text.starts_with(WANTS_LOGIN))
    }

    fn open(folder: PathBuf, network: &Network) -> Result<Self, FetchError> {
        let make = || -> std::io::Result<File> {
            fs::create_dir_all(folder.join("lists/partial"))?;
            fs::create_dir_all(folder.join("archives/partial"))?;
            plain::open_or_make_own(&folder.join("status"), 0o666)?;
            write_atomically(&folder.join("apt.conf"), CONFIG.as_bytes())?;
            flock::open(&folder.join("lock"))
        };
        let lock = make().map_err(FetchError::io("make", &folder))?;
        // apt takes names relative to its own folders.
        let folder = fs::canonicalize(&folder).map_err(FetchError::io("read", &folder))?;
        let at = folder.display();
        let seconds = network.read_timeout.as_secs().max(1);
        let mut options = vec!["-q".to_owned(), format!("-c={at}/apt.conf")];
        for option in [
            format!("Dir::State={at}"),
            "Dir::State::lists=lists".to_owned(),
            format!("Dir::State::status={at}/status"),
            format!("Dir::Cache={at}"),
            "Dir::Cache::archives=archives".to_owned(),
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            format!("Acquire::Retries={}", network.attempts.get() - 1),
            format!("Acquire::http::Timeout={seconds}"),
            format!("Acquire::https::Timeout={seconds}"),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        Ok(Self {
            folder,
            lock,
            options,
        })
    }

    /// The options for the one suite and architecture of a package.
    fn for_package(&self, package: &DebianPackage) -> Vec<String> {
        [
            format!("Dir::Etc::sourcelist={}", self.sources().display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("APT::Architecture={}", package.arch()),
            format!("APT::Architectures::={}", package.arch()),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }

    fn apt_get(&self, package: &DebianPackage) -> Command {
        let mut command = apt_get(&self.options);
        command.args(self.for_package(package));
        command
    }

    /// Keeps an update out for as long as the file is held. It is another open
    /// file than the state's own, so that threads exclude each other.
    fn share(&self) -> Result<File, FetchError> {
        let share = || {
            let file = plain::open_own(&self.folder.join("lock"))?;
            file.lock_shared()?;
            Ok(file)
        };
        share().map_err(FetchError::io("lock", &self.folder))
    }
}

fn apt_get(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(options);
    command
}

/// Runs a program to its end, whatever that is.
fn start(command: &mut Command, package: &DebianPackage) -> Result<Output, FetchError> {
    let output = prepare(command).output();
    output.map_err(|error| not_started(command, error, package))
}

/// Runs a program that has to succeed.
fn run(command: &mut Command, action: &str, package: &DebianPackage) -> Result<Output, FetchError> {
    let output = start(command, package)?;
    match output.status.success() {
        true => Ok(output),
        false => Err(refused(action, &output.stderr)),
    }
}

/// Runs apt, and tells how far it is, in percent.
fn watch(
    command: &mut Command,
    action: &str,
    package: &DebianPackage,
    tell: &mut dyn FnMut(f64),
) -> Result<(), FetchError> {
    let mut child = prepare(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_started(command, error, package))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Both pipes are read at once, so that neither fills up.
    let said = std::thread::scope(|scope| {
        let said = scope.spawn(|| {
            let mut said = Vec::new();
            // What cannot be read is not said.
            let _ = stderr.map(|mut pipe| pipe.read_to_end(&mut said));
            said
        });
        for line in stdout
            .into_iter()
            .flat_map(|pipe| BufReader::new(pipe).split(b'\n'))
        {
            // dlstatus:NUMBER:PERCENT:TEXT
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            let percent = line
                .strip_prefix("dlstatus:")
                .and_then(|rest| rest.split(':').nth(1));
            if let Some(percent) = percent.and_then(|percent| percent.parse().ok()) {
                tell(percent);
            }
        }
        said.join().unwrap_or_default()
    });
    match child
        .wait()
        .map_err(|error| not_started(command, error, package))?
    {
        status if status.success() => Ok(()),
        _ => Err(refused(action, &said)),
    }
}

fn prepare(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8")
}

fn not_started(command: &Command, error: std::io::Error, package: &DebianPackage) -> FetchError {
    let programs = ["apt-cache", "apt-config", "apt-get"];
    let is_it = |program: &&str| command.get_program() == *program;
    let program = programs.into_iter().find(is_it).unwrap_or("apt");
    match error.kind() {
        std::io::ErrorKind::NotFound => FetchError::Program {
            program,
            origin: package.to_string(),
        },
        _ => FetchError::io("run", program)(error),
    }
}

/// apt's errors, without its warnings.
fn refused(action: &str, stderr: &[u8]) -> FetchError {
    let stderr = String::from_utf8_lossy(stderr);
    let errors: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("E: "))
        .collect();
    FetchError::Apt {
        action: action.to_owned(),
        said: masked(&match errors.is_empty() {
            true => stderr.trim().to_owned(),
            false => errors.join("; "),
        }),
    }
}
