//! The boot loader: GRUB, for BIOS a file that a CD and a disk start with, for
//! UEFI a partition, and modules that lie on the disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::initrd::gzip;
use super::iso::{FAT_BEGINS, IsoError, VOLUME, reading, writing};
use super::menu::{Grub, Menu};
use super::tools::{self, ToolError, Tools};

/// What stands at the beginning of a disk, so that BIOS starts GRUB from it.
pub(super) const MBR: &str = "/usr/lib/grub/i386-pc/boot_hybrid.img";
/// What GRUB consists of, in Debian's packages, for BIOS and for UEFI.
const BIOS_MODULES: &str = "/usr/lib/grub/i386-pc";
const EFI_MODULES: &str = "/usr/lib/grub/x86_64-efi";
/// Which tell that a package is there.
const KERNEL: &str = "/usr/lib/grub/x86_64-efi/kernel.img";
/// Which module needs which others: `NAME: NAME...`.
const DEPENDENCIES: &str = "moddep.lst";

/// Where GRUB looks on the disk.
pub(super) const FOLDER: &str = "boot/grub";

/// The serial number of the partition that UEFI boots from: any, but always the
/// same.
const FAT_SERIAL: &str = "54434647";
/// What a FAT needs besides its files, in bytes: its own sectors, three directories,
/// and two tables with 12 bits for each cluster of 512 bytes.
const FAT_OVERHEAD: u64 = 4096;
const FAT_TABLES: u64 = 2 * 12 / 8;
/// A FAT as small as that: sectors to a cluster, sectors of its top directory.
const FAT_SMALL: [&str; 4] = ["-c", "1", "-r", "1"];
/// Bytes of a block of the ISO, of which the partition has whole ones.
const BLOCK: u64 = 2048;

/// The programs and files that [`Loader`] needs.
pub(super) const NEEDED: [&str; 6] = ["grub-mkimage", "mformat", "mmd", "mcopy", MBR, KERNEL];

/// Makes the parts of a boot loader, in a folder.
pub(super) struct Loader<'a> {
    pub(super) tools: &'a Tools,
    pub(super) menu: &'a Menu,
    pub(super) folder: &'a Path,
    /// Seconds since 1970.
    pub(super) time: u32,
}

impl Loader<'_> {
    /// What BIOS starts, from a CD or by the [`MBR`].
    pub(super) fn bios_image(&self) -> Result<PathBuf, IsoError> {
        let image = self.folder.join("bios.img");
        self.grub("i386-pc-eltorito", BIOS_MODULES, &self.menu.bios, &image)?;
        Ok(image)
    }

    /// The partition that UEFI boots from: a FAT with GRUB in it.
    pub(super) fn efi_image(&self) -> Result<PathBuf, IsoError> {
        let (program, image) = (self.folder.join("grub.efi"), self.folder.join("efi.img"));
        self.grub("x86_64-efi", EFI_MODULES, &self.menu.efi, &program)?;
        let length = fs::metadata(&program).map_err(reading(&program))?.len();
        let tables = length / 512 * FAT_TABLES;
        let size = (length + tables + FAT_OVERHEAD).next_multiple_of(BLOCK);
        File::create(&image)
            .and_then(|file| file.set_len(size))
            .map_err(writing(&image))?;
        let fat = |name: &str| -> Result<_, ToolError> {
            let mut command = self.tools.command(name, self.folder)?;
            let time = self.time.max(FAT_BEGINS).to_string();
            command.env("SOURCE_DATE_EPOCH", time).arg("-i").arg(&image);
            Ok(command)
        };
        let sectors = (size / 512).to_string();
        tools::run(
            fat("mformat")?
                .args(["-T", &sectors, "-h", "16", "-s", "63"])
                .args(FAT_SMALL)
                .args(["-N", FAT_SERIAL, "-v", VOLUME, "::"]),
        )?;
        tools::run(fat("mmd")?.args(["::/EFI", "::/EFI/BOOT"]))?;
        tools::run(fat("mcopy")?.arg(&program).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
        Ok(image)
    }

    /// The modules that GRUB for UEFI loads: where on the disk, and compressed, which
    /// GRUB sees by itself.
    pub(super) fn efi_modules(&self) -> Result<Vec<(String, Vec<u8>)>, IsoError> {
        let folder = Path::new(EFI_MODULES);
        let list = folder.join(DEPENDENCIES);
        let list = fs::read_to_string(&list).map_err(reading(&list))?;
        let Grub { core, modules, .. } = &self.menu.efi;
        let within = closure(core, &list);
        let beside = closure(modules, &list);
        let compressed = beside.difference(&within).map(|name| {
            let file = folder.join(format!("{name}.mod"));
            let bytes = fs::read(&file).and_then(|bytes| compress(&bytes));
            let bytes = bytes.map_err(reading(&file))?;
            Ok((format!("{FOLDER}/x86_64-efi/{name}.mod"), bytes))
        });
        compressed.collect()
    }

    fn grub(&self, format: &str, modules: &str, grub: &Grub, out: &Path) -> Result<(), IsoError> {
        let early = self.folder.join("early.cfg");
        fs::write(&early, &grub.early).map_err(writing(&early))?;
        let mut command = self.tools.command("grub-mkimage", self.folder)?;
        command
            .arg(format!("--format={format}"))
            .arg(format!("--prefix=/{FOLDER}"))
            .args(["--directory", modules])
            .arg("--config")
            .arg(&early)
            .arg("--output")
            .arg(out)
            .args(&grub.core);
        Ok(tools::run(&mut command)?)
    }
}

/// Modules and all that they need, by GRUB's own list.
fn closure<'a>(modules: &'a [String], list: &'a str) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    let mut left: Vec<&str> = modules.iter().map(String::as_str).collect();
    while let Some(name) = left.pop() {
        if all.insert(name) {
            let needs = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
            let needed = list.lines().find_map(needs).unwrap_or_default();
            left.extend(needed.split_ascii_whitespace());
        }
    }
    all
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = gzip::Writer::new(&mut out);
    writer.write_all(bytes)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_bring_what_they_need() {
        let list = "linux: boot relocator\nlin: none\nboot:\nrelocator: mmap\nmmap: boot\n";
        let modules = ["linux".to_owned(), "unknown".to_owned()];
        assert_eq!(
            closure(&modules, list).into_iter().collect::<Vec<_>>(),
            ["boot", "linux", "mmap", "relocator", "unknown"]
        );
    }
}
