//! Addresses of web servers that may have secrets in them (a login, a token, a
//! signature), and texts of others that may have such addresses in them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// An http or https URL, which shows no secret, however it is written out. Two that
/// differ only in what may be secret (login, query, fragment) are the same: signed
/// URLs change from day to day, the file stays.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebUrl {
    whole: Url,
    /// Without login, query and fragment.
    public: String,
}

/// What messages have in the place of a query.
const LEFT_OUT: &str = "…";

/// Why a text is no [`WebUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseUrlError(String);

impl WebUrl {
    /// The URL for requests. It is not to be shown, nor to be written to a file.
    pub(crate) fn with_secrets(&self) -> &Url {
        &self.whole
    }

    /// The URL without what may be secret, for files.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The same with a change: another path in the same place, say, where login and query
    /// stay.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Url)) -> Self {
        let mut whole = self.whole.clone();
        change(&mut whole);
        Self::new(whole)
    }

    /// A URL that was parsed already.
    pub(crate) fn new(whole: Url) -> Self {
        let mut public = whole.clone();
        // Fails only for URLs without a host, which have no user either.
        let _ = public.set_username("");
        let _ = public.set_password(None);
        public.set_query(None);
        public.set_fragment(None);
        Self {
            public: public.into(),
            whole,
        }
    }
}

impl FromStr for WebUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = Url::parse(text).map_err(|error| ParseUrlError(error.to_string()))?;
        match whole.scheme() {
            "http" | "https" => Ok(Self::new(whole)),
            scheme if text.contains("://") => Err(ParseUrlError(format!("`{scheme}` is not spoken"))),
            // What stands before the colon may be half of a login.
            _ => Err(ParseUrlError("it does not begin with `https://`".to_owned())),
        }
    }
}

impl TryFrom<String> for WebUrl {
    type Error = ParseUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WebUrl> for String {
    fn from(url: WebUrl) -> Self {
        url.public
    }
}

/// For messages: `?…` tells that there is a query.
impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)?;
        match self.whole.query() {
            Some(_) => write!(f, "?{LEFT_OUT}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl PartialEq for WebUrl {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for WebUrl {}

impl PartialOrd for WebUrl {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WebUrl {
    fn cmp(&self, other: &Self) -> Ordering {
        self.public.cmp(&other.public)
    }
}

impl Hash for WebUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.public.hash(state);
    }
}

/// Somebody's text with a `*` for each byte that may be secret in the URLs in it. It is
/// as long as before, so that places in it stay where they are.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, address)) = rest.split_once("://") {
        let closing = closing_quote(before);
        let is_end = |c: char| c.is_whitespace() || c.is_control() || c == '"' || Some(c) == closing;
        let end = address.find(is_end);
        let (address, behind) = address.split_at(end.unwrap_or(address.len()));
        out.extend([before, "://", &masked_address(address)]);
        rest = behind;
    }
    out + rest
}

/// What ends a URL that is quoted; the text before it ends with its scheme. Any other quote
/// may be part of a login or a query.
fn closing_quote(before: &str) -> Option<char> {
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match before.trim_end_matches(is_of_scheme).chars().next_back()? {
        '<' => Some('>'),
        quote @ ('\'' | '`') => Some(quote),
        _ => None,
    }
}

/// A text that was meant to be one URL, with a `*` for each byte that may be secret.
pub(crate) fn masked_url(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, address)) => format!("{scheme}://{}", masked_address(address)),
        // A login may be there without a scheme before it.
        None => {
            let login = text.rfind('@').unwrap_or(0);
            let (login, rest) = text.split_at(login);
            stars(login) + &without_query(rest)
        }
    }
}

/// What follows `://`. What is no address may be a login that is written wrongly.
fn masked_address(text: &str) -> String {
    let (authority, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let (login, host) = authority.split_at(authority.rfind('@').unwrap_or(0));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || host.ends_with(']');
    match is_port {
        true => stars(login) + host + &without_query(path),
        false => stars(text),
    }
}

/// A path whose query and fragment are stars, unless they are left out already.
fn without_query(path: &str) -> String {
    let (path, query) = path.split_at(path.find(['?', '#']).map_or(path.len(), |at| at + 1));
    match query {
        LEFT_OUT => path.to_owned() + query,
        query => path.to_owned() + &stars(query),
    }
}

fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_secret_and_keeps_them_for_requests() {
        for (text, public, shown) in [
            (
                "https://a.example/f",
                "https://a.example/f",
                "https://a.example/f",
            ),
            (
                "HTTPS://A.example:443/f",
                "https://a.example/f",
                "https://a.example/f",
            ),
            (
                "https://me:hidden@a.example/f",
                "https://a.example/f",
                "https://a.example/f",
            ),
            (
                "https://hidden@a.example:8/f",
                "https://a.example:8/f",
                "https://a.example:8/f",
            ),
            (
                "https://me:@a.example/f",
                "https://a.example/f",
                "https://a.example/f",
            ),
            (
                "http://a.example/f?hidden",
                "http://a.example/f",
                "http://a.example/f?…",
            ),
            (
                "https://s3.example/b/f?X-Amz-Signature=hidden&X-Amz-Credential=hidden",
                "https://s3.example/b/f",
                "https://s3.example/b/f?…",
            ),
            (
                "https://a.example/f#hidden",
                "https://a.example/f",
                "https://a.example/f",
            ),
            (
                "https://[::1]:8/f?hidden",
                "https://[::1]:8/f",
                "https://[::1]:8/f?…",
            ),
            (
                "https://a:hidden%40@a.example/@s/f",
                "https://a.example/@s/f",
                "https://a.example/@s/f",
            ),
        ] {
            let url: WebUrl = text.parse().unwrap();
            assert_eq!(
                (url.public(), url.to_string().as_str()),
                (public, shown),
                "{text}"
            );
            assert_eq!(format!("{url:?}"), format!("\"{shown}\""));
            assert_eq!(serde_json::to_string(&url).unwrap(), format!("\"{public}\""));
            assert_eq!(*url.with_secrets(), Url::parse(text).unwrap());
            assert_eq!(url, public.parse().unwrap(), "a secret makes no other URL");
        }
    }

    #[test]
    fn a_text_that_is_no_url_is_refused_without_its_secrets() {
        for (text, masked, why) in [
            (
                "ftp://me:hidden@host/f",
                "ftp://*********@host/f",
                "`ftp` is not spoken",
            ),
            (
                "hidden:x-oauth@host/f",
                "**************@host/f",
                "it does not begin with `https://`",
            ),
            (
                "me:hidden@host/f",
                "*********@host/f",
                "it does not begin with `https://`",
            ),
            (
                "host/f?token=hidden",
                "host/f?************",
                "relative URL without a base",
            ),
            (
                "https://me:hid/den@host/f",
                "https://*****************",
                "invalid port number",
            ),
            ("https://", "https://", "empty host"),
        ] {
            assert_eq!(masked_url(text), masked);
            assert_eq!(text.parse::<WebUrl>().unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn secrets_are_masked_in_any_text_of_the_same_length() {
        for (text, wanted) in [
            ("", ""),
            ("no URL: me@host?x", "no URL: me@host?x"),
            ("://", "://"),
            (
                "mirrors = [\"https://me:hidden@a/x?hidden\", 'http://b/']",
                "mirrors = [\"https://*********@a/x?******\", 'http://b/']",
            ),
            (
                "Failed to fetch http://me:hidden@a:80/dists  401  <https://b#hidden>",
                "Failed to fetch http://*********@a:80/dists  401  <https://b#******>",
            ),
            ("https://hidden@@a/ ü", "https://*******@a/ ü"),
            ("https://me:hid/den@a/ x", "https://************* x"),
            (
                "https://[::1]/a https://[::1]:8/a",
                "https://[::1]/a https://[::1]:8/a",
            ),
            ("https://r/@scope/x-1.tgz", "https://r/@scope/x-1.tgz"),
            ("`https://a/x?…` is gone", "`https://a/x?…` is gone"),
            ("\"https://me:hid'den@a/x\"", "\"https://**********@a/x\""),
            ("\"https://hid'den@a/x\"", "\"https://*******@a/x\""),
            (
                "https://a/x?sig=hid'den https://a/?h`id<d>en",
                "https://a/x?*********** https://a/?*********",
            ),
            (
                "[\"https://hid`d<e>n@a/\", 'https://hid`den@a/', `https://hid'den@a/`]",
                "[\"https://*********@a/\", 'https://*******@a/', `https://*******@a/`]",
            ),
            (
                "<git+https://hid'd`en@a/#hidden>, it's",
                "<git+https://********@a/#******>, it's",
            ),
        ] {
            assert_eq!(masked(text), wanted);
            assert_eq!(masked(text).len(), text.len());
        }
    }
}
