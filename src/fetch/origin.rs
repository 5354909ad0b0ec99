//! Where a file comes from, as the lock writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::url::{ParseUrlError, WebUrl, masked_url};

/// Where a file comes from. Its [`Origin::identity`] is the lock's `url`:
///
/// - `https://HOST/PATH`; plain `http://` too, because the lock's sum is checked
///   in any case (but a sum cannot be found out over plain http);
/// - `debian:SUITE/PACKAGE=VERSION`, for amd64 unless `PACKAGE:ARCH` is written;
/// - `npm:NAME@VERSION`, where the name may have a scope (`@types/node`);
/// - `file:PATH`.
///
/// Secrets in a URL are for requests only: no text of an origin has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// A file of a web server.
    Web(WebUrl),
    /// A binary package of a Debian suite.
    Debian(DebianPackage),
    /// A package of the npm registry.
    Npm(NpmPackage),
    /// A file of this machine.
    File(PathBuf),
}

/// One version of a Debian binary package in a suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebianPackage {
    suite: String,
    package: String,
    arch: String,
    version: String,
}

/// One version of a package of the npm registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NpmPackage {
    name: String,
    version: String,
}

/// A text that names no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is no place to fetch from: {why}")]
#[diagnostic(help(
    "write `https://HOST/FILE`, `debian:SUITE/PACKAGE=VERSION`, `npm:NAME@VERSION` or `file:PATH`"
))]
pub struct ParseOriginError {
    pub(super) text: String,
    pub(super) why: String,
}

impl ParseOriginError {
    /// A text that was meant to be a URL, which may have secrets in it.
    pub(super) fn of_url(text: &str, why: String) -> Self {
        Self {
            text: masked_url(text),
            why,
        }
    }
}

/// The architecture of a Debian package that names none.
pub const DEFAULT_ARCH: &str = "amd64";

impl Origin {
    /// The file's name, as a mirror that holds plain names has it: the last part
    /// of the URL, the name in Debian's pool, the name of npm's archive.
    pub fn file_name(&self) -> String {
        match self {
            Self::Web(url) => last_segment(url).to_owned(),
            Self::Debian(package) => package.file_name(),
            Self::Npm(package) => package.file_name(),
            Self::File(path) => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    /// The text by which the lock knows it: what tells it from others, and nothing
    /// secret. Messages have its [`fmt::Display`], which tells of a query that there is one.
    pub fn identity(&self) -> String {
        match self {
            Self::Web(url) => url.public().to_owned(),
            other => other.to_string(),
        }
    }
}

impl DebianPackage {
    /// Checks the parts, which end up in apt's files and command line.
    pub fn new(suite: &str, package: &str, arch: &str, version: &str) -> Result<Self, ParseOriginError> {
        // Debian policy 5.6.1, 5.6.7, 5.6.12; a suite may have a slash.
        let parts = [
            ("suite", suite, "-._/"),
            ("package name", package, "+-."),
            ("architecture", arch, "-"),
            ("version", version, ".+-~:"),
        ];
        for (what, part, besides) in parts {
            check_word(part, besides).map_err(|why| ParseOriginError {
                text: format!("debian:{suite}/{package}:{arch}={version}"),
                why: format!("the {what} {why}"),
            })?;
        }
        Ok(Self {
            suite: suite.to_owned(),
            package: package.to_owned(),
            arch: arch.to_owned(),
            version: version.to_owned(),
        })
    }

    /// The suite: `bullseye`, `bullseye-security`.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The package's name.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The architecture in Debian's words: `amd64`.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// The version, with its epoch if it has one.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// As apt's command line takes it.
    pub(super) fn in_apts_words(&self) -> String {
        format!("{}:{}={}", self.package, self.arch, self.version)
    }

    fn file_name(&self) -> String {
        let version = self.version.split_once(':').map_or(&*self.version, |(_, v)| v);
        format!("{}_{version}_{}.deb", self.package, self.arch)
    }
}

impl NpmPackage {
    /// Checks the parts, which end up in URLs.
    pub fn new(name: &str, version: &str) -> Result<Self, ParseOriginError> {
        let fail = |what: &str, why| ParseOriginError {
            text: format!("npm:{name}@{version}"),
            why: format!("the {what} {why}"),
        };
        let (scope, bare) = match name.strip_prefix('@').map(|rest| rest.split_once('/')) {
            Some(Some((scope, bare))) => (Some(scope), bare),
            Some(None) => return Err(fail("name", "has a scope only".to_owned())),
            None => (None, name),
        };
        for part in scope.into_iter().chain([bare]) {
            check_word(part, "-._~").map_err(|why| fail("name", why))?;
        }
        check_word(version, ".+-").map_err(|why| fail("version", why))?;
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// The name, with its scope: `@types/node`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn file_name(&self) -> String {
        let bare = self.name.rsplit('/').next().unwrap_or_default();
        format!("{bare}-{}.tgz", self.version)
    }
}

/// A word of ASCII letters, digits and some other characters, which begins with
/// a letter or a digit (so that it is never an option, or `..`).
fn check_word(word: &str, besides: &str) -> Result<(), String> {
    match word.chars().next() {
        None => return Err("is missing".to_owned()),
        Some(first) if !first.is_ascii_alphanumeric() => return Err(format!("begins with `{first}`")),
        Some(_) => {}
    }
    match word
        .chars()
        .find(|&c| !c.is_ascii_alphanumeric() && !besides.contains(c))
    {
        Some(c) => Err(format!("has a `{}` in it", c.escape_default())),
        None => Ok(()),
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |why: &str| ParseOriginError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("debian:") {
            let (suite, rest) = rest
                .rsplit_once('/')
                .ok_or_else(|| fail("the suite is missing"))?;
            let (package, version) = rest
                .split_once('=')
                .ok_or_else(|| fail("the version is missing"))?;
            let (package, arch) = package.split_once(':').unwrap_or((package, DEFAULT_ARCH));
            return DebianPackage::new(suite, package, arch, version).map(Self::Debian);
        }
        if let Some(rest) = text.strip_prefix("npm:") {
            let (name, version) = rest
                .rsplit_once('@')
                .ok_or_else(|| fail("the version is missing"))?;
            return NpmPackage::new(name, version).map(Self::Npm);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let named = PathBuf::from(path);
            return match named.file_name() {
                Some(_) => Ok(Self::File(named)),
                None => Err(fail("it names no file")),
            };
        }
        let url = parse_url(text)?;
        match last_segment(&url) {
            "" => Err(ParseOriginError::of_url(text, "it names no file".to_owned())),
            _ => Ok(Self::Web(url)),
        }
    }
}

/// Parses an http or https URL.
pub(super) fn parse_url(text: &str) -> Result<WebUrl, ParseOriginError> {
    text.parse()
        .map_err(|error: ParseUrlError| ParseOriginError::of_url(text, error.to_string()))
}

fn last_segment(url: &WebUrl) -> &str {
    url.public().rsplit('/').next().unwrap_or_default()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => url.fmt(f),
            Self::Debian(package) => package.fmt(f),
            Self::Npm(package) => write!(f, "npm:{}@{}", package.name, package.version),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Display for DebianPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian:{}/{}", self.suite, self.package)?;
        if self.arch != DEFAULT_ARCH {
            write!(f, ":{}", self.arch)?;
        }
        write!(f, "={}", self.version)
    }
}

impl TryFrom<String> for Origin {
    type Error = ParseOriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.identity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_written_alike() {
        for (text, file_name) in [
            ("https://example.org/a/b-1.0.tar.gz", "b-1.0.tar.gz"),
            ("http://127.0.0.1:8000/runc.amd64", "runc.amd64"),
            (
                "debian:bullseye/containerd=1.4.13~ds1-1~deb11u4",
                "containerd_1.4.13~ds1-1~deb11u4_amd64.deb",
            ),
            ("debian:bullseye/attr=1:2.4.48-6", "attr_2.4.48-6_amd64.deb"),
            ("debian:stretch/updates/attr:arm64=1.0", "attr_1.0_arm64.deb"),
            ("npm:is-number@7.0.0", "is-number-7.0.0.tgz"),
            ("npm:@types/node@24.0.0-rc.1", "node-24.0.0-rc.1.tgz"),
            ("file:/tmp/a file", "a file"),
            ("file:here", "here"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), text);
            assert_eq!(origin.file_name(), file_name);
        }
    }

    #[test]
    fn what_names_no_origin_is_refused() {
        for (text, why) in [
            ("", "relative URL without a base"),
            ("ftp://example.org/a", "`ftp` is not spoken"),
            ("https://example.org/", "it names no file"),
            ("debian:bullseye/attr", "the version is missing"),
            ("debian:attr=1", "the suite is missing"),
            ("debian:/attr=1", "the suite is missing"),
            ("debian:bullseye/attr=", "the version is missing"),
            ("debian:bullseye/-o=1", "the package name begins with `-`"),
            ("debian:a b/attr=1", "the suite has a ` ` in it"),
            ("debian:bullseye/attr:a,b=1", "the architecture has a `,` in it"),
            ("debian:bullseye/attr=1\n2", "the version has a `\\n` in it"),
            ("npm:left-pad", "the version is missing"),
            ("npm:@scope@1.0.0", "the name has a scope only"),
            ("npm:../x@1.0.0", "the name begins with `.`"),
            ("npm:a/b@1.0.0", "the name has a `/` in it"),
            ("npm:a@^1.0.0", "the version begins with `^`"),
            ("file:", "it names no file"),
            ("file:/", "it names no file"),
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert_eq!(error.why, why, "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let origin: Origin = "https://me:hidden@example.org/a?token=hidden".parse().unwrap();
        assert_eq!(origin.to_string(), "https://example.org/a?…");
        assert_eq!(format!("{origin:?}"), "Web(\"https://example.org/a?…\")");
        assert_eq!(origin.identity(), "https://example.org/a");
        assert_eq!(
            serde_json::to_string(&origin).unwrap(),
            "\"https://example.org/a\""
        );
        let error = "https://me:hidden@example.org/?token=hidden"
            .parse::<Origin>()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`https://*********@example.org/?************` is no place to fetch from: it names no file"
        );
    }
}
