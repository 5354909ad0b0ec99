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
            let was = config.get(name).cloned();
            if config.remove(name) {
                self.changes.push(Change {
                    name: name.to_owned(),
                    was,
                    is: None,
                    cause: Cause::Implied,
                });
            }
        }
        self.config = config;
        self.changes.retain(|change| change.was != change.is);
    }
}

