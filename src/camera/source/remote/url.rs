//! The URL of a camera on another machine. Its password and token are not shown.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use percent_encoding::percent_decode_str;

use crate::camera::shell_command::without_passwords;
use crate::client::RemoteSecret;

/// How a camera on another machine is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP: a multipart stream, or single JPEGs.
    Http,
    /// HTTP over TLS.
    Https,
    /// The WebSocket of another Porthole.
    Ws,
    /// The WebSocket of another Porthole over TLS.
    Wss,
    /// Pictures over a bare TCP connection.
    Tcp,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::Http, Self::Https, Self::Ws, Self::Wss, Self::Tcp];

    /// Its name in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tcp => "tcp",
        }
    }

    /// Whether its connections are encrypted.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    /// The same without encryption.
    pub(super) const fn plain(self) -> Self {
        match self {
            Self::Https => Self::Http,
            Self::Wss => Self::Ws,
            plain => plain,
        }
    }

    /// The port of a URL that names none; `None` where a port must be given.
    const fn default_port(self) -> Option<u16> {
        match self {
            Self::Http | Self::Ws => Some(80),
            Self::Https | Self::Wss => Some(443),
            Self::Tcp => None,
        }
    }
}

/// The URL of a camera on another machine, checked. It is displayed without its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    scheme: Scheme,
    user: Option<String>,
    password: Option<RemoteSecret>,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: Option<u16>,
    path_and_query: String,
}

/// What a URL must look like.
const FORMS: &str = "write http://HOST/PATH, https://HOST/PATH, ws://HOST/PATH, wss://HOST/PATH or tcp://HOST:PORT; \
     an IPv6 address stands in brackets, and special characters of a user or password are written as %XX";

impl RemoteUrl {
    /// Whether `text` begins like the URL of a camera on another machine.
    pub(in crate::camera) fn has_scheme(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| scheme_of(scheme).is_some())
    }

    /// How the camera is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port.or(self.scheme.default_port()).unwrap_or_default()
    }

    /// Path and query, for a request. The query may hold secrets.
    pub(super) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Whether it names a user.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn password(&self) -> Option<&RemoteSecret> {
        self.password.as_ref()
    }

    /// Host and port as they stand in a `Host` header: the port only where it is not that of the scheme (RFC 9110, 7.2).
    pub(super) fn authority(&self) -> String {
        let port = self.port.filter(|port| Some(*port) != self.scheme.default_port());
        format!("{}{}", self.bracketed_host(), port.map(|port| format!(":{port}")).unwrap_or_default())
    }

    /// Where a server redirects to: `location` is a URL or a path (RFC 9110, section 10.2.2). `None` if that is another host,
    /// or no encryption where there was one.
    pub(super) fn redirected(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if !location.contains("://") {
            let base = self.path_and_query.split('?').next().unwrap_or_default();
            let path = match location.as_bytes() {
                [] => return None,
                [b'/', b'/', ..] => return self.redirected(&format!("{}:{location}", self.scheme.name())),
                [b'/', ..] => location.to_owned(),
                [b'?', ..] => format!("{base}{location}"),
                _ => format!("{}/{location}", base.rsplit_once('/').map_or("", |(folder, _)| folder)),
            };
            let uri: Uri = path.parse().ok()?;
            return Some(Self { path_and_query: uri.path_and_query()?.as_str().to_owned(), ..self.clone() });
        }
        let to: Self = location.parse().ok()?;
        let is_allowed = to.host.eq_ignore_ascii_case(&self.host)
            && matches!(to.scheme, Scheme::Http | Scheme::Https)
            && (to.scheme.is_encrypted() || !self.scheme.is_encrypted());
        is_allowed.then(|| Self { user: self.user.clone(), password: self.password.clone(), ..to })
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

fn scheme_of(name: &str) -> Option<Scheme> {
    Scheme::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| "its user or password is not UTF-8".into())
}

impl FromStr for RemoteUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let failed = |why: &str| format!("source {:?}: {why}; {FORMS}", without_passwords(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| failed("is no URL"))?;
        let scheme = scheme_of(scheme).ok_or_else(|| failed("has an unknown scheme"))?;
        // As http, which is all that the parser knows to have a host.
        let uri: Uri =
            format!("http://{rest}").parse().map_err(|error| failed(&format!("is no URL ({error})")))?;
        let authority = uri.authority().ok_or_else(|| failed("names no host"))?;
        let userinfo = authority.as_str().rsplit_once('@').map(|(userinfo, _)| userinfo);
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            None => (None, None),
            Some((user, password)) => {
                let password = decoded(password).map_err(|why| failed(&why))?;
                (
                    Some(decoded(user).map_err(|why| failed(&why))?),
                    (!password.is_empty()).then(|| RemoteSecret::new(&password)),
                )
            }
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(failed("names no host"));
        }
        let port = uri.port_u16();
        let has_port_text = authority.as_str().rsplit_once(']').map_or_else(
            || authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).contains(':'),
            |(_, after)| after.contains(':'),
        );
        if port == Some(0) || (has_port_text && port.is_none()) {
            return Err(failed("has a port that is not 1 to 65535"));
        }
        if port.or(scheme.default_port()).is_none() {
            return Err(failed("needs a port"));
        }
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if scheme == Scheme::Tcp && (path_and_query != "/" || userinfo.is_some()) {
            return Err(failed("tcp takes a host and a port, nothing else"));
        }
        Ok(Self { scheme, user, password, host, port, path_and_query })
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        match (&self.user, &self.password) {
            (Some(user), Some(_)) => write!(f, "{}:***@", user.escape_default())?,
            (Some(user), None) => write!(f, "{}@", user.escape_default())?,
            _ => {}
        }
        f.write_str(&self.bracketed_host())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match (self.scheme, self.path_and_query.as_str()) {
            (Scheme::Tcp, _) => Ok(()),
            (_, path) => f.write_str(&without_passwords(path)),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RemoteUrl {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_parts_of_a_url_are_found() {
        let url = parse("HTTPS://admin:p%40ss%3A%2Fword@[fe80::1]:8443/video.cgi?size=2#x");
        assert_eq!((url.scheme(), url.host(), url.port()), (Scheme::Https, "fe80::1", 8443));
        assert_eq!((url.user(), url.password().unwrap().reveal()), (Some("admin"), "p@ss:/word"));
        assert_eq!((url.path_and_query(), url.authority().as_str()), ("/video.cgi?size=2", "[fe80::1]:8443"));
        let url = parse("ws://pi-zero.local");
        assert_eq!((url.port(), url.path_and_query(), url.authority().as_str()), (80, "/", "pi-zero.local"));
        assert_eq!(parse("http://cam:80/x").authority(), "cam");
        assert_eq!(parse("tcp://10.0.0.2:9000").port(), 9000);
        assert_eq!(parse("http://user@cam/").password(), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = parse("http://me:secret@cam:81/a?user=me&pwd=secret&token=secret&size=3");
        let shown = "http://me:***@cam:81/a?user=me&pwd=***&token=***&size=3";
        assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("`{shown}`")));
        for text in ["http://cam/stream", "wss://[::1]:8443/ws", "tcp://cam:9000", "http://user@cam/"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn redirects_stay_on_the_host_and_never_switch_encryption_off() {
        let url = parse("http://me:secret@cam:81/a/b?c");
        let to =
            |location| url.redirected(location).map(|url| (url.authority(), url.path_and_query().to_owned()));
        let at = |authority: &str, path: &str| Some((authority.to_owned(), path.to_owned()));
        assert_eq!(to("/x?y#z"), at("cam:81", "/x?y"));
        assert_eq!(to("x"), at("cam:81", "/a/x"));
        assert_eq!(to("?d"), at("cam:81", "/a/b?d"));
        assert_eq!(to("http://CAM/x"), at("CAM", "/x"));
        assert_eq!(to("//cam:82/x"), at("cam:82", "/x"));
        assert_eq!(url.redirected("https://cam:8443/x").unwrap().password().unwrap().reveal(), "secret");
        for elsewhere in ["", "http://other/x", "//other/x", "ftp://cam/", "tcp://cam:1", "http://", "a b"] {
            assert_eq!(to(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(parse("https://cam/").redirected("http://cam/"), None);
    }

    #[test]
    fn an_error_names_the_value_and_the_forms() {
        for text in [
            "http://",
            "http:///x",
            "http://a b/",
            "http://cam:0/",
            "http://cam:99999/",
            "http://cam:x/",
            "tcp://cam",
            "tcp://cam:1/path",
            "tcp://a:b@cam:1",
            "http://[::1",
            "http://u:%ff@cam/",
        ] {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            assert!(error.contains("tcp://HOST:PORT") && error.starts_with("source \""), "{text}: {error}");
        }
        let error = "http://me:secret@cam:x/".parse::<RemoteUrl>().unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
