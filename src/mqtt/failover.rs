//! Up to three sessions with one broker, at different addresses: live messages go by one, what the broker keeps by another, and the
//! third stands by. When that of the live messages is lost, the one that stands by takes over at once.
//!
//! A cluster that has lost a node elects leaders, for up to eleven seconds with nats-server 2.9. Meanwhile it accepts no session, and
//! takes nothing to keep: a session that publishes such a message is not read for four seconds. One that is subscribed already and
//! publishes nothing to be kept goes on without a pause. With two addresses, the session that is left may have published something to
//! be kept before the loss was noticed.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use log::{debug, info, warn};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::error::MqttError;
use super::link::BrokerLink;
use super::options::BrokerOptions;
use super::session::{BrokerEvent, BrokerHandle, BrokerSession};

/// Sessions, if the broker has as many addresses: one for what is live, one for what is kept, one that stands by.
const SESSIONS: usize = 3;
/// A session that is alone for this long carries everything. Longer than a node is usually away: when it comes back, what is kept
/// stops what is live once more.
const SHARE_AFTER: Duration = Duration::from_secs(60);

/// A connection that carries nothing for this long, though something waits, is given up for another one. Shorter than a viewer takes a
/// picture for a still one; longer than a busy network needs to send something again.
const STUCK_AFTER: Duration = Duration::from_millis(1000);
/// It is looked at so often.
const STUCK_CHECK: Duration = Duration::from_millis(250);

/// Which sessions carry what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SessionRoles {
    live: Option<usize>,
    kept: Option<usize>,
}

impl SessionRoles {
    /// The roles after a change. A session keeps its role while it is connected, but what is live comes first. One session has
    /// both roles only if it `may_share`.
    fn assign(self, connected: &[bool], may_share: bool) -> Self {
        let is_connected = |index: &usize| connected.get(*index).copied().unwrap_or(false);
        let first = |but: Option<usize>| (0..connected.len()).find(|i| is_connected(i) && Some(*i) != but);
        let live = self.live.filter(is_connected).or_else(|| first(self.kept)).or_else(|| first(None));
        let kept = self.kept.filter(|kept| is_connected(kept) && Some(*kept) != live).or_else(|| first(live));
        Self { live, kept: kept.or(live.filter(|_| may_share)) }
    }
}

/// One of the sessions.
#[derive(Debug)]
struct FailoverSession {
    session: Option<BrokerSession>,
    handle: BrokerHandle,
    events: mpsc::Receiver<BrokerEvent>,
    address: Option<String>,
}

/// Keeps its sessions while it [runs](Self::run). With one address it is a single session.
#[derive(Debug)]
pub(crate) struct BrokerFailover {
    sessions: Vec<FailoverSession>,
    /// What each session subscribes to when it has connected.
    subscriptions: Vec<String>,
    live: watch::Sender<Option<Arc<BrokerLink>>>,
    kept: watch::Sender<Option<Arc<BrokerLink>>>,
    events: mpsc::Sender<BrokerEvent>,
    roles: SessionRoles,
    /// From then on one session may have both roles.
    share_at: Instant,
    /// How much the live connection had carried, and since when nothing more.
    progress: Option<(u64, Instant)>,
}

/// The connections for each role. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FailoverHandles {
    /// For live messages, which the broker does not keep.
    pub(crate) live: BrokerHandle,
    /// For all others.
    pub(crate) kept: BrokerHandle,
}

impl BrokerFailover {
    /// Sessions that subscribe to `subscriptions`. What comes is told once. [`BrokerEvent::Connected`] means that there is another
    /// connection for what is kept, and [`BrokerEvent::Lost`] that there is no connection.
    pub(crate) fn new(
        options: &BrokerOptions,
        subscriptions: Vec<String>,
        events: usize,
    ) -> (Self, FailoverHandles, mpsc::Receiver<BrokerEvent>) {
        let session = |url| {
            let mut options = options.clone();
            options.access.url = url;
            let (session, handle, receiver) = BrokerSession::new(options, events);
            FailoverSession { session: Some(session), handle, events: receiver, address: None }
        };
        let sessions = options.access.url.split(SESSIONS).into_iter().map(session).collect();
        let ((live, live_handle), (kept, kept_handle)) = (BrokerHandle::new(), BrokerHandle::new());
        let (sender, receiver) = mpsc::channel(events.max(1));
        let handles = FailoverHandles { live: live_handle, kept: kept_handle };
        let roles = SessionRoles::default();
        // Before the first loss there is no election.
        let share_at = Instant::now();
        let failover =
            Self { sessions, subscriptions, live, kept, events: sender, roles, share_at, progress: None };
        (failover, handles, receiver)
    }

    /// Keeps connections to the broker, until the receiver of the events is dropped.
    pub(crate) async fn run(mut self) {
        let mut tasks = JoinSet::new();
        for session in &mut self.sessions {
            if let Some(session) = session.session.take() {
                tasks.spawn(session.run());
            }
        }
        let mut check = interval(STUCK_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.events.is_closed() {
            let events = self.events.clone();
            let has_other = self.sessions.iter().filter(|session| session.address.is_some()).count() > 1;
            // One that has a role to give waits for the time to share it.
            let is_alone = self.roles.live.is_some() && self.roles.kept.is_none();
            tokio::select! {
                (index, event) = next_event(&mut self.sessions) => self.take(index, event, &mut tasks).await,
                () = sleep_until(self.share_at), if is_alone => self.assign().await,
                _ = check.tick(), if has_other => self.check_live(),
                Some(Err(panic)) = tasks.join_next() => resume_unwind(panic.into_panic()),
                () = events.closed() => {}
            }
        }
    }

    async fn take(&mut self, index: usize, event: BrokerEvent, tasks: &mut JoinSet<()>) {
        let is_live = self.roles.live == Some(index);
        let Some(session) = self.sessions.get_mut(index) else { return };
        match event {
            BrokerEvent::Connected(address) => {
                if let Some(link) = session.handle.link() {
                    let subscriptions = self.subscriptions.clone();
                    // A broker that takes nothing ends the connection, which is told.
                    tasks.spawn(async move { drop(link.subscribe(subscriptions).await) });
                }
                debug!("mqtt: a session with {address}");
                session.address = Some(address);
                self.assign().await;
            }
            BrokerEvent::Lost(error) => self.lost(index, error).await,
            BrokerEvent::Message { .. } if !is_live => {}
            event => self.tell(event).await,
        }
    }

    async fn lost(&mut self, index: usize, error: MqttError) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let address = session.address.take();
        if address.is_some() {
            self.share_at = Instant::now() + SHARE_AFTER;
        }
        if self.sessions.iter().all(|session| session.address.is_none()) {
            self.assign().await;
            self.tell(BrokerEvent::Lost(error)).await;
            return;
        }
        match address {
            Some(address) => warn!("mqtt: {address}: {error}; the session at another address goes on"),
            None => debug!("mqtt: {error}"),
        }
        self.assign().await;
    }

    /// Gives the live connection up if it carries nothing any more. Without another one it is left to its own timeouts.
    fn check_live(&mut self) {
        let link = self.roles.live.and_then(|live| self.sessions.get(live)?.handle.link());
        let Some(link) = link.filter(|link| link.backlog() > 0) else {
            self.progress = None;
            return;
        };
        let (acknowledged, now) = (link.acknowledged(), Instant::now());
        match self.progress {
            Some((before, since)) if before == acknowledged => {
                if now >= since + STUCK_AFTER {
                    self.progress = None;
                    link.give_up(MqttError::Stuck { ms: STUCK_AFTER.as_millis() as u64 });
                }
            }
            _ => self.progress = Some((acknowledged, now)),
        }
    }

    /// Gives the roles to the sessions that are connected.
    async fn assign(&mut self) {
        let connected: Vec<bool> = self.sessions.iter().map(|session| session.address.is_some()).collect();
        let may_share = connected.len() == 1 || Instant::now() >= self.share_at;
        let (before, after) = (self.roles, self.roles.assign(&connected, may_share));
        self.roles = after;
        let SessionRoles { live, kept } = after;
        if live != before.live
            && before.live.is_some()
            && let Some(address) = self.address(live)
        {
            info!("mqtt: live frames go by {address} now");
        }
        // In this order: whoever is told that there is a connection finds it.
        for (role, links) in [(live, &self.live), (kept, &self.kept)] {
            let link = role.and_then(|index| self.sessions.get(index)?.handle.link());
            links.send_if_modified(|links| {
                let is_same = match (&*links, &link) {
                    (Some(before), Some(link)) => Arc::ptr_eq(before, link),
                    (before, link) => before.is_none() && link.is_none(),
                };
                *links = link;
                !is_same
            });
        }
        if kept != before.kept
            && let Some(address) = self.address(kept)
        {
            self.tell(BrokerEvent::Connected(address)).await;
        }
    }

    fn address(&self, session: Option<usize>) -> Option<String> {
        self.sessions.get(session?)?.address.clone()
    }

    async fn tell(&self, event: BrokerEvent) {
        // Otherwise nobody listens, and this ends.
        let _ = self.events.send(event).await;
    }
}

/// The next event of any session. Cancel safe.
async fn next_event(sessions: &mut [FailoverSession]) -> (usize, BrokerEvent) {
    poll_fn(|context| {
        for (index, session) in sessions.iter_mut().enumerate() {
            if let Poll::Ready(Some(event)) = session.events.poll_recv(context) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(live: Option<usize>, kept: Option<usize>) -> SessionRoles {
        SessionRoles { live, kept }
    }

    #[test]
    fn what_is_live_goes_on_by_the_session_that_is_left() {
        let both = SessionRoles::default().assign(&[true, true], false);
        assert_eq!(both, roles(Some(0), Some(1)));
        let one = both.assign(&[false, true], false);
        assert_eq!(one, roles(Some(1), None), "what is kept would stop what is live");
        assert_eq!(one.assign(&[false, true], true), roles(Some(1), Some(1)), "after the election");
        let again = one.assign(&[true, true], false);
        assert_eq!(again, roles(Some(1), Some(0)), "what is live stays where it is");
        assert_eq!(both.assign(&[true, false], false), roles(Some(0), None));
        assert_eq!(both.assign(&[false, false], true), roles(None, None));
    }

    #[test]
    fn what_is_live_goes_on_by_the_session_that_stands_by() {
        let all = SessionRoles::default().assign(&[true, true, true], false);
        assert_eq!(all, roles(Some(0), Some(1)));
        let without_live = all.assign(&[false, true, true], false);
        assert_eq!(without_live, roles(Some(2), Some(1)), "what is kept may be blocked already");
        assert_eq!(
            without_live.assign(&[true, true, true], false),
            without_live,
            "the one that is back stands by"
        );
        assert_eq!(all.assign(&[true, false, true], false), roles(Some(0), Some(2)));
        assert_eq!(without_live.assign(&[false, true, false], false), roles(Some(1), None));
    }

    #[test]
    fn a_session_that_had_everything_gives_what_is_kept_to_the_other() {
        let alone = SessionRoles::default().assign(&[false, true], true);
        assert_eq!(alone, roles(Some(1), Some(1)));
        assert_eq!(alone.assign(&[true, true], false), roles(Some(1), Some(0)));
        assert_eq!(SessionRoles::default().assign(&[true], true), roles(Some(0), Some(0)), "a single one");
    }
}
