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
mod hints;
mod initd;
mod iso;
mod kernel;
mod mirror;
mod pack;
mod recipe;
mod side_files;
mod squashfs;
mod update;
mod world;
