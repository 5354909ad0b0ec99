//! Which extensions are on the disk: those of the appliance and, without a
//! gap, all that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::sums::Sums;
use crate::digest::Sha256;
use crate::tcz::side::dep::{self, CycleError};
use crate::tcz::side::md5::Md5;
use crate::tcz::side::{self, Dependency};
use crate::{plain, pool};

/// The side files that go on the disk: those that Tiny Core's tools read there,
/// and the bill of materials. zsync is for mirrors.
const SIDE_FILES: [&str; 6] = ["dep", "info", "list", "md5.txt", "spdx.json", "tree"];

/// An extension that goes on the disk.
#[derive(Debug, Clone)]
pub struct Extension {
    /// `x.tcz`, with the kernel's release in it if it has one.
    pub name: String,
    /// The image.
    pub image: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its sum.
    pub sha256: Sha256,
    /// What stands beside it: what follows `x.tcz.`, and the bytes.
    pub side: BTreeMap<&'static str, Vec<u8>>,
}

/// An extension that is not there, and what asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `x.tcz`
    pub name: String,
    /// The extensions that need it directly; none if the appliance names it.
    pub needed_by: Vec<String>,
}

/// Why the disk would not be complete.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ClosureError {
    /// There is no such extension anywhere.
    #[error("the disk would not be complete: {}", describe(.missing))]
    #[diagnostic(help("looked in {}; put them there, or choose a channel that has them", recipe_list(.folders)))]
    Missing {
        /// Which.
        missing: Vec<Missing>,
        /// Where they were looked for.
        folders: Vec<PathBuf>,
    },
    /// Extensions need each other in a circle.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cycle(#[from] CycleError),
    /// The image is not what its sum says.
    #[error("`{}` is damaged: its md5 sum is {found}, and {} says {wanted}", image.display(), "its .md5.txt")]
    #[diagnostic(help("fetch or build it again"))]
    Damaged {
        /// The file.
        image: PathBuf,
        /// Its sum.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// A side file is not what it should be.
    #[error("`{}` is wrong: {problem}", path.display())]
    #[diagnostic(help("fetch or build the extension again"))]
    SideFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    #[diagnostic(help("check that it is there, and that you may read it"))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn describe(missing: &[Missing]) -> String {
    let one = |missing: &Missing| match missing.needed_by.as_slice() {
        [] => format!("`{}` (named by the appliance) is missing", missing.name),
        by => format!("`{}` (needed by {}) is missing", missing.name, by.join(", ")),
    };
    missing.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn recipe_list(folders: &[PathBuf]) -> String {
    let names: Vec<_> = folders
        .iter()
        .map(|folder| format!("`{}`", folder.display()))
        .collect();
    names.join(", ")
}

/// Finds extensions in folders, the first that has one winning.
#[derive(Debug, Clone)]
pub struct Shelves {
    /// The folders.
    pub folders: Vec<PathBuf>,
    /// The release of the kernel that is booted.
    pub kernel: String,
    /// Where sums are kept for the next time, if anywhere.
    pub cache: Option<PathBuf>,
}

impl Shelves {
    /// Where an extension is.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let paths = self.folders.iter().map(|folder| folder.join(name));
        paths.into_iter().find(|path| path.is_file())
    }

    /// What an extension needs directly; nothing if it is not there.
    pub fn dependencies(&self, name: &str) -> Vec<Dependency> {
        let read = |image: PathBuf| plain::open(&beside(&image, "dep")).and_then(io::read_to_string);
        let text = self.find(name).and_then(|image| read(image).ok());
        text.map(|text| dep::read(&text).0).unwrap_or_default()
    }

    /// The names of the roots and of all that they need, each once and after
    /// what it needs itself, `KERNEL` replaced.
    pub fn order(&self, roots: &[Dependency]) -> Result<Vec<String>, CycleError> {
        let lookup = |name: &str| self.dependencies(name);
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for root in roots {
            let below = dep::closure(root.name(), &self.kernel, &lookup)?;
            for name in below.into_iter().chain([root.for_kernel(&self.kernel)]) {
                if seen.insert(name.clone()) {
                    order.push(name);
                }
            }
        }
        Ok(order)
    }

    /// Those of `names` that are not there, and who needs them.
    pub fn missing(&self, names: &[String]) -> Vec<Missing> {
        let is_missing = |name: &&String| self.find(name).is_none();
        let needs = |one: &str, other: &str| {
            let needed = self.dependencies(one);
            needed
                .iter()
                .any(|needed| needed.for_kernel(&self.kernel) == other)
        };
        let describe = |name: &String| Missing {
            name: name.clone(),
            needed_by: names.iter().filter(|one| needs(one, name)).cloned().collect(),
        };
        names.iter().filter(is_missing).map(describe).collect()
    }

    /// The closure of the roots, read and compared with their sums.
    pub fn closure(&self, roots: &[Dependency]) -> Result<Vec<Extension>, ClosureError> {
        let names = self.order(roots)?;
        let missing = self.missing(&names);
        if !missing.is_empty() {
            return Err(ClosureError::Missing {
                missing,
                folders: self.folders.clone(),
            });
        }
        let images = names
            .iter()
            .filter_map(|name| Some((name.as_str(), self.find(name)?)));
        read_all(&images.collect::<Vec<_>>(), self.cache.as_deref())
    }
}

/// Reads extensions, in order; summing takes longer than the disk does, so as many
/// at once as there are processors.
fn read_all(images: &[(&str, PathBuf)], cache: Option<&Path>) -> Result<Vec<Extension>, ClosureError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let read = pool::map(images, threads, |(name, image)| {
        Extension::read(name, image.clone(), cache)
    });
    read.into_iter().collect()
}

/// The path of a side file.
fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}

impl Extension {
    /// Reads an image, unless the cache knows its sums, and what stands beside it.
    pub fn read(name: &str, image: PathBuf, cache: Option<&Path>) -> Result<Self, ClosureError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| ClosureError::Read { path, source }
        };
        let Sums { md5, sha256, len } = Sums::of(&image, cache).map_err(read(&image))?;
        let mut side = BTreeMap::new();
        for suffix in SIDE_FILES {
            let path = beside(&image, suffix);
            match plain::read(&path) {
                Ok(bytes) => side.insert(suffix, bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(read(&path)(error)),
            };
        }
        let written = side::md5::print(md5, name).into_bytes();
        if let Some(text) = side.insert("md5.txt", written) {
            same_sum(&image, &text, md5)?;
        }
        Ok(Self {
            name: name.to_owned(),
            size: len,
            sha256,
            image,
            side,
        })
    }

    /// Whether it holds a file, by its list.
    pub fn has(&self, path: &str) -> bool {
        let list = self.side.get("list").map(Vec::as_slice).unwrap_or_default();
        let paths = side::list::parse(list).unwrap_or_default();
        paths.iter().any(|one| one.as_bytes() == path.as_bytes())
    }
}

fn same_sum(image: &Path, text: &[u8], found: Md5) -> Result<(), ClosureError> {
    let wrong = |problem: String| ClosureError::SideFile {
        path: beside(image, "md5.txt"),
        problem,
    };
    let text = std::str::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    let (wanted, _) = side::md5::parse(text).map_err(|error| wrong(error.to_string()))?;
    if wanted == found {
        return Ok(());
    }
    Err(ClosureError::Damaged {
        image: image.to_owned(),
        found: found.to_string(),
        wanted: wanted.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shelves(dir: &Path, extensions: &[(&str, &str)]) -> Shelves {
        for (name, needs) in extensions {
            fs::write(dir.join(name), name).unwrap();
            if !needs.is_empty() {
                fs::write(dir.join(format!("{name}.dep")), needs).unwrap();
            }
        }
        Shelves {
            folders: vec![dir.to_owned()],
            kernel: "1.2.3-test".to_owned(),
            cache: None,
        }
    }

    fn roots(names: &[&str]) -> Vec<Dependency> {
        names
            .iter()
            .map(|name| Dependency::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let shelves = shelves(
            dir.path(),
            &[
                ("a.tcz", "b.tcz\nnet-KERNEL.tcz\n"),
                ("b.tcz", "c.tcz\n"),
                ("c.tcz", ""),
                ("net-1.2.3-test.tcz", ""),
                ("z.tcz", "c.tcz\n"),
            ],
        );
        let closure = shelves.closure(&roots(&["z.tcz", "a.tcz"])).unwrap();
        let names: Vec<_> = closure.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["c.tcz", "z.tcz", "b.tcz", "net-1.2.3-test.tcz", "a.tcz"]);
        assert_eq!(closure[4].side["dep"], b"b.tcz\nnet-KERNEL.tcz\n");
        // Made where it was missing.
        assert!(closure[0].side["md5.txt"].ends_with(b"  c.tcz\n"));
    }

    #[test]
    fn everything_that_is_missing_is_told_with_who_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let shelves = shelves(
            dir.path(),
            &[("a.tcz", "x-KERNEL.tcz\ny.tcz\n"), ("b.tcz", "y.tcz\n")],
        );
        let error = shelves.closure(&roots(&["a.tcz", "b.tcz", "w.tcz"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the disk would not be complete: `x-1.2.3-test.tcz` (needed by a.tcz) is missing; \
             `y.tcz` (needed by a.tcz, b.tcz) is missing; `w.tcz` (named by the appliance) is missing"
        );
    }

    #[test]
    fn a_damaged_extension_and_a_circle_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let shelves = shelves(
            dir.path(),
            &[("a.tcz", "b.tcz\n"), ("b.tcz", "a.tcz\n"), ("c.tcz", "")],
        );
        let error = shelves.closure(&roots(&["a.tcz"])).unwrap_err();
        assert!(matches!(error, ClosureError::Cycle(_)), "{error}");
        let sum = "0cc175b9c0f1b6a831c399e269772661  c.tcz\n";
        fs::write(dir.path().join("c.tcz.md5.txt"), sum).unwrap();
        let error = shelves.closure(&roots(&["c.tcz"])).unwrap_err();
        assert!(
            error.to_string().contains("0cc175b9c0f1b6a831c399e269772661"),
            "{error}"
        );
    }
}
