//! Tests that run the library or the program from outside, one module an area.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod archive;
mod audit;
mod base;
mod build;
mod cli;
mod code_server;
mod fetch;
mod gpt;
mod hints;
mod initd;
mod iso;
mod kernel;
mod mirror;
mod pack;
mod private;
mod recipe;
mod side_files;
mod squashfs;
#[path = "../shared/tinycore.rs"]
mod tinycore;
mod update;
mod world;
