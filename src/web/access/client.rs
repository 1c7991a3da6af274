//! What is known of a client: its connection, and the credentials that its requests carry. Only reads them.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};

use super::login_throttle::ThrottleKey;
use super::password::UserRole;
use crate::web::server::address::Peer;

/// The client of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// What its failed logins are counted with.
    pub(super) throttle_key: ThrottleKey,
    pub(crate) is_secure: bool,
    pub(crate) peer: Peer,
}

impl Client {
    /// The client at `peer` that connected to the address `local` of this machine.
    pub(crate) fn new(peer: Peer, local: Option<IpAddr>, is_secure: bool) -> Self {
        let throttle_key = match peer {
            Peer::Tcp(remote) => ThrottleKey::of(remote.ip(), local),
            Peer::Unix | Peer::Local => ThrottleKey::Local,
        };
        Self { throttle_key, is_secure, peer }
    }

    /// The role it has without credentials: this user and root, who could read all secrets anyway, may watch.
    pub(super) fn local_role(self) -> Option<UserRole> {
        (self.peer == Peer::Local).then_some(UserRole::Viewer)
    }
}

/// The way in which a request carries its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    Unneeded,
    /// A cookie, which a browser sends by itself.
    Cookie,
    /// Basic authentication, which a browser sends by itself once its user has logged in.
    Basic,
    /// A Bearer token, which a browser sends only for a script that knows the token.
    Bearer,
    /// The URL. A page can write it only if it knows the token.
    Url,
}

impl CredentialKind {
    /// Whether a browser sends it for a page that does not know the secret (ambient authority).
    pub(super) fn is_ambient(self) -> bool {
        matches!(self, Self::Unneeded | Self::Cookie | Self::Basic)
    }

    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Unneeded => None,
            Self::Cookie => Some("cookie"),
            Self::Basic => Some("basic"),
            Self::Bearer => Some("bearer"),
            Self::Url => Some("url"),
        }
    }
}

/// The secrets in a request, except for its cookies: at most one in `Authorization` and one in the URL, so that a request
/// is at most two guesses.
pub(super) fn secrets(headers: &HeaderMap, query: Option<&str>) -> Vec<(CredentialKind, Vec<u8>)> {
    let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let bearer = parameters(authorization, "Bearer").map(|token| (CredentialKind::Bearer, token.to_vec()));
    let basic = basic_password(authorization).map(|password| (CredentialKind::Basic, password));
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let url = query.find(|(key, _)| key == "token");
    let url = url.map(|(_, token)| (CredentialKind::Url, token.into_owned().into_bytes()));
    bearer.or(basic).into_iter().chain(url).filter(|(_, secret)| !secret.is_empty()).collect()
}

pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// What follows the name of an authentication scheme, which is case-insensitive (RFC 9110, section 11.1).
fn parameters<'a>(authorization: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (name, rest) = authorization.split_at_checked(scheme.len())?;
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ")).then(|| rest.trim_ascii())
}

/// The password of Basic authentication (RFC 7617). The user name is ignored.
fn basic_password(authorization: &[u8]) -> Option<Vec<u8>> {
    let pair = BASE64_STANDARD.decode(parameters(authorization, "Basic")?).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(pair[colon + 1..].to_vec())
}
