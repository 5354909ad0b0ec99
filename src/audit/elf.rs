//! What a program or library says about itself: for which machine it is, and
//! which others it needs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::ops::Range;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::read::{ReadCache, ReadRef, SectionIndex, StringTable};

type Header = elf::FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// The first bytes of every ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// What was found in an ELF file.
#[derive(Debug)]
pub(super) enum Elf {
    /// A program or library that an x86_64 machine could run.
    Native(Box<Native>),
    /// An object file or kernel module: nothing that the loader sees.
    Relocatable,
    /// One for another machine, by its name.
    Foreign(String),
    /// It could not be read, and why.
    Unreadable(String),
}

/// A program or library for x86_64.
#[derive(Debug, Default)]
pub(super) struct Native {
    /// The dynamic loader that it asks for: what makes it a program.
    pub(super) interpreter: Option<String>,
    /// Whether it is a fixed-address program (which needs no loader).
    pub(super) executable: bool,
    /// Libraries it needs, by soname.
    pub(super) needed: Vec<String>,
    /// Where its libraries are looked for first, and those of what it loads.
    pub(super) rpath: Vec<String>,
    /// Where its own libraries are looked for first.
    pub(super) runpath: Vec<String>,
    /// Symbol versions that it needs, by library.
    pub(super) needs: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions that it defines.
    pub(super) defines: BTreeSet<String>,
    /// Whether it has its symbol table or debug sections still.
    pub(super) symbols: bool,
    /// Whether it needs libraries that its sections do not tell.
    sectionless: bool,
}

/// Reads what there is to know of an ELF file, holding at most `limit` bytes
/// of it in memory.
pub(super) fn read(file: impl Read + Seek, limit: u64) -> Elf {
    let cache = ReadCache::new(file);
    let data = Bounded {
        cache: &cache,
        left: &Cell::new(limit),
    };
    let machine = match Machine::read(data) {
        Ok(machine) => machine,
        Err(reason) => return Elf::Unreadable(reason),
    };
    if !machine.is_native() {
        return Elf::Foreign(machine.to_string());
    }
    match read_native(data) {
        Ok(Some(native)) if native.sectionless => {
            Elf::Unreadable("it has a dynamic segment, but no section that describes it".to_owned())
        }
        Ok(Some(native)) => Elf::Native(Box::new(native)),
        Ok(None) => Elf::Relocatable,
        Err(error) => Elf::Unreadable(error.to_string()),
    }
}

struct Machine {
    class: u8,
    order: u8,
    system: u8,
    number: u16,
}

impl Machine {
    fn read<'a>(data: impl ReadRef<'a>) -> Result<Self, String> {
        let short = |()| "it ends inside its header".to_owned();
        let head = data.read_bytes_at(0, 20).map_err(short)?;
        let number = [head[18], head[19]];
        Ok(Self {
            class: head[4],
            order: head[5],
            system: head[7],
            number: match head[5] {
                2 => u16::from_be_bytes(number),
                _ => u16::from_le_bytes(number),
            },
        })
    }

    fn is_native(&self) -> bool {
        (self.class, self.order, self.number) == (2, 1, elf::EM_X86_64.0) && self.other_system().is_none()
    }

    /// The system that it is for, if that is not Linux: what is said here is said by
    /// what needs its loader's special ways. The rest says nothing, which is Linux, too.
    fn other_system(&self) -> Option<&'static str> {
        match self.system {
            2 => Some("NetBSD"),
            6 => Some("Solaris"),
            9 => Some("FreeBSD"),
            12 => Some("OpenBSD"),
            _ => None,
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(system) = self.other_system() {
            return f.write_str(system);
        }
        let name = match self.number {
            3 => "i386",
            8 => "mips",
            20 => "ppc",
            21 => "ppc64",
            22 => "s390",
            40 => "arm",
            62 => "x32",
            183 => "aarch64",
            243 => "riscv",
            258 => "loongarch",
            number => return write!(f, "ELF machine {number}"),
        };
        f.write_str(name)
    }
}

fn read_native<'a, R: ReadRef<'a>>(data: R) -> object::Result<Option<Native>> {
    let header = Header::parse(data)?;
    if header.e_type.get(LE) == elf::ET_REL {
        return Ok(None);
    }
    let mut native = Native {
        executable: header.e_type.get(LE) == elf::ET_EXEC,
        ..Native::default()
    };
    let mut dynamic = false;
    for segment in header.program_headers(LE, data)? {
        dynamic |= segment.p_type.get(LE) == elf::PT_DYNAMIC;
        if let Some(interpreter) = segment.interpreter(LE, data)? {
            native.interpreter = Some(text(interpreter));
        }
    }
    let sections = header.sections(LE, data)?;
    native.symbols = has_symbols(&sections);
    read_dynamic(&sections, data, &mut native, dynamic)?;
    Ok(Some(native))
}

fn has_symbols<'a, R: ReadRef<'a>>(sections: &SectionTable<'a, Header, R>) -> bool {
    sections.iter().any(|section| {
        let name = sections.section_name(LE, section).unwrap_or_default();
        section.sh_type(LE) == elf::SHT_SYMTAB || name.starts_with(b".debug_")
    })
}

fn read_dynamic<'a, R: ReadRef<'a>>(
    sections: &SectionTable<'a, Header, R>,
    data: R,
    native: &mut Native,
    dynamic: bool,
) -> object::Result<()> {
    let table = sections.dynamic_table(LE, data)?;
    // Its segments may say that it needs libraries; which, only sections tell.
    native.sectionless = dynamic && table.is_empty();
    for entry in table.iter() {
        let folders = || -> object::Result<Vec<String>> {
            let list = text(table.string(entry)?);
            Ok(list.split(':').map(str::to_owned).collect())
        };
        match entry.tag {
            elf::DT_NEEDED => native.needed.push(text(table.string(entry)?)),
            elf::DT_RPATH => native.rpath = folders()?,
            elf::DT_RUNPATH => native.runpath = folders()?,
            _ => {}
        }
    }
    if let Some((mut needs, link)) = sections.gnu_verneed(LE, data)? {
        let strings = strings(sections, data, link)?;
        while let Some((need, versions)) = needs.next()? {
            let versions = needed_versions(versions, strings)?;
            native
                .needs
                .entry(text(need.file(LE, strings)?))
                .or_default()
                .extend(versions);
        }
    }
    if let Some((mut defines, link)) = sections.gnu_verdef(LE, data)? {
        let strings = strings(sections, data, link)?;
        while let Some((_, mut names)) = defines.next()? {
            // The first is the version, the others are those it follows.
            if let Some(name) = names.next()? {
                native.defines.insert(text(name.name(LE, strings)?));
            }
        }
    }
    Ok(())
}

fn needed_versions<'a, R: ReadRef<'a>>(
    mut versions: object::read::elf::VernauxIterator<'a, Header>,
    strings: StringTable<'a, R>,
) -> object::Result<Vec<String>> {
    let mut names = Vec::new();
    while let Some(version) = versions.next()? {
        // Without a weak one the loader starts the program all the same.
        if version.vna_flags.get(LE).0 & elf::VER_FLG_WEAK.0 == 0 {
            names.push(text(version.name(LE, strings)?));
        }
    }
    Ok(names)
}

fn strings<'a, R: ReadRef<'a>>(
    sections: &SectionTable<'a, Header, R>,
    data: R,
    link: SectionIndex,
) -> object::Result<StringTable<'a, R>> {
    sections.strings(LE, data, link)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives out no more bytes of a file than a limit: its tables can claim to be
/// as large as the file, many times over.
struct Bounded<'a, R: Read + Seek> {
    cache: &'a ReadCache<R>,
    left: &'a Cell<u64>,
}

impl<R: Read + Seek> Clone for Bounded<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Read + Seek> Copy for Bounded<'_, R> {}

impl<'a, R: Read + Seek> Bounded<'a, R> {
    fn spend(self, size: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        Ok(())
    }
}

impl<'a, R: Read + Seek> ReadRef<'a> for Bounded<'a, R> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // No name is longer than a path may be.
        let end = range.end.min(range.start.saturating_add(4096));
        let bytes = self.cache.read_bytes_at_until(range.start..end, delimiter)?;
        self.spend(bytes.len() as u64 + 1)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const LIMIT: u64 = 1 << 20;

    fn host(path: &str) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_program_of_the_host_is_read() {
        let Elf::Native(native) = read(Cursor::new(host("/bin/true")), LIMIT) else {
            panic!("not a program");
        };
        assert_eq!(native.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(native.needed, ["libc.so.6"]);
        assert!(native.needs["libc.so.6"].contains("GLIBC_2.2.5"));
        assert!(!native.symbols && native.defines.is_empty());
    }

    #[test]
    fn other_machines_are_named() {
        let mut bytes = host("/bin/true");
        for (class, system, machine, name) in [
            (1, 0, 3, "i386"),
            (2, 3, 183, "aarch64"),
            (1, 0, 62, "x32"),
            (2, 9, 62, "FreeBSD"),
        ] {
            bytes[4] = class;
            bytes[7] = system;
            bytes[18] = machine;
            match read(Cursor::new(&bytes), LIMIT) {
                Elf::Foreign(found) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn damaged_files_are_answered() {
        let bytes = host("/bin/true");
        for length in [4, 19, 20, 63, 100, bytes.len() / 2, bytes.len() - 1] {
            let elf = read(Cursor::new(&bytes[..length]), LIMIT);
            assert!(matches!(elf, Elf::Unreadable(_)), "{length}: {elf:?}");
        }
        // Each byte of headers and tables set to what is largest: any answer
        // will do, as long as there is one.
        for at in (4..bytes.len().min(8192)).chain(bytes.len() - 4096..bytes.len()) {
            let mut bytes = bytes.clone();
            bytes[at] = 0xff;
            let _ = read(Cursor::new(bytes), LIMIT);
        }
    }

    #[test]
    fn no_more_than_the_limit_is_held() {
        let elf = read(Cursor::new(host("/bin/true")), 1000);
        assert!(matches!(elf, Elf::Unreadable(_)), "{elf:?}");
    }
}
