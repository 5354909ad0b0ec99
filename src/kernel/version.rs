//! Kernel versions, as far as options depend on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kernel's version: `5.4` of `5.4.3-tinycore64`. Options come and go with
/// these two numbers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

/// A text that is no kernel version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{0}` is not a kernel version")]
#[diagnostic(help("write it as `uname -r` does: `5.4` or `5.4.3-tinycore64`"))]
pub struct ParseVersionError(pub String);

impl KernelVersion {
    /// A version of two numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl FromStr for KernelVersion {
    type Err = ParseVersionError;

    /// Reads `5.4`, `5.4.3`, `5.4.3-tinycore64`, `6.18-rc1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, rest) = text.split_once('.')?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (minor, behind) = rest.split_at(end);
            if !major.bytes().all(|byte| byte.is_ascii_digit())
                || !matches!(behind.chars().next(), None | Some('.' | '-' | '+' | '_'))
            {
                return None;
            }
            Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
        };
        parse().ok_or_else(|| ParseVersionError(text.to_owned()))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl TryFrom<String> for KernelVersion {
    type Error = ParseVersionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KernelVersion> for String {
    fn from(version: KernelVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_two_numbers() {
        for (text, wanted) in [
            ("5.4", Some((5, 4))),
            ("5.4.3-tinycore64", Some((5, 4))),
            ("6.18-rc1", Some((6, 18))),
            ("5.10+", Some((5, 10))),
            ("5", None),
            ("5.", None),
            (".4", None),
            ("+5.4", None),
            ("5.x", None),
            ("5.4x", None),
            ("5.99999", None),
            ("", None),
        ] {
            let found = text.parse::<KernelVersion>().ok();
            assert_eq!(found.map(|v| (v.major, v.minor)), wanted, "{text}");
        }
        assert!(KernelVersion::new(5, 4) < KernelVersion::new(5, 10));
    }
}
