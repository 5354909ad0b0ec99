//! Where the extensions of an image come from: recipes that were built before,
//! recipes that are built now, and folders with Tiny Core's own; and the few
//! that are made for one image alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::appliance::{Appliance, Image};
use super::base::Kernel;
use super::closure::{Missing, Shelves};
use crate::base::Base;
use crate::build::{BuildError, Builder, Draft, Standing};
use crate::fetch::Fetcher;
use crate::progress::Progress;
use crate::project::{Project, ProjectError};
use crate::recipe::{
    Choice, Lock, LockError, LockedFile, Override, OverrideError, Plan, Recipes, apply_overrides,
};
use crate::seen::{Locks, PinError};
use crate::stage::{Content, Kind, Node, Stage, StageError, TreePath};
use crate::tcz::side::dep::CycleError;
use crate::tcz::side::{Dependency, Info};
use crate::tcz::squashfs::PackOptions;

/// The list of what modules extensions bring.
const MODULES: &str = "iso/boot/modules.toml";
/// An info file's last field begins with a day: Tiny Core 11.0's.
const NO_HISTORY: &str = "2020/03/01 Original";

/// What builds the recipes of an image.
pub struct Supply<'a> {
    /// Templates, limits, base.
    pub project: &'a Project,
    /// All recipes.
    pub recipes: &'a Recipes,
    /// Which channels those come from.
    pub choice: &'a Choice,
    /// What the files' sums have to be.
    pub locks: &'a Locks<'a>,
    /// Local files that are taken for assets. What they belong to is built even
    /// if it is there: nobody knows what it was made of.
    pub files: &'a [Override],
    /// Gets the files.
    pub fetcher: &'a Fetcher,
    /// SOURCE_DATE_EPOCH, seconds since 1970.
    pub time: Option<u32>,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// The recipes of an image, all built.
#[derive(Debug, Default)]
pub struct Supplied {
    /// The extensions that were built now.
    pub built: Vec<String>,
    /// Those, built now or before, that were made with local files that the lock
    /// says nothing of.
    pub unlocked: Vec<String>,
    /// The files of them whose sums only upstream itself publishes.
    pub seen: Vec<LockedFile>,
}

/// Why an extension of an image could not be made.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SupplyError {
    /// A recipe could not be built.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Build(#[from] BuildError),
    /// The audit found errors.
    #[error("the audit found errors in {}", .0.join(", "))]
    #[diagnostic(help("`tcforge build` shows them; nothing was written"))]
    Audit(Vec<String>),
    /// The lock cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// A sum that only upstream publishes could not be had, or not be kept.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pin(#[from] PinError),
    /// A recipe is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    /// A local file cannot be taken.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Override(#[from] OverrideError),
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// Extensions need each other in a circle.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cycle(#[from] CycleError),
    /// The kernel cannot do what the extension is for.
    #[error("the kernel {kernel} has no {}, which `{extension}` stands for (needed by {})", .modules.join(", "), .needed_by.join(", "))]
    #[diagnostic(help(
        "take a kernel with these modules (`--kernel DIR`), or put the extension for this kernel among the others"
    ))]
    NoModules {
        /// `uname -r`
        kernel: String,
        /// Which are missing.
        modules: Vec<String>,
        /// `net-bridging-5.10.0.tcz`
        extension: String,
        /// What needs it.
        needed_by: Vec<String>,
    },
    /// A container image cannot be read.
    #[error("cannot read the container image `{}`", path.display())]
    #[diagnostic(help(
        "write one with `docker save` or `ctr images export`; the path starts at the project's folder"
    ))]
    Image {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two container images of one name.
    #[error("two container images have the same name")]
    #[diagnostic(help("rename one of the files"))]
    Stage(#[from] StageError),
}

impl Supply<'_> {
    /// Builds, into `out`, those recipes that the roots need, directly or not,
    /// and that are not there as they would be built now, or for which there are
    /// local files.
    pub fn build_missing(&self, roots: &[Dependency], out: &Path) -> Result<Supplied, SupplyError> {
        let (mut supplied, mut missing) = (Supplied::default(), Vec::new());
        let lock = self.locks.load()?;
        let builder = self.builder(&lock);
        for plan in self.plans(roots)? {
            match self.taken(&builder, &plan, out)? {
                Some(standing) if standing.unlocked => supplied.unlocked.push(file_name(&plan)),
                Some(_) => supplied.seen.extend(lock.first_seen(&plan).cloned()),
                None => missing.push(plan),
            }
        }
        if !missing.is_empty() {
            let lock = self.locks.pin(&missing, self.fetcher, self.progress)?;
            for plan in &missing {
                supplied.seen.extend(lock.first_seen(plan).cloned());
            }
            build(&self.builder(&lock), missing, out, &mut supplied)?;
        }
        Ok(supplied)
    }

    /// What is there of a plan, if it is as good as what would be built now.
    fn taken(&self, builder: &Builder<'_>, plan: &Plan, out: &Path) -> Result<Option<Standing>, BuildError> {
        let Some(standing) = Standing::find(plan, out).filter(|_| !plan.is_unlocked()) else {
            return Ok(None);
        };
        if builder.would_make(plan, &standing)? {
            return Ok(Some(standing));
        }
        self.progress.note(&format!(
            "{}: what is there was made of another recipe, other scripts or upstream files, for another time, or by another \
             tcforge; it is built again",
            file_name(plan)
        ));
        Ok(None)
    }

    fn builder<'a>(&'a self, lock: &'a Lock) -> Builder<'a> {
        Builder {
            project: self.project,
            recipes: self.recipes,
            choice: self.choice,
            lock,
            fetcher: self.fetcher,
            time: self.time,
            publish_with_errors: false,
            progress: self.progress,
        }
    }

    /// What the recipes that roots need are built from, each after those that it needs,
    /// with the local files.
    fn plans(&self, roots: &[Dependency]) -> Result<Vec<Plan>, SupplyError> {
        let names = roots.iter().filter_map(|root| root.name().strip_suffix(".tcz"));
        let recipes = self.recipes.order(self.choice, names)?.into_iter();
        let mut plans = recipes
            .map(|recipe| self.choice.plan(recipe))
            .collect::<Result<Vec<_>, _>>()?;
        apply_overrides(&mut plans, self.files)?;
        Ok(plans)
    }
}

/// Builds plans, or fails with what the audit found.
fn build(
    builder: &Builder<'_>,
    plans: Vec<Plan>,
    out: &Path,
    supplied: &mut Supplied,
) -> Result<(), SupplyError> {
    let unlocked: Vec<_> = plans
        .iter()
        .filter(|plan| plan.is_unlocked())
        .map(file_name)
        .collect();
    let outcome = builder.build(plans, out)?;
    let names = outcome.built.into_iter().map(|one| one.extension.file_name);
    if !outcome.published {
        return Err(SupplyError::Audit(names.collect()));
    }
    supplied.built.extend(names);
    supplied.unlocked.extend(unlocked);
    Ok(())
}

fn file_name(plan: &Plan) -> String {
    format!("{}.tcz", plan.name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brings {
    modules: Vec<String>,
}

/// Makes extensions that belong to one image.
pub struct Maker<'a> {
    /// Lists.
    pub project: &'a Project,
    /// Where they go.
    pub folder: &'a Path,
    /// Seconds since 1970.
    pub time: u32,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

impl Maker<'_> {
    /// Makes an empty extension for each of those that would bring modules that
    /// the kernel has in the initrd already, so that tce-load finds what `.dep`
    /// files name. What is not about modules is left.
    pub fn kernel_extensions(
        &self,
        missing: &[Missing],
        shelves: &Shelves,
        kernel: &Kernel,
    ) -> Result<(), SupplyError> {
        let known: BTreeMap<String, Brings> = self.project.read_toml(MODULES)?;
        let present = modules(kernel);
        let suffix = format!("-{}.tcz", kernel.release);
        for one in missing {
            let Some(stem) = one.name.strip_suffix(&suffix) else {
                continue;
            };
            let Some(brings) = known.get(stem) else { continue };
            let lacking = brings
                .modules
                .iter()
                .filter(|name| !present.contains(name.as_str()));
            let lacking: Vec<_> = lacking.cloned().collect();
            if !lacking.is_empty() {
                return Err(SupplyError::NoModules {
                    kernel: shelves.kernel.clone(),
                    modules: lacking,
                    extension: one.name.clone(),
                    needed_by: one.needed_by.clone(),
                });
            }
            let text = format!(
                "Empty: the kernel {} has {} in the initrd.",
                kernel.release,
                brings.modules.join(", ")
            );
            self.make(
                &one.name,
                Stage::new(),
                "Kernel modules that the initrd holds",
                &text,
            )?;
        }
        Ok(())
    }

    /// Makes the extension that carries the appliance's container images; `None`
    /// if it has none. Mounted and not unpacked, they take no memory.
    pub fn images(&self, appliance: &Appliance) -> Result<Option<Dependency>, SupplyError> {
        if appliance.images.is_empty() {
            return Ok(None);
        }
        let mut stage = Stage::new();
        for image in &appliance.images {
            let path = self.project.folder().unwrap_or(Path::new("")).join(&image.file);
            let read = |source| SupplyError::Image {
                path: path.clone(),
                source,
            };
            let file = fs::File::open(&path).map_err(read)?;
            let length = file.metadata().map_err(read)?.len();
            stage.insert(
                place(image, &path),
                Node::file(Content::host(&path, length), 0o644),
            )?;
        }
        let name = format!("{}-images.tcz", appliance.name);
        self.make(&name, stage, "Container images", "Imported when the box starts.")?;
        dependency(&name).map(Some)
    }

    fn make(&self, name: &str, stage: Stage, description: &str, comments: &str) -> Result<(), SupplyError> {
        let info = Info {
            description: description.to_owned(),
            version: "1".to_owned(),
            author: "tcforge".to_owned(),
            original_site: "none".to_owned(),
            copying_policy: "none".to_owned(),
            extension_by: "tcforge".to_owned(),
            comments: comments.to_owned(),
            current: NO_HISTORY.to_owned(),
            ..Info::default()
        };
        let draft = Draft {
            file_name: name.to_owned(),
            stage,
            info,
            dependencies: Vec::new(),
            license: "NOASSERTION".to_owned(),
            upstream: Vec::new(),
            inputs: None,
            options: PackOptions {
                time: self.time,
                ..PackOptions::default()
            },
        };
        let base = Base::load(self.project)?;
        draft.make(&base, &|_| Vec::new(), self.folder, self.progress)?;
        Ok(())
    }
}

fn dependency(name: &str) -> Result<Dependency, SupplyError> {
    Dependency::parse(name).map_err(|problem| {
        BuildError::Dependency {
            name: name.to_owned(),
            problem,
        }
        .into()
    })
}

/// Where an image lies: where the services of its namespace look for it.
fn place(image: &Image, path: &Path) -> TreePath {
    let folder = match image.namespace.as_str() {
        "openfaas" => "usr/local/share/faasd/images".to_owned(),
        "openfaas-fn" => "usr/local/share/faasd/images/functions".to_owned(),
        other => format!("usr/local/share/tcforge/images/{other}"),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    // A name of a file has no `..` and no NUL in it.
    TreePath::parse(format!("{folder}/{name}.tar")).unwrap_or_default()
}

/// The modules that a kernel has, as files or built in, by the names that
/// modprobe knows.
fn modules(kernel: &Kernel) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, node) in kernel.modules.iter() {
        let name = path.file_name().unwrap_or_default();
        names.extend(module_name(&String::from_utf8_lossy(name)));
        if let Kind::File(content) = &node.kind
            && name == b"modules.builtin"
        {
            let text = content.read_all().unwrap_or_default();
            names.extend(String::from_utf8_lossy(&text).lines().filter_map(module_name));
        }
    }
    names
}

/// `kernel/net/bridge/br-netfilter.ko.xz` is `br_netfilter`.
fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, rest) = name.split_once(".ko")?;
    (rest.is_empty() || rest.starts_with('.')).then(|| stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_go_by_modprobes_names() {
        for (path, name) in [
            ("kernel/net/bridge/br_netfilter.ko", Some("br_netfilter")),
            ("xt_MASQUERADE.ko.xz", Some("xt_MASQUERADE")),
            ("a-b.ko.gz", Some("a_b")),
            ("modules.dep", None),
            ("x.kob", None),
        ] {
            assert_eq!(module_name(path).as_deref(), name, "{path}");
        }
    }
}
