//! Tiny Core's root filesystem as a tar archive, with what was changed in it put
//! back.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tar::{Entry, EntryType};

use super::BaseError;
use super::data::{Archive, Replace};
use crate::digest::Sha256;
use crate::image::initrd::{Device, Tree};
use crate::stage::{Content, Kind, Node, Owner, TreePath};

/// The most bytes of the archive: it is held in memory to be summed first.
const LARGEST: u64 = 64 << 20;

/// Reads the archive, after its sum was checked: what is in it is known then,
/// device nodes and owners among it, which archives from the network may not have.
pub(super) fn read(path: &Path, data: &Archive) -> Result<Tree, BaseError> {
    let failed = |source| BaseError::read(path, source);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    let found = Sha256::of(&bytes);
    if found != data.sha256 {
        return Err(BaseError::WrongSum {
            path: path.to_owned(),
            release: data.title.clone(),
            kind: "sha256",
            found: found.to_string(),
            wanted: data.sha256.to_string(),
        });
    }
    let mut tree = unpack(MultiGzDecoder::new(&bytes[..]), in_memory).map_err(failed)?;
    for restore in &data.restore {
        let wrong = |reason: String| BaseError::Restore {
            path: restore.path.clone(),
            reason,
        };
        let node = (tree.stage.iter_mut())
            .find(|(path, _)| path.as_bytes() == restore.path.as_bytes())
            .map(|(_, node)| node);
        let Some(Node {
            kind: Kind::File(content),
            ..
        }) = node
        else {
            return Err(wrong("there is no such file".to_owned()));
        };
        let text = content.read_all().map_err(failed)?;
        let text = String::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
        let text = replace(text, &restore.replace).map_err(wrong)?;
        if Sha256::of(text.as_bytes()) != restore.sha256 {
            return Err(wrong("the result is not the official file".to_owned()));
        }
        *content = Content::bytes(text);
    }
    Ok(tree)
}

/// Makes each replacement, which must be possible as often as it says.
fn replace(mut text: String, all: &[Replace]) -> Result<String, String> {
    for one in all {
        let found = text.matches(&one.from).count();
        if found != one.times {
            return Err(format!(
                "`{}` is there {found} times, not {}",
                one.from, one.times
            ));
        }
        text = text.replace(&one.from, &one.to);
    }
    Ok(text)
}

/// Holds what a file of an archive has in memory.
fn in_memory(entry: &mut Entry<'_, impl Read>) -> io::Result<Content> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(Content::bytes(bytes))
}

/// Reads a tar archive that is known to be right; `content` takes what is in files.
pub(super) fn unpack<R: Read>(
    archive: R,
    content: impl FnMut(&mut Entry<'_, R>) -> io::Result<Content>,
) -> io::Result<Tree> {
    collect(tar::Archive::new(archive).entries()?, content)
}

/// Reads a tar archive that is known to be right without what is in its files, of which
/// `content` says where it is.
pub(super) fn scan<R: Read + Seek>(
    archive: R,
    content: impl FnMut(&mut Entry<'_, R>) -> io::Result<Content>,
) -> io::Result<Tree> {
    collect(tar::Archive::new(archive).entries_with_seek()?, content)
}

fn collect<'a, R: Read + 'a>(
    entries: impl Iterator<Item = io::Result<Entry<'a, R>>>,
    mut content: impl FnMut(&mut Entry<'a, R>) -> io::Result<Content>,
) -> io::Result<Tree> {
    let mut tree = Tree::default();
    // The contents of files that later entries may be hard links to.
    let mut files = BTreeMap::new();
    for entry in entries {
        let mut entry = entry?;
        let path = TreePath::parse(entry.path_bytes()).map_err(invalid)?;
        let (mode, owner) = metadata(entry.header())?;
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular => {
                let content = content(&mut entry)?;
                files.insert(path.clone(), content.clone());
                Kind::File(content)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = TreePath::parse(target).map_err(invalid)?;
                let content = files.get(&target).ok_or_else(|| {
                    io::Error::other(format!("`{path}` is a link to `{target}`, which is not there"))
                })?;
                Kind::File(content.clone())
            }
            EntryType::Symlink => Kind::Symlink(entry.link_name_bytes().unwrap_or_default().into_owned()),
            kind @ (EntryType::Block | EntryType::Char) => {
                let number = |value: Option<u32>| value.unwrap_or_default();
                tree.devices.push(Device {
                    path,
                    block: kind == EntryType::Block,
                    major: number(entry.header().device_major()?),
                    minor: number(entry.header().device_minor()?),
                    mode,
                    owner,
                });
                continue;
            }
            other => return Err(io::Error::other(format!("`{path}` is of the kind {other:?}"))),
        };
        let mode = if matches!(kind, Kind::Symlink(_)) {
            0o777
        } else {
            mode
        };
        tree.stage
            .insert(path, Node { kind, mode, owner })
            .map_err(io::Error::other)?;
    }
    tree.devices.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

fn metadata(header: &tar::Header) -> io::Result<(u16, Owner)> {
    let id = |value: u64| u32::try_from(value).map_err(io::Error::other);
    let owner = Owner {
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
    };
    Ok(((header.mode()? & 0o7777) as u16, owner))
}

fn invalid(error: crate::stage::PathError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(from: &str, to: &str, times: usize) -> Replace {
        Replace {
            from: from.to_owned(),
            to: to.to_owned(),
            times,
        }
    }

    #[test]
    fn a_text_is_replaced_as_often_as_it_is_said_or_not_at_all() {
        for (all, wanted) in [
            (vec![one("a", "b", 2), one("c", "d", 1)], Ok("b b d")),
            (vec![one("a", "b", 1)], Err("`a` is there 2 times, not 1")),
            (vec![one("x", "y", 1)], Err("`x` is there 0 times, not 1")),
        ] {
            let got = replace("a a c".to_owned(), &all);
            assert_eq!(got.as_deref().map_err(String::as_str), wanted);
        }
    }
}
