//! Which releases upstream has.

use std::cmp::Ordering;

use serde::Deserialize;

use super::origin::{DEFAULT_ARCH, DebianPackage, NpmPackage, ParseOriginError};
use super::route::Access;
use super::sum_list::of_digest;
use super::{FetchError, Fetcher};
use crate::digest::Sha256;
use crate::progress::Progress;
use crate::url::WebUrl;

/// Where releases are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// `OWNER/NAME` on GitHub.
    Github(String),
    /// A package of the npm registry.
    Npm(String),
    /// A binary package of a Debian suite, for amd64.
    Debian {
        /// The suite.
        suite: String,
        /// The package.
        package: String,
    },
}

/// Which releases are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Only versions that begin so (`1.7.`).
    pub prefix: Option<String>,
    /// Only versions older than this.
    pub below: Option<String>,
}

/// One upstream release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The version, without a `v` in front.
    pub version: String,
    /// The day it came out, `YYYY-MM-DD`, where upstream says it (Debian does not).
    pub date: Option<String>,
    /// Its files, where upstream lists them (GitHub does).
    pub files: Vec<FoundFile>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its sum, for releases since mid-2025.
    pub sha256: Option<Sha256>,
}

/// Releases asked for at a time, and how often: the newest 500.
const PAGE: usize = 100;
const PAGES: usize = 5;

impl Fetcher {
    /// The newest release that fits the wish. Drafts and versions marked as not
    /// yet finished are passed over.
    ///
    /// Fails if upstream cannot be asked, or has no such release.
    pub fn latest(
        &self,
        upstream: &Upstream,
        wish: &Wish,
        progress: &dyn Progress,
    ) -> Result<Found, FetchError> {
        if self.offline {
            return Err(FetchError::Offline {
                missing: vec![format!("the releases of {upstream}")],
            });
        }
        let found = match upstream {
            Upstream::Github(repository) => self.latest_on_github(repository, wish, progress)?,
            Upstream::Npm(name) => self.latest_on_npm(name, wish, progress)?,
            Upstream::Debian { suite, package } => {
                let package = DebianPackage::new(suite, package, DEFAULT_ARCH, "0")?;
                // apt has them in its own order already.
                let versions = self.debian.versions(&package, progress)?;
                versions
                    .into_iter()
                    .find(|version| wish.fits(version))
                    .map(Found::bare)
            }
        };
        found.ok_or_else(|| FetchError::NoRelease {
            upstream: upstream.to_string(),
            wish: wish.to_string(),
        })
    }

    fn latest_on_github(
        &self,
        repository: &str,
        wish: &Wish,
        progress: &dyn Progress,
    ) -> Result<Option<Found>, FetchError> {
        for page in 1..=PAGES {
            let url = github_page(&self.http.network().github_api, repository, page)?;
            let access = Access::default();
            let limit = self.http.network().largest_index;
            let body = self
                .http
                .read(&url, &access, "application/vnd.github+json", limit, progress)?;
            let releases: Vec<GithubRelease> =
                serde_json::from_slice(&body).map_err(|error| FetchError::Index {
                    url: url.to_string(),
                    cause: error.to_string(),
                })?;
            let last = releases.len() < PAGE;
            let found = releases
                .into_iter()
                .filter_map(GithubRelease::finished)
                .filter(|found| wish.fits(&found.version))
                .max_by(|a, b| compare(&a.version, &b.version));
            if found.is_some() || last {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn latest_on_npm(
        &self,
        name: &str,
        wish: &Wish,
        progress: &dyn Progress,
    ) -> Result<Option<Found>, FetchError> {
        // The version is made up: only the name is to be checked.
        let package = NpmPackage::new(name, "0")?;
        let packument = self.npm.packument(&self.http, package.name(), progress)?;
        let newest = packument
            .versions
            .keys()
            // A hyphen begins a pre-release (semver §9).
            .filter(|version| !version.contains('-') && wish.fits(version))
            .max_by(|a, b| compare(a, b));
        Ok(newest.map(|version| Found {
            date: packument.time.get(version).and_then(|time| day(time)),
            ..Found::bare(version.clone())
        }))
    }
}

fn github_page(api: &WebUrl, repository: &str, page: usize) -> Result<WebUrl, FetchError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && part.chars().any(|c| c != '.')
    };
    let well_formed = repository
        .split_once('/')
        .is_some_and(|(owner, name)| plain(owner) && plain(name));
    let page = |url: &mut reqwest::Url| {
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/repos/{repository}/releases"));
        url.set_query(Some(&format!("per_page={PAGE}&page={page}")));
    };
    match well_formed {
        true => Ok(api.changed(page)),
        false => Err(ParseOriginError {
            text: repository.to_owned(),
            why: "a GitHub repository is `OWNER/NAME`".to_owned(),
        }
        .into()),
    }
}

#[derive(Deserialize)]
struct GithubRelease {
    tag_name: String,
    draft: bool,
    prerelease: bool,
    published_at: Option<String>,
    assets: Vec<GithubAsset>,
}

#[derive(Deserialize)]
struct GithubAsset {
    name: String,
    size: u64,
    browser_download_url: String,
    // `sha256:…`
    #[serde(default)]
    digest: Option<String>,
}

impl GithubRelease {
    /// The release, unless it is not finished or its tag is no version (`api/v1.9.0`).
    fn finished(self) -> Option<Found> {
        let version = self.tag_name.strip_prefix('v').unwrap_or(&self.tag_name);
        let is_version = version.starts_with(|c: char| c.is_ascii_digit());
        (is_version && !self.draft && !self.prerelease).then(|| Found {
            version: version.to_owned(),
            date: self.published_at.as_deref().and_then(day),
            files: self.assets.into_iter().map(GithubAsset::found).collect(),
        })
    }
}

impl GithubAsset {
    fn found(self) -> FoundFile {
        FoundFile {
            sha256: self.digest.as_deref().and_then(of_digest),
            name: self.name,
            url: self.browser_download_url,
            size: self.size,
        }
    }
}

impl Found {
    fn bare(version: String) -> Self {
        Self {
            version,
            date: None,
            files: Vec::new(),
        }
    }
}

/// `2021-04-13T10:00:00Z` → `2021-04-13`, if it is a date.
fn day(time: &str) -> Option<String> {
    let date: jiff::civil::Date = time.get(..10)?.parse().ok()?;
    Some(date.to_string())
}

impl Wish {
    fn fits(&self, version: &str) -> bool {
        let prefix = self.prefix.as_deref();
        let below = self.below.as_deref();
        prefix.is_none_or(|prefix| version.starts_with(prefix))
            && below.is_none_or(|below| compare(version, below).is_lt())
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(prefix) = &self.prefix {
            write!(f, " beginning with {prefix}")?;
        }
        if let Some(below) = &self.below {
            write!(f, " below {below}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Github(repository) => write!(f, "github:{repository}"),
            Self::Npm(name) => write!(f, "npm:{name}"),
            Self::Debian { suite, package } => write!(f, "debian:{suite}/{package}"),
        }
    }
}

/// Which of two versions is newer, by the rules of Debian's `dpkg
/// --compare-versions` (policy §5.6.12) without epochs: runs of digits count as
/// numbers, letters come before other signs, and `~` before the end. A hyphen
/// before a letter (`1.0.0-rc93`) counts as `~`, as semver means it.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (signs(a), signs(b));
    let (mut a, mut b) = (a.as_slice(), b.as_slice());
    while !(a.is_empty() && b.is_empty()) {
        let (text_a, text_b);
        (text_a, a) = split(a, |c| !c.is_ascii_digit());
        (text_b, b) = split(b, |c| !c.is_ascii_digit());
        let (number_a, number_b);
        (number_a, a) = split(a, |c| c.is_ascii_digit());
        (number_b, b) = split(b, |c| c.is_ascii_digit());
        let order = compare_text(text_a, text_b).then_with(|| compare_number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// The version's bytes, with `~` for each hyphen that begins a pre-release.
fn signs(version: &str) -> Vec<u8> {
    let bytes = version.as_bytes();
    let next_is_letter = |i: usize| bytes.get(i + 1).is_some_and(u8::is_ascii_alphabetic);
    let sign = |(i, &byte)| {
        if byte == b'-' && next_is_letter(i) {
            b'~'
        } else {
            byte
        }
    };
    bytes.iter().enumerate().map(sign).collect()
}

fn split(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !belongs(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    // `~` before the end, the end before letters, letters before the rest.
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => (0, 0),
        None => (1, 0),
        Some(&byte) if byte.is_ascii_alphabetic() => (2, byte),
        Some(&byte) => (3, byte),
    };
    (0..a.len().max(b.len()))
        .map(|i| rank(a.get(i)).cmp(&rank(b.get(i))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |digits| split(digits, |&c| c == b'0').1;
    let (a, b) = (strip(a), strip(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_their_order() {
        let rising = [
            "0.8.1",
            "0.19.0",
            "0.19.1",
            "1.0.0-rc9",
            "1.0.0-rc93",
            "1.0.0",
            "1.0.0a",
            "1.0.0+dfsg",
            "1.0.0-1",
            "1.4.13~ds1-1~deb11u4",
            "1.4.13~ds1-1",
            "1.4.13",
            "1.4.0013.1",
            "2",
            "10",
            "99999999999999999999999999",
            "100000000000000000000000000",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
        assert_eq!(compare("", ""), Ordering::Equal);
    }

    #[test]
    fn wishes_choose() {
        let wish = |prefix: &str, below: &str| Wish {
            prefix: Some(prefix.to_owned()).filter(|p| !p.is_empty()),
            below: Some(below.to_owned()).filter(|b| !b.is_empty()),
        };
        for (wish, version, fits) in [
            (wish("", ""), "1.0", true),
            (wish("1.7.", ""), "1.7.34", true),
            (wish("1.7.", ""), "2.3.4", false),
            (wish("", "0.19.1"), "0.19.0", true),
            (wish("", "0.19.1"), "0.19.1", false),
            (wish("0.18", "0.18.8"), "0.18.9", false),
        ] {
            assert_eq!(wish.fits(version), fits, "{wish:?} {version}");
        }
    }

    #[test]
    fn a_repository_stays_in_its_place() {
        let api: WebUrl = "https://api.example/".parse().unwrap();
        let url = github_page(&api, "moby/buildkit", 2).unwrap();
        assert_eq!(
            url.with_secrets().as_str(),
            "https://api.example/repos/moby/buildkit/releases?per_page=100&page=2"
        );
        for wrong in ["moby", "/", "a/..", "../a", "a/b/c", "a/b?c", "a/b#"] {
            assert!(github_page(&api, wrong, 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_are_days() {
        assert_eq!(day("2021-04-13T10:00:00Z").as_deref(), Some("2021-04-13"));
        for wrong in ["", "2021", "2021-13-01T", "yesterday at"] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
