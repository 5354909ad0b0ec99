//! What an audit answers.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::stage::TreePath;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Works, or may work; somebody should look.
    Warning,
    /// Does not work on Tiny Core, or would be refused by its repository.
    Error,
}

impl Level {
    /// Its name.
    pub fn id(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

macro_rules! checks {
    ($($variant:ident $id:literal $meaning:literal)*) => {
        /// One of the audit's checks. Its name (`block-size`) is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum Check {
            $(#[doc = $meaning] $variant,)*
        }

        impl Check {
            /// Every check, in the order of a report.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// What is so where it passes.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

checks! {
    Image "image" "the image is whole and can be read"
    Name "name" "the file has the name of an extension"
    Empty "empty" "it holds something, or is a meta extension"
    BlockSize "block-size" "squashfs blocks are 4096 bytes, or the info file says why not"
    Compression "compression" "it is compressed with gzip, or the info file says why not"
    Appended "appended" "nothing was appended to the image"
    SideFiles "side-files" "its side files lie beside it"
    Dep "dep" "the .dep is to the letter"
    DepKernel "dep-kernel" "kernel modules are named with KERNEL in the .dep"
    DepCycle "dep-cycle" "the dependencies do not go in a circle"
    DepKnown "dep-known" "something is known of every dependency"
    DepRedundant "dep-redundant" "no dependency is one of another dependency too"
    List "list" "the .list equals the content"
    Info "info" "the .info is to the letter"
    Md5 "md5" "the .md5.txt is that of the image"
    Zsync "zsync" "the .zsync is that of the image"
    Tree "tree" "the .tree is that of the dependencies"
    Owner "owner" "files belong to root:root"
    Mode "mode" "modes are 755 for directories and programs, 644 for the rest"
    Setuid "setuid" "no setuid, setgid or sticky bits"
    WorldWritable "world-writable" "nothing can be written by everybody"
    SystemDirectory "system-directory" "directories of the system have the system's owners and modes"
    SystemFile "system-file" "nothing stands where the system has a file"
    RunTime "run-time" "nothing lies where the running system writes"
    SpecialFile "special-file" "no devices, pipes or sockets"
    PaxHeaders "pax-headers" "no rests of tar archives"
    Link "link" "symbolic links lead somewhere"
    Installed "installed" "tce.installed holds one script, of the extension's name"
    License "license" "a licence text is in usr/local/share/doc/NAME"
    Modules "modules" "kernel modules are compressed and lie where the kernel looks"
    Elf "elf" "programs and libraries can be read"
    Architecture "architecture" "programs and libraries are for x86_64"
    Loader "loader" "the dynamic loader that programs ask for is there"
    Library "library" "needed libraries are there"
    LibraryPath "library-path" "needed libraries lie where the loader looks"
    Glibc "glibc" "no newer glibc is needed than the base has"
    SymbolVersion "symbol-version" "libraries define the symbol versions that are needed"
    Stripped "stripped" "programs and libraries are stripped"
    Shebang "shebang" "the interpreters of scripts are there"
    Command "command" "the commands that service scripts call are there"
    Clash "clash" "no other extension of this run has the same file"
}

impl Check {
    /// Whether it asks what a program needs to run: what is missing then fails on the
    /// box, if the program is started.
    pub fn is_of_running(self) -> bool {
        matches!(
            self,
            Self::Loader
                | Self::Library
                | Self::LibraryPath
                | Self::Glibc
                | Self::SymbolVersion
                | Self::Shebang
                | Self::Command
        )
    }
}

impl From<Check> for &'static str {
    fn from(check: Check) -> Self {
        check.id()
    }
}

impl TryFrom<String> for Check {
    type Error = String;

    fn try_from(id: String) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|check| check.id() == id);
        known.copied().ok_or_else(|| format!("there is no check `{id}`"))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How bad it is.
    pub level: Level,
    /// Where in the extension; `None` if it concerns the whole or a side file.
    #[serde(serialize_with = "path", deserialize_with = "read_path")]
    pub path: Option<TreePath>,
    /// What it is. For a pass, what the check means.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

fn read_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TreePath>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(TreePath::parse).transpose().map_err(D::Error::custom)
}

fn path<S: Serializer>(path: &Option<TreePath>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(ToString::to_string).serialize(serializer)
}

/// All that was found in one extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The extension.
    pub file: PathBuf,
    /// In the order of [`Check::ALL`]: one pass for each check that was made
    /// and found nothing, else what it found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The file's name, without its folder.
    pub fn name(&self) -> String {
        self.file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// The worst level in it.
    pub fn worst(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Pass)
    }

    /// How many findings there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }
}

/// Collects what the checks of one extension find.
#[derive(Debug, Default)]
pub(super) struct Findings {
    made: Vec<Check>,
    found: Vec<Finding>,
}

impl Findings {
    /// Says that a check is made: it passes unless something is found.
    pub(super) fn made(&mut self, checks: &[Check]) {
        self.made.extend_from_slice(checks);
    }

    /// Adds a finding of the whole extension or a side file.
    pub(super) fn add(&mut self, check: Check, level: Level, message: impl Into<String>) -> &mut Finding {
        self.push(check, level, None, message.into())
    }

    /// Adds a finding at a path.
    pub(super) fn at(
        &mut self,
        path: &TreePath,
        check: Check,
        level: Level,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.push(check, level, Some(path.clone()), message.into())
    }

    fn push(&mut self, check: Check, level: Level, path: Option<TreePath>, message: String) -> &mut Finding {
        self.found.push(Finding {
            check,
            level,
            path,
            message: printable(&message),
            hint: None,
        });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// The report. Of more than `limit` findings of one check and level the
    /// rest is counted.
    pub(super) fn report(self, file: PathBuf, limit: usize) -> Report {
        let mut findings = Vec::new();
        for check in Check::ALL {
            let found = self.found.iter().filter(|finding| finding.check == *check);
            let (errors, warnings): (Vec<_>, Vec<_>) =
                found.partition(|finding| finding.level == Level::Error);
            if errors.is_empty() && warnings.is_empty() && self.made.contains(check) {
                findings.push(Finding {
                    check: *check,
                    level: Level::Pass,
                    path: None,
                    message: check.meaning().to_owned(),
                    hint: None,
                });
            }
            for (level, group) in [(Level::Error, errors), (Level::Warning, warnings)] {
                let more = group.len().saturating_sub(limit);
                findings.extend(group.into_iter().take(limit).cloned());
                if more > 0 {
                    findings.push(Finding {
                        check: *check,
                        level,
                        path: None,
                        message: format!("and {more} more of this kind"),
                        hint: None,
                    });
                }
            }
        }
        Report { file, findings }
    }
}

/// A text with what would change a terminal's colours or lines written out:
/// messages quote names from images.
fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut text, c| {
            match c.is_control() {
                true => text.extend(c.escape_default()),
                false => text.push(c),
            }
            text
        })
}

impl Finding {
    /// Whether the extension, or a program in it, may fail on the box because of it.
    pub fn may_fail(&self) -> bool {
        match self.level {
            Level::Pass => false,
            Level::Warning => self.check.is_of_running(),
            Level::Error => true,
        }
    }

    /// Says what to do about it.
    pub(super) fn hint(&mut self, text: impl Into<String>) {
        self.hint = Some(text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_change_the_terminal() {
        let mut findings = Findings::default();
        findings.add(Check::Link, Level::Error, "to `\u{1b}[31m\n\u{9b}ü`");
        let report = findings.report("x.tcz".into(), 1);
        assert_eq!(report.findings[0].message, "to `\\u{1b}[31m\\n\\u{9b}ü`");
    }
}
