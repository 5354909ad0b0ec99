//! From a recipe's plan and its fetched files to the staged tree.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::own::OwnFiles;
use super::{BuildError, elf};
use crate::archive::{self, Format, Limits};
use crate::project::Project;
use crate::recipe::{Plan, PlannedAsset, Rule, place};
use crate::stage::{Node, Spool, Stage, StageError, TreePath, is_shared_library};

/// Where users start services from.
const INIT_D: &str = "usr/local/etc/init.d";
/// Where the scripts are that run once after an extension is loaded.
const INSTALLED: &str = "usr/local/tce.installed";

/// What goes into every tree, whatever the recipe.
pub(super) struct Composer<'a> {
    pub(super) project: &'a Project,
    pub(super) limits: &'a Limits,
}

impl Composer<'_> {
    /// The tree of an extension. `files` are the assets' files, in the order of
    /// the plan.
    pub(super) fn compose(&self, plan: &Plan, files: &[PathBuf]) -> Result<Stage, BuildError> {
        let mut stage = Stage::new();
        for (asset, file) in plan.assets.iter().zip(files) {
            self.unpack(plan, asset, file, &mut stage)?;
        }
        let own = OwnFiles {
            project: self.project,
            plan,
        };
        for file in &plan.files {
            let content = own.file(file)?;
            insert(plan, &mut stage, file.to.clone(), Node::file(content, file.mode))?;
        }
        for link in &plan.links {
            insert(
                plan,
                &mut stage,
                link.path.clone(),
                Node::symlink(link.target.as_str()),
            )?;
        }
        for service in &plan.services {
            let path = below(INIT_D, &service.name);
            insert(plan, &mut stage, path, Node::file(own.service(service)?, 0o755))?;
        }
        add_installed(&own, &mut stage)?;
        if stage.is_empty() {
            // tce-load takes an extension with one path in its upper two levels
            // for a meta extension; an image with none is no extension at all.
            insert(plan, &mut stage, below("", "usr"), Node::directory())?;
        }
        Ok(stage)
    }

    fn unpack(
        &self,
        plan: &Plan,
        asset: &PlannedAsset,
        path: &Path,
        stage: &mut Stage,
    ) -> Result<(), BuildError> {
        let mut file = File::open(path).map_err(|source| BuildError::read(path, source))?;
        let mut spool = Spool::new().map_err(BuildError::Spool)?;
        if let [Rule::Bare { to, mode }] = asset.rules.as_slice() {
            let content = spool.add(&mut file).map_err(BuildError::Spool)?;
            return insert(plan, stage, to.clone(), Node::file(content, *mode));
        }
        let refused = |source| BuildError::Archive {
            extension: plan.name.clone(),
            asset: asset.name.clone(),
            source,
        };
        let format = Format::from_file_name(&asset.origin.file_name()).map_err(refused)?;
        let archive = archive::read(file, &format, self.limits, &mut spool).map_err(refused)?;
        place(&archive, &asset.rules, stage).map_err(|source| BuildError::Place {
            extension: plan.name.clone(),
            asset: asset.name.clone(),
            source,
        })
    }
}

/// Adds the tce.installed script, if the extension needs one.
fn add_installed(own: &OwnFiles<'_>, stage: &mut Stage) -> Result<(), BuildError> {
    let plan = own.plan;
    let libraries = stage.file_paths().any(is_shared_library);
    let lib64 = elf::any_asks_for_lib64(stage).map_err(BuildError::Spool)?;
    let needed = plan.installed.is_some() || libraries || lib64;
    if !needed && plan.persistent.is_empty() {
        return Ok(());
    }
    let script = own.installed(libraries, lib64)?;
    insert(
        plan,
        stage,
        below(INSTALLED, &plan.name),
        Node::file(script, 0o775),
    )
}

/// A path made of parts that a recipe's checks have passed.
fn below(folder: &str, name: &str) -> TreePath {
    TreePath::parse(format!("{folder}/{name}").trim_start_matches('/')).unwrap_or_default()
}

fn insert(plan: &Plan, stage: &mut Stage, path: TreePath, node: Node) -> Result<(), BuildError> {
    stage
        .insert(path, node)
        .map_err(|source: StageError| BuildError::Stage {
            extension: plan.name.clone(),
            source,
        })
}
