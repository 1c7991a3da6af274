//! From where a request comes, as a browser tells it, and by what name it reached this service.
//!
//! A browser lets any page send requests anywhere, and sends cookies and passwords along. It says whose page it was
//! (`Origin`) and by what name it found this service (`Host`); a page cannot lie about either. Programs are bound by
//! neither, and need not be: they have no secrets but their own.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use hyper::{HeaderMap, Request, Version};

/// Ends of names that no public DNS holds, so that nobody far away can let them point here (RFC 6762, RFC 8375; ICANN
/// resolution 2024.07.29.06; .lan by use).
const PRIVATE_ENDS: [&str; 4] = ["local", "home.arpa", "internal", "lan"];

/// The origin that `text` is, in one way of writing, or what it should be.
///
/// # Errors
/// When it is no origin.
pub fn origin(text: &str) -> Result<String, String> {
    match text {
        "*" | "null" => return Ok(text.to_owned()),
        _ => {}
    }
    let wrong = || {
        "must be a scheme, a host and perhaps a port, like https://home.example:8123, or \"*\" for every site"
            .to_owned()
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_scheme =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let (host, port) = authority(rest).filter(|_| is_scheme).ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    let port = port.filter(|port| Some(*port) != default_port(&scheme));
    Ok(format!("{scheme}://{host}{}", port.map(|port| format!(":{port}")).unwrap_or_default()))
}

/// The host name that `text` is, in one way of writing.
///
/// # Errors
/// When it is none.
pub fn host(text: &str) -> Result<String, String> {
    match authority(text) {
        _ if text == "*" => Ok(text.to_owned()),
        Some((host, None)) => Ok(host),
        _ => {
            Err("must be a host name without scheme and port, like cam.example, or \"*\" for any name".into())
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Host, in lower case, and port.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.find(']') {
        Some(end) if text.starts_with('[') => {
            let (host, rest) = text.split_at(end + 1);
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        _ => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.[]:%".contains(&b);
    let port = port.map(|port| port.parse().ok()).map_or(Some(None), |port| port.map(Some))?;
    (!host.is_empty() && host.bytes().all(letter)).then(|| (host.to_ascii_lowercase(), port))
}

/// A host that is an address and no name.
fn address(host: &str) -> Option<IpAddr> {
    let bare = match host.strip_prefix('[') {
        // The zone of a link-local address means something to its sender alone.
        Some(host) => host.strip_suffix(']')?.split('%').next()?,
        None => host,
    };
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Whether nobody beyond the own network can have this address.
fn is_near(ip: IpAddr) -> bool {
    let unique_local = |ip: Ipv6Addr| ip.is_unique_local() || ip.is_unicast_link_local();
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => unique_local(ip),
    }
}

/// What is wrong with the name by which a request reached this service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum BadHost {
    #[error("a request must name the host it is for, once (RFC 9112, section 3.2)")]
    Unclear,
    #[error(
        "{0:?} is no name of this camera, and answering to any name would let other sites in through your browser (DNS \
         rebinding); if it is one, add it: [server] hosts = [{0:?}]"
    )]
    Foreign(String),
}

/// Whose page sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) enum Sender {
    /// None; a program did.
    Program,
    /// This service's own, or one of a site that the operator allows.
    Friend,
    /// One that comes from this machine, or from near it where everybody near may come in anyway.
    Neighbour(String),
    /// Any other.
    Foreign(String),
}

/// What the operator decided about names and sites.
#[derive(Debug)]
pub(in crate::web) struct Doors {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Others than this machine reach the service.
    is_public: bool,
    /// For what a browser runs or draws, and for what it only shows.
    policy: HeaderValue,
    frames: HeaderValue,
}

impl Doors {
    /// For a machine called `hostname`, with the names and origins that the operator has added.
    pub(in crate::web) fn new(hostname: &str, hosts: &[String], origins: &[String], is_public: bool) -> Self {
        let own = hostname.to_ascii_lowercase();
        let label = own.split('.').next().unwrap_or_default();
        let mut hosts = hosts.to_vec();
        if !own.is_empty() {
            hosts.extend(PRIVATE_ENDS.map(|end| format!("{label}.{end}")));
            hosts.push(own.clone());
        }
        let sites: String = origins.iter().filter(|o| *o != "null").map(|o| format!(" {o}")).collect();
        let frames = format!("frame-ancestors 'self'{sites}");
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
             base-uri 'none'; form-action 'self'; {frames}"
        );
        // Origins are of letters, digits and a few signs, and the rest is fixed.
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("frame-ancestors 'none'"))
        };
        let (policy, frames) = (value(&policy), value(&frames));
        Self { hosts, origins: origins.to_vec(), is_public, policy, frames }
    }

    fn names(&self, host: &str) -> bool {
        // Without a dot it is no name of the public DNS either (SSAC, SAC053).
        address(host).is_some()
            || !host.contains('.')
            || host.ends_with(".localhost")
            || self.hosts.iter().any(|own| own == host || own == "*")
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|one| one == origin || one == "*")
    }

    /// The name by which a request reached this service, if that is a name it has. A browser always gives one; a program
    /// that speaks HTTP/1.0 need not.
    pub(in crate::web) fn host<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Option<(String, Option<u16>)>, BadHost> {
        let mut all = request.headers().get_all(HOST).iter();
        let given = match (all.next(), all.next()) {
            (None, _) if request.version() == Version::HTTP_10 => None,
            (Some(host), None) => Some(host.to_str().map_err(|_| BadHost::Unclear)?),
            _ => return Err(BadHost::Unclear),
        };
        // The whole URL where only its path is expected, as proxies are asked, counts more (RFC 9112, section 3.2.2).
        let Some(given) = request.uri().authority().map(|authority| authority.as_str()).or(given) else {
            return Ok(None);
        };
        let (host, port) = authority(given).ok_or(BadHost::Unclear)?;
        if self.names(&host) { Ok(Some((host, port))) } else { Err(BadHost::Foreign(host)) }
    }

    /// Whose page sent a request that reached this service by `host`, encrypted if `secure`.
    pub(in crate::web) fn sender(
        &self,
        headers: &HeaderMap,
        host: Option<&(String, Option<u16>)>,
        secure: bool,
    ) -> Sender {
        let Some(given) = headers.get(ORIGIN) else { return Sender::Program };
        let given = String::from_utf8_lossy(given.as_bytes());
        let Ok(origin) = origin(&given) else { return Sender::Foreign(given.into_owned()) };
        if self.allows(&origin) {
            return Sender::Friend;
        }
        let Some((scheme, (theirs, port))) =
            origin.split_once("://").and_then(|(scheme, rest)| Some((scheme, authority(rest)?)))
        else {
            return Sender::Foreign(origin);
        };
        let port = port.or_else(|| default_port(scheme));
        // A proxy that encrypts speaks plainly to this service, and passes on the name without the port.
        let own_scheme = scheme == "https" || (scheme == "http" && !secure);
        let is_own = |(host, own): &(String, Option<u16>)| {
            *host == theirs && own.or_else(|| default_port(scheme)) == port && own_scheme
        };
        if host.is_some_and(is_own) {
            return Sender::Friend;
        }
        let from_here = theirs == "localhost" || address(&theirs).is_some_and(|ip| ip.is_loopback());
        let beside = host.is_some_and(|(host, _)| *host == theirs);
        if from_here || beside || (self.is_public && address(&theirs).is_some_and(is_near)) {
            return Sender::Neighbour(origin);
        }
        Sender::Foreign(origin)
    }

    /// What a browser is to be told about who may read an answer: the origin of a page that may, and whether it depends
    /// on who asks.
    pub(in crate::web) fn dress(&self, headers: &HeaderMap) -> Dress {
        let asked = headers.get(ORIGIN).and_then(|asked| Some((asked, origin(asked.to_str().ok()?).ok()?)));
        let any = self.origins.iter().any(|one| one == "*");
        let allowed = match asked {
            Some(_) if any => Some(HeaderValue::from_static("*")),
            Some((asked, origin)) if self.allows(&origin) => Some(asked.clone()),
            _ => None,
        };
        Dress {
            allowed,
            varies: !self.origins.is_empty() && !any,
            policy: self.policy.clone(),
            frames: self.frames.clone(),
        }
    }
}

/// What a browser is told with every answer.
#[derive(Debug)]
pub(in crate::web) struct Dress {
    allowed: Option<HeaderValue>,
    varies: bool,
    policy: HeaderValue,
    frames: HeaderValue,
}

impl Dress {
    /// Adds it to an answer. Pictures may be shown by other sites, as dashboards do, which does not let them read what is
    /// in them; all else may be neither shown nor read.
    pub(in crate::web) fn put_on(&self, headers: &mut HeaderMap) {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_picture = kind.starts_with(b"image/jpeg") || kind.starts_with(b"multipart/");
        let is_plain = kind.starts_with(b"text/plain") || kind.starts_with(b"application/json");
        let resource = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(
            resource,
            HeaderValue::from_static(if is_picture { "cross-origin" } else { "same-origin" }),
        );
        if !is_picture {
            let policy = if is_plain { &self.frames } else { &self.policy };
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = &self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }

    /// Adds what a script needs to know before it sends what is not simple (Fetch, section 3.2.2).
    pub(in crate::web) fn permit(&self, headers: &mut HeaderMap) {
        if self.allowed.is_none() {
            return;
        }
        let mut put =
            |name, value| headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        put("access-control-allow-methods", "GET, HEAD, PUT");
        put("access-control-allow-headers", "authorization, content-type, x-requested-with");
        put("access-control-allow-private-network", "true");
        put("access-control-max-age", "600");
    }

    /// The same for a stream, whose head is written by hand.
    pub(in crate::web) fn lines(&self) -> String {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("multipart/"))]);
        self.put_on(&mut headers);
        headers.remove(CONTENT_TYPE);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().unwrap_or_default())
        };
        headers.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(hosts: &[&str], origins: &[&str], is_public: bool) -> Doors {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        Doors::new("Kitchen-Pi", &owned(hosts), &owned(origins), is_public)
    }

    #[test]
    fn names_of_this_machine_are_known_and_no_others() {
        let request = |host: &str| Request::builder().header(HOST, host).body(()).unwrap();
        let all = doors(&["cam.example"], &[], true);
        for good in [
            "127.0.0.1:8080",
            "192.0.2.7",
            "[::1]:8080",
            "[fe80::1%25eth0]",
            "[2001:db8::1]",
            "localhost",
            "a.localhost:1",
            "kitchen-pi",
            "KITCHEN-PI.local:8080",
            "kitchen-pi.local.",
            "kitchen-pi.home.arpa",
            "kitchen-pi.lan",
            "kitchen-pi.internal",
            "cam.example",
            "CAM.example:443",
        ] {
            assert!(all.host(&request(good)).is_ok(), "{good}");
        }
        for bad in [
            "evil.example",
            "cam.example.evil.example",
            "kitchen-pi.evil.example",
            "evil.local",
            "127.0.0.1.evil.example",
            "0x7f.0.0.1",
        ] {
            let name = bad.to_owned();
            assert_eq!(all.host(&request(bad)), Err(BadHost::Foreign(name)), "{bad}");
        }
        for unclear in ["", "a b", "cam.example:port", "a@cam.example", "[::1", "cam.example:99999"] {
            assert_eq!(all.host(&request(unclear)), Err(BadHost::Unclear), "{unclear}");
        }
        assert!(doors(&["*"], &[], true).host(&request("evil.example")).is_ok());
        let words = all.host(&request("tv.example")).unwrap_err().to_string();
        assert!(words.contains("[server] hosts = [\"tv.example\"]"), "{words}");
    }

    #[test]
    fn a_host_is_named_once_unless_the_protocol_is_older_than_that() {
        let all = doors(&[], &[], false);
        let request = |version, uri: &str| Request::builder().version(version).uri(uri).body(()).unwrap();
        assert_eq!(all.host(&request(Version::HTTP_10, "/")), Ok(None));
        assert_eq!(all.host(&request(Version::HTTP_11, "/")), Err(BadHost::Unclear));
        let mut twice = request(Version::HTTP_11, "/");
        for _ in 0..2 {
            twice.headers_mut().append(HOST, HeaderValue::from_static("localhost"));
        }
        assert_eq!(all.host(&twice), Err(BadHost::Unclear));
        let mut whole = request(Version::HTTP_11, "http://evil.example/");
        whole.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        assert!(matches!(all.host(&whole), Err(BadHost::Foreign(_))));
    }

    #[test]
    fn pages_are_told_apart_by_whose_they_are() {
        let sender = |doors: &Doors, host: &str, origin: &'static str, secure| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            doors.sender(&headers, authority(host).as_ref(), secure)
        };
        let foreign = |origin: &str| Sender::Foreign(origin.to_owned());
        let neighbour = |origin: &str| Sender::Neighbour(origin.to_owned());
        let strict = doors(&[], &[], false);
        for (host, origin) in [
            ("kitchen-pi.local:8080", "http://kitchen-pi.local:8080"),
            ("kitchen-pi.local", "http://kitchen-pi.local"),
            ("kitchen-pi.local:80", "http://Kitchen-Pi.local"),
            ("[::1]:8080", "http://[::1]:8080"),
            // Behind a proxy that encrypts.
            ("cam.example", "https://cam.example"),
        ] {
            assert_eq!(sender(&strict, host, origin, false), Sender::Friend, "{host} {origin}");
        }
        assert_eq!(sender(&strict, "cam:8443", "https://cam:8443", true), Sender::Friend);
        assert_eq!(sender(&strict, "cam:8443", "http://cam:8443", true), neighbour("http://cam:8443"));
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8000"),
            ("127.0.0.1:8080", "http://localhost:8000"),
            ("kitchen-pi.local:8080", "http://kitchen-pi.local"),
        ] {
            assert_eq!(sender(&strict, host, origin, false), neighbour(origin), "{host} {origin}");
        }
        for origin in [
            "null",
            "https://evil.example",
            "http://192.168.1.9:8000",
            "http://203.0.113.5",
            "file://",
            "http://evil.localhost.example",
        ] {
            assert_eq!(sender(&strict, "127.0.0.1:8080", origin, false), foreign(origin), "{origin}");
        }
        let public = doors(&[], &[], true);
        assert_eq!(
            sender(&public, "192.168.1.5:8080", "http://192.168.1.9:8000", false),
            neighbour("http://192.168.1.9:8000")
        );
        assert_eq!(
            sender(&public, "192.168.1.5", "http://203.0.113.5", false),
            foreign("http://203.0.113.5")
        );
        let listed = doors(&[], &["https://home.example", "null"], true);
        for origin in ["https://home.example", "https://home.example:443", "null"] {
            assert_eq!(sender(&listed, "kitchen-pi", origin, false), Sender::Friend, "{origin}");
        }
        assert_eq!(
            sender(&listed, "kitchen-pi", "http://home.example", false),
            foreign("http://home.example")
        );
        assert_eq!(
            sender(&doors(&[], &["*"], true), "kitchen-pi", "https://a.example", false),
            Sender::Friend
        );
        assert_eq!(public.sender(&HeaderMap::new(), None, false), Sender::Program);
    }

    #[test]
    fn what_the_operator_writes_is_brought_into_one_form() {
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
        assert_eq!(host("Cam.Example").as_deref(), Ok("cam.example"));
        for bad in ["https://cam.example", "cam.example:80", "", "a b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scripts_of_other_sites_read_nothing_unless_they_are_listed() {
        let dressed = |origins: &[&str], from: &'static str| {
            let asked = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(from))]);
            let mut answer = HeaderMap::new();
            doors(&[], origins, true).dress(&asked).put_on(&mut answer);
            answer
        };
        assert!(!dressed(&[], "https://a.example").contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert!(!dressed(&[], "https://a.example").contains_key(VARY));
        let listed = dressed(&["https://a.example"], "https://a.example");
        assert_eq!(
            (&listed[ACCESS_CONTROL_ALLOW_ORIGIN], &listed[VARY]),
            (&HeaderValue::from_static("https://a.example"), &HeaderValue::from_static("Origin"))
        );
        assert!(
            listed[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .ends_with("frame-ancestors 'self' https://a.example")
        );
        let other = dressed(&["https://a.example"], "https://b.example");
        assert!(!other.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && other.contains_key(VARY));
        assert_eq!(dressed(&["*"], "https://b.example")[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
