//! Changing a configuration to what is wanted, and telling what was changed.

use serde::Serialize;

use super::check::absence;
use super::config::Config;
use super::requirements::{Existence, Wanted};
use super::value::Value;
use super::version::KernelVersion;

/// A configuration that was changed to what is wanted.
#[derive(Debug, Clone)]
pub struct Patched {
    /// The changed configuration.
    pub config: Config,
    /// What was changed, in the order of the lists; what that implies behind it.
    pub changes: Vec<Change>,
    /// Wanted options that this kernel does not have.
    pub absent: Vec<Absent>,
}

/// One changed option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The option's name without `CONFIG_`.
    pub name: String,
    /// What it was; `None` if it was not named.
    pub was: Option<Value>,
    /// What it is; `None` if it is not named any more.
    pub is: Option<Value>,
    /// Why.
    pub cause: Cause,
}

impl Change {
    /// Whether a list wants it.
    pub fn is_wanted(&self) -> bool {
        self.cause != Cause::Implied
    }

    /// The lines that went (`- `) and came (`+ `), as in a diff.
    pub fn diff(&self) -> String {
        let line = |sign: &str, value: &Option<Value>| {
            let value = value.as_ref();
            value.map(|value| format!("{sign} {}", Config::line(&self.name, value)))
        };
        let lines = [line("-", &self.was), line("+", &self.is)];
        lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

/// Why an option was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Lists want it.
    Wanted {
        /// Which ones.
        sets: Vec<String>,
        /// Who needs it.
        #[serde(rename = "for")]
        users: Vec<String>,
        /// Why.
        reason: String,
    },
    /// It follows, by Kconfig, from what is wanted.
    Implied,
}

/// A wanted option that a kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Absent {
    /// The option's name without `CONFIG_`.
    pub name: String,
    /// Since or until when, and what stands for it.
    pub note: String,
}

/// Sets every option that is needed and not as wanted. What is optional is left
/// alone.
pub fn patch(config: &Config, version: KernelVersion, wanted: &[Wanted<'_>]) -> Patched {
    let mut patched = Patched {
        config: config.clone(),
        changes: Vec::new(),
        absent: Vec::new(),
    };
    for one in wanted.iter().filter(|one| !one.optional()) {
        let existence = one.existence(version);
        if existence != Existence::There {
            patched.absent.push(Absent {
                name: one.name().to_owned(),
                note: absence(existence, one),
            });
        } else if !one.is_met(config) {
            let value = one.value();
            patched.changes.push(Change {
                name: one.name().to_owned(),
                was: config.get(one.name()).cloned(),
                is: Some(value.clone()),
                cause: Cause::Wanted {
                    sets: one.sets().into_iter().map(str::to_owned).collect(),
                    users: one.users().into_iter().map(str::to_owned).collect(),
                    reason: one.reason(),
                },
            });
            patched.config.set(one.name(), value, None);
        }
    }
    patched
}

impl Patched {
    /// Takes over what Kconfig makes of it: `before` and `after` are the
    /// original and the changed configuration, as `make olddefconfig` completes
    /// them. Whatever differs between the two, the changes imply. New lines go
    /// where `after` has them; the others stay as they are.
    pub fn imply(&mut self, original: &Config, before: &Config, after: &Config) {
        // In their places, instead of at the end.
        let mut config = original.clone();
        let mut previous = None;
        for (name, value) in after.options() {
            let wanted = self.changes.iter_mut().find(|change| change.name == name);
            if let Some(change) = wanted {
                change.is = Some(value.clone());
                config.set(name, value.clone(), previous);
            } else if before.get(name) != Some(value) && original.get(name) != Some(value) {
                self.changes.push(Change {
                    name: name.to_owned(),
                    was: original.get(name).cloned(),
                    is: Some(value.clone()),
                    cause: Cause::Implied,
                });
                config.set(name, value.clone(), previous);
            }
            if config.get(name).is_some() {
                previous = Some(name);
            }
        }
        let vanished = before.options().filter(|(name, _)| after.get(name).is_none());
        for (name, _) in vanished {
            let was = original.get(name).cloned();
            config.remove(name);
            match self.changes.iter_mut().find(|change| change.name == name) {
                Some(change) => change.is = None,
                None => self.changes.push(Change {
                    name: name.to_owned(),
                    was,
                    is: None,
                    cause: Cause::Implied,
                }),
            }
        }
        self.config = config;
        self.changes.retain(|change| change.was != change.is);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::RequirementList;
    use crate::project::Project;

    const CONFIG: &str = "\
# Linux/x86 5.4.3 Kernel Configuration
#
CONFIG_A=y
# CONFIG_B is not set

# a comment
CONFIG_C=m
CONFIG_D=m
CONFIG_S=\"old\"
CONFIG_LAST=1";

    fn lists() -> Vec<RequirementList> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("kernel")).unwrap();
        let option = |rest: &str| format!("[[option]]\nfor = ['x']\nreason = 'why'\n{rest}\n");
        let text = [
            "name = 'A'\nwant = 'y-or-m'",
            "name = 'B'\nwant = 'y'",
            "name = 'C'\nwant = 'y-or-m'",
            "name = 'D'\nwant = 'n'",
            "name = 'S'\nwant = '\"new\"'",
            "name = 'NEW'\nwant = 'y-or-m'\nset = 'm'",
            "name = 'OFF'\nwant = 'n'",
            "name = 'MERELY'\nwant = 'y'\noptional = true",
            "name = 'OLD'\nwant = 'y'\ngone = '4.3'\nreplaced-by = ['A']",
        ];
        let text = format!("title = 't'\n{}", text.map(option).concat());
        std::fs::write(dir.path().join("kernel/mine.toml"), text).unwrap();
        RequirementList::load(&Project::in_folder(dir.path()), &["mine".to_owned()]).unwrap()
    }

    fn patched() -> Patched {
        let config = Config::parse("t", CONFIG).unwrap();
        let lists = lists();
        patch(
            &config,
            config.version().unwrap(),
            &Wanted::merge(&lists).unwrap(),
        )
    }

    #[test]
    fn only_what_is_wanted_changes_and_the_rest_stays_to_the_letter() {
        let patched = patched();
        let wanted = CONFIG
            .replace("# CONFIG_B is not set", "CONFIG_B=y")
            .replace("CONFIG_D=m", "# CONFIG_D is not set")
            .replace("\"old\"", "\"new\"")
            + "\nCONFIG_NEW=m\n";
        assert_eq!(patched.config.to_string(), wanted);
        let diffs: Vec<_> = patched.changes.iter().map(Change::diff).collect();
        assert_eq!(
            diffs,
            [
                "- # CONFIG_B is not set\n+ CONFIG_B=y",
                "- CONFIG_D=m\n+ # CONFIG_D is not set",
                "- CONFIG_S=\"old\"\n+ CONFIG_S=\"new\"",
                "+ CONFIG_NEW=m",
            ]
        );
        assert_eq!(
            patched.absent,
            [Absent {
                name: "OLD".to_owned(),
                note: "absent since 4.3, covered by A".to_owned(),
            }]
        );
    }

    #[test]
    fn what_follows_by_kconfig_goes_where_kconfig_has_it() {
        let mut patched = patched();
        let original = Config::parse("t", CONFIG).unwrap();
        let before =
            "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=m\nCONFIG_E=y\nCONFIG_S=\"old\"\n";
        let after = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_NEW=y\nCONFIG_HELPER=m\nCONFIG_C=y\nCONFIG_E=y\nCONFIG_S=\"new\"\n";
        let parse = |text| Config::parse("t", text).unwrap();
        patched.imply(&original, &parse(before), &parse(after));
        assert_eq!(
            patched.config.to_string(),
            "# Linux/x86 5.4.3 Kernel Configuration\n#\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_NEW=y\nCONFIG_HELPER=m\n\n\
             # a comment\nCONFIG_C=y\nCONFIG_S=\"new\"\nCONFIG_LAST=1"
        );
        let implied: Vec<_> = patched
            .changes
            .iter()
            .filter(|change| !change.is_wanted())
            .collect();
        let names: Vec<_> = implied.iter().map(|change| change.diff()).collect();
        assert_eq!(names, ["+ CONFIG_HELPER=m", "- CONFIG_C=m\n+ CONFIG_C=y"]);
    }
}
