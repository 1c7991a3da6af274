//! Limits on the number of connections, in total and per address, and which connection is evicted when there are too many.
//!
//! A connection **waits** from when it is accepted until its first request, and again after each answer. Waiting
//! connections cost a client nothing, and browsers reopen them silently. When room is needed, the connection that has
//! waited longest is evicted. A connection with a request in progress, or that streams, is never evicted: if none waits,
//! the new connection is rejected.
//!
//! Connections from this machine are not counted per address, as a web server in front of the service has all of them.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::address::Peer;
use super::transport::Transport;
use crate::status::Counter;
use crate::sync::lock;

/// A connection is not evicted before it has waited this long. A client that opens many at once has sent its requests by
/// then.
const MIN_WAIT: Duration = Duration::from_millis(250);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In total.
    pub total: usize,
    /// From one address.
    pub per_address: usize,
    /// Waiting, in total.
    pub waiting: usize,
    /// Waiting, from one address.
    pub waiting_per_address: usize,
}

/// The limit at which a connection was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionRejected {
    #[error("all {0} connections are taken; raise limits.connections to allow more")]
    Total(usize),
    #[error(
        "your address has all of its {0} connections; raise limits.connections_per_address to allow more"
    )]
    PerAddress(usize),
}

#[derive(Debug)]
struct ConnectionRecord {
    id: u64,
    /// What it is counted with; see [`Peer::address_group`].
    group: Option<IpAddr>,
    /// `None` while it has a request in progress, and once it is evicted.
    waits_since: Option<Instant>,
    evict: Arc<Notify>,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    last_id: u64,
    records: Vec<ConnectionRecord>,
}

impl ConnectionTable {
    /// Evicts the connection that has waited longest among those that `filter` holds for, if it has waited long enough.
    fn evict_longest_waiting(&mut self, now: Instant, filter: impl Fn(&ConnectionRecord) -> bool) -> bool {
        let waiting = self.records.iter_mut().filter(|record| filter(record) && record.waits_since.is_some());
        let oldest = waiting.min_by_key(|record| record.waits_since);
        match oldest.filter(|record| record.waits_since.is_some_and(|since| now >= since + MIN_WAIT)) {
            Some(record) => {
                record.evict.notify_one();
                // It is not evicted twice.
                record.waits_since = None;
                true
            }
            None => false,
        }
    }

    fn count_waiting(&self, filter: impl Fn(&ConnectionRecord) -> bool) -> usize {
        self.records.iter().filter(|record| record.waits_since.is_some() && filter(record)).count()
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    limits: ConnectionLimits,
    table: Mutex<ConnectionTable>,
}

impl ConnectionLimiter {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    /// Admits a new connection, which waits from now on. Returns whether another was evicted for it. Fails with
    /// [`ConnectionRejected`] when there is no room.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: Peer,
        now: Instant,
    ) -> Result<(Permit, bool), ConnectionRejected> {
        let (group, limits, mut table) = (peer.address_group(), self.limits, lock(&self.table));
        let in_group = |record: &ConnectionRecord| group.is_some() && record.group == group;
        if table.records.iter().filter(|record| in_group(record)).count() >= limits.per_address {
            return Err(ConnectionRejected::PerAddress(limits.per_address));
        }
        let is_full = table.records.len() >= limits.total;
        let evicted = if table.count_waiting(in_group) >= limits.waiting_per_address {
            table.evict_longest_waiting(now, in_group)
        } else {
            (is_full || table.count_waiting(|_| true) >= limits.waiting)
                && table.evict_longest_waiting(now, |_| true)
        };
        if is_full && !evicted {
            return Err(ConnectionRejected::Total(limits.total));
        }
        table.last_id += 1;
        let (id, evict) = (table.last_id, Arc::new(Notify::new()));
        let record = ConnectionRecord { id, group, waits_since: Some(now), evict: Arc::clone(&evict) };
        table.records.push(record);
        Ok((Permit { id, evict, limiter: Arc::clone(self) }, evicted))
    }

    /// Evicts the connection that has waited longest, if it has waited long enough. Returns whether there was one.
    pub(crate) fn evict_one(&self, now: Instant) -> bool {
        lock(&self.table).evict_longest_waiting(now, |_| true)
    }

    fn set_waiting(&self, id: u64, since: Option<Instant>) {
        if let Some(record) = lock(&self.table).records.iter_mut().find(|record| record.id == id) {
            record.waits_since = since;
        }
    }
}

/// The right to be connected. The connection is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    id: u64,
    evict: Arc<Notify>,
    limiter: Arc<ConnectionLimiter>,
}

impl Permit {
    pub(crate) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// A request has begun. The connection does not wait until the result is dropped.
    pub(crate) fn begin_request(&self) -> ActiveRequest {
        self.limiter.set_waiting(self.id, None);
        ActiveRequest { id: self.id, limiter: Arc::clone(&self.limiter) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.limiter.table).records.retain(|record| record.id != self.id);
    }
}

#[derive(Debug)]
pub(crate) struct ActiveRequest {
    id: u64,
    limiter: Arc<ConnectionLimiter>,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.limiter.set_waiting(self.id, Some(Instant::now()));
    }
}

/// What is counted about connections. `/metrics` says what each counter means.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) accepted: Counter,
    pub(crate) ended: Counter,
    pub(crate) accept_failed: Counter,
    pub(crate) rejected_total: Counter,
    pub(crate) rejected_per_address: Counter,
    pub(crate) evicted: Counter,
    pub(crate) stalled: Counter,
    pub(crate) idle: Counter,
    pub(crate) malformed: Counter,
    pub(crate) handshake_failed: Counter,
    pub(crate) redirected: Counter,
}

/// Most clients that are answered at a time. Further ones are closed without an answer.
const MAX_ANSWERING: usize = 32;
/// Time for one answer, TLS handshake included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers rejected clients. Its reference count is one more than the number that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Rejector(Arc<()>);

impl Rejector {
    /// The task that answers one client once `open` has set up its transport; `None` when too many are being answered.
    pub(crate) fn answer<F: Future<Output = io::Result<Transport>>>(
        &self,
        open: F,
        why: ConnectionRejected,
    ) -> Option<impl Future<Output = ()> + use<F>> {
        let slot = Arc::clone(&self.0);
        if Arc::strong_count(&slot) > MAX_ANSWERING + 1 {
            return None;
        }
        let why = format!("{why}\n");
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Retry-After: 5\r\nConnection: close\r\n\r\n{why}",
            why.len()
        );
        let send = async move {
            let mut transport = open.await?;
            transport.write_all(answer.as_bytes()).await?;
            transport.shutdown().await?;
            // The request has to be read, or closing the socket would discard the answer (RFC 1122, section 4.2.2.13).
            let mut request = [0; 1024];
            while transport.read(&mut request).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        Some(async move {
            // A client that does not read its answer in time goes without.
            let _ = timeout(ANSWER_TIMEOUT, send).await;
            drop(slot);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Arc<ConnectionLimiter> {
        let (total, per_address, waiting, waiting_per_address) = (6, 4, 5, 3);
        ConnectionLimiter::new(ConnectionLimits { total, per_address, waiting, waiting_per_address })
    }

    fn peer(text: &str) -> Peer {
        Peer::Tcp(format!("{text}:1").parse().unwrap())
    }

    #[test]
    fn the_longest_waiting_is_evicted_and_never_one_with_a_request() {
        // In the past, so that a request that ends while this runs waits since later than all others here.
        let (limiter, start) = (limiter(), Instant::now() - Duration::from_secs(1));
        let at = |ms| start + Duration::from_millis(ms);
        let a = peer("192.0.2.1");
        let mut admitted: Vec<(Permit, bool)> = (0..3).map(|n| limiter.admit(a, at(n)).unwrap()).collect();
        assert!(admitted.iter().all(|(_, evicted)| !evicted));
        let request = admitted[0].0.begin_request();
        admitted.push(limiter.admit(a, at(300)).unwrap());
        assert!(!admitted[3].1, "two of them waited");
        assert_eq!(limiter.admit(a, at(300)).unwrap_err(), ConnectionRejected::PerAddress(4));
        drop((admitted.remove(3), request));
        // Three wait, the first of them from now on; the second has waited longest.
        let (_fourth, evicted) = limiter.admit(a, at(400)).unwrap();
        assert!(evicted);
        assert_eq!(lock(&limiter.table).count_waiting(|record| record.id == admitted[1].0.id), 0);
        assert_eq!(lock(&limiter.table).count_waiting(|record| record.id == admitted[0].0.id), 1);
    }

    #[test]
    fn a_new_connection_is_rejected_when_none_can_be_evicted() {
        let (limiter, start) = (limiter(), Instant::now());
        let local: Vec<_> = (0..6).map(|_| limiter.admit(Peer::Unix, start).unwrap().0).collect();
        assert_eq!(limiter.admit(peer("192.0.2.9"), start).unwrap_err(), ConnectionRejected::Total(6));
        let requests: Vec<ActiveRequest> = local.iter().map(Permit::begin_request).collect();
        let later = start + Duration::from_secs(9);
        assert_eq!(limiter.admit(peer("127.0.0.1"), later).unwrap_err(), ConnectionRejected::Total(6));
        drop((requests, local));
        assert!(lock(&limiter.table).records.is_empty());
        assert!(limiter.admit(peer("127.0.0.1"), later).is_ok());
    }
}
