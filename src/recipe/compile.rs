//! Expanding and typing a release, with every mistake noted at its place.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::fault::Fault;
use super::plan::{
    Glob, Info, Packing, Plan, PlannedAsset, PlannedFile, PlannedLink, PlannedOptional, Rule, Target,
};
use super::source::At;
use super::words::{is_https, is_npm_name, is_word};
use super::{Asset, Channel, Link, Optional, OwnFile, Place, Recipe, Release, Service};
use crate::base::Base;
use crate::fetch::Origin;
use crate::stage::{PathError, SYMLINK_MAX, TreePath};
use crate::tcz::squashfs::BlockSize;
use crate::url::{WebUrl, masked_url};

/// Expands and types a release. Parts with mistakes are left out of the plan,
/// and the mistakes are listed with their places.
pub(super) fn compile(
    recipe: &Recipe,
    release: &Release,
    channel: &Channel,
    base: &Base,
) -> (Plan, Vec<(At, Fault)>) {
    let mut compiler = Compiler {
        recipe,
        release,
        channel,
        base,
        faults: Vec::new(),
    };
    let plan = compiler.plan();
    (plan, compiler.faults)
}

struct Compiler<'a> {
    recipe: &'a Recipe,
    release: &'a Release,
    channel: &'a Channel,
    base: &'a Base,
    faults: Vec<(At, Fault)>,
}

impl Compiler<'_> {
    fn plan(&mut self) -> Plan {
        let top = At::default();
        let here = top.key("release").key(&self.channel.name);
        let recipe = self.recipe;
        let plan = Plan {
            name: recipe.name.clone(),
            channel: self.channel.name.clone(),
            version: self.version(&here),
            date: self.date(&here),
            license: self.license(&top, &here),
            info: Info {
                description: recipe.description.clone(),
                author: recipe.author.clone(),
                site: recipe.site.clone(),
                tags: recipe.tags.clone(),
                comments: recipe.comments.trim().to_owned(),
            },
            dependencies: self.dependencies(&top, &here),
            assets: self.assets(&here),
            files: self.files(&top, &here),
            links: self.links(&top, &here),
            services: self.services(&here.key("with")),
            persistent: self.persistent(&top.key("persistent")),
            installed: recipe.installed.clone(),
            optional: self.optional(&top, &here),
            packing: self.packing(&top.key("pack")),
        };
        if plan.is_meta() && plan.dependencies.is_empty() {
            self.fault(&here, Fault::NothingInRelease(self.channel.name.clone()));
        }
        plan
    }

    fn fault(&mut self, at: &At, fault: Fault) {
        self.faults.push((at.clone(), fault));
    }

    /// The value, or the mistake noted.
    fn note<T>(&mut self, at: &At, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(at, fault)).ok()
    }

    fn version(&mut self, here: &At) -> String {
        let version = &self.release.version;
        self.check_version(&here.key("version"), version);
        version.clone()
    }

    fn check_version(&mut self, at: &At, version: &str) {
        let number = version.strip_prefix('v');
        if number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.fault(at, Fault::VersionWithV(version.to_owned()));
        } else if !is_word(version) {
            self.fault(at, Fault::Version(version.to_owned()));
        }
    }

    fn date(&mut self, here: &At) -> Date {
        let text = &self.release.date;
        let strict = text.len() == 10 && text.starts_with(|c: char| c.is_ascii_digit());
        match text.parse() {
            Ok(date) if strict => date,
            _ => {
                self.fault(&here.key("date"), Fault::Date(text.clone()));
                Date::ZERO
            }
        }
    }

    fn license(&mut self, top: &At, here: &At) -> String {
        let (at, license) = match &self.release.license {
            Some(license) => (here, license),
            None => (top, &self.recipe.license),
        };
        self.note(&at.key("license"), check_license(license));
        license.clone()
    }

    fn dependencies(&mut self, top: &At, here: &At) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        let recipe = self.recipe.dependencies.iter().enumerate().map(|d| (top, d));
        let release = self.release.dependencies.iter().enumerate().map(|d| (here, d));
        for (at, (index, name)) in recipe.chain(release) {
            let at = at.key("dependencies").item(index);
            match name.strip_suffix(".tcz") {
                Some(own) if own == self.recipe.name => {
                    self.fault(&at, Fault::SelfDependency(name.clone()));
                }
                Some(stem) if is_word(stem) => {
                    if seen.insert(name) {
                        all.push(name.clone());
                    }
                }
                _ => self.fault(&at, Fault::Dependency(name.clone())),
            }
        }
        all
    }

    fn assets(&mut self, here: &At) -> Vec<PlannedAsset> {
        let mut names = BTreeSet::new();
        let release = self.release;
        let mut assets = Vec::new();
        for (index, asset) in release.assets.iter().enumerate() {
            let at = here.key("asset").item(index);
            let rules = self.rules(&at, &asset.place);
            let Some(origin) = self.origin(&at, asset) else {
                continue;
            };
            if assets
                .iter()
                .any(|other: &PlannedAsset| differ_in_secrets(&other.origin, &origin))
            {
                self.fault(&at.key("url"), Fault::SameToLock(origin.to_string()));
            }
            let name = asset.name.clone().unwrap_or_else(|| usual_name(&origin));
            if !names.insert(name.clone()) {
                self.fault(&at, Fault::TwoAssets(name.clone()));
            }
            assets.push(PlannedAsset {
                name,
                sum_list: self.sum_list(here, &at, asset),
                origin,
                rules,
                local: None,
            });
        }
        assets
    }

    fn origin(&mut self, at: &At, asset: &Asset) -> Option<Origin> {
        let given = [
            ("url", &asset.url),
            ("debian", &asset.debian),
            ("npm", &asset.npm),
        ];
        let given: Vec<_> = given
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
            .collect();
        let [(key, value)] = given.as_slice() else {
            let keys = given.iter().map(|(key, _)| *key).collect();
            self.fault(at, Fault::Origins(keys));
            return None;
        };
        if let Some(version) = &asset.version {
            self.check_version(&at.key("version"), version);
        }
        let version = asset.version.as_ref().unwrap_or(&self.release.version).clone();
        let here = at.key(key);
        let value = self.expand(&here, value, false);
        match *key {
            "url" => self.url(at, value, asset.version.is_some()),
            "debian" => self.debian(&here, value, version),
            _ => self.npm(&here, value, version),
        }
    }

    fn url(&mut self, at: &At, url: String, has_version: bool) -> Option<Origin> {
        if has_version {
            self.fault(&at.key("version"), Fault::VersionOfUrl);
        }
        if !is_https(&url) {
            self.fault(&at.key("url"), Fault::NotHttps(masked_url(&url)));
            return None;
        }
        self.parse(&at.key("url"), url)
    }

    /// The list with the asset's sum: its own, or that of the release.
    fn sum_list(&mut self, here: &At, at: &At, asset: &Asset) -> Option<WebUrl> {
        let is_web = asset.url.is_some();
        let (at, list) = match (&asset.sum, &self.release.sum) {
            (Some(_), _) if !is_web => {
                self.fault(&at.key("sum"), Fault::SumOfPackage);
                return None;
            }
            (Some(own), _) => (at, own),
            (None, Some(of_release)) if is_web => (here, of_release),
            (None, _) => return None,
        };
        let at = at.key("sum").key("url");
        let url = self.expand(&at, &list.url, false);
        let parsed = match is_https(&url) {
            true => url.parse().map_err(|_| Fault::Origin(masked_url(&url))),
            false => Err(Fault::NotHttps(masked_url(&url))),
        };
        self.note(&at, parsed)
    }

    fn debian(&mut self, at: &At, package: String, version: String) -> Option<Origin> {
        let Some(suite) = self.channel.suite.clone() else {
            self.fault(at, Fault::NoSuite(self.channel.name.clone()));
            return None;
        };
        if !is_word(&package) {
            self.fault(at, Fault::Package(package));
            return None;
        }
        self.parse(at, format!("debian:{suite}/{package}={version}"))
    }

    fn npm(&mut self, at: &At, name: String, version: String) -> Option<Origin> {
        if !is_npm_name(&name) {
            self.fault(at, Fault::Package(name));
            return None;
        }
        self.parse(at, format!("npm:{name}@{version}"))
    }

    fn parse(&mut self, at: &At, text: String) -> Option<Origin> {
        let origin = text.parse();
        self.note(at, origin.map_err(|_| Fault::Origin(text)))
    }

    fn rules(&mut self, at: &At, places: &[Place]) -> Vec<Rule> {
        if places.is_empty() {
            self.fault(at, Fault::NoPlace);
        }
        let mut rules = Vec::new();
        for (index, place) in places.iter().enumerate() {
            let at = at.key("place").item(index);
            let rule = match &place.from {
                None if places.len() > 1 => {
                    self.fault(&at, Fault::BareBesideOthers);
                    None
                }
                None => self.bare(&at, place),
                Some(from) => self.select(&at, place, from),
            };
            rules.extend(rule);
        }
        rules
    }

    fn bare(&mut self, at: &At, place: &Place) -> Option<Rule> {
        if place.to.ends_with('/') || !place.except.is_empty() {
            self.fault(&at.key("to"), Fault::BareToDirectory);
            return None;
        }
        Some(Rule::Bare {
            to: self.destination(&at.key("to"), &place.to)?,
            mode: self.mode(&at.key("mode"), place.mode.as_deref()).unwrap_or(0o755),
        })
    }

    fn select(&mut self, at: &At, place: &Place, from: &str) -> Option<Rule> {
        let from = self.glob(&at.key("from"), from);
        let mut except = Vec::new();
        for (index, glob) in place.except.iter().enumerate() {
            except.extend(self.glob(&at.key("except").item(index), glob));
        }
        let to = self.destination(&at.key("to"), &place.to);
        let mode = self.mode(&at.key("mode"), place.mode.as_deref());
        let target = if place.to.ends_with('/') {
            Target::Directory
        } else {
            Target::File
        };
        Some(Rule::Select {
            from: from?,
            except,
            to: target(to?),
            mode,
        })
    }

    fn glob(&mut self, at: &At, text: &str) -> Option<Glob> {
        let glob = self.expand(at, text, true);
        let result = Glob::new(&glob).map_err(|reason| Fault::Glob { glob, reason });
        self.note(at, result)
    }

    fn files(&mut self, top: &At, here: &At) -> Vec<PlannedFile> {
        let mut files = Vec::new();
        let recipe = self.recipe.files.iter().enumerate().map(|file| (top, file));
        let release = self.release.files.iter().enumerate().map(|file| (here, file));
        for (at, (index, file)) in recipe.chain(release) {
            files.extend(self.file(&at.key("file").item(index), file));
        }
        files
    }

    fn file(&mut self, at: &At, file: &OwnFile) -> Option<PlannedFile> {
        let from = self.path(&at.key("from"), &file.from);
        let to = self.destination(&at.key("to"), &file.to);
        let mode = self.mode(&at.key("mode"), file.mode.as_deref());
        let from = from?;
        Some(PlannedFile {
            from: from.to_string(),
            to: to?,
            mode: mode.unwrap_or(0o644),
            template: file.template,
        })
    }

    fn links(&mut self, top: &At, here: &At) -> Vec<PlannedLink> {
        let mut links = Vec::new();
        let recipe = self.recipe.links.iter().enumerate().map(|link| (top, link));
        let release = self.release.links.iter().enumerate().map(|link| (here, link));
        for (at, (index, link)) in recipe.chain(release) {
            links.extend(self.link(&at.key("link").item(index), link));
        }
        links
    }

    fn link(&mut self, at: &At, link: &Link) -> Option<PlannedLink> {
        let path = self.destination(&at.key("path"), &link.path);
        let target = self.expand(&at.key("target"), &link.target, false);
        if !(1..=SYMLINK_MAX).contains(&target.len()) || target.contains(char::is_control) {
            self.fault(&at.key("target"), Fault::LinkTarget(target));
            return None;
        }
        Some(PlannedLink { path: path?, target })
    }

    fn services(&mut self, at: &At) -> Vec<Service> {
        let mut services = self.recipe.services.clone();
        for (name, values) in &self.release.with {
            match services.iter_mut().find(|service| service.name == *name) {
                Some(service) => service.with.extend(values.clone()),
                None => {
                    let known = services.iter().map(|service| service.name.clone()).collect();
                    self.fault(&at.name(name), Fault::unknown_service(name, known));
                }
            }
        }
        services
    }

    fn persistent(&mut self, at: &At) -> Vec<TreePath> {
        let recipe = self.recipe;
        let mut paths = Vec::new();
        for (index, path) in recipe.persistent.iter().enumerate() {
            paths.extend(self.path(&at.item(index), path));
        }
        paths
    }

    fn optional(&mut self, top: &At, here: &At) -> Vec<PlannedOptional> {
        let mut all = Vec::new();
        let recipe = self.recipe.optional.iter().enumerate().map(|one| (top, one));
        let release = self.release.optional.iter().enumerate().map(|one| (here, one));
        for (at, (index, Optional { path, reason })) in recipe.chain(release) {
            let at = at.key("optional").item(index);
            if reason.trim().is_empty() {
                self.fault(&at.key("reason"), Fault::NoReason);
            }
            // The info file tells where it ends.
            if path.contains(char::is_whitespace) {
                let reason = "it has blanks in it".to_owned();
                let glob = path.clone();
                self.fault(&at.key("path"), Fault::Glob { glob, reason });
            } else if let Some(path) = self.glob(&at.key("path"), path) {
                let reason = reason.trim().to_owned();
                all.push(PlannedOptional { path, reason });
            }
        }
        all
    }

    fn packing(&mut self, at: &At) -> Packing {
        let usual = Packing::default();
        let Some(pack) = &self.recipe.pack else {
            return usual;
        };
        let block_size = pack.block_size.map_or(Ok(usual.block_size), BlockSize::new);
        let block_size = block_size.map_err(|_| Fault::BlockSize(pack.block_size.unwrap_or_default()));
        let compression = pack
            .compression
            .as_deref()
            .map_or(Ok(usual.compression), str::parse);
        let compression =
            compression.map_err(|_| Fault::Compression(pack.compression.clone().unwrap_or_default()));
        if pack.reason.trim().is_empty() {
            self.fault(&at.key("reason"), Fault::NoReason);
        }
        Packing {
            block_size: self
                .note(&at.key("block-size"), block_size)
                .unwrap_or(usual.block_size),
            compression: self
                .note(&at.key("compression"), compression)
                .unwrap_or(usual.compression),
            reason: Some(pack.reason.trim().to_owned()),
        }
    }

    /// A path in the extension that something is put at.
    fn destination(&mut self, at: &At, text: &str) -> Option<TreePath> {
        let path = self.path(at, text)?;
        if self.base.is_run_time_path(&path) {
            self.fault(at, Fault::RunTime(path.to_string()));
            return None;
        }
        Some(path)
    }

    fn path(&mut self, at: &At, text: &str) -> Option<TreePath> {
        let text = self.expand(at, text, false);
        let path = match TreePath::parse(&text) {
            Ok(path) if path.is_root() => Err("it is empty".to_owned()),
            Ok(_) if text.contains(char::is_control) => Err("it has control characters".to_owned()),
            Ok(path) => Ok(path),
            Err(error @ (PathError::Absolute | PathError::Parent | PathError::Nul)) => Err(error.to_string()),
        };
        self.note(at, path.map_err(|reason| Fault::Path { path: text, reason }))
    }

    fn mode(&mut self, at: &At, text: Option<&str>) -> Option<u16> {
        let text = text?;
        let mode = match u16::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && text.len() <= 4 && !text.starts_with('+') => Ok(mode),
            _ => Err(Fault::Mode(text.to_owned())),
        };
        self.note(at, mode)
    }

    /// Puts values in for `{version}` and `{name}`. In a glob, braces with
    /// anything but a word between them are the glob's own.
    fn expand(&mut self, at: &At, text: &str, glob: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let word = after.split_once('}');
            let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            match word {
                Some(("version", after)) => {
                    out.push_str(&self.release.version);
                    rest = after;
                }
                Some(("name", after)) => {
                    out.push_str(&self.recipe.name);
                    rest = after;
                }
                Some((word, after)) if is_word(word) || !glob => {
                    self.fault(at, Fault::Placeholder(word.to_owned()));
                    rest = after;
                }
                _ => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out + rest
    }
}

/// Whether two origins are one to the lock, and not one to the server.
fn differ_in_secrets(a: &Origin, b: &Origin) -> bool {
    match (a, b) {
        (Origin::Web(a), Origin::Web(b)) => a == b && a.with_secrets() != b.with_secrets(),
        _ => false,
    }
}

/// What an asset is called unless the recipe says otherwise: the last part of
/// the URL, or the package's name.
fn usual_name(origin: &Origin) -> String {
    match origin {
        Origin::Debian(package) => package.package().to_owned(),
        Origin::Npm(package) => package.name().to_owned(),
        Origin::Web(_) | Origin::File(_) => origin.file_name(),
    }
}

fn check_license(license: &str) -> Result<(), Fault> {
    match spdx::Expression::parse(license) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::License {
            license: license.to_owned(),
            reason: error.reason.to_string(),
            part: license.get(error.span).unwrap_or(license).to_owned(),
        }),
    }
}
