//! Archives of container images as `docker save`, `ctr images export` and
//! `buildctl … type=oci` write them: what is in them, whether they are whole, and a copy
//! under another name.
//!
//! Formats: <https://github.com/opencontainers/image-spec> 1.0 and, of docker,
//! <https://github.com/moby/docker-image-spec> 1.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::reference::Reference;
use crate::digest::Sha256;

/// The marker of an OCI image layout, and its list of images.
const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
/// Docker's list of images.
const MANIFEST: &str = "manifest.json";
/// Docker's list before that, which nobody needs.
const REPOSITORIES: &str = "repositories";
/// What containerd calls an image.
const NAME: &str = "io.containerd.image.name";
const TAG: &str = "org.opencontainers.image.ref.name";

/// More is no description of an image.
const LARGEST_JSON: u64 = 4 << 20;
/// Indexes of indexes that are followed.
const DEPTH: usize = 4;

/// What other archives and compressed ones begin with.
const COMPRESSED: [(&[u8], &str); 3] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, 0x37, 0x7a, 0x58, 0x5a], "xz"),
];

/// Why a file is no archive of a container image for the box.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ArchiveProblem {
    /// It cannot be read.
    #[error("it cannot be read")]
    #[diagnostic(help("write one with `docker save` or `ctr images export`, and check the path"))]
    Read(#[from] io::Error),
    /// It is compressed.
    #[error("it is compressed with {0}")]
    #[diagnostic(help("unpack it first, with `{0} -d`: an extension is compressed itself"))]
    Compressed(&'static str),
    /// It is a tar archive of something else, or none.
    #[error("it is no archive of a container image: it has neither {INDEX} nor {MANIFEST}")]
    #[diagnostic(help("write one with `docker save` or `ctr images export`"))]
    NoImage,
    /// It is not whole, or not what it says.
    #[error("it is damaged: {0}")]
    #[diagnostic(help("write it again, with `docker save` or `ctr images export`"))]
    Damaged(String),
    /// It holds more images than one name can be given to, or none.
    #[error("it holds {0} images, and one name is for one image")]
    #[diagnostic(help("save the one image alone"))]
    NotOne(usize),
    /// Nothing says what the image is called.
    #[error("it does not say what its image is called")]
    #[diagnostic(help("give it a name: `--image REF=FILE`, or `name` in the appliance's file"))]
    NoName,
    /// It is for other machines.
    #[error("its image is for {0}, not amd64")]
    #[diagnostic(help("take the one for amd64: `docker pull --platform linux/amd64 …`"))]
    Foreign(String),
}

fn damaged(what: impl Into<String>) -> ArchiveProblem {
    ArchiveProblem::Damaged(what.into())
}

/// An archive, opened and looked through.
#[derive(Debug)]
pub struct ImageArchive {
    file: File,
    /// Where its files are, and how long.
    files: BTreeMap<String, (u64, u64)>,
    /// The list of its images: an OCI index, docker's manifest, or both.
    index: Option<Value>,
    manifest: Option<Value>,
}

impl ImageArchive {
    /// Opens an archive: its image has to be whole as far as its lists tell, and for
    /// this kind of machine. What is in its layers is not read.
    pub fn open(path: &Path) -> Result<Self, ArchiveProblem> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        let mut begin = [0; 6];
        let length = file.read(&mut begin)?;
        if let Some((_, name)) = COMPRESSED
            .iter()
            .find(|(magic, _)| begin[..length].starts_with(magic))
        {
            return Err(ArchiveProblem::Compressed(name));
        }
        let files = files(&file)?;
        let mut archive = Self {
            file,
            files,
            index: None,
            manifest: None,
        };
        if archive.files.contains_key(LAYOUT) && archive.files.contains_key(INDEX) {
            archive.index = Some(archive.json(INDEX)?);
        }
        if archive.files.contains_key(MANIFEST) {
            archive.manifest = Some(archive.json(MANIFEST)?);
        }
        if archive.index.is_none() && archive.manifest.is_none() {
            return Err(ArchiveProblem::NoImage);
        }
        archive.check()?;
        Ok(archive)
    }

    /// What its images are called.
    pub fn names(&self) -> BTreeSet<String> {
        let of_index = self.entries().iter().map(|entry| &entry["annotations"][NAME]);
        let of_docker = self.docker().iter().flat_map(|image| array(&image["RepoTags"]));
        // containerd goes by the index, where there is one.
        let names: Vec<&Value> = match self.index {
            Some(_) => of_index.collect(),
            None => of_docker.collect(),
        };
        names
            .into_iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Whether it can be given a name: it holds one image, by whatever names.
    pub fn is_one(&self) -> Result<(), ArchiveProblem> {
        let digests: BTreeSet<_> = self
            .entries()
            .iter()
            .map(|entry| entry["digest"].as_str())
            .collect();
        let number = match self.index {
            Some(_) => digests.len(),
            None => self.docker().len(),
        };
        match number {
            1 => Ok(()),
            number => Err(ArchiveProblem::NotOne(number)),
        }
    }

    /// Writes a copy of the archive, in which its one image has this name alone.
    pub fn write_named(&self, name: &Reference, out: impl Write) -> Result<(), ArchiveProblem> {
        self.is_one()?;
        let mut tar = tar::Builder::new(out);
        let mut archive = tar::Archive::new(At::begin(&self.file));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut header = entry.header().clone();
            let path = entry.path()?.into_owned();
            let list = match path.to_str() {
                Some(REPOSITORIES) => continue,
                Some(INDEX) => self.index.as_ref().map(|index| named_index(index, name)),
                Some(MANIFEST) => self
                    .manifest
                    .as_ref()
                    .map(|manifest| named_manifest(manifest, name)),
                _ => None,
            };
            if let Some(list) = list {
                let bytes = list.to_string().into_bytes();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            } else if let Some(target) = entry.link_name()? {
                tar.append_link(&mut header, path, target)?;
            } else {
                tar.append_data(&mut header, path, &mut entry)?;
            }
        }
        Ok(tar.into_inner()?.flush()?)
    }

    /// Compares every blob with the sum that it is called by.
    pub fn check_sums(&self) -> Result<(), ArchiveProblem> {
        for (name, &(offset, length)) in &self.files {
            let Some(sum) = name.strip_prefix("blobs/sha256/") else {
                continue;
            };
            let mut blob = At {
                file: &self.file,
                offset,
            }
            .take(length);
            let (found, _) = Sha256::of_reader(&mut blob)?;
            if found.to_string() != sum {
                return Err(damaged(format!("`{name}` has another sum than its name says")));
            }
        }
        Ok(())
    }

    fn entries(&self) -> &[Value] {
        self.index
            .as_ref()
            .map(|index| array(&index["manifests"]))
            .unwrap_or_default()
    }

    fn docker(&self) -> &[Value] {
        self.manifest.as_ref().map(array).unwrap_or_default()
    }

    /// Whether what the lists name is there, and for this kind of machine.
    fn check(&self) -> Result<(), ArchiveProblem> {
        for entry in self.entries() {
            self.check_descriptor(entry, DEPTH)?;
        }
        for image in self.docker().iter().filter(|_| self.index.is_none()) {
            for layer in array(&image["Layers"]) {
                self.place(layer.as_str().unwrap_or_default())?;
            }
            self.check_config(image["Config"].as_str().unwrap_or_default())?;
        }
        Ok(())
    }

    fn check_descriptor(&self, descriptor: &Value, depth: usize) -> Result<(), ArchiveProblem> {
        let document = self.json(&blob(descriptor))?;
        let below = array(&document["manifests"]);
        if below.is_empty() {
            for layer in array(&document["layers"]) {
                self.place(&blob(layer))?;
            }
            return self.check_config(&blob(&document["config"]));
        }
        let platform = |one: &Value| one["platform"]["architecture"].as_str().map(str::to_owned);
        let ours = below
            .iter()
            .find(|one| platform(one).is_none_or(|name| name == "amd64"));
        match ours {
            Some(_) if depth == 0 => Err(damaged("its lists of images go on and on")),
            Some(ours) => self.check_descriptor(ours, depth - 1),
            None => Err(ArchiveProblem::Foreign(
                below.iter().filter_map(platform).collect::<Vec<_>>().join(", "),
            )),
        }
    }

    fn check_config(&self, name: &str) -> Result<(), ArchiveProblem> {
        let config = self.json(name)?;
        match config["architecture"].as_str() {
            Some(other) if other != "amd64" => Err(ArchiveProblem::Foreign(other.to_owned())),
            _ => Ok(()),
        }
    }

    fn place(&self, name: &str) -> Result<(u64, u64), ArchiveProblem> {
        let place = self.files.get(name).copied();
        place.ok_or_else(|| damaged(format!("`{name}` is missing")))
    }

    fn json(&self, name: &str) -> Result<Value, ArchiveProblem> {
        let (offset, length) = self.place(name)?;
        if length > LARGEST_JSON {
            return Err(damaged(format!("`{name}` has {length} bytes")));
        }
        let mut text = Vec::new();
        At {
            file: &self.file,
            offset,
        }
        .take(length)
        .read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(|error| damaged(format!("`{name}`: {error}")))
    }
}

/// Reads a file from some place on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> At<'a> {
    fn begin(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl io::Seek for At<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let offset = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            io::SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.offset = offset.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.offset)
    }
}

/// The files of a tar archive, without reading what is in them.
fn files(file: &File) -> Result<BTreeMap<String, (u64, u64)>, ArchiveProblem> {
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(At::begin(file));
    let mut files = BTreeMap::new();
    let broken = |error: io::Error| damaged(error.to_string());
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(damaged(format!("it ends within `{name}`")));
        }
        // Docker's older archives have links to layers.
        if !entry.header().entry_type().is_dir() {
            files.insert(name, (offset, size));
        }
    }
    Ok(files)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The file of what a descriptor means.
fn blob(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// An index in which the one image has one name.
fn named_index(index: &Value, name: &Reference) -> Value {
    let mut index = index.clone();
    let mut entry = index["manifests"][0].take();
    if !entry["annotations"].is_object() {
        entry["annotations"] = json!({});
    }
    entry["annotations"][NAME] = name.as_str().into();
    entry["annotations"][TAG] = name.tag().into();
    index["manifests"] = json!([entry]);
    index
}

/// The same for docker's list.
fn named_manifest(manifest: &Value, name: &Reference) -> Value {
    let mut manifest = manifest.clone();
    if let Some(image) = manifest.get_mut(0).and_then(Value::as_object_mut) {
        image.insert("RepoTags".to_owned(), json!([name.as_str()]));
    }
    manifest
}
