//! The last initrd: what makes a base an appliance. Scripts that bring up data
//! disk and services, the lists that they read, the appliance's own files, and
//! built-in extensions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::appliance::{Appliance, Service};
use super::closure::Extension;
use super::initrd::Tree;
use crate::base::Base;
use crate::project::{Project, ProjectError};
use crate::stage::{Content, Node, Stage, StageError, TreePath};

/// The list of files, and the folder that it lies in.
const LIST: &str = "iso/boot/files.toml";
const FOLDER: &str = "iso/boot";
/// Where the box keeps what the image says of it.
const LISTS: &str = "etc/tcforge";
/// Extensions of the initrd itself (Core-scripts' tce-setup).
const BUILTIN: &str = "tmp/builtin";

/// The label of the disk that keeps what has to last.
pub const DATA_LABEL: &str = "tcforge-data";

/// Why the last initrd could not be put together.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum OverlayError {
    /// A data file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// Two files want the same path.
    #[error("cannot put together the initrd of the appliance")]
    #[diagnostic(help("a file of the appliance is in the way of another: change its path"))]
    Stage(#[from] StageError),
    /// A service whose script no extension brings.
    #[error("no extension of the image has the service `{0}`")]
    #[diagnostic(help(
        "its script would be `usr/local/etc/init.d/{0}`: add the extension that has it, or drop the service"
    ))]
    NoService(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    file: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    from: String,
    path: String,
    #[serde(deserialize_with = "crate::base::mode")]
    mode: u16,
    #[serde(default)]
    base: Option<String>,
}

/// What goes over the root filesystem of a base.
pub struct Overlay<'a> {
    /// Scripts and lists.
    pub project: &'a Project,
    /// The appliance.
    pub appliance: &'a Appliance,
    /// The base's name.
    pub base: &'a str,
    /// All extensions that are loaded, in order.
    pub extensions: &'a [Extension],
    /// Those of them that the initrd carries, in order.
    pub builtin: &'a [Extension],
}

impl Overlay<'_> {
    /// Puts it together.
    pub fn tree(&self) -> Result<Tree, OverlayError> {
        self.check_services()?;
        let mut stage = Stage::new();
        for file in &self.appliance.files {
            let node = Node {
                owner: file.owner,
                ..Node::file(Content::bytes(file.content.clone()), file.mode)
            };
            stage.insert(file.path.clone(), node)?;
        }
        let list: List = self.project.read_toml(LIST)?;
        for file in list.file {
            let path = path(&file.path);
            let here = file.base.is_none_or(|base| base == self.base);
            if here && stage.get(&path).is_none() {
                let content = self.project.read(&format!("{FOLDER}/{}", file.from))?;
                stage.insert(path, Node::file(Content::bytes(content.into_owned()), file.mode))?;
            }
        }
        for (name, text) in self.lists() {
            stage.insert(
                path(&format!("{LISTS}/{name}")),
                Node::file(Content::bytes(text), 0o644),
            )?;
        }
        self.insert_builtin(&mut stage)?;
        let base = Base::load(self.project)?;
        keep_directories(&mut stage, &base);
        Ok(Tree {
            stage,
            devices: Vec::new(),
        })
    }

    fn check_services(&self) -> Result<(), OverlayError> {
        for service in &self.appliance.services {
            let script = format!("usr/local/etc/init.d/{}", service.name);
            if !self.extensions.iter().any(|extension| extension.has(&script)) {
                return Err(OverlayError::NoService(service.name.clone()));
            }
        }
        Ok(())
    }

    /// What the scripts read: by its name, the text.
    fn lists(&self) -> BTreeMap<&'static str, String> {
        let appliance = self.appliance;
        let persistent = appliance.persistent.iter().map(|path| format!("/{path}"));
        let listen = appliance.listen.iter().map(|port| {
            let protocol = if port.udp { "udp" } else { "tcp" };
            format!("{protocol}/{}", port.number)
        });
        // None of the values has a quote in it: they are checked.
        let settings = [
            ("APPLIANCE", appliance.name.clone()),
            ("DATA_LABEL", DATA_LABEL.to_owned()),
            ("DATA_BEGINS", appliance.data_disk.begins.to_string()),
            (
                "DATA_FORMAT",
                appliance.data_disk.format.clone().unwrap_or_default(),
            ),
            ("PERSISTENT", persistent.collect::<Vec<_>>().join(" ")),
            ("LISTEN", listen.collect::<Vec<_>>().join(" ")),
        ];
        let settings = settings.map(|(name, value)| format!("{name}={}\n", quote(&value)));
        let lines = |names: &mut dyn Iterator<Item = String>| names.map(|name| name + "\n").collect();
        BTreeMap::from([
            ("appliance", settings.concat()),
            ("services", lines(&mut appliance.services.iter().map(line))),
            (
                "extensions",
                lines(&mut self.extensions.iter().map(|one| one.name.clone())),
            ),
        ])
    }

    fn insert_builtin(&self, stage: &mut Stage) -> Result<(), OverlayError> {
        let mut names = String::new();
        for extension in self.builtin {
            let image = path(&format!("{BUILTIN}/optional/{}", extension.name));
            let content = Content::host(&extension.image, extension.size);
            stage.insert(image, Node::file(content, 0o644))?;
            if let Some(text) = extension.side.get("dep") {
                let dep = path(&format!("{BUILTIN}/optional/{}.dep", extension.name));
                stage.insert(dep, Node::file(Content::bytes(text.clone()), 0o644))?;
            }
            names += &format!("{}\n", extension.name);
        }
        if !names.is_empty() {
            let list = path(&format!("{BUILTIN}/onboot.lst"));
            stage.insert(list, Node::file(Content::bytes(names), 0o644))?;
        }
        Ok(())
    }
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap_or_default()
}

/// A line of /etc/tcforge/services: five fields, `-` for one that is empty.
fn line(service: &Service) -> String {
    let setup = service.setup.as_ref();
    let fields = [
        Some(&service.name),
        setup.map(|setup| &setup.run),
        setup.map(|setup| &setup.makes),
        service.secret.as_ref(),
        service.url.as_ref(),
    ];
    fields.map(|field| field.map_or("-", String::as_str)).join("\t")
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The kernel gives directories that are there the owner and mode that a later
/// archive has for them: the system's own.
fn keep_directories(stage: &mut Stage, base: &Base) {
    for (path, node) in stage.iter_mut() {
        if let Some(system) = base.directory(path).filter(|_| node.is_dir()) {
            node.mode = system.mode;
            node.owner = system.owner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::SourceFile;

    const TEXT: &str = "title = 'T'\nextensions = ['a.tcz']\npersistent = ['var/lib/a', 'home']\nlisten = ['tcp/22', 'udp/68']\n\
        [data-disk]\nformat = 'rest'\n[[service]]\nname = 'a'\nurl = 'http://127.0.0.1/'\n\
        [[service]]\nname = 'b'\nsetup = { run = \"x 'y z'\", makes = '/etc/b' }\nsecret = '/etc/s'\n\
        [[file]]\npath = 'opt/bootlocal.sh'\ncontent = 'mine'\nmode = '700'\nowner = '1001:50'\n";

    fn extension(list: &str) -> Extension {
        Extension {
            name: "a.tcz".to_owned(),
            image: "/nonexistent/a.tcz".into(),
            size: 0,
            sha256: crate::digest::Sha256::of(b""),
            side: BTreeMap::from([("list", list.as_bytes().to_vec()), ("dep", b"b.tcz\n".to_vec())]),
        }
    }

    fn tree(base: &str, list: &str) -> Result<Stage, OverlayError> {
        let project = Project::built_in();
        let appliance = Appliance::parse("box", &SourceFile::new("box.toml", TEXT), &project).unwrap();
        let extensions = [extension(list)];
        let overlay = Overlay {
            project: &project,
            appliance: &appliance,
            base,
            extensions: &extensions,
            builtin: &extensions,
        };
        overlay.tree().map(|tree| tree.stage)
    }

    const LIST: &str = "/usr/local/etc/init.d/a\n/usr/local/etc/init.d/b\n";

    fn text(stage: &Stage, name: &str) -> String {
        match &stage.get(&path(name)).unwrap().kind {
            crate::stage::Kind::File(content) => String::from_utf8(content.read_all().unwrap()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_box_knows_what_the_appliance_says() {
        let stage = tree("mini", LIST).unwrap();
        assert_eq!(
            text(&stage, "etc/tcforge/appliance"),
            "APPLIANCE='box'\nDATA_LABEL='tcforge-data'\nDATA_BEGINS='1024'\nDATA_FORMAT='rest'\nPERSISTENT='/var/lib/a /home'\nLISTEN='tcp/22 udp/68'\n"
        );
        assert_eq!(
            text(&stage, "etc/tcforge/services"),
            "a\t-\t-\t-\thttp://127.0.0.1/\nb\tx 'y z'\t/etc/b\t/etc/s\t-\n"
        );
        assert_eq!(text(&stage, "etc/tcforge/extensions"), "a.tcz\n");
        assert_eq!(text(&stage, "tmp/builtin/onboot.lst"), "a.tcz\n");
        assert_eq!(text(&stage, "tmp/builtin/optional/a.tcz.dep"), "b.tcz\n");
    }

    #[test]
    fn the_appliances_files_win_and_directories_stay_the_systems() {
        let stage = tree("mini", LIST).unwrap();
        assert_eq!(text(&stage, "opt/bootlocal.sh"), "mine");
        let node = |name: &str| stage.get(&path(name)).unwrap();
        let values = |name: &str| (node(name).mode, node(name).owner.uid, node(name).owner.gid);
        assert_eq!(values("opt/bootlocal.sh"), (0o700, 1001, 50));
        assert_eq!(values("opt"), (0o2775, 0, 50));
        assert_eq!(values("tmp"), (0o1777, 0, 50));
        assert_eq!(values("usr/sbin"), (0o755, 0, 0));
        assert!(stage.get(&path("etc/inittab")).is_none());
        assert!(
            tree("tinycore", LIST)
                .unwrap()
                .get(&path("etc/inittab"))
                .is_some()
        );
    }

    #[test]
    fn a_service_needs_its_script() {
        let error = tree("mini", "/usr/local/etc/init.d/a\n").unwrap_err();
        assert_eq!(error.to_string(), "no extension of the image has the service `b`");
    }
}
