//! How servers are reached: by which proxy, trusting whom, with what login.

use reqwest::blocking::ClientBuilder;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, NoProxy, Proxy};

/// How a server is reached. Neither it nor what it is made of is ever shown: proxies
/// may have passwords in their URLs.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) proxying: Proxying,
    /// Certificates in PEM: the only authorities to trust, instead of the system's.
    pub(super) authorities: Option<String>,
}

/// By which proxy.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proxying {
    /// As `http_proxy`, `https_proxy` and `no_proxy` say.
    #[default]
    Environment,
    /// By none.
    Direct,
    /// By this one.
    Through {
        /// Its URL.
        proxy: String,
        /// Names and addresses that are reached directly, in the form of `no_proxy`.
        except: Option<String>,
    },
}

/// What one request needs besides its URL.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub(super) route: Route,
    /// Not sent on when a redirect leads to another host, port or scheme.
    pub(super) authorization: Option<HeaderValue>,
}

impl Access {
    /// Without a login.
    pub(super) fn by(route: &Route) -> Self {
        Self {
            route: route.clone(),
            authorization: None,
        }
    }
}

impl Route {
    /// Sets a client up. Fails if the proxy is no URL, or the certificates are none.
    pub(super) fn apply(&self, client: ClientBuilder) -> Result<ClientBuilder, reqwest::Error> {
        let client = match &self.proxying {
            Proxying::Environment => client,
            Proxying::Direct => client.no_proxy(),
            Proxying::Through { proxy, except } => {
                let except = except.as_deref().and_then(NoProxy::from_string);
                client.proxy(Proxy::all(proxy)?.no_proxy(except))
            }
        };
        match &self.authorities {
            Some(pem) => Ok(client.tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes())?)),
            None => Ok(client),
        }
    }
}
