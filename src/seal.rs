//! Seals: what this user has said, and nobody else. The key lies with the user's own
//! state (`seal.key`), where what is sealed need not.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::digest::{Sha256, hex};
use crate::project::write_privately;
use crate::{plain, state};

/// Bytes of a key: as many as HMAC-SHA256 gives.
const LENGTH: usize = 32;

/// The seal of a text, written as sums are.
pub(crate) fn of(text: &str) -> io::Result<String> {
    Ok(hex(hmac::sign(key()?, text.as_bytes()).as_ref()))
}

/// Whether a text has this seal.
pub(crate) fn fits(text: &str, seal: &str) -> io::Result<bool> {
    let Ok(seal) = seal.parse::<Sha256>() else {
        return Ok(false);
    };
    Ok(hmac::verify(key()?, text.as_bytes(), seal.as_bytes()).is_ok())
}

/// The user's key. Where none can be kept there is one for each run: then what other
/// runs sealed is not believed.
fn key() -> io::Result<&'static Key> {
    static KEY: OnceLock<Key> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let made = || -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(bytes)
    };
    let kept = || {
        let path = state::folder()?.join("seal.key");
        load(&path).or_else(|_| keep(&path, made()?))
    };
    let bytes = kept().or_else(|_| made())?;
    Ok(KEY.get_or_init(|| Key::new(HMAC_SHA256, &bytes)))
}

/// A key that nobody else knows.
fn load(path: &Path) -> io::Result<[u8; LENGTH]> {
    let file = plain::open_own(path)?;
    let meta = file.metadata()?;
    if !plain::is_own(&meta) || meta.mode() & 0o077 != 0 || meta.len() != LENGTH as u64 {
        return Err(io::Error::other("others may know it"));
    }
    let mut bytes = [0; LENGTH];
    (&file).read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Keeps a key in the place of what is there.
fn keep(path: &Path, bytes: [u8; LENGTH]) -> io::Result<[u8; LENGTH]> {
    write_privately(path, &bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plain::tests::OBSTACLES;

    #[test]
    fn a_seal_is_of_one_text() {
        let seal = of("sum").unwrap();
        assert!(fits("sum", &seal).unwrap());
        for (text, seal) in [
            ("other", &*seal),
            ("sum", ""),
            ("sum", &"0".repeat(64)),
            ("sum", &seal[1..]),
        ] {
            assert!(!fits(text, seal).unwrap(), "{text} {seal}");
        }
    }

    #[test]
    fn a_key_is_one_that_nobody_else_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        keep(&path, [7; LENGTH]).unwrap();
        assert_eq!(load(&path).unwrap(), [7; LENGTH]);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path).is_err());
        keep(&path, [8; LENGTH]).unwrap();
        assert_eq!(load(&path).unwrap(), [8; LENGTH]);
        for length in [0, LENGTH - 1, LENGTH + 1] {
            fs::write(&path, vec![0; length]).unwrap();
            assert!(load(&path).is_err(), "{length}");
        }
        for (name, put) in OBSTACLES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("seal.key");
            put(&path);
            assert!(load(&path).is_err(), "{name}");
        }
    }
}
