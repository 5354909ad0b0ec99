//! apt's settings for reaching servers (apt-transport-http(1), -https(1)).

use reqwest::Url;

use super::route::{Proxying, Route};

/// What may be set without a difference to how one file is downloaded, or is
/// followed below. Whatever else is set (certificates, a limit, …), apt follows best.
const KNOWN: [&str; 7] = [
    "",
    "proxy",
    "timeout",
    "no-cache",
    "no-store",
    "max-age",
    "pipeline-depth",
];

/// The way that apt's settings tell for a URL, or nothing if only apt itself can
/// follow them. `settings`: lines `NAME VALUE` as apt-config prints them;
/// `no_proxy`: that variable.
pub(super) fn route(settings: &str, url: &Url, no_proxy: Option<String>) -> Option<Route> {
    // The https method looks among http's settings, too.
    let methods: &[&str] = match url.scheme() {
        "https" => &["https", "http"],
        _ => &["http"],
    };
    let settings: Vec<(&str, &str)> = settings
        .lines()
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let of_method = |name: &str, method: &str| -> Option<String> {
        let name = name.to_ascii_lowercase();
        let rest = name.strip_prefix("acquire::")?.strip_prefix(method)?;
        rest.strip_prefix("::")
            .or((rest.is_empty()).then_some(""))
            .map(str::to_owned)
    };
    let known = |name: &str| {
        let mut of = methods.iter().filter_map(|method| of_method(name, method));
        of.all(|key| KNOWN.contains(&key.split("::").next().unwrap_or_default()))
    };
    if !settings.iter().all(|(name, _)| known(name)) {
        return None;
    }
    let find = |key: &str| {
        methods.iter().find_map(|method| {
            let is_it = |name: &str| of_method(name, method).is_some_and(|found| found == key);
            let set = settings.iter().rfind(|(name, _)| is_it(name));
            set.map(|(_, value)| *value).filter(|value| !value.is_empty())
        })
    };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let proxying = match find(&format!("proxy::{host}")).or_else(|| find("proxy")) {
        None => Proxying::Environment,
        Some("DIRECT" | "false") => Proxying::Direct,
        Some(proxy) => Proxying::Through {
            proxy: proxy.to_owned(),
            except: no_proxy,
        },
    };
    Some(Route {
        proxying,
        authorities: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_found() {
        const SETTINGS: &str = "\
Acquire 
Acquire::http 
Acquire::http::Proxy http://u:p@proxy:3128
Acquire::http::Proxy::near.example DIRECT
Acquire::http::Timeout 30
Acquire::HTTPS::proxy::far.example http://other:80/
Acquire::Retries 3";
        let through = |proxy: &str| Proxying::Through {
            proxy: proxy.to_owned(),
            except: Some("localhost".to_owned()),
        };
        for (settings, url, proxying) in [
            ("", "http://far.example/", Proxying::Environment),
            ("Acquire::http::Proxy false", "https://a/", Proxying::Direct),
            (SETTINGS, "http://near.example/", Proxying::Direct),
            (SETTINGS, "http://far.example/", through("http://u:p@proxy:3128")),
            (SETTINGS, "https://far.example/", through("http://other:80/")),
            (SETTINGS, "https://a.example/", through("http://u:p@proxy:3128")),
        ] {
            let route = route(settings, &url.parse().unwrap(), Some("localhost".to_owned()));
            assert!(route.unwrap().proxying == proxying, "{settings} {url}");
        }
    }

    #[test]
    fn what_only_apt_can_follow_is_left_to_it() {
        for (setting, url, by_apt) in [
            ("Acquire::https::CAInfo /x", "https://a/", true),
            ("Acquire::https::CAInfo /x", "http://a/", false),
            ("Acquire::http::Verify-Peer false", "https://a/", true),
            ("Acquire::http::Proxy-Auto-Detect /x", "http://a/", true),
            ("Acquire::httpx::Proxy-Auto-Detect /x", "http://a/", false),
            ("Acquire::ftp::Passive true", "http://a/", false),
        ] {
            let route = route(setting, &url.parse().unwrap(), None);
            assert_eq!(route.is_none(), by_apt, "{setting} {url}");
        }
    }
}
