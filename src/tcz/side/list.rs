//! `NAME.tcz.list`: every path of an extension that is not a directory.

use bstr::ByteSlice;

use crate::stage::TreePath;

/// Why a list cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ListError {
    /// A path has a line break in it, so it cannot stand on one line.
    #[error("`{0}` has a line break in its name")]
    #[diagnostic(help("rename the file; a .list has one path a line"))]
    LineBreak(TreePath),
    /// A line is not a path.
    #[error("line {line}: {reason}")]
    #[diagnostic(help("write one path a line, as `/usr/local/bin/x`"))]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The text of a list: each path on a line as `/usr/local/bin/x`, sorted by
/// bytes, as the official audit writes it.
pub fn print<'a>(paths: impl Iterator<Item = &'a TreePath>) -> Result<Vec<u8>, ListError> {
    let mut paths: Vec<&TreePath> = paths.collect();
    paths.sort_unstable_by_key(|path| path.as_bytes());
    let mut text = Vec::new();
    for path in paths {
        if path.as_bytes().contains(&b'\n') {
            return Err(ListError::LineBreak(path.clone()));
        }
        text.push(b'/');
        text.extend_from_slice(path.as_bytes());
        text.push(b'\n');
    }
    Ok(text)
}

/// Parses a list. Real ones begin their paths with `/`, `./` or neither.
pub fn parse(text: &[u8]) -> Result<Vec<TreePath>, ListError> {
    let mut paths = Vec::new();
    for (line, text) in (1..).zip(text.lines_with_terminator()) {
        let fail = |reason: &str| ListError::Line {
            line,
            reason: reason.to_owned(),
        };
        let Some(text) = text.strip_suffix(b"\n") else {
            return Err(fail("the last line has no newline at its end"));
        };
        if text.ends_with(b"\r") {
            return Err(fail("the line ends in a carriage return"));
        }
        let path = TreePath::parse_absolute(text).map_err(|error| fail(&error.to_string()))?;
        if path.is_root() {
            return Err(fail("the line is empty"));
        }
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    #[test]
    fn a_list_is_sorted_by_bytes() {
        let paths = ["usr/local/a/z", "usr/local/a.b", "etc/x"].map(path);
        let text = print(paths.iter()).unwrap();
        assert_eq!(text, b"/etc/x\n/usr/local/a.b\n/usr/local/a/z\n");
        assert_eq!(parse(&text).unwrap().len(), 3);
        assert_eq!(print([].iter()).unwrap(), b"");
    }

    #[test]
    fn all_three_ways_to_begin_a_path_are_read() {
        let paths = parse(b"/usr/a\n./usr/b\nusr/c\n").unwrap();
        assert_eq!(paths, ["usr/a", "usr/b", "usr/c"].map(path));
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        assert_eq!(
            print([path("a\nb")].iter()),
            Err(ListError::LineBreak(path("a\nb")))
        );
        for (text, line) in [
            ("a\r\n", 1),
            ("a\n\n", 2),
            ("a\n/\n", 2),
            ("../a\n", 1),
            ("a\nb", 2),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ListError::Line { line: at, .. } if at == line),
                "{text:?}"
            );
        }
    }
}
