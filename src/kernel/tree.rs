//! A kernel's source tree: its version, its Kconfig files, and its own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::config::Config;
use super::error::{Dropped, KernelError};
use super::kconfig::Kconfig;
use super::patch::{Patched, patch};
use super::requirements::{Existence, Wanted};
use super::value::Value;
use super::version::KernelVersion;
use crate::doctor::find_program;
use crate::progress::Progress;
use crate::scratch::Scratch;

/// What a tree has, so that options can be asked of it.
const NEEDED: [&str; 4] = [
    "Makefile",
    "Kconfig",
    "scripts/Makefile.build",
    "scripts/kconfig/Makefile",
];
/// What is there only after something was configured in the tree itself; then
/// its Makefile refuses to work anywhere else.
const DIRT: [&str; 2] = [".config", "include/config"];
/// Tiny Core's machines: x86, 64 bits or not as the configuration says.
pub(super) const ARCH: &str = "x86";
/// What compiling the configuration tools takes; each is its Debian package too.
const PROGRAMS: [&str; 4] = ["make", "gcc", "flex", "bison"];
/// How many of the last lines of make's errors are shown.
const LINES: usize = 20;

/// A kernel's source tree.
#[derive(Debug, Clone)]
pub struct Tree {
    path: PathBuf,
    release: String,
    version: KernelVersion,
}

/// A folder in which a tree's configuration tools work. The tree itself stays
/// as it is.
pub struct Configurator<'a> {
    tree: &'a Tree,
    scratch: Scratch,
}

impl Tree {
    /// Looks at a source tree.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        for needed in NEEDED {
            if !path.join(needed).is_file() {
                return Err(KernelError::NotATree {
                    tree: path.to_owned(),
                    missing: needed.to_owned(),
                });
            }
        }
        let path = fs::canonicalize(path).map_err(KernelError::io("read", path))?;
        let makefile = fs::read_to_string(path.join("Makefile"))
            .map_err(KernelError::io("read", path.join("Makefile")))?;
        let release = release(&makefile);
        let version = release.parse().map_err(|_| KernelError::NotATree {
            tree: path.clone(),
            missing: "VERSION and PATCHLEVEL in its Makefile".to_owned(),
        })?;
        Ok(Self {
            path,
            release,
            version,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole version: `5.10.223`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The version, as far as options depend on it.
    pub fn version(&self) -> KernelVersion {
        self.version
    }

    /// What its Kconfig files say.
    pub fn kconfig(&self) -> Kconfig {
        Kconfig::load(&self.path, ARCH)
    }

    /// Makes a folder for its tools. Programs that these need and that are
    /// missing are named now.
    pub fn configurator(&self) -> Result<Configurator<'_>, KernelError> {
        let missing = PROGRAMS.into_iter().filter(|name| find_program(name).is_none());
        let missing: Vec<_> = missing.map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(KernelError::MissingPrograms(missing));
        }
        if DIRT.iter().any(|dirt| self.path.join(dirt).exists()) {
            return Err(KernelError::DirtyTree {
                tree: self.path.clone(),
            });
        }
        let parent = std::env::temp_dir();
        let scratch = Scratch::in_dir(&parent).map_err(KernelError::io("write to", parent))?;
        Ok(Configurator { tree: self, scratch })
    }
}

/// The version in a kernel's Makefile, as its own `make kernelversion` puts it.
fn release(makefile: &str) -> String {
    let value = |name: &str| {
        let lines = makefile.lines().take(20);
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        values.next().unwrap_or_default().trim().to_owned()
    };
    let mut release = value("VERSION");
    for name in ["PATCHLEVEL", "SUBLEVEL"] {
        match value(name) {
            number if number.is_empty() => {}
            number => release = format!("{release}.{number}"),
        }
    }
    release + &value("EXTRAVERSION")
}

impl Configurator<'_> {
    /// Completes a configuration as the kernel's build would: `make olddefconfig`.
    pub fn complete(&self, config: &Config) -> Result<Config, KernelError> {
        self.make("olddefconfig", Some(config))
    }

    /// The kernel's own configuration for this architecture: `make defconfig`.
    pub fn default_config(&self) -> Result<Config, KernelError> {
        self.make("defconfig", None)
    }

    fn make(&self, target: &'static str, config: Option<&Config>) -> Result<Config, KernelError> {
        let folder = self.scratch.path().join("build");
        fs::create_dir_all(&folder).map_err(KernelError::io("make", &folder))?;
        let file = folder.join(".config");
        if let Some(config) = config {
            fs::write(&file, config.to_string()).map_err(KernelError::io("write", &file))?;
        }
        let mut command = Command::new("make");
        command.arg("-s").arg("-C").arg(&self.tree.path);
        command.arg(format!("O={}", folder.display())).arg(target);
        // Nothing of the caller's environment (KCONFIG_*, MAKEFLAGS, CC, LLVM …)
        // may have a say.
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("ARCH", ARCH)
            .env("KCONFIG_CONFIG", &file);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null());
        let output = command.output().map_err(KernelError::io("run", "make"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<_> = said.trim_end().lines().collect();
            return Err(KernelError::Make {
                target,
                tree: self.tree.path.clone(),
                said: lines[lines.len().saturating_sub(LINES)..].join("\n"),
            });
        }
        Config::open(&file)
    }
}

/// What became of a configuration in a source tree.
#[derive(Debug)]
pub struct Verified {
    /// The changed configuration.
    pub patched: Patched,
    /// Options that the configuration names and that this kernel does not have;
    /// only if it is for another kernel (else they are mistakes).
    pub unknown: Vec<String>,
}

/// Patches a configuration for the kernel in a source tree, and has the kernel's
/// own tools complete it.
///
/// Fails if a wanted option does not survive that. Unknown options and values of
/// a wrong type are mistakes if the configuration is for this kernel's version,
/// or says no version; otherwise the kernel's tools pass over them, as always
/// when a configuration is taken to another kernel.
pub fn configure(
    config: &Config,
    tree: &Tree,
    wanted: &[Wanted<'_>],
    progress: &dyn Progress,
) -> Result<Verified, KernelError> {
    let configurator = tree.configurator()?;
    let kconfig = tree.kconfig();
    let other_kernel = config.version().is_some_and(|version| version != tree.version);
    if !other_kernel {
        config.check_against(&kconfig)?;
    }
    let unknown = config
        .options()
        .map(|(name, _)| name)
        .filter(|name| !kconfig.has(name));
    let unknown = unknown.map(str::to_owned).collect();

    progress.note(&format!(
        "compiling the configuration tools of Linux {}",
        tree.release
    ));
    let before = configurator.complete(config)?;
    let mut patched = patch(config, tree.version, wanted);
    let after = configurator.complete(&patched.config)?;
    survived(&after, tree.version, wanted, &kconfig)?;
    patched.imply(config, &before, &after);
    stable(&after, &configurator.complete(&patched.config)?)?;
    Ok(Verified { patched, unknown })
}

/// Fails with all that is needed and not as wanted.
fn survived(
    after: &Config,
    version: KernelVersion,
    wanted: &[Wanted<'_>],
    kconfig: &Kconfig,
) -> Result<(), KernelError> {
    let needed = wanted.iter().filter(|one| !one.optional());
    let there = needed.filter(|one| one.existence(version) == Existence::There);
    let dropped: Vec<_> = there
        .filter(|one| !one.is_met(after))
        .map(|one| Dropped {
            name: one.name().to_owned(),
            want: one.want.to_string(),
            have: after.get(one.name()).cloned(),
            unmet: kconfig.unmet(one.name(), one.want.level(), after),
        })
        .collect();
    match dropped.is_empty() {
        true => Ok(()),
        false => Err(KernelError::Dropped { dropped }),
    }
}

/// Fails if what is written would not become what was verified.
fn stable(wanted: &Config, found: &Config) -> Result<(), KernelError> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    let names = wanted.options().chain(found.options()).map(|(name, _)| name);
    for name in names {
        let (wanted, found) = (wanted.get(name), found.get(name));
        if wanted != found {
            return Err(KernelError::Unstable {
                name: name.to_owned(),
                found: shown(found),
                wanted: shown(wanted),
            });
        }
    }
    Ok(())
}
