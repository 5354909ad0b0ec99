//! Lists of sums that upstream publishes beside its files: one sum alone, lines of
//! `sha256sum` or BSD's `sha256`, or what GitHub's API says of a release. They come from a
//! server, so they may be anything.

use serde::Deserialize;

use crate::digest::Sha256;

/// Why a list tells no sum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// Bytes that are no text.
    #[error("it is not text")]
    NotText,
    /// A page, or another document.
    #[error("it is a page or another document, not a list of sums")]
    NotAList,
    /// No sum of the file.
    #[error("it has no sha256 of that name")]
    Absent,
    /// More than one.
    #[error("it has different sums of that name")]
    Several,
}

/// The sum that a list has of a file.
pub(super) fn sum_in(list: &[u8], file_name: &str) -> Result<Sha256, ListFault> {
    let text = std::str::from_utf8(list).map_err(|_| ListFault::NotText)?;
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.chars().next() {
        Some('<') => Err(ListFault::NotAList),
        Some('{') => in_release(text, file_name),
        _ => in_lines(text, file_name),
    }
}

/// The sum of a digest as registries and GitHub write it: `sha256:…`.
pub(super) fn of_digest(digest: &str) -> Option<Sha256> {
    digest.strip_prefix("sha256:")?.parse().ok()
}

/// The part of GitHub's answer that is read here.
#[derive(Deserialize)]
struct Release {
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    #[serde(default)]
    digest: Option<String>,
}

fn in_release(text: &str, file_name: &str) -> Result<Sha256, ListFault> {
    let release: Release = serde_json::from_str(text).map_err(|_| ListFault::NotAList)?;
    let of_file = release.assets.iter().filter(|asset| asset.name == file_name);
    let sums = of_file.filter_map(|asset| of_digest(asset.digest.as_deref()?));
    only(sums).ok_or(ListFault::Absent)?
}

fn in_lines(text: &str, file_name: &str) -> Result<Sha256, ListFault> {
    // A sum without a name says nothing of what it is of: it has to stand alone. So has
    // one of a pipe.
    if let Some(sum) = hex(text.strip_suffix('-').unwrap_or(text).trim_end()) {
        return Ok(sum);
    }
    let lines: Vec<_> = text
        .lines()
        .filter_map(|line| bsd(line).or_else(|| gnu(line)))
        .collect();
    let sums_where = |fits: &dyn Fn(&str) -> bool| {
        let fitting = lines.iter().filter(|(_, name)| fits(name));
        only(fitting.map(|(sum, _)| *sum))
    };
    // The list may have been made a folder above the file.
    sums_where(&|name| name.trim_start_matches("./") == file_name)
        .or_else(|| sums_where(&|name| name.rsplit(['/', '\\']).next() == Some(file_name)))
        .ok_or(ListFault::Absent)?
}

/// The one sum that all are; nothing where there is none.
fn only(mut sums: impl Iterator<Item = Sha256>) -> Option<Result<Sha256, ListFault>> {
    let first = sums.next()?;
    Some(match sums.all(|sum| sum == first) {
        true => Ok(first),
        false => Err(ListFault::Several),
    })
}

/// `SUM  NAME`, or `SUM *NAME`, as `sha256sum` writes it.
fn gnu(line: &str) -> Option<(Sha256, &str)> {
    let (sum, name) = line.trim().split_once(char::is_whitespace)?;
    let name = name.trim_start();
    Some((hex(sum)?, name.strip_prefix('*').unwrap_or(name)))
}

/// `SHA256 (NAME) = SUM`, as BSD's `sha256` and `openssl` write it.
fn bsd(line: &str) -> Option<(Sha256, &str)> {
    let line = line.trim();
    let rest = ["SHA256", "SHA2-256"]
        .iter()
        .find_map(|kind| line.strip_prefix(kind))?;
    let (name, sum) = rest.trim_start().strip_prefix('(')?.rsplit_once(')')?;
    Some((hex(sum.trim_start().strip_prefix('=')?.trim_start())?, name))
}

/// A sum, with or without its kind before it.
fn hex(text: &str) -> Option<Sha256> {
    text.strip_prefix("sha256:").unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const B: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// What a list says of `tool`; `A` and `B` in it stand for sums.
    fn said(list: &str) -> Result<Sha256, ListFault> {
        let list = list
            .replace("{A}", A)
            .replace("{B}", B)
            .replace("{a}", &A.to_uppercase());
        sum_in(list.as_bytes(), "tool")
    }

    #[test]
    fn the_sum_is_found_however_it_is_written() {
        for list in [
            "{A}",
            "{A}\n",
            "  {a}\r\n",
            "\u{feff}{A}\r\n",
            "sha256:{A}",
            "{A}  -\n",
            "{A}  tool\n",
            "{A} *tool",
            "{A} tool\r\n",
            "{a}\ttool",
            "{A}  ./tool",
            "{A}  bin/tool\n",
            "{A} *dist\\tool\n",
            "{B}  tool.exe\n{A}  tool\n{B}  tool-arm64\n",
            "{B}  old/tool\n{A}  tool\n",
            "{A}  tool\n{A} *./tool\n",
            "# sums\n\n{A}  tool\n",
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{A}  tool\n-----BEGIN PGP SIGNATURE-----\n",
            "SHA256 (tool) = {A}\n",
            "MD5 (tool) = 900150983cd24fb0d6963f7d28e17f72\nSHA256(tool)= {a}\r\n",
            "SHA2-256(bin/tool)= {A}\n",
            "{\"assets\": [{\"name\": \"x\", \"digest\": \"sha256:{B}\"}, {\"name\": \"tool\", \"digest\": \"sha256:{A}\"}]}",
        ] {
            assert_eq!(said(list), Ok(A.parse().unwrap()), "{list}");
        }
    }

    #[test]
    fn a_list_that_tells_no_sum_is_refused() {
        use ListFault::{Absent, NotAList, NotText, Several};
        for (list, fault) in [
            ("", Absent),
            ("{A}{A}", Absent),
            ("{A}\n{B}\n", Absent),
            ("{A}\n{A}\n", Absent),
            ("404: not found\n{A}\n", Absent),
            ("{A}  tools\n{A}  a-tool\n{A}  TOOL\n{A}  tool/\n", Absent),
            ("{A}a  tool\n", Absent),
            (
                "SHA512 (tool) = {A}\nSHA256 (tool = {A}\nSHA256 tool) = {A}\n",
                Absent,
            ),
            ("{A}  tool\n{B}  tool\n", Several),
            ("{A}  tool\nSHA256 (tool) = {B}\n", Several),
            ("{A}  a/tool\n{B}  b/tool\n", Several),
            ("<!DOCTYPE html>\n<pre>\n{A}  tool\n</pre>\n", NotAList),
            ("\n\u{feff}\n <html>{A}  tool", Absent),
            ("{\"message\": \"Not Found\"}", NotAList),
            ("{ {A}  tool", NotAList),
            ("{\"assets\": [{\"name\": \"tool\", \"digest\": null}]}", Absent),
            (
                "{\"assets\": [{\"name\": \"tool\"}, {\"name\": \"a/tool\", \"digest\": \"sha256:{A}\"}]}",
                Absent,
            ),
            (
                "{\"assets\": [{\"name\": \"tool\", \"digest\": \"sha512:{A}\"}]}",
                Absent,
            ),
            (
                "{\"assets\": [{\"name\": \"tool\", \"digest\": \"sha256:{A}\"}, {\"name\": \"tool\", \"digest\": \"sha256:{B}\"}]}",
                Several,
            ),
        ] {
            assert_eq!(said(list), Err(fault), "{list}");
        }
        assert_eq!(sum_in(b"\xff\xfe\x00", "tool"), Err(NotText));
    }
}
