//! What a recipe brings itself: files, and the scripts that are rendered for it.

use std::collections::BTreeMap;

use super::BuildError;
use crate::initd::{self, Context};
use crate::project::Project;
use crate::recipe::{Plan, PlannedFile, Service};
use crate::stage::Content;

/// The tce.installed script of an extension that needs nothing special.
const INSTALLED_TEMPLATE: &str = "tce.installed.sh";

/// The recipe's own files, as they are in its extension.
pub(super) struct OwnFiles<'a> {
    pub(super) project: &'a Project,
    pub(super) plan: &'a Plan,
}

impl OwnFiles<'_> {
    /// A file that the recipe names.
    pub(super) fn file(&self, file: &PlannedFile) -> Result<Content, BuildError> {
        if file.template {
            return self.render(&file.from, &Script::of(self.plan));
        }
        let name = self.plan.data_file(self.project, &file.from)?;
        Ok(Content::bytes(self.project.read(&name)?))
    }

    /// The script of a service.
    pub(super) fn service(&self, service: &Service) -> Result<Content, BuildError> {
        let script = Script {
            name: &service.name,
            with: &service.with,
            ..Script::of(self.plan)
        };
        self.render(&service.template, &script)
    }

    /// The script that makes at load time what an image cannot hold: state
    /// directories, the loader's index for `libraries`, the `/lib64` link.
    pub(super) fn installed(&self, libraries: bool, lib64: bool) -> Result<Content, BuildError> {
        let template = self.plan.installed.as_deref().unwrap_or(INSTALLED_TEMPLATE);
        let with = BTreeMap::from([("lib64".to_owned(), toml::Value::Boolean(lib64))]);
        let script = Script {
            libraries,
            with: &with,
            ..Script::of(self.plan)
        };
        self.render(template, &script)
    }

    /// All of them, in an order of their own: what an extension needs of the last
    /// tell only the upstream files.
    pub(super) fn all(&self) -> Result<Vec<Content>, BuildError> {
        let files = self.plan.files.iter().map(|file| self.file(file));
        let services = self.plan.services.iter().map(|service| self.service(service));
        let installed = [(false, false), (false, true), (true, false), (true, true)];
        let installed = installed.map(|(libraries, lib64)| self.installed(libraries, lib64));
        files.chain(services).chain(installed).collect()
    }

    fn render(&self, template: &str, script: &Script<'_>) -> Result<Content, BuildError> {
        let plan = self.plan;
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
