//! Names that nothing has.

use super::fault::key_hint;
use super::source::nearest;

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("there is no {what} `{name}`")]
#[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
pub struct UnknownName {
    /// What would have it: `recipe`, `channel`, …
    pub what: &'static str,
    /// The name.
    pub name: String,
    /// The one that it was probably meant to be.
    pub nearest: Option<String>,
    /// All there are.
    pub known: Vec<String>,
}

impl UnknownName {
    /// A name that is not among the known ones.
    pub(crate) fn new(what: &'static str, name: &str, known: Vec<String>) -> Self {
        Self {
            what,
            name: name.to_owned(),
            // An extension's name is a near one, too.
            nearest: nearest(name.trim_end_matches(".tcz"), &known),
            known,
        }
    }
}
