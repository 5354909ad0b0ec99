//! The `tcforge` program: reads the command line, calls the library, and tells
//! people what happened.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
