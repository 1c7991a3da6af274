//! A camera that is watched: its sessions with the broker, what is subscribed to and said in each, and what comes of them.
//!
//! With several addresses there are two sessions, at different nodes, and frames come by both. A node that is killed costs no
//! frame then. To subscribe at another node only afterwards takes seconds, in which a cluster elects its leader: nats-server 2.9
//! ends a session that subscribes meanwhile.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use log::{debug, info};

use super::feed_session::FeedSession;
use super::live::{FarReport, LiveFrame, LiveFrames};
use super::order::SESSIONS;
use crate::camera::frame_timing::FrameTime;
use crate::camera::source::remote::error::{RemoteFault, printable};
use crate::frame::Timestamp;
use crate::mqtt::topics::CameraTopics;
use crate::mqtt::watch::WatchRequest;
use crate::mqtt::{BrokerEvent, BrokerLink, BrokerOptions, MqttError};
use crate::status::BrokerCounters;
use crate::websocket::HEADER_BYTES;

/// How long the far camera stays open for this machine after it was last asked. A front end that is gone stops counting then.
const WATCH_TIME: Duration = Duration::from_secs(15);
/// It is asked again after a third of that, so two messages may be lost. Clocks are compared by the same messages.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// Most events that are taken at a time.
const MOST_EVENTS: usize = 32;
/// While no frames come it is asked more often: what was asked before may not have come.
const SILENT_ASK_INTERVAL: Duration = Duration::from_secs(2);
/// Without a frame for this long, sessions are opened anew: a subscription may have been lost.
const REOPEN_AFTER: Duration = Duration::from_secs(15);

/// The newest frame of those that came.
#[derive(Debug)]
pub(super) struct NewestFrame {
    /// The message.
    pub(super) message: Bytes,
    /// `None` if it is damaged.
    pub(super) time: Option<FrameTime>,
    /// Frames that were lost since the one that was taken before.
    pub(super) missed: u32,
    pub(super) came_at: Timestamp,
}

impl NewestFrame {
    pub(super) fn jpeg(&self) -> &[u8] {
        self.message.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// A camera of another machine while it is watched.
#[derive(Debug)]
pub(super) struct CameraFeed {
    topics: CameraTopics,
    /// The topic at which the other machine says whether it is there.
    status: String,
    /// The name of this front end.
    viewer: String,
    sessions: Vec<FeedSession>,
    counters: Arc<BrokerCounters>,
    live: LiveFrames,
    arrived: VecDeque<(usize, Timestamp, BrokerEvent)>,
    /// When a frame came, or the feed was begun.
    last_frame_at: Timestamp,
    /// When it was asked for frames.
    asked_at: Timestamp,
    /// The other machine has just come, and knows nothing of this one.
    must_ask: bool,
}

impl CameraFeed {
    /// Prepares a feed of the camera at the topic of the URL in `options`, for the front end `viewer`.
    pub(super) fn new(options: &BrokerOptions, viewer: &str, counters: Arc<BrokerCounters>) -> Self {
        let url = &options.access.url;
        let topics = CameraTopics::below(url.topic());
        let session = |url| {
            let mut options = options.clone();
            options.access.url = url;
            FeedSession::new(options)
        };
        Self {
            status: topics.status_of_host(),
            topics,
            viewer: viewer.to_owned(),
            sessions: url.split(SESSIONS).into_iter().map(session).collect(),
            counters,
            live: LiveFrames::new(WATCH_INTERVAL),
            arrived: VecDeque::new(),
            last_frame_at: Timestamp::now(),
            asked_at: Timestamp::now(),
            must_ask: false,
        }
    }

    /// Waits until one session has a connection.
    pub(super) async fn connected(&mut self) -> Result<(), RemoteFault> {
        loop {
            // Before the first connection there are no frames.
            while let Some((session, at, event)) = self.arrived.pop_front() {
                self.take_event(session, at, event)?;
                if self.sessions.iter().any(|session| session.address.is_some()) {
                    return Ok(());
                }
            }
            self.exchange().await;
        }
    }

    /// Waits until something comes. Nothing is lost when the future is dropped.
    pub(super) async fn exchange(&mut self) {
        let Self { sessions, arrived, .. } = self;
        poll_fn(|context| {
            for (index, session) in sessions.iter_mut().enumerate() {
                while arrived.len() < MOST_EVENTS
                    && let Poll::Ready(event) = session.poll_event(context)
                {
                    arrived.push_back((index, Timestamp::now(), event));
                }
            }
            if arrived.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Takes all that came, and returns the newest frame in it.
    pub(super) fn take(&mut self) -> Result<Option<NewestFrame>, RemoteFault> {
        let mut newest: Option<NewestFrame> = None;
        while let Some((session, at, event)) = self.arrived.pop_front() {
            let Some(frame) = self.take_event(session, at, event)? else { continue };
            // What was passed over for a newer one is lost too.
            let passed_over = newest.map_or(0, |before| before.missed + 1);
            newest = Some(NewestFrame { missed: frame.missed.saturating_add(passed_over), ..frame });
        }
        Ok(newest)
    }

    fn take_event(
        &mut self,
        session: usize,
        at: Timestamp,
        event: BrokerEvent,
    ) -> Result<Option<NewestFrame>, RemoteFault> {
        match event {
            BrokerEvent::Connected(address) => self.connected_to(session, address),
            BrokerEvent::Lost(error) => self.lost(session, error)?,
            BrokerEvent::SubscriptionRefused(topic) if topic == self.topics.live() => {
                return Err(RemoteFault::TopicRefused { topic });
            }
            BrokerEvent::SubscriptionRefused(topic) => debug!("{topic}: the broker refuses the subscription"),
            BrokerEvent::MessageTooLarge(bytes) => return Err(RemoteFault::MessageTooLarge { bytes }),
            BrokerEvent::Message { topic, payload, is_retained } => {
                if topic == self.topics.live() {
                    // A frame that the broker has kept is one of another time.
                    return Ok(if is_retained { None } else { self.take_frame(session, payload, at) });
                } else if topic == self.status {
                    self.live.status(&payload);
                    self.must_ask |= !self.live.report.is_offline;
                } else if topic == self.topics.state() {
                    self.live.state(&payload);
                } else if topic == self.topics.watch_answer(&self.viewer) && !is_retained {
                    self.live.compared(&payload, at);
                }
            }
        }
        Ok(None)
    }

    fn take_frame(&mut self, session: usize, message: Bytes, came_at: Timestamp) -> Option<NewestFrame> {
        let (time, missed) = match self.live.frame(session, &message, came_at) {
            LiveFrame::Newest { time, lost, .. } => {
                self.counters.lost.add(lost.into());
                (Some(time), time.missed)
            }
            LiveFrame::Damaged => (None, 0),
            LiveFrame::Copied => return None,
            LiveFrame::Late => {
                self.counters.repeated.add(1);
                return None;
            }
        };
        self.last_frame_at = came_at;
        Some(NewestFrame { message, time, missed, came_at })
    }

    fn connected_to(&mut self, index: usize, address: String) {
        let now = Timestamp::now();
        (self.asked_at, self.must_ask) = (now, false);
        self.live.compare(now);
        let topics = &self.topics;
        let filters =
            vec![topics.live(), topics.watch_answer(&self.viewer), topics.state(), self.status.clone()];
        let (topic, asks) = (topics.watch(), self.asks(WATCH_TIME, now));
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.was_connected {
            self.counters.reconnects.add(1);
        }
        info!("{}: connected to the broker at {address}", topics.base());
        (session.address, session.failures, session.was_connected) = (Some(address), 0, true);
        session.write(async move |link: Arc<BrokerLink>| {
            // Whether it was written is told by the end of the connection.
            if link.subscribe(filters).await.is_ok() {
                let _ = link.publish(&topic, &asks, false).await;
            }
        });
        self.count_connections();
    }

    /// A session lost its connection, or could not connect. An error if no session has one, and each has tried all its addresses.
    fn lost(&mut self, index: usize, error: MqttError) -> Result<(), RemoteFault> {
        let Some(session) = self.sessions.get_mut(index) else { return Ok(()) };
        let address = session.address.take();
        session.failures += 1;
        self.count_connections();
        let is_hopeless =
            |session: &FeedSession| session.address.is_none() && session.failures >= session.addresses;
        // With one address the fault is told at once.
        if self.sessions.iter().all(is_hopeless) {
            return Err(RemoteFault::Broker(error));
        }
        match address {
            Some(address) => info!("{}: the broker at {address} is lost: {error}", self.topics.base()),
            None => debug!("{}: {error}", self.topics.base()),
        }
        Ok(())
    }

    fn count_connections(&self) {
        let connected = self.sessions.iter().filter(|session| session.address.is_some()).count();
        self.counters.set_sessions(connected as u32);
    }

    /// When [`CameraFeed::ask`] is due.
    pub(super) fn next_request(&self) -> Timestamp {
        let next = self.live.next_comparison();
        let is_silent = Timestamp::now().since(self.last_frame_at) >= SILENT_ASK_INTERVAL;
        match (self.must_ask, is_silent) {
            (true, _) => Timestamp::default(),
            (false, true) => next.min(self.asked_at.after(SILENT_ASK_INTERVAL)),
            (false, false) => next,
        }
    }

    /// Asks for frames for a while longer, by every session: one of them may have lost its way without knowing.
    pub(super) fn ask(&mut self) {
        let now = Timestamp::now();
        (self.asked_at, self.must_ask) = (now, false);
        self.live.compare(now);
        let asks = self.asks(WATCH_TIME, now);
        for session in &mut self.sessions {
            let (topic, asks) = (self.topics.watch(), asks.clone());
            session.write(async move |link: Arc<BrokerLink>| {
                let _ = link.publish(&topic, &asks, false).await;
            });
        }
    }

    /// Ends the request for frames, and disconnects. [`CameraFeed::written`] waits for it.
    pub(super) fn leave(&mut self) {
        let asks = self.asks(Duration::ZERO, Timestamp::now());
        for session in &mut self.sessions {
            let (topic, asks) = (self.topics.watch(), asks.clone());
            session.write(async move |link: Arc<BrokerLink>| {
                let _ = link.publish(&topic, &asks, false).await;
                link.disconnect().await;
            });
        }
    }

    /// Waits until all was written.
    pub(super) async fn written(&mut self) {
        while !self.sessions.iter().all(FeedSession::is_written) {
            let sessions = &mut self.sessions;
            poll_fn(|context| {
                let mut has_come = false;
                for session in sessions.iter_mut() {
                    has_come |= session.poll_event(context).is_ready();
                }
                let is_written = sessions.iter().all(FeedSession::is_written);
                if has_come || is_written { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// Why no frames come. `None` if that has gone on for so long that new sessions may help.
    pub(super) fn pause_reason(&self) -> Option<String> {
        if Timestamp::now().since(self.last_frame_at) >= REOPEN_AFTER {
            return None;
        }
        let FarReport { is_known, is_offline, has_answered, fault } = &self.live.report;
        let host = self.topics.host();
        Some(match fault {
            _ if *is_offline => {
                format!("{host} is offline; see whether porthole runs there and reaches the broker")
            }
            None if !is_known => format!(
                "nothing comes from {host}; check the topic of the URL, see whether porthole there has [mqtt], and let this user read \
                 {} and what is below it at the broker",
                self.topics.base()
            ),
            Some((state, error)) => format!("the camera there is {}: {}", printable(state), printable(error)),
            // A broker takes what it does not allow without a word.
            None if !has_answered => format!(
                "no frame comes from there, and no answer; let this user write {} at the broker, and read what is below it",
                self.topics.watch()
            ),
            None => "no frame comes from there; it is asked again by itself".to_owned(),
        })
    }

    fn asks(&self, time: Duration, now: Timestamp) -> Vec<u8> {
        WatchRequest { viewer: self.viewer.clone(), time, sent_at: Some(now.0) }.to_payload()
    }
}

impl Drop for CameraFeed {
    fn drop(&mut self) {
        self.counters.set_sessions(0);
    }
}
