//! Holding a configuration against requirement lists.

use serde::Serialize;

use super::config::Config;
use super::requirements::{Existence, Want, Wanted};
use super::value::Value;
use super::version::KernelVersion;

/// What a configuration has of what is wanted.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// What the configuration is called.
    pub file: String,
    /// The kernel that it is for.
    pub kernel: KernelVersion,
    /// One for each option, in the lists' order.
    pub options: Vec<Finding>,
}

/// What a configuration has of one option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The option's name without `CONFIG_`.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What it is; `None` if the configuration does not name it.
    pub have: Option<Value>,
    /// What it has to be.
    pub want: Want,
    /// The lists that want it.
    pub sets: Vec<String>,
    /// Who needs it.
    #[serde(rename = "for")]
    pub users: Vec<String>,
    /// Why.
    pub reason: String,
    /// For one that this kernel does not have: since or until when, and what
    /// stands for it.
    pub note: Option<String>,
}

/// How an option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As wanted.
    Good,
    /// This kernel does not have it. That is no lack: what replaced it, if
    /// anything did, is wanted on a line of its own.
    Absent,
    /// Not as wanted, but nothing here fails without it.
    Optional,
    /// Not as wanted.
    Missing,
}

impl CheckReport {
    /// The findings that make the configuration unfit.
    pub fn missing(&self) -> impl Iterator<Item = &Finding> {
        self.options
            .iter()
            .filter(|finding| finding.status == Status::Missing)
    }
}

/// Holds a configuration for a kernel version against what is wanted.
pub fn check(config: &Config, version: KernelVersion, wanted: &[Wanted<'_>]) -> CheckReport {
    CheckReport {
        file: config.name().to_owned(),
        kernel: version,
        options: wanted.iter().map(|one| finding(config, version, one)).collect(),
    }
}

fn finding(config: &Config, version: KernelVersion, wanted: &Wanted<'_>) -> Finding {
    let have = config.get(wanted.name());
    let existence = wanted.existence(version);
    let status = match (wanted.is_met(config), existence) {
        // A distribution may have brought it to an older kernel.
        (true, Existence::There) => Status::Good,
        (true, _) if have.is_some() => Status::Good,
        (_, Existence::NotYet(_) | Existence::Gone(_)) => Status::Absent,
        (false, Existence::There) if wanted.optional() => Status::Optional,
        (false, Existence::There) => Status::Missing,
    };
    Finding {
        name: wanted.name().to_owned(),
        status,
        have: have.cloned(),
        want: wanted.want.clone(),
        sets: wanted.sets().into_iter().map(str::to_owned).collect(),
        users: wanted.users().into_iter().map(str::to_owned).collect(),
        reason: wanted.reason(),
        note: (status == Status::Absent).then(|| absence(existence, wanted)),
    }
}

/// `absent since 4.3, covered by EXT4_FS`.
pub(super) fn absence(existence: Existence, wanted: &Wanted<'_>) -> String {
    let when = match existence {
        Existence::There => String::new(),
        Existence::NotYet(since) => format!("not before {since}"),
        Existence::Gone(gone) => format!("absent since {gone}"),
    };
    match wanted.replaced_by() {
        [] => format!("{when}, and not needed"),
        by => format!("{when}, covered by {}", by.join(", ")),
    }
}
