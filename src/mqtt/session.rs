//! One connection to a broker after another, with growing delays between attempts that fail.
//!
//! A session remembers no subscription and no message: at each [`BrokerEvent::Connected`] its owner subscribes and publishes
//! anew.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, SubscribeReasonCode};
use tokio::io::ReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::error::MqttError;
use super::handshake::{self, KEEP_ALIVE, OpenedLink, Preparation};
use super::link::BrokerLink;
use super::options::{BrokerKeys, BrokerOptions};
use super::packets::{Arrived, PacketReader};
use super::size_guard::SizeGuard;
use crate::client::RemoteStream;
use crate::frame::Timestamp;

/// Time between pings, less than the broker is promised.
const PING_INTERVAL: Duration = Duration::from_secs(KEEP_ALIVE.as_secs() * 2 / 3);
/// Time for the broker to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that lasted this long was a good one: the next attempt follows soon.
const GOOD: Duration = Duration::from_secs(5);

/// What an owner is told.
#[derive(Debug)]
pub(crate) enum BrokerEvent {
    /// There is a connection, with this address.
    Connected(String),
    /// There is none, or no longer. It is tried again by itself; each attempt that fails is told.
    Lost(MqttError),
    /// A message came.
    Message {
        topic: String,
        payload: Bytes,
        /// It was kept by the broker, from before the subscription.
        is_retained: bool,
    },
    /// A message of this size came, which is larger than those that are taken. It is lost.
    MessageTooLarge(usize),
    /// The broker refuses the subscription to these.
    SubscriptionRefused(String),
}

/// Opens one connection after another while it [runs](Self::run).
#[derive(Debug)]
pub(crate) struct BrokerSession {
    options: BrokerOptions,
    client_id: String,
    links: watch::Sender<Option<Arc<BrokerLink>>>,
    events: mpsc::Sender<BrokerEvent>,
    sizes: Arc<SizeGuard>,
}

/// Gives the connection of a session. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BrokerHandle {
    links: watch::Receiver<Option<Arc<BrokerLink>>>,
}

impl BrokerHandle {
    /// For connections that are chosen among those of several sessions.
    pub(super) fn new() -> (watch::Sender<Option<Arc<BrokerLink>>>, Self) {
        let (sender, links) = watch::channel(None);
        (sender, Self { links })
    }

    /// The connection; `None` while there is none.
    pub(crate) fn link(&self) -> Option<Arc<BrokerLink>> {
        self.links.borrow().clone()
    }

    /// Waits for a connection; `None` once the session is gone.
    pub(crate) async fn connected(&mut self) -> Option<Arc<BrokerLink>> {
        self.links.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl BrokerSession {
    /// A session that does nothing before it [runs](Self::run). At most `events` wait for the owner; the session reads nothing
    /// meanwhile.
    pub(crate) fn new(
        options: BrokerOptions,
        events: usize,
    ) -> (Self, BrokerHandle, mpsc::Receiver<BrokerEvent>) {
        let (sender, receiver) = mpsc::channel(events.max(1));
        let (links, handle) = watch::channel(None);
        let client_id = handshake::client_id();
        let session = Self { options, client_id, links, events: sender, sizes: Arc::default() };
        (session, BrokerHandle { links: handle }, receiver)
    }

    /// Keeps a connection to the broker, until the receiver of the events is dropped.
    pub(crate) async fn run(self) {
        let (mut backoff, mut preparation, mut turn) = (Backoff::default(), None, 0);
        while !self.events.is_closed() {
            let lost = match self.open(turn, &mut preparation).await {
                Err(error) => error,
                Ok((address, opened)) => {
                    let since = Instant::now();
                    self.links.send_replace(Some(Arc::clone(&opened.link)));
                    let lost = tokio::select! {
                        error = self.serve(address, opened) => error,
                        () = self.events.closed() => break,
                    };
                    self.links.send_replace(None);
                    if since.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    self.blame(lost)
                }
            };
            // Files are read again, as they may have been the reason.
            if lost.is_refusal() {
                preparation = None;
            }
            turn = turn.wrapping_add(1);
            let delay = backoff.next(lost.is_refusal());
            if self.events.send(BrokerEvent::Lost(lost)).await.is_err() {
                break;
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = self.events.closed() => break,
            }
        }
        self.links.send_replace(None);
    }

    /// One attempt, at the `turn`th address.
    async fn open(
        &self,
        turn: usize,
        preparation: &mut Option<Preparation>,
    ) -> Result<(String, OpenedLink), MqttError> {
        let addresses = self.options.access.url.addresses();
        let address = &addresses[turn % addresses.len()];
        let prepared = match preparation.take() {
            Some(prepared) => prepared,
            None => handshake::prepare(&self.options).await?,
        };
        let prepared = preparation.insert(prepared);
        let opened = handshake::open(&self.options, address, prepared, &self.client_id, &self.sizes).await?;
        Ok((address.to_string(), opened))
    }

    /// The error as it is told: a message may have been too large.
    fn blame(&self, lost: MqttError) -> MqttError {
        let bytes = self
            .sizes
            .lost(Instant::now())
            .filter(|_| matches!(lost, MqttError::Closed | MqttError::Broken(_)));
        bytes.map_or(lost, |bytes| MqttError::TooLarge { bytes, keys: self.options.keys })
    }

    /// Serves one connection until it ends; why.
    async fn serve(&self, address: String, opened: OpenedLink) -> MqttError {
        let OpenedLink { link, mut stream, mut reader } = opened;
        let heard = Heard::default();
        if self.events.send(BrokerEvent::Connected(address)).await.is_err() {
            return MqttError::Closed;
        }
        tokio::select! {
            error = self.receive(&link, &mut stream, &mut reader, &heard) => error,
            error = keep_alive(&link, &heard) => error,
            error = link.failed() => error,
        }
    }

    /// Hands on what comes.
    async fn receive(
        &self,
        link: &BrokerLink,
        stream: &mut ReadHalf<RemoteStream>,
        reader: &mut PacketReader,
        heard: &Heard,
    ) -> MqttError {
        loop {
            let arrived = match reader.next(stream).await {
                Ok(Ok(arrived)) => arrived,
                Ok(Err(error)) => return MqttError::NotMqtt { why: error.to_string() },
                Err(error) => return MqttError::of_io(error, self.keys()),
            };
            heard.now();
            let events = match arrived {
                Arrived::TooLarge(bytes) => vec![BrokerEvent::MessageTooLarge(bytes)],
                Arrived::Packet(Packet::Publish(message)) => {
                    // Nothing was subscribed to at more than quality 0. A broker that asks for an answer gets it.
                    if message.qos == QoS::AtLeastOnce && link.acknowledge(message.pkid).await.is_err() {
                        return link.failed().await;
                    }
                    let (topic, payload, is_retained) = (message.topic, message.payload, message.retain);
                    vec![BrokerEvent::Message { topic, payload, is_retained }]
                }
                Arrived::Packet(Packet::SubAck(answer)) => {
                    let filters = link.answered(answer.pkid).unwrap_or_default();
                    let answers = filters.into_iter().zip(answer.return_codes);
                    let refused = answers.filter(|(_, code)| *code == SubscribeReasonCode::Failure);
                    refused.map(|(filter, _)| BrokerEvent::SubscriptionRefused(filter)).collect()
                }
                Arrived::Packet(Packet::PingResp) => {
                    self.sizes.answered();
                    continue;
                }
                Arrived::Packet(_) => continue,
            };
            heard.is_busy.store(true, Relaxed);
            for event in events {
                if self.events.send(event).await.is_err() {
                    return MqttError::Closed;
                }
            }
            heard.is_busy.store(false, Relaxed);
        }
    }

    fn keys(&self) -> &'static BrokerKeys {
        self.options.keys
    }
}

/// When the broker was heard of.
#[derive(Debug, Default)]
struct Heard {
    last: AtomicU64,
    /// The owner takes its time with a message. Nothing is read meanwhile.
    is_busy: AtomicBool,
}

impl Heard {
    fn now(&self) {
        self.last.store(Timestamp::now().0, Relaxed);
    }
}

/// Pings the broker now and then, until it does not answer.
async fn keep_alive(link: &BrokerLink, heard: &Heard) -> MqttError {
    loop {
        sleep(PING_INTERVAL).await;
        let asked = Timestamp::now().0;
        if link.ping().await.is_err() {
            return link.failed().await;
        }
        sleep(PING_TIMEOUT).await;
        if heard.last.load(Relaxed) < asked && !heard.is_busy.load(Relaxed) {
            return MqttError::Silent { seconds: PING_TIMEOUT.as_secs() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::time::Duration;

    use bytes::BytesMut;
    use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Publish, SubAck};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::mqtt::link::{FramesInFlight, NotPublished};
    use crate::mqtt::options::{BrokerAccess, LastWill};

    const KEYS: BrokerKeys =
        BrokerKeys { credentials: "user", trust: "set ca", identity: "key", size: "change the key SIZE" };

    fn options(addresses: &str) -> BrokerOptions {
        let url = format!("mqtt://me:secret@{addresses}").parse().unwrap();
        let access =
            BrokerAccess { url, user: None, password_file: None, trust: Default::default(), identity: None };
        let last_will = Some(LastWill { topic: "a/status".into(), payload: "offline" });
        BrokerOptions { access, last_will, keys: &KEYS, most_incoming: 1000 }
    }

    /// The broker's end of a connection.
    struct Far {
        stream: TcpStream,
        bytes: BytesMut,
    }

    impl Far {
        async fn accept(listener: &TcpListener) -> Self {
            Self { stream: listener.accept().await.unwrap().0, bytes: BytesMut::new() }
        }

        async fn read(&mut self) -> Packet {
            loop {
                match Packet::read(&mut self.bytes, 1 << 20) {
                    Ok(packet) => return packet,
                    Err(_) => assert!(self.stream.read_buf(&mut self.bytes).await.unwrap() > 0),
                }
            }
        }

        async fn write(&mut self, packet: Packet) {
            let mut bytes = BytesMut::new();
            packet.write(&mut bytes, 1 << 20).unwrap();
            self.stream.write_all(&bytes).await.unwrap();
        }

        async fn welcome(&mut self) {
            let Packet::Connect(connect) = self.read().await else { panic!("no CONNECT") };
            let login = connect.login.unwrap();
            assert_eq!((login.username.as_str(), login.password.as_str()), ("me", "secret"));
            assert!((8..=23).contains(&connect.client_id.len()) && connect.last_will.unwrap().retain);
            self.write(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(20), test).await.expect("in time") });
    }

    #[test]
    fn a_session_connects_again_at_the_next_address_and_tells_what_it_hears() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let open = listener.local_addr().unwrap();
            let (session, mut handle, mut events) =
                BrokerSession::new(options(&format!("{closed},{open}")), 4);
            tokio::spawn(session.run());
            let Some(BrokerEvent::Lost(error)) = events.recv().await else { panic!() };
            assert!(error.to_string().contains("check that a broker runs there"), "{error}");
            let mut far = Far::accept(&listener).await;
            far.welcome().await;
            assert!(
                matches!(events.recv().await, Some(BrokerEvent::Connected(at)) if at == open.to_string())
            );
            let link = handle.connected().await.unwrap();
            link.subscribe(vec!["yes".into(), "no".into()]).await.unwrap();
            let Packet::Subscribe(subscribe) = far.read().await else { panic!() };
            let codes = vec![SubscribeReasonCode::Success(QoS::AtMostOnce), SubscribeReasonCode::Failure];
            far.write(Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await;
            assert!(matches!(events.recv().await, Some(BrokerEvent::SubscriptionRefused(at)) if at == "no"));
            far.write(Packet::Publish(Publish::new("large", QoS::AtMostOnce, vec![0; 2000]))).await;
            assert!(matches!(events.recv().await, Some(BrokerEvent::MessageTooLarge(_))));
            far.write(Packet::Publish(Publish::new("yes", QoS::AtMostOnce, b"1".to_vec()))).await;
            let Some(BrokerEvent::Message { topic, payload, .. }) = events.recv().await else { panic!() };
            assert_eq!((topic.as_str(), &payload[..]), ("yes", &b"1"[..]));
            link.publish("a/b", b"value", true).await.unwrap();
            let Packet::Publish(message) = far.read().await else { panic!() };
            assert_eq!(
                (message.topic.as_str(), &message.payload[..], message.retain),
                ("a/b", &b"value"[..], true)
            );
            drop(far);
            assert!(matches!(events.recv().await, Some(BrokerEvent::Lost(MqttError::Closed))));
            assert!(handle.link().is_none());
            assert!(matches!(events.recv().await, Some(BrokerEvent::Lost(MqttError::Refused(_)))));
            Far::accept(&listener).await.welcome().await;
            assert!(matches!(events.recv().await, Some(BrokerEvent::Connected(_))));
        });
    }

    #[test]
    fn a_third_frame_waits_until_the_broker_has_the_first() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (session, mut handle, _events) =
                BrokerSession::new(options(&listener.local_addr().unwrap().to_string()), 4);
            tokio::spawn(session.run());
            let mut far = Far::accept(&listener).await;
            far.welcome().await;
            let link = handle.connected().await.unwrap();
            let (mut in_flight, frame, mut sent) = (FramesInFlight::default(), vec![7; 300_000], 0);
            // The other side's kernel takes some before it is full.
            while in_flight.wait(&link).is_none() {
                link.turn().await.publish("live", false, &mut [IoSlice::new(&frame)]).await.unwrap();
                in_flight.sent(&link);
                sent += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert!(sent < 200, "the queue never fills");
            }
            assert!(
                link.backlog() > 0 && link.backlog() as usize <= 2 * frame.len() + 100,
                "{}",
                link.backlog()
            );
            let mut come = 0;
            while come < sent {
                match far.read().await {
                    Packet::Publish(message) => assert_eq!(message.payload, frame),
                    // Behind the first, to see whether it was taken.
                    other => {
                        assert_eq!(other, Packet::PingReq);
                        continue;
                    }
                }
                come += 1;
            }
            while in_flight.wait(&link).is_some() {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_message_that_was_cut_off_ends_the_connection() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (session, mut handle, mut events) =
                BrokerSession::new(options(&listener.local_addr().unwrap().to_string()), 4);
            tokio::spawn(session.run());
            let mut far = Far::accept(&listener).await;
            far.welcome().await;
            let link = handle.connected().await.unwrap();
            assert!(matches!(events.recv().await, Some(BrokerEvent::Connected(_))));
            let large = vec![0; 32 << 20];
            let writing = link.publish("a", &large, false);
            assert!(timeout(Duration::from_millis(100), writing).await.is_err(), "it fits nowhere");
            assert!(matches!(link.publish("a", b"x", false).await, Err(NotPublished::NotConnected)));
            assert!(matches!(events.recv().await, Some(BrokerEvent::Lost(MqttError::Broken(_)))));
        });
    }

    #[test]
    fn what_a_broker_refuses_is_told_with_what_to_do() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (session, _handle, mut events) =
                BrokerSession::new(options(&listener.local_addr().unwrap().to_string()), 4);
            tokio::spawn(session.run());
            let mut far = Far::accept(&listener).await;
            far.read().await;
            far.write(Packet::ConnAck(ConnAck::new(ConnectReturnCode::NotAuthorized, false))).await;
            let Some(BrokerEvent::Lost(error)) = events.recv().await else { panic!() };
            let text = error.to_string();
            assert!(
                text.contains("\"me\"") && text.contains("check user") && !text.contains("secret"),
                "{text}"
            );
        });
    }
}
