//! The origin of the page that sent a request, and what pages of that origin may do.
//!
//! A browser lets any page send requests anywhere, with the user's cookies and passwords, and tells which page it was
//! (`Origin`). A page cannot change that. Programs are not bound by it, and send no secrets but their own.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, ORIGIN};

use super::host::{Authority, ip_address};

/// Brings a configured origin into its normal form.
///
/// # Errors
/// When `text` is not an origin.
pub fn origin(text: &str) -> Result<String, String> {
    if matches!(text, "*" | "null") {
        return Ok(text.to_owned());
    }
    let wrong = || {
        "must be a scheme, a host and perhaps a port, like https://home.example:8123, or \"*\" for every site"
            .to_owned()
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_scheme =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let Authority { host, port } = Authority::parse(rest).filter(|_| is_scheme).ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    let port = port.filter(|port| Some(*port) != default_port(&scheme));
    Ok(format!("{scheme}://{host}{}", port.map(|port| format!(":{port}")).unwrap_or_default()))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OriginClass {
    /// No page: a program sent it, or a browser that was not asked by a script.
    None,
    /// The service's own page, or a page of an allowed origin.
    Allowed,
    /// A page of this machine; or of the local network, where that reaches the service anyway.
    Nearby(String),
    Foreign(String),
}

/// The origins whose pages may use the service.
#[derive(Debug)]
pub(crate) struct OriginPolicy {
    allowed: Vec<String>,
    /// Whether other machines reach the service.
    is_public: bool,
}

impl OriginPolicy {
    /// With the configured origins, as [`origin`] gives them.
    pub(crate) fn new(allowed: &[String], is_public: bool) -> Self {
        Self { allowed: allowed.to_vec(), is_public }
    }

    fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|one| one == origin || one == "*")
    }

    /// Classifies a request that was sent to `host`, over TLS if `is_secure`.
    pub(super) fn classify(
        &self,
        headers: &HeaderMap,
        host: Option<&Authority>,
        is_secure: bool,
    ) -> OriginClass {
        let Some(header) = headers.get(ORIGIN) else { return OriginClass::None };
        let header = String::from_utf8_lossy(header.as_bytes());
        let Ok(origin) = origin(&header) else { return OriginClass::Foreign(header.into_owned()) };
        if self.allows(&origin) {
            return OriginClass::Allowed;
        }
        let Some((scheme, theirs)) =
            origin.split_once("://").and_then(|(scheme, rest)| Some((scheme, Authority::parse(rest)?)))
        else {
            return OriginClass::Foreign(origin);
        };
        // A proxy that terminates TLS connects without it, and passes on the host without the port.
        let is_own_scheme = scheme == "https" || (scheme == "http" && !is_secure);
        let port = theirs.port.or_else(|| default_port(scheme));
        let is_own_host = host.is_some_and(|own| own.host == theirs.host);
        let is_own_port = host.is_some_and(|own| own.port.or_else(|| default_port(scheme)) == port);
        if is_own_scheme && is_own_host && is_own_port {
            return OriginClass::Allowed;
        }
        let address = ip_address(&theirs.host);
        let is_this_machine =
            is_own_host || theirs.host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
        if is_this_machine || (self.is_public && address.is_some_and(is_private)) {
            return OriginClass::Nearby(origin);
        }
        OriginClass::Foreign(origin)
    }

    /// The origin that may read the answer to a request, as CORS has it; `None` if that is only the service's own.
    pub(crate) fn readable_by(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let header = headers.get(ORIGIN)?;
        let origin = origin(header.to_str().ok()?).ok()?;
        if self.allowed.iter().any(|one| one == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.allows(&origin).then(|| header.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::OriginClass::{Allowed, Foreign, Nearby};
    use super::*;

    fn policy(allowed: &[&str], is_public: bool) -> OriginPolicy {
        let allowed: Vec<String> = allowed.iter().map(|origin| (*origin).to_owned()).collect();
        OriginPolicy::new(&allowed, is_public)
    }

    fn headers(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))])
    }

    #[test]
    fn requests_are_classified_by_the_page_that_sent_them() {
        let classify = |policy: &OriginPolicy, host: &str, origin: &'static str, is_secure| {
            policy.classify(&headers(origin), Authority::parse(host).as_ref(), is_secure)
        };
        let foreign = |origin: &str| Foreign(origin.to_owned());
        let nearby = |origin: &str| Nearby(origin.to_owned());
        let strict = policy(&[], false);
        for (host, origin) in [
            ("kitchen-pi.local:8080", "http://kitchen-pi.local:8080"),
            ("kitchen-pi.local", "http://kitchen-pi.local"),
            ("kitchen-pi.local:80", "http://Kitchen-Pi.local"),
            ("[::1]:8080", "http://[::1]:8080"),
            // Behind a proxy that terminates TLS.
            ("cam.example", "https://cam.example"),
        ] {
            assert_eq!(classify(&strict, host, origin, false), Allowed, "{host} {origin}");
        }
        assert_eq!(classify(&strict, "cam:8443", "https://cam:8443", true), Allowed);
        assert_eq!(classify(&strict, "cam:8443", "http://cam:8443", true), nearby("http://cam:8443"));
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8000"),
            ("127.0.0.1:8080", "http://localhost:8000"),
            ("kitchen-pi.local:8080", "http://kitchen-pi.local"),
        ] {
            assert_eq!(classify(&strict, host, origin, false), nearby(origin), "{host} {origin}");
        }
        let origins = "null https://evil.example http://192.168.1.9:8000 http://203.0.113.5 file:// \
            http://evil.localhost.example";
        for origin in origins.split(' ') {
            assert_eq!(classify(&strict, "127.0.0.1:8080", origin, false), foreign(origin), "{origin}");
        }
        let public = policy(&[], true);
        assert_eq!(
            classify(&public, "192.168.1.5:8080", "http://192.168.1.9:8000", false),
            nearby("http://192.168.1.9:8000")
        );
        assert_eq!(
            classify(&public, "192.168.1.5", "http://203.0.113.5", false),
            foreign("http://203.0.113.5")
        );
        let listed = policy(&["https://home.example", "null"], true);
        for origin in ["https://home.example", "https://home.example:443", "null"] {
            assert_eq!(classify(&listed, "kitchen-pi", origin, false), Allowed, "{origin}");
        }
        assert_eq!(
            classify(&listed, "kitchen-pi", "http://home.example", false),
            foreign("http://home.example")
        );
        assert_eq!(classify(&policy(&["*"], true), "kitchen-pi", "https://a.example", false), Allowed);
        assert_eq!(public.classify(&HeaderMap::new(), None, false), OriginClass::None);
    }

    #[test]
    fn configured_origins_are_brought_into_one_form() {
        for (text, read) in [
            ("https://Home.example/", "https://home.example"),
            ("https://home.example:443", "https://home.example"),
            ("http://home.example:8123", "http://home.example:8123"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("*", "*"),
            ("null", "null"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(read));
        }
        for bad in [
            "home.example",
            "https://home.example/page",
            "https://",
            "https://a b",
            "https://a;b",
            "://x",
            "https://u@h",
        ] {
            assert!(origin(bad).unwrap_err().contains("like https://home.example:8123"), "{bad}");
        }
    }

    #[test]
    fn only_allowed_origins_may_read_answers() {
        let readable = |allowed: &[&str], origin| policy(allowed, true).readable_by(&headers(origin));
        assert_eq!(readable(&[], "https://a.example"), None);
        assert_eq!(readable(&["https://a.example"], "https://a.example").unwrap(), "https://a.example");
        assert_eq!(readable(&["https://a.example"], "https://b.example"), None);
        assert_eq!(readable(&["*"], "https://b.example").unwrap(), "*");
    }
}
