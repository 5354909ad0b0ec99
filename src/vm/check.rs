//! Whether an appliance comes up: its services answer, and a container runs.

use std::time::Duration;

use super::timeline::Timeline;
use super::{Guest, VmError};

/// What the box's scripts print when all is up, or will not be (iso/boot).
const READY: &str = "tcforge: ready";
const NOT_READY: &str = "tcforge: not ready";

/// Runs a container of what the box itself has: its busybox, and the libraries
/// that one may need. It prints its host name and its own process number.
const CONTAINER: &str = r#"
root=$(mktemp -d)/root
mkdir -p "$root/bin" "$root/lib" "$root/proc"
cp -L /bin/busybox "$root/bin/"
for library in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libcrypt.so.1 libresolv.so.2 libdl.so.2; do
    [ ! -e "/lib/$library" ] || cp -L "/lib/$library" "$root/lib/"
done
ctr run --rm --rootfs "$root" tcforge-check /bin/busybox sh -c 'echo "process $$"'
status=$?
rm -rf "${root%/root}"
exit $status
"#;

/// Why an appliance is not as it should be.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum CheckError {
    /// The machine itself.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Vm(#[from] VmError),
    /// The box says what did not come up.
    #[error("{0}\n{end}", end = .1)]
    #[diagnostic(help("/var/log in the box has the logs: `tcforge run ISO`, and log in on the console"))]
    NotReady(String, String),
    /// A container did not do what it was to do.
    #[error("a container was to be process 1, and printed `{0}`")]
    #[diagnostic(help("containerd's log in the box is /var/log/containerd.log"))]
    Container(String),
}

/// What was found out of a box that is as it should be.
#[derive(Debug)]
pub struct Checked {
    /// When what happened.
    pub timeline: Timeline,
    /// Whether a container has run: not without a containerd.
    pub container: bool,
}

/// Waits until the box says that everything is up, and runs a container if there
/// is a containerd.
pub fn check(
    guest: &mut Guest,
    title: &str,
    accelerator: &str,
    time_out: Duration,
) -> Result<Checked, CheckError> {
    // A prompt may stand in front.
    let is_end = |line: &str| line.contains(READY) || line.contains(NOT_READY);
    let line = guest.wait_for_line("the end of the box's start", 0, is_end, time_out)?;
    if line.text.contains(NOT_READY) {
        return Err(CheckError::NotReady(line.text, guest.console().end()));
    }
    let timeline = Timeline::of_guest(guest, title, accelerator)?;
    let containerd = guest.run("[ -x /usr/local/etc/init.d/containerd ]", time_out)?;
    let container = containerd.status == 0;
    if container {
        let printed = guest.expect(CONTAINER, time_out)?;
        if printed.trim() != "process 1" {
            return Err(CheckError::Container(printed));
        }
    }
    Ok(Checked { timeline, container })
}
