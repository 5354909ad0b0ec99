//! The base `mini`: Debian's busybox, C library and file system tools, with
//! scripts of our own that keep Tiny Core's boot contract. What goes where is
//! data: `iso/mini/mini.toml`.

use object::Endianness;
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader as _};

use super::data::{Interpreter, Mini, Package, Place};
use super::kernel::spool;
use super::prepared::Prepared;
use super::{BaseError, Loader, Root, locked};
use crate::digest::Sha256;
use crate::fetch::Cached;
use crate::image::initrd::{Device, Part, Tree};
use crate::recipe::{Glob, Lock, Rule, Target, place};
use crate::stage::{Content, Kind, Node, Owner, Spool, Stage, TreePath};

impl Loader<'_> {
    /// The root filesystem of `mini`.
    pub(super) fn mini(&self) -> Result<Root, BaseError> {
        let mini: Mini = self.project.read_toml(Mini::FILE)?;
        let (mut stage, programs) = self.programs(&mini)?;
        // What else it is made of: the first is part of what made the programs.
        let mut made_of = vec![programs.to_string()];
        for (program, directories) in &mini.applets {
            for (directory, names) in directories {
                for name in names {
                    let link = Node::symlink(target(directory, program));
                    stage.insert(path(&format!("{directory}/{name}"))?, link)?;
                }
            }
        }
        for (link, target) in &mini.links {
            stage.insert(path(link)?, Node::symlink(target.as_str()))?;
        }
        for (directory, rights) in &mini.directories {
            stage.insert(path(directory)?, node(Kind::Directory, rights)?)?;
        }
        for (name, rights) in &mini.files {
            let text = self.project.read(&format!("{}/{name}", Mini::ROOT))?;
            made_of.push(Sha256::of(&text).to_string());
            let content = Content::bytes(text.into_owned());
            stage.insert(path(name)?, node(Kind::File(content), rights)?)?;
        }
        let devices = devices()?;
        made_of.push(format!("{devices:?}"));
        Ok(Root {
            title: mini.title,
            parts: vec![Part::Known(
                Tree { stage, devices },
                Sha256::of(made_of.join(" ").as_bytes()),
            )],
            kernel: None,
        })
    }

    /// What comes from Debian's packages, and what that was made of.
    fn programs(&self, mini: &Mini) -> Result<(Stage, Sha256), BaseError> {
        let lock = Lock::load(self.project)?;
        // How they are placed is part of the file.
        let file = self.project.read(Mini::FILE)?;
        let mut inputs: Vec<&[u8]> = vec![&file];
        for package in &mini.packages {
            inputs.push(locked(&lock, &package.origin)?.sha256.as_bytes());
        }
        let prepared = Prepared::new(self.fetcher.cache().root(), "bases", &inputs);
        if let Some(tree) = prepared.load_tree()? {
            return Ok((tree.stage, prepared.key()));
        }
        let (mut spool, mut stage) = (spool()?, Stage::new());
        for package in &mini.packages {
            let cached = self.package(&lock, &package.origin)?;
            self.place(package, &cached, &mut spool, &mut stage)?;
        }
        set_interpreters(&mut stage, &mini.interpreter)?;
        let devices = Vec::new();
        let tree = Tree { stage, devices };
        prepared.keep_tree(&tree)?;
        Ok((tree.stage, prepared.key()))
    }

    /// Puts the files of a package where they belong.
    fn place(
        &self,
        package: &Package,
        cached: &Cached,
        spool: &mut Spool,
        into: &mut Stage,
    ) -> Result<(), BaseError> {
        let name = package.origin.to_string();
        let tree = self.unpack(&name, cached, spool)?;
        let rules = package.place.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        place(&tree, &rules, into).map_err(|source| BaseError::Place {
            package: name,
            source,
        })
    }
}

/// What init needs before anything is mounted: 5:1 and 1:3 of
/// Documentation/admin-guide/devices.txt.
fn devices() -> Result<Vec<Device>, BaseError> {
    let device = |name: &str, (major, minor), mode| -> Result<Device, BaseError> {
        Ok(Device {
            path: path(name)?,
            block: false,
            major,
            minor,
            mode,
            owner: Owner::ROOT,
        })
    };
    Ok(vec![
        device("dev/console", (5, 1), 0o600)?,
        device("dev/null", (1, 3), 0o666)?,
    ])
}

/// The target of a link in a directory that leads to a program, both by their
/// paths from the root.
fn target(directory: &str, program: &str) -> String {
    match program
        .strip_prefix(directory)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(beside) => beside.to_owned(),
        None => "../".repeat(directory.split('/').count()) + program,
    }
}

fn rule(place: &Place) -> Result<Rule, BaseError> {
    let glob = |text: &String| Glob::new(text).map_err(|reason| wrong(text, reason));
    let to = path(&place.to)?;
    Ok(Rule::Select {
        from: glob(&place.from)?,
        except: place.except.iter().map(glob).collect::<Result<_, _>>()?,
        to: match place.to.ends_with('/') {
            true => Target::Directory(to),
            false => Target::File(to),
        },
        mode: place.mode.as_deref().map(mode).transpose()?,
    })
}

/// A node with the rights that are written as `755 0:50`.
fn node(kind: Kind, rights: &str) -> Result<Node, BaseError> {
    let malformed = || wrong(rights, "write mode and owner as `755 0:50`".to_owned());
    let (bits, owner) = rights.split_once(' ').ok_or_else(malformed)?;
    let (uid, gid) = owner.split_once(':').ok_or_else(malformed)?;
    let id = |text: &str| text.parse().map_err(|_| malformed());
    Ok(Node {
        kind,
        mode: mode(bits)?,
        owner: Owner {
            uid: id(uid)?,
            gid: id(gid)?,
        },
    })
}

fn mode(text: &str) -> Result<u16, BaseError> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| wrong(text, "it is not a mode in octal".to_owned()))
}

fn path(text: &str) -> Result<TreePath, BaseError> {
    TreePath::parse(text).map_err(|reason| wrong(text, reason.to_string()))
}

fn wrong(text: &str, reason: String) -> BaseError {
    BaseError::Data {
        file: Mini::FILE,
        text: text.to_owned(),
        reason,
    }
}

/// Has every program that asks for one loader ask for another.
fn set_interpreters(stage: &mut Stage, change: &Interpreter) -> Result<(), BaseError> {
    for (path, node) in stage.iter_mut() {
        let Kind::File(content) = &mut node.kind else {
            continue;
        };
        let failed = |reason: String| wrong(&path.to_string(), reason);
        let mut bytes = content.read_all().map_err(|error| failed(error.to_string()))?;
        if set_interpreter(&mut bytes, change).map_err(failed)? {
            *content = Content::bytes(bytes);
        }
    }
    Ok(())
}

/// Changes a program's interpreter in its place, which the new name must fit;
/// false if it asks for none, or for another.
fn set_interpreter(bytes: &mut [u8], change: &Interpreter) -> Result<bool, String> {
    let Ok(elf) = ElfFile64::<Endianness>::parse(&*bytes) else {
        return Ok(false);
    };
    let endian = elf.endian();
    let header = elf.elf_program_headers().iter();
    let Some(header) = header.clone().find(|header| header.p_type(endian) == PT_INTERP) else {
        return Ok(false);
    };
    let (offset, size) = header.file_range(endian);
    let range = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(offset, size)| Some(offset..offset.checked_add(size)?));
    let name = range.and_then(|range| bytes.get_mut(range));
    let name = name.ok_or("its interpreter lies behind its end")?;
    if name.strip_suffix(b"\0") != Some(change.from.as_bytes()) {
        return Ok(false);
    }
    if change.to.len() >= name.len() {
        return Err(format!("`{}` is longer than its interpreter", change.to));
    }
    name.fill(0);
    name[..change.to.len()].copy_from_slice(change.to.as_bytes());
    Ok(true)
}

/// The data that `iso/bases.toml` and `iso/mini` hold are there and right.
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::data::Bases;
    use super::*;
    use crate::project::Project;

    fn mini() -> Mini {
        Project::built_in().read_toml(Mini::FILE).unwrap()
    }

    #[test]
    fn every_package_is_locked() {
        let lock = Lock::load(&Project::built_in()).unwrap();
        let bases: Bases = Project::built_in().read_toml(Bases::FILE).unwrap();
        let packages = mini().packages.into_iter().map(|package| package.origin);
        for origin in packages.chain([bases.kernel.package]) {
            let locked = lock.find(&origin).unwrap_or_else(|| panic!("{origin}"));
            assert!(locked.size.is_some(), "{origin}");
        }
    }

    #[test]
    fn links_lead_to_their_program() {
        const BUSYBOX: &str = "bin/busybox";
        for (directory, wanted) in [
            ("bin", "busybox"),
            ("sbin", "../bin/busybox"),
            ("usr/bin", "../../bin/busybox"),
        ] {
            let link = path(&format!("{directory}/x")).unwrap();
            assert_eq!(target(directory, BUSYBOX), wanted);
            assert_eq!(link.resolve_link(wanted.as_bytes()), Some(path(BUSYBOX).unwrap()));
        }
    }

    #[test]
    fn rights_are_read_as_they_are_written() {
        let node = node(Kind::Directory, "2775 0:50").unwrap();
        assert_eq!((node.mode, node.owner), (0o2775, Owner::ROOT_STAFF));
        for text in ["755", "755 0", "999 0:0", "17777 0:0", "755 root:root"] {
            assert!(super::node(Kind::Directory, text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_file_of_the_root_is_used() {
        let project = Project::built_in();
        let mut there = BTreeSet::new();
        let mut folders = vec![Mini::ROOT.to_owned()];
        while let Some(folder) = folders.pop() {
            let below = |name: &String| format!("{folder}/{name}");
            there.extend(project.files(&folder).unwrap().iter().map(below));
            folders.extend(project.folders(&folder).unwrap().iter().map(below));
        }
        let used: BTreeSet<_> = mini()
            .files
            .keys()
            .map(|name| format!("{}/{name}", Mini::ROOT))
            .collect();
        assert_eq!(there, used);
    }
}
