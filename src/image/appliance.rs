//! Appliances: what an image holds and does, `iso/NAME.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::reference::{Reference, ReferenceError};
use crate::project::{Project, ProjectError};
use crate::recipe::{self, At, ChannelNames, Channels, Fault, Invalid, SourceFile};
use crate::stage::{Owner, TreePath};
use crate::tcz::side::Dependency;

/// The folder of the appliance files.
const FOLDER: &str = "iso";
/// Files there that are no appliances.
const OTHERS: [&str; 1] = ["bases"];

/// The value of `format` that means the rest of the boot medium, and the boot code
/// that asks for it (iso/boot/data.sh).
const REST: &str = "rest";
const REST_CODE: &str = "tcforge.format=rest";

/// The appliance that is made unless another is asked for.
pub const DEFAULT_APPLIANCE: &str = "appliance";

/// An appliance, checked.
#[derive(Debug, Clone)]
pub struct Appliance {
    /// Its file's name without `.toml`; also the box's host name.
    pub name: String,
    /// For menus: a few words.
    pub title: String,
    /// The base that it is made on unless another is asked for.
    pub base: String,
    /// The channels of its extensions.
    pub channels: ChannelNames,
    /// What is loaded, besides all that it needs, in order.
    pub extensions: Vec<Dependency>,
    /// Those of them that go into the initrd (`/tmp/builtin`) and not beside it.
    pub builtin: Vec<Dependency>,
    /// Words of the kernel's command line.
    pub boot_codes: Vec<String>,
    /// Services that the boot starts, in order.
    pub services: Vec<Service>,
    /// Directories that the data disk keeps.
    pub persistent: Vec<TreePath>,
    /// How there comes to be one.
    pub data_disk: DataDisk,
    /// Files of the root filesystem.
    pub files: Vec<File>,
    /// Container images.
    pub images: Vec<Image>,
    /// What listens beyond loopback, on purpose.
    pub listen: Vec<Port>,
}

/// A service that the boot starts: `/usr/local/etc/init.d/NAME start`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The script's name.
    pub name: String,
    /// What has to be run once, before the first start: a command line.
    #[serde(default)]
    pub setup: Option<Setup>,
    /// A file with a secret that was made on the first start: people are told
    /// where it is.
    #[serde(default)]
    pub secret: Option<String>,
    /// Where it answers people.
    #[serde(default)]
    pub url: Option<String>,
}

/// What makes a service ready for its first start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// A command line, run as root.
    pub run: String,
    /// The file that it makes: it is run unless that is there.
    pub makes: String,
}

/// How a box comes to its data disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataDisk {
    /// What is made one if there is none: the value of the boot code `tcforge.format`,
    /// which wins.
    pub format: Option<String>,
    /// Where the rest of the boot medium begins: MiB, which the image may grow to.
    pub begins: u32,
}

impl Default for DataDisk {
    fn default() -> Self {
        Self {
            format: None,
            begins: 1024,
        }
    }
}

/// A file of the root filesystem.
#[derive(Debug, Clone)]
pub struct File {
    /// Where.
    pub path: TreePath,
    /// What is in it.
    pub content: Vec<u8>,
    /// The twelve permission bits.
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
}

/// A container image that the disk carries, as `docker save` or `ctr images
/// export` write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The archive: a path on this machine, from the project's folder.
    pub file: PathBuf,
    /// The containerd namespace that the box imports it to.
    pub namespace: String,
    /// What the image is called on the box; `None` is what the archive says.
    pub name: Option<Reference>,
}

/// Why a text names no container image for the disk.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ImageOptionError {
    /// It is not put together as it should be.
    #[error("`{0}` is not [NAMESPACE:]REF=FILE")]
    #[diagnostic(help("write it as `--image docker.io/library/hello:latest=hello.tar`"))]
    Form(String),
    /// The name is not full.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Reference(#[from] ReferenceError),
    /// The path leads nowhere from here.
    #[error("cannot find the folder that the path `{0}` begins at")]
    #[diagnostic(help("go to a folder that is there, or write the whole path"))]
    Path(String),
}

/// What `--image` is given: `[NAMESPACE:]REF=FILE`, the path from the folder that the
/// command is given in. Without a namespace it is containerd's own, `default`.
impl FromStr for Image {
    type Err = ImageOptionError;

    fn from_str(text: &str) -> Result<Self, ImageOptionError> {
        let form = || ImageOptionError::Form(text.to_owned());
        let (before, file) = text.split_once('=').ok_or_else(form)?;
        if before.is_empty() || file.is_empty() {
            return Err(form());
        }
        // A host's port is a number, and no registry is called by a number alone.
        let with_namespace = before
            .split_once(':')
            .filter(|(namespace, _)| is_service_name(namespace))
            .and_then(|(namespace, name)| Some((namespace, name.parse::<Reference>().ok()?)));
        let (namespace, name) = match with_namespace {
            Some(both) => both,
            None => (DEFAULT_NAMESPACE, before.parse()?),
        };
        Ok(Self {
            file: std::path::absolute(file).map_err(|_| ImageOptionError::Path(file.to_owned()))?,
            namespace: namespace.to_owned(),
            name: Some(name),
        })
    }
}

/// Where containerd's own client looks.
const DEFAULT_NAMESPACE: &str = "default";

/// A port that is open beyond loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Whether it is of UDP, or else of TCP.
    pub udp: bool,
    /// Its number.
    pub number: u16,
}

/// Why there is no appliance.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ApplianceError {
    /// There is none of that name.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unknown(#[from] recipe::UnknownName),
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// Its file has mistakes.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
    /// The channels cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Channel(#[from] recipe::ChannelError),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    title: String,
    #[serde(default = "default_base")]
    base: String,
    #[serde(default = "default_channels")]
    channels: Vec<String>,
    #[serde(default)]
    from: BTreeMap<String, String>,
    extensions: Vec<String>,
    #[serde(default)]
    builtin: Vec<String>,
    #[serde(default = "default_boot_codes")]
    boot_codes: Vec<String>,
    #[serde(default)]
    persistent: Vec<String>,
    #[serde(default)]
    data_disk: DataDisk,
    #[serde(default)]
    listen: Vec<String>,
    #[serde(default, rename = "service")]
    services: Vec<Service>,
    #[serde(default, rename = "file")]
    files: Vec<WrittenFile>,
    #[serde(default, rename = "image")]
    images: Vec<WrittenImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    file: PathBuf,
    namespace: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    owner: Option<String>,
}

fn default_base() -> String {
    "tinycore".to_owned()
}

fn default_channels() -> Vec<String> {
    vec![recipe::DEFAULT_CHANNEL.to_owned()]
}

/// `noembed`: on the first root filesystem nothing can pivot, so no container
/// starts. `cde`: extensions from the disk that is booted. `waitusb`: that disk
/// may take its time. `nozswap`: a kernel without zram would be waited for
/// without end.
fn default_boot_codes() -> Vec<String> {
    ["noembed", "cde", "nozswap", "waitusb=10:LABEL=TCFORGE"]
        .map(str::to_owned)
        .to_vec()
}

impl Appliance {
    /// Reads and checks the appliance of that name. All mistakes are reported at
    /// once, except that a file which is not TOML has only its first.
    pub fn load(project: &Project, name: &str) -> Result<Self, ApplianceError> {
        let file = format!("{FOLDER}/{name}.toml");
        let known = names(project)?;
        if !known.iter().any(|one| one == name) {
            return Err(recipe::UnknownName::new("appliance", name, known).into());
        }
        let source = SourceFile::new(&project.display_name(&file), &project.read_text(&file)?);
        Self::parse(name, &source, project)
    }

    /// Parses and checks the text of an appliance's file.
    pub fn parse(name: &str, source: &SourceFile, project: &Project) -> Result<Self, ApplianceError> {
        let written: Written = source.parse()?;
        let mut check = Check {
            project,
            faults: Vec::new(),
        };
        let channels = ChannelNames {
            channels: written.channels,
            from: written.from,
        };
        check.channels(&channels, &Channels::load(project)?, &recipe::names(project)?);
        check.services(&written.services);
        let appliance = Self {
            name: name.to_owned(),
            extensions: check.extensions("extensions", &written.extensions),
            builtin: check.extensions("builtin", &written.builtin),
            boot_codes: check.boot_codes(&written.boot_codes),
            persistent: check.persistent(&written.persistent),
            data_disk: check.data_disk(written.data_disk),
            files: check.files(&written.files),
            images: check.images(written.images),
            listen: check.ports(&written.listen),
            title: check.line("title", written.title),
            base: written.base,
            channels,
            services: written.services,
        };
        recipe::verdict(source, check.faults)?;
        Ok(appliance)
    }

    /// Whether the rest of the boot medium becomes the data disk.
    pub(super) fn formats_rest(&self) -> bool {
        self.data_disk.format.as_deref() == Some(REST) || self.boot_codes.iter().any(|code| code == REST_CODE)
    }
}

/// The names of all appliances, sorted.
pub fn names(project: &Project) -> Result<Vec<String>, ProjectError> {
    let files = project.files(FOLDER)?.into_iter();
    let names = files.filter_map(|file| Some(file.strip_suffix(".toml")?.to_owned()));
    Ok(names.filter(|name| !OTHERS.contains(&name.as_str())).collect())
}

struct Check<'a> {
    project: &'a Project,
    faults: Vec<(At, Fault)>,
}

impl Check<'_> {
    fn fault(&mut self, at: At, fault: Fault) {
        self.faults.push((at, fault));
    }

    /// An element that is right, or nothing and a mistake noted.
    fn note<T>(&mut self, at: At, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(at, fault)).ok()
    }

    fn line(&mut self, key: &'static str, text: String) -> String {
        if text.trim().is_empty() {
            self.fault(At::default().key(key), Fault::Empty(key));
        } else if text.contains(char::is_control) {
            self.fault(At::default().key(key), Fault::NotOneLine(key));
        }
        text
    }

    fn channels(&mut self, names: &ChannelNames, channels: &Channels, recipes: &[String]) {
        for (index, name) in names.channels.iter().enumerate() {
            self.channel(At::default().key("channels").item(index), name, channels);
        }
        let from = At::default().key("from");
        for (name, channel) in &names.from {
            if !recipes.contains(name) {
                let fault = Fault::UnknownRecipe {
                    recipe: name.clone(),
                    nearest: recipe::nearest(name.trim_end_matches(".tcz"), recipes),
                    known: recipes.to_vec(),
                };
                self.fault(from.name(name), fault);
            }
            self.channel(from.key(name), channel, channels);
        }
    }

    fn channel(&mut self, at: At, name: &str, channels: &Channels) {
        if channels.get(name).is_none() {
            self.fault(at, recipe::unknown_channel(name, channels));
        }
    }

    fn extensions(&mut self, key: &str, names: &[String]) -> Vec<Dependency> {
        let at = At::default().key(key);
        let parse = |name: &String| Dependency::parse(name).map_err(|_| Fault::Dependency(name.clone()));
        let names = names.iter().enumerate();
        names
            .filter_map(|(index, name)| self.note(at.item(index), parse(name)))
            .collect()
    }

    fn boot_codes(&mut self, codes: &[String]) -> Vec<String> {
        let at = At::default().key("boot-codes");
        for (index, code) in codes.iter().enumerate() {
            if !is_boot_code(code) {
                self.fault(at.item(index), Fault::BootCode(code.clone()));
            }
        }
        codes.to_vec()
    }

    fn data_disk(&mut self, disk: DataDisk) -> DataDisk {
        if let Some(format) = disk.format.as_ref().filter(|format| !is_boot_code(format)) {
            let at = At::default().key("data-disk").key("format");
            self.fault(at, Fault::BootCode(format.clone()));
        }
        disk
    }

    fn services(&mut self, services: &[Service]) {
        let at = At::default().key("service");
        for (index, service) in services.iter().enumerate() {
            let at = at.item(index);
            if !is_service_name(&service.name) {
                self.fault(at.key("name"), Fault::Name(service.name.clone()));
            }
            if services[..index].iter().any(|other| other.name == service.name) {
                self.fault(at.key("name"), Fault::TwoServices(service.name.clone()));
            }
            let setup = service.setup.as_ref();
            let texts = [
                ("run", setup.map(|setup| &setup.run)),
                ("makes", setup.map(|setup| &setup.makes)),
                ("secret", service.secret.as_ref()),
                ("url", service.url.as_ref()),
            ];
            for (key, text) in texts {
                if text.is_some_and(|text| text.is_empty() || text.contains(char::is_control)) {
                    self.fault(at.clone(), Fault::NotOneLine(key));
                }
            }
        }
    }

    fn path(&mut self, at: At, text: &str) -> Option<TreePath> {
        let fault = |reason: &str| Fault::Path {
            path: text.to_owned(),
            reason: reason.to_owned(),
        };
        let parsed = TreePath::parse(text)
            .map_err(|error| fault(&error.to_string()))
            .and_then(|path| match path.is_root() {
                true => Err(fault("it is the root itself")),
                false => Ok(path),
            });
        self.note(at, parsed)
    }

    fn persistent(&mut self, paths: &[String]) -> Vec<TreePath> {
        let at = At::default().key("persistent");
        // The script that keeps them splits at blanks.
        let is_plain = |path: &TreePath| path.as_bytes().iter().all(|b| b.is_ascii_graphic());
        let mut kept = Vec::new();
        for (index, text) in paths.iter().enumerate() {
            let Some(path) = self.path(at.item(index), text) else {
                continue;
            };
            if is_plain(&path) {
                kept.push(path);
            } else {
                let reason = "it has blanks or other than ASCII in it".to_owned();
                let path = text.clone();
                self.fault(at.item(index), Fault::Path { path, reason });
            }
        }
        kept
    }

    fn files(&mut self, files: &[WrittenFile]) -> Vec<File> {
        let mut seen = BTreeSet::new();
        let mut checked = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let at = At::default().key("file").item(index);
            let path = self.path(at.key("path"), &file.path);
            if path.as_ref().is_some_and(|path| !seen.insert(path.clone())) {
                self.fault(at.key("path"), Fault::TwoFiles(file.path.clone()));
            }
            let mode = self.note(at.key("mode"), mode(file.mode.as_deref()));
            let owner = self.note(at.key("owner"), owner(file.owner.as_deref()));
            let content = self.content(&at, file);
            if let (Some(path), Some(mode), Some(owner), Some(content)) = (path, mode, owner, content) {
                checked.push(File {
                    path,
                    content,
                    mode,
                    owner,
                });
            }
        }
        checked
    }

    fn content(&mut self, at: &At, file: &WrittenFile) -> Option<Vec<u8>> {
        match (&file.content, &file.from) {
            (Some(content), None) => Some(content.clone().into_bytes()),
            (None, Some(from)) => {
                let name = format!("{FOLDER}/{from}");
                let read = TreePath::parse(from)
                    .ok()
                    .and_then(|_| self.project.read(&name).ok());
                let content = read.map(|bytes| bytes.into_owned());
                self.note(at.key("from"), content.ok_or(Fault::NoFile(name)))
            }
            (given, _) => {
                let both = given.as_ref().map_or(Vec::new(), |_| vec!["content", "from"]);
                self.fault(at.clone(), Fault::FileContent(both));
                None
            }
        }
    }

    fn images(&mut self, images: Vec<WrittenImage>) -> Vec<Image> {
        let mut checked = Vec::new();
        for (index, image) in images.into_iter().enumerate() {
            let at = At::default().key("image").item(index);
            if !is_service_name(&image.namespace) {
                self.fault(at.key("namespace"), Fault::Name(image.namespace.clone()));
            }
            let name = image.name.map(|name| name.parse::<Reference>());
            let name = name.transpose().map_err(|error| Fault::ImageName {
                name: error.text,
                reason: error.reason,
                full: error.full,
            });
            if let Some(name) = self.note(at.key("name"), name) {
                checked.push(Image {
                    file: image.file,
                    namespace: image.namespace,
                    name,
                });
            }
        }
        checked
    }

    fn ports(&mut self, ports: &[String]) -> Vec<Port> {
        let at = At::default().key("listen");
        let ports = ports.iter().enumerate();
        ports
            .filter_map(|(index, text)| self.note(at.item(index), port(text)))
            .collect()
    }
}

/// Whether a text is one word of the kernel's command line.
fn is_boot_code(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte))
}

/// A name that needs no quoting in a shell or a path.
fn is_service_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(known)
}

fn mode(text: Option<&str>) -> Result<u16, Fault> {
    let text = text.unwrap_or("644");
    match u16::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(Fault::Mode(text.to_owned())),
    }
}

fn owner(text: Option<&str>) -> Result<Owner, Fault> {
    let Some(text) = text else { return Ok(Owner::ROOT) };
    let numbers = text.split_once(':').and_then(|(uid, gid)| {
        Some(Owner {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    });
    numbers.ok_or_else(|| Fault::Owner(text.to_owned()))
}

fn port(text: &str) -> Result<Port, Fault> {
    let parsed = text.split_once('/').and_then(|(protocol, number)| {
        let number = number.parse().ok().filter(|number| *number != 0)?;
        match protocol {
            "tcp" => Some(Port { udp: false, number }),
            "udp" => Some(Port { udp: true, number }),
            _ => None,
        }
    });
    parsed.ok_or_else(|| Fault::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_command_line_have_a_name_a_file_and_perhaps_a_namespace() {
        let here = std::env::current_dir().unwrap();
        for (text, namespace, name, file) in [
            ("docker.io/a/b:1=c.tar", "default", "docker.io/a/b:1", "c.tar"),
            (
                "openfaas-fn:docker.io/a/b:1=d/c.tar",
                "openfaas-fn",
                "docker.io/a/b:1",
                "d/c.tar",
            ),
            (
                "localhost:5000/b:1=/c=d.tar",
                "default",
                "localhost:5000/b:1",
                "/c=d.tar",
            ),
            ("k8s.io:localhost:5000/b:1=c", "k8s.io", "localhost:5000/b:1", "c"),
            ("host:5000/a/b:1=c", "default", "host:5000/a/b:1", "c"),
        ] {
            let image: Image = text.parse().unwrap();
            let found = (image.namespace.as_str(), image.name.as_ref().unwrap().as_str());
            assert_eq!(
                (found, image.file),
                ((namespace, name), here.join(file)),
                "{text}"
            );
        }
        for (text, message) in [
            ("docker.io/a/b:1", "`docker.io/a/b:1` is not [NAMESPACE:]REF=FILE"),
            (
                "docker.io/a/b:1=",
                "`docker.io/a/b:1=` is not [NAMESPACE:]REF=FILE",
            ),
            ("=c.tar", "`=c.tar` is not [NAMESPACE:]REF=FILE"),
            (
                "b:1=c.tar",
                "`b:1` is not the full name of a container image: it does not begin with a registry's host",
            ),
            (
                "../x:docker.io/a/b:1=c",
                "`../x:docker.io/a/b:1` is not the full name of a container image: it does not begin with a registry's host",
            ),
        ] {
            assert_eq!(text.parse::<Image>().unwrap_err().to_string(), message);
        }
    }
}
