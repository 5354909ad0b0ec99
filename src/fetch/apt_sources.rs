//! apt's own source files, in both forms (sources.list(5)), and the stanzas that
//! apt prints.

/// Fields of one stanza, by lower-case name. Values keep their further lines as
/// they are, with the space in front.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stanza(Vec<(String, String)>);

impl Stanza {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_str())
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).unwrap_or_default().split_ascii_whitespace()
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

/// Stanzas of `Field: value` lines, parted by empty lines; `#` begins a comment.
pub(super) fn stanzas(text: &str) -> Vec<Stanza> {
    let mut all = vec![Stanza::default()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(current) = all.last_mut() else { break };
        if line.trim().is_empty() {
            all.push(Stanza::default());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = current.0.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            current.push(name, value.trim());
        }
    }
    all.retain(|stanza| !stanza.0.is_empty());
    all
}

/// The entries of a one-line source file, as stanzas.
fn one_line_entries(text: &str) -> Vec<Stanza> {
    text.lines().filter_map(one_line_entry).collect()
}

/// `deb [ OPTION=VALUE… ] URI SUITE COMPONENT…`
fn one_line_entry(line: &str) -> Option<Stanza> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let mut stanza = Stanza::default();
    stanza.push("types", kind);
    stanza.push("uris", words.next()?);
    stanza.push("suites", words.next()?);
    for option in options.split_ascii_whitespace() {
        let (name, value) = option.split_once('=')?;
        stanza.push(name, &value.trim_matches('"').replace(',', " "));
    }
    Some(stanza)
}

/// The entry of a source file for a URI and a suite, in the form that its name
/// tells: `.sources`, or else one-line.
pub(super) fn find_entry(file_name: &str, text: &str, uri: &str, suite: &str) -> Option<Stanza> {
    let entries = match file_name.ends_with(".sources") {
        true => stanzas(text),
        false => one_line_entries(text),
    };
    let uri = uri.trim_end_matches('/');
    entries.into_iter().find(|entry| {
        entry.words("types").any(|kind| kind == "deb")
            && entry.words("uris").any(|u| u.trim_end_matches('/') == uri)
            && entry.words("suites").any(|s| s.trim_end_matches('/') == suite)
            && entry.get("enabled") != Some("no")
    })
}

/// A `.sources` file with another suite of the same mirror, under the same keys
/// and conditions.
pub(super) fn with_suite(entry: &Stanza, uri: &str, suite: &str, arch: &str) -> String {
    const OURS: &[&str] = &[
        "types",
        "uris",
        "suites",
        "components",
        "architectures",
        "arch",
        "languages",
        "lang",
        "targets",
        "target",
        "enabled",
        "pdiffs",
    ];
    let mut text = format!(
        "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nArchitectures: {arch}\nTargets: Packages\n"
    );
    for (name, value) in &entry.0 {
        if !OURS.contains(&name.as_str()) && !name.starts_with("x-") {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/debian-security/
Suites: bookworm-security

types: deb
uris: http://mirror.example/debian-security/
suites: bookworm-security
X-Repolib-Name: Security
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
";

    const ONE_LINE: &str = "\
# deb http://mirror.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb http://other.example/debian bookworm main
deb [arch=amd64,arm64 signed-by=/k/a.gpg,/k/b.gpg trusted=no] http://mirror.example/debian/ bookworm main # ours
deb http://mirror.example/debian-security bookworm-security main
";

    const HEAD: &str = "Components: main\nArchitectures: amd64\nTargets: Packages\n";

    #[test]
    fn an_entry_keeps_its_keys_with_another_suite() {
        let (debian, security) = (
            "http://mirror.example/debian/",
            "http://mirror.example/debian-security/",
        );
        for (file, text, uri, suite, kept) in [
            (
                "debian.sources",
                DEB822,
                debian,
                "bookworm-updates",
                "signed-by: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            ),
            (
                "debian.sources",
                DEB822,
                security,
                "bookworm-security",
                "check-valid-until: no\nsigned-by: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n",
            ),
            (
                "sources.list",
                ONE_LINE,
                debian,
                "bookworm",
                "signed-by: /k/a.gpg /k/b.gpg\ntrusted: no\n",
            ),
            ("sources.list", ONE_LINE, security, "bookworm-security", ""),
        ] {
            let entry = find_entry(file, text, uri, suite).unwrap();
            assert_eq!(
                with_suite(&entry, uri, "bullseye", "amd64"),
                format!("Types: deb\nURIs: {uri}\nSuites: bullseye\n{HEAD}{kept}")
            );
        }
        assert_eq!(find_entry("sources.list", ONE_LINE, debian, "trixie"), None);
        assert_eq!(find_entry("debian.sources", DEB822, security, "bookworm"), None);
    }

    #[test]
    fn what_apt_would_not_read_is_no_entry() {
        for text in [
            "",
            "deb",
            "deb [",
            "deb [a=b",
            "deb [a] u s",
            "deb u",
            ":",
            " x",
            "\n\n a: b",
        ] {
            assert_eq!(find_entry("a.list", text, "u", "s"), None, "{text}");
            assert_eq!(find_entry("a.sources", text, "u", "s"), None, "{text}");
        }
    }
}
