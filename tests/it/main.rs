//! Tests that run the library or the program from outside, one module an area.

mod archive;
mod audit;
mod fetch;
mod initd;
mod recipe;
mod squashfs;
mod side_files;
mod cli;
mod build;
