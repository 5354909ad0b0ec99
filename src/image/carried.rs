//! The container images that an appliance's disk carries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::appliance::{Appliance, Image};
use super::description;
use super::oci::{ArchiveProblem, ImageArchive};
use super::supply::SupplyError;
use crate::digest::Sha256;
use crate::project::Project;
use crate::stage::TreePath;

/// The service that imports what is in the box's namespaces of functions.
const FAASD: &str = "faasd";
/// The one without which nothing is imported.
const CONTAINERD: &str = "containerd";

/// A container image that was looked through.
pub struct Carried<'a> {
    image: &'a Image,
    path: PathBuf,
    archive: ImageArchive,
    /// What it is called on the box: by several names, perhaps.
    pub(super) names: BTreeSet<String>,
}

/// Looks through the container images of an appliance: each is there, whole as far as
/// its lists tell, and the only one of its name.
pub fn carried<'a>(project: &Project, appliance: &'a Appliance) -> Result<Vec<Carried<'a>>, SupplyError> {
    let starts = |name: &str| appliance.services.iter().any(|service| service.name == name);
    if !appliance.images.is_empty() && !starts(CONTAINERD) {
        return Err(SupplyError::NoImporter(appliance.name.clone()));
    }
    let folder = project.folder().unwrap_or(Path::new(""));
    let mut seen = BTreeMap::new();
    let mut all = Vec::new();
    for image in &appliance.images {
        let carried = Carried::open(image, folder.join(&image.file))?;
        for name in &carried.names {
            let key = (image.namespace.clone(), name.clone());
            if let Some(one) = seen.insert(key, carried.path.clone()) {
                return Err(SupplyError::TwoImages {
                    name: name.clone(),
                    namespace: image.namespace.clone(),
                    one,
                    other: carried.path,
                });
            }
        }
        all.push(carried);
    }
    Ok(all)
}

impl<'a> Carried<'a> {
    fn open(image: &'a Image, path: PathBuf) -> Result<Self, SupplyError> {
        let open = || -> Result<_, ArchiveProblem> {
            let archive = ImageArchive::open(&path)?;
            let names = match &image.name {
                Some(name) => {
                    archive.is_one()?;
                    BTreeSet::from([name.to_string()])
                }
                None => archive.names(),
            };
            match names.is_empty() {
                true => Err(ArchiveProblem::NoName),
                false => Ok((archive, names)),
            }
        };
        match open() {
            Ok((archive, names)) => Ok(Self {
                image,
                path,
                archive,
                names,
            }),
            Err(source) => Err(SupplyError::Image { path, source }),
        }
    }

    /// The archive as it goes on the disk, its sum and its length: itself, or, if it
    /// gives its image another name, a copy at `copy`.
    pub(super) fn write(&self, copy: PathBuf) -> Result<(PathBuf, Sha256, u64), SupplyError> {
        let write = || -> Result<_, ArchiveProblem> {
            self.archive.check_sums()?;
            let path = match &self.image.name {
                Some(name) if self.archive.names() != self.names => {
                    let out = io::BufWriter::new(File::create_new(&copy)?);
                    self.archive.write_named(name, out)?;
                    copy
                }
                _ => self.path.clone(),
            };
            let (sha256, length) = Sha256::of_reader(&mut File::open(&path)?)?;
            Ok((path, sha256, length))
        };
        write().map_err(|source| SupplyError::Image {
            path: self.path.clone(),
            source,
        })
    }

    /// Where it lies: where the services of its namespace look for it.
    pub(super) fn place(&self, appliance: &Appliance) -> TreePath {
        let faasd = appliance.services.iter().any(|service| service.name == FAASD);
        let folder = match self.image.namespace.as_str() {
            "openfaas" if faasd => "usr/local/share/faasd/images".to_owned(),
            "openfaas-fn" if faasd => "usr/local/share/faasd/images/functions".to_owned(),
            other => format!("usr/local/share/tcforge/images/{other}"),
        };
        let stem = match &self.image.name {
            Some(name) => name.file_stem(),
            None => self
                .path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        };
        // A name of a file has no `..` and no NUL in it.
        TreePath::parse(format!("{folder}/{stem}.tar")).unwrap_or_default()
    }

    /// What the disk says of it.
    pub(super) fn described(&self) -> impl Iterator<Item = description::ContainerImage> {
        self.names.iter().map(|name| description::ContainerImage {
            name: name.clone(),
            namespace: self.image.namespace.clone(),
        })
    }
}
