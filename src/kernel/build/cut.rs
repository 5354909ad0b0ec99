//! Which module goes into which file: `kernel/build/extensions.toml`.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::error::KernelBuildError;
use crate::image::base::modinfo::Module;
use crate::project::Project;
use crate::tcz::side;

const FILE: &str = "kernel/build/extensions.toml";
/// What patterns and modules' paths begin with, below `lib/modules/RELEASE`.
const TOP: &str = "kernel/";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default, rename = "extension")]
    extensions: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    description: String,
    modules: Vec<String>,
    #[serde(default)]
    load: bool,
}

/// The cut as the data file has it.
pub(super) struct Cut {
    listed: Vec<(Listed, GlobSet)>,
}

/// What a kernel's modules become.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The names of the modules that the box boots with.
    pub(super) base: BTreeSet<String>,
    /// The extensions, those that others need first.
    pub(super) extensions: Vec<Piece>,
}

/// The modules of an extension.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Without the release.
    pub(super) name: String,
    pub(super) description: String,
    pub(super) modules: BTreeSet<String>,
    /// The extensions that it needs, without the release.
    pub(super) needs: BTreeSet<String>,
    /// Whether an image loads it although nothing names it.
    pub(super) load: bool,
}

impl Cut {
    pub(super) fn load(project: &Project) -> Result<Self, KernelBuildError> {
        let list: List = project.read_toml(FILE)?;
        let wrong = |what: String| KernelBuildError::Data { file: FILE, what };
        let mut listed: Vec<(Listed, GlobSet)> = Vec::new();
        for one in list.extensions {
            if !side::is_name(&format!("{}.tcz", one.name)) {
                return Err(wrong(format!(
                    "`{}` cannot be the name of an extension",
                    one.name
                )));
            }
            if listed.iter().any(|(other, _)| other.name == one.name) {
                return Err(wrong(format!("`{}` is in it twice", one.name)));
            }
            let patterns = patterns(&one.modules).map_err(|error| wrong(error.to_string()))?;
            listed.push((one, patterns));
        }
        Ok(Self { listed })
    }

    /// Gives every module its place.
    pub(super) fn cut(&self, modules: &[Module]) -> Result<Pieces, KernelBuildError> {
        let by_name: BTreeMap<&str, &Module> = modules.iter().map(|one| (one.name.as_str(), one)).collect();
        let mut places: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for module in modules {
            places.insert(&module.name, self.place(module));
        }
        // What the box boots with needs nothing that is not there yet.
        let base = modules
            .iter()
            .filter(|module| places[module.name.as_str()].is_none());
        let mut todo: Vec<&Module> = base.collect();
        while let Some(module) = todo.pop() {
            for needed in needed(module, &by_name) {
                if places.insert(&needed.name, None) != Some(None) {
                    todo.push(needed);
                }
            }
        }
        let mut extensions = Vec::new();
        for (index, (listed, _)) in self.listed.iter().enumerate() {
            let own: Vec<_> = modules
                .iter()
                .filter(|one| places[one.name.as_str()] == Some(index))
                .collect();
            let needs = own.iter().flat_map(|one| needed(one, &by_name));
            let needs = needs
                .filter_map(|one| places[one.name.as_str()])
                .filter(|place| *place != index);
            let piece = Piece {
                name: listed.name.clone(),
                description: listed.description.clone(),
                load: listed.load,
                needs: needs.map(|place| self.listed[place].0.name.clone()).collect(),
                modules: own.iter().map(|one| one.name.clone()).collect(),
            };
            if !piece.modules.is_empty() {
                extensions.push(piece);
            }
        }
        Ok(Pieces {
            base: names_at(&places, None),
            extensions: in_order(extensions)?,
        })
    }

    fn place(&self, module: &Module) -> Option<usize> {
        let path = module.path.to_string();
        let below = path.strip_prefix(TOP)?;
        self.listed
            .iter()
            .position(|(_, patterns)| patterns.is_match(below))
    }
}

fn patterns(texts: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let glob: Glob = GlobBuilder::new(text).literal_separator(true).build()?;
        set.add(glob);
    }
    set.build()
}

/// The modules that one needs directly; what is built in needs no place.
fn needed<'a>(
    module: &'a Module,
    by_name: &'a BTreeMap<&str, &'a Module>,
) -> impl Iterator<Item = &'a Module> {
    let names = module.depends.iter();
    names.filter_map(|name| by_name.get(name.as_str()).copied())
}

fn names_at(places: &BTreeMap<&str, Option<usize>>, place: Option<usize>) -> BTreeSet<String> {
    let here = places.iter().filter(|(_, at)| **at == place);
    here.map(|(name, _)| (*name).to_owned()).collect()
}

/// Puts each extension behind those that it needs.
fn in_order(mut left: Vec<Piece>) -> Result<Vec<Piece>, KernelBuildError> {
    let mut order: Vec<Piece> = Vec::new();
    while !left.is_empty() {
        let waits = |piece: &Piece| left.iter().any(|other| piece.needs.contains(&other.name));
        let Some(next) = left.iter().position(|piece| !waits(piece)) else {
            let names = left.iter().map(|piece| format!("`{}`", piece.name));
            return Err(KernelBuildError::Circle(names.collect()));
        };
        order.push(left.remove(next));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::TreePath;

    fn module(path: &str, depends: &[&str]) -> Module {
        let path = TreePath::parse(format!("kernel/{path}.ko.gz")).unwrap();
        Module {
            name: crate::image::base::modinfo::name_of(&path).unwrap(),
            path,
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            aliases: Vec::new(),
            softdeps: Vec::new(),
            release: "1-t".to_owned(),
        }
    }

    fn cut(text: &str, modules: &[Module]) -> Result<Pieces, KernelBuildError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("kernel/build")).unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Cut::load(&Project::in_folder(dir.path()))?.cut(modules)
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_built_in_cut_is_tiny_cores() {
        let modules = [
            module("fs/overlayfs/overlay", &[]),
            module("fs/squashfs/squashfs", &["zstd_decompress"]),
            module("lib/zstd/zstd_decompress", &[]),
            module("net/bridge/bridge", &["stp", "llc", "ipv6"]),
            module("net/bridge/br_netfilter", &["bridge"]),
            module("net/802/stp", &["llc"]),
            module("net/llc/llc", &[]),
            module("net/ipv6/ipv6", &[]),
            module("net/netfilter/nf_conntrack", &["nf_defrag_ipv4"]),
            module("net/ipv4/netfilter/nf_defrag_ipv4", &[]),
            module("drivers/net/veth", &[]),
        ];
        let pieces = Cut::load(&Project::built_in()).unwrap().cut(&modules).unwrap();
        assert_eq!(pieces.base, set(&["squashfs", "veth", "zstd_decompress"]));
        let told: Vec<_> = pieces
            .extensions
            .iter()
            .map(|piece| (piece.name.as_str(), piece.modules.clone(), piece.needs.clone()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "ipv6-netfilter",
                    set(&["ipv6", "nf_conntrack", "nf_defrag_ipv4"]),
                    set(&[])
                ),
                (
                    "net-bridging",
                    set(&["br_netfilter", "bridge", "llc", "stp"]),
                    set(&["ipv6-netfilter"])
                ),
                ("overlay", set(&["overlay"]), set(&[])),
            ]
        );
    }

    #[test]
    fn what_the_box_boots_with_is_complete() {
        let text = "[[extension]]\nname = 'x'\ndescription = 'd'\nmodules = ['x/*']\n";
        let modules = [
            module("y/boots", &["a"]),
            module("x/a", &["b"]),
            module("x/b", &["built_in"]),
            module("x/c", &["b"]),
            module("x/deep/d", &[]),
        ];
        let pieces = cut(text, &modules).unwrap();
        assert_eq!(pieces.base, set(&["a", "b", "boots", "d"]));
        assert_eq!(pieces.extensions[0].modules, set(&["c"]));
        assert_eq!(pieces.extensions[0].needs, set(&[]));
    }

    #[test]
    fn a_wrong_cut_is_told() {
        let one = |name: &str, pattern: &str| {
            format!("[[extension]]\nname = '{name}'\ndescription = 'd'\nmodules = ['{pattern}']\n")
        };
        let circle = [one("a", "a/*"), one("b", "b/*")].concat();
        let modules = [
            module("a/one", &["two"]),
            module("a/three", &[]),
            module("b/two", &["three"]),
        ];
        for (text, wanted) in [
            (circle, "the extensions `a` and `b` would need each other"),
            (
                [one("a", "a"), one("a", "b")].concat(),
                "`kernel/build/extensions.toml`: `a` is in it twice",
            ),
            (
                one("a/b", "a"),
                "`kernel/build/extensions.toml`: `a/b` cannot be the name of an extension",
            ),
        ] {
            assert_eq!(cut(&text, &modules).unwrap_err().to_string(), wanted);
        }
        let error = cut(&one("a", "[a"), &modules).unwrap_err();
        assert!(matches!(error, KernelBuildError::Data { .. }), "{error}");
    }
}
