//! tcforge turns an ordinary Linux host into a source of Tiny Core Linux
//! extensions (`.tcz`), without root.
//!
//! One module a stage, data flowing one way:
//!
//! ```text
//! recipe ─┐
//! lock ───┼─> fetch ─> archive ─> stage ─> tcz ─> audit
//! channel ┘
//! ```
//!
//! [`build`] drives the stages for one recipe. No module here knows a terminal:
//! results are values, errors carry their own hint (as [`miette::Diagnostic`]
//! help texts), long work reports through [`progress::Progress`].

pub mod archive;
pub mod audit;
pub mod base;
pub mod build;
pub mod digest;
pub mod doctor;
pub mod fetch;
mod flock;
pub mod guard;
pub mod image;
pub mod initd;
pub mod kept;
pub mod kernel;
pub mod pins;
mod plain;
mod pool;
pub mod progress;
pub mod project;
pub mod recipe;
pub mod scratch;
mod seal;
pub mod seen;
pub mod stage;
mod state;
pub mod tcz;
pub mod update;
pub mod url;
mod user_folder;
pub mod vm;
