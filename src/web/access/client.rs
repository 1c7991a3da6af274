//! Who asks, and what comes of it.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Duration;

use super::login_throttle::Suspect;
use super::password::Role;
use crate::web::server::listener::Peer;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) struct Visitor {
    /// Whom wrong guesses are held against.
    pub(in crate::web) suspect: Suspect,
    /// The connection is encrypted.
    pub(in crate::web) secure: bool,
    /// As what this may come in without being asked for anything: somebody who could read all secrets anyway.
    pub(in crate::web) known: Option<Role>,
}

impl Visitor {
    /// Somebody at `remote` who came in at the address `own`.
    pub(in crate::web) fn of(remote: Peer, own: Option<IpAddr>, secure: bool) -> Self {
        let suspect = match remote {
            Peer::Tcp(remote) => Suspect::of(remote.ip(), own),
            Peer::Unix | Peer::Local => Suspect::Local,
        };
        Self { suspect, secure, known: (remote == Peer::Local).then_some(Role::Viewer) }
    }
}

/// How a request proved that it may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Proof {
    /// It needed none.
    Unneeded,
    /// By a cookie, which a browser sends along by itself.
    Cookie,
    /// By Basic authentication, which a browser that has been asked once sends along by itself.
    Basic,
    /// By a Bearer token, which no browser sends unless a script that knows it tells it to.
    Bearer,
    /// By the URL, which only one who knows the secret can write.
    Url,
}

impl Proof {
    /// Whether a page that knows no secret can make a browser show this.
    pub(in crate::web) fn is_ambient(self) -> bool {
        matches!(self, Self::Unneeded | Self::Cookie | Self::Basic)
    }

    /// As an answer tells it.
    pub(in crate::web) fn name(self) -> Option<&'static str> {
        match self {
            Self::Unneeded => None,
            Self::Cookie => Some("cookie"),
            Self::Basic => Some("basic"),
            Self::Bearer => Some("bearer"),
            Self::Url => Some("url"),
        }
    }
}

/// Somebody who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct Admission {
    /// As what.
    pub(in crate::web) role: Role,
    /// Why.
    pub(in crate::web) proof: Proof,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Denied {
    /// Nothing was shown that could be right.
    Nothing,
    /// What was shown is not right.
    Wrong,
    /// It was not looked at, for so long: too much was wrong before.
    TooMany(Duration),
    /// It was not looked at: too many are waiting.
    Busy,
}
