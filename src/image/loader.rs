//! The boot loaders: GRUB for BIOS, made of its modules, and systemd-boot for UEFI,
//! which is one program.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::iso::{IsoError, reading, writing};
use super::menu::Menu;
use super::tools::{self, Tools};
use crate::kept::Kept;

/// What stands at the beginning of a disk, so that BIOS starts GRUB from it.
const MBR: &str = "/usr/lib/grub/i386-pc/boot_hybrid.img";
/// What GRUB consists of besides, in Debian's package.
const MODULES: &str = "/usr/lib/grub/i386-pc";
/// Of it, what is in every GRUB for a CD.
const CORE: [&str; 3] = ["cdboot.img", "kernel.img", "lzma_decompress.img"];
/// Which module needs which others: `NAME: NAME...`.
const DEPENDENCIES: &str = "moddep.lst";
const MKIMAGE: &str = "grub-mkimage";
/// Changes with what it is told besides.
const METHOD: &str = "1";
/// What UEFI starts.
const SYSTEMD_BOOT: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Where GRUB looks on the disk.
pub(super) const FOLDER: &str = "boot/grub";

/// The programs and files that are needed here.
pub(super) const NEEDED: [&str; 3] = [MKIMAGE, MBR, SYSTEMD_BOOT];

/// Takes the boot loaders from where they are installed.
pub(super) struct Loaders<'a> {
    pub(super) tools: &'a Tools,
    /// A folder to work in.
    pub(super) folder: &'a Path,
    /// Where what takes long to make is kept.
    pub(super) cache: Option<&'a Path>,
}

impl Loaders<'_> {
    /// The MBR that starts what [`Loaders::grub`] gives.
    pub(super) fn mbr(&self) -> Result<Vec<u8>, IsoError> {
        read(self.tools.find(MBR)?)
    }

    /// What UEFI starts.
    pub(super) fn systemd_boot(&self) -> Result<Vec<u8>, IsoError> {
        read(self.tools.find(SYSTEMD_BOOT)?)
    }

    /// What BIOS starts, from a CD or by the MBR.
    pub(super) fn grub(&self, menu: &Menu) -> Result<Vec<u8>, IsoError> {
        let Some(cache) = self.cache else {
            return self.make_grub(menu);
        };
        let texts = [METHOD, &menu.early, &menu.modules.join(" ")];
        let mut inputs: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        inputs.push(read(self.tools.find(MKIMAGE)?)?);
        for file in self.parts(menu)? {
            inputs.push(file.as_os_str().as_encoded_bytes().to_vec());
            inputs.push(read(file)?);
        }
        let inputs: Vec<_> = inputs.iter().map(Vec::as_slice).collect();
        let kept = Kept::new(cache, "grub", "img", &inputs);
        if let Some(bytes) = kept.load().map_err(reading(&kept.path()))? {
            return Ok(bytes);
        }
        let made = self.make_grub(menu)?;
        kept.keep(|file| file.write_all(&made))
            .map_err(writing(&kept.path()))?;
        Ok(made)
    }

    /// The files that GRUB is made of.
    fn parts(&self, menu: &Menu) -> Result<Vec<PathBuf>, IsoError> {
        let folder = Path::new(MODULES);
        let list = folder.join(DEPENDENCIES);
        let list = fs::read_to_string(&list).map_err(reading(&list))?;
        let modules = closure(&menu.modules, &list);
        let core = CORE.map(|name| folder.join(name));
        let modules = modules.into_iter().map(|name| folder.join(format!("{name}.mod")));
        Ok(core.into_iter().chain(modules).collect())
    }

    fn make_grub(&self, menu: &Menu) -> Result<Vec<u8>, IsoError> {
        let (early, image) = (self.folder.join("early.cfg"), self.folder.join("grub.img"));
        fs::write(&early, &menu.early).map_err(writing(&early))?;
        let mut command = self.tools.command(MKIMAGE, self.folder)?;
        command
            .arg("--format=i386-pc-eltorito")
            .arg(format!("--prefix=/{FOLDER}"))
            .args(["--directory", MODULES])
            .arg("--config")
            .arg(&early)
            .arg("--output")
            .arg(&image)
            .args(&menu.modules);
        tools::run(&mut command)?;
        read(image)
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, IsoError> {
    fs::read(&path).map_err(reading(&path))
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
