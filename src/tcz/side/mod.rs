//! The files beside an extension, to the letter of what Tiny Core's tools
//! read, and a software bill of materials.

pub mod dep;
pub mod info;
pub mod list;
pub mod md5;
pub mod sbom;
pub mod tree;
pub mod zsync;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use md5::Md5;
use sha1::{Digest as _, Sha1};

pub use dep::Dependency;
pub use info::Info;
pub use sbom::{Sbom, Upstream};

use crate::digest::{Sha256, Sha256Writer};
use crate::stage::Stage;
use zsync::{BlockSums, Layout, Zsync};

/// Whether a text can be the file name of an extension: `NAME.tcz`, the name
/// of letters, digits, `.`, `_`, `+` and `-`, and not hidden.
pub fn is_name(text: &str) -> bool {
    let Some(stem) = text.strip_suffix(".tcz") else {
        return false;
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    stem.bytes().all(known) && stem.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 128
}

/// What follows `x.tcz.` in the names of the side files.
pub const SUFFIXES: [&str; 7] = ["dep", "info", "list", "md5.txt", "spdx.json", "tree", "zsync"];

/// What is written beside an image, besides what the image itself says.
#[derive(Clone, Copy)]
pub struct SideFiles<'a> {
    /// The extension's file name, `x.tcz`.
    pub file_name: &'a str,
    /// The info file; its title and size are filled in.
    pub info: &'a Info,
    /// What it needs directly.
    pub dependencies: &'a [Dependency],
    /// Direct dependencies of another extension, for the tree; none if unknown.
    pub lookup: &'a dyn Fn(&str) -> Vec<Dependency>,
    /// The kernel's release, for the tree.
    pub kernel: &'a str,
    /// What the image holds.
    pub stage: &'a Stage,
    /// What it is made of.
    pub upstream: &'a [Upstream],
    /// One sum of all that.
    pub inputs: Option<Sha256>,
    /// An SPDX expression, for the bill of materials.
    pub license: &'a str,
    /// The time that goes into the files, in seconds since 1970.
    pub time: u32,
}

/// Why side files could not be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SideError {
    /// The name is none for an extension.
    #[error("`{0}` cannot be the name of an extension")]
    #[diagnostic(help("use letters, digits, `.`, `_`, `+` and `-`, with `.tcz` at the end"))]
    Name(String),
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    #[diagnostic(help("check that the folder can be written to and that the disk has room"))]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The list cannot be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    List(#[from] list::ListError),
    /// The tree cannot be drawn.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tree(#[from] tree::TreeError),
    /// The bill of materials cannot be written.
    #[error("cannot write the bill of materials")]
    #[diagnostic(help("this is a bug in tcforge: please report it"))]
    Sbom(#[from] serde_json::Error),
}

/// The sums of an image, all taken while it was read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// Bytes.
    pub length: u64,
    /// For Tiny Core's tools.
    pub md5: Md5,
    /// For zsync.
    pub sha1: [u8; 20],
    /// For everything else.
    pub sha256: Sha256,
    /// For zsync: the sums of its blocks.
    pub blocks: Vec<u8>,
}

impl Sums {
    /// Reads a file to its end. `layout` tells how zsync cuts it; `None` means
    /// as zsyncmake would.
    pub fn of_file(path: &Path, layout: Option<Layout>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let layout = match layout {
            Some(layout) => layout,
            None => Layout::for_length(file.metadata()?.len()),
        };
        let (mut md5, mut sha1) = (::md5::Md5::default(), Sha1::new());
        let mut sha256 = Sha256Writer::new(io::sink());
        let mut blocks = BlockSums::new(layout);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &buffer[..n];
            md5.update(bytes);
            sha1.update(bytes);
            io::Write::write_all(&mut sha256, bytes)?;
            blocks.update(bytes);
        }
        let (sha256, length, _) = sha256.finish();
        Ok(Self {
            length,
            md5: Md5(md5.finalize().into()),
            sha1: sha1.finalize().into(),
            sha256,
            blocks: blocks.finish(),
        })
    }
}

/// Writes the side files of an image with these sums into `folder` (that
/// exists): `.md5.txt`, `.info`, `.list`, `.tree`, `.zsync`, `.spdx.json`, and
/// `.dep` if it needs anything. Files there are overwritten.
pub fn write_side_files(sums: &Sums, side: &SideFiles<'_>, folder: &Path) -> Result<(), SideError> {
    if !is_name(side.file_name) {
        return Err(SideError::Name(side.file_name.to_owned()));
    }
    for (suffix, bytes) in contents(side, sums)? {
        let path = folder.join(format!("{}.{suffix}", side.file_name));
        fs::write(&path, bytes).map_err(|source| SideError::Io {
            action: "write",
            path,
            source,
        })?;
    }
    Ok(())
}

/// Every side file: what follows `x.tcz.` in its name, and its bytes.
fn contents(side: &SideFiles<'_>, sums: &Sums) -> Result<Vec<(&'static str, Vec<u8>)>, SideError> {
    let name = side.file_name;
    let own = dep::for_kernel(name, side.kernel);
    let lookup = |other: &str| match other == own {
        true => side.dependencies.to_vec(),
        false => (side.lookup)(other),
    };
    let info = Info {
        title: name.to_owned(),
        size: info::du(sums.length),
        ..side.info.clone()
    };
    let zsync = Zsync {
        file_name: name.to_owned(),
        mtime: Some(zsync::mtime(side.time)),
        layout: Layout::for_length(sums.length),
        url: name.to_owned(),
        sha1: sums.sha1,
        sums: sums.blocks.clone(),
    };
    let sbom = Sbom {
        file_name: name,
        version: &info.version,
        description: &info.description,
        site: &info.original_site,
        license: side.license,
        sha256: sums.sha256,
        upstream: side.upstream,
        inputs: side.inputs,
        dependencies: side.dependencies,
        created: side.time,
    };
    let mut files = vec![
        ("md5.txt", md5::print(sums.md5, name).into_bytes()),
        ("info", info.print().into_bytes()),
        ("list", list::print(side.stage.file_paths())?),
        ("tree", tree::print(name, side.kernel, &lookup)?.into_bytes()),
        ("zsync", zsync.to_bytes()),
        ("spdx.json", sbom.to_json()?.into_bytes()),
    ];
    if !side.dependencies.is_empty() {
        files.push(("dep", dep::print(side.dependencies).into_bytes()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_extensions() {
        for (text, wanted) in [
            ("x.tcz", true),
            ("gtk2+-2.0_x.tcz", true),
            ("net-bridging-5.4.3-tinycore64.tcz", true),
            ("x", false),
            (".tcz", false),
            (".x.tcz", false),
            ("-x.tcz", false),
            ("a b.tcz", false),
            ("a/b.tcz", false),
            ("ü.tcz", false),
            ("a\n.tcz", false),
        ] {
            assert_eq!(is_name(text), wanted, "{text:?}");
        }
    }
}
