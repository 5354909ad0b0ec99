//! Fetching, against a server of our own that misbehaves as told, and against the
//! registries that this machine is set up with.

mod cache;
mod first;
mod listed;
mod machine;
mod npm;
mod process;
mod registries;
mod secrets;
mod server;
mod web;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tcforge::digest::Sha256;
use tcforge::fetch::{Cache, FetchError, FetchOptions, Fetcher, Network, Origin, Wanted};
use tcforge::progress::{Progress, Silent, Task};
use tcforge::project::Project;

/// Tells the error that is expected from others.
type IsRight = fn(&FetchError) -> bool;

/// Collects the notes.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Progress for Notes {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// The built-in settings, with waits that do not hold tests up.
fn network() -> Network {
    let built_in = Network::read(&Project::built_in()).unwrap();
    Network {
        attempts: 3.try_into().unwrap(),
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_secs(2),
        redirects: 4,
        largest_file: 1 << 20,
        ..built_in
    }
}

/// A fetcher with a cache in `folder`.
fn fetcher(folder: &Path) -> Fetcher {
    Fetcher::new(options(folder))
}

fn options(folder: &Path) -> FetchOptions {
    FetchOptions {
        cache: Cache::at(folder.join("cache")),
        network: network(),
        mirrors: Vec::new(),
        offline: false,
    }
}

/// A file with the given bytes, from the given place.
fn wanted(origin: &str, bytes: &[u8]) -> Wanted {
    let origin: Origin = origin.parse().unwrap();
    Wanted {
        name: origin.file_name(),
        origin,
        size: Some(bytes.len() as u64),
        sha256: Sha256::of(bytes),
    }
}

/// A hundred thousand bytes that are not all alike.
fn body() -> Vec<u8> {
    (0..100_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// What is in the cache of `folder`.
#[derive(Debug)]
struct Left {
    /// Whole files, by their sums.
    entries: Vec<String>,
    /// Parts, for a later run to go on with.
    parts: Vec<String>,
}

fn left(folder: &Path) -> Left {
    let cache = folder.join("cache");
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let sums = names(&cache.join("sha256"));
    let parts = names(&cache.join("partial"));
    Left {
        entries: sums
            .iter()
            .flat_map(|ab| names(&cache.join("sha256").join(ab)))
            .collect(),
        parts: parts.into_iter().filter(|name| name.ends_with(".part")).collect(),
    }
}
