//! The URL of a broker: `mqtt://` or `mqtts://`, one address or several, and a topic as its path. Its password is not shown.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::client::RemoteSecret;

/// Most addresses of one broker: clusters have fewer nodes, and each is tried in turn.
const MOST_ADDRESSES: usize = 16;
/// Longest host name (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 253;
/// Longest topic (MQTT 3.1.1, section 1.5.3).
const LONGEST_TOPIC: usize = 65_535;
/// What a URL must look like.
const FORMS: &str = "write mqtt://HOST or mqtts://HOST, with :PORT unless it is 1883 or 8883, further addresses of the same \
     broker behind commas, and special characters of a user or password as %XX";

/// One address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The URL of a broker, checked. It is displayed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    is_encrypted: bool,
    user: Option<String>,
    password: Option<RemoteSecret>,
    addresses: Vec<BrokerAddress>,
    topic: String,
}

impl BrokerUrl {
    /// The scheme.
    pub fn scheme(&self) -> &'static str {
        if self.is_encrypted { "mqtts" } else { "mqtt" }
    }

    /// Whether connections use TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether it names a user.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&RemoteSecret> {
        self.password.as_ref()
    }

    /// Its addresses, at least one, in the order in which they are tried.
    pub(crate) fn addresses(&self) -> &[BrokerAddress] {
        &self.addresses
    }

    /// The same broker `parts` times, each with addresses that no other part has. Fewer if it has fewer addresses.
    pub(crate) fn split(&self, parts: usize) -> Vec<Self> {
        let parts = parts.clamp(1, self.addresses.len());
        let part = |first: usize| {
            let addresses = self.addresses.iter().skip(first).step_by(parts).cloned().collect();
            Self { addresses, ..self.clone() }
        };
        (0..parts).map(part).collect()
    }

    /// The same broker, with another path.
    pub(crate) fn with_topic(&self, topic: &str) -> Self {
        Self { topic: topic.to_owned(), ..self.clone() }
    }

    /// The path without its first `/`: a topic or a filter of topics, as it is, without `%XX`. Empty if there is none.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

fn is_encrypted(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "mqtt" => Some(false),
        "mqtts" => Some(true),
        _ => None,
    }
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "its user or password is not UTF-8")?;
    // Section 1.5.3 of MQTT 3.1.1.
    if text.contains('\0') { Err("its user or password has a NUL".into()) } else { Ok(text.into()) }
}

/// One address; the port is the scheme's unless there is another.
fn address(text: &str, default_port: u16) -> Result<BrokerAddress, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or("")) })
        }
        Some(_) => return Err(format!("{text:?} is no IPv6 address in brackets")),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() {
        return Err("names no host".into());
    }
    if host.len() > LONGEST_HOST || !host.chars().all(is_name) {
        return Err(format!("{host:?} is no host name"));
    }
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err("has a port that is not 1 to 65535".into()),
        },
    };
    Ok(BrokerAddress { host: host.to_owned(), port })
}

fn parse(text: &str) -> Result<BrokerUrl, String> {
    let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
    let is_encrypted = is_encrypted(scheme).ok_or("has an unknown scheme")?;
    let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
    let (userinfo, hosts) = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => (Some(userinfo), hosts),
        None => (None, authority),
    };
    let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, ""))) {
        None => (None, None),
        Some((user, password)) => {
            let password = decoded(password)?;
            (Some(decoded(user)?), (!password.is_empty()).then(|| RemoteSecret::new(&password)))
        }
    };
    let port = if is_encrypted { 8883 } else { 1883 };
    let addresses: Vec<BrokerAddress> =
        hosts.split(',').map(|text| address(text, port)).collect::<Result<_, _>>()?;
    if addresses.len() > MOST_ADDRESSES {
        return Err(format!("has more than {MOST_ADDRESSES} addresses"));
    }
    if topic.len() > LONGEST_TOPIC || topic.chars().any(char::is_control) {
        return Err("has a path that is no topic".into());
    }
    Ok(BrokerUrl { is_encrypted, user, password, addresses, topic: topic.to_owned() })
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|why| format!("{why}; {FORMS}"))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        match (&self.user, &self.password) {
            (Some(user), Some(_)) => write!(f, "{}:***@", user.escape_default())?,
            (Some(user), None) => write!(f, "{}@", user.escape_default())?,
            _ => {}
        }
        for (n, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if n > 0 { "," } else { "" })?;
        }
        if self.topic.is_empty() { Ok(()) } else { write!(f, "/{}", self.topic) }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> BrokerUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_parts_of_a_url_are_found() {
        let url = parsed("MQTTS://edge:p%40ss%3A@one,[fe80::1]:8884,10.0.0.3:1/porthole/+/+");
        assert!(url.is_encrypted());
        assert_eq!((url.user(), url.password().unwrap().reveal()), (Some("edge"), "p@ss:"));
        let shown: Vec<String> = url.addresses().iter().map(BrokerAddress::to_string).collect();
        assert_eq!(shown, ["one:8883", "[fe80::1]:8884", "10.0.0.3:1"]);
        assert_eq!(url.topic(), "porthole/+/+");
        let url = parsed("mqtt://broker.local");
        assert_eq!((url.addresses()[0].port, url.topic(), url.has_user()), (1883, "", false));
        assert_eq!(parsed("mqtt://broker/a%2Fb/c#d").topic(), "a%2Fb/c#d", "the path is the topic as it is");
    }

    #[test]
    fn parts_of_a_broker_share_no_address() {
        let hosts = |text: &str| -> Vec<String> {
            let shown =
                |url: &BrokerUrl| url.addresses().iter().map(|a| a.host.clone()).collect::<Vec<_>>().concat();
            parsed(text).split(2).iter().map(shown).collect()
        };
        assert_eq!(hosts("mqtt://a/t"), ["a"]);
        assert_eq!(hosts("mqtt://a,b/t"), ["a", "b"]);
        assert_eq!(hosts("mqtt://a,b,c/t"), ["ac", "b"]);
    }

    #[test]
    fn the_password_is_not_shown() {
        let shown = "mqtts://edge:***@one:8883,[::1]:9/a/b";
        let url = parsed("mqtts://edge:secret@one,[::1]:9/a/b");
        assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("`{shown}`")));
    }

    #[test]
    fn an_error_names_the_forms_and_no_password() {
        for text in [
            "mqtt://",
            "mqtt:///topic",
            "mqtt://a,",
            "mqtt://a:0",
            "mqtt://a:x",
            "mqtt://[::1",
            "mqtt://[host]:1",
            "mqtt://a b",
            "mqtt://u:%ff@a",
            "mqtt://u%00@a",
            "mqtt://a/\u{7}",
            "http://a",
            "broker",
            "mqtt://[::1]1883",
        ] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert!(error.contains("mqtts://HOST"), "{text}: {error}");
        }
        let error = "mqtt://me:secret@a:x".parse::<BrokerUrl>().unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let many = format!("mqtt://{}", vec!["a"; MOST_ADDRESSES + 1].join(","));
        assert!(many.parse::<BrokerUrl>().is_err());
    }
}
