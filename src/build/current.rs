//! Whether an extension that is there is what a build would make now. Its bill of
//! materials carries one sum of all that it was made of, which goes with it from
//! machine to machine, and is the same wherever the inputs are.

use std::collections::BTreeMap;
use std::path::Path;

use super::BuildError;
use super::own::OwnFiles;
use super::recipes::{Builder, UNLOCKED, unlocked_note};
use crate::base::Base;
use crate::digest::Sha256;
use crate::plain;
use crate::recipe::{Lock, Plan};
use crate::tcz::side::{Info, Sbom};

/// An extension that is there already.
#[derive(Debug)]
pub struct Standing {
    version: String,
    /// The comments of its info file, on one line.
    comments: String,
    inputs: Option<Sha256>,
}

impl Standing {
    /// What lies in `out` for a plan; `None` if that is no extension with an info file.
    pub fn find(plan: &Plan, out: &Path) -> Option<Self> {
        let image = out.join(plan.file_name());
        let info = plain::read(&image.with_added_extension("info")).ok()?;
        let info = image.is_file().then(|| Info::parse(&info).0)?;
        let sbom = plain::read(&image.with_added_extension("spdx.json")).unwrap_or_default();
        Some(Self {
            version: info.version,
            comments: info.comments.split_whitespace().collect::<Vec<_>>().join(" "),
            inputs: Sbom::inputs_of(&sbom),
        })
    }

    /// Whether it was made with a local file that the lock says nothing of.
    pub fn is_unlocked(&self) -> bool {
        self.comments.contains(UNLOCKED)
    }

    /// Whether that was in the place of this asset.
    pub fn is_local(&self, asset: &str) -> bool {
        self.comments.contains(&unlocked_note(asset))
    }
}

impl Builder<'_> {
    /// Whether an extension is what a build of the plan would make now, as far as it
    /// tells: what was made elsewhere says its version and nothing more. So does what was
    /// made with a local file, which nobody else has: it stays until a person removes it.
    pub fn would_make(&self, plan: &Plan, standing: &Standing) -> Result<bool, BuildError> {
        if standing.version != plan.version {
            return Ok(false);
        }
        match standing.inputs {
            Some(inputs) if !standing.is_unlocked() => Ok(inputs == self.inputs(plan)?),
            _ => Ok(true),
        }
    }

    /// The sum of what a plan's extension is made of; `None` with local files, which
    /// are nowhere else.
    pub(super) fn known_inputs(&self, plan: &Plan) -> Result<Option<Sha256>, BuildError> {
        (!plan.is_unlocked()).then(|| self.inputs(plan)).transpose()
    }

    /// One sum of all that a plan's extension is made of. To be taken before the work
    /// begins: who edits something meanwhile has it built again then, and not never.
    fn inputs(&self, plan: &Plan) -> Result<Sha256, BuildError> {
        let recipe = self.recipes.get(&plan.name).map(|recipe| recipe.source.text());
        let mut text = format!(
            "tcforge {}\nchannel {}\ntime {:?}\nrecipe {}\nbase {}\n",
            env!("CARGO_PKG_VERSION"),
            plan.channel,
            self.time,
            Sha256::of(recipe.unwrap_or_default().as_bytes()),
            Sha256::of(&self.project.read(Base::FILE)?),
        );
        let own = OwnFiles {
            project: self.project,
            plan,
        };
        for content in own.all()? {
            let bytes = content.read_all().map_err(BuildError::Spool)?;
            text += &format!("file {}\n", Sha256::of(&bytes));
        }
        for (name, needs) in self.needed_by(plan) {
            text += &format!("needs {name} {needs:?}\n");
        }
        text += &sums(plan, self.lock);
        Ok(Sha256::of(text.as_bytes()))
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

/// The upstream files, with the sums that the lock asks for and who vouches for them.
fn sums(plan: &Plan, lock: &Lock) -> String {
    let line = |origin| {
        let known = lock
            .find(origin)
            .map(|file| format!("{} {}", file.sha256, file.source));
        format!("from {origin} {}\n", known.as_deref().unwrap_or("unknown"))
    };
    plan.assets.iter().map(|asset| line(&asset.origin)).collect()
}
