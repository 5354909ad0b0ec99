//! Whether an extension that is there is what a build would make now. Its bill of
//! materials carries one sum of all that it was made of, which goes with it from
//! machine to machine, and is the same wherever the inputs are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::recipes::{Builder, UNLOCKED};
use crate::digest::Sha256;
use crate::project::ProjectError;
use crate::recipe::{Lock, Plan};
use crate::tcz::side::{Info, Sbom};

/// What is the same for all extensions: scripts, and the rules that a tree is held to.
const SHARED: [&str; 2] = ["initd", "recipes/base"];

/// An extension that is there already.
#[derive(Debug)]
pub struct Standing {
    /// Whether it was made with a local file that the lock says nothing of.
    pub unlocked: bool,
    version: String,
    inputs: Option<Sha256>,
}

impl Standing {
    /// What lies in `out` for a plan; `None` if that is no extension with an info file.
    pub fn find(plan: &Plan, out: &Path) -> Option<Self> {
        let image = out.join(format!("{}.tcz", plan.name));
        let info = fs::read(image.with_added_extension("info")).ok()?;
        let info = image.is_file().then(|| Info::parse(&info).0)?;
        let sbom = fs::read(image.with_added_extension("spdx.json")).unwrap_or_default();
        Some(Self {
            unlocked: info.comments.contains(UNLOCKED),
            version: info.version,
            inputs: Sbom::inputs_of(&sbom),
        })
    }
}

impl Builder<'_> {
    /// Whether an extension is what a build of the plan would make now, as far as it
    /// tells: what was made elsewhere says its version and nothing more. A local file
    /// that it was made with counts as right.
    pub fn would_make(&self, plan: &Plan, standing: &Standing) -> Result<bool, ProjectError> {
        if standing.version != plan.version {
            return Ok(false);
        }
        Ok(match standing.inputs {
            Some(inputs) => inputs == self.inputs(plan, standing.unlocked)?,
            None => true,
        })
    }

    /// One sum of all that a plan's extension is made of, but for the upstream files if
    /// some of them are `unlocked`.
    pub(super) fn inputs(&self, plan: &Plan, unlocked: bool) -> Result<Sha256, ProjectError> {
        let mut text = format!(
            "tcforge {}\nchannel {}\ntime {:?}\n",
            env!("CARGO_PKG_VERSION"),
            plan.channel,
            self.time
        );
        for name in self.data_files(plan)? {
            let sum = Sha256::of(&self.project.read(&name)?);
            text += &format!("file {name} {sum}\n");
        }
        for (name, needs) in self.needed_by(plan) {
            text += &format!("needs {name} {needs:?}\n");
        }
        if !unlocked {
            text += &sums(plan, self.lock);
        }
        Ok(Sha256::of(text.as_bytes()))
    }

    /// The recipe's files, those that it names elsewhere, and what all share.
    fn data_files(&self, plan: &Plan) -> Result<BTreeSet<String>, ProjectError> {
        let mut all = self.project.all_files(&format!("recipes/{}", plan.name))?;
        for folder in SHARED {
            all.append(&mut self.project.all_files(folder)?);
        }
        let files = plan.files.iter().map(|file| &file.from);
        let templates = plan.services.iter().map(|service| &service.template);
        for name in files.chain(templates).chain(&plan.installed) {
            all.insert(plan.data_file(self.project, name)?);
        }
        Ok(all)
    }

    /// What an extension needs, and what that needs, and so on: its tree tells it.
    fn needed_by(&self, plan: &Plan) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        let mut todo = plan.dependencies.clone();
        while let Some(name) = todo.pop() {
            if all.contains_key(&name) {
                continue;
            }
            let needs = self.lookup(&name).into_iter();
            let needs: Vec<String> = needs.map(|one| one.name().to_owned()).collect();
            todo.extend(needs.iter().cloned());
            all.insert(name, needs);
        }
        all
    }
}

/// The upstream files, with the sums that the lock asks for.
fn sums(plan: &Plan, lock: &Lock) -> String {
    let line = |origin| {
        let known = lock.find(origin).map(|file| file.sha256.to_string());
        format!("from {origin} {}\n", known.as_deref().unwrap_or("unknown"))
    };
    plan.assets.iter().map(|asset| line(&asset.origin)).collect()
}
