//! Whether programs ask for a loader that Tiny Core does not have where they
//! look for it.

use std::io::{self, Read};

use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::stage::{Content, Kind, Stage};

/// Where programs made on most other systems look for their loader. Tiny Core
/// has it in `/lib`, and no `/lib64`.
const LIB64: &[u8] = b"/lib64/";

/// What is read of a file: its headers and, right behind them as every linker
/// puts it, the loader's name.
const HEAD: u64 = 64 * 1024;

/// Whether any program of a stage asks for a loader below `/lib64`.
pub(super) fn any_asks_for_lib64(stage: &Stage) -> io::Result<bool> {
    for (_, node) in stage.iter() {
        if let Kind::File(content) = &node.kind
            && asks_for_lib64(content)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn asks_for_lib64(content: &Content) -> io::Result<bool> {
    let mut head = Vec::new();
    content.open()?.take(HEAD).read_to_end(&mut head)?;
    Ok(loader(&head).is_some_and(|loader| loader.starts_with(LIB64)))
}

/// The loader that a 64 bit little-endian ELF program asks for.
fn loader(head: &[u8]) -> Option<&[u8]> {
    let header = FileHeader64::<LittleEndian>::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, head).ok()?;
    programs
        .iter()
        .find_map(|program| program.interpreter(endian, head).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_read_from_the_headers() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(loader(&own), Some(&b"/lib64/ld-linux-x86-64.so.2"[..]));
        assert!(asks_for_lib64(&Content::bytes(own.clone())).unwrap());
        for other in [&b""[..], b"#!/bin/sh\n/lib64/", &own[..40]] {
            assert_eq!(loader(other), None);
        }
    }
}
