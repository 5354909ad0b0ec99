//! Whether an appliance comes up: its services answer, and a container runs.

use std::time::{Duration, Instant};

use super::console::NoLine;
use super::evidence::{ANSWER, is_file_name};
use super::timeline::Timeline;
use super::{Guest, VmError};

/// What the box's scripts print when all is up, or will not be (iso/boot).
const READY: &str = "tcforge: ready";
const NOT_READY: &str = "tcforge: not ready";
/// What they print of a service that has come up, or will not.
const SERVICE: &str = "tcforge: service ";
const NOT_SET_UP: &str = "tcforge: the service ";

/// How often is told what is waited for.
const TICK: Duration = Duration::from_secs(1);

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
    #[error("the box is not ready: {failed}\n{logs}")]
    #[diagnostic(help("with `--report DIR` all logs of the box are there to read"))]
    NotReady {
        /// What failed, as the box says it.
        failed: String,
        /// The last lines of each failed service, or of the console.
        logs: String,
    },
    /// The box did not get that far in time.
    #[error("gave up after {} s waiting for {waiting_for}\n{logs}", after.as_secs())]
    #[diagnostic(help(
        "`--timeout SECONDS` waits longer (emulation is ten to twenty times as slow as KVM); with `--report DIR` \
         all logs of the box are there to read"
    ))]
    TimeOut {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        after: Duration,
        /// The last lines of the service that was waited for, and of the console.
        logs: String,
    },
    /// A container did not do what it was to do.
    #[error("a container was to be process 1, and printed `{printed}`\n{logs}")]
    #[diagnostic(help("with `--report DIR` all logs of the box are there to read"))]
    Container {
        /// What it printed.
        printed: String,
        /// The last lines of containerd.
        logs: String,
    },
}

/// What a box is held to.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What is booted, in words.
    pub title: &'a str,
    /// Its services, in the order in which they start.
    pub services: &'a [String],
    /// How long it may take.
    pub time_out: Duration,
}

/// Where a box stands that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Seconds since the machine was started.
    pub at: f64,
    /// What is waited for.
    pub waiting_for: String,
    /// What the console said last.
    pub last_line: String,
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
/// is a containerd. `tell` is told every second where it stands.
pub fn check(
    guest: &mut Guest,
    expected: &Expected<'_>,
    tell: &mut dyn FnMut(Standing),
) -> Result<Checked, CheckError> {
    let verdict = wait_for_verdict(guest, expected, tell)?;
    if let Some((_, failed)) = verdict.split_once(NOT_READY) {
        let services = expected.services.iter().filter(|name| is_among(name, failed));
        return Err(CheckError::NotReady {
            failed: failed.trim_start_matches(':').trim().to_owned(),
            logs: logs_or_console(guest, services),
        });
    }
    let timeline = Timeline::of_guest(guest, expected.title)?;
    let containerd = guest.run("[ -x /usr/local/etc/init.d/containerd ]", ANSWER)?;
    let container = containerd.status == 0;
    if container {
        tell(Standing::new(guest, "a container to run".to_owned()));
        run_container(guest, expected)?;
    }
    Ok(Checked { timeline, container })
}

fn run_container(guest: &mut Guest, expected: &Expected<'_>) -> Result<(), CheckError> {
    let containerd = ["containerd".to_owned()];
    let printed = match guest.run(CONTAINER, expected.time_out) {
        Ok(output) => output.text,
        Err(VmError::TimeOut { after, .. }) => {
            return Err(CheckError::TimeOut {
                waiting_for: "a container to run".to_owned(),
                after,
                logs: logs_or_console(guest, containerd.iter()),
            });
        }
        Err(error) => return Err(error.into()),
    };
    if printed.trim() == "process 1" {
        return Ok(());
    }
    Err(CheckError::Container {
        printed,
        logs: logs_or_console(guest, containerd.iter()),
    })
}

/// The line in which the box says how its start came out.
fn wait_for_verdict(
    guest: &mut Guest,
    expected: &Expected<'_>,
    tell: &mut dyn FnMut(Standing),
) -> Result<String, CheckError> {
    // A prompt may stand in front.
    let is_verdict = |line: &str| line.contains(READY) || line.contains(NOT_READY);
    let deadline = Instant::now() + expected.time_out;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let standing = match guest.console().wait(0, is_verdict, left.min(TICK)) {
            Ok(line) => return Ok(line.text),
            Err(NoLine::TimeOut) => Standing::of(guest, expected.services),
            Err(NoLine::Closed) => {
                let waiting_for = Standing::of(guest, expected.services).waiting_for;
                return Err(guest.ended(&waiting_for).into());
            }
        };
        if left.is_zero() {
            return Err(time_out(guest, expected, standing));
        }
        tell(standing);
    }
}

fn time_out(guest: &mut Guest, expected: &Expected<'_>, standing: Standing) -> CheckError {
    let lines = console_lines(guest);
    let next = next_service(&lines, expected.services);
    CheckError::TimeOut {
        waiting_for: standing.waiting_for,
        after: expected.time_out,
        logs: format!("{}{}", logs(guest, next.into_iter()), guest.console().end()),
    }
}

impl Standing {
    fn new(guest: &Guest, waiting_for: String) -> Self {
        let console = guest.console();
        Self {
            at: console.now(),
            waiting_for,
            last_line: console.last_line(),
        }
    }

    fn of(guest: &Guest, services: &[String]) -> Self {
        Self::new(guest, waiting_for(&console_lines(guest), services))
    }
}

fn console_lines(guest: &Guest) -> Vec<String> {
    guest
        .console()
        .lines()
        .into_iter()
        .map(|line| line.text)
        .collect()
}

fn waiting_for(lines: &[String], services: &[String]) -> String {
    match next_service(lines, services) {
        Some(name) => format!("the service `{name}`"),
        None => format!("`{READY}` on the console"),
    }
}

/// The first service of which the box has not yet said how its start came out.
fn next_service<'a>(lines: &[String], services: &'a [String]) -> Option<&'a String> {
    let told = |name: &String| {
        [SERVICE, NOT_SET_UP]
            .iter()
            .any(|mark| lines.iter().any(|line| line.contains(&format!("{mark}{name} "))))
    };
    services.iter().find(|name| !told(name))
}

/// Whether a name is in a list like `containerd, faasd`.
fn is_among(name: &str, list: &str) -> bool {
    list.split([',', ':']).any(|one| one.trim() == name)
}

/// The last lines of services, or of the console if there are none.
fn logs_or_console<'a>(guest: &mut Guest, services: impl Iterator<Item = &'a String>) -> String {
    let logs = logs(guest, services);
    match logs.is_empty() {
        true => guest.console().end(),
        false => logs,
    }
}

/// The last lines of services: what their scripts said, and their daemons. A box that
/// cannot be asked has none.
fn logs<'a>(guest: &mut Guest, services: impl Iterator<Item = &'a String>) -> String {
    let mut logs = String::new();
    for name in services.filter(|name| is_file_name(name)) {
        let script = format!(
            "grep '^{name}: ' /var/log/tcforge.log | tail -n 5; [ ! -s /var/log/{name}.log ] || {{\n\
             echo '--- the end of /var/log/{name}.log:'; tail -n 15 /var/log/{name}.log\n}}"
        );
        // What cannot be asked now will not answer the next question.
        let Ok(output) = guest.run(&script, ANSWER) else {
            break;
        };
        logs.push_str(&format!("--- the service {name}:\n{}", output.text));
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told() {
        let services = ["containerd", "faasd-provider", "faasd"].map(str::to_owned);
        for (lines, waiting_for) in [
            (&[][..], "the service `containerd`"),
            (
                &["box login: tcforge: service containerd answers"],
                "the service `faasd-provider`",
            ),
            (
                &[
                    "tcforge: service containerd answers",
                    "tcforge: service faasd-provider failed: see x",
                ],
                "the service `faasd`",
            ),
            (
                &[
                    "tcforge: service containerd answers",
                    "tcforge: service faasd-provider failed: see x",
                    "tcforge: the service faasd could not be set up: see x",
                ],
                "`tcforge: ready` on the console",
            ),
        ] {
            let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(super::waiting_for(&lines, &services), waiting_for);
        }
    }

    #[test]
    fn failed_services_are_found_in_what_the_box_says() {
        let failed = ": faasd, the extension runc.tcz was not loaded";
        for (name, is) in [("faasd", true), ("faasd-provider", false), ("runc.tcz", false)] {
            assert_eq!(is_among(name, failed), is, "{name}");
        }
    }
}
