//! How the network is used: `recipes/network.toml`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::FetchError;
use super::mirror::Mirror;
use crate::project::{Misread, Project};
use crate::url::WebUrl;

/// The name of the data file.
const FILE: &str = "recipes/network.toml";

/// Time-outs, retries and limits. The data file says what each is for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// Files fetched at the same time; at least one.
    pub jobs: std::num::NonZeroUsize,
    /// How long a connection may take to come about.
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    #[serde(deserialize_with = "seconds")]
    pub read_timeout: Duration,
    /// Bytes a second, over a whole `read_timeout`, that do not count as a stall.
    pub slowest: u64,
    /// How often a file is asked for; at least once.
    pub attempts: std::num::NonZeroU32,
    /// The wait before the second attempt.
    #[serde(deserialize_with = "seconds")]
    pub first_wait: Duration,
    /// The longest wait before an attempt.
    #[serde(deserialize_with = "seconds")]
    pub longest_wait: Duration,
    /// Redirects followed for one file.
    pub redirects: usize,
    /// Bytes: the largest file that is taken.
    pub largest_file: u64,
    /// Bytes: the largest index.
    pub largest_index: u64,
    /// Bytes: the largest list of sums.
    pub largest_list: u64,
    /// Where release lists of GitHub projects are asked for.
    pub github_api: WebUrl,
    /// Asked before each file's own origin.
    pub mirrors: Vec<Mirror>,
}

/// What is taken beyond twice a known size, in bytes: room for an error page in the place
/// of a small file.
const MARGIN: u64 = 1 << 20;

impl Network {
    /// How many bytes are taken of a file that should have `size`. Some more than those,
    /// so that the sum of another one can be told; not any number, for a mirror may be
    /// nobody's friend.
    pub(super) fn limit(&self, size: Option<u64>) -> u64 {
        size.map_or(self.largest_file, |size| {
            let more = size.saturating_mul(2).saturating_add(MARGIN);
            more.min(self.largest_file).max(size)
        })
    }

    /// Reads the project's settings. Fails if they cannot be read or understood.
    pub fn read(project: &Project) -> Result<Self, FetchError> {
        let text = project.read_text(FILE)?;
        toml::from_str(&text).map_err(|error| FetchError::Settings {
            file: project.display_name(FILE),
            error: Misread::of_secret(&text, &error),
        })
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_settings_are_read() {
        let network = Network::read(&Project::built_in()).unwrap();
        assert_eq!(network.first_wait, Duration::from_secs(1));
        assert_eq!(network.mirrors, []);
    }

    #[test]
    fn wrong_settings_are_refused() {
        let good = Project::built_in().read_text(FILE).unwrap();
        for (from, to, why) in [
            ("jobs = 4", "jobs = 0", "nonzero"),
            ("jobs = 4", "job = 4", "unknown field `job`"),
            ("first-wait = 1", "first-wait = -1", "negative"),
            ("mirrors = []", "mirrors = [\"ftp://host/\"]", "`ftp://host/`"),
            ("https://api.github.com", "api.github.com", "relative URL"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, good.replace(from, to)).unwrap();
            let error = Network::read(&Project::in_folder(folder.path())).unwrap_err();
            let FetchError::Settings { error, .. } = &error else {
                panic!("{error:?}");
            };
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
