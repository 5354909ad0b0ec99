//! npm's settings, as npm itself reads them: from `npm_config_…` variables and from
//! the project's, the user's, the global and npm's own `npmrc` (npm's `config` and
//! `npmrc` manual pages; the file format is that of its package `ini`). npm is not
//! needed for this.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::FetchError;
use super::route::{Access, Proxying, Route};
use crate::doctor::find_program;
use crate::url::WebUrl;

/// One source's settings. A setting may have several values (`KEY[] = VALUE`).
type Level = BTreeMap<String, Vec<String>>;

/// Settings of all sources. It is never shown: there are secrets in it.
pub(super) struct Npmrc {
    /// The strongest first.
    levels: Vec<Level>,
}

/// The value of a variable.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Npmrc {
    /// This machine's settings. Fails if a file is there but cannot be read.
    pub(super) fn of_machine() -> Result<Self, FetchError> {
        let mut settings = Self {
            levels: vec![variables(std::env::vars_os())],
        };
        settings.add(&project_file())?;
        let user = settings
            .path("userconfig")
            .or_else(|| Some(home()?.join(".npmrc")));
        settings.add_if_any(user)?;
        // npm's own file is the weakest, but it may say where the global one is.
        let own = read_level(own_file().as_deref())?;
        settings.levels.push(own.clone());
        let global = settings.path("globalconfig").or_else(|| {
            let prefix = settings.path("prefix").or_else(global_prefix)?;
            Some(prefix.join("etc/npmrc"))
        });
        settings.levels.pop();
        settings.add_if_any(global)?;
        settings.levels.push(own);
        Ok(settings)
    }

    fn add(&mut self, path: &Path) -> Result<(), FetchError> {
        self.levels.push(read_level(Some(path))?);
        Ok(())
    }

    fn add_if_any(&mut self, path: Option<PathBuf>) -> Result<(), FetchError> {
        path.map_or(Ok(()), |path| self.add(&path))
    }

    fn all(&self, key: &str) -> &[String] {
        let level = self.levels.iter().find(|level| level.contains_key(key));
        level.map_or(&[], |level| level[key].as_slice())
    }

    /// A setting's value, if it is set to something.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.all(key).last()?.as_str();
        (!["", "null", "undefined"].contains(&value)).then_some(value)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        let value = self.get(key)?;
        Some(match value.strip_prefix("~/") {
            Some(rest) => home()?.join(rest),
            None => PathBuf::from(value),
        })
    }

    /// Whether certificates are not to be checked.
    pub(super) fn trusts_everybody(&self) -> bool {
        self.get("strict-ssl") == Some("false")
    }

    /// How to ask for a URL on behalf of a registry.
    pub(super) fn access(&self, url: &WebUrl, registry: &WebUrl) -> Result<Access, FetchError> {
        let (url, registry) = (url.with_secrets(), registry.with_secrets());
        Ok(Access {
            route: Route {
                proxying: self.proxying(url),
                authorities: self.authorities()?,
            },
            authorization: self.login_for(url, registry)?,
        })
    }

    /// The login to send with a request. Settings name hosts without a scheme: over plain
    /// http nobody is given one but a registry that a person set up so.
    fn login_for(&self, url: &Url, registry: &Url) -> Result<Option<HeaderValue>, FetchError> {
        let is_registrys = url.origin() == registry.origin();
        if url.scheme() != "https" && !is_registrys {
            return Ok(None);
        }
        match self.login(url)? {
            None if is_registrys => self.login(registry),
            other => Ok(other),
        }
    }

    fn proxying(&self, url: &Url) -> Proxying {
        let set = |key| self.get(key).filter(|value| *value != "false");
        let except = set("noproxy").map(|_| self.all("noproxy").join(","));
        let proxy = match set("https-proxy").or_else(|| set("proxy")) {
            Some(proxy) => Some(proxy.to_owned()),
            // npm's exceptions count for the environment's proxy as well.
            None if except.is_some() => environment_proxy(url),
            None => None,
        };
        match proxy {
            Some(proxy) => Proxying::Through {
                proxy,
                except: except.or_else(|| either_case("no_proxy")),
            },
            None => Proxying::Environment,
        }
    }

    /// The authorities to trust instead of the system's, in PEM.
    fn authorities(&self) -> Result<Option<String>, FetchError> {
        if let Some(path) = self.path("cafile") {
            match fs::read_to_string(&path) {
                Ok(pem) => return Ok(Some(pem)),
                // npm takes it for none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FetchError::io("read", path)(error)),
            }
        }
        let pem = self.get("ca").map(|_| self.all("ca").join("\n"));
        Ok(pem.map(|pem| pem.replace("\\n", "\n")))
    }

    /// The login for a URL: of its host and the longest beginning of its path.
    fn login(&self, url: &Url) -> Result<Option<HeaderValue>, FetchError> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let mut place = format!("//{host}{port}{}", url.path());
        while place.len() > 2 {
            if let Some((key, login)) = self.login_at(&place)? {
                let value = HeaderValue::try_from(login);
                let mut value =
                    value.map_err(|_| wrong(&key, "has a line break or a sign that is not ASCII"))?;
                value.set_sensitive(true);
                return Ok(Some(value));
            }
            // Either the slash at the end, or what follows it.
            let shorter = match place.strip_suffix('/') {
                Some(shorter) => shorter.len(),
                None => place.rfind('/').map_or(0, |slash| slash + 1),
            };
            place.truncate(shorter);
        }
        Ok(None)
    }

    /// The setting with the login for a place, and the header's value.
    fn login_at(&self, place: &str) -> Result<Option<(String, String)>, FetchError> {
        let key = |name: &str| format!("{place}:{name}");
        if let Some(token) = self.get(&key("_authToken")) {
            return Ok(Some((key("_authToken"), format!("Bearer {token}"))));
        }
        if let Some(login) = self.get(&key("_auth")) {
            return Ok(Some((key("_auth"), format!("Basic {login}"))));
        }
        let (user, password) = (key("username"), key("_password"));
        let (Some(name), Some(encoded)) = (self.get(&user), self.get(&password)) else {
            return Ok(None);
        };
        let plain = BASE64.decode(encoded);
        let plain = plain.map_err(|_| wrong(&password, "is not in base64"))?;
        let login = BASE64.encode([name.as_bytes(), b":", &plain].concat());
        Ok(Some((user, format!("Basic {login}"))))
    }
}

fn wrong(key: &str, why: &str) -> FetchError {
    FetchError::NpmSetting {
        key: key.to_owned(),
        why: why.to_owned(),
    }
}

/// The settings among variables: `npm_config_KEY` in any case.
fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Level {
    const PREFIX: &str = "npm_config_";
    let mut level = Level::new();
    for (name, value) in all {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else {
            continue;
        };
        let Some((prefix, key)) = name.split_at_checked(PREFIX.len()) else {
            continue;
        };
        if prefix.eq_ignore_ascii_case(PREFIX) && !key.is_empty() && !value.is_empty() {
            level.insert(variable_key(key), vec![expand(&value, &variable)]);
        }
    }
    level
}

/// `https_proxy` → `https-proxy`. Keys of a host are taken as they are, and the
/// underscore at the beginning of `_auth` is kept.
fn variable_key(key: &str) -> String {
    if key.starts_with("//") {
        return key.to_owned();
    }
    let (first, rest) = key.split_at(key.chars().next().map_or(0, char::len_utf8));
    format!("{first}{}", rest.replace('_', "-")).to_ascii_lowercase()
}

fn read_level(path: Option<&Path>) -> Result<Level, FetchError> {
    let Some(path) = path else {
        return Ok(Level::new());
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text, &variable)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(Level::new())
        }
        Err(error) => Err(FetchError::io("read", path)(error)),
    }
}

/// Parses an `npmrc`. What follows a `[section]` is none of npm's settings.
fn parse(text: &str, variable: Variable) -> Level {
    let mut level = Level::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            break;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (unquote(key), unquote(value)),
            None => (unquote(line), "true".to_owned()),
        };
        let (key, value) = (expand(&key, variable), expand(&value, variable));
        match key.strip_suffix("[]") {
            Some(key) => level.entry(key.to_owned()).or_default().push(value),
            None => drop(level.insert(key, vec![value])),
        }
    }
    level
}

/// The text of a key or value: quoted as in JSON, or up to a `;` or `#` that no
/// backslash is before.
fn unquote(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            let json = if quote == '"' { text } else { inner };
            return serde_json::from_str(json).unwrap_or_else(|_| inner.to_owned());
        }
    }
    let mut plain = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            ';' | '#' => break,
            '\\' => match signs.next() {
                Some(escaped @ ('\\' | ';' | '#')) => plain.push(escaped),
                other => plain.extend(['\\'].into_iter().chain(other)),
            },
            other => plain.push(other),
        }
    }
    plain.trim().to_owned()
}

/// Puts variables in for `${NAME}`, and nothing for `${NAME?}` that is not set.
/// Others that are not set stay as they are written, as do those after a backslash.
fn expand(text: &str, variable: Variable) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let Some(end) = from.find('}') else { break };
        let (written, after) = from.split_at(end + 1);
        rest = after;
        if let Some(before) = before.strip_suffix('\\') {
            expanded.push_str(before);
            expanded.push_str(written);
            continue;
        }
        expanded.push_str(before);
        let name = &written[2..end];
        match (variable(name.trim_end_matches('?')), name.ends_with('?')) {
            (Some(value), _) => expanded.push_str(&value),
            (None, true) => {}
            (None, false) => expanded.push_str(written),
        }
    }
    expanded + rest
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn either_case(name: &str) -> Option<String> {
    variable(name).or_else(|| variable(&name.to_ascii_uppercase()))
}

fn environment_proxy(url: &Url) -> Option<String> {
    let names: &[&str] = match url.scheme() {
        "https" => &["https_proxy", "all_proxy"],
        _ => &["http_proxy", "all_proxy"],
    };
    let mut set = names.iter().filter_map(|name| either_case(name));
    set.find(|proxy| !proxy.is_empty())
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

/// The project's file: in the nearest folder above that holds an npm package, or here.
fn project_file() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let is_package =
        |folder: &&Path| folder.join("package.json").is_file() || folder.join("node_modules").is_dir();
    let package = here.ancestors().find(is_package);
    package.unwrap_or(&here).join(".npmrc")
}

/// The file beside npm's own program: `npm/npmrc` beside `npm/bin/npm-cli.js`.
fn own_file() -> Option<PathBuf> {
    let program = fs::canonicalize(find_program("npm")?).ok()?;
    Some(program.parent()?.parent()?.join("npmrc"))
}

/// The folder that node is installed under: `/usr` for `/usr/bin/node`.
fn global_prefix() -> Option<PathBuf> {
    if let Some(prefix) = std::env::var_os("PREFIX").filter(|prefix| !prefix.is_empty()) {
        return Some(PathBuf::from(prefix));
    }
    let node = fs::canonicalize(find_program("node")?).ok()?;
    Some(node.parent()?.parent()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "hidden".to_owned())
    }

    fn settings(texts: &[&str]) -> Npmrc {
        Npmrc {
            levels: texts.iter().map(|text| parse(text, &set)).collect(),
        }
    }

    #[test]
    fn an_npmrc_is_read_as_npm_does() {
        // As `ini` and `npm config get` answer.
        for (text, key, value) in [
            ("registry = https://a/", "registry", Some("https://a/")),
            (" registry=\"https://a/\"\r\n", "registry", Some("https://a/")),
            ("registry='https://a/'", "registry", Some("https://a/")),
            ("; registry=https://a/\n#registry=https://b/", "registry", None),
            (
                "registry=https://a/ ; ours\nregistry=https://b/#c",
                "registry",
                Some("https://b/"),
            ),
            ("@s:registry=https://s/", "@s:registry", Some("https://s/")),
            ("a=1\\;2\\#3\\n", "a", Some("1;2#3\\n")),
            ("a=\"1\\n2\"", "a", Some("1\n2")),
            ("a=\"1\\x\"", "a", Some("1\\x")),
            ("a=b=c", "a", Some("b=c")),
            ("a", "a", Some("true")),
            ("a=", "a", None),
            ("a=null", "a", None),
            ("[section]\na=1", "a", None),
            ("a[]=1\na[]=2", "a", Some("2")),
            ("//h/:_authToken=${TOKEN}", "//h/:_authToken", Some("hidden")),
            ("a=<${TOKEN}-${TOKEN}>", "a", Some("<hidden-hidden>")),
            ("a=${NONE}", "a", Some("${NONE}")),
            ("a=x${NONE?}", "a", Some("x")),
            ("a=\\${TOKEN}", "a", Some("${TOKEN}")),
            ("a=${TOKEN", "a", Some("${TOKEN")),
        ] {
            assert_eq!(settings(&[text]).get(key), value, "{text:?}");
        }
    }

    #[test]
    fn the_stronger_source_counts_even_if_it_takes_back() {
        let settings = settings(&["a=1\nproxy=null", "a=2\nb=3\nproxy=http://p/"]);
        assert_eq!(
            ["a", "b", "proxy"].map(|key| settings.get(key)),
            [Some("1"), Some("3"), None]
        );
    }

    #[test]
    fn variables_are_settings() {
        let level = variables(
            [
                ("npm_config_https_proxy", "http://p/"),
                ("NPM_CONFIG_NOPROXY", "a,b"),
                ("npm_config_//h/:_authToken", "t"),
                ("npm_config_@S:registry", "https://s/"),
                ("npm_config_empty", ""),
                ("npm_config_", "x"),
                ("npm_package_name", "x"),
            ]
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter(),
        );
        let found: Vec<(&str, &str)> = level.iter().map(|(key, all)| (&**key, &*all[0])).collect();
        assert_eq!(
            found,
            [
                ("//h/:_authToken", "t"),
                ("@s:registry", "https://s/"),
                ("https-proxy", "http://p/"),
                ("noproxy", "a,b"),
            ]
        );
    }

    #[test]
    fn a_login_is_for_its_place_only() {
        const TEXT: &str = "\
//h/team/:_authToken=one
//h/:_auth=dHdv
//h:81/:username=me
//h:81/:_password=c2VjcmV0
//h:82/:_authToken=a\u{7f}b
//h:83/:username=me
//h:83/:_password=?
";
        let settings = settings(&[TEXT]);
        let registry: WebUrl = "https://h/team/".parse().unwrap();
        for (url, login) in [
            ("https://h/team/a", Some("Bearer one")),
            ("http://h/team/a/-/a.tgz", None),
            ("http://h:443/team/a/-/a.tgz", None),
            ("http://h:81/x", None),
            ("https://me:own@h/team/a", Some("Bearer one")),
            ("https://h/teams", Some("Basic dHdv")),
            ("https://h/", Some("Basic dHdv")),
            ("https://h:81/x", Some("Basic bWU6c2VjcmV0")),
            ("https://h:8/", None),
            ("https://h.example/team/", None),
        ] {
            let access = settings.access(&url.parse().unwrap(), &registry).unwrap();
            let found = access.authorization;
            assert_eq!(
                found.as_ref().map(|login| login.to_str().unwrap()),
                login,
                "{url}"
            );
            assert!(found.is_none_or(|login| login.is_sensitive()), "{url}");
        }
        for (url, key) in [
            ("https://h:82/", "//h:82/:_authToken"),
            ("https://h:83/", "//h:83/:_password"),
        ] {
            let error = settings.access(&url.parse().unwrap(), &registry).err().unwrap();
            assert!(matches!(&error, FetchError::NpmSetting { key: found, .. } if found == key));
        }
        // Plain http is for a registry that is set up with it, and for no other.
        let plain: WebUrl = "http://h/team/".parse().unwrap();
        for (url, login) in [
            ("http://h/team/a", Some("Bearer one")),
            ("https://h/team/a", Some("Bearer one")),
            ("http://h:81/x", None),
            ("https://h:81/x", Some("Basic bWU6c2VjcmV0")),
        ] {
            let found = settings
                .access(&url.parse().unwrap(), &plain)
                .unwrap()
                .authorization;
            assert_eq!(
                found.as_ref().map(|login| login.to_str().unwrap()),
                login,
                "{url}"
            );
        }
        // A registry's login counts for its whole host, unless that has its own.
        let whole = Npmrc {
            levels: vec![parse("//h/team/:_authToken=one", &set)],
        };
        let elsewhere: WebUrl = "https://h/files/a.tgz".parse().unwrap();
        assert!(
            whole
                .access(&elsewhere, &registry)
                .unwrap()
                .authorization
                .is_some()
        );
    }

    #[test]
    fn proxies_are_npms_first() {
        let url: Url = "https://h/".parse().unwrap();
        let through = |proxy: &str, except: &str| Proxying::Through {
            proxy: proxy.to_owned(),
            except: Some(except.to_owned()),
        };
        for (text, proxying) in [
            ("proxy=http://p/\nnoproxy=a,b", through("http://p/", "a,b")),
            (
                "https-proxy=http://s/\nproxy=http://p/\nnoproxy[]=a\nnoproxy[]=b",
                through("http://s/", "a,b"),
            ),
            ("proxy=false", Proxying::Environment),
            ("", Proxying::Environment),
        ] {
            assert!(settings(&[text]).proxying(&url) == proxying, "{text}");
        }
    }
}
