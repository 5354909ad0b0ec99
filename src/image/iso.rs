//! The ISO: one file that boots by BIOS and by UEFI, from a CD and written raw
//! to a disk.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::appliance::Appliance;
use super::base::BootBase;
use super::closure::Extension;
use super::description::{self, Description};
use super::disk::{Disk, DiskError, DiskFile, EfiFile};
use super::initrd::{Initrd, InitrdError, Part, Tree};
use super::loader::{self, Loaders};
use super::menu::{self, Menu, MenuError};
use super::tools::{ToolError, Tools};
use crate::digest::Sha256;
use crate::progress::Progress;
use crate::project::Project;
use crate::scratch::{self, Scratch};
use crate::stage::Content;

/// The volume's name, which `waitusb` waits for.
pub const VOLUME: &str = "TCFORGE";

const KERNEL: &str = "boot/vmlinuz64";
/// Root filesystem and modules, as Tiny Core's own disks call them.
const ROOT: &str = "boot/corepure64.gz";
/// What makes them an appliance.
const OVERLAY: &str = "boot/tcforge.gz";
const OPTIONAL: &str = "cde/optional";
/// What BIOS starts.
const GRUB: &str = "boot/grub/bios.img";
/// What UEFI starts, and what that boots, on a partition of its own.
const EFI_PROGRAM: &str = "EFI/BOOT/BOOTX64.EFI";
const EFI_KERNEL: &str = "BOOT/VMLINUZ";
const EFI_ROOT: &str = "BOOT/COREPURE.GZ";
const EFI_OVERLAY: &str = "BOOT/TCFORGE.GZ";

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
    /// The disk could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Disk(#[from] DiskError),
    /// A folder has the image's name.
    #[error("cannot write `{}`: a folder of that name is there", .0.display())]
    #[diagnostic(help("move the folder away, or write to another one"))]
    FolderInTheWay(PathBuf),
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
        // Before the long work.
        refuse_folder(self.appliance, out)?;
        let tools = Tools::new(self.project, self.time)?;
        for name in loader::NEEDED {
            tools.find(name)?;
        }
        // The outside programs run in a folder of their own.
        let whole = std::path::absolute(out).map_err(writing(out))?;
        let scratch = Scratch::in_dir(&whole).map_err(writing(out))?;
        let loaders = Loaders {
            tools: &tools,
            folder: scratch.path(),
            cache: self.cache,
        };
        let mut files = Files::default();
        self.add_kernel(&mut files)?;
        self.add_initrds(&mut files)?;
        self.add_extensions(&mut files);
        let content_size = files.0.iter().map(DiskFile::len).sum();
        self.add_description(&mut files)?;
        let made = scratch.path().join("made.iso");
        let (size, sha256) = self.write_disk(files, &loaders, &made)?;
        let path = path_of(self.appliance, out);
        let _all_or_nothing = scratch::hold_interrupts();
        // Not synced to the disk: that takes longer than making it again.
        fs::rename(&made, &path).map_err(writing(&path))?;
        Ok(Iso {
            path,
            size,
            sha256,
            content_size,
        })
    }

    fn add_kernel(&self, files: &mut Files) -> Result<(), IsoError> {
        let kernel = &self.base.kernel;
        files.add(KERNEL, vec![of_host(&kernel.image)?]);
        let mut begin = [0; 2];
        let mut file = File::open(&kernel.image).map_err(reading(&kernel.image))?;
        file.read_exact(&mut begin).map_err(reading(&kernel.image))?;
        // With CONFIG_EFI_STUB it is a program of UEFI, too.
        if begin != *b"MZ" {
            self.progress.note(&format!(
                "the kernel {} has no CONFIG_EFI_STUB: UEFI cannot start the image, BIOS can",
                kernel.release
            ));
        }
        Ok(())
    }

    fn add_initrds(&self, files: &mut Files) -> Result<(), IsoError> {
        let _task = self.progress.start("initrd", None);
        let finish = |tree: &Tree, made_of| -> Result<_, IsoError> {
            let Initrd { content, sha256 } = tree.finish(self.time, self.cache, made_of)?;
            Ok((content, sha256))
        };
        let parts = self.base.root.iter().map(|part| match part {
            Part::Tree(tree) => finish(tree, None),
            Part::Known(tree, made_of) => finish(tree, Some(*made_of)),
            Part::File(path) => of_host(path),
        });
        let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
        let kernel = &self.base.kernel;
        if !kernel.modules.is_empty() {
            let modules = Tree {
                stage: kernel.modules.clone(),
                devices: Vec::new(),
            };
            parts.push(finish(&modules, kernel.made_of)?);
        }
        files.add(ROOT, parts);
        files.add(OVERLAY, vec![finish(self.overlay, None)?]);
        Ok(())
    }

    /// Extensions come last: a disk whose end is missing boots, and knows what is
    /// missing.
    fn add_extensions(&self, files: &mut Files) {
        let mut names = String::new();
        for extension in self.extensions {
            for (suffix, bytes) in &extension.side {
                files.add_bytes(&format!("{OPTIONAL}/{}.{suffix}", extension.name), bytes.clone());
            }
            names += &format!("{}\n", extension.name);
        }
        files.add_bytes("cde/onboot.lst", names);
        for extension in self.extensions {
            let image = Content::host(&extension.image, extension.size);
            files.add(
                &format!("{OPTIONAL}/{}", extension.name),
                vec![(image, extension.sha256)],
            );
        }
    }

    fn add_description(&self, files: &mut Files) -> Result<(), IsoError> {
        let path = Path::new(description::FILE);
        let json = self
            .description
            .to_json()
            .map_err(io::Error::from)
            .map_err(writing(path))?;
        files.add_bytes(description::FILE, json);
        Ok(())
    }

    /// Adds what boots the files, and writes all of it: its size and sum.
    fn write_disk(
        &self,
        mut files: Files,
        loaders: &Loaders<'_>,
        made: &Path,
    ) -> Result<(u64, Sha256), IsoError> {
        let identity = files.identity();
        // Of a machine's disks only one has this very content.
        let marker = format!("boot/tcforge/{}", &identity.to_string()[..32]);
        let menu = self.menu(&marker)?;
        files.add_bytes(&marker, self.base.title.clone());
        files.add_bytes(GRUB, loaders.grub(&menu)?);
        files.add_bytes(&format!("{}/grub.cfg", loader::FOLDER), menu.grub);
        let mut efi = vec![(EFI_PROGRAM.to_owned(), EfiFile::Own(loaders.systemd_boot()?))];
        let own = |(path, text): (String, String)| (path, EfiFile::Own(text.into_bytes()));
        efi.extend(menu.efi.into_iter().map(own));
        for (path, on_cd) in [(EFI_KERNEL, KERNEL), (EFI_ROOT, ROOT), (EFI_OVERLAY, OVERLAY)] {
            efi.push((path.to_owned(), EfiFile::Shared(on_cd)));
        }
        files.0.sort_by_key(|file| file.path.ends_with(".tcz"));
        let disk = Disk {
            volume: VOLUME,
            time: self.time,
            files: &files.0,
            mbr: &loaders.mbr()?,
            bios: GRUB,
            efi: &efi,
            identity,
        };
        let _task = self.progress.start("ISO", None);
        let mut out = File::create_new(made).map_err(writing(made))?;
        Ok(disk.write(&mut out)?)
    }

    fn menu(&self, marker: &str) -> Result<Menu, IsoError> {
        let slash = |path: &str| format!("/{path}");
        let [kernel, root, overlay] = [KERNEL, ROOT, OVERLAY].map(slash);
        let [efi_kernel, efi_root, efi_overlay] = [EFI_KERNEL, EFI_ROOT, EFI_OVERLAY].map(slash);
        let disk = menu::Disk {
            cd: menu::Paths {
                kernel: &kernel,
                initrds: &[&root, &overlay],
            },
            marker: &slash(marker),
            efi: menu::Paths {
                kernel: &efi_kernel,
                initrds: &[&efi_root, &efi_overlay],
            },
        };
        Ok(Menu::render(self.project, self.appliance, &disk)?)
    }
}

/// Refuses a folder in the place of the image of an appliance: that is known before
/// anything is made.
pub fn refuse_folder(appliance: &Appliance, out: &Path) -> Result<(), IsoError> {
    let path = path_of(appliance, out);
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Err(IsoError::FolderInTheWay(path)),
        _ => Ok(()),
    }
}

fn path_of(appliance: &Appliance, out: &Path) -> PathBuf {
    out.join(format!("{}.iso", appliance.name))
}

/// A file of this machine, and its sum.
fn of_host(path: &Path) -> Result<(Content, Sha256), IsoError> {
    let summed = File::open(path).and_then(|mut file| Sha256::of_reader(&mut file));
    let (sum, size) = summed.map_err(reading(path))?;
    Ok((Content::host(path, size), sum))
}

/// What goes on the disk.
#[derive(Default)]
struct Files(Vec<DiskFile>);

impl Files {
    fn add(&mut self, path: &str, parts: Vec<(Content, Sha256)>) {
        let path = path.to_owned();
        self.0.push(DiskFile { path, parts });
    }

    fn add_bytes(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let sum = Sha256::of(&bytes);
        self.add(path, vec![(Content::bytes(bytes), sum)]);
    }

    /// A sum over all that is there so far.
    fn identity(&self) -> Sha256 {
        let lines = self.0.iter().flat_map(|file| {
            let sums = file.parts.iter().map(|(_, sum)| format!("{sum} {}\n", file.path));
            sums.collect::<Vec<_>>()
        });
        Sha256::of(lines.collect::<String>().as_bytes())
    }
}
