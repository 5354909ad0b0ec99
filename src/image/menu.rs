//! The boot menu: GRUB's, for BIOS and UEFI alike.

use serde::Deserialize;

use super::appliance::Appliance;
use crate::initd::{self, Context, InitdError};
use crate::project::{Project, ProjectError};

/// The kernel takes so much of a command line
/// (`COMMAND_LINE_SIZE` of x86, with the NUL).
const COMMAND_LINE: usize = 2048;

/// Entries and settings of the menu.
const MENU: &str = "iso/menu/menu.toml";

/// The menu of an image.
#[derive(Debug, Clone)]
pub struct Menu {
    /// `grub.cfg`
    pub config: String,
    /// GRUB for BIOS.
    pub bios: Grub,
    /// GRUB for UEFI.
    pub efi: Grub,
}

/// What a GRUB consists of.
#[derive(Debug, Clone)]
pub struct Grub {
    /// The script that it begins with.
    pub early: String,
    /// Modules that are built in.
    pub core: Vec<String>,
    /// Modules that it loads from the disk.
    pub modules: Vec<String>,
}

/// Why there is no menu.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum MenuError {
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// A template is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Template(#[from] InitdError),
    /// The kernel would cut it off.
    #[error("the command line of the entry `{entry}` has {length} characters; the kernel takes {}", COMMAND_LINE - 1)]
    #[diagnostic(help("use fewer boot codes in the appliance file"))]
    TooLong {
        /// The entry.
        entry: String,
        /// Characters.
        length: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    seconds: u32,
    codes: Vec<String>,
    #[serde(rename = "entry")]
    entries: Vec<Entry>,
    grub: GrubSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrubSettings {
    core: Vec<String>,
    modules: Vec<String>,
    bios: Modules,
    efi: Modules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Modules {
    core: Vec<String>,
    modules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    title: String,
    codes: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
}

/// What the menu boots: paths on the disk.
pub struct Disk<'a> {
    /// The kernel.
    pub kernel: &'a str,
    /// The initrds, in order.
    pub initrds: &'a [&'a str],
    /// A file that only this disk has.
    pub marker: &'a str,
}

impl Menu {
    /// Renders the menus of an appliance.
    pub fn render(project: &Project, appliance: &Appliance, disk: &Disk<'_>) -> Result<Self, MenuError> {
        let settings: Settings = project.read_toml(MENU)?;
        let mut entries = Vec::new();
        for entry in &settings.entries {
            let codes = command_line(&settings, entry, appliance);
            if codes.len() >= COMMAND_LINE {
                return Err(MenuError::TooLong {
                    entry: entry.name.clone(),
                    length: codes.len(),
                });
            }
            let title = entry.title.replace("{title}", &appliance.title);
            let pairs = [("name", entry.name.clone()), ("title", title), ("codes", codes)];
            entries.push(toml::Value::from(table(
                pairs.map(|(key, value)| (key, value.into())),
            )));
        }
        let initrds: Vec<toml::Value> = disk.initrds.iter().map(|&path| path.into()).collect();
        let with = [
            ("seconds", i64::from(settings.seconds).into()),
            ("entries", entries.into()),
            ("kernel", disk.kernel.into()),
            ("initrds", initrds.into()),
        ];
        let GrubSettings {
            core,
            modules,
            bios,
            efi,
        } = settings.grub;
        let within = [&core[..], &bios.core, &modules, &bios.modules].concat();
        let (core, modules) = ([core, efi.core].concat(), [modules, efi.modules].concat());
        Ok(Self {
            config: render(project, appliance, "iso/menu/grub.cfg", table(with))?,
            bios: Grub::new(project, appliance, disk, within, Vec::new())?,
            efi: Grub::new(project, appliance, disk, core, modules)?,
        })
    }
}

impl Grub {
    fn new(
        project: &Project,
        appliance: &Appliance,
        disk: &Disk<'_>,
        core: Vec<String>,
        modules: Vec<String>,
    ) -> Result<Self, MenuError> {
        let with = [
            ("marker", disk.marker.into()),
            ("modules", modules.clone().into()),
        ];
        Ok(Self {
            early: render(project, appliance, "iso/menu/early.cfg", table(with))?,
            core,
            modules,
        })
    }
}

fn render(
    project: &Project,
    appliance: &Appliance,
    template: &str,
    with: toml::Table,
) -> Result<String, MenuError> {
    let context = Context {
        name: &appliance.name,
        extension: &appliance.name,
        version: "",
        persistent: &[],
        libraries: false,
        with: &with.into_iter().collect(),
    };
    Ok(initd::render(project, template, &context)?)
}

fn command_line(settings: &Settings, entry: &Entry, appliance: &Appliance) -> String {
    let wanted = appliance
        .boot_codes
        .iter()
        .filter(|code| !entry.without.contains(code));
    let codes = settings.codes.iter().chain(wanted).chain(&entry.codes);
    codes.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn table<const N: usize>(pairs: [(&str, toml::Value); N]) -> toml::Table {
    let owned = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
    owned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::SourceFile;

    fn menu(codes: &str) -> Result<Menu, MenuError> {
        let text = format!("title = \"It's mine\"\nextensions = []\nboot-codes = [{codes}]\n");
        let project = Project::built_in();
        let appliance = Appliance::parse("box", &SourceFile::new("box.toml", &text), &project).unwrap();
        let disk = Disk {
            kernel: "/boot/vmlinuz64",
            initrds: &["/boot/a.gz", "/boot/b.gz"],
            marker: "/boot/tcforge/1",
        };
        Menu::render(&project, &appliance, &disk)
    }

    #[test]
    fn its_entries_boot_the_disk() {
        let menu = menu("'cde', 'noembed'").unwrap();
        for codes in [
            "loglevel=3 no_timer_check cde noembed console=ttyS0,115200 console=tty0\n",
            "loglevel=3 no_timer_check noembed console=ttyS0,115200 console=tty0 base norestore\n",
        ] {
            let line = format!("    linux /boot/vmlinuz64 {codes}");
            assert!(menu.config.contains(&line), "{}", menu.config);
        }
        assert!(menu.config.contains("initrd /boot/a.gz /boot/b.gz\n"));
        assert!(
            menu.config
                .contains(r"menuentry 'It'\''s mine, serial console' --id serial {")
        );
    }

    #[test]
    fn what_lies_on_the_disk_is_loaded_from_it() {
        let Menu { bios, efi, .. } = menu("").unwrap();
        let found = "--set=root /boot/tcforge/1\nset prefix=($root)/boot/grub\n";
        assert!(bios.early.ends_with(found), "{}", bios.early);
        assert_eq!(bios.modules, [""; 0]);
        assert!(bios.core.contains(&"normal".to_owned()));
        let end =
            format!("{found}insmod normal\ninsmod linux\ninsmod serial\ninsmod terminal\ninsmod efi_gop\n");
        assert!(efi.early.ends_with(&end), "{}", efi.early);
        assert_eq!(efi.core, ["iso9660", "search_fs_file", "gzio"]);
    }

    #[test]
    fn what_the_kernel_would_cut_off_is_refused() {
        let error = menu(&format!("'{}'", "x".repeat(2000))).unwrap_err();
        assert!(
            matches!(error, MenuError::TooLong { length: 2047.., .. }),
            "{error}"
        );
    }
}
