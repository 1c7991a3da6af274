//! The host name that a request was sent to, and whether it is a name of this machine.
//!
//! A browser tells by which name it found the service (`Host`), and a page cannot change that. Answering to any name would
//! let a site whose name resolves to this machine read everything (DNS rebinding).
#![forbid(unsafe_code)]

use std::net::IpAddr;

use hyper::Version;
use hyper::header::HOST;
use hyper::http::request::Parts;

/// Ends of names that public DNS does not hold, so that no remote site can have one (RFC 6762, RFC 8375; ICANN resolution
/// 2024.07.29.06; .lan by use).
const PRIVATE_SUFFIXES: [&str; 4] = ["local", "home.arpa", "internal", "lan"];

/// Host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// In lower case, without a last dot. An IPv6 address keeps its brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Parses `host` or `host:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.find(']') {
            Some(end) if text.starts_with('[') => {
                let (host, rest) = text.split_at(end + 1);
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            _ => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.[]:%".contains(&b);
        let port = port.map(|port| port.parse().ok()).map_or(Some(None), |port| port.map(Some))?;
        let is_host = !host.is_empty() && host.bytes().all(is_letter);
        is_host.then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

/// The address that `host` is, if it is not a name.
pub(super) fn ip_address(host: &str) -> Option<IpAddr> {
    let bare = match host.strip_prefix('[') {
        // The zone of a link-local address matters to its sender alone.
        Some(host) => host.strip_suffix(']')?.split('%').next()?,
        None => host,
    };
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Brings a configured host name into its normal form.
///
/// # Errors
/// When `text` is not a host name.
pub fn host(text: &str) -> Result<String, String> {
    match Authority::parse(text) {
        _ if text == "*" => Ok(text.to_owned()),
        Some(Authority { host, port: None }) => Ok(host),
        _ => {
            Err("must be a host name without scheme and port, like cam.example, or \"*\" for any name".into())
        }
    }
}

/// The `Host` of a request is missing, or not a name of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error("a request must name the host it is for, once (RFC 9112, section 3.2)")]
    Unclear,
    #[error(
        "{0:?} is not a name of this camera, and answering to any name would let other sites in through your browser \
         (DNS rebinding); if it is one, add it: [server] hosts = [{0:?}]"
    )]
    Foreign(String),
}

/// The names of this machine.
#[derive(Debug)]
pub(crate) struct HostPolicy {
    names: Vec<String>,
}

impl HostPolicy {
    /// For a machine called `hostname`, and with the configured names.
    pub(crate) fn new(hostname: &str, configured: &[String]) -> Self {
        let own = hostname.to_ascii_lowercase();
        let label = own.split('.').next().unwrap_or_default();
        let mut names = configured.to_vec();
        if !own.is_empty() {
            names.extend(PRIVATE_SUFFIXES.map(|suffix| format!("{label}.{suffix}")));
            names.push(own.clone());
        }
        Self { names }
    }

    fn knows(&self, host: &str) -> bool {
        // A name without a dot is not in public DNS either (SSAC, SAC053).
        ip_address(host).is_some()
            || !host.contains('.')
            || host.ends_with(".localhost")
            || self.names.iter().any(|own| own == host || own == "*")
    }

    /// The host that a request names; `None` for an HTTP/1.0 request without one. Fails with [`HostError`] when it
    /// names none or several, or one that is not this machine.
    pub(super) fn check(&self, request: &Parts) -> Result<Option<Authority>, HostError> {
        let mut all = request.headers.get_all(HOST).iter();
        let header = match (all.next(), all.next()) {
            (None, _) if request.version == Version::HTTP_10 => None,
            (Some(host), None) => Some(host.to_str().map_err(|_| HostError::Unclear)?),
            _ => return Err(HostError::Unclear),
        };
        // A request target in absolute form takes precedence (RFC 9112, section 3.2.2).
        let Some(given) = request.uri.authority().map(|authority| authority.as_str()).or(header) else {
            return Ok(None);
        };
        let authority = Authority::parse(given).ok_or(HostError::Unclear)?;
        if self.knows(&authority.host) {
            Ok(Some(authority))
        } else {
            Err(HostError::Foreign(authority.host))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::header::HeaderValue;

    use super::*;

    fn policy(names: &[&str]) -> HostPolicy {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        HostPolicy::new("Kitchen-Pi", &names)
    }

    fn request(host: &str) -> Parts {
        Request::builder().header(HOST, host).body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        let policy_of_one = policy(&["cam.example"]);
        let own_names = "127.0.0.1:8080 192.0.2.7 [::1]:8080 [fe80::1%25eth0] [2001:db8::1] localhost a.localhost:1 \
            kitchen-pi KITCHEN-PI.local:8080 kitchen-pi.local. kitchen-pi.home.arpa kitchen-pi.lan \
            kitchen-pi.internal cam.example CAM.example:443";
        for good in own_names.split(' ') {
            assert!(policy_of_one.check(&request(good)).is_ok(), "{good}");
        }
        let other_names = "evil.example cam.example.evil.example kitchen-pi.evil.example evil.local \
            127.0.0.1.evil.example 0x7f.0.0.1";
        for bad in other_names.split(' ') {
            assert_eq!(policy_of_one.check(&request(bad)), Err(HostError::Foreign(bad.to_owned())), "{bad}");
        }
        for unclear in ["", "a b", "cam.example:port", "a@cam.example", "[::1", "cam.example:99999"] {
            assert_eq!(policy_of_one.check(&request(unclear)), Err(HostError::Unclear), "{unclear}");
        }
        assert!(policy(&["*"]).check(&request("evil.example")).is_ok());
        let message = policy_of_one.check(&request("tv.example")).unwrap_err().to_string();
        assert!(message.contains("[server] hosts = [\"tv.example\"]"), "{message}");
    }

    #[test]
    fn a_host_is_named_exactly_once_except_in_http_1_0() {
        let policy = policy(&[]);
        let request = |version, uri: &str| {
            Request::builder().version(version).uri(uri).body(()).unwrap().into_parts().0
        };
        assert_eq!(policy.check(&request(Version::HTTP_10, "/")), Ok(None));
        assert_eq!(policy.check(&request(Version::HTTP_11, "/")), Err(HostError::Unclear));
        let mut twice = request(Version::HTTP_11, "/");
        for _ in 0..2 {
            twice.headers.append(HOST, HeaderValue::from_static("localhost"));
        }
        assert_eq!(policy.check(&twice), Err(HostError::Unclear));
        let mut absolute = request(Version::HTTP_11, "http://evil.example/");
        absolute.headers.insert(HOST, HeaderValue::from_static("localhost"));
        assert!(matches!(policy.check(&absolute), Err(HostError::Foreign(_))));
    }

    #[test]
    fn configured_host_names_are_brought_into_one_form() {
        assert_eq!(host("Cam.Example").as_deref(), Ok("cam.example"));
        for bad in ["https://cam.example", "cam.example:80", "", "a b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
