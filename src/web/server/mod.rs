//! Sockets: where connections come from, how many there may be, and what carries their bytes.

pub(super) mod client_socket;
pub(super) mod connection_limiter;
pub(super) mod listener;
pub(super) mod socket_activation;
mod tcp_info;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
pub(super) mod tls;
pub(super) mod transport;
