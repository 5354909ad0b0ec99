//! The ISO: one file that boots by BIOS and by UEFI, from a CD and written raw
//! to a disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::appliance::Appliance;
use super::base::BootBase;
use super::closure::Extension;
use super::description::{self, Description};
use super::initrd::{InitrdError, Part, Tree};
use super::loader::{self, Loader};
use super::menu::{Disk, Menu, MenuError};
use super::tools::{self, ToolError, Tools};
use crate::digest::{Sha256, Sha256Writer};
use crate::progress::Progress;
use crate::project::Project;
use crate::scratch::{self, Scratch};

/// The volume's name, which `waitusb` waits for.
pub const VOLUME: &str = "TCFORGE";

const KERNEL: &str = "boot/vmlinuz64";
/// Root filesystem and modules, as Tiny Core's own disks call them.
const ROOT: &str = "boot/corepure64.gz";
/// What makes them an appliance.
const OVERLAY: &str = "boot/tcforge.gz";
/// What BIOS and UEFI start.
const BIOS_IMAGE: &str = "boot/grub/bios.img";
const EFI_IMAGE: &str = "boot/grub/efi.img";

/// FAT knows no time before 1980.
pub(super) const FAT_BEGINS: u32 = 315_532_800;

/// Everything that an ISO is made of.
pub struct Parts<'a> {
    /// Menu templates.
    pub project: &'a Project,
    /// What it is to be.
    pub appliance: &'a Appliance,
    /// Kernel and root filesystem.
    pub base: &'a BootBase,
    /// What goes over the root filesystem.
    pub overlay: &'a Tree,
    /// The extensions on the disk, in the order in which they are loaded.
    pub extensions: &'a [Extension],
    /// What the disk says of itself.
    pub description: &'a Description,
    /// SOURCE_DATE_EPOCH, seconds since 1970: the time stamp of everything.
    pub time: u32,
    /// Where what takes long to make is kept.
    pub cache: Option<&'a Path>,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// An ISO that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iso {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Its sum.
    pub sha256: Sha256,
    /// Bytes of kernel, initrds and extensions together.
    pub content_size: u64,
}

/// Why there is no ISO.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum IsoError {
    /// An initrd could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Initrd(#[from] InitrdError),
    /// A menu could not be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Menu(#[from] MenuError),
    /// An outside program is missing or failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tool(#[from] ToolError),
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check the path, and whether the disk that it lies on has room"))]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> IsoError + use<> {
    failed("read", path)
}

pub(super) fn writing(path: &Path) -> impl FnOnce(io::Error) -> IsoError + use<> {
    failed("write", path)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IsoError + use<> {
    let path = path.to_owned();
    move |source| IsoError::Io { action, path, source }
}

impl Parts<'_> {
    /// Makes `NAME.iso` in `out`, which must exist: whole or not at all. The
    /// same parts give the same bytes.
    pub fn write(&self, out: &Path) -> Result<Iso, IsoError> {
        let tools = Tools::new(self.project, self.time)?;
        // Before the long work.
        for name in ["xorriso"].iter().chain(&loader::NEEDED) {
            tools.find(name)?;
        }
        // The outside programs run in a folder of their own.
        let whole = std::path::absolute(out).map_err(writing(out))?;
        let scratch = Scratch::in_dir(&whole).map_err(writing(out))?;
        let mut tree = DiskTree::new(scratch.path().join("tree"));
        tree.add_host(KERNEL, &self.base.kernel.image)?;
        self.write_initrds(&mut tree)?;
        self.add_extensions(&mut tree)?;
        let content_size = tree.size;
        self.add_description(&mut tree)?;
        self.add_boot_loaders(&mut tree, &tools)?;
        let made = scratch.path().join("made.iso");
        self.write_iso(&tree, &tools, &made)?;
        // Not synced to the disk: that takes longer than making it again.
        let mut file = File::open(&made).map_err(reading(&made))?;
        let (sha256, size) = Sha256::of_reader(&mut file).map_err(reading(&made))?;
        let path = out.join(format!("{}.iso", self.appliance.name));
        let _all_or_nothing = scratch::hold_interrupts();
        fs::rename(&made, &path).map_err(writing(&path))?;
        Ok(Iso {
            path,
            size,
            sha256,
            content_size,
        })
    }

    fn write_initrds(&self, tree: &mut DiskTree) -> Result<(), IsoError> {
        let _task = self.progress.start("initrd", None);
        let mut parts: Vec<_> = self.base.root.iter().map(PartRef::of).collect();
        let modules = Tree {
            stage: self.base.kernel.modules.clone(),
            devices: Vec::new(),
        };
        if !modules.stage.is_empty() {
            parts.push(PartRef::Tree(&modules));
        }
        self.add_initrd(tree, ROOT, &parts)?;
        self.add_initrd(tree, OVERLAY, &[PartRef::Tree(self.overlay)])
    }

    fn add_initrd(&self, tree: &mut DiskTree, path: &str, parts: &[PartRef<'_>]) -> Result<(), IsoError> {
        let host = tree.place(path)?;
        let file = File::create_new(&host).map_err(writing(&host))?;
        let mut out = Sha256Writer::new(file);
        for part in parts {
            match part {
                PartRef::Tree(part) => part.write(&mut out, self.time, self.cache)?,
                PartRef::File(part) => {
                    let mut file = File::open(part).map_err(reading(part))?;
                    io::copy(&mut file, &mut out).map_err(writing(&host))?;
                }
            }
        }
        out.flush().map_err(writing(&host))?;
        let (sum, size, _) = out.finish();
        tree.add_summed(path, &host, size, sum);
        Ok(())
    }

    fn add_extensions(&self, tree: &mut DiskTree) -> Result<(), IsoError> {
        let mut names = String::new();
        for extension in self.extensions {
            let path = format!("cde/optional/{}", extension.name);
            tree.add_summed(&path, &extension.image, extension.size, extension.sha256);
            for (suffix, bytes) in &extension.side {
                tree.add_bytes(&format!("{path}.{suffix}"), bytes)?;
            }
            names += &format!("{}\n", extension.name);
        }
        tree.add_bytes("cde/onboot.lst", names.as_bytes())
    }

    fn add_description(&self, tree: &mut DiskTree) -> Result<(), IsoError> {
        let path = Path::new(description::FILE);
        let json = self
            .description
            .to_json()
            .map_err(io::Error::from)
            .map_err(writing(path))?;
        tree.add_bytes(description::FILE, json.as_bytes())
    }

    fn add_boot_loaders(&self, tree: &mut DiskTree, tools: &Tools) -> Result<(), IsoError> {
        // Of a machine's disks only one has this very content.
        let marker = format!("boot/tcforge/{}", &tree.identity().to_string()[..32]);
        let kernel = format!("/{KERNEL}");
        let (root, overlay, marked) = (format!("/{ROOT}"), format!("/{OVERLAY}"), format!("/{marker}"));
        let disk = Disk {
            kernel: &kernel,
            initrds: &[&root, &overlay],
            marker: &marked,
        };
        let menu = Menu::render(self.project, self.appliance, &disk)?;
        tree.add_bytes(&marker, self.base.title.as_bytes())?;
        tree.add_bytes(&format!("{}/grub.cfg", loader::FOLDER), menu.config.as_bytes())?;
        let folder = tree.folder.clone();
        let loader = Loader {
            tools,
            menu: &menu,
            folder: &folder,
            time: self.time,
        };
        for (path, bytes) in loader.efi_modules()? {
            tree.add_bytes(&path, &bytes)?;
        }
        tree.add_host(BIOS_IMAGE, &loader.bios_image()?)?;
        tree.add_host(EFI_IMAGE, &loader.efi_image()?)
    }

    fn write_iso(&self, tree: &DiskTree, tools: &Tools, made: &Path) -> Result<(), IsoError> {
        let _task = self.progress.start("ISO", Some(tree.size));
        let paths = tree.folder.join("paths");
        let weights = tree.folder.join("weights");
        fs::write(&paths, tree.grafts()).map_err(writing(&paths))?;
        fs::write(&weights, tree.weights()).map_err(writing(&weights))?;
        let mut command = tools.command("xorriso", &tree.folder)?;
        command.args(["-as", "mkisofs", "-quiet", "-volid", VOLUME]);
        command.args(["-rational-rock", "-no-pad", "-graft-points"]);
        // Owners, modes and times are the same on every machine.
        command.args([
            "-uid",
            "0",
            "-gid",
            "0",
            "-dir-mode",
            "0555",
            "-file-mode",
            "0444",
        ]);
        // xorriso takes 0 for the present time.
        let time = format!("={}", self.time.max(1));
        command.arg("--set_all_file_dates").arg(time);
        command.arg("--sort-weight-list").arg(&weights);
        command.args(["-eltorito-boot", BIOS_IMAGE]);
        command.args(["-eltorito-catalog", &format!("{}/boot.cat", loader::FOLDER)]);
        command.args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
        command
            .args(["--grub2-boot-info", "--grub2-mbr"])
            .arg(tools.find(loader::MBR)?);
        command.args(["-eltorito-alt-boot", "-e", EFI_IMAGE, "-no-emul-boot"]);
        // As a disk: a GPT with the partition for UEFI, before it an MBR that some
        // BIOSes only start if a partition is active. A whole cylinder would be a MiB.
        command.args(["-efi-boot-part", "--efi-boot-image", "--protective-msdos-label"]);
        command.args(["--mbr-force-bootable", "-partition_cyl_align", "off"]);
        // Through a pipe, which could be summed meanwhile, xorriso takes six times as long.
        command.arg("-output").arg(made).arg("-path-list").arg(&paths);
        tools::run(&mut command)?;
        Ok(())
    }
}

/// A part of a root filesystem.
enum PartRef<'a> {
    File(&'a Path),
    Tree(&'a Tree),
}

impl<'a> PartRef<'a> {
    fn of(part: &'a Part) -> Self {
        match part {
            Part::File(path) => Self::File(path),
            Part::Tree(tree) => Self::Tree(tree),
        }
    }
}

/// What goes on the disk, and the folder where what is made for it lies.
struct DiskTree {
    folder: PathBuf,
    files: Vec<DiskFile>,
    size: u64,
}

/// A file on the disk: its path there, without a slash in front, and here.
struct DiskFile {
    path: String,
    host: PathBuf,
    sha256: Sha256,
}

impl DiskTree {
    fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            files: Vec::new(),
            size: 0,
        }
    }

    fn add_summed(&mut self, path: &str, host: &Path, size: u64, sha256: Sha256) {
        self.size += size;
        self.files.push(DiskFile {
            path: path.to_owned(),
            host: std::path::absolute(host).unwrap_or_else(|_| host.to_owned()),
            sha256,
        });
    }

    fn add_host(&mut self, path: &str, host: &Path) -> Result<(), IsoError> {
        let (sum, size) = File::open(host)
            .and_then(|mut file| Sha256::of_reader(&mut file))
            .map_err(reading(host))?;
        self.add_summed(path, host, size, sum);
        Ok(())
    }

    /// Where a file is made, its folder being there.
    fn place(&self, path: &str) -> Result<PathBuf, IsoError> {
        let host = self.folder.join(path);
        let parent = host.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(writing(parent))?;
        Ok(host)
    }

    fn add_bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), IsoError> {
        let host = self.place(path)?;
        fs::write(&host, bytes).map_err(writing(&host))?;
        self.add_summed(path, &host, bytes.len() as u64, Sha256::of(bytes));
        Ok(())
    }

    /// A sum over all that is there so far.
    fn identity(&self) -> Sha256 {
        let lines = self
            .files
            .iter()
            .map(|file| format!("{} {}\n", file.sha256, file.path));
        Sha256::of(lines.collect::<String>().as_bytes())
    }

    /// xorriso's list of what comes from where: `=` parts the two, `\` protects.
    fn grafts(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let mut list = Vec::new();
        for file in &self.files {
            for (bytes, end) in [
                (file.path.as_bytes(), b'='),
                (file.host.as_os_str().as_bytes(), b'\n'),
            ] {
                for byte in bytes {
                    if b"=\\".contains(byte) {
                        list.push(b'\\');
                    }
                    list.push(*byte);
                }
                list.push(end);
            }
        }
        list
    }

    /// Where the files' contents lie on the disk would otherwise follow their
    /// inode numbers on this machine. Extensions come last: a disk whose end is
    /// missing boots, and knows what is missing.
    fn weights(&self) -> String {
        let (last, first): (Vec<_>, Vec<_>) = self.files.iter().partition(|file| file.path.ends_with(".tcz"));
        let files = first.into_iter().chain(last).rev().enumerate();
        files
            .map(|(weight, file)| format!("{weight} /{}\n", file.path))
            .collect()
    }
}
