//! What a kernel module says of itself, in its section `.modinfo`: texts like
//! `depends=jbd2,crc16`, each ended by a NUL.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use object::Endianness;
use object::read::elf::ElfFile64;
use object::read::{Object as _, ObjectSection as _};

use crate::stage::{Content, TreePath};

/// The most bytes of a module: Linux's largest (amdgpu) has about 30 MB with
/// debug data left out.
const LARGEST: u64 = 256 << 20;

/// A kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its path below `lib/modules/RELEASE`.
    pub(crate) path: TreePath,
    /// Its name, with `_` for `-`.
    pub(crate) name: String,
    /// The modules whose symbols it uses.
    pub(crate) depends: Vec<String>,
    /// What else it is found by: `fs-ext4`, `pci:v00001AF4d…`.
    pub(crate) aliases: Vec<String>,
    /// Its soft dependencies, each as written: `pre: crypto-crc32c`.
    pub(crate) softdeps: Vec<String>,
    /// The kernel release that it is for.
    pub(crate) release: String,
}

/// The endings of a module's file name.
const ENDINGS: [&[u8]; 2] = [b".ko", b".ko.gz"];

/// A module's name by its file's: `xt_MASQUERADE.ko`, `usb-storage.ko.gz`.
pub(crate) fn name_of(path: &TreePath) -> Option<String> {
    let file = path.file_name()?;
    let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(*ending))?;
    Some(normal(&String::from_utf8_lossy(stem)))
}

/// A name as the kernel writes it.
pub(crate) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

impl Module {
    /// Reads a module; the error says what is wrong with it.
    pub(crate) fn read(path: TreePath, content: &Content) -> Result<Self, String> {
        let name = name_of(&path).ok_or("its name does not end in `.ko` or `.ko.gz`")?;
        let bytes = bytes(content)?;
        let info = section(&bytes)?;
        let all = |key: &str| -> Vec<String> {
            let values = info.split(|byte| *byte == 0);
            let values = values.filter_map(|text| text.strip_prefix(key.as_bytes())?.strip_prefix(b"="));
            values
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect()
        };
        let words = |text: &String| text.split(' ').next().unwrap_or_default().to_owned();
        let names = |text: &String| -> Vec<String> {
            let names = text.split(',').filter(|name| !name.is_empty());
            names.map(normal).collect()
        };
        Ok(Self {
            depends: all("depends").iter().flat_map(names).collect(),
            release: all("vermagic").first().map(words).ok_or("it has no vermagic")?,
            aliases: all("alias"),
            softdeps: all("softdep"),
            path,
            name,
        })
    }

    /// The names in its soft dependencies, before and behind it.
    pub(crate) fn soft_names(&self) -> impl Iterator<Item = &str> {
        let words = self.softdeps.iter().flat_map(|text| text.split_whitespace());
        words.filter(|word| !word.ends_with(':'))
    }
}

fn bytes(content: &Content) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    let mut reader = content.open().map_err(failed)?.take(LARGEST);
    reader.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.starts_with(b"\x1f\x8b") {
        let mut plain = Vec::new();
        let mut reader = MultiGzDecoder::new(bytes.as_slice()).take(LARGEST);
        reader.read_to_end(&mut plain).map_err(failed)?;
        return Ok(plain);
    }
    Ok(bytes)
}

fn section(bytes: &[u8]) -> Result<&[u8], String> {
    let file = ElfFile64::<Endianness>::parse(bytes).map_err(|error| error.to_string())?;
    let section = file
        .section_by_name(".modinfo")
        .ok_or("it has no section `.modinfo`")?;
    section.data().map_err(|error| error.to_string())
}
