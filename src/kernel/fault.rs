//! What can be wrong in a kernel configuration, and where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::kconfig::Kind;
use super::value::VALUES;

/// One kind of mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ConfigFault {
    /// Neither an option, nor a comment, nor empty.
    #[error("this is no configuration line")]
    #[diagnostic(help("write `CONFIG_NAME=value` or `# CONFIG_NAME is not set`; a comment begins with `#`"))]
    NotALine,
    /// Something behind the `=` that no option can have.
    #[error("`CONFIG_{name}` cannot be `{value}`")]
    #[diagnostic(help("{}", VALUES))]
    NoValue {
        /// The option, without `CONFIG_`.
        name: String,
        /// What is there.
        value: String,
    },
    /// A value that this option cannot have, says Kconfig.
    #[error("`CONFIG_{name}` is {kind}, and cannot be `{value}`")]
    #[diagnostic(help("{}", .kind.values()))]
    WrongType {
        /// The option, without `CONFIG_`.
        name: String,
        /// Its type.
        kind: Kind,
        /// What is there.
        value: String,
    },
    /// One option on two lines.
    #[error("`CONFIG_{name}` is set twice, first in line {first}")]
    #[diagnostic(help("remove one of the two; the kernel would take the second"))]
    Twice {
        /// The option, without `CONFIG_`.
        name: String,
        /// The line of the first one.
        first: usize,
    },
    /// An option that the source tree does not have.
    #[error("this kernel has no `CONFIG_{name}`")]
    #[diagnostic(help("{}", unknown_hint(.nearest.as_deref())))]
    Unknown {
        /// The option, without `CONFIG_`.
        name: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
    },
    /// Line ends of another system.
    #[error("the line ends with CR LF")]
    #[diagnostic(help("the kernel's tools want LF alone: `sed -i 's/\\r$//' FILE` mends the whole file"))]
    CrLf,
    /// A byte that is not part of a text.
    #[error("there is a control character in the line")]
    #[diagnostic(help("is this the right file? a configuration is plain text"))]
    Control,
}

fn unknown_hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `CONFIG_{nearest}`?"),
        None => "no option of this kernel is called alike: remove the line".to_owned(),
    }
}

impl ConfigFault {
    /// What is said of the place that it is at.
    fn label(&self) -> &'static str {
        match self {
            Self::NotALine => "not an option, not a comment",
            Self::NoValue { .. } => "not a value",
            Self::WrongType { .. } => "not of its type",
            Self::Twice { .. } => "the second one",
            Self::Unknown { .. } => "unknown option",
            Self::CrLf => "CR LF",
            Self::Control => "here",
        }
    }
}

/// A configuration with mistakes in it, all that were found (CR LF is told once,
/// and there are at most 100).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    /// What the file is called.
    pub file: String,
    /// The mistakes, from the top of the file to its end; at least one.
    pub mistakes: Vec<Mistake>,
    source: NamedSource<Arc<str>>,
}

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub fault: ConfigFault,
    /// The line, counted from 1.
    pub line: usize,
    /// The bytes of the file that are meant.
    pub span: Range<usize>,
}

/// A file may be wrong from top to end: nobody reads more of that.
const MOST: usize = 100;

impl InvalidConfig {
    pub(super) fn new(file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.start);
        mistakes.truncate(MOST);
        Self {
            file: file.to_owned(),
            mistakes,
            source: NamedSource::new(file, text.into()),
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [only] => write!(f, "{}:{}: {}", self.file, only.line, only.fault),
            all => write!(f, "`{}` has {} mistakes", self.file, all.len()),
        }
    }
}

impl std::error::Error for InvalidConfig {}

/// One mistake is shown as the error itself, several as a list below it.
impl Diagnostic for InvalidConfig {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self.mistakes.as_slice() {
            [only] => only.labels(),
            _ => None,
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.mistakes.as_slice() {
            [only] => only.help(),
            _ => None,
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self.mistakes.as_slice() {
            [_] => None,
            all => Some(Box::new(all.iter().map(|mistake| mistake as &dyn Diagnostic))),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.fault.label().to_owned()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.help()
    }
}
