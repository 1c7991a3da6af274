//! One connection to a broker, as those who write to it share it.
//!
//! There is no queue of messages: who writes waits for its [turn](LinkTurn), and chooses what to write then. What is on its way
//! is in the socket's queue alone, which a [`FramesInFlight`] looks at before a frame is sent.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Subscribe, SubscribeFilter};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{MutexGuard, Notify};
use tokio::time::{Instant, timeout};

use super::error::MqttError;
use super::options::BrokerKeys;
use super::packets::{LARGEST, publish_head};
use super::size_guard::SizeGuard;
use crate::client::RemoteStream;
use crate::sync::lock;
use crate::tcp_info;

/// A broker that takes no data for this long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A PINGREQ (MQTT 3.1.1, section 3.12).
const PING: [u8; 2] = [0xC0, 0];
/// Most subscriptions whose answer is awaited. No more than a handful are asked for at a time.
const MOST_AWAITED: usize = 1024;
/// Shortest and longest time until the queue of the socket is looked at again.
const QUEUE_CHECK_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPublished {
    /// There is no connection any more. The session says why, and opens another.
    #[error("there is no connection to the broker")]
    NotConnected,
    /// The broker ended connections because of messages of this size.
    #[error("the broker takes no messages of {0} bytes")]
    TooLarge(usize),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct BrokerLink {
    writer: tokio::sync::Mutex<LinkWriter>,
    /// Another descriptor of the socket, to look at its queue.
    socket: OwnedFd,
    keys: &'static BrokerKeys,
    sizes: Arc<SizeGuard>,
    next_id: AtomicU16,
    /// Subscriptions that the broker has not answered yet.
    awaited: Mutex<VecDeque<(u16, Vec<String>)>>,
    /// Why nothing more can be written.
    fault: Mutex<Option<MqttError>>,
    failed: Notify,
}

struct LinkWriter {
    stream: WriteHalf<RemoteStream>,
    head: Vec<u8>,
    /// A packet was begun and not ended, by somebody who stopped waiting.
    is_cut: bool,
}

impl fmt::Debug for LinkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkWriter").field("is_cut", &self.is_cut).finish_non_exhaustive()
    }
}

impl BrokerLink {
    pub(super) fn new(
        stream: WriteHalf<RemoteStream>,
        socket: OwnedFd,
        keys: &'static BrokerKeys,
        sizes: Arc<SizeGuard>,
    ) -> Self {
        Self {
            writer: LinkWriter { stream, head: Vec::new(), is_cut: false }.into(),
            socket,
            keys,
            sizes,
            next_id: AtomicU16::new(1),
            awaited: Mutex::default(),
            fault: Mutex::default(),
            failed: Notify::new(),
        }
    }

    /// Waits until nobody else writes.
    pub(crate) async fn turn(&self) -> LinkTurn<'_> {
        LinkTurn { link: self, writer: self.writer.lock().await }
    }

    /// Publishes one message at quality 0.
    ///
    /// # Errors
    /// [`NotPublished`] says why not.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        is_retained: bool,
    ) -> Result<(), NotPublished> {
        self.turn().await.publish(topic, is_retained, &mut [IoSlice::new(payload)]).await
    }

    /// Subscribes at quality 0. A refusal is an event of the session.
    pub(crate) async fn subscribe(&self, filters: Vec<String>) -> Result<(), NotPublished> {
        let pkid = self.next_id();
        let filter = |path: &String| SubscribeFilter { path: path.clone(), qos: QoS::AtMostOnce };
        let packet = Subscribe { pkid, filters: filters.iter().map(filter).collect() };
        {
            let mut awaited = lock(&self.awaited);
            awaited.push_back((pkid, filters));
            if awaited.len() > MOST_AWAITED {
                awaited.pop_front();
            }
        }
        self.send(&Packet::Subscribe(packet)).await
    }

    /// Sends DISCONNECT, after which the broker does not publish the last will (MQTT 3.1.1, section 3.14).
    pub(crate) async fn disconnect(&self) {
        // Whether it arrives makes no difference any more.
        let _ = self.send(&Packet::Disconnect).await;
    }

    pub(super) async fn ping(&self) -> Result<(), NotPublished> {
        let mut turn = self.turn().await;
        // In the order in which they are written.
        self.sizes.pings();
        turn.write(&mut [IoSlice::new(&PING)]).await
    }

    pub(super) async fn acknowledge(&self, pkid: u16) -> Result<(), NotPublished> {
        self.send(&Packet::PubAck(PubAck::new(pkid))).await
    }

    /// The filters that the subscription of this number asked for.
    pub(super) fn answered(&self, pkid: u16) -> Option<Vec<String>> {
        let mut awaited = lock(&self.awaited);
        let at = awaited.iter().position(|(id, _)| *id == pkid)?;
        awaited.remove(at).map(|(_, filters)| filters)
    }

    /// Bytes that were written, and that the broker's machine has not taken.
    pub(crate) fn backlog(&self) -> u32 {
        tcp_info::send_queue_bytes(self.socket.as_fd()).unwrap_or(0)
    }

    /// Bytes that the broker's machine has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        tcp_info::tcp_info(self.socket.as_fd()).map_or(0, |info| info.acknowledged)
    }

    /// Gives the connection up, so that nobody waits for it any more.
    pub(super) fn give_up(&self, fault: MqttError) {
        self.fail(fault);
        // Otherwise it is closed already.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    /// Waits until nothing more can be written; why.
    pub(super) async fn failed(&self) -> MqttError {
        loop {
            let failed = self.failed.notified();
            if let Some(fault) = lock(&self.fault).take() {
                return fault;
            }
            failed.await;
        }
    }

    fn fail(&self, fault: MqttError) {
        lock(&self.fault).get_or_insert(fault);
        self.failed.notify_one();
    }

    fn next_id(&self) -> u16 {
        // 0 is no number of a packet (section 2.3.1).
        loop {
            match self.next_id.fetch_add(1, Relaxed) {
                0 => {}
                id => return id,
            }
        }
    }

    async fn send(&self, packet: &Packet) -> Result<(), NotPublished> {
        let mut bytes = BytesMut::new();
        if packet.write(&mut bytes, LARGEST).is_err() {
            return Err(NotPublished::TooLarge(packet.size()));
        }
        self.turn().await.write(&mut [IoSlice::new(&bytes)]).await
    }
}

/// The right to write one message.
#[derive(Debug)]
pub(crate) struct LinkTurn<'a> {
    link: &'a BrokerLink,
    writer: MutexGuard<'a, LinkWriter>,
}

impl LinkTurn<'_> {
    /// Publishes at quality 0 a message that consists of `parts`.
    ///
    /// # Errors
    /// [`NotPublished`] says why not.
    pub(crate) async fn publish(
        mut self,
        topic: &str,
        is_retained: bool,
        parts: &mut [IoSlice<'_>],
    ) -> Result<(), NotPublished> {
        let payload = parts.iter().map(|part| part.len()).sum();
        let mut head = std::mem::take(&mut self.writer.head);
        let is_possible = publish_head(&mut head, topic, is_retained, payload).is_ok();
        if !is_possible || !self.link.sizes.may_send(head.len() + payload, Instant::now()) {
            self.writer.head = head;
            return Err(NotPublished::TooLarge(payload));
        }
        let mut all = Vec::with_capacity(2 + parts.len());
        all.push(IoSlice::new(&head));
        all.extend(parts.iter().map(|part| IoSlice::new(part)));
        if self.link.sizes.sends(head.len() + payload) {
            all.push(IoSlice::new(&PING));
        }
        let written = self.write(&mut all).await;
        drop(all);
        self.writer.head = head;
        written
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>]) -> Result<(), NotPublished> {
        let link = self.link;
        if std::mem::replace(&mut self.writer.is_cut, true) {
            link.fail(MqttError::Broken(io::Error::other("a message was cut off")));
            return Err(NotPublished::NotConnected);
        }
        match write_all(&mut self.writer.stream, parts).await {
            Ok(()) => {
                self.writer.is_cut = false;
                Ok(())
            }
            Err(error) => {
                link.fail(match error.kind() {
                    io::ErrorKind::TimedOut => MqttError::Stalled { seconds: WRITE_TIMEOUT.as_secs() },
                    _ => MqttError::of_io(error, link.keys),
                });
                Err(NotPublished::NotConnected)
            }
        }
    }
}

/// Writes all parts, and fails if the other side takes nothing of them for too long.
async fn write_all(stream: &mut WriteHalf<RemoteStream>, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match timeout(WRITE_TIMEOUT, stream.write_vectored(parts)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut parts, n),
        }
    }
    // TLS keeps the last records while the kernel has no room.
    timeout(WRITE_TIMEOUT, stream.flush()).await?
}

/// Keeps at most two frames of one camera on their way to the broker: one travels, and one waits behind it.
#[derive(Debug, Default)]
pub(crate) struct FramesInFlight {
    /// For each of the last two frames, how many bytes the broker's machine has acknowledged when it has the frame.
    ends: [u64; 2],
}

impl FramesInFlight {
    /// The time after which to ask again whether another frame may be sent; `None` if one may be sent now.
    pub(crate) fn wait(&self, link: &BrokerLink) -> Option<Duration> {
        let info = tcp_info::tcp_info(link.socket.as_fd()).ok()?;
        let rest = self.ends[0].checked_sub(info.acknowledged).filter(|rest| *rest > 0)?;
        let (shortest, longest) = QUEUE_CHECK_INTERVAL;
        Some(info.delivery_time(rest).clamp(shortest, longest))
    }

    /// A frame was written.
    pub(crate) fn sent(&mut self, link: &BrokerLink) {
        // In this order: what is acknowledged meanwhile makes the sum too small, and the frame counts as arrived too early.
        let acknowledged = tcp_info::tcp_info(link.socket.as_fd()).map_or(0, |info| info.acknowledged);
        self.ends = [self.ends[1], acknowledged + u64::from(link.backlog())];
    }
}
