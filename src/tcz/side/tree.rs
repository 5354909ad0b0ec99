//! `NAME.tcz.tree`: everything that an extension needs, drawn as a tree.
//!
//! Tiny Core's server makes it: the extension itself at column 0, three spaces
//! a level, a subtree again wherever it is needed, `KERNEL` replaced, and an
//! empty line at the end.

use super::dep::{self, CycleError, Dependency, Step};

/// Lines of the longest tree that is made: what is needed by many is repeated
/// for each, so a few dozen hostile `.dep` files can ask for more than memory
/// holds. The largest official tree has a few thousand.
const LINES_MAX: usize = 100_000;

const INDENT: usize = 3;

/// Why a tree cannot be drawn or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum TreeError {
    /// It would have no end.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cycle(#[from] CycleError),
    /// It has too many lines.
    #[error("the tree of `{0}` has more than {LINES_MAX} lines")]
    #[diagnostic(help("look for extensions that name the same dependencies again at each level"))]
    TooLong(String),
    /// A line is not what the server writes.
    #[error("line {line} of the tree: {reason}")]
    #[diagnostic(help("remove the file; a mirror makes it anew"))]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Draws the tree of an extension (its file name, `KERNEL` allowed). `lookup`
/// gives the direct dependencies of an extension by its file name.
pub fn print(
    root: &str,
    kernel: &str,
    lookup: &dyn Fn(&str) -> Vec<Dependency>,
) -> Result<String, TreeError> {
    let mut text = String::new();
    let mut lines = 0;
    dep::walk(root, kernel, lookup, &mut |step| {
        if let Step::Enter(name, depth) = step {
            lines += 1;
            if lines > LINES_MAX {
                return Err(TreeError::TooLong(root.to_owned()));
            }
            text.extend(std::iter::repeat_n(' ', depth * INDENT));
            text.push_str(&name);
            text.push('\n');
        }
        Ok(true)
    })?;
    text.push('\n');
    Ok(text)
}

/// Parses a tree: depth and name of each line.
pub fn parse(text: &str) -> Result<Vec<(usize, &str)>, TreeError> {
    let mut nodes: Vec<(usize, &str)> = Vec::new();
    let text = text.trim_end_matches('\n');
    for (line, text) in (1..).zip(text.split('\n')) {
        let fail = |reason| TreeError::Line { line, reason };
        let name = text.trim_start_matches(' ');
        let spaces = text.len() - name.len();
        if !spaces.is_multiple_of(INDENT) {
            return Err(fail("the indentation is not a multiple of three spaces"));
        }
        let depth = spaces / INDENT;
        let deepest = nodes.last().map_or(0, |(above, _)| above + 1);
        if depth > deepest || (depth == 0) != nodes.is_empty() {
            return Err(fail("it is not one level below a line before it"));
        }
        if Dependency::parse(name).is_err() {
            return Err(fail("it is not the name of an extension"));
        }
        nodes.push((depth, name));
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Vec<Dependency> {
        let text = match name {
            "parted.tcz" => "liblvm2.tcz\nreadline.tcz\nnet-KERNEL.tcz\n",
            "liblvm2.tcz" => "udev-lib.tcz\n",
            "readline.tcz" => "ncursesw.tcz\n",
            "net-5.4.3-tinycore64.tcz" => "liblvm2.tcz\n",
            _ => "",
        };
        dep::parse(text).unwrap()
    }

    #[test]
    fn a_tree_is_as_the_server_draws_it() {
        let text = print("parted.tcz", "5.4.3-tinycore64", &lookup).unwrap();
        let wanted = "parted.tcz\n   liblvm2.tcz\n      udev-lib.tcz\n   readline.tcz\n      ncursesw.tcz\n   \
                      net-5.4.3-tinycore64.tcz\n      liblvm2.tcz\n         udev-lib.tcz\n\n";
        assert_eq!(text, wanted);
        let nodes = parse(&text).unwrap();
        assert_eq!(
            (nodes[0], nodes[7], nodes.len()),
            ((0, "parted.tcz"), (3, "udev-lib.tcz"), 8)
        );
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let circle = |_: &str| dep::parse("a.tcz\n").unwrap();
        assert!(matches!(print("a.tcz", "5", &circle), Err(TreeError::Cycle(_))));
        // Each level needs the next twice over: 2^40 lines.
        let doubling = |name: &str| {
            let level: u32 = name.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            let below = level / 2 * 2 + 2;
            match level {
                80.. => vec![],
                _ => dep::parse(&format!("x{below}.tcz\nx{}.tcz\n", below + 1)).unwrap(),
            }
        };
        assert_eq!(
            print("x0.tcz", "5", &doubling),
            Err(TreeError::TooLong("x0.tcz".into()))
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line) in [
            ("", 1),
            ("   a.tcz\n\n", 1),
            ("a.tcz\n  b.tcz\n\n", 2),
            ("a.tcz\n      b.tcz\n\n", 2),
            ("a.tcz\nb.tcz\n\n", 2),
            ("a.tcz\n   b\n\n", 2),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, TreeError::Line { line: at, .. } if at == line),
                "{text:?}: {error}"
            );
        }
    }
}
