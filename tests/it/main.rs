//! Tests that run the library or the program from outside, one module an area.

mod archive;
mod audit;
mod build;
mod cli;
mod fetch;
mod initd;
mod mirror;
mod pack;
mod recipe;
mod side_files;
mod squashfs;
mod update;
mod world;
