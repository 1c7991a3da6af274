//! What is known of a client before it sends a request.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::login_throttle::ThrottleKey;
use super::role::UserRole;
use crate::web::server::peer::Peer;

/// The client of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// What its failed logins are counted with.
    pub(super) throttle_key: ThrottleKey,
    /// Whether it uses TLS.
    pub(crate) is_secure: bool,
    /// The role it has without credentials: this user and root, who could read all secrets anyway, may watch.
    pub(super) local_role: Option<UserRole>,
}

impl Client {
    /// The client at `peer` that connected to the address `local` of this machine.
    pub(crate) fn new(peer: Peer, local: Option<IpAddr>, is_secure: bool) -> Self {
        let throttle_key = match peer {
            Peer::Tcp(remote) => ThrottleKey::of(remote.ip(), local),
            Peer::Unix | Peer::Local => ThrottleKey::Local,
        };
        Self { throttle_key, is_secure, local_role: (peer == Peer::Local).then_some(UserRole::Viewer) }
    }
}
