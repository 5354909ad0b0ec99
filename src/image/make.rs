//! From an appliance, a base and folders with extensions to an ISO.

use std::path::{Path, PathBuf};

use super::appliance::Appliance;
use super::base::BootBase;
use super::carried::{Carried, carried};
use super::closure::{ClosureError, Extension, Shelves};
use super::concerns::{self, Concern};
use super::description::Description;
use super::disk::FAT_BEGINS;
use super::iso::{Iso, IsoError, Parts};
use super::overlay::{Overlay, OverlayError};
use super::supply::{Maker, SupplyError};
use crate::audit::AuditError;
use crate::progress::Progress;
use crate::project::{Project, ProjectError};
use crate::scratch::Scratch;

/// What is wanted.
pub struct Request<'a> {
    /// Lists, scripts, templates.
    pub project: &'a Project,
    /// What the image is to be.
    pub appliance: &'a Appliance,
    /// What it starts from.
    pub base: &'a BootBase,
    /// Where extensions are, the first folder that has one winning.
    pub folders: &'a [PathBuf],
    /// Where the ISO goes, `NAME.iso`; it must exist.
    pub out: &'a Path,
    /// SOURCE_DATE_EPOCH, seconds since 1970: the time stamp of everything made;
    /// [`TIME`] without one.
    pub time: Option<u32>,
    /// Where what takes long to make is kept for the next time, if anywhere.
    pub cache: Option<&'a Path>,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// The time stamp of everything unless another is wanted: 1980, before which FAT
/// knows no time. Not the present time, or no two images would be the same.
pub const TIME: u32 = FAT_BEGINS;

/// What was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The ISO.
    pub iso: Iso,
    /// The extensions that the box loads, in order, those in the initrd first.
    pub extensions: Vec<Extension>,
    /// What of them may fail on the box, whoever built them and when.
    pub concerns: Vec<Concern>,
}

/// Why no image was made.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ImageError {
    /// An extension is missing or damaged.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Closure(#[from] ClosureError),
    /// An extension could not be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Supply(#[from] SupplyError),
    /// The extensions could not be looked at.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Audit(#[from] AuditError),
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// The initrd of the appliance could not be put together.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Overlay(#[from] OverlayError),
    /// The ISO could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Iso(#[from] IsoError),
}

/// Makes an image, whole or not at all. The same request, on a machine with the
/// same outside programs, gives the same bytes.
pub fn make(request: &Request<'_>) -> Result<Made, ImageError> {
    let scratch = Scratch::in_dir(request.out).map_err(|source| IsoError::Io {
        action: "write",
        path: request.out.to_owned(),
        source,
    })?;
    let images = carried(request.project, request.appliance)?;
    let (builtin, beside) = extensions(request, &images, scratch.path())?;
    let loaded: Vec<_> = builtin.iter().chain(&beside).cloned().collect();
    let concerns = concerns::of(&loaded, request, scratch.path())?;
    let overlay = Overlay {
        project: request.project,
        appliance: request.appliance,
        base: &request.base.name,
        extensions: &loaded,
        builtin: &builtin,
    };
    let parts = Parts {
        project: request.project,
        appliance: request.appliance,
        base: request.base,
        overlay: &overlay.tree()?,
        extensions: &beside,
        description: &Description::new(request.appliance, request.base, &loaded, &images),
        time: request.time.unwrap_or(TIME),
        cache: request.cache,
        progress: request.progress,
    };
    Ok(Made {
        iso: parts.write(request.out)?,
        extensions: loaded,
        concerns,
    })
}

/// What the initrd carries and what lies beside it, each in the order of loading.
fn extensions(
    request: &Request<'_>,
    images: &[Carried<'_>],
    scratch: &Path,
) -> Result<(Vec<Extension>, Vec<Extension>), ImageError> {
    let (appliance, kernel) = (request.appliance, &request.base.kernel);
    let own = [scratch.to_owned()];
    let shelves = Shelves {
        folders: own.iter().chain(request.folders).cloned().collect(),
        kernel: kernel.release.clone(),
        cache: request.cache.map(Path::to_owned),
    };
    let maker = Maker {
        project: request.project,
        folder: scratch,
        time: request.time.unwrap_or(TIME),
        progress: request.progress,
    };
    let mut roots = appliance.builtin.clone();
    roots.extend(appliance.extensions.iter().cloned());
    roots.extend(maker.images(appliance, images)?);
    let order = shelves.order(&roots).map_err(ClosureError::from)?;
    maker.kernel_extensions(&shelves.missing(&order), &shelves, kernel)?;
    let builtin = shelves.order(&appliance.builtin).map_err(ClosureError::from)?;
    let all = shelves.closure(&roots)?;
    Ok(all
        .into_iter()
        .partition(|extension| builtin.contains(&extension.name)))
}
