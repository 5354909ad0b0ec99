//! Names of container images, in full: `docker.io/library/hello:latest`. containerd
//! keeps names as they are given, and who asks for `hello` asks for that one.
//!
//! Format: <https://pkg.go.dev/github.com/distribution/reference>.

use std::fmt;
use std::str::FromStr;

/// The longest name without its tag, and the longest tag.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The full name of a container image: registry, path and tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    text: String,
    /// Where the tag's colon is.
    colon: usize,
}

/// Why a text is no full name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is not the full name of a container image: {reason}")]
#[diagnostic(help("write it as `{}`", .full))]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What was probably meant, or one that is right.
    pub full: String,
}

impl Reference {
    /// What follows the last colon.
    pub fn tag(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A name for a file that no other reference has: `+` and `~` are in none.
    pub fn file_stem(&self) -> String {
        self.text.replace('/', "+").replace(':', "~")
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("a digest cannot be given to an image, a tag can");
        }
        let (registry, rest) = text.split_once('/').unwrap_or_default();
        if !is_registry(registry) {
            return Err("it does not begin with a registry's host");
        }
        let Some((path, tag)) = rest.split_once(':') else {
            return Err("it has no tag");
        };
        let colon = text.len() - tag.len() - 1;
        if !path.split('/').all(is_component) || colon > NAME_MAX {
            return Err("its path is not one of lower case letters, digits, and `.`, `_`, `-` between them");
        }
        if !is_tag(tag) {
            return Err("its tag is not one of letters, digits and `_ . -`");
        }
        Ok(Self {
            text: text.to_owned(),
            colon,
        })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text).map_err(|reason| ReferenceError {
            text: text.to_owned(),
            reason,
            full: probably(text).unwrap_or_else(|| "docker.io/library/hello:latest".to_owned()),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// What docker and faasd take a short name for.
fn probably(text: &str) -> Option<String> {
    let before = match text.contains('/') {
        true => ["", "docker.io/"],
        false => ["", "docker.io/library/"],
    };
    before
        .iter()
        .flat_map(|before| ["", ":latest"].map(|after| format!("{before}{text}{after}")))
        .find(|full| Reference::parse(full).is_ok())
}

/// A host with a dot or a port, or `localhost`: what else stands first is a path.
fn is_registry(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(edge) && label.ends_with(edge) && label.bytes().all(|b| edge(b.into()) || b == b'-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let told = host.contains('.') || host == "localhost" || port.is_some();
    told && host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let between = |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|b| b == b'-');
    let ends = text.bytes().next().is_some_and(known) && text.bytes().next_back().is_some_and(known);
    ends && separators.all(between)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_taken_and_others_are_answered_with_the_full_one() {
        for text in [
            "docker.io/library/hello:latest",
            "ghcr.io/openfaas/gateway:0.27.5",
            "localhost/x:1",
            "localhost:5000/a/b/c:v1.2-rc_3",
            "registry:5000/x:1",
            "docker.io/local/a.b_c__d--e:1",
        ] {
            let name: Reference = text.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
        const EXAMPLE: &str = "docker.io/library/hello:latest";
        for (text, reason, full) in [
            ("hello", "registry", EXAMPLE),
            ("hello:1", "registry", "docker.io/library/hello:1"),
            ("me/hello:1", "registry", "docker.io/me/hello:1"),
            ("docker.io/me/hello", "no tag", "docker.io/me/hello:latest"),
            ("docker.io/Me/hello:1", "path", EXAMPLE),
            ("docker.io/me/-hello:1", "path", EXAMPLE),
            ("docker.io/me//hello:1", "path", EXAMPLE),
            ("docker.io/a___b:1", "path", EXAMPLE),
            ("docker.io/me/hello:", "tag", EXAMPLE),
            ("docker.io/me/hello:a b", "tag", EXAMPLE),
            ("docker.io/me/hello:1:2", "tag", EXAMPLE),
            ("docker.io/x@sha256:0", "digest", EXAMPLE),
            ("-x.io/y:1", "registry", EXAMPLE),
            ("", "registry", EXAMPLE),
            ("../x:1", "registry", EXAMPLE),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert_eq!(error.full, full, "{text}");
        }
        let long = format!("docker.io/{}:1", "a".repeat(NAME_MAX));
        assert!(long.parse::<Reference>().is_err());
    }

    #[test]
    fn files_of_two_names_are_two() {
        let stem = |text: &str| text.parse::<Reference>().unwrap().file_stem();
        assert_eq!(stem("docker.io/a/b:1"), "docker.io+a+b~1");
        assert_ne!(stem("docker.io/a/b:1"), stem("docker.io/a_b:1"));
    }
}
