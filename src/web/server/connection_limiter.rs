//! How many may be connected, and who goes first when there are too many.
//!
//! A connection **waits** while nothing has been asked of it, or nothing since it was last answered. Those that wait
//! are what an attacker can have for nothing, and what a browser opens again without a word: where room is needed, the
//! one that has waited longest is closed. Whoever is being answered or watches stays; when nobody waits, it is the
//! newcomer who is turned away.
//!
//! Programs of this machine are not counted by address: a web server in front of this one has everybody's.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::web::server::listener::Peer;
use crate::web::server::transport::Transport;

/// How long one may wait before it is closed to make room: those who come many at once, and want something, have all
/// asked for it by then.
const GRACE: Duration = Duration::from_millis(250);
/// How many are told at a time why they are turned away. Others are cut off.
const TOLD: usize = 32;
/// How long that may take.
const TELLING: Duration = Duration::from_secs(1);

/// How many of what there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections, in total.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Connections that wait, in total.
    pub waiting: usize,
    /// Connections that wait, from one address.
    pub waiting_per_address: usize,
    /// Viewers from one address.
    pub viewers_per_address: usize,
    /// How long a client may take for a request, or to begin the next one, and for its TLS handshake.
    pub request_time: Duration,
    /// How long a WebSocket client may give no sign of life, though it is asked for one.
    pub silence: Duration,
}

/// Why somebody cannot be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum Turned {
    #[error("all {0} connections are taken; more by limits.connections")]
    Total(usize),
    #[error("your address has all of its {0} connections; more by limits.connections_per_address")]
    Address(usize),
}

/// One who is connected.
#[derive(Debug)]
struct Guest {
    id: u64,
    from: Option<IpAddr>,
    waits_since: Option<Instant>,
    leave: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Book {
    last_id: u64,
    present: Vec<Guest>,
}

impl Book {
    /// Sends the one away that has waited longest, if long enough, of those that `which` is true of.
    fn make_room(&mut self, now: Instant, which: impl Fn(&Guest) -> bool) -> bool {
        let waiting = self.present.iter_mut().filter(|guest| which(guest) && guest.waits_since.is_some());
        let oldest = waiting.min_by_key(|guest| guest.waits_since);
        match oldest.filter(|guest| guest.waits_since.is_some_and(|since| now >= since + GRACE)) {
            Some(guest) => {
                guest.leave.notify_one();
                // It is on its way out, and is not told twice.
                guest.waits_since = None;
                true
            }
            None => false,
        }
    }

    fn waiting(&self, which: impl Fn(&Guest) -> bool) -> usize {
        self.present.iter().filter(|guest| guest.waits_since.is_some() && which(guest)).count()
    }
}

/// All who are connected.
#[derive(Debug)]
pub(in crate::web) struct Crowd {
    limits: Limits,
    book: Mutex<Book>,
}

impl Crowd {
    pub(in crate::web) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, book: Mutex::default() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that holds this lock can panic half way through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in, who waits from now on, and whether somebody else was sent away for it.
    ///
    /// # Errors
    /// [`Turned`] when there is no room.
    pub(in crate::web) fn admit(
        self: &Arc<Self>,
        peer: Peer,
        now: Instant,
    ) -> Result<(Ticket, bool), Turned> {
        let (from, limits, mut book) = (peer.household(), self.limits, self.book());
        let is_near = |guest: &Guest| from.is_some() && guest.from == from;
        if book.present.iter().filter(|guest| is_near(guest)).count() >= limits.connections_per_address {
            return Err(Turned::Address(limits.connections_per_address));
        }
        let crowded = book.present.len() >= limits.connections;
        let sent_away = if book.waiting(is_near) >= limits.waiting_per_address {
            book.make_room(now, is_near)
        } else {
            (crowded || book.waiting(|_| true) >= limits.waiting) && book.make_room(now, |_| true)
        };
        if crowded && !sent_away {
            return Err(Turned::Total(limits.connections));
        }
        book.last_id += 1;
        let (id, leave) = (book.last_id, Arc::new(Notify::new()));
        book.present.push(Guest { id, from, waits_since: Some(now), leave: Arc::clone(&leave) });
        Ok((Ticket { id, leave, crowd: Arc::clone(self) }, sent_away))
    }

    /// Sends the one away that has waited longest, if long enough, because there is room for nobody else; whether there
    /// was one.
    pub(in crate::web) fn send_one_away(&self, now: Instant) -> bool {
        self.book().make_room(now, |_| true)
    }

    fn waits(&self, id: u64, since: Option<Instant>) {
        if let Some(guest) = self.book().present.iter_mut().find(|guest| guest.id == id) {
            guest.waits_since = since;
        }
    }
}

/// A place among those who are connected, for as long as it lives.
#[derive(Debug)]
pub(in crate::web) struct Ticket {
    id: u64,
    leave: Arc<Notify>,
    crowd: Arc<Crowd>,
}

impl Ticket {
    /// Ready when the place is needed for somebody else.
    pub(in crate::web) async fn sent_away(&self) {
        self.leave.notified().await;
    }

    /// Something has been asked: it no longer waits, until what is returned is gone.
    pub(in crate::web) fn busy(&self) -> Busy {
        self.crowd.waits(self.id, None);
        Busy { id: self.id, crowd: Arc::clone(&self.crowd) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.crowd.book().present.retain(|guest| guest.id != self.id);
    }
}

/// Something that has been asked and not been answered to the end.
#[derive(Debug)]
pub(in crate::web) struct Busy {
    id: u64,
    crowd: Arc<Crowd>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.crowd.waits(self.id, Some(Instant::now()));
    }
}

/// The body of an answer, of which whoever asked for it is busy until the kernel has all of it.
#[derive(Debug)]
pub(in crate::web) struct Awaited {
    body: Full<Bytes>,
    busy: Option<Busy>,
}

impl Awaited {
    pub(in crate::web) fn new(body: Full<Bytes>, busy: Busy) -> Self {
        Self { body, busy: Some(busy) }
    }
}

/// Bytes that are dropped when they have been written, and what is to be dropped with them.
struct Kept {
    bytes: Bytes,
    _busy: Option<Busy>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let busy = &mut this.busy;
        let keep = |bytes| Bytes::from_owner(Kept { bytes, _busy: busy.take() });
        Pin::new(&mut this.body).poll_frame(cx).map_ok(|frame| frame.map_data(keep))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells those who are turned away why.
#[derive(Debug, Default)]
pub(in crate::web) struct Doorman(Arc<()>);

impl Doorman {
    /// What is to be done about one of them, who is about to `enter`; nothing when too many are being told already.
    pub(in crate::web) fn turn_away<F: Future<Output = io::Result<Transport>>>(
        &self,
        enter: F,
        why: Turned,
    ) -> Option<impl Future<Output = ()> + use<F>> {
        let place = Arc::clone(&self.0);
        // One of them is the doorman's own.
        if Arc::strong_count(&place) > TOLD + 1 {
            return None;
        }
        let why = format!("{why}\n");
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Retry-After: 5\r\nConnection: close\r\n\r\n{why}",
            why.len()
        );
        let tell = async move {
            let mut transport = enter.await?;
            transport.write_all(answer.as_bytes()).await?;
            transport.shutdown().await?;
            // What has been asked is read, or the kernel would take the answer back with it.
            let mut asked = [0; 1024];
            while transport.read(&mut asked).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        Some(async move {
            // Whoever does not listen has had the chance.
            let _ = timeout(TELLING, tell).await;
            drop(place);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Arc<Crowd> {
        Crowd::new(Limits {
            connections: 6,
            connections_per_address: 4,
            waiting: 5,
            waiting_per_address: 3,
            viewers_per_address: 1,
            request_time: Duration::from_secs(1),
            silence: Duration::from_secs(1),
        })
    }

    fn peer(text: &str) -> Peer {
        Peer::Tcp(format!("{text}:1").parse().unwrap())
    }

    #[test]
    fn the_one_that_waited_longest_goes_first_and_never_one_that_is_busy() {
        // In the past, so that whoever ceases to be busy while this runs waits since later than all that is told here.
        let (crowd, start) = (crowd(), Instant::now() - Duration::from_secs(1));
        let at = |ms| start + Duration::from_millis(ms);
        let a = peer("192.0.2.1");
        let mut guests: Vec<(Ticket, bool)> = (0..3).map(|n| crowd.admit(a, at(n)).unwrap()).collect();
        assert!(guests.iter().all(|(_, sent_away)| !sent_away));
        let busy = guests[0].0.busy();
        guests.push(crowd.admit(a, at(300)).unwrap());
        assert!(!guests[3].1, "two of them waited");
        assert_eq!(crowd.admit(a, at(300)).unwrap_err(), Turned::Address(4));
        drop((guests.remove(3), busy));
        // Three wait, the first of them from now on; the second has waited longest.
        let (_fourth, sent_away) = crowd.admit(a, at(400)).unwrap();
        assert!(sent_away);
        assert_eq!(crowd.book().waiting(|guest| guest.id == guests[1].0.id), 0);
        assert_eq!(crowd.book().waiting(|guest| guest.id == guests[0].0.id), 1);
    }

    #[test]
    fn when_all_are_busy_or_fresh_the_newcomer_is_turned_away() {
        let (crowd, start) = (crowd(), Instant::now());
        let local: Vec<_> = (0..6).map(|_| crowd.admit(Peer::Unix, start).unwrap().0).collect();
        assert_eq!(crowd.admit(peer("192.0.2.9"), start).unwrap_err(), Turned::Total(6));
        let busy: Vec<Busy> = local.iter().map(Ticket::busy).collect();
        let later = start + Duration::from_secs(9);
        assert_eq!(crowd.admit(peer("127.0.0.1"), later).unwrap_err(), Turned::Total(6));
        drop((busy, local));
        assert!(crowd.book().present.is_empty());
        assert!(crowd.admit(peer("127.0.0.1"), later).is_ok());
    }
}
