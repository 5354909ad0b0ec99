//! What of the extensions on a disk may fail on the box. They may have been built long
//! ago, by anybody, or for another disk: so all are looked at together, as they lie
//! there. What was found is kept, because reading them takes longer than the disk.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::closure::Extension;
use super::make::{ImageError, Request};
use crate::audit::{self, Finding, Report, Rules};
use crate::base::Base;
use crate::kept::Kept;

/// Raised when findings change for the same extensions.
const VERSION: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));

/// The side files that the audit's findings depend on.
const SIDE_FILES: [&str; 2] = ["dep", "info"];

/// What may fail on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// The extension, `x.tcz`.
    pub extension: String,
    /// What is the matter with it.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Audits the extensions of a disk, but for those that were made for it alone, in
/// `own`.
pub(super) fn of(
    extensions: &[Extension],
    request: &Request<'_>,
    own: &Path,
) -> Result<Vec<Concern>, ImageError> {
    let extensions: Vec<_> = extensions
        .iter()
        .filter(|extension| !extension.image.starts_with(own))
        .collect();
    let kept = request
        .cache
        .map(|cache| place(cache, &extensions, request))
        .transpose()?;
    // A cache that is of no use is no error: it only saves time.
    let known = kept.as_ref().and_then(|kept| kept.load().ok().flatten());
    if let Some(concerns) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(concerns);
    }
    let concerns = audited(&extensions, request, own)?;
    if let (Some(kept), Ok(bytes)) = (kept, serde_json::to_vec(&concerns)) {
        let _ = kept.keep(|file| file.write_all(&bytes));
    }
    Ok(concerns)
}

/// The place for what is found of these extensions by these rules.
fn place(cache: &Path, extensions: &[&Extension], request: &Request<'_>) -> Result<Kept, ImageError> {
    let project = request.project;
    let data = [project.read(Rules::FILE)?, project.read(Base::FILE)?];
    let mut inputs = vec![
        VERSION.as_bytes(),
        request.base.kernel.release.as_bytes(),
        &data[0],
        &data[1],
    ];
    let sums: Vec<_> = extensions.iter().map(|one| one.sha256.to_string()).collect();
    for (extension, sum) in extensions.iter().zip(&sums) {
        inputs.extend([extension.name.as_bytes(), sum.as_bytes()]);
        let side = SIDE_FILES.map(|suffix| extension.side.get(suffix));
        inputs.extend(side.map(|bytes| bytes.map(Vec::as_slice).unwrap_or_default()));
    }
    Ok(Kept::new(cache, "audits", "json", &inputs))
}

fn audited(extensions: &[&Extension], request: &Request<'_>, own: &Path) -> Result<Vec<Concern>, ImageError> {
    let base = Base {
        kernel: request.base.kernel.release.clone(),
        ..Base::load(request.project)?
    };
    let options = audit::Options {
        folders: vec![own.to_owned()],
        ..audit::Options::load(request.project)?
    };
    let files: Vec<PathBuf> = extensions.iter().map(|one| one.image.clone()).collect();
    let reports = audit::check(&files, &base, &options)?;
    Ok(reports.iter().flat_map(concerns).collect())
}

fn concerns(report: &Report) -> impl Iterator<Item = Concern> {
    let findings = report.findings.iter().filter(|finding| finding.may_fail());
    findings.map(|finding| Concern {
        extension: report.name(),
        finding: finding.clone(),
    })
}
