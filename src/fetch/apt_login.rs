//! Logins that stand in the URIs of apt's sources. apt is given them in memory: no file of
//! the cache has them, and no command line.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustix::fs::{MemfdFlags, memfd_create};

/// A login for everything below a URI.
#[derive(Clone)]
pub(super) struct Login {
    /// The URI, without it.
    place: String,
    // As URLs have them: with percent signs.
    user: String,
    password: String,
}

/// A file of logins that is only in memory (apt_auth.conf(5)).
pub(super) struct LoginFile(File);

impl Login {
    /// Takes the login out of a source's URI.
    pub(super) fn split(uri: &str) -> (String, Option<Self>) {
        let Some(mut url) = Url::parse(uri).ok().filter(|url| url.has_authority()) else {
            return (uri.to_owned(), None);
        };
        let user = url.username().to_owned();
        let password = url.password().unwrap_or_default().to_owned();
        if user.is_empty() && password.is_empty() {
            return (uri.to_owned(), None);
        }
        // Fails only for URLs without a host, which have no login either.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let place = url.to_string();
        let login = Self {
            place: place.clone(),
            user,
            password,
        };
        (place, Some(login))
    }

    /// Puts it into the URL of a file.
    pub(super) fn put_into(&self, url: &mut Url) {
        let _ = url.set_username(&self.user);
        let _ = url.set_password(Some(&self.password));
    }

    /// The file with it, and with what the machine's own has. Fails for a login that such
    /// a file cannot have.
    pub(super) fn file(&self, machines: &[u8]) -> io::Result<LoginFile> {
        let plain = |text| percent_decode_str(text).decode_utf8().ok();
        let fits =
            |text: &String| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let word = |text| plain(text).map(|text| text.into_owned()).filter(fits);
        let (Some(user), Some(password)) = (word(&self.user), word(&self.password)) else {
            return Err(io::Error::other(
                "the login in the URI of apt's source cannot be given to apt: it is empty, or has a blank in it",
            ));
        };
        let mut file = File::from(memfd_create("apt-logins", MemfdFlags::CLOEXEC)?);
        writeln!(file, "machine {} login {user} password {password}", self.place)?;
        file.write_all(machines)?;
        Ok(LoginFile(file))
    }
}

impl LoginFile {
    /// apt's option for it. It holds as long as the file is open.
    pub(super) fn option(&self) -> String {
        format!(
            "Dir::Etc::netrc=/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn a_login_is_taken_out_and_put_where_it_belongs() {
        for (uri, place, file) in [
            (
                "http://me:hid%2fden@mirror.example:81/debian/",
                "http://mirror.example:81/debian/",
                Some("machine http://mirror.example:81/debian/ login me password hid/den\n# mine\n"),
            ),
            (
                "https://mirror.example/debian/",
                "https://mirror.example/debian/",
                None,
            ),
            ("file:/srv/debian/", "file:/srv/debian/", None),
            ("mirror+file:/etc/mirrors", "mirror+file:/etc/mirrors", None),
            ("no uri", "no uri", None),
        ] {
            let (found, login) = Login::split(uri);
            assert_eq!(found, place);
            let text = login.as_ref().map(|login| {
                let mut file = login.file(b"# mine\n").unwrap().0;
                file.rewind().unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            });
            assert_eq!(text.as_deref(), file, "{uri}");
            if let Some(login) = login {
                let mut url = Url::parse(place).unwrap();
                login.put_into(&mut url);
                assert_eq!(url.as_str(), uri);
            }
        }
        for uri in [
            "http://me@a.example/",
            "http://:hidden@a.example/",
            "http://me:a%20b@a.example/",
        ] {
            let (_, login) = Login::split(uri);
            let error = login.unwrap().file(b"").err().unwrap().to_string();
            assert!(error.starts_with("the login in the URI"), "{error}");
        }
    }
}
