//! Counters of connections, for `/metrics`.
#![forbid(unsafe_code)]

use super::connection_limiter::ConnectionRejected;
use crate::status::Counter;

/// What is counted about connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    /// Connections that were accepted.
    pub(crate) accepted: Counter,
    /// Connections that have ended.
    pub(crate) ended: Counter,
    /// Failures to accept a connection, mostly for lack of descriptors.
    pub(crate) accept_failed: Counter,
    /// Connections rejected at the total limit.
    pub(crate) rejected_total: Counter,
    /// Connections rejected at the limit of their address.
    pub(crate) rejected_per_address: Counter,
    /// Waiting connections closed to make room for others.
    pub(crate) evicted: Counter,
    /// Connections closed because the peer took no data within the write timeout.
    pub(crate) stalled: Counter,
    /// Connections closed because no request came within the request timeout.
    pub(crate) idle: Counter,
    /// Connections closed because what came was not HTTP.
    pub(crate) malformed: Counter,
    /// Connections closed because their TLS handshake failed.
    pub(crate) handshake_failed: Counter,
    /// Requests in plain HTTP that were redirected to HTTPS.
    pub(crate) redirected: Counter,
}

impl ConnectionCounters {
    /// Counts a rejected connection.
    pub(crate) fn rejected(&self, why: ConnectionRejected) {
        match why {
            ConnectionRejected::Total(_) => self.rejected_total.add(1),
            ConnectionRejected::PerAddress(_) => self.rejected_per_address.add(1),
        }
    }
}
