//! Tests that boot machines: on the base `mini` always, and on Tiny Core's root
//! filesystem wherever its files are found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod appliance;
mod boots;
mod containers;
mod damage;
mod data_disk;
mod driver;
mod kernel;
mod rest;
mod run;
mod running;
#[path = "../shared/screen.rs"]
mod screen;
mod services;
#[path = "../shared/tinycore.rs"]
mod tinycore;
