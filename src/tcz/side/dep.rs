//! `NAME.tcz.dep`: the extensions that one needs directly, one a line.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// Stands for the kernel's release in the names of extensions that hold
/// kernel modules: tce-load puts `-$(uname -r)` in its place.
const KERNEL: &str = "-KERNEL.tcz";

/// The name of a needed extension as a `.dep` writes it: `coreutils.tcz`,
/// `net-bridging-KERNEL.tcz`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency(String);

/// Why a line of a `.dep` is not the name of an extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepProblem {
    /// Nothing is on it.
    #[error("the line is empty")]
    Empty,
    /// It ends as lines do on Windows.
    #[error("the line ends in a carriage return")]
    CarriageReturn,
    /// Spaces or tabs are on it; tce-load would look for a name with them.
    #[error("`{0}` has blanks around or in it")]
    Blank(String),
    /// The name has no `.tcz`.
    #[error("`{0}` does not end in `.tcz`")]
    Suffix(String),
    /// The name is a path.
    #[error("`{0}` is a path; a `.dep` holds bare names")]
    Path(String),
    /// The name has characters that no extension's name has.
    #[error("`{0}` cannot be the name of an extension")]
    Name(String),
    /// It was named before.
    #[error("`{name}` was named on line {first} already")]
    Duplicate {
        /// What.
        name: String,
        /// Where, counted from 1.
        first: usize,
    },
    /// The last line has no end; a shell's `read` skips it.
    #[error("the last line has no newline at its end")]
    NoNewline,
}

/// What is wrong with one line of a `.dep`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("line {line}: {problem}")]
#[diagnostic(help("write one name a line, as `coreutils.tcz`, with no blanks and a newline at the end"))]
pub struct DepError {
    /// Counted from 1.
    pub line: usize,
    /// What.
    pub problem: DepProblem,
}

/// Extensions that need each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("the dependencies go in a circle: {}", .chain.join(" → "))]
#[diagnostic(help("remove one of them from the `.dep` of the one before it"))]
pub struct CycleError {
    /// The circle; the first name comes again at the end.
    pub chain: Vec<String>,
}

impl Dependency {
    /// Parses one name.
    pub fn parse(name: &str) -> Result<Self, DepProblem> {
        let name_of = || name.to_owned();
        if name.is_empty() {
            Err(DepProblem::Empty)
        } else if name.contains(char::is_whitespace) {
            Err(DepProblem::Blank(name_of()))
        } else if name.contains('/') {
            Err(DepProblem::Path(name_of()))
        } else if !name.ends_with(".tcz") {
            Err(DepProblem::Suffix(name_of()))
        } else if !super::is_name(name) {
            Err(DepProblem::Name(name_of()))
        } else {
            Ok(Self(name_of()))
        }
    }

    /// As the `.dep` writes it, with `.tcz`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is written for whatever kernel runs.
    pub fn is_for_any_kernel(&self) -> bool {
        self.0.ends_with(KERNEL)
    }

    /// The file that tce-load looks for under a kernel, say `5.4.3-tinycore64`.
    pub fn for_kernel(&self, kernel: &str) -> String {
        for_kernel(&self.0, kernel)
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An extension's name with a kernel's release in the place of `KERNEL`, as
/// tce-load does it.
pub fn for_kernel(name: &str, kernel: &str) -> String {
    match name.strip_suffix(KERNEL) {
        Some(stem) => format!("{stem}-{kernel}.tcz"),
        None => name.to_owned(),
    }
}

/// Parses a `.dep` and refuses what is not to the letter.
pub fn parse(text: &str) -> Result<Vec<Dependency>, DepError> {
    let (dependencies, mut errors) = read(text);
    if errors.is_empty() {
        Ok(dependencies)
    } else {
        Err(errors.swap_remove(0))
    }
}

/// Reads a `.dep` as tce-load would, and tells everything that is wrong with
/// it. A name with blanks around it counts; others that are wrong do not.
pub fn read(text: &str) -> (Vec<Dependency>, Vec<DepError>) {
    let mut dependencies = Vec::new();
    let mut seen: BTreeMap<Dependency, usize> = BTreeMap::new();
    let mut errors = Vec::new();
    for (line, text) in (1..).zip(text.split_inclusive('\n')) {
        let mut wrong = |problem| errors.push(DepError { line, problem });
        let (text, ended) = strip_newline(text);
        let without_cr = text.strip_suffix('\r').unwrap_or(text);
        if without_cr.len() != text.len() {
            wrong(DepProblem::CarriageReturn);
        }
        let dependency = Dependency::parse(without_cr).or_else(|problem| {
            let trimmed = Dependency::parse(without_cr.trim());
            wrong(problem);
            trimmed
        });
        if !ended {
            wrong(DepProblem::NoNewline);
        }
        let Ok(dependency) = dependency else { continue };
        match seen.entry(dependency) {
            Entry::Occupied(first) => wrong(DepProblem::Duplicate {
                name: first.key().to_string(),
                first: *first.get(),
            }),
            Entry::Vacant(entry) => {
                dependencies.push(entry.key().clone());
                entry.insert(line);
            }
        }
    }
    (dependencies, errors)
}

/// The text of a `.dep`. An extension that needs nothing has no such file.
pub fn print(dependencies: &[Dependency]) -> String {
    dependencies.iter().fold(String::new(), |mut text, dependency| {
        let _ = writeln!(text, "{dependency}");
        text
    })
}

fn strip_newline(line: &str) -> (&str, bool) {
    match line.strip_suffix('\n') {
        Some(line) => (line, true),
        None => (line, false),
    }
}

/// One step on the way down a tree of dependencies.
pub(super) enum Step {
    /// Down to this extension, at this depth.
    Enter(String, usize),
    /// All that it needs has been told.
    Leave(String),
}

/// Walks the tree of dependencies from `root` down. `enter` is asked before an
/// extension's own dependencies are looked up.
pub(super) fn walk<E: From<CycleError>>(
    root: &str,
    kernel: &str,
    lookup: &dyn Fn(&str) -> Vec<Dependency>,
    visit: &mut dyn FnMut(Step) -> Result<bool, E>,
) -> Result<(), E> {
    let mut stack: Vec<(String, std::vec::IntoIter<Dependency>)> = Vec::new();
    let mut next = Some(for_kernel(root, kernel));
    loop {
        if let Some(name) = next.take() {
            if let Some(start) = stack.iter().position(|(above, _)| *above == name) {
                let above = stack.drain(start..).map(|(above, _)| above);
                let chain = above.chain([name]).collect();
                return Err(CycleError { chain }.into());
            }
            if visit(Step::Enter(name.clone(), stack.len()))? {
                let below = lookup(&name).into_iter();
                stack.push((name, below));
            }
        }
        let Some((_, below)) = stack.last_mut() else {
            return Ok(());
        };
        next = below.next().map(|dependency| dependency.for_kernel(kernel));
        if next.is_none()
            && let Some((name, _)) = stack.pop()
        {
            visit(Step::Leave(name))?;
        }
    }
}

/// Everything that `root` needs, directly or not, what is needed before what
/// needs it, each once, `root` not among them, `KERNEL` replaced. `lookup`
/// gives the direct dependencies of an extension by its file name: none for
/// one that it does not know.
pub fn closure(
    root: &str,
    kernel: &str,
    lookup: &dyn Fn(&str) -> Vec<Dependency>,
) -> Result<Vec<String>, CycleError> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    walk(root, kernel, lookup, &mut |step| -> Result<bool, CycleError> {
        match step {
            Step::Enter(name, _) => Ok(seen.insert(name)),
            Step::Leave(name) => {
                order.push(name);
                Ok(true)
            }
        }
    })?;
    order.pop();
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed() {
        let text = "coreutils.tcz\nnet-bridging-KERNEL.tcz\nlibstdc++.tcz\n";
        let dependencies = parse(text).unwrap();
        assert_eq!(print(&dependencies), text);
        assert_eq!(
            dependencies[1].for_kernel("5.4.3-tinycore64"),
            "net-bridging-5.4.3-tinycore64.tcz"
        );
        assert!(dependencies[1].is_for_any_kernel() && !dependencies[0].is_for_any_kernel());
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn each_deviation_is_named() {
        use DepProblem as P;
        let a = || "a.tcz".to_owned();
        let cases: [(&str, &[(usize, P)]); 10] = [
            ("a\n", &[(1, P::Suffix("a".into()))]),
            ("a.tcz\n\nb.tcz\n", &[(2, P::Empty)]),
            ("a.tcz \n", &[(1, P::Blank("a.tcz ".into()))]),
            ("a.tcz b.tcz\n", &[(1, P::Blank("a.tcz b.tcz".into()))]),
            ("a.tcz\r\n", &[(1, P::CarriageReturn)]),
            ("/tmp/a.tcz\n", &[(1, P::Path("/tmp/a.tcz".into()))]),
            ("../a.tcz\n", &[(1, P::Path("../a.tcz".into()))]),
            (".tcz\n", &[(1, P::Name(".tcz".into()))]),
            ("a.tcz\na.tcz\n", &[(2, P::Duplicate { name: a(), first: 1 })]),
            ("a.tcz", &[(1, P::NoNewline)]),
        ];
        for (text, wanted) in cases {
            let (_, errors) = read(text);
            let got: Vec<_> = errors.into_iter().map(|e| (e.line, e.problem)).collect();
            assert_eq!(got, wanted, "{text:?}");
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_can_be_understood_is_read() {
        let (dependencies, _) = read(" a.tcz\r\nb\nc.tcz");
        let names: Vec<_> = dependencies.iter().map(Dependency::name).collect();
        assert_eq!(names, ["a.tcz", "c.tcz"]);
    }

    fn lookup(name: &str) -> Vec<Dependency> {
        let text = match name {
            "top.tcz" => "left.tcz\nright.tcz\n",
            "left.tcz" | "right.tcz" => "bottom-KERNEL.tcz\n",
            "a.tcz" => "b.tcz\n",
            "b.tcz" => "top.tcz\na.tcz\n",
            "self.tcz" => "self.tcz\n",
            _ => "",
        };
        parse(text).unwrap()
    }

    #[test]
    fn a_closure_has_each_once_and_what_is_needed_first() {
        let closure = closure("top.tcz", "5", &lookup).unwrap();
        assert_eq!(closure, ["bottom-5.tcz", "left.tcz", "right.tcz"]);
    }

    #[test]
    fn a_circle_is_told_as_a_chain() {
        for (root, chain) in [
            ("a.tcz", "a.tcz → b.tcz → a.tcz"),
            ("self.tcz", "self.tcz → self.tcz"),
        ] {
            let error = closure(root, "5", &lookup).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the dependencies go in a circle: {chain}")
            );
        }
    }
}
