//! `NAME.tcz.md5.txt`: what `md5sum NAME.tcz` prints in the file's folder.

use std::fmt;

use crate::digest::hex;

/// An MD5 sum: the only one that Tiny Core's own tools look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

/// Why a text is not what `md5sum` prints of one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("not what `md5sum` prints: {0}")]
#[diagnostic(help("make it anew, in the extension's folder: `md5sum NAME.tcz > NAME.tcz.md5.txt`"))]
pub struct Md5Error(&'static str);

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "md5:{self}")
    }
}

/// The text of an `.md5.txt`.
pub fn print(sum: Md5, file_name: &str) -> String {
    format!("{sum}  {file_name}\n")
}

/// Parses an `.md5.txt`: the sum and the file's name.
pub fn parse(text: &str) -> Result<(Md5, &str), Md5Error> {
    let line = text
        .strip_suffix('\n')
        .ok_or(Md5Error("there is no newline at the end"))?;
    if line.contains(['\n', '\r']) {
        return Err(Md5Error("there is more than one line"));
    }
    let (sum, name) = line
        .split_once("  ")
        .ok_or(Md5Error("sum and name are not two spaces apart"))?;
    if name.is_empty() || name.contains('/') || name.starts_with(' ') {
        return Err(Md5Error("the name is not that of a file in the same folder"));
    }
    Ok((
        parse_sum(sum).ok_or(Md5Error("the sum is not 32 hexadecimal digits"))?,
        name,
    ))
}

fn parse_sum(text: &str) -> Option<Md5> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16)
        .ok()
        .map(|sum| Md5(sum.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "d41d8cd98f00b204e9800998ecf8427e  x.tcz\n";

    #[test]
    fn what_is_printed_is_parsed() {
        let (sum, name) = parse(LINE).unwrap();
        assert_eq!(name, "x.tcz");
        assert_eq!(print(sum, name), LINE);
    }

    #[test]
    fn what_md5sum_would_not_print_is_refused() {
        for text in [
            "",
            LINE.trim_end(),
            &LINE.replace("  ", " "),
            &LINE.replace("x.tcz", "/tmp/x.tcz"),
            &LINE.replace("d4", "g4"),
            &LINE[1..],
            &format!("{LINE}{LINE}"),
            &LINE.replace('\n', "\r\n"),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
