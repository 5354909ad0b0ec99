//! What an image says of itself: `tcforge.json` at the top of the disk, which
//! whoever boots it goes by.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::appliance::Appliance;
use super::base::BootBase;
use super::carried::Carried;
use super::closure::Extension;
use super::tools;
use crate::scratch::Scratch;

/// Its path on the disk.
pub const FILE: &str = "tcforge.json";

/// More is no description of ours.
const LARGEST: u64 = 1 << 20;

/// Where ISO 9660 has the descriptor of the whole volume (ECMA-119, 6.7.1), how it
/// begins, and where in it is the number of blocks (8.4.8).
const DESCRIPTOR: u64 = 16 * BLOCK;
const MAGIC: &[u8] = b"\x01CD001";
const BLOCKS: usize = 80;
const BLOCK: u64 = 2048;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The appliance's name.
    pub name: String,
    /// A few words.
    pub title: String,
    /// What it starts from, in words.
    pub base: String,
    /// The kernel's release.
    pub kernel: String,
    /// The extensions that the box loads, in order.
    pub extensions: Vec<String>,
    /// The services that it starts, in order.
    pub services: Vec<Service>,
    /// The container images that it imports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ContainerImage>,
}

/// A container image of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImage {
    /// Its full name.
    pub name: String,
    /// The containerd namespace that it is imported to.
    pub namespace: String,
}

/// A service of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it answers people, from within the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Why an image cannot be understood.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DescriptionError {
    /// It cannot be read.
    #[error("cannot read the image `{}`", path.display())]
    #[diagnostic(help("`tcforge iso` makes one"))]
    Read {
        /// The image.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ends too early.
    #[error("the image `{}` is not whole: it has {found} bytes of {wanted}", path.display())]
    #[diagnostic(help("copy it again, or make it again with `tcforge iso`"))]
    NotWhole {
        /// The image.
        path: PathBuf,
        /// Its length, bytes.
        found: u64,
        /// What it says of its length, bytes.
        wanted: u64,
    },
    /// The file in it is not what it should be.
    #[error("`{FILE}` in the image `{}` is damaged", path.display())]
    #[diagnostic(help("make the image again with `tcforge iso`"))]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Description {
    /// Of an image that is to be made.
    pub fn new(
        appliance: &Appliance,
        base: &BootBase,
        extensions: &[Extension],
        images: &[Carried<'_>],
    ) -> Self {
        let services = appliance.services.iter().map(|service| Service {
            name: service.name.clone(),
            url: service.url.clone(),
        });
        Self {
            name: appliance.name.clone(),
            title: appliance.title.clone(),
            base: base.title.clone(),
            kernel: base.kernel.release.clone(),
            extensions: extensions.iter().map(|one| one.name.clone()).collect(),
            services: services.collect(),
            images: images.iter().flat_map(Carried::described).collect(),
        }
    }

    /// The file's bytes.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Of an image that is there. None if it is not one of ours: then nothing is
    /// known of it, but it may boot. Needs xorriso; without it nothing is known
    /// either.
    pub fn read(image: &Path) -> Result<Option<Self>, DescriptionError> {
        let failed = |source| DescriptionError::Read {
            path: image.to_owned(),
            source,
        };
        if !is_whole_iso(image)? {
            return Ok(None);
        }
        let Some(bytes) = extract(image).map_err(failed)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| DescriptionError::Damaged {
            path: image.to_owned(),
            source,
        })
    }
}

/// Whether it is an ISO at all; one whose end is missing is an error.
fn is_whole_iso(image: &Path) -> Result<bool, DescriptionError> {
    let failed = |source| DescriptionError::Read {
        path: image.to_owned(),
        source,
    };
    let file = File::open(image).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut descriptor = [0; BLOCK as usize];
    match file.read_exact_at(&mut descriptor, DESCRIPTOR) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    if !descriptor.starts_with(MAGIC) {
        return Ok(false);
    }
    let mut blocks = [0; 4];
    blocks.copy_from_slice(&descriptor[BLOCKS..BLOCKS + 4]);
    let wanted = u64::from(u32::from_le_bytes(blocks)) * BLOCK;
    if found < wanted {
        return Err(DescriptionError::NotWhole {
            path: image.to_owned(),
            found,
            wanted,
        });
    }
    Ok(true)
}

/// The file's bytes, by xorriso.
fn extract(image: &Path) -> io::Result<Option<Vec<u8>>> {
    let scratch = Scratch::in_dir(&std::env::temp_dir())?;
    let to = scratch.path().join(FILE);
    let inside = format!("/{FILE}");
    match tools::extraction(image, [(&*inside, &*to)])?.output() {
        // Whether it has such a file shows in whether it is there now.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    match File::open(&to) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(bytes))
}
