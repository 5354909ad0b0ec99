//! Container images made offline: a staged tree as the one layer of an image,
//! in the archive (an OCI image layout) that `ctr images import` and
//! `docker load` read.
//!
//! Formats: <https://github.com/opencontainers/image-spec> 1.0.

use std::io::{self, Write};

use serde_json::json;

use crate::digest::Sha256;
use crate::stage::{Kind, Node, Stage, TreePath};

/// What an image is called and runs.
#[derive(Debug, Clone)]
pub struct ContainerImage<'a> {
    /// The full name, `docker.io/library/NAME:TAG`.
    pub name: &'a str,
    /// The command with its arguments.
    pub command: &'a [&'a str],
    /// What is in it.
    pub stage: &'a Stage,
    /// The time of everything in it, in seconds since 1970.
    pub time: u32,
}

/// Writes the archive. The same image gives the same bytes. Hard links become
/// files of their own. The layer is held in memory: this is for small images.
pub fn write(image: &ContainerImage<'_>, out: impl Write) -> io::Result<()> {
    let layer = layer(image)?;
    let created = created(image.time);
    let config = json!({
        "architecture": "amd64",
        "config": { "Cmd": image.command, "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/" },
        "created": created,
        "history": [{ "created": created, "created_by": "tcforge" }],
        "os": "linux",
        "rootfs": { "diff_ids": [digest(&layer)], "type": "layers" },
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor(MANIFEST, &manifest);
    let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();

    let mut tar = tar::Builder::new(out);
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = header(image.time, 0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes)
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add("index.json", index.as_bytes())?;
    for blob in [&manifest, &config, &layer] {
        add(&format!("blobs/sha256/{}", Sha256::of(blob)), blob)?;
    }
    tar.into_inner()?.flush()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// RFC 3339, as the format asks for.
fn created(time: u32) -> String {
    jiff::Timestamp::from_second(i64::from(time))
        .unwrap_or_default()
        .to_string()
}

fn header(time: u32, mode: u16) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(u64::from(time));
    header.set_mode(u32::from(mode));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// The tree as an uncompressed tar archive.
fn layer(image: &ContainerImage<'_>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, node) in image.stage.iter().filter(|(path, _)| **path != TreePath::root()) {
        append(&mut tar, path, node, image.time)?;
    }
    tar.into_inner()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &TreePath, node: &Node, time: u32) -> io::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let name = OsStr::from_bytes(path.as_bytes());
    let mut header = header(time, node.mode);
    header.set_uid(u64::from(node.owner.uid));
    header.set_gid(u64::from(node.owner.gid));
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, name, io::empty())
        }
        Kind::File(content) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(content.len());
            tar.append_data(&mut header, name, content.open()?)
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, OsStr::from_bytes(target))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Content;
    use std::io::Read;

    fn archive() -> Vec<u8> {
        let mut stage = Stage::new();
        let path = |path| TreePath::parse(path).unwrap();
        stage
            .insert(path("bin/busybox"), Node::file(Content::bytes("ELF"), 0o755))
            .unwrap();
        stage.insert(path("bin/sh"), Node::symlink("busybox")).unwrap();
        let mut out = Vec::new();
        let image = ContainerImage {
            name: "docker.io/library/check:1",
            command: &["/bin/sh"],
            stage: &stage,
            time: 1_583_020_800,
        };
        write(&image, &mut out).unwrap();
        out
    }

    /// The archive's files by name.
    fn files(archive: &[u8]) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_digest_leads_to_its_blob() {
        let archive = archive();
        assert_eq!(archive, self::archive());
        let files = files(&archive);
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            let bytes = &files[&format!("blobs/{digest}")];
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let index = json(&files["index.json"]);
        let annotations = &index["manifests"][0]["annotations"];
        assert_eq!(
            annotations["io.containerd.image.name"],
            "docker.io/library/check:1"
        );
        assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
        let manifest = json(&blob(&index["manifests"][0]));
        let config = json(&blob(&manifest["config"]));
        assert_eq!(config["config"]["Cmd"], json!(["/bin/sh"]));
        assert_eq!(config["created"], "2020-03-01T00:00:00Z");
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let names: Vec<_> = self::files(&layer).into_keys().collect();
        assert_eq!(names, ["bin", "bin/busybox", "bin/sh"]);
    }
}
