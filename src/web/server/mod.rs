//! The server's sockets: listening, accepting, limits on connections, TLS and plain transports.
//!
//! Nothing here knows HTTP requests, cameras or frames.

pub(super) mod address;
pub(super) mod client_socket;
pub(super) mod connection_limiter;
pub(super) mod listener;
pub(super) mod socket_activation;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
pub(super) mod tls;
pub(super) mod transport;
