//! Boot menus: of isolinux for BIOS, of GRUB for UEFI.

use std::collections::BTreeMap;

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
    /// `isolinux.cfg`
    pub isolinux: String,
    /// `grub.cfg`
    pub grub: String,
    /// What GRUB is given when it is built.
    pub early: String,
    /// Modules of GRUB.
    pub grub_modules: Vec<String>,
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
    grub_modules: Vec<String>,
    #[serde(rename = "entry")]
    entries: Vec<Entry>,
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
            entries.push(table(pairs.map(|(key, value)| (key, value.into()))));
        }
        let initrds: Vec<toml::Value> = disk.initrds.iter().map(|&path| path.into()).collect();
        let with = BTreeMap::from(
            [
                ("seconds", i64::from(settings.seconds).into()),
                ("title", appliance.title.as_str().into()),
                ("entries", entries.into()),
                ("kernel", disk.kernel.into()),
                ("initrds", initrds.into()),
                ("marker", disk.marker.into()),
            ]
            .map(|(key, value): (_, toml::Value)| (key.to_owned(), value)),
        );
        let render = |template: &str| {
            let context = Context {
                name: &appliance.name,
                extension: &appliance.name,
                version: "",
                persistent: &[],
                libraries: false,
                with: &with,
            };
            initd::render(project, template, &context)
        };
        Ok(Self {
            isolinux: render("iso/menu/isolinux.cfg")?,
            grub: render("iso/menu/grub.cfg")?,
            early: render("iso/menu/efi.cfg")?,
            grub_modules: settings.grub_modules,
        })
    }
}

fn command_line(settings: &Settings, entry: &Entry, appliance: &Appliance) -> String {
    let wanted = appliance
        .boot_codes
        .iter()
        .filter(|code| !entry.without.contains(code));
    let codes = settings.codes.iter().chain(wanted).chain(&entry.codes);
    codes.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn table<const N: usize>(pairs: [(&str, toml::Value); N]) -> toml::Value {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<toml::Table>()
        .into()
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
    fn both_menus_boot_the_same() {
        let menu = menu("'cde', 'noembed'").unwrap();
        let screen = "loglevel=3 no_timer_check cde noembed console=ttyS0,115200 console=tty0\n";
        let base = "loglevel=3 no_timer_check noembed console=ttyS0,115200 console=tty0 base norestore\n";
        for codes in [screen, base] {
            assert!(
                menu.isolinux.contains(&format!("    APPEND {codes}")),
                "{}",
                menu.isolinux
            );
            assert!(
                menu.grub.contains(&format!("    linux /boot/vmlinuz64 {codes}")),
                "{}",
                menu.grub
            );
        }
        assert!(menu.isolinux.contains("INITRD /boot/a.gz,/boot/b.gz\n"));
        assert!(menu.grub.contains("initrd /boot/a.gz /boot/b.gz\n"));
        assert!(
            menu.grub
                .contains(r"menuentry 'It'\''s mine, serial console' --id serial {")
        );
        assert!(menu.early.contains("--set=root /boot/tcforge/1\n"));
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
