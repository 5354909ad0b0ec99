//! Requirement lists: which options something needs, and why. They are data
//! files, `kernel/NAME.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::{Config, is_name};
use super::error::KernelError;
use super::value::{Tristate, Value};
use super::version::KernelVersion;
use crate::project::Project;

/// The folder of the lists in a project.
const FOLDER: &str = "kernel";

/// A list of options that something needs.
#[derive(Debug, Clone)]
pub struct RequirementList {
    /// The file's name without `.toml`.
    pub name: String,
    /// What it is for, in a few words.
    pub title: String,
    /// The options, in the file's order.
    pub options: Vec<Requirement>,
}

/// One option, what it has to be, and why.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Requirement {
    /// The option's name without `CONFIG_`.
    pub name: String,
    /// What it has to be.
    pub want: Want,
    /// What it is set to where it is not what it has to be; only for `y-or-m`,
    /// where it is `y` if nothing is said.
    pub set: Option<Value>,
    /// The first kernel that has it; left out for those that had it before 4.0.
    pub since: Option<KernelVersion>,
    /// The first kernel that has it no more.
    pub gone: Option<KernelVersion>,
    /// The options, of the same list, that stand for it before or after.
    #[serde(default)]
    pub replaced_by: Vec<String>,
    /// Who needs it.
    #[serde(rename = "for")]
    pub users: Vec<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Looked at, but neither missed nor turned on.
    #[serde(default)]
    pub optional: bool,
}

/// What an option has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Want {
    /// This.
    Is(Value),
    /// Built in or a module: `y-or-m`.
    On,
}

/// Whether a kernel has an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existence {
    /// It has.
    There,
    /// It came later: with this version.
    NotYet(KernelVersion),
    /// It went before: with this version.
    Gone(KernelVersion),
}

impl Want {
    /// Whether an option's value is what is wanted; `None` is one that the
    /// configuration does not name.
    pub fn is_met(&self, have: Option<&Value>) -> bool {
        match self {
            Self::On => matches!(have, Some(Value::Tristate(Tristate::Yes | Tristate::Module))),
            Self::Is(Value::Tristate(Tristate::No)) => matches!(have, None | Some(&Value::NO)),
            Self::Is(value) => have == Some(value),
        }
    }

    /// The lowest tristate that is wanted, for Kconfig's conditions.
    pub(super) fn level(&self) -> Tristate {
        match self {
            Self::On => Tristate::Module,
            Self::Is(Value::Tristate(value)) => *value,
            Self::Is(_) => Tristate::Yes,
        }
    }

    /// What both want; `None` if nothing is both.
    fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one.clone()),
            (Self::On, is @ Self::Is(value)) | (is @ Self::Is(value), Self::On) => {
                self::Want::On.is_met(Some(value)).then(|| is.clone())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => value.fmt(f),
            Self::On => f.write_str("y or m"),
        }
    }
}

impl Serialize for Want {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Is(value) => value.serialize(serializer),
            Self::On => serializer.serialize_str("y-or-m"),
        }
    }
}

impl<'de> Deserialize<'de> for Want {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "y-or-m" => Ok(Self::On),
            text => text.parse().map(Self::Is).map_err(|()| {
                serde::de::Error::custom(format!(
                    "`{text}` cannot be wanted: write y, m, y-or-m, n, a number, or a text in double quotes"
                ))
            }),
        }
    }
}

impl Requirement {
    /// Whether a kernel has the option.
    pub fn existence(&self, version: KernelVersion) -> Existence {
        match (self.since, self.gone) {
            (Some(since), _) if version < since => Existence::NotYet(since),
            (_, Some(gone)) if version >= gone => Existence::Gone(gone),
            _ => Existence::There,
        }
    }

    fn check(&self, names: &BTreeSet<&str>) -> Result<(), String> {
        let name = &self.name;
        if !is_name(name) || name.starts_with("CONFIG_") {
            return Err(format!("`{name}` is not an option's name: leave `CONFIG_` out"));
        }
        if let Some(other) = self
            .replaced_by
            .iter()
            .find(|other| !names.contains(other.as_str()))
        {
            return Err(format!("{name} is replaced by {other}, which is not in the list"));
        }
        if self.replaced_by.contains(name) {
            return Err(format!("{name} is replaced by itself"));
        }
        if self
            .since
            .zip(self.gone)
            .is_some_and(|(since, gone)| since >= gone)
        {
            return Err(format!("{name} was gone before it came"));
        }
        if !self.replaced_by.is_empty() && self.since.is_none() && self.gone.is_none() {
            return Err(format!(
                "{name} is replaced, but neither `since` nor `gone` says when"
            ));
        }
        if let Some(set) = &self.set
            && (self.want != Want::On || !Want::On.is_met(Some(set)))
        {
            return Err(format!("{name}: `set` is `y` or `m`, and only for `y-or-m`"));
        }
        match self.users.is_empty() || self.reason.trim().is_empty() {
            true => Err(format!("{name}: `for` and `reason` have to say something")),
            false => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    title: String,
    option: Vec<Requirement>,
}

impl RequirementList {
    /// The names of all lists of a project, sorted.
    pub fn names(project: &Project) -> Result<Vec<String>, KernelError> {
        let files = project.files(FOLDER)?;
        let names = files.iter().filter_map(|file| file.strip_suffix(".toml"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Reads lists by their names; all lists if there are no names.
    pub fn load(project: &Project, names: &[String]) -> Result<Vec<Self>, KernelError> {
        let known = Self::names(project)?;
        let mut wanted: Vec<&String> = Vec::new();
        for name in names {
            if !known.contains(name) {
                return Err(KernelError::UnknownSet {
                    name: name.clone(),
                    nearest: known
                        .iter()
                        .map(|other| (strsim::damerau_levenshtein(name, other), other))
                        .filter(|(distance, _)| *distance <= 3)
                        .min()
                        .map(|(_, other)| other.clone()),
                    known,
                });
            }
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        if names.is_empty() {
            wanted = known.iter().collect();
        }
        wanted
            .into_iter()
            .map(|name| Self::load_one(project, name))
            .collect()
    }

    fn load_one(project: &Project, name: &str) -> Result<Self, KernelError> {
        let file = format!("{FOLDER}/{name}.toml");
        let list: ListFile = project.read_toml(&file)?;
        let fail = |what| KernelError::List {
            list: project.display_name(&file),
            what,
        };
        let mut names = BTreeSet::new();
        for option in &list.option {
            if !names.insert(option.name.as_str()) {
                return Err(fail(format!("{} is in it twice", option.name)));
            }
        }
        list.option
            .iter()
            .try_for_each(|option| option.check(&names))
            .map_err(fail)?;
        Ok(Self {
            name: name.to_owned(),
            title: list.title,
            options: list.option,
        })
    }
}

/// An option that one or more lists want.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What it has to be, for all of them.
    pub want: Want,
    /// The lists and what each says.
    pub by: Vec<(&'a RequirementList, &'a Requirement)>,
}

impl<'a> Wanted<'a> {
    /// Brings lists together, in their order. What is merely optional for one
    /// list gives way to what another needs.
    pub fn merge(lists: &'a [RequirementList]) -> Result<Vec<Self>, KernelError> {
        let mut all: Vec<Self> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for list in lists {
            for option in &list.options {
                match places.get(option.name.as_str()) {
                    Some(at) => all[*at].join(list, option)?,
                    None => {
                        places.insert(&option.name, all.len());
                        all.push(Self {
                            want: option.want.clone(),
                            by: vec![(list, option)],
                        });
                    }
                }
            }
        }
        Ok(all)
    }

    fn join(&mut self, list: &'a RequirementList, option: &'a Requirement) -> Result<(), KernelError> {
        match (self.want.and(&option.want), self.optional(), option.optional) {
            (Some(want), _, _) => self.want = want,
            (None, true, false) => self.want = option.want.clone(),
            (None, _, true) => {}
            (None, false, false) => {
                return Err(KernelError::Conflict {
                    name: option.name.clone(),
                    first: self.by[0].0.name.clone(),
                    one: self.want.to_string(),
                    second: list.name.clone(),
                    other: option.want.to_string(),
                });
            }
        }
        self.by.push((list, option));
        Ok(())
    }

    /// The option's name without `CONFIG_`.
    pub fn name(&self) -> &'a str {
        &self.by[0].1.name
    }

    /// Whether none of the lists needs it.
    pub fn optional(&self) -> bool {
        self.by.iter().all(|(_, option)| option.optional)
    }

    /// Whether a kernel has it.
    pub fn existence(&self, version: KernelVersion) -> Existence {
        self.by[0].1.existence(version)
    }

    /// Whether a configuration has it as wanted.
    pub fn is_met(&self, config: &Config) -> bool {
        self.want.is_met(config.get(self.name()))
    }

    /// What it is set to where it is not as wanted.
    pub fn value(&self) -> Value {
        match &self.want {
            Want::Is(value) => value.clone(),
            // A module only if that suits all.
            Want::On => {
                let module = |set: &Option<Value>| set.as_ref() == Some(&Value::MODULE);
                match self.by.iter().all(|(_, option)| module(&option.set)) {
                    true => Value::MODULE,
                    false => Value::YES,
                }
            }
        }
    }

    /// The names of the lists.
    pub fn sets(&self) -> Vec<&'a str> {
        self.by.iter().map(|(list, _)| list.name.as_str()).collect()
    }

    /// Who needs it, each once.
    pub fn users(&self) -> Vec<&'a str> {
        let mut users: Vec<&str> = Vec::new();
        for user in self.by.iter().flat_map(|(_, option)| &option.users) {
            if !users.contains(&user.as_str()) {
                users.push(user);
            }
        }
        users
    }

    /// The reasons of all lists that say different things, one after the other.
    pub fn reason(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        for (_, option) in &self.by {
            if !reasons.contains(&option.reason.as_str()) {
                reasons.push(&option.reason);
            }
        }
        reasons.join("; ")
    }

    /// What stands for it in kernels that do not have it.
    pub fn replaced_by(&self) -> &'a [String] {
        &self.by[0].1.replaced_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists `a`, `b` … of the given options.
    fn lists(texts: &[&str]) -> Result<Vec<RequirementList>, KernelError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("kernel")).unwrap();
        let names: Vec<_> = ('a'..).take(texts.len()).map(String::from).collect();
        for (name, text) in names.iter().zip(texts) {
            let text = text.replace("[[option]]", "[[option]]\nfor = ['x']\nreason = 'why'");
            let file = dir.path().join(format!("kernel/{name}.toml"));
            std::fs::write(file, format!("title = 't'\n{text}")).unwrap();
        }
        RequirementList::load(&Project::in_folder(dir.path()), &names)
    }

    #[test]
    fn the_built_in_lists_are_good_and_go_together() {
        let project = Project::built_in();
        assert_eq!(
            RequirementList::names(&project).unwrap(),
            ["containers", "ext3-xattr", "tinycore", "vps"]
        );
        let lists = RequirementList::load(&project, &[]).unwrap();
        let wanted = Wanted::merge(&lists).unwrap();
        assert!(wanted.len() > 200, "{}", wanted.len());
    }

    #[test]
    fn wrong_lists_are_named() {
        for (text, wanted) in [
            ("[[option]]\nname = 'CONFIG_A'\nwant = 'y'", "leave `CONFIG_` out"),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\n[[option]]\nname = 'A'\nwant = 'y'",
                "A is in it twice",
            ),
            ("[[option]]\nname = 'A'\nwant = 'yes'", "`yes` cannot be wanted"),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\nset = 'm'",
                "only for `y-or-m`",
            ),
            (
                "[[option]]\nname = 'A'\nwant = 'y-or-m'\nset = 'n'",
                "`set` is `y` or `m`",
            ),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\nsince = '5.0'\ngone = '4.0'",
                "gone before it came",
            ),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\nsince = 'new'",
                "`new` is not a kernel version",
            ),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\ngone = '5.0'\nreplaced-by = ['B']",
                "replaced by B",
            ),
            (
                "[[option]]\nname = 'A'\nwant = 'y'\nwhy = ''",
                "unknown field `why`",
            ),
        ] {
            let error = lists(&[text]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_stricter_of_two_lists_wins_and_contradictions_are_told() {
        let option = |want: &str, rest: &str| format!("[[option]]\nname = 'A'\nwant = '{want}'\n{rest}\n");
        for (one, other, wanted) in [
            (option("y-or-m", "set = 'm'"), option("y", ""), Some(("y", false))),
            (option("m", ""), option("y-or-m", ""), Some(("m", false))),
            (
                option("y", ""),
                option("n", "optional = true"),
                Some(("y", false)),
            ),
            (
                option("n", "optional = true"),
                option("y", ""),
                Some(("y", false)),
            ),
            (
                option("y", "optional = true"),
                option("y", "optional = true"),
                Some(("y", true)),
            ),
            (option("y", ""), option("n", ""), None),
            (option("y-or-m", ""), option("64", ""), None),
        ] {
            let lists = lists(&[&one, &other]).unwrap();
            let merged = Wanted::merge(&lists);
            let found = merged
                .as_ref()
                .ok()
                .map(|all| (all[0].want.to_string(), all[0].optional()));
            assert_eq!(
                found,
                wanted.map(|(want, optional)| (want.to_owned(), optional)),
                "{one}{other}"
            );
        }
        let lists = lists(&[&option("y", ""), &option("n", "")]).unwrap();
        assert_eq!(
            Wanted::merge(&lists).unwrap_err().to_string(),
            "`a` wants CONFIG_A to be y, `b` wants n"
        );
    }
}
