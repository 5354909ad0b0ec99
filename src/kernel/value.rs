//! What an option can be set to.

use std::fmt;
use std::str::FromStr;

/// Off, a module, or built in. The order is Kconfig's: `n` < `m` < `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tristate {
    /// Off.
    No,
    /// A module.
    Module,
    /// Built into the kernel, or simply on.
    Yes,
}

impl fmt::Display for Tristate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "n",
            Self::Module => "m",
            Self::Yes => "y",
        })
    }
}

/// An option's value, as a configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// `y`, `m`, or `n` (`# CONFIG_X is not set`).
    Tristate(Tristate),
    /// A decimal number, with its digits as they were.
    Int(String),
    /// A number that begins with `0x`.
    Hex(String),
    /// A text, without its quotes and backslashes.
    Text(String),
}

impl Value {
    /// Off.
    pub const NO: Self = Self::Tristate(Tristate::No);
    /// A module.
    pub const MODULE: Self = Self::Tristate(Tristate::Module);
    /// Built in.
    pub const YES: Self = Self::Tristate(Tristate::Yes);
}

impl FromStr for Value {
    type Err = ();

    /// Reads what is behind the `=`. As the kernel's own reader
    /// (scripts/kconfig/confdata.c), `n` is allowed there too.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "y" => return Ok(Self::YES),
            "m" => return Ok(Self::MODULE),
            "n" => return Ok(Self::NO),
            _ => {}
        }
        if let Some(quoted) = text.strip_prefix('"') {
            return unquote(quoted).map(Self::Text).ok_or(());
        }
        let digits = |text: &str, digit: fn(&u8) -> bool| {
            !text.is_empty() && text.len() <= 20 && text.as_bytes().iter().all(digit)
        };
        if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
            && digits(hex, u8::is_ascii_hexdigit)
        {
            return Ok(Self::Hex(text.to_owned()));
        }
        if digits(text.strip_prefix('-').unwrap_or(text), u8::is_ascii_digit) {
            return Ok(Self::Int(text.to_owned()));
        }
        Err(())
    }
}

/// The text up to the closing quote, which has to be the last character.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tristate(value) => value.fmt(f),
            Self::Int(digits) | Self::Hex(digits) => f.write_str(digits),
            Self::Text(text) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|()| serde::de::Error::custom(format!("`{text}` is not a value: {VALUES}")))
    }
}

/// How values are written, for hints.
pub(super) const VALUES: &str =
    "write y, m, n, a number, 0x and hexadecimal digits, or a text in double quotes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_alike() {
        for (text, wanted) in [
            ("y", Some(Value::YES)),
            ("m", Some(Value::MODULE)),
            ("n", Some(Value::NO)),
            ("64", Some(Value::Int("64".to_owned()))),
            ("-1", Some(Value::Int("-1".to_owned()))),
            ("0xfF", Some(Value::Hex("0xfF".to_owned()))),
            ("\"\"", Some(Value::Text(String::new()))),
            (r#""a \"b\" \\c""#, Some(Value::Text(r#"a "b" \c"#.to_owned()))),
            ("", None),
            ("yes", None),
            ("Y", None),
            ("y ", None),
            ("-", None),
            ("0x", None),
            ("123456789012345678901", None),
            ("\"", None),
            ("\"a", None),
            ("\"a\"b", None),
            ("\"a\\\"", None),
        ] {
            let value = text.parse::<Value>().ok();
            assert_eq!(value, wanted, "{text}");
            if let Some(value) = value {
                assert_eq!(value.to_string(), text);
            }
        }
    }
}
