//! What can be wrong in a recipe, a channel's file, the lock or an appliance.

use super::source::nearest;

/// One kind of mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum Fault {
    /// Not TOML, or a value of another type than asked for.
    #[error("{0}")]
    #[diagnostic(help("compare it with one that is right: `tcforge init DIR` writes the built-in ones out"))]
    Syntax(String),
    /// A key that has no meaning here.
    #[error("there is no key `{key}`")]
    #[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
    UnknownKey {
        /// The key.
        key: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All that are possible.
        known: Vec<String>,
    },
    /// A key that has to be there.
    #[error("the key `{0}` is missing")]
    #[diagnostic(help("add `{0} = …`; docs/ says what it means"))]
    MissingKey(String),
    /// A text that has to say something.
    #[error("`{0}` is empty")]
    #[diagnostic(help("the info file cannot do without it"))]
    Empty(&'static str),
    /// A line break or control character where one line is asked for.
    #[error("`{0}` has to be one line without control characters")]
    #[diagnostic(help("it is a field of the info file; put longer text into `comments`"))]
    NotOneLine(&'static str),
    /// The recipe's name differs from its folder's.
    #[error("the recipe is called `{name}`, its folder `{folder}`")]
    #[diagnostic(help("give both the same name"))]
    NameDiffers {
        /// In the file.
        name: String,
        /// On the disk.
        folder: String,
    },
    /// A name that an extension cannot have.
    #[error("`{0}` cannot be a name")]
    #[diagnostic(help("use letters, digits and `. _ + -`, beginning with a letter or digit"))]
    Name(String),
    /// A dependency that is not an extension's name.
    #[error("`{0}` is not the name of an extension")]
    #[diagnostic(help("write it as a .dep file does: `{}.tcz`", .0.trim_end_matches(".tcz")))]
    Dependency(String),
    /// What is no full name of a container image.
    #[error("`{name}` is not the full name of a container image: {reason}")]
    #[diagnostic(help("write it as `{full}`"))]
    ImageName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What was probably meant.
        full: String,
    },
    /// The recipe depends on itself.
    #[error("`{0}` depends on itself")]
    #[diagnostic(help("remove the line"))]
    SelfDependency(String),
    /// A release for a channel that does not exist.
    #[error("there is no channel `{channel}`")]
    #[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
    UnknownChannel {
        /// The name.
        channel: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// A recipe that does not exist.
    #[error("there is no recipe `{recipe}`")]
    #[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
    UnknownRecipe {
        /// The name.
        recipe: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// A recipe without any release.
    #[error("the recipe has no release")]
    #[diagnostic(help("add a `[release.current]` with `version`, `date` and its files"))]
    NoReleases,
    /// A release that makes an empty extension that pulls nothing in.
    #[error("the release has neither files nor dependencies")]
    #[diagnostic(help("add an `[[release.{0}.asset]]`, or `dependencies` for a meta extension"))]
    NothingInRelease(String),
    /// No origin, or more than one.
    #[error("the asset has {}; exactly one is needed", origins(.0))]
    #[diagnostic(help("say where the file is with one of `url`, `debian` and `npm`"))]
    Origins(Vec<&'static str>),
    /// An origin that is well put together and still none.
    #[error("`{0}` names no file")]
    #[diagnostic(help("a URL ends with the file's name; a package has a plain name and version"))]
    Origin(String),
    /// A URL that is not https.
    #[error("`{0}` is not an https URL")]
    #[diagnostic(help("files come over https only: write `https://HOST/PATH`"))]
    NotHttps(String),
    /// A package name that the registry cannot have.
    #[error("`{0}` cannot be the name of a package")]
    #[diagnostic(help("write the name alone; `version` says which version of it"))]
    Package(String),
    /// A Debian package in a channel without a suite.
    #[error("the channel `{0}` has no Debian suite to take a package from")]
    #[diagnostic(help("use `url`, or give recipes/channels/{0}.toml a `suite`"))]
    NoSuite(String),
    /// An asset's version where a URL says all.
    #[error("`version` means nothing for a `url`")]
    #[diagnostic(help("write the version into the URL"))]
    VersionOfUrl,
    /// A list of sums for a package.
    #[error("`sum` means nothing for a package")]
    #[diagnostic(help("the index of its repository has its sum: leave the key out"))]
    SumOfPackage,
    /// Two assets of one name.
    #[error("two assets are called `{0}`")]
    #[diagnostic(help("tell them apart with `name`"))]
    TwoAssets(String),
    /// Two assets that are one to the lock.
    #[error("`{0}` differs from another asset only in what may be secret")]
    #[diagnostic(help(
        "the lock has URLs without login, query and fragment: look for one whose path tells the files apart"
    ))]
    SameToLock(String),
    /// An asset that goes nowhere.
    #[error("nothing says where the asset's files go")]
    #[diagnostic(help("add `place = [{{ from = \"GLOB\", to = \"PATH\" }}]`"))]
    NoPlace,
    /// A rule for a bare program beside others.
    #[error("a rule without `from` is for a bare program and stands alone")]
    #[diagnostic(help("give it a `from`, or remove the other rules"))]
    BareBesideOthers,
    /// A rule for a bare program that names a directory or leaves things out.
    #[error("a bare program needs the path of one file")]
    #[diagnostic(help("write the whole path without `/` at the end, and no `except`"))]
    BareToDirectory,
    /// A glob that cannot be read.
    #[error("`{glob}` is not a glob: {reason}")]
    #[diagnostic(help("`*` and `?` stay within a name, `**` crosses directories, `{{a,b}}` is a choice"))]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A path that is not one inside an extension.
    #[error("`{path}` cannot be a path in an extension: {reason}")]
    #[diagnostic(help("write it from the top of the tree, as `usr/local/bin/x`"))]
    Path {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A place that the running system writes to.
    #[error("`{0}` lies where the running system writes")]
    #[diagnostic(help(
        "in an extension it would be a read-only link; ship a template elsewhere, or name it in `persistent`"
    ))]
    RunTime(String),
    /// The target of a link.
    #[error("a link cannot lead to `{0}`")]
    #[diagnostic(help("write 1 to 4095 characters, without control characters"))]
    LinkTarget(String),
    /// Permission bits.
    #[error("`{0}` is not a mode")]
    #[diagnostic(help("write permission bits in octal: \"755\" or \"644\""))]
    Mode(String),
    /// A word in braces that stands for nothing.
    #[error("`{{{0}}}` stands for nothing")]
    #[diagnostic(help("`{{version}}` is the release's version, `{{name}}` the recipe's name"))]
    Placeholder(String),
    /// A licence expression.
    #[error("`{license}` is not an SPDX licence expression: {reason}")]
    #[diagnostic(help(
        "see spdx.org/licenses for the names; one that is not there is written `LicenseRef-NAME`"
    ))]
    License {
        /// The expression.
        license: String,
        /// What is wrong with it.
        reason: String,
        /// The part of it that is meant.
        part: String,
    },
    /// A template that does not exist.
    #[error("there is no template `{template}`")]
    #[diagnostic(help("put it into initd/ or into the recipe's folder{}", also(.nearest.as_deref())))]
    NoTemplate {
        /// Its name.
        template: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
    },
    /// A file of the recipe's own that does not exist.
    #[error("there is no file `{0}`")]
    #[diagnostic(help("put it into the recipe's folder, or below recipes/ for several recipes"))]
    NoFile(String),
    /// Two services of one name.
    #[error("two services are called `{0}`")]
    #[diagnostic(help("each has its own script usr/local/etc/init.d/NAME"))]
    TwoServices(String),
    /// Values for a service that does not exist.
    #[error("there is no service `{service}`")]
    #[diagnostic(help("{}", key_hint(.nearest.as_deref(), .known)))]
    UnknownService {
        /// The name.
        service: String,
        /// The one that it was probably meant to be.
        nearest: Option<String>,
        /// All that the recipe has.
        known: Vec<String>,
    },
    /// A block size that squashfs does not have.
    #[error("{0} is not a block size")]
    #[diagnostic(help("take a power of two from 4096 to 1048576"))]
    BlockSize(u32),
    /// A compression that Tiny Core's kernel does not read.
    #[error("there is no compression `{0}`")]
    #[diagnostic(help("take `gzip`, `xz` or `zstd`"))]
    Compression(String),
    /// A departure from what is usual without a reason.
    #[error("`reason` is empty")]
    #[diagnostic(help("say why; it goes into the info file"))]
    NoReason,
    /// Something that is not a version.
    #[error("`{0}` is not a version")]
    #[diagnostic(help("use letters, digits and `. _ + ~ : -`, beginning with a letter or digit"))]
    Version(String),
    /// A `v` that belongs to the URL.
    #[error("`{0}` begins with a `v`")]
    #[diagnostic(help("write `{}`, and the `v` into the URL", .0.trim_start_matches('v')))]
    VersionWithV(String),
    /// Something that is not a day.
    #[error("`{0}` is not a date")]
    #[diagnostic(help("write the day of the release as YYYY-MM-DD"))]
    Date(String),
    /// A watch that looks nowhere, or in two places.
    #[error("the watch has {}; exactly one is needed", origins(.0))]
    #[diagnostic(help("say where newer releases are with one of `github`, `npm` and `debian`"))]
    Watch(Vec<&'static str>),
    /// Two entries of the lock for one file.
    #[error("the lock has `{0}` twice")]
    #[diagnostic(help("remove one of the two"))]
    TwoLocked(String),
    /// A word of the kernel's command line that is more than one, or none.
    #[error("`{0}` cannot be a boot code")]
    #[diagnostic(help("write one word, as `nodhcp` or `waitusb=5`: visible ASCII without quotes"))]
    BootCode(String),
    /// An owner that is not two numbers.
    #[error("`{0}` is not an owner")]
    #[diagnostic(help("write the numbers of user and group, as \"1001:50\""))]
    Owner(String),
    /// A file of an appliance with no content, or two.
    #[error("the file has {}; exactly one is needed", origins(.0))]
    #[diagnostic(help("say what is in it with one of `content` and `from`"))]
    FileContent(Vec<&'static str>),
    /// A socket that is not `tcp/PORT` or `udp/PORT`.
    #[error("`{0}` is not a port")]
    #[diagnostic(help("write it as \"tcp/8080\" or \"udp/68\""))]
    Port(String),
    /// Two files of an appliance at one path.
    #[error("two files are put at `{0}`")]
    #[diagnostic(help("remove one of the two"))]
    TwoFiles(String),
    /// A lock of another time.
    #[error("the lock has version {0}")]
    #[diagnostic(help("this tcforge reads version 1"))]
    LockVersion(i64),
}

impl Fault {
    /// Makes the TOML library's message one of ours. Its wording for unknown
    /// and missing keys is serde's.
    pub(super) fn from_toml(message: &str) -> Self {
        let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
        if message.starts_with("unknown field")
            && let Some(key) = words.next()
        {
            let known: Vec<_> = words.collect();
            return Self::UnknownKey {
                nearest: nearest(&key, &known),
                key,
                known,
            };
        }
        if message.starts_with("missing field")
            && let Some(key) = words.next()
        {
            return Self::MissingKey(key);
        }
        Self::Syntax(message.lines().next().unwrap_or_default().to_owned())
    }

    pub(super) fn unknown_service(name: &str, known: Vec<String>) -> Self {
        Self::UnknownService {
            service: name.to_owned(),
            nearest: nearest(name, &known),
            known,
        }
    }

    /// What is said of the place that it is at.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "here",
            Self::UnknownKey { .. } => "unknown key",
            Self::MissingKey(_) => "in this table",
            Self::Empty(_) | Self::NoReason => "say something",
            Self::NotOneLine(_) => "more than one line",
            Self::NameDiffers { .. } => "not the folder's name",
            Self::Name(_) | Self::Package(_) => "not a name",
            Self::Dependency(_) => "not NAME.tcz",
            Self::ImageName { .. } => "not a full name",
            Self::SelfDependency(_) => "this is the recipe itself",
            Self::UnknownChannel { .. } => "unknown channel",
            Self::UnknownRecipe { .. } => "unknown recipe",
            Self::NoReleases => "no release",
            Self::NothingInRelease(_) => "nothing in it",
            Self::Origin(_) => "names no file",
            Self::Origins(_) | Self::Watch(_) => "exactly one is needed",
            Self::NotHttps(_) => "not https",
            Self::NoSuite(_) => "no suite",
            Self::SumOfPackage => "leave it out",
            Self::VersionOfUrl => "belongs into the URL",
            Self::TwoAssets(_) | Self::TwoServices(_) | Self::TwoLocked(_) => "the second one",
            Self::SameToLock(_) => "login or query",
            Self::NoPlace => "no rules",
            Self::BareBesideOthers => "no `from`",
            Self::BareToDirectory => "not one file",
            Self::Glob { .. } => "not a glob",
            Self::Path { .. } => "not a path",
            Self::RunTime(_) => "written at run time",
            Self::LinkTarget(_) => "not a target",
            Self::Mode(_) => "not a mode",
            Self::Placeholder(_) => "unknown placeholder",
            Self::License { .. } => "not SPDX",
            Self::NoTemplate { .. } => "no such template",
            Self::NoFile(_) => "no such file",
            Self::UnknownService { .. } => "unknown service",
            Self::BlockSize(_) => "not a block size",
            Self::Compression(_) => "unknown compression",
            Self::Version(_) => "not a version",
            Self::VersionWithV(_) => "without the `v`",
            Self::Date(_) => "not YYYY-MM-DD",
            Self::BootCode(_) => "not one word",
            Self::Owner(_) => "not USER:GROUP",
            Self::FileContent(_) => "exactly one is needed",
            Self::Port(_) => "not PROTOCOL/PORT",
            Self::TwoFiles(_) => "the second one",
            Self::LockVersion(_) => "unknown version",
        }
    }

    /// The part of the offending text that is meant, where it is not all.
    pub(super) fn part(&self) -> Option<String> {
        match self {
            Self::Placeholder(name) => Some(format!("{{{name}}}")),
            Self::License { part, .. } => Some(part.clone()),
            _ => None,
        }
    }

    /// The hint.
    pub(super) fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        miette::Diagnostic::help(self)
    }
}

/// `did you mean …` where something is near, else all that is possible.
pub(crate) fn key_hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("possible: {}", list(known)),
    }
}

fn also(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn origins(given: &[&'static str]) -> String {
    match given {
        [] => "no origin".to_owned(),
        given => list(given),
    }
}

/// Names in backticks, separated by commas.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}
