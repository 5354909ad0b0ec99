//! From a recipe's plan and its fetched files to the staged tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{BuildError, elf};
use crate::archive::{self, Format, Limits};
use crate::initd::{self, Context};
use crate::project::Project;
use crate::recipe::{Plan, PlannedAsset, PlannedFile, Rule, place};
use crate::stage::{Content, Node, Spool, Stage, StageError, TreePath, is_shared_library};

/// Where users start services from.
const INIT_D: &str = "usr/local/etc/init.d";
/// Where the scripts are that run once after an extension is loaded.
const INSTALLED: &str = "usr/local/tce.installed";
/// The tce.installed script of an extension that needs nothing special.
const INSTALLED_TEMPLATE: &str = "tce.installed.sh";

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
        for file in &plan.files {
            let text = self.own_file(plan, file)?;
            insert(plan, &mut stage, file.to.clone(), Node::file(text, file.mode))?;
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
            let script = Script {
                name: &service.name,
                with: &service.with,
                ..Script::of(plan)
            };
            let text = self.render(plan, &service.template, &script)?;
            insert(
                plan,
                &mut stage,
                below(INIT_D, &service.name),
                Node::file(text, 0o755),
            )?;
        }
        self.add_installed(plan, &mut stage)?;
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

    fn own_file(&self, plan: &Plan, file: &PlannedFile) -> Result<Content, BuildError> {
        if file.template {
            return self.render(plan, &file.from, &Script::of(plan));
        }
        let name = plan.data_file(self.project, &file.from)?;
        Ok(Content::bytes(self.project.read(&name)?))
    }

    /// The script that makes at load time what an image cannot hold: state
    /// directories, the loader's index, the `/lib64` link.
    fn add_installed(&self, plan: &Plan, stage: &mut Stage) -> Result<(), BuildError> {
        let libraries = stage.file_paths().any(is_shared_library);
        let lib64 = elf::any_asks_for_lib64(stage).map_err(BuildError::Spool)?;
        let needed = plan.installed.is_some() || libraries || lib64;
        if !needed && plan.persistent.is_empty() {
            return Ok(());
        }
        let template = plan.installed.as_deref().unwrap_or(INSTALLED_TEMPLATE);
        let with = BTreeMap::from([("lib64".to_owned(), toml::Value::Boolean(lib64))]);
        let script = Script {
            libraries,
            with: &with,
            ..Script::of(plan)
        };
        let text = self.render(plan, template, &script)?;
        insert(plan, stage, below(INSTALLED, &plan.name), Node::file(text, 0o775))
    }

    fn render(&self, plan: &Plan, template: &str, script: &Script<'_>) -> Result<Content, BuildError> {
        let persistent: Vec<_> = plan.persistent.iter().map(|path| format!("/{path}")).collect();
        let context = Context {
            name: script.name,
            extension: &plan.name,
            version: &plan.version,
            persistent: &persistent,
            libraries: script.libraries,
            with: script.with,
        };
        let name = plan.data_file(self.project, template)?;
        Ok(Content::bytes(initd::render(self.project, &name, &context)?))
    }
}

/// What is special about one script of an extension.
struct Script<'a> {
    name: &'a str,
    libraries: bool,
    with: &'a BTreeMap<String, toml::Value>,
}

impl<'a> Script<'a> {
    fn of(plan: &'a Plan) -> Self {
        static NONE: BTreeMap<String, toml::Value> = BTreeMap::new();
        Self {
            name: &plan.name,
            libraries: false,
            with: &NONE,
        }
    }
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
