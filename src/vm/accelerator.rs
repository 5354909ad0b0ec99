//! Whether machines run on the processor or are emulated.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::VmError;
use super::machine::{escaped, qemu};
use crate::digest::Sha256;
use crate::plain;
use crate::scratch::Scratch;
use crate::state;

/// The environment variable that decides by hand: `kvm` or `tcg`.
pub const ACCELERATOR: &str = "TCFORGE_ACCELERATOR";
/// The file of [`hangs_file`].
const HANGS: &str = "kvm-hangs";

/// Who runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, ten to twenty times as slowly.
    Tcg,
}

impl Accelerator {
    /// KVM where it works. That there is a /dev/kvm does not say so: a virtual
    /// machine may have one that fails, which a machine of one instruction tells,
    /// or one that runs that machine and hangs Linux, which the processor's flags
    /// tell, or what was remembered of an earlier machine.
    pub fn of_this_machine() -> Self {
        static RUNS: OnceLock<bool> = OnceLock::new();
        let runs = || {
            *RUNS.get_or_init(|| {
                let there = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
                there && virtualizes() && runs("-accel kvm -cpu host").unwrap_or(false)
            })
        };
        match !hang_is_remembered() && runs() {
            true => Self::Kvm,
            false => Self::Tcg,
        }
    }

    /// What [`ACCELERATOR`] says; `None` if it is not set, or empty.
    pub(super) fn by_hand() -> Result<Option<Self>, VmError> {
        let said = std::env::var_os(ACCELERATOR).unwrap_or_default();
        match said.to_string_lossy().as_ref() {
            "" => Ok(None),
            "kvm" => Ok(Some(Self::Kvm)),
            "tcg" => Ok(Some(Self::Tcg)),
            other => Err(VmError::Accelerator(other.to_owned())),
        }
    }

    /// QEMU's arguments.
    pub(super) fn arguments(self) -> &'static str {
        match self {
            Self::Kvm => "-accel kvm -cpu host",
            // Without erms: emulation does `rep stosb` byte by byte, `rep stosq` by eights.
            Self::Tcg => "-accel tcg,thread=multi -cpu max,erms=off,fsrm=off",
        }
    }

    /// As people are told.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (emulation: ten to twenty times as slow as KVM)",
        }
    }
}

/// Where it is remembered on which hosts KVM hangs: a line each.
pub(super) fn hangs_file() -> Option<PathBuf> {
    Some(state::path()?.join(HANGS))
}

/// Remembers that Linux hangs here with KVM, and did not by emulation.
pub(super) fn remember_hang() -> io::Result<()> {
    if hang_is_remembered() {
        return Ok(());
    }
    let mut file = plain::append_own(&state::folder()?.join(HANGS))?;
    file.write_all(format!("{}\n", this_host()).as_bytes())
}

fn hang_is_remembered() -> bool {
    let text = hangs_file().and_then(|file| fs::read_to_string(file).ok());
    text.is_some_and(|text| text.lines().any(|line| line == this_host()))
}

/// What tells this host from others that the same home is mounted on, and from
/// itself with another kernel or processor, whose KVM may work.
fn this_host() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let parts = [
        read("/etc/machine-id"),
        read("/proc/sys/kernel/osrelease"),
        field(&read("/proc/cpuinfo"), "flags").to_owned(),
    ];
    Sha256::of(parts.join("\n").as_bytes()).to_string()
}

/// Whether this machine's processor says that it can run machines.
fn virtualizes() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| has_virtualization(&text))
}

/// Whether /proc/cpuinfo's flags have Intel's or AMD's virtualization. A host
/// that has neither may still have a KVM of its own making (pvm); with such a
/// one Linux was seen never to get past its decompressor.
fn has_virtualization(cpuinfo: &str) -> bool {
    let mut flags = field(cpuinfo, "flags").split_whitespace();
    flags.any(|flag| matches!(flag, "vmx" | "svm"))
}

/// What /proc/cpuinfo says of its first processor.
fn field<'a>(cpuinfo: &'a str, name: &str) -> &'a str {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(found, _)| found.trim() == name)
        .map_or("", |(_, value)| value.trim())
}

/// A boot sector that ends the machine: `mov al, 16; out 0xf4, al`.
const END: [u8; 4] = [0xb0, 16, 0xe6, 0xf4];
/// What QEMU ends with then: twice the number, and one.
const ENDED: i32 = 33;
/// Longer than any machine takes from its start to its boot sector.
const TIME_OUT: Duration = Duration::from_secs(30);
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Whether a machine with these arguments gets as far as its boot sector.
fn runs(arguments: &str) -> io::Result<bool> {
    let Ok(qemu) = qemu() else { return Ok(false) };
    let folder = Scratch::in_dir(&std::env::temp_dir())?;
    let disk = folder.path().join("disk");
    let mut sector = [0; 512];
    sector[..END.len()].copy_from_slice(&END);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&disk, sector)?;
    let mut drive = std::ffi::OsString::from("format=raw,if=ide,file=");
    drive.push(escaped(&disk));
    let mut child = Command::new(qemu)
        .args(arguments.split(' '))
        .args("-nodefaults -no-user-config -display none -m 16".split(' '))
        .args("-device isa-debug-exit,iobase=0xf4,iosize=1".split(' '))
        .arg("-drive")
        .arg(drive)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + TIME_OUT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code() == Some(ENDED));
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_s_flags_tell_of_virtualization() {
        for (cpuinfo, has) in [
            ("processor\t: 0\nflags\t\t: fpu vme svm sse\n", true),
            ("flags\t\t: vmx\n", true),
            // The flags of a virtual machine, and other lines that name one.
            ("flags\t\t: fpu svm_lock hypervisor\nvmx flags\t: vnmi\n", false),
            ("", false),
        ] {
            assert_eq!(has_virtualization(cpuinfo), has, "{cpuinfo}");
        }
    }

    #[test]
    fn what_runs_is_told_from_what_does_not() {
        assert!(runs(Accelerator::Tcg.arguments()).unwrap());
        assert!(!runs("-accel no-such-thing").unwrap());
    }
}
