//! What may go wrong on the way to a file.

use std::io;
use std::path::PathBuf;

use super::origin::{Origin, ParseOriginError};
use crate::digest::Sha256;
use crate::project::Misread;

/// Why a file was not had. URLs are shown without user, password and query.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FetchError {
    /// Several files failed, each for its own reason.
    #[error("{} files could not be fetched", errors.len())]
    #[diagnostic(help("each has its own reason; what was fetched stays in the cache, so run this again"))]
    Several {
        /// One a file.
        #[related]
        errors: Vec<FetchError>,
    },
    /// The reason was told before, to another who wants the same file.
    #[error("`{name}` could not be fetched: the reason is told above")]
    #[diagnostic(help("what helps there helps here"))]
    Told {
        /// The file's name.
        name: String,
    },
    /// Files are not in the cache, and the network is not to be used.
    #[error("not in the cache, and this is offline: {}", missing.join(", "))]
    #[diagnostic(help("run `tcforge fetch` on a machine with network, and copy its cache here"))]
    Offline {
        /// The files' names and origins.
        missing: Vec<String>,
    },
    /// A text of the settings or a registry names no origin.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Origin(#[from] ParseOriginError),
    /// The settings were not understood.
    #[error("`{file}` is wrong: {error}")]
    #[diagnostic(help("compare it with the built-in one: `tcforge init DIR` writes that to DIR"))]
    Settings {
        /// Which file.
        file: String,
        /// What is wrong, and where.
        error: Misread,
    },
    /// The settings could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] crate::project::ProjectError),
    /// There is nowhere for a cache.
    #[error("no place for the cache: neither TCFORGE_CACHE, XDG_CACHE_HOME nor HOME is set")]
    #[diagnostic(help("set TCFORGE_CACHE to a folder that you may write to"))]
    NoCache,
    /// A file of this machine could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    #[diagnostic(help("{}", io_hint(source)))]
    Io {
        /// `read`, `write`, `lock`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The bytes are not those that were asked for.
    #[error("`{from}` is not the file that was asked for: its sha256 is {found}, not {wanted}{}", other_size(*size, *wanted_size))]
    #[diagnostic(help(
        "upstream replaced the file, or somebody changed it on the way: find out which. To take the new one, remove its entry from the lock that has it, and run this again"
    ))]
    WrongSum {
        /// Where they came from.
        from: String,
        /// The sum in the lock.
        wanted: Sha256,
        /// Their sum.
        found: Sha256,
        /// How many they are.
        size: u64,
        /// How many the lock says.
        wanted_size: Option<u64>,
    },
    /// The file is not the one that upstream's list tells of.
    #[error("`{from}` is not the file that `{list}` tells of: its sha256 is {found}, not {listed}")]
    #[diagnostic(help(
        "upstream may be in the middle of a release, then try again later; or somebody changed one of the two: ask \
         upstream. Nothing was recorded"
    ))]
    NotAsListed {
        /// Where it came from.
        from: String,
        /// Where the list is.
        list: String,
        /// The sum in the list.
        listed: Sha256,
        /// The file's.
        found: Sha256,
    },
    /// Upstream's list does not tell the sum of the file.
    #[error("`{list}` tells no sum of `{name}`: {why}")]
    #[diagnostic(help(
        "look at it in a browser, and correct `sum` in the recipe; `--file {name}=PATH` takes a file of yours without a sum"
    ))]
    NoSum {
        /// Where the list is.
        list: String,
        /// The file.
        name: String,
        /// What is wrong with the list.
        why: String,
    },
    /// Upstream's list was not asked yet, and the network is not to be used.
    #[error("the sum of `{name}` is not known here yet, and this is offline: it is in `{list}`")]
    #[diagnostic(help(
        "run `tcforge fetch` on a machine with network, and copy its cache here, and the lock that it names"
    ))]
    OfflineList {
        /// The file.
        name: String,
        /// Where the list is.
        list: String,
    },
    /// The file has the sum that the lock says, and another size.
    #[error("`{from}` has {found} bytes, not {wanted}, and the right sha256")]
    #[diagnostic(help("the lock is wrong: correct the size in tcforge.lock"))]
    WrongSize {
        /// Where it is.
        from: String,
        /// The size in the lock.
        wanted: u64,
        /// The size that it has.
        found: u64,
    },
    /// More bytes come than a file may have.
    #[error("`{from}` is larger than {limit} bytes")]
    #[diagnostic(help(
        "the limit is largest-file, largest-index or largest-list in recipes/network.toml, or a little more than twice the lock's size"
    ))]
    TooLarge {
        /// Where it is.
        from: String,
        /// The limit.
        limit: u64,
    },

    /// No connection came about.
    #[error("no connection for `{url}`: {cause}")]
    #[diagnostic(help(
        "check the network, and the proxy in http_proxy, https_proxy and no_proxy; `--mirror URL` asks another server"
    ))]
    Connect {
        /// What was asked for.
        url: String,
        /// Why.
        cause: String,
    },
    /// The server's certificate is not to be trusted.
    #[error("the server of `{url}` is not trusted: {cause}")]
    #[diagnostic(help(
        "check the clock and the package ca-certificates; a certificate of your own goes into the system's store or SSL_CERT_FILE, or for npm into its setting cafile"
    ))]
    Certificate {
        /// What was asked for.
        url: String,
        /// Why.
        cause: String,
    },
    /// The server sent nothing, or next to nothing, for too long.
    #[error("the server of `{url}` stalled after {got} bytes")]
    #[diagnostic(help("try again: it goes on from there; read-timeout is in recipes/network.toml"))]
    Stalled {
        /// What was asked for.
        url: String,
        /// Bytes that came before.
        got: u64,
    },
    /// The connection ended early.
    #[error("the connection for `{url}` was cut after {got} bytes: {cause}")]
    #[diagnostic(help("try again: it goes on from there"))]
    Cut {
        /// What was asked for.
        url: String,
        /// Bytes that came before.
        got: u64,
        /// Why.
        cause: String,
    },
    /// The server answered that it will not.
    #[error("the server of `{url}` answers {status}")]
    #[diagnostic(help("{}", status_hint(*status)))]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status code.
        status: u16,
    },
    /// The server wants to be left alone for longer than we wait.
    #[error("the server of `{url}` answers {status}, and asks to wait {seconds} s")]
    #[diagnostic(help("try again later"))]
    Busy {
        /// What was asked for.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// How long it wants to be left alone.
        seconds: u64,
    },
    /// The server sent another part of the file than the one asked for.
    #[error("the server of `{url}` sent another part than the one from byte {from} on")]
    #[diagnostic(help("try again: it begins anew"))]
    WrongRange {
        /// What was asked for.
        url: String,
        /// The first byte asked for.
        from: u64,
    },
    /// The server does not say where the file ends, so a cut would not be seen.
    #[error("the server of `{url}` does not say how long the file is")]
    #[diagnostic(help("fetch it by hand, check it, and write its size and sha256 into the lock"))]
    NoLength {
        /// What was asked for.
        url: String,
    },
    /// Redirects go on and on.
    #[error("`{url}` is redirected more than {limit} times")]
    #[diagnostic(help("the server is broken, or the URL wrong: open it in a browser"))]
    RedirectLoop {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A redirect leads from https to http.
    #[error("`{url}` is redirected to `{to}`, which is not encrypted")]
    #[diagnostic(help("the server is broken, or somebody is in between: look for another URL"))]
    Downgrade {
        /// What was asked for.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// The sum of a file would be taken from an unprotected connection.
    #[error("the sum of `{url}` cannot be found out over plain http")]
    #[diagnostic(help(
        "write https; or fetch it by hand, check it, and write its size and sha256 into the lock"
    ))]
    PlainHttp {
        /// What was asked for.
        url: String,
    },
    /// The HTTP client could not be made, or the request not be put.
    #[error("cannot ask for `{url}`: {cause}")]
    #[diagnostic(help(
        "check the URL, the proxy variables, and that the package ca-certificates is installed"
    ))]
    Request {
        /// What was asked for.
        url: String,
        /// Why.
        cause: String,
    },
    /// An index is not in the form it should be.
    #[error("the answer of `{url}` makes no sense: {cause}")]
    #[diagnostic(help("is that the right server? A login page in between looks like this too"))]
    Index {
        /// What was asked for.
        url: String,
        /// What is wrong.
        cause: String,
    },

    /// An outside program is not there.
    #[error("the program `{program}` is missing, which `{origin}` needs")]
    #[diagnostic(help("{}", program_hint(program)))]
    Program {
        /// Its name.
        program: &'static str,
        /// What needs it.
        origin: String,
    },
    /// apt would not.
    #[error("apt cannot {action}: {said}")]
    #[diagnostic(help("{}", apt_hint(said)))]
    Apt {
        /// What it was to do.
        action: String,
        /// Its own words.
        said: String,
    },
    /// The machine's apt knows no Debian mirror.
    #[error("this machine's apt has no source of {label}, which `{origin}` needs")]
    #[diagnostic(help(
        "add a line for it to apt's sources (any suite will do), or use `--mirror URL` or `--file ASSET=PATH`"
    ))]
    NoDebianSource {
        /// The label in the signed Release file: `Debian`, `Debian-Security`.
        label: &'static str,
        /// What was wanted.
        origin: String,
    },
    /// The version is in the index no more, or never was.
    #[error("there is no `{origin}`; versions there: {}", list(there))]
    #[diagnostic(help(
        "`tcforge update NAME` takes the newest one for a recipe, `tcforge update --bases` for a base or a kernel"
    ))]
    NoVersion {
        /// What was wanted.
        origin: String,
        /// What there is, newest first.
        there: Vec<String>,
    },
    /// The machine has no npm registry.
    #[error("no npm registry is set up on this machine, which `{origin}` needs")]
    #[diagnostic(help("install npm, or set npm_config_registry, or `registry=URL` in ~/.npmrc"))]
    NoRegistry {
        /// What was wanted.
        origin: String,
    },
    /// One of npm's settings cannot be used.
    #[error("npm's setting `{key}` {why}")]
    #[diagnostic(help(
        "correct it where it is set: an npm_config_ variable, or .npmrc of the project or the user"
    ))]
    NpmSetting {
        /// Its name; its value may be secret.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// An npm package without a strong sum, or with another than its registry says.
    #[error("`{origin}` {why}")]
    #[diagnostic(help("the registry and the file disagree: ask the registry's keeper; do not use the file"))]
    Integrity {
        /// What was wanted.
        origin: String,
        /// What is wrong.
        why: String,
    },
    /// No release fits.
    #[error("`{upstream}` has no release{wish}")]
    #[diagnostic(help("check the recipe's `watch`"))]
    NoRelease {
        /// Where it was looked for.
        upstream: String,
        /// What was asked for besides.
        wish: String,
    },
}

impl FetchError {
    /// For `map_err` of file operations.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// One error for all: itself if it is alone. What is missing offline is one
    /// list, so that one run on a machine with network makes up for it.
    pub(super) fn gather(all: Vec<Self>) -> Option<Self> {
        let (mut errors, mut missing) = (Vec::new(), Vec::new());
        for error in all {
            match error {
                Self::Offline { missing: more } => missing.extend(more),
                other => errors.push(other),
            }
        }
        if !missing.is_empty() {
            errors.push(Self::Offline { missing });
        }
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several { errors }),
        }
    }

    /// Whether a file of the cache is to blame, and not the place that was asked.
    pub(super) fn is_of_the_cache(&self, place: &Origin) -> bool {
        match (self, place) {
            (Self::Io { path, .. }, Origin::File(file)) => path != file,
            (Self::Io { .. }, _) => true,
            _ => false,
        }
    }

    /// Whether the place that was asked just does not have the file.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 404 | 410),
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether what has come so far is of no use for another attempt.
    pub(super) fn spoils(&self) -> bool {
        matches!(
            self,
            Self::WrongSum { .. }
                | Self::WrongSize { .. }
                | Self::TooLarge { .. }
                | Self::Integrity { .. }
                | Self::Io { .. }
        )
    }
}

/// What is said besides of a file that has another sum.
fn other_size(size: u64, wanted: Option<u64>) -> String {
    match wanted.filter(|&wanted| wanted != size) {
        Some(wanted) => format!(" ({size} bytes, not {wanted})"),
        None => String::new(),
    }
}

fn list(versions: &[String]) -> String {
    match versions {
        [] => "none".to_owned(),
        some => some.join(", "),
    }
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room, or set TCFORGE_CACHE to a folder where there is some"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "set TCFORGE_CACHE to a folder that you may write to"
        }
        _ => "check the file, and the folder it is in",
    }
}

fn status_hint(status: u16) -> &'static str {
    match status {
        404 | 410 => "upstream moved or removed the file: look for another URL, or use `--mirror URL`",
        401 | 407 => "the server or the proxy wants a login: `https://USER:PASSWORD@HOST/…` gives one",
        403 => "the server refuses: a limit on requests perhaps, then try again in an hour",
        _ => "the server has trouble: try again later, or use `--mirror URL`",
    }
}

fn apt_hint(said: &str) -> &'static str {
    let says = |part: &str| said.contains(part);
    if says("No space left on device") {
        return io_hint(&io::ErrorKind::StorageFull.into());
    }
    if says("does not have a Release file") || says(" 404 ") {
        return "apt's mirror has no such suite: Debian moves old ones to its archive; add a line of that, with this \
                suite, to apt's sources, run `apt-get update`, and try again";
    }
    "try `apt-get update` by itself: does the machine's own apt work?"
}

fn program_hint(program: &str) -> &'static str {
    match program {
        "apt-get" | "apt-cache" | "apt-config" => {
            "apt is part of Debian; elsewhere use `--mirror URL` or `--file ASSET=PATH`, or another channel"
        }
        _ => "`tcforge doctor` says how to install it",
    }
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic as _;

    use super::*;

    #[test]
    fn what_apt_says_leads_to_the_right_hint() {
        for (said, hint) in [
            (
                "The repository 'http://m/debian bullseye Release' does not have a Release file.",
                "apt's mirror has no such suite: ",
            ),
            (
                "Failed to fetch http://m/debian/dists/bullseye/InRelease  404  Not Found",
                "apt's mirror has no such suite: ",
            ),
            (
                "Error writing to file - write (28: No space left on device)",
                "make room, ",
            ),
            (
                "Temporary failure resolving 'm'",
                "try `apt-get update` by itself: ",
            ),
        ] {
            let error = FetchError::Apt {
                action: "read the index of bullseye".to_owned(),
                said: said.to_owned(),
            };
            let found = error.help().unwrap().to_string();
            assert!(found.starts_with(hint), "{said}: {found}");
        }
    }
}
