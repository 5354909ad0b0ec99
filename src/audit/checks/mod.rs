//! The checks, by what they look at.

pub(super) mod elf;
pub(super) mod image;
pub(super) mod script;
pub(super) mod side;
pub(super) mod tree;

use std::io;

use super::report::Findings;
use super::rules::Rules;
use super::subject::Subject;
use super::world::World;
use crate::recipe::Glob;

/// What every check has before it.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) subject: &'a Subject,
    pub(super) world: &'a World<'a>,
    pub(super) rules: &'a Rules,
    /// The files that the extension's programs do without, its info file says.
    pub(super) optional: &'a [Glob],
    /// Whether all extensions that a `.dep` may name are at hand.
    pub(super) complete: bool,
}

/// Makes every check of one extension that was read.
pub(super) fn all(context: Context<'_>, findings: &mut Findings) -> io::Result<()> {
    tree::check(context, findings);
    elf::check(context, findings);
    script::check(context, findings);
    side::check(context, findings)
}
