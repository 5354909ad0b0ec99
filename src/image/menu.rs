//! The boot menu: GRUB's for BIOS, systemd-boot's for UEFI, with the same entries.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::appliance::Appliance;
use crate::initd::{self, Context, InitdError};
use crate::project::{Project, ProjectError};

/// The kernel takes so much of a command line
/// (`COMMAND_LINE_SIZE` of x86, with the NUL).
const COMMAND_LINE: usize = 2048;

/// Entries and settings of the menu.
const MENU: &str = "iso/menu/menu.toml";

/// The menus of an image.
#[derive(Debug, Clone)]
pub struct Menu {
    /// GRUB's: `grub.cfg`.
    pub grub: String,
    /// The script that GRUB begins with: it finds the disk.
    pub early: String,
    /// What GRUB consists of.
    pub modules: Vec<String>,
    /// systemd-boot's: files of its partition, by their paths there.
    pub efi: Vec<(String, String)>,
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
    /// An entry's name is no name, or that of another one.
    #[error("`{0}` in {MENU} cannot be the name of an entry")]
    #[diagnostic(help("names are of small letters, digits and `-`, and no two are the same"))]
    Name(String),
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

/// What the menus boot: paths on the CD, which GRUB reads, and on the partition of
/// UEFI alike, each with a slash in front.
pub struct Disk<'a> {
    /// The kernel.
    pub kernel: &'a str,
    /// The initrds, in order.
    pub initrds: &'a [&'a str],
    /// A file that only this disk has, on the CD alone.
    pub marker: &'a str,
}

impl Menu {
    /// Renders the menus of an appliance.
    pub fn render(project: &Project, appliance: &Appliance, disk: &Disk<'_>) -> Result<Self, MenuError> {
        let settings: Settings = project.read_toml(MENU)?;
        let entries = entries(&settings, appliance, disk)?;
        let render = |template: &str, with| render(project, appliance, template, with);
        let booting = |more: [(&str, toml::Value); 2]| {
            let initrds: Vec<toml::Value> = disk.initrds.iter().map(|&path| path.into()).collect();
            let mut with = table(more);
            with.extend(table([
                ("kernel", disk.kernel.into()),
                ("initrds", initrds.into()),
            ]));
            with
        };
        let seconds = || ("seconds", toml::Value::from(i64::from(settings.seconds)));
        let all = ("entries", toml::Value::from(entries.clone()));
        let mut efi = vec![(
            "loader/loader.conf".to_owned(),
            render("iso/menu/loader.conf", table([seconds(), all.clone()]))?,
        )];
        for (number, (entry, values)) in settings.entries.iter().zip(entries).enumerate() {
            // It is compared as text.
            let number = ("number", toml::Value::from(format!("{number:02}")));
            let with = booting([number, ("entry", values.into())]);
            let path = format!("loader/entries/{}.conf", entry.name);
            efi.push((path, render("iso/menu/entry.conf", with)?));
        }
        let found = table([("marker", disk.marker.into())]);
        Ok(Self {
            grub: render("iso/menu/grub.cfg", booting([seconds(), all]))?,
            early: render("iso/menu/early.cfg", found)?,
            modules: settings.grub.modules,
            efi,
        })
    }
}

/// The entries as the templates have them.
fn entries(
    settings: &Settings,
    appliance: &Appliance,
    disk: &Disk<'_>,
) -> Result<Vec<toml::Table>, MenuError> {
    // What GRUB and systemd-boot put in front: where what they booted lies.
    let grub = "BOOT_IMAGE= ".len() + disk.kernel.len();
    let initrds = disk.initrds.iter().map(|path| "initrd= ".len() + path.len());
    let before = grub.max(initrds.sum());
    let mut names = BTreeSet::new();
    let mut values = |entry: &Entry| {
        if !is_name(&entry.name) || !names.insert(entry.name.clone()) {
            return Err(MenuError::Name(entry.name.clone()));
        }
        let codes = command_line(settings, entry, appliance);
        let length = before + codes.len();
        if length >= COMMAND_LINE {
            return Err(MenuError::TooLong {
                entry: entry.name.clone(),
                length,
            });
        }
        let title = entry.title.replace("{title}", &appliance.title);
        let pairs = [("name", entry.name.clone()), ("title", title), ("codes", codes)];
        Ok(table(pairs.map(|(key, value)| (key, value.into()))))
    };
    settings.entries.iter().map(&mut values).collect()
}

/// Whether GRUB may call an entry so, and a file may be called so.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() < 64 && name.bytes().all(plain)
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
            assert!(menu.grub.contains(&line), "{}", menu.grub);
        }
        assert!(menu.grub.contains("initrd /boot/a.gz /boot/b.gz\n"));
        assert!(
            menu.grub
                .contains(r"menuentry 'It'\''s mine, serial console' --id serial {")
        );
    }

    #[test]
    fn grub_finds_the_disk() {
        let menu = menu("").unwrap();
        let found = "--set=root /boot/tcforge/1\nset prefix=($root)/boot/grub\n";
        assert!(menu.early.ends_with(found), "{}", menu.early);
        assert!(menu.modules.contains(&"normal".to_owned()));
    }

    #[test]
    fn uefi_has_the_same_entries() {
        let menu = menu("'cde'").unwrap();
        let files: Vec<_> = menu.efi.iter().map(|(path, _)| path.as_str()).collect();
        let entries = ["screen", "serial", "base"].map(|name| format!("loader/entries/{name}.conf"));
        assert_eq!(files[0], "loader/loader.conf");
        assert_eq!(files[1..], entries);
        let settings = &menu.efi[0].1;
        assert!(
            settings.contains("timeout 3\ndefault screen.conf\n"),
            "{settings}"
        );
        assert_eq!(
            menu.efi[2].1,
            "title It's mine, serial console\nsort-key 01\nlinux /boot/vmlinuz64\ninitrd /boot/a.gz\n\
             initrd /boot/b.gz\noptions loglevel=3 no_timer_check cde console=tty0 console=ttyS0,115200\n"
        );
    }

    #[test]
    fn what_the_kernel_would_cut_off_is_refused() {
        // With what the loaders put in front of `loglevel=3 no_timer_check … base norestore`.
        let others = "loglevel=3 no_timer_check  console=ttyS0,115200 console=tty0 base norestore".len();
        let before = "initrd=/boot/a.gz initrd=/boot/b.gz ".len();
        let fits = COMMAND_LINE - 1 - others - before;
        assert!(menu(&format!("'{}'", "x".repeat(fits))).is_ok());
        let error = menu(&format!("'{}'", "x".repeat(fits + 1))).unwrap_err();
        assert!(
            matches!(
                error,
                MenuError::TooLong {
                    length: COMMAND_LINE,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn names_are_such_that_files_may_have() {
        for (name, wanted) in [
            ("screen", true),
            ("a-1", true),
            ("", false),
            ("A", false),
            ("a/b", false),
        ] {
            assert_eq!(is_name(name), wanted, "{name}");
        }
    }
}
