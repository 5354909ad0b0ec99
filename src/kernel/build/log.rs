//! What `make` writes: what it is at, and why it stopped.

use std::fmt;
use std::path::Path;

/// The most lines that are shown of one failure.
const LINES: usize = 24;
/// The most failures that are shown: with several jobs, some follow the first.
const FAILURES: usize = 4;

/// A target that could not be made, and the lines that say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The target: `fs/ext4/super.o`.
    pub target: String,
    /// What the compiler, the linker or a script said.
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`:", self.target)?;
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// The object in a line like `  CC [M]  fs/fat/dir.o`.
pub(super) fn object(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    let rest = rest.strip_prefix("CC ").or_else(|| rest.strip_prefix("AS "))?;
    let rest = rest.trim_start();
    let name = rest.strip_prefix("[M]").unwrap_or(rest).trim();
    name.ends_with(".o").then_some(name)
}

/// The object that a command of `make -n` would compile: `… echo '  CC  x.o'; …`.
pub(super) fn object_to_do(command: &str) -> Option<&str> {
    let (_, rest) = command.split_once("echo '")?;
    object(rest.split_once('\'')?.0)
}

/// Whether a line only says what is being made.
fn is_step(line: &str) -> bool {
    let word = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next());
    word.is_some_and(|word| {
        word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    }) || line.starts_with("# ")
}

/// `make` that goes into a directory or comes out of it.
fn is_directory_line(line: &str) -> bool {
    line.starts_with("make")
        && (line.contains(": Entering directory") || line.contains(": Leaving directory"))
}

/// The target of a line like `make[3]: *** [scripts/Makefile.build:286: a/b.o] Error 1`.
fn failed_target(line: &str) -> Option<&str> {
    let (maker, rest) = line.split_once(": *** ")?;
    if !maker.starts_with("make") {
        return None;
    }
    let Some(inside) = rest.strip_prefix('[') else {
        // `*** No rule to make target 'x'.  Stop.`
        return Some(rest.trim_end_matches("  Stop."));
    };
    let (inside, _) = inside.split_once(']')?;
    Some(inside.rsplit(": ").next().unwrap_or(inside))
}

/// Why `make` stopped, from all that it wrote: for each target that failed by
/// itself (and not because something below it did), the lines between its step
/// and its `***`. Paths below the given folders are shortened.
pub(super) fn failures(said: &str, folders: &[&Path]) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines() {
        if let Some(target) = failed_target(line) {
            let rule_is_missing = !line.contains("*** [");
            if rule_is_missing {
                lines = vec![target];
            }
            if !lines.is_empty() {
                failures.push(Failure {
                    target: shorten(target, folders),
                    lines: telling(&lines).map(|line| shorten(line, folders)).collect(),
                });
            }
            lines.clear();
        } else if is_step(line) {
            lines.clear();
        } else if !is_directory_line(line) && !line.trim().is_empty() {
            lines.push(line);
        }
    }
    failures.truncate(FAILURES);
    failures
}

/// Of what one command said, what matters: from the first error on, warnings
/// before it left out; and never more than a screen.
fn telling<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let is_error = |line: &&str| {
        [
            "error:",
            "ERROR:",
            "undefined reference",
            "not found",
            "Killed",
            "No such file",
        ]
        .iter()
        .any(|word| line.contains(word))
    };
    let first = lines.iter().position(|line| is_error(&line)).unwrap_or(0);
    // A compiler says before an error in which function it is.
    let context = lines[..first]
        .iter()
        .rev()
        .take_while(|line| {
            line.ends_with(':')
                || line.starts_with("                 from")
                || line.starts_with("In file included")
        })
        .count();
    lines[first - context..].iter().copied().take(LINES)
}

fn shorten(text: &str, folders: &[&Path]) -> String {
    folders.iter().fold(text.to_owned(), |text, folder| {
        text.replace(&format!("{}/", folder.display()), "")
    })
}
