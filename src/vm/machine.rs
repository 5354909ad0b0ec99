//! What a machine consists of, and the QEMU command line that makes it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::VmError;
use super::accelerator::Accelerator;
use crate::doctor::find_program;

/// Where Debian's package `ovmf` has the UEFI firmware.
const OVMF: &str = "/usr/share/ovmf/OVMF.fd";
/// The name of the port on which a root shell listens inside
/// (`/dev/virtio-ports/NAME`).
pub(super) const SHELL_PORT: &str = "tcforge.shell";

/// What a machine starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// A CD.
    Cd(PathBuf),
    /// A disk with the same bytes, as of a USB stick; what is written to it is
    /// forgotten.
    Disk(PathBuf, Bus),
    /// A disk that keeps what is written to it.
    WritableDisk(Disk),
    /// A kernel, an initrd and a command line, without a boot loader.
    Kernel {
        /// The bzImage.
        kernel: PathBuf,
        /// The initrd.
        initrd: PathBuf,
        /// Boot codes.
        append: String,
    },
}

/// What a disk is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// As on most VPS.
    Virtio,
    /// SCSI, as on other VPS.
    Scsi,
    /// As in a PC.
    Sata,
    /// As in a newer PC.
    Nvme,
    /// A USB stick.
    Usb,
}

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// SeaBIOS, which QEMU has by itself.
    #[default]
    Bios,
    /// Debian's OVMF.
    Uefi,
}

/// A writable disk of raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file; it is written to.
    pub file: PathBuf,
    /// What it is plugged into.
    pub bus: Bus,
}

/// A TCP port of the host's loopback that leads into the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The port on 127.0.0.1.
    pub host: u16,
    /// The port inside.
    pub guest: u16,
}

/// A machine that can be started.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it starts from.
    pub boot: Boot,
    /// What starts that.
    pub firmware: Firmware,
    /// Who runs it; `None`: who `TCFORGE_ACCELERATOR` says, or else KVM where it
    /// works, and emulation in its place where Linux does not show itself.
    pub accelerator: Option<Accelerator>,
    /// MiB of memory.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// More disks, in order.
    pub disks: Vec<Disk>,
    /// Ports of the host that lead inside.
    pub forwards: Vec<Forward>,
    /// Whether the machine reaches the host's network. Forwards work anyway.
    pub network: bool,
}

impl Machine {
    /// A machine as most VPS are, with nothing but what it boots from.
    pub fn new(boot: Boot) -> Self {
        Self {
            boot,
            firmware: Firmware::Bios,
            accelerator: None,
            memory: 1024,
            cpus: 2,
            disks: Vec::new(),
            forwards: Vec::new(),
            network: false,
        }
    }

    /// Who runs it, if that was decided by hand.
    pub fn decided(&self) -> Result<Option<Accelerator>, VmError> {
        match self.accelerator {
            Some(accelerator) => Ok(Some(accelerator)),
            None => Accelerator::by_hand(),
        }
    }

    /// QEMU, and the arguments that make this machine, without the devices that
    /// its console and its shell go through.
    pub(super) fn command(&self, accelerator: Accelerator) -> Result<(PathBuf, Vec<OsString>), VmError> {
        let qemu = qemu()?;
        let mut args = Arguments::default();
        args.add("-nodefaults -no-user-config -no-reboot -display none -vga std");
        args.add("-machine q35 -rtc base=utc -device virtio-rng-pci");
        args.add(accelerator.arguments());
        args.add(&format!("-m {} -smp {}", self.memory, self.cpus));
        self.add_firmware(&mut args)?;
        self.add_boot(&mut args);
        for (number, disk) in self.disks.iter().enumerate() {
            args.drive(&disk.file, &format!("disk{number}"), disk.bus, false, None);
        }
        self.add_network(&mut args);
        Ok((qemu, args.0))
    }

    /// Refuses files that cannot be read, which QEMU would tell of too late.
    pub(super) fn check_files(&self) -> Result<(), VmError> {
        let boot: &[&PathBuf] = match &self.boot {
            Boot::Cd(file) | Boot::Disk(file, _) | Boot::WritableDisk(Disk { file, .. }) => &[file],
            Boot::Kernel { kernel, initrd, .. } => &[kernel, initrd],
        };
        let disks = self.disks.iter().map(|disk| &disk.file);
        for file in boot.iter().copied().chain(disks) {
            File::open(file).map_err(|source| VmError::File {
                action: "read",
                path: file.clone(),
                source,
            })?;
        }
        Ok(())
    }

    fn add_firmware(&self, args: &mut Arguments) -> Result<(), VmError> {
        if self.firmware == Firmware::Bios {
            return Ok(());
        }
        if !Path::new(OVMF).is_file() {
            return Err(VmError::Missing {
                program: OVMF.to_owned(),
                package: "ovmf",
            });
        }
        args.pair("-bios", OVMF);
        Ok(())
    }

    fn add_boot(&self, args: &mut Arguments) {
        match &self.boot {
            Boot::Cd(file) => {
                args.drive_option(file, "boot", "media=cdrom,readonly=on");
                args.add("-device ide-cd,drive=boot,bootindex=0");
            }
            // What is changed on it is forgotten: the image stays as it is.
            Boot::Disk(file, bus) => args.drive(file, "boot", *bus, true, Some(0)),
            Boot::WritableDisk(Disk { file, bus }) => args.drive(file, "boot", *bus, false, Some(0)),
            Boot::Kernel {
                kernel,
                initrd,
                append,
            } => {
                args.pair("-kernel", kernel);
                args.pair("-initrd", initrd);
                args.pair("-append", append);
            }
        }
    }

    fn add_network(&self, args: &mut Arguments) {
        let mut option = format!(
            "user,id=net,ipv6=off,restrict={}",
            if self.network { "off" } else { "on" }
        );
        for Forward { host, guest } in &self.forwards {
            option.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        args.pair("-netdev", option);
        args.add("-device virtio-net-pci,netdev=net,romfile=");
    }
}

/// Where QEMU is.
pub(super) fn qemu() -> Result<PathBuf, VmError> {
    let program = "qemu-system-x86_64";
    find_program(program).ok_or_else(|| VmError::Missing {
        program: program.to_owned(),
        package: "qemu-system-x86",
    })
}

/// A command line under way.
#[derive(Default)]
pub(super) struct Arguments(pub(super) Vec<OsString>);

impl Arguments {
    /// Adds words that are known to have no blanks in them.
    pub(super) fn add(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    pub(super) fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().to_owned());
    }

    fn drive_option(&mut self, file: &Path, id: &str, more: &str) {
        let mut option = OsString::from(format!("if=none,id={id},format=raw,{more},file="));
        option.push(escaped(file));
        self.pair("-drive", option);
    }

    fn drive(&mut self, file: &Path, id: &str, bus: Bus, forget: bool, boot_index: Option<u8>) {
        self.drive_option(file, id, if forget { "snapshot=on" } else { "cache=writeback" });
        let device = match bus {
            Bus::Virtio => "virtio-blk-pci".to_owned(),
            Bus::Sata => "ide-hd".to_owned(),
            Bus::Nvme => format!("nvme,serial={id}"),
            Bus::Scsi => {
                self.add(&format!("-device virtio-scsi-pci,id=scsi-{id}"));
                format!("scsi-hd,bus=scsi-{id}.0")
            }
            Bus::Usb => {
                self.add(&format!("-device qemu-xhci,id=xhci-{id}"));
                format!("usb-storage,bus=xhci-{id}.0")
            }
        };
        let boot_index = boot_index.map_or(String::new(), |index| format!(",bootindex={index}"));
        self.add(&format!("-device {device},drive={id}{boot_index}"));
    }
}

/// A file's name within an option: commas are doubled.
pub(super) fn escaped(file: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = file.as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|byte| match byte {
        b',' => [*byte].repeat(2),
        _ => vec![*byte],
    });
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let accelerator = machine.accelerator.unwrap_or(Accelerator::Tcg);
        let (_, args) = machine.command(accelerator).unwrap();
        args.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn each_part_has_its_arguments() {
        let disk = |bus| Disk {
            file: "/d,1".into(),
            bus,
        };
        let plain = Machine::new(Boot::Cd("/x.iso".into()));
        let with = |change: fn(&mut Machine)| {
            let mut machine = plain.clone();
            change(&mut machine);
            machine
        };
        let mut on_a_stick = plain.clone();
        on_a_stick.boot = Boot::Disk("/x.iso".into(), Bus::Usb);
        let mut that_is_kept = plain.clone();
        that_is_kept.boot = Boot::WritableDisk(disk(Bus::Nvme));
        let mut with_disk = plain.clone();
        with_disk.disks = vec![disk(Bus::Virtio), disk(Bus::Sata), disk(Bus::Scsi)];
        for (machine, parts) in [
            (
                &plain,
                &[
                    "-m 1024 -smp 2",
                    "if=none,id=boot,format=raw,media=cdrom,readonly=on,file=/x.iso -device ide-cd,drive=boot",
                    "restrict=on",
                ][..],
            ),
            (
                &with(|m| m.firmware = Firmware::Uefi),
                &["-bios /usr/share/ovmf/OVMF.fd"],
            ),
            (
                &with(|m| {
                    m.forwards = vec![Forward {
                        host: 5000,
                        guest: 50,
                    }]
                }),
                &["hostfwd=tcp:127.0.0.1:5000-:50"],
            ),
            (&with(|m| m.network = true), &["restrict=off"]),
            (
                &with(|m| m.accelerator = Some(Accelerator::Kvm)),
                &["-accel kvm -cpu host"],
            ),
            (
                &on_a_stick,
                &[
                    "snapshot=on,file=/x.iso",
                    "usb-storage,bus=xhci-boot.0,drive=boot,bootindex=0",
                ],
            ),
            (
                &that_is_kept,
                &[
                    "cache=writeback,file=/d,,1",
                    "nvme,serial=boot,drive=boot,bootindex=0",
                ],
            ),
            (
                &with_disk,
                &[
                    "cache=writeback,file=/d,,1 -device virtio-blk-pci,drive=disk0",
                    "ide-hd,drive=disk1",
                    "virtio-scsi-pci,id=scsi-disk2 -device scsi-hd,bus=scsi-disk2.0,drive=disk2",
                ],
            ),
        ] {
            let line = line(machine);
            for part in parts {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }
}
