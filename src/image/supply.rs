//! Where the extensions of an image come from: recipes that were built before,
//! recipes that are built now, and folders with Tiny Core's own; and the few
//! that are made for one image alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::appliance::Appliance;
use super::base::Kernel;
use super::carried::Carried;
use super::closure::{Missing, Shelves};
use super::oci::ArchiveProblem;
use crate::base::Base;
use crate::build::{BuildError, Builder, Built, Draft, Failed, Standing};
use crate::fetch::Fetcher;
use crate::progress::Progress;
use crate::project::{Project, ProjectError};
use crate::recipe::{
    Choice, Lock, LockError, LockedFile, Override, OverrideError, Plan, Recipes, apply_overrides,
};
use crate::seen::{Locks, PinError, Pinned};
use crate::stage::{Content, Kind, Node, Stage, StageError};
use crate::tcz::side::dep::CycleError;
use crate::tcz::side::{Dependency, Info, Upstream};
use crate::tcz::squashfs::PackOptions;

/// The list of what modules extensions bring.
const MODULES: &str = "iso/boot/modules.toml";
/// An info file's last field begins with a day: Tiny Core 11.0's.
const NO_HISTORY: &str = "2020/03/01 Original";

/// What SPDX calls a licence that nobody told.
const UNKNOWN_LICENSE: &str = "NOASSERTION";

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

/// The recipes of an image that are built.
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
    /// Recipes could not be built.
    #[error("could not build {}", names(failed))]
    #[diagnostic(help("what could be built stays, and no image was made"))]
    Failed {
        /// Which, and why.
        failed: Vec<Failed>,
        /// The others.
        supplied: Supplied,
    },
    /// The lock cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// A sum that only upstream publishes could not be kept.
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
    /// A container image cannot go on the disk.
    #[error("the container image `{}` cannot go on the disk", path.display())]
    #[diagnostic(forward(source))]
    Image {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: ArchiveProblem,
    },
    /// Two container images of one name in one namespace.
    #[error("two files are to be `{name}` in the namespace `{namespace}`: `{}` and `{}`", one.display(), other.display())]
    #[diagnostic(help("leave one of them out, or give it another name"))]
    TwoImages {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
        /// One archive.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The box has nothing that imports container images.
    #[error("nothing on the box of `{0}` imports container images")]
    #[diagnostic(help(
        "containerd does: give the appliance the extension `containerd.tcz` and the service `containerd`"
    ))]
    NoImporter(String),
    /// Two container images whose files have the same name.
    #[error("two container images have files of the same name")]
    #[diagnostic(help("rename one of the files, or give the images names"))]
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
            match self.taken(&builder, &plan, out) {
                Ok(Some(standing)) => supplied.add_standing(&plan, &standing, &lock),
                // What is wrong with its inputs, building it tells.
                Ok(None) | Err(_) => missing.push(plan),
            }
        }
        if missing.is_empty() {
            return Ok(supplied);
        }
        let Pinned { lock, plans, unknown } = self.locks.pin(missing, self.fetcher, self.progress)?;
        let mut outcome = self.builder(&lock).build(plans, out)?;
        outcome.add_unknown(unknown);
        supplied.add(&outcome.built, &lock);
        match outcome.failed.is_empty() {
            true => Ok(supplied),
            false => Err(SupplyError::Failed {
                failed: outcome.failed,
                supplied,
            }),
        }
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
            plan.file_name()
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

impl Supplied {
    fn add_standing(&mut self, plan: &Plan, standing: &Standing, lock: &Lock) {
        if standing.is_unlocked() {
            self.unlocked.push(plan.file_name());
        }
        let seen = lock
            .first_seen(plan)
            .filter(|file| !standing.is_local(&file.name));
        self.seen.extend(seen.cloned());
    }

    fn add(&mut self, built: &[Built], lock: &Lock) {
        let names = |one: &Built| one.extension.file_name.clone();
        let unlocked = built.iter().filter(|one| one.plan.is_unlocked());
        self.built.extend(built.iter().map(names));
        self.unlocked.extend(unlocked.map(names));
        let seen = built.iter().flat_map(|one| lock.first_seen(&one.plan));
        self.seen.extend(seen.cloned());
    }
}

fn names(failed: &[Failed]) -> String {
    let names: Vec<_> = failed.iter().map(|one| one.plan().file_name()).collect();
    names.join(", ")
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
            let description = "Kernel modules that the initrd holds";
            self.make(self.draft(&one.name, Stage::new(), description, &text))?;
        }
        Ok(())
    }

    /// Makes the extension that carries the appliance's container images; `None`
    /// if it has none. Mounted and not unpacked, they take no memory.
    pub fn images(
        &self,
        appliance: &Appliance,
        images: &[Carried<'_>],
    ) -> Result<Option<Dependency>, SupplyError> {
        if images.is_empty() {
            return Ok(None);
        }
        let (mut stage, mut upstream) = (Stage::new(), Vec::new());
        for (number, image) in images.iter().enumerate() {
            let copy = self.folder.join(format!("image-{number}.tar"));
            let (path, sha256, length) = image.write(copy)?;
            let place = image.place(appliance);
            stage.insert(place, Node::file(Content::host(path, length), 0o644))?;
            upstream.extend(image.names.iter().map(|name| Upstream {
                name: name.clone(),
                version: name.rsplit_once(':').map_or("", |(_, tag)| tag).to_owned(),
                url: None,
                sha256,
                vouched: None,
                license: UNKNOWN_LICENSE.to_owned(),
            }));
        }
        let name = format!("{}-images.tcz", appliance.name);
        let draft = self.draft(&name, stage, "Container images", "Imported when the box starts.");
        self.make(Draft { upstream, ..draft })?;
        dependency(&name).map(Some)
    }

    fn make(&self, draft: Draft) -> Result<(), SupplyError> {
        let base = Base::load(self.project)?;
        draft.make(&base, &|_| Vec::new(), self.folder, self.progress)?;
        Ok(())
    }

    fn draft(&self, name: &str, stage: Stage, description: &str, comments: &str) -> Draft {
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
        Draft {
            file_name: name.to_owned(),
            stage,
            info,
            dependencies: Vec::new(),
            license: UNKNOWN_LICENSE.to_owned(),
            upstream: Vec::new(),
            inputs: None,
            options: PackOptions {
                time: self.time,
                ..PackOptions::default()
            },
        }
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
