//! Kernels: what their configurations have, what containers and Tiny Core need
//! of them, and how one is made into the other.
//!
//! [`Config`] is a configuration as data, [`RequirementList`] a list of what
//! something needs (`kernel/*.toml`), [`check`] holds the one against the other,
//! [`patch`] changes it, and [`configure`] has a source tree's own tools judge
//! the result.

pub mod build;
mod check;
mod config;
mod error;
mod fault;
pub mod kconfig;
mod patch;
mod requirements;
mod source;
mod tree;
mod value;
mod version;

pub use check::{CheckReport, Finding, Status, check};
pub use config::Config;
pub use error::{Dropped, KernelError, version_of};
pub use fault::{ConfigFault, InvalidConfig, Mistake};
pub use patch::{Absent, Cause, Change, Patched, patch};
pub use requirements::{Existence, Requirement, RequirementList, Want, Wanted};
use tree::ARCH;
pub use tree::{Configurator, Tree, Verified, configure};
pub use value::{Tristate, Value};
pub use version::{KernelVersion, ParseVersionError};
