//! Texts that may stand in an origin.

/// Whether a text is an https URL with a host and a path, of visible ASCII.
pub(super) fn is_https(text: &str) -> bool {
    text.strip_prefix("https://")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text can be part of an origin, a URL, a path or a glob and mean
/// only itself there.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._+~:-".contains(c))
}

/// Whether a text names an npm package, with or without a scope.
pub(super) fn is_npm_name(text: &str) -> bool {
    match text.strip_prefix('@').and_then(|scoped| scoped.split_once('/')) {
        Some((scope, name)) => is_word(scope) && is_word(name),
        None => is_word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_an_origin() {
        for (text, url, word, npm) in [
            ("https://nodejs.org/dist/x.tar.xz", true, false, false),
            ("http://example.org/x", false, false, false),
            ("https://example.org", false, false, false),
            ("https:///x", false, false, false),
            ("https://example.org/a b", false, false, false),
            ("1.4.13~ds1-1~deb11u4", false, true, true),
            ("2:6.2.1+dfsg-1", false, true, true),
            ("@scope/name", false, false, true),
            ("--registry", false, false, false),
            ("../x", false, false, false),
            ("a/b", false, false, false),
            ("", false, false, false),
        ] {
            assert_eq!(
                (is_https(text), is_word(text), is_npm_name(text)),
                (url, word, npm),
                "{text}"
            );
        }
    }
}
