//! Machines: QEMU with an image in it, its console as lines with times, and a
//! root shell inside that needs no network.
//!
//! Every wait is for an event (a line, an answer, the end of the process) and
//! has a time-out, which tells how the console ended. A machine is a process
//! group of its own and ends with the [`Guest`] that stands for it.

mod accelerator;
mod check;
mod console;
mod disk;
mod evidence;
mod machine;
mod process;
mod shell;
pub mod timeline;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use accelerator::{ACCELERATOR, Accelerator};
pub use check::{CheckError, Checked, Expected, Standing, check};
pub use console::{Console, Line};
pub use disk::create_data_disk;
pub use evidence::{Evidence, Log};
pub use machine::{Boot, Bus, Disk, Firmware, Forward, Machine};
pub use process::Guest;
pub use shell::{Output, Shell};

/// Why a machine could not do what it was to do.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum VmError {
    /// QEMU is not installed.
    #[error("`{program}` is missing")]
    #[diagnostic(help("install it: `apt-get install {package}`"))]
    Missing {
        /// The program or file.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The variable that decides who runs machines.
    #[error("{} is `{}`", accelerator::ACCELERATOR, .0)]
    #[diagnostic(help("set it to `kvm` or to `tcg`, or leave it out"))]
    Accelerator(String),
    /// A file that the machine is made of cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("a machine needs its image to be readable and a folder that it can write to"))]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU could not be started, or spoken to.
    #[error("cannot run QEMU")]
    #[diagnostic(help("`tcforge doctor` tells whether it is installed"))]
    Run(#[source] io::Error),
    /// It ended when it should not have.
    #[error("the machine ended ({status}) while {what} was waited for\n{end}")]
    #[diagnostic(help("above is what QEMU and the machine's console said last"))]
    Ended {
        /// What was waited for.
        what: String,
        /// QEMU's exit status.
        status: String,
        /// The end of the console, and what QEMU said.
        end: String,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {} seconds\n{end}", after.as_secs())]
    #[diagnostic(help(
        "above is the end of the machine's console; without KVM a machine takes ten to twenty times as long"
    ))]
    TimeOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The end of the console.
        end: String,
    },
    /// A script inside failed.
    #[error("in the machine, `{script}` ended with status {status}:\n{text}")]
    #[diagnostic(help("the text above is what it printed"))]
    Script {
        /// Its first line.
        script: String,
        /// Its exit status.
        status: i32,
        /// What it printed.
        text: String,
    },
}
