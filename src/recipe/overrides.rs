//! `--file ASSET=PATH`: building from a local file instead of the locked one.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Plan;
use super::fault::{key_hint, list};
use super::source::nearest;

/// A local file that is taken for an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The asset's name.
    pub asset: String,
    /// The file.
    pub path: PathBuf,
}

/// Why a local file cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum OverrideError {
    /// Not ASSET=PATH.
    #[error("`{0}` is not ASSET=PATH")]
    #[diagnostic(help("write it as `--file faasd=./faasd`"))]
    Form(String),
    /// No such asset.
    #[error("nothing that is built has an asset `{asset}`")]
    #[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
    Unknown {
        /// The name.
        asset: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// More than one such asset.
    #[error("more than one extension has an asset `{asset}`: {}", list(.plans))]
    #[diagnostic(help("build them one after the other, each with its own file"))]
    Ambiguous {
        /// The name.
        asset: String,
        /// The extensions.
        plans: Vec<String>,
    },
    /// Two files for one asset.
    #[error("`{0}` is given twice")]
    #[diagnostic(help("leave one of the two out"))]
    Twice(String),
    /// No such file.
    #[error("`{}` for the asset `{asset}` is not a file", path.display())]
    #[diagnostic(help("check the path"))]
    NotAFile {
        /// The asset.
        asset: String,
        /// The path.
        path: PathBuf,
    },
}

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((asset, path)) if !asset.is_empty() && !path.is_empty() => Ok(Self {
                asset: asset.to_owned(),
                path: path.into(),
            }),
            _ => Err(OverrideError::Form(text.to_owned())),
        }
    }
}

/// Marks the assets that are taken from local files.
pub fn apply_overrides(plans: &mut [Plan], overrides: &[Override]) -> Result<(), OverrideError> {
    for one in overrides {
        let holders: Vec<_> = (plans.iter())
            .filter(|plan| plan.assets.iter().any(|asset| asset.name == one.asset))
            .map(|plan| plan.name.clone())
            .collect();
        match holders.as_slice() {
            [] => return Err(unknown(plans, &one.asset)),
            [_] => {}
            _ => {
                return Err(OverrideError::Ambiguous {
                    asset: one.asset.clone(),
                    plans: holders,
                });
            }
        }
        mark(plans, one)?;
    }
    Ok(())
}

fn mark(plans: &mut [Plan], one: &Override) -> Result<(), OverrideError> {
    if !Path::is_file(&one.path) {
        return Err(OverrideError::NotAFile {
            asset: one.asset.clone(),
            path: one.path.clone(),
        });
    }
    let assets = plans.iter_mut().flat_map(|plan| &mut plan.assets);
    for asset in assets.filter(|asset| asset.name == one.asset) {
        if asset.local.replace(one.path.clone()).is_some() {
            return Err(OverrideError::Twice(one.asset.clone()));
        }
    }
    Ok(())
}

fn unknown(plans: &[Plan], name: &str) -> OverrideError {
    let assets = plans.iter().flat_map(|plan| &plan.assets);
    let known: Vec<_> = assets.map(|asset| asset.name.clone()).collect();
    OverrideError::Unknown {
        asset: name.to_owned(),
        nearest: nearest(name, &known),
        known,
    }
}
