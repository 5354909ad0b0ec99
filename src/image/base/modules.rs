//! The modules of a kernel: which of them an image gets, and the files by which
//! `modprobe` finds them.
//!
//! `modules.dep`, `modules.alias` and `modules.softdep` are written as depmod(8)
//! of kmod writes them, from what the modules say of themselves: nothing runs,
//! so no root and no kernel of that release is needed. `modules.symbols` and
//! `modules.devname` are left out: the first serves `symbol:` requests of a few
//! DVB drivers, the second nodes that udev and mdev make when a module is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::BaseError;
use super::modinfo::{Module, name_of, normal};
use crate::stage::{Content, Kind, Node, Stage, TreePath};

/// Which modules an image gets: `iso/mini/modules.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    #[serde(rename = "group")]
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "for")]
    purpose: String,
    modules: Vec<String>,
}

/// All modules of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    by_name: BTreeMap<String, Module>,
    /// Those that are found by an alias without a pattern: `crypto-crc32c`.
    by_alias: BTreeMap<String, BTreeSet<String>>,
    /// What the kernel has within.
    builtin: BTreeSet<String>,
}

/// Where the modules of a release lie.
pub(crate) fn folder(release: &str) -> Result<TreePath, BaseError> {
    path(&format!("lib/modules/{release}"))
}

fn path(text: &str) -> Result<TreePath, BaseError> {
    TreePath::parse(text).map_err(|reason| BaseError::Module {
        path: text.to_owned(),
        reason: reason.to_string(),
    })
}

impl Modules {
    /// Reads every module below a folder of a stage. They must be for `release`.
    pub(crate) fn read(stage: &Stage, folder: &TreePath, release: &str) -> Result<Self, BaseError> {
        let mut modules = Self::default();
        for (path, node) in stage.iter() {
            let (Some(below), Kind::File(content)) = (path.strip_prefix(folder), &node.kind) else {
                continue;
            };
            if below.as_bytes() == b"modules.builtin" {
                modules.builtin = builtin(content).map_err(|reason| wrong(path, reason))?;
            } else if name_of(&below).is_some() {
                let module = Module::read(below, content).map_err(|reason| wrong(path, reason))?;
                if module.release != release {
                    return Err(BaseError::OtherModules {
                        kernel: release.to_owned(),
                        modules: module.release,
                    });
                }
                modules.add(module);
            }
        }
        Ok(modules)
    }

    fn add(&mut self, module: Module) {
        for alias in module
            .aliases
            .iter()
            .filter(|alias| !alias.contains(['*', '?', '[']))
        {
            let names = self.by_alias.entry(normal(alias)).or_default();
            names.insert(module.name.clone());
        }
        self.by_name.insert(module.name.clone(), module);
    }

    /// The names of the selected modules and of all that these need.
    pub(crate) fn closure(&self, selection: &Selection) -> Result<BTreeSet<String>, BaseError> {
        let mut chosen = BTreeSet::new();
        for group in &selection.groups {
            let by = format!("iso/mini/modules.toml, under \"{}\",", group.purpose);
            for name in &group.modules {
                self.choose(&normal(name), &by, &mut chosen)?;
            }
        }
        Ok(chosen)
    }

    fn choose(&self, name: &str, by: &str, chosen: &mut BTreeSet<String>) -> Result<(), BaseError> {
        if chosen.contains(name) || self.builtin.contains(name) {
            return Ok(());
        }
        let Some(module) = self.by_name.get(name) else {
            return Err(BaseError::NoModule {
                name: name.to_owned(),
                wanted_by: by.to_owned(),
            });
        };
        chosen.insert(name.to_owned());
        for needed in &module.depends {
            self.choose(needed, name, chosen)?;
        }
        // A soft dependency may be missing; it may be a module or an alias of
        // several (crc32c is crc32c-generic and crc32c-intel).
        for soft in module.soft_names().map(normal) {
            let aliased = self.by_alias.get(&soft).into_iter().flatten();
            for other in aliased.chain(self.by_name.get_key_value(&soft).map(|(name, _)| name)) {
                self.choose(other, name, chosen)?;
            }
        }
        Ok(())
    }

    /// Leaves only some modules.
    pub(crate) fn keep(&mut self, names: &BTreeSet<String>) {
        self.by_name.retain(|name, _| names.contains(name));
    }

    /// The modules, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.by_name.values()
    }

    fn by_path(&self) -> Vec<&Module> {
        let mut modules: Vec<_> = self.iter().collect();
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        modules
    }

    /// `modules.dep`: each module with all that it needs, those that must be
    /// loaded first last.
    pub(crate) fn dep(&self) -> Result<String, BaseError> {
        let mut text = String::new();
        for module in self.by_path() {
            let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
            self.load_order(module, &mut seen, &mut order)?;
            text.push_str(&format!("{}:", module.path));
            // The last one is the module itself.
            for needed in order.iter().rev().skip(1) {
                text.push_str(&format!(" {}", needed.path));
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// Puts what a module needs, then the module, at the end of `order`. `seen`
    /// ends the walk where damaged modules need each other.
    fn load_order<'a>(
        &'a self,
        module: &'a Module,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a Module>,
    ) -> Result<(), BaseError> {
        if !seen.insert(&module.name) {
            return Ok(());
        }
        for name in module.depends.iter().filter(|name| !self.builtin.contains(*name)) {
            let needed = self.by_name.get(name).ok_or_else(|| BaseError::NoModule {
                name: name.clone(),
                wanted_by: format!("`{}`", module.name),
            })?;
            self.load_order(needed, seen, order)?;
        }
        order.push(module);
        Ok(())
    }

    /// `modules.alias`.
    pub(crate) fn alias(&self) -> String {
        let mut text = "# Aliases extracted from modules themselves.\n".to_owned();
        for module in self.by_path() {
            for alias in &module.aliases {
                text.push_str(&format!("alias {alias} {}\n", module.name));
            }
        }
        text
    }

    /// `modules.softdep`.
    pub(crate) fn softdep(&self) -> String {
        let mut text = "# Soft dependencies extracted from modules themselves.\n".to_owned();
        for module in self.by_path() {
            for soft in &module.softdeps {
                text.push_str(&format!("softdep {} {soft}\n", module.name));
            }
        }
        text
    }
}

/// The names in `modules.builtin`, which holds paths.
fn builtin(content: &Content) -> Result<BTreeSet<String>, String> {
    let bytes = content.read_all().map_err(|error| error.to_string())?;
    let paths = bytes.split(|byte| *byte == b'\n');
    Ok(paths
        .filter_map(|line| name_of(&TreePath::parse(line).ok()?))
        .collect())
}

fn wrong(path: &TreePath, reason: String) -> BaseError {
    BaseError::Module {
        path: path.to_string(),
        reason,
    }
}

/// The modules of a release as an image holds them: files 644 of root's, the
/// files that `modprobe` reads, and the link by which Tiny Core finds the modules
/// of extensions. With a selection only those, otherwise all.
pub(crate) fn image_tree(
    all: &Stage,
    release: &str,
    selection: Option<&Selection>,
) -> Result<Stage, BaseError> {
    let folder = folder(release)?;
    let mut modules = Modules::read(all, &folder, release)?;
    if let Some(selection) = selection {
        modules.keep(&modules.closure(selection)?);
    }
    let mut stage = Stage::new();
    for module in modules.iter() {
        let at = folder.join(&module.path);
        if let Some(Kind::File(content)) = all.get(&at).map(|node| &node.kind) {
            stage.insert(at, Node::file(content.clone(), 0o644))?;
        }
    }
    let texts = [
        ("modules.dep", modules.dep()?),
        ("modules.alias", modules.alias()),
        ("modules.softdep", modules.softdep()),
    ];
    for (name, text) in texts {
        stage.insert(folder.join(&path(name)?), Node::file(Content::bytes(text), 0o644))?;
    }
    let builtin = folder.join(&path("modules.builtin")?);
    if let Some(Kind::File(content)) = all.get(&builtin).map(|node| &node.kind) {
        stage.insert(builtin, Node::file(content.clone(), 0o644))?;
    }
    let link = Node::symlink(format!("/usr/local/lib/modules/{release}/kernel"));
    stage.insert(folder.join(&path("kernel.tclocal")?), link)?;
    Ok(stage)
}
