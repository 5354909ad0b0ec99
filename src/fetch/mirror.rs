//! Other bases, asked before a file's own origin.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::origin::{Origin, parse_url};
use crate::digest::Sha256;
use crate::url::WebUrl;

/// A folder of files, here or on a web server.
///
/// It holds each file under its sum, `BASE/sha256/ab/abcd…` (the layout of the
/// cache, so that a cache is a mirror as it is), or under its plain name,
/// `BASE/NAME`. The sum is asked for first: plain names may clash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mirror(Base);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    // Its path ends with a slash.
    Web(WebUrl),
    Folder(PathBuf),
}

/// A text that names no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is no mirror: {why}")]
#[diagnostic(help("write `https://HOST/FOLDER`, `http://HOST/FOLDER` or `file:FOLDER`"))]
pub struct ParseMirrorError {
    text: String,
    why: String,
}

impl Mirror {
    /// Where the mirror may have a file, best first.
    pub(super) fn places(&self, sum: &Sha256, file_name: &str) -> Vec<Origin> {
        let by_sum = entry_path(sum);
        [by_sum.as_str(), file_name]
            .into_iter()
            .filter_map(|path| self.place(path))
            .collect()
    }

    fn place(&self, path: &str) -> Option<Origin> {
        match &self.0 {
            Base::Web(base) => Some(Origin::Web(base.changed(|url| {
                // Every web URL has a path.
                if let Ok(mut parts) = url.path_segments_mut() {
                    parts.pop_if_empty().extend(path.split('/'));
                }
            }))),
            // A name from a URL may be anything: it must stay below the folder.
            Base::Folder(_) if path.split('/').any(|part| matches!(part, "" | "." | "..")) => None,
            Base::Folder(folder) => Some(Origin::File(folder.join(path))),
        }
    }
}

/// The path of a file in a cache: `sha256/ab/abcd…`.
pub(super) fn entry_path(sum: &Sha256) -> String {
    let sum = sum.to_string();
    format!("sha256/{}/{sum}", &sum[..2])
}

impl FromStr for Mirror {
    type Err = ParseMirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self(Base::Folder(PathBuf::from(path))));
        }
        match parse_url(text) {
            Ok(url) => Ok(Self(Base::Web(url))),
            Err(error) => Err(ParseMirrorError {
                text: error.text,
                why: error.why,
            }),
        }
    }
}

impl TryFrom<String> for Mirror {
    type Error = ParseMirrorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_asked_by_sum_then_by_name() {
        let sum = Sha256::of(b"abc");
        let entry = "sha256/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (mirror, base) in [
            ("https://example.org", "https://example.org/"),
            ("http://example.org/a/b", "http://example.org/a/b/"),
            ("http://example.org/a/b/?k=v", "http://example.org/a/b/"),
            ("file:///mnt/usb", "file:/mnt/usb/"),
            ("file:usb/", "file:usb/"),
        ] {
            let mirror: Mirror = mirror.parse().unwrap();
            let places: Vec<String> = mirror
                .places(&sum, "a+b.tgz")
                .iter()
                .map(Origin::identity)
                .collect();
            assert_eq!(places, [format!("{base}{entry}"), format!("{base}a+b.tgz")]);
        }
    }

    #[test]
    fn a_name_does_not_leave_the_folder() {
        let mirror: Mirror = "file:/mnt/usb".parse().unwrap();
        let sum = Sha256::of(b"abc");
        for name in ["..", ".", "", "../x", "/etc/passwd"] {
            assert_eq!(mirror.places(&sum, name).len(), 1, "{name}");
        }
    }
}
