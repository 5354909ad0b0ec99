//! Packages of the npm registry that the machine is set up with.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha512};

use super::FetchError;
use super::cache::Part;
use super::http::Http;
use super::origin::{NpmPackage, parse_url, shown};
use crate::progress::Progress;

/// The registries that were asked for, by scope.
#[derive(Default)]
pub(super) struct Npm {
    registries: Mutex<BTreeMap<Option<String>, Url>>,
}

/// What a registry says of a package.
#[derive(Debug, Deserialize)]
pub(super) struct Packument {
    #[serde(default)]
    pub(super) versions: BTreeMap<String, Manifest>,
    /// When each version came out, `YYYY-MM-DDThh:mm:ss…`.
    #[serde(default)]
    pub(super) time: BTreeMap<String, String>,
}

/// What a registry says of one version.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    dist: Dist,
}

#[derive(Debug, Deserialize)]
struct Dist {
    tarball: String,
    #[serde(default)]
    integrity: Option<String>,
}

/// Where a version's archive is, and its sha512.
pub(super) struct Archive {
    /// Best first.
    pub(super) urls: Vec<Url>,
    pub(super) integrity: Option<Integrity>,
}

/// `sha512-BASE64`, as in `dist.integrity` (W3C Subresource Integrity).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integrity(String);

impl Npm {
    /// Finds a version's archive.
    pub(super) fn archive(
        &self,
        http: &Http,
        package: &NpmPackage,
        progress: &dyn Progress,
    ) -> Result<Archive, FetchError> {
        let registry = self.registry(package.name())?;
        // The short document of one version. Some registries know only the long
        // one of all; that also tells which versions there are.
        let url = document(&registry, package.name(), Some(package.version()))?;
        let manifest = match self.read::<Manifest>(http, &url, progress) {
            Err(FetchError::Status {
                status: 400..=499, ..
            }) => self.manifest_of_many(http, package, progress)?,
            other => other?,
        };
        archive(&registry, package, &manifest.dist)
    }

    fn manifest_of_many(
        &self,
        http: &Http,
        package: &NpmPackage,
        progress: &dyn Progress,
    ) -> Result<Manifest, FetchError> {
        let mut all = self.packument(http, package.name(), progress)?;
        all.versions.remove(package.version()).ok_or_else(|| {
            let mut there: Vec<String> = all.versions.into_keys().collect();
            there.sort_by(|a, b| super::latest::compare(b, a));
            there.truncate(10);
            FetchError::NoVersion {
                origin: format!("npm:{}@{}", package.name(), package.version()),
                there,
            }
        })
    }

    /// Reads all that the registry says of a package.
    pub(super) fn packument(
        &self,
        http: &Http,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Packument, FetchError> {
        let url = document(&self.registry(name)?, name, None)?;
        self.read(http, &url, progress)
    }

    fn read<T: DeserializeOwned>(
        &self,
        http: &Http,
        url: &Url,
        progress: &dyn Progress,
    ) -> Result<T, FetchError> {
        let body = http.read(url, &Default::default(), "application/json", progress)?;
        serde_json::from_slice(&body).map_err(|error| FetchError::Index {
            url: shown(url),
            cause: error.to_string(),
        })
    }

    /// The registry for a package: its scope's, or the general one.
    fn registry(&self, name: &str) -> Result<Url, FetchError> {
        let scope = name.split_once('/').map(|(scope, _)| scope.to_owned());
        let mut known = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = known.get(&scope) {
            return Ok(url.clone());
        }
        let own = scope
            .as_ref()
            .and_then(|scope| setting(&format!("{scope}:registry")));
        let Some(text) = own.or_else(|| setting("registry")) else {
            return Err(FetchError::NoRegistry {
                origin: format!("npm:{name}"),
            });
        };
        let url = parse_url(&text)?;
        known.insert(scope, url.clone());
        Ok(url)
    }
}

/// The URL of the document about a package, or about one version of it.
fn document(registry: &Url, name: &str, version: Option<&str>) -> Result<Url, FetchError> {
    let base = registry.as_str().trim_end_matches('/');
    // A scope's slash is written so that the name stays one part of the path.
    let mut url = format!("{base}/{}", name.replace('/', "%2f"));
    if let Some(version) = version {
        url = format!("{url}/{version}");
    }
    Ok(parse_url(&url)?)
}

fn archive(registry: &Url, package: &NpmPackage, dist: &Dist) -> Result<Archive, FetchError> {
    let told = parse_url(&dist.tarball)?;
    let mut urls = Vec::new();
    // A registry that stands in for another may pass the other's URLs on, where
    // this machine need not get through. It has the archive itself, in npm's layout.
    if told.host_str() != registry.host_str()
        && let Some((_, file)) = told.path().rsplit_once('/')
    {
        let base = registry.as_str().trim_end_matches('/');
        urls.push(parse_url(&format!("{base}/{}/-/{file}", package.name()))?);
    }
    urls.push(told);
    let integrity = dist.integrity.as_deref().and_then(Integrity::find);
    Ok(Archive { urls, integrity })
}

impl Integrity {
    /// The sha512 among an integrity text's sums.
    fn find(text: &str) -> Option<Self> {
        let mut sums = text.split_ascii_whitespace();
        let sum = sums.find(|sum| sum.starts_with("sha512-"))?;
        // Options may follow a question mark.
        sum.split('?').next().map(|sum| Self(sum.to_owned()))
    }

    /// Checks a downloaded archive.
    pub(super) fn check(&self, part: &mut Part, package: &NpmPackage) -> Result<(), FetchError> {
        let mut hasher = Sha512Writer(Sha512::new());
        let copied = io::copy(part.reader()?, &mut hasher);
        copied.map_err(FetchError::io("read", part.path()))?;
        let found = format!("sha512-{}", BASE64.encode(hasher.0.finalize()));
        match found == self.0 {
            true => Ok(()),
            false => Err(FetchError::Integrity {
                origin: format!("npm:{}@{}", package.name(), package.version()),
                why: format!("has the sum {found}, and its registry says {}", self.0),
            }),
        }
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

struct Sha512Writer(Sha512);

impl Write for Sha512Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One of npm's settings: as npm itself says, or without npm from its variable
/// and the user's `.npmrc`.
fn setting(key: &str) -> Option<String> {
    let said = Command::new("npm")
        .args(["config", "get", key])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let said = match said {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok(),
        _ => variable(key).or_else(|| {
            let home = std::env::var_os("HOME")?;
            npmrc_value(&read_text(&Path::new(&home).join(".npmrc"))?, key)
        }),
    };
    let said = said?.trim().to_owned();
    // npm's word for a setting that is not set.
    (!said.is_empty() && said != "undefined").then_some(said)
}

/// npm takes `npm_config_KEY` in either case.
fn variable(key: &str) -> Option<String> {
    ["npm_config_", "NPM_CONFIG_"]
        .into_iter()
        .find_map(|prefix| std::env::var(format!("{prefix}{key}")).ok())
}

fn read_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The value of `KEY = VALUE` in an `.npmrc`.
fn npmrc_value(text: &str, key: &str) -> Option<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with([';', '#']))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_archives_have_their_places() {
        let plain = NpmPackage::new("is-number", "7.0.0").unwrap();
        let scoped = NpmPackage::new("@types/node", "1.0.0").unwrap();
        for (registry, package, tarball, documents, archives) in [
            (
                "https://npm.example/",
                &plain,
                "https://npm.example/is-number/-/is-number-7.0.0.tgz",
                "https://npm.example/is-number/7.0.0",
                vec!["https://npm.example/is-number/-/is-number-7.0.0.tgz"],
            ),
            (
                "https://npm.example/team",
                &scoped,
                "https://upstream.example/@types/node/-/node-1.0.0.tgz",
                "https://npm.example/team/@types%2fnode/1.0.0",
                vec![
                    "https://npm.example/team/@types/node/-/node-1.0.0.tgz",
                    "https://upstream.example/@types/node/-/node-1.0.0.tgz",
                ],
            ),
        ] {
            let registry: Url = registry.parse().unwrap();
            let url = document(&registry, package.name(), Some(package.version())).unwrap();
            assert_eq!(url.as_str(), documents);
            let dist = Dist {
                tarball: tarball.to_owned(),
                integrity: Some("sha1-xx sha512-yy==?x".to_owned()),
            };
            let archive = archive(&registry, package, &dist).unwrap();
            let urls: Vec<&str> = archive.urls.iter().map(Url::as_str).collect();
            assert_eq!(urls, archives);
            assert_eq!(archive.integrity, Some(Integrity("sha512-yy==".to_owned())));
        }
    }

    #[test]
    fn an_archive_elsewhere_than_on_the_web_is_refused() {
        let dist = Dist {
            tarball: "file:///etc/passwd".to_owned(),
            integrity: None,
        };
        let package = NpmPackage::new("a", "1.0.0").unwrap();
        let refused = archive(&"https://npm.example/".parse().unwrap(), &package, &dist);
        assert!(matches!(refused, Err(FetchError::Origin(_))));
    }

    #[test]
    fn an_npmrc_is_read() {
        let text = "; registry=no\n#registry=no\nregistry = \"https://a.example/\"\n@s:registry=https://s.example\nflag\n";
        for (key, value) in [
            ("registry", Some("https://a.example/")),
            ("@s:registry", Some("https://s.example")),
            ("flag", None),
            ("none", None),
        ] {
            assert_eq!(npmrc_value(text, key).as_deref(), value, "{key}");
        }
    }
}
