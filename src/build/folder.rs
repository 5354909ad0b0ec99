//! Making an extension from a folder that somebody already has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;

use super::BuildError;
use super::extension::{self, Draft, Extension, audit_made, audit_options};
use super::losses::Losses;
use super::recipes::{EXTENSION_BY, dependency};
use crate::audit;
use crate::base::Base;
use crate::plain;
use crate::progress::Progress;
use crate::project::Project;
use crate::scratch::Scratch;
use crate::stage::{Stage, apply_rules};
use crate::tcz::side::{self, Dependency, Info};
use crate::tcz::squashfs::PackOptions;

/// What the info file says of what nobody said.
const UNKNOWN: &str = "unknown";
/// Its last field, which must begin with a day: Tiny Core 11.0's, because the
/// same folder has to give the same bytes on every day.
const NO_HISTORY: &str = "2020/03/01 Original";

/// What is to become an extension.
#[derive(Debug, Clone)]
pub struct FolderRequest {
    /// What is in it becomes the extension's root.
    pub folder: PathBuf,
    /// Where to: `DIR/NAME.tcz`.
    pub out: PathBuf,
    /// Names of direct dependencies, with `.tcz`.
    pub dependencies: Vec<String>,
    /// Texts of the info file that are known; title and size are filled in.
    pub info: Info,
    /// How it is packed.
    pub options: PackOptions,
    /// Whether it gets its name even if the audit finds errors.
    pub publish_with_errors: bool,
}

/// What a folder became.
#[derive(Debug)]
pub struct PackedFolder {
    /// The extension.
    pub extension: Extension,
    /// What the audit says.
    pub report: audit::Report,
    /// What it did not keep of the folder.
    pub losses: Losses,
    /// Whether it got its name.
    pub published: bool,
}

/// Makes an extension from a folder: owners and modes forced to Tiny Core's
/// rules, side files, audit. It gets its name only if the audit has no error.
pub fn pack_folder(
    request: &FolderRequest,
    project: &Project,
    progress: &dyn Progress,
) -> Result<PackedFolder, BuildError> {
    let base = Base::load(project)?;
    let name = || BuildError::Name(request.out.clone());
    let file_name = request
        .out
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(name)?;
    if !side::is_name(file_name) {
        return Err(name());
    }
    let stage = Stage::from_folder(&request.folder)?;
    let parent = folder_of(request)?;
    extension::refuse_folders(file_name, parent)?;
    let scratch = Scratch::in_dir(parent).map_err(|source| BuildError::write(parent, source))?;
    let mut dependencies = Vec::new();
    for name in &request.dependencies {
        let one = dependency(name)?;
        if !dependencies.contains(&one) {
            dependencies.push(one);
        }
    }
    let mut ruled = stage.clone();
    apply_rules(&mut ruled, &base);
    let losses = Losses::of(&request.folder, &stage, &ruled);
    let draft = Draft {
        file_name: file_name.to_owned(),
        stage: ruled,
        info: with_placeholders(&request.info, file_name),
        dependencies,
        license: request.info.copying_policy.clone(),
        upstream: Vec::new(),
        inputs: None,
        options: request.options,
    };
    let beside = |name: &str| dependencies_beside(parent, name);
    let made = draft.make(&base, &beside, scratch.path(), progress)?;
    let options = audit_options(parent, project)?;
    let report = audit_made(slice::from_ref(&made), &base, &options)?.remove(0);
    let extension = made.extension;
    let published = request.publish_with_errors || report.worst() < audit::Level::Error;
    if published {
        extension::publish(&scratch, &extension, parent)?;
    }
    Ok(PackedFolder {
        extension,
        report,
        losses,
        published,
    })
}

/// The folder that the extension goes to, made if it is not there.
fn folder_of(request: &FolderRequest) -> Result<&Path, BuildError> {
    let parent = request.out.parent();
    let parent = parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| BuildError::make_folder(parent, source))?;
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|source| BuildError::read(path, source))
    };
    if real(parent)?.starts_with(real(&request.folder)?) {
        return Err(BuildError::Inside(request.out.clone()));
    }
    Ok(parent)
}

/// The info file's texts, with something in the place of those that it must
/// have and that nobody gave.
fn with_placeholders(given: &Info, file_name: &str) -> Info {
    let or = |text: &str, placeholder: &str| match text {
        "" => placeholder.to_owned(),
        text => text.to_owned(),
    };
    let stem = file_name.trim_end_matches(".tcz");
    Info {
        description: or(&given.description, stem),
        version: or(&given.version, UNKNOWN),
        author: or(&given.author, UNKNOWN),
        original_site: or(&given.original_site, UNKNOWN),
        copying_policy: or(&given.copying_policy, UNKNOWN),
        extension_by: or(&given.extension_by, EXTENSION_BY),
        current: or(&given.current, NO_HISTORY),
        ..given.clone()
    }
}

/// What an extension in the same folder needs, for the tree.
fn dependencies_beside(folder: &Path, name: &str) -> Vec<Dependency> {
    plain::open(&folder.join(format!("{name}.dep")))
        .and_then(io::read_to_string)
        .map(|text| side::dep::read(&text).0)
        .unwrap_or_default()
}
