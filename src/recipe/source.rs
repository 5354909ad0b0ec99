//! Data files that people write, and errors that point into their text.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::url::masked;

/// The text of a data file and the name that messages call it by.
#[derive(Debug, Clone, Default)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
}

impl SourceFile {
    /// A file's name and text.
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Parses it as TOML. Syntax errors, unknown keys and wrong types come back
    /// with the place where they are.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        toml::from_str(&self.text).map_err(|error| {
            // A key that the whole file lacks has no place: its first line is shown.
            let first = || 0..self.text.lines().next().unwrap_or_default().len();
            let span = error.span().filter(|span| span.end > 0).unwrap_or_else(first);
            Invalid::new(self, vec![(span, Fault::from_toml(error.message()))])
        })
    }

    /// The line, counted from 1, that a byte is in.
    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A data file with mistakes in it, all that were found. Secrets of URLs in what is shown of
/// it are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What the file is called.
    pub file: String,
    /// The mistakes, from the top of the file to its end; at least one.
    pub problems: Vec<Problem>,
    source: NamedSource<Arc<str>>,
}

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub fault: Fault,
    /// The line, counted from 1.
    pub line: usize,
    /// The bytes of the file that are meant.
    pub span: Range<usize>,
}

impl Invalid {
    /// Brings mistakes into the file's order; the same one twice is one.
    pub(super) fn new(file: &SourceFile, faults: Vec<(Range<usize>, Fault)>) -> Self {
        let mut problems: Vec<_> = faults
            .into_iter()
            .map(|(span, fault)| Problem {
                fault,
                line: file.line(span.start),
                span,
            })
            .collect();
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        problems.dedup();
        Self {
            file: file.name.to_string(),
            problems,
            source: NamedSource::new(&file.name, masked(&file.text).into()),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "{}:{}: {only}", self.file, only.line),
            all => write!(f, "`{}` has {} mistakes", self.file, all.len()),
        }
    }
}

impl std::error::Error for Invalid {}

/// One mistake is shown as the error itself, several as a list below it.
impl Diagnostic for Invalid {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self.problems.as_slice() {
            [only] => only.labels(),
            _ => None,
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.problems.as_slice() {
            [only] => only.help(),
            _ => None,
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self.problems.as_slice() {
            [_] => None,
            all => Some(Box::new(all.iter().map(|problem| problem as &dyn Diagnostic))),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever a person wrote where something else belongs.
        f.write_str(&masked(&self.fault.to_string()))
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = SourceSpan::from(self.span.clone());
        let label = LabeledSpan::new_with_span(Some(self.fault.label().to_owned()), span);
        Some(Box::new(std::iter::once(label)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.help()
    }
}

/// A place in a TOML document: keys and positions from the top.
#[derive(Debug, Clone, Default)]
pub(crate) struct At(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Item(usize),
    /// The key itself instead of its value.
    Name(String),
}

impl At {
    /// The value of a key below here.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// A key below here, and not its value.
    pub(crate) fn name(&self, key: &str) -> Self {
        self.step(Step::Name(key.to_owned()))
    }

    /// An element of the array here.
    pub(crate) fn item(&self, index: usize) -> Self {
        self.step(Step::Item(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut at = self.clone();
        at.0.push(step);
        at
    }
}

/// Finds places in the text of a TOML document.
pub(super) struct Spans<'a> {
    text: &'a str,
    document: Option<toml_edit::Document<&'a str>>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            document: toml_edit::Document::parse(text).ok(),
        }
    }

    /// The bytes of a place, or of the nearest one above that is written out;
    /// of a text's place only `part` where that can be found in it.
    pub(super) fn find(&self, at: &At, part: Option<&str>) -> Range<usize> {
        let span = self.place(at).unwrap_or(0..0);
        match part.and_then(|part| Some((self.text.get(span.clone())?.find(part)?, part.len()))) {
            Some((start, len)) => span.start + start..span.start + start + len,
            None => span,
        }
    }

    fn place(&self, at: &At) -> Option<Range<usize>> {
        let mut item = self.document.as_ref()?.as_item();
        let mut span = None;
        for step in &at.0 {
            let next = match step {
                Step::Key(key) => item.get(key.as_str()),
                Step::Item(index) => item.get(*index),
                Step::Name(key) => {
                    let (key, _) = item.as_table_like()?.get_key_value(key)?;
                    return key.span().or(span);
                }
            };
            let Some(next) = next else { break };
            item = next;
            span = item.span().or(span);
        }
        span
    }
}

/// The known word that an unknown one was probably meant to be.
pub(crate) fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| {
            let candidate = candidate.as_ref();
            (strsim::damerau_levenshtein(word, candidate), candidate)
        })
        .filter(|(distance, _)| *distance <= (word.chars().count() / 3).max(2))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
