//! Building recipes: fetch, compose, make, audit, publish.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::BuildError;
use super::extension::{self, Draft, Extension};
use super::tree::Composer;
use crate::archive::Limits;
use crate::audit;
use crate::base::Base;
use crate::digest::Sha256;
use crate::fetch::{Fetcher, Wanted};
use crate::pool;
use crate::progress::Progress;
use crate::project::Project;
use crate::recipe::{Choice, Lock, Packing, Plan, PlannedAsset, Recipes};
use crate::scratch::Scratch;
use crate::tcz::side::info::packing_note;
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

/// What a build came to.
#[derive(Debug)]
pub struct Outcome {
    /// Every extension that was made.
    pub built: Vec<Built>,
    /// Whether they are in the output folder.
    pub published: bool,
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

impl Builder<'_> {
    /// Builds every plan into `out`, which is made if it is not there.
    pub fn build(&self, plans: Vec<Plan>, out: &Path) -> Result<Outcome, BuildError> {
        let base = Base::load(self.project)?;
        let limits = Limits::load(self.project)?;
        let inputs = plans.iter().map(|plan| self.known_inputs(plan));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let sources = self.sources(&plans)?;
        fs::create_dir_all(out).map_err(|source| BuildError::make_folder(out, source))?;
        let scratch = Scratch::in_dir(out).map_err(|source| BuildError::write(out, source))?;
        let composer = Composer {
            project: self.project,
            limits: &limits,
        };
        let failed = AtomicBool::new(false);
        let parts: Vec<_> = plans.iter().zip(&sources).zip(inputs).collect();
        let results = pool::map(&parts, AT_ONCE, |((plan, sources), inputs)| {
            // All before the first that fails were begun, so that it is always the same.
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let start = Instant::now();
            let draft = self.draft(&composer, plan, sources, *inputs);
            let lookup = |name: &str| self.lookup(name);
            let made = draft.and_then(|draft| draft.make(&base, &lookup, scratch.path(), self.progress));
            failed.fetch_or(made.is_err(), Ordering::Relaxed);
            Some(made.map(|made| (made, start.elapsed())))
        });
        let results: Result<Vec<_>, BuildError> = results.into_iter().flatten().collect();
        let (made, times): (Vec<_>, Vec<_>) = results?.into_iter().unzip();
        let reports = extension::audit_made(&made, out, self.project, &base)?;
        let built: Vec<_> = (plans.into_iter().zip(made).zip(times).zip(reports))
            .map(|(((plan, made), time), report)| Built {
                plan,
                extension: made.extension,
                report,
                time,
            })
            .collect();
        let published =
            self.publish_with_errors || built.iter().all(|one| one.report.worst() < audit::Level::Error);
        if published {
            extension::publish(&scratch, built.iter().map(|one| &one.extension), out)?;
        }
        Ok(Outcome { built, published })
    }

    /// Fetches the files of all plans at once; local files are taken as they are.
    fn sources(&self, plans: &[Plan]) -> Result<Vec<Vec<Source>>, BuildError> {
        let wanted = wanted(plans, self.lock)?;
        let mut fetched = self.fetcher.fetch_all(&wanted, self.progress)?.into_iter();
        let mut sources = Vec::new();
        for plan in plans {
            let mut own = Vec::new();
            for asset in &plan.assets {
                let source = match (
                    &asset.local,
                    asset.local.is_none().then(|| fetched.next()).flatten(),
                ) {
                    (Some(path), _) => Source::local(path)?,
                    (None, Some(cached)) => Source {
                        path: cached.path,
                        sha256: cached.sha256,
                    },
                    (None, None) => continue,
                };
                own.push(source);
            }
            sources.push(own);
        }
        Ok(sources)
    }

    fn draft(
        &self,
        composer: &Composer<'_>,
        plan: &Plan,
        sources: &[Source],
        inputs: Option<Sha256>,
    ) -> Result<Draft, BuildError> {
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
            file_name: format!("{}.tcz", plan.name),
            stage: composer.compose(plan, &paths)?,
            info: info(plan),
            dependencies: plan
                .dependencies
                .iter()
                .map(|name| dependency(name))
                .collect::<Result<_, _>>()?,
            license: plan.license.clone(),
            upstream: upstream.collect(),
            inputs,
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
    for asset in plan.assets.iter().filter(|asset| asset.is_unlocked()) {
        lines.push(format!("{UNLOCKED} in the place of {}.", asset.name));
    }
    lines.join("\n")
}
