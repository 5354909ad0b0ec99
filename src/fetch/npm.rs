//! Packages of the npm registry that the machine is set up with.
//!
//! npm's settings are followed as npm follows them, but for one: certificates are
//! always checked, `strict-ssl=false` or not.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha512};

use super::FetchError;
use super::cache::Part;
use super::http::Http;
use super::npmrc::Npmrc;
use super::origin::{NpmPackage, parse_url};
use super::route::Access;
use crate::progress::Progress;
use crate::url::WebUrl;

/// The machine's settings, read when they are first needed.
#[derive(Default)]
pub(super) struct Npm {
    settings: Mutex<Option<Arc<Npmrc>>>,
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
    pub(super) places: Vec<(WebUrl, Access)>,
    pub(super) integrity: Option<Integrity>,
}

/// `sha512-BASE64`, as in `dist.integrity` (W3C Subresource Integrity).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integrity(String);

/// A package's registry, and how to ask it.
struct Registry {
    settings: Arc<Npmrc>,
    url: WebUrl,
}

impl Npm {
    /// Finds a version's archive.
    pub(super) fn archive(
        &self,
        http: &Http,
        package: &NpmPackage,
        progress: &dyn Progress,
    ) -> Result<Archive, FetchError> {
        let registry = self.registry(package.name(), progress)?;
        // The short document of one version. Some registries know only the long
        // one of all; that also tells which versions there are.
        let url = document(&registry.url, package.name(), Some(package.version()));
        let manifest = match registry.read::<Manifest>(http, &url, progress) {
            Err(FetchError::Status {
                status: 400..=499, ..
            }) => registry.manifest_of_many(http, package, progress)?,
            other => other?,
        };
        registry.archive(package, &manifest.dist)
    }

    /// Reads all that the registry says of a package.
    pub(super) fn packument(
        &self,
        http: &Http,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Packument, FetchError> {
        self.registry(name, progress)?.packument(http, name, progress)
    }

    /// The registry for a package: its scope's, or the general one.
    fn registry(&self, name: &str, progress: &dyn Progress) -> Result<Registry, FetchError> {
        let settings = self.settings(progress)?;
        let scope = name.split_once('/').map(|(scope, _)| scope);
        let of_scope = scope.and_then(|scope| settings.get(&format!("{scope}:registry")));
        let set = of_scope.or_else(|| settings.get("registry")).map(str::to_owned);
        let Some(text) = set.or_else(default_registry) else {
            return Err(FetchError::NoRegistry {
                origin: format!("npm:{name}"),
            });
        };
        let url = parse_url(&text)?;
        Ok(Registry { settings, url })
    }

    fn settings(&self, progress: &dyn Progress) -> Result<Arc<Npmrc>, FetchError> {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settings) = &*known {
            return Ok(settings.clone());
        }
        let settings = Arc::new(Npmrc::of_machine()?);
        if settings.trusts_everybody() {
            progress.note(
                "npm: strict-ssl=false is not followed, certificates are checked; name an authority of your own in cafile",
            );
        }
        *known = Some(settings.clone());
        Ok(settings)
    }
}

impl Registry {
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

    fn packument(&self, http: &Http, name: &str, progress: &dyn Progress) -> Result<Packument, FetchError> {
        self.read(http, &document(&self.url, name, None), progress)
    }

    fn read<T: DeserializeOwned>(
        &self,
        http: &Http,
        url: &WebUrl,
        progress: &dyn Progress,
    ) -> Result<T, FetchError> {
        let access = self.settings.access(url, &self.url)?;
        let limit = http.network().largest_index;
        let body = http.read(url, &access, "application/json", limit, progress)?;
        serde_json::from_slice(&body).map_err(|error| FetchError::Index {
            url: url.to_string(),
            cause: error.to_string(),
        })
    }

    fn archive(&self, package: &NpmPackage, dist: &Dist) -> Result<Archive, FetchError> {
        let urls = archive_urls(&self.url, package, dist)?;
        let places = urls.into_iter().map(|url| {
            let access = self.settings.access(&url, &self.url)?;
            Ok((url, access))
        });
        Ok(Archive {
            places: places.collect::<Result<_, FetchError>>()?,
            integrity: dist.integrity.as_deref().and_then(Integrity::find),
        })
    }
}

/// What npm asks where nothing is set, by its own word.
fn default_registry() -> Option<String> {
    let mut npm = Command::new("npm");
    npm.args(["config", "get", "registry"]);
    let output = npm.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty() && said != "undefined").then_some(said)
}

/// The URL of the document about a package, or about one version of it.
fn document(registry: &WebUrl, name: &str, version: Option<&str>) -> WebUrl {
    // A scope's slash is written so that the name stays one part of the path.
    let name = name.replace('/', "%2f");
    let version = version.map(|version| format!("/{version}"));
    below(registry, &format!("{name}{}", version.unwrap_or_default()))
}

/// What a registry has under a path.
fn below(registry: &WebUrl, path: &str) -> WebUrl {
    registry.changed(|url| {
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/{path}"));
    })
}

fn archive_urls(registry: &WebUrl, package: &NpmPackage, dist: &Dist) -> Result<Vec<WebUrl>, FetchError> {
    let told = parse_url(&dist.tarball)?;
    let mut urls = Vec::new();
    // A registry that stands in for another may pass the other's URLs on, or its own as
    // they are behind a proxy, where this machine need not get through, or not with a
    // login. It has the archive itself, in npm's layout.
    let (there, here) = (told.with_secrets(), registry.with_secrets());
    let is_weaker = there.scheme() == "http" && here.scheme() == "https";
    if (is_weaker || there.host() != here.host())
        && let Some((_, file)) = told.public().rsplit_once('/')
    {
        urls.push(below(registry, &format!("{}/-/{file}", package.name())));
    }
    urls.push(told);
    Ok(urls)
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
            // Its own URL as it is behind a proxy that ends TLS.
            (
                "https://npm.example/team",
                &plain,
                "http://npm.example/team/is-number/-/is-number-7.0.0.tgz?a=b",
                "https://npm.example/team/is-number/7.0.0",
                vec![
                    "https://npm.example/team/is-number/-/is-number-7.0.0.tgz",
                    "http://npm.example/team/is-number/-/is-number-7.0.0.tgz?a=b",
                ],
            ),
            // A login in the registry's URL is for the registry alone.
            (
                "https://me:hidden@npm.example/?k=v",
                &plain,
                "https://upstream.example/is-number-7.0.0.tgz",
                "https://me:hidden@npm.example/is-number/7.0.0?k=v",
                vec![
                    "https://me:hidden@npm.example/is-number/-/is-number-7.0.0.tgz?k=v",
                    "https://upstream.example/is-number-7.0.0.tgz",
                ],
            ),
        ] {
            let registry: WebUrl = registry.parse().unwrap();
            let url = document(&registry, package.name(), Some(package.version()));
            assert_eq!(url.with_secrets().as_str(), documents);
            let dist = Dist {
                tarball: tarball.to_owned(),
                integrity: None,
            };
            let urls = archive_urls(&registry, package, &dist).unwrap();
            let urls: Vec<&str> = urls.iter().map(|url| url.with_secrets().as_str()).collect();
            assert_eq!(urls, archives);
        }
    }

    #[test]
    fn the_sha512_of_an_integrity_is_found() {
        for (text, sum) in [
            ("sha1-xx sha512-yy==?x", Some("sha512-yy==")),
            ("sha512-zz", Some("sha512-zz")),
            ("sha1-xx", None),
            ("", None),
        ] {
            let found = Integrity::find(text);
            assert_eq!(found.as_ref().map(Integrity::as_str), sum, "{text}");
        }
    }

    #[test]
    fn an_archive_elsewhere_than_on_the_web_is_refused() {
        let dist = Dist {
            tarball: "file:///etc/passwd".to_owned(),
            integrity: None,
        };
        let package = NpmPackage::new("a", "1.0.0").unwrap();
        let refused = archive_urls(&"https://npm.example/".parse().unwrap(), &package, &dist);
        assert!(matches!(refused, Err(FetchError::Origin(_))));
    }
}
