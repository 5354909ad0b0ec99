//! Building recipes: fetch, compose, make, audit, publish.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::BuildError;
use super::extension::{self, Draft, Extension, Made};
use super::tree::Composer;
use crate::archive::Limits;
use crate::audit::{self, AuditError};
use crate::base::Base;
use crate::digest::Sha256;
use crate::fetch::{Cached, Fetcher, Wanted};
use crate::pool;
use crate::progress::Progress;
use crate::project::Project;
use crate::recipe::{Choice, Lock, Packing, Plan, PlannedAsset, Recipes};
use crate::scratch::Scratch;
use crate::seen::PinError;
use crate::tcz::side::info::{optional_note, packing_note};
use crate::tcz::side::{Dependency, Info, Upstream};
use crate::tcz::squashfs::{Compression, PackOptions};

/// Extensions that are made at the same time: while one's archive is unpacked, which
/// takes one processor, another is packed, which takes all. On two processors the
/// `debian` channel took 7.0 s one after the other, and 5.2 s so (9.8 s of processor
/// time). Each needs some 25 MiB of memory, so that more would take more than 64.
const AT_ONCE: usize = 2;

/// Who made the extension, in its info file.
pub(super) const EXTENSION_BY: &str = "tcforge";

/// What an info file's comments begin a line with that tells of a local file.
pub const UNLOCKED: &str = "UNLOCKED: made with a local file";

/// Builds plans.
pub struct Builder<'a> {
    /// Templates, limits, base.
    pub project: &'a Project,
    /// All recipes, for the dependencies of those that are not built now.
    pub recipes: &'a Recipes,
    /// Which channels those come from.
    pub choice: &'a Choice,
    /// What the files' sums have to be.
    pub lock: &'a Lock,
    /// Gets the files.
    pub fetcher: &'a Fetcher,
    /// SOURCE_DATE_EPOCH, seconds since 1970: the time stamp of everything made.
    /// `None` means each release's own day.
    pub time: Option<u32>,
    /// Whether extensions get their names even if the audit finds errors.
    pub publish_with_errors: bool,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// What a build came to: everything that was asked for is in one of the two.
#[derive(Debug)]
pub struct Outcome {
    /// Every extension that was made and got its name.
    pub built: Vec<Built>,
    /// The others, and why.
    pub failed: Vec<Failed>,
}

impl Outcome {
    /// Adds plans that were not built, because the sums of their files are not known.
    pub fn add_unknown(&mut self, unknown: Vec<(Plan, PinError)>) {
        for (plan, error) in unknown {
            self.add_failed(plan, error.into());
        }
    }

    fn add_failed(&mut self, plan: Plan, error: BuildError) {
        self.failed.push(Failed::not_made(plan, error));
    }
}

/// An extension that was made.
#[derive(Debug)]
pub struct Built {
    /// What it was made from.
    pub plan: Plan,
    /// The extension.
    pub extension: Extension,
    /// What the audit says.
    pub report: audit::Report,
    /// How long unpacking, packing and reading back took.
    pub time: Duration,
}

/// An extension that did not get its name.
#[derive(Debug)]
pub enum Failed {
    /// It could not be made.
    NotMade {
        /// From what it was to be made.
        plan: Box<Plan>,
        /// Why not.
        error: BuildError,
    },
    /// It was made, and the audit found errors in it.
    KeptBack(Box<Built>),
}

impl Failed {
    fn not_made(plan: Plan, error: BuildError) -> Self {
        Self::NotMade {
            plan: Box::new(plan),
            error,
        }
    }

    /// From what it was to be made.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::NotMade { plan, .. } => plan,
            Self::KeptBack(built) => &built.plan,
        }
    }
}

/// A plan and all that its extension is made of.
struct Ready {
    plan: Plan,
    inputs: Option<Sha256>,
    sources: Vec<Source>,
}

impl Builder<'_> {
    /// Builds the plans into `out`, which is made if it is not there. One that fails
    /// keeps no other back: extensions need each other when they are loaded, not when
    /// they are made.
    pub fn build(&self, plans: Vec<Plan>, out: &Path) -> Result<Outcome, BuildError> {
        let base = Base::load(self.project)?;
        let limits = Limits::load(self.project)?;
        let options = extension::audit_options(out, self.project)?;
        let (ready, failed) = self.prepare(plans, out);
        let mut outcome = Outcome {
            built: Vec::new(),
            failed,
        };
        if ready.is_empty() {
            return Ok(outcome);
        }
        fs::create_dir_all(out).map_err(|source| BuildError::make_folder(out, source))?;
        let scratch = Scratch::in_dir(out).map_err(|source| BuildError::write(out, source))?;
        let results = pool::map(&ready, AT_ONCE, |ready| {
            let start = Instant::now();
            let made = self.make(ready, &base, &limits, &scratch);
            made.map(|made| (made, start.elapsed()))
        });
        let (mut plans, mut made) = (Vec::new(), Vec::new());
        for (Ready { plan, .. }, result) in ready.into_iter().zip(results) {
            match result {
                Ok((one, time)) => {
                    plans.push((plan, time));
                    made.push(one);
                }
                Err(error) => outcome.add_failed(plan, error),
            }
        }
        for one in audit(plans, made, &base, &options, &mut outcome)? {
            self.publish(one, &scratch, out, &mut outcome);
        }
        Ok(outcome)
    }

    /// Gives an extension its name, unless the audit is against it.
    fn publish(&self, one: Built, scratch: &Scratch, out: &Path, outcome: &mut Outcome) {
        if !self.publish_with_errors && one.report.worst() >= audit::Level::Error {
            return outcome.failed.push(Failed::KeptBack(Box::new(one)));
        }
        match extension::publish(scratch, &one.extension, out) {
            Ok(()) => outcome.built.push(one),
            Err(error) => outcome.add_failed(one.plan, error),
        }
    }

    fn make(
        &self,
        ready: &Ready,
        base: &Base,
        limits: &Limits,
        scratch: &Scratch,
    ) -> Result<Made, BuildError> {
        let composer = Composer {
            project: self.project,
            limits,
        };
        let lookup = |name: &str| self.lookup(name);
        self.draft(&composer, ready)?
            .make(base, &lookup, scratch.path(), self.progress)
    }

    /// Sees to everything that the plans' extensions are made of, before the first is
    /// begun. All files are fetched at once; local ones are taken as they are.
    fn prepare(&self, plans: Vec<Plan>, out: &Path) -> (Vec<Ready>, Vec<Failed>) {
        let (mut wanted, mut failed) = (Vec::new(), Vec::new());
        for plan in plans {
            match self.wanted(&plan, out) {
                Ok((inputs, files)) => wanted.push((plan, inputs, files)),
                Err(error) => failed.push(Failed::not_made(plan, error)),
            }
        }
        let files: Vec<_> = wanted.iter().flat_map(|(_, _, files)| files).cloned().collect();
        let mut fetched = self.fetcher.fetch_each(&files, self.progress);
        let mut ready = Vec::new();
        for (plan, inputs, files) in wanted {
            let cached = fetched.take(&files).map_err(BuildError::from);
            match cached.and_then(|cached| sources(&plan, cached)) {
                Ok(sources) => ready.push(Ready {
                    plan,
                    inputs,
                    sources,
                }),
                Err(error) => failed.push(Failed::not_made(plan, error)),
            }
        }
        (ready, failed)
    }

    /// What has to be fetched for a plan, and the sum of all inputs; an error if it is
    /// known already that nothing can come of it.
    fn wanted(&self, plan: &Plan, out: &Path) -> Result<(Option<Sha256>, Vec<Wanted>), BuildError> {
        extension::refuse_folders(&plan.file_name(), out)?;
        Ok((
            self.known_inputs(plan)?,
            wanted(std::slice::from_ref(plan), self.lock)?,
        ))
    }

    fn draft(&self, composer: &Composer<'_>, ready: &Ready) -> Result<Draft, BuildError> {
        let Ready {
            plan,
            inputs,
            sources,
        } = ready;
        let paths: Vec<_> = sources.iter().map(|source| source.path.clone()).collect();
        let upstream = plan.assets.iter().zip(sources).map(|(asset, source)| Upstream {
            name: asset.name.clone(),
            version: plan.version.clone(),
            url: asset.local.is_none().then(|| asset.origin.identity()),
            sha256: source.sha256,
            vouched: self.vouched(asset),
            license: plan.license.clone(),
        });
        let block_size = plan.packing.block_size;
        Ok(Draft {
            file_name: plan.file_name(),
            stage: composer.compose(plan, &paths)?,
            info: info(plan),
            dependencies: plan
                .dependencies
                .iter()
                .map(|name| dependency(name))
                .collect::<Result<_, _>>()?,
            license: plan.license.clone(),
            upstream: upstream.collect(),
            inputs: *inputs,
            options: PackOptions {
                block_size,
                compression: Compression::new(plan.packing.compression),
                time: self.time.unwrap_or_else(|| seconds(plan)),
                ..PackOptions::default()
            },
        })
    }

    /// Who says that a file's sum is upstream's.
    fn vouched(&self, asset: &PlannedAsset) -> Option<String> {
        let locked = self.lock.find(&asset.origin).filter(|_| !asset.is_unlocked());
        locked.map(|file| file.source.clone())
    }

    /// The direct dependencies of any extension: of the recipe in its channel.
    pub(super) fn lookup(&self, name: &str) -> Vec<Dependency> {
        let recipe = name.strip_suffix(".tcz").and_then(|name| self.recipes.get(name));
        let names = recipe.and_then(|recipe| {
            let channel = self.choice.channel_of(recipe)?;
            Some(recipe.dependencies_in(&channel.name))
        });
        names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| Dependency::parse(name).ok())
            .collect()
    }
}

/// Audits what was made of plans together. What cannot be read fails, and the others are
/// audited without it.
fn audit(
    mut plans: Vec<(Plan, Duration)>,
    mut made: Vec<Made>,
    base: &Base,
    options: &audit::Options,
    outcome: &mut Outcome,
) -> Result<Vec<Built>, BuildError> {
    let reports = loop {
        let error = match extension::audit_made(&made, base, options) {
            Ok(reports) => break reports,
            Err(error) => error,
        };
        let is_told_of = |one: &Made| matches!(&error, AuditError::Read { path, .. } if *path == one.image);
        let Some(index) = made.iter().position(is_told_of) else {
            return Err(error.into());
        };
        made.remove(index);
        outcome.add_failed(plans.remove(index).0, error.into());
    };
    let built = plans.into_iter().zip(made).zip(reports);
    let built = built.map(|(((plan, time), made), report)| Built {
        plan,
        extension: made.extension,
        report,
        time,
    });
    Ok(built.collect())
}

/// What the fetcher has to get for plans, by the lock: every asset that is not
/// a local file, in order.
pub fn wanted(plans: &[Plan], lock: &Lock) -> Result<Vec<Wanted>, BuildError> {
    let mut wanted = Vec::new();
    for plan in plans {
        let locked = plan.assets.iter().zip(lock.of_plan(plan)?);
        wanted.extend(locked.filter_map(|(asset, locked)| Some(locked?.wanted_from(&asset.origin))));
    }
    Ok(wanted)
}

/// The files of a plan's assets: the local ones, and, in order, those that were fetched.
fn sources(plan: &Plan, cached: Vec<Cached>) -> Result<Vec<Source>, BuildError> {
    let mut cached = cached.into_iter().map(|cached| Source {
        path: cached.path,
        sha256: cached.sha256,
    });
    let sources = plan.assets.iter().filter_map(|asset| match &asset.local {
        Some(path) => Some(Source::local(path)),
        None => cached.next().map(Ok),
    });
    sources.collect()
}

/// A file that an extension is made of.
struct Source {
    path: PathBuf,
    sha256: Sha256,
}

impl Source {
    fn local(path: &Path) -> Result<Self, BuildError> {
        let (sha256, _) = File::open(path)
            .and_then(|mut file| Sha256::of_reader(&mut file))
            .map_err(|source| BuildError::read(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            sha256,
        })
    }
}

pub(super) fn dependency(name: &str) -> Result<Dependency, BuildError> {
    Dependency::parse(name).map_err(|problem| BuildError::Dependency {
        name: name.to_owned(),
        problem,
    })
}

/// The release's day as a time stamp.
fn seconds(plan: &Plan) -> u32 {
    let midnight = plan
        .date
        .to_zoned(TimeZone::UTC)
        .map(|day| day.timestamp().as_second());
    midnight
        .ok()
        .and_then(|seconds| u32::try_from(seconds).ok())
        .unwrap_or(0)
}

fn info(plan: &Plan) -> Info {
    Info {
        description: plan.info.description.clone(),
        version: plan.version.clone(),
        author: plan.info.author.clone(),
        original_site: plan.info.site.clone(),
        copying_policy: plan.license.clone(),
        extension_by: EXTENSION_BY.to_owned(),
        tags: plan.info.tags.clone(),
        comments: comments(plan),
        current: format!("{} {}", plan.date.strftime("%Y/%m/%d"), plan.version),
        ..Info::default()
    }
}

/// What an info file says of an asset whose place a local file took.
pub(super) fn unlocked_note(asset: &str) -> String {
    format!("{UNLOCKED} in the place of {asset}.")
}

/// The recipe's comments and what else a person should know.
fn comments(plan: &Plan) -> String {
    // A recipe's lines are broken for the recipe, an info file's anew.
    let paragraphs = plan.info.comments.split("\n\n").filter(|text| !text.is_empty());
    let mut lines: Vec<String> = paragraphs.map(|text| text.replace('\n', " ")).collect();
    if !plan.persistent.is_empty() {
        let paths: Vec<_> = plan.persistent.iter().map(|path| format!("/{path}")).collect();
        lines.push(format!("State is kept in {}.", paths.join(", ")));
    }
    if let Some(reason) = &plan.packing.reason {
        let Packing {
            block_size,
            compression,
            ..
        } = plan.packing;
        let note = packing_note(block_size.get(), &compression.to_string());
        lines.push(format!("{note} {reason}"));
    }
    for one in &plan.optional {
        lines.push(optional_note(one.path.as_str(), &one.reason));
    }
    for asset in plan.assets.iter().filter(|asset| asset.is_unlocked()) {
        lines.push(unlocked_note(&asset.name));
    }
    lines.join("\n")
}
