//! Channels: named choices of releases, `recipes/channels/NAME.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::source::{Invalid, SourceFile};
use super::unknown::UnknownName;
use crate::project::{Project, ProjectError};

/// The channel that is built unless another is asked for.
pub const DEFAULT_CHANNEL: &str = "current";

/// The folder that holds a file for each channel.
const FOLDER: &str = "recipes/channels";

/// A named choice of releases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// What recipes call it: the file's name.
    #[serde(skip)]
    pub name: String,
    /// For people, in a few words.
    pub title: String,
    /// What it is good for.
    pub description: String,
    /// The Debian suite that its `debian` assets come from.
    #[serde(default)]
    pub suite: Option<String>,
}

/// All channels of a project, by name.
#[derive(Debug, Clone)]
pub struct Channels(BTreeMap<String, Channel>);

/// Why there is no channel.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ChannelError {
    /// There is none of that name.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unknown(#[from] UnknownName),
    /// Its file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// Its file has a mistake.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
}

impl Channel {
    /// Reads the channel of that name.
    pub fn load(project: &Project, name: &str) -> Result<Self, ChannelError> {
        let mut channels = Channels::load(project)?.0;
        let found = channels.remove(name);
        found.ok_or_else(|| UnknownName::new("channel", name, channels.into_keys().collect()).into())
    }

    fn read(project: &Project, name: &str) -> Result<Self, ChannelError> {
        let file = format!("{FOLDER}/{name}.toml");
        let text = project.read_text(&file)?;
        let mut channel: Self = SourceFile::new(&project.display_name(&file), &text).parse()?;
        channel.name = name.to_owned();
        Ok(channel)
    }
}

impl Channels {
    /// Reads all channels of a project.
    pub fn load(project: &Project) -> Result<Self, ChannelError> {
        let files = project.files(FOLDER)?;
        let names = files.iter().filter_map(|file| file.strip_suffix(".toml"));
        let channels = names.map(|name| Ok((name.to_owned(), Channel::read(project, name)?)));
        channels.collect::<Result<_, ChannelError>>().map(Self)
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Channel> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.values()
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
