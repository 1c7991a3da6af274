//! Counters of connections, for `/metrics`.
#![forbid(unsafe_code)]

use super::connection_limiter::ConnectionRejected;
use crate::status::Counter;

/// What is counted about connections.
#[derive(Debug, Default)]
pub(in crate::web) struct ConnectionCounters {
    /// Connections that were accepted.
    pub(in crate::web) accepted: Counter,
    /// Connections that have ended.
    pub(in crate::web) ended: Counter,
    /// Failures to accept a connection, mostly for lack of descriptors.
    pub(in crate::web) accept_failed: Counter,
    /// Connections rejected at the total limit.
    pub(in crate::web) rejected_total: Counter,
    /// Connections rejected at the limit of their address.
    pub(in crate::web) rejected_per_address: Counter,
    /// Waiting connections closed to make room for others.
    pub(in crate::web) evicted: Counter,
    /// Connections closed because the peer took no data within the write timeout.
    pub(in crate::web) stalled: Counter,
    /// Connections closed because no request came within the request timeout.
    pub(in crate::web) idle: Counter,
    /// Connections closed because what came was not HTTP.
    pub(in crate::web) malformed: Counter,
    /// Connections closed because their TLS handshake failed.
    pub(in crate::web) handshake_failed: Counter,
    /// Requests in plain HTTP that were redirected to HTTPS.
    pub(in crate::web) redirected: Counter,
}

impl ConnectionCounters {
    /// Counts a rejected connection.
    pub(in crate::web) fn rejected(&self, why: ConnectionRejected) {
        match why {
            ConnectionRejected::Total(_) => self.rejected_total.add(1),
            ConnectionRejected::PerAddress(_) => self.rejected_per_address.add(1),
        }
    }
}
