//! The edge: what comes from the broker, and what is published at a new connection. The rest is done by a task for each camera
//! and topic.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::announce::{Announcer, DiscoveryMessage, ListedControls};
use super::connection::EdgeConnection;
use super::control::{self, SetRequest};
use super::home_assistant::{AnnouncedCamera, AnnouncedDevice, DiscoveryTopics};
use super::image;
use super::live;
use super::retract::retract;
use super::settings::PublisherSettings;
use super::shared::PublishedCamera;
use super::state;
use super::watch::CameraWatchers;
use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::mqtt::topics::{CameraRequest, HostTopics, OFFLINE, ONLINE};
use crate::mqtt::watch::{ClockAnswer, WatchRequest};
use crate::mqtt::{
    BrokerEvent, BrokerFailover, BrokerKeys, BrokerOptions, FailoverHandles, LastWill, NotPublished,
};
use crate::status::{MqttReporter, Watcher};
use crate::web::CameraStates;

/// What the topic `status` says.
/// The same when this machine is gone.
/// Largest message that is taken. All valid ones are smaller.
const MOST_INCOMING: usize = 256 * 1024;
/// Messages that wait to be looked at.
const EVENTS: usize = 32;
/// Values of controls that wait for a driver. More are refused.
const SET_REQUESTS: usize = 32;
/// Messages at topics of discovery that wait. There are few: one for each camera, and one when Home Assistant has started.
const DISCOVERY_MESSAGES: usize = 64;
/// Longest time to publish `offline` and to disconnect. Without it, the broker publishes the last will.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// Problems with messages that are remembered, so that each is logged once.
const MOST_PROBLEMS: usize = 64;
/// The number of front ends is counted so often.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

const KEYS: BrokerKeys = BrokerKeys {
    credentials: "user and password_file of [mqtt]",
    trust: "set ca of [mqtt] to the PEM file of the authority that signed it",
    identity: "client_certificate and client_key of [mqtt]",
    size: "raise its limit (max_packet_size of mosquitto, max_payload of nats-server), or lower width and height of the \
           camera, or quality if it is encoded here",
};

/// Publishes cameras.
#[derive(Debug)]
pub struct BrokerPublisher {
    settings: PublisherSettings,
    cameras: Vec<Camera>,
    states: CameraStates,
    page: Option<String>,
    status: Watcher,
    reporter: MqttReporter,
}

/// What is done for one camera.
struct CameraPart {
    camera: PublishedCamera,
    watchers: Arc<CameraWatchers>,
    image_asked: Arc<Notify>,
    set: mpsc::Sender<SetRequest>,
    controls: ListedControls,
}

impl BrokerPublisher {
    /// Sets up nothing yet. `page` is where a browser finds the page, without a token.
    pub fn new(
        settings: PublisherSettings,
        cameras: Vec<Camera>,
        states: CameraStates,
        page: Option<String>,
        status: Watcher,
        reporter: MqttReporter,
    ) -> Self {
        Self { settings, cameras, states, page, status, reporter }
    }

    /// Publishes until `stop` is ready, then publishes `offline` and disconnects.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let topics = self.settings.topics.clone();
        let options = BrokerOptions {
            access: self.settings.broker.clone(),
            last_will: Some(LastWill { topic: topics.status(), payload: OFFLINE }),
            keys: &KEYS,
            most_incoming: MOST_INCOMING,
        };
        let names: Vec<&str> = self.cameras.iter().map(Camera::name).collect();
        let discovery = DiscoveryTopics::new(self.settings.discovery.clone(), &topics);
        let filters = subscriptions(&topics, &names).into_iter().chain(discovery.filters()).collect();
        let (failover, broker, events) = BrokerFailover::new(&options, filters, EVENTS);
        let (connections, connected) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let cameras: Vec<CameraPart> = self
            .cameras
            .iter()
            .map(|camera| {
                let camera = PublishedCamera {
                    camera: camera.clone(),
                    topics: topics.camera(camera.name()),
                    broker: broker.kept.clone(),
                    live: broker.live.clone(),
                    connections: connected.clone(),
                    status: self.status.clone(),
                    counters: Arc::clone(&self.reporter.counters),
                };
                self.start_camera(camera, &mut tasks)
            })
            .collect();
        let (announce, messages) = mpsc::channel(DISCOVERY_MESSAGES);
        let announcer = Announcer {
            topics: discovery.clone(),
            device: self.announced_device(),
            controls: cameras.iter().map(|part| part.controls.clone()).collect(),
            broker: broker.kept.clone(),
            connections: connected,
            counters: Arc::clone(&self.reporter.counters),
        };
        tasks.spawn(announcer.run(messages));
        tasks.spawn(failover.run());
        let edge = Edge {
            topics,
            discovery,
            announce,
            cameras,
            broker: broker.clone(),
            connections,
            reporter: self.reporter,
            problems: BTreeSet::new(),
        };
        tokio::select! {
            () = edge.run(events) => {}
            // None of them ends before the session does, except by a panic.
            Some(Err(panic)) = tasks.join_next() => resume_unwind(panic.into_panic()),
            () = stop => {}
        }
        disconnect(&broker, &self.settings.topics).await;
    }

    fn announced_device(&self) -> AnnouncedDevice {
        let camera = |camera: &Camera| AnnouncedCamera { name: camera.name().to_owned(), controls: None };
        AnnouncedDevice {
            host: self.settings.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            topics: self.settings.topics.clone(),
            configuration_url: self.page.clone(),
            cameras: self.cameras.iter().map(camera).collect(),
        }
    }

    fn start_camera(&self, camera: PublishedCamera, tasks: &mut JoinSet<()>) -> CameraPart {
        let (watchers, image_asked) = (Arc::new(CameraWatchers::new()), Arc::new(Notify::new()));
        let (set, requests) = mpsc::channel(SET_REQUESTS);
        let (listed, controls) = watch::channel(None);
        tasks.spawn(state::run(camera.clone(), self.states.clone()));
        tasks.spawn(live::run(camera.clone(), Arc::clone(&watchers)));
        tasks.spawn(image::run(camera.clone(), Arc::clone(&image_asked), self.settings.snapshot));
        tasks.spawn(control::run(camera.clone(), requests, listed));
        CameraPart { camera, watchers, image_asked, set, controls }
    }
}

/// What each session subscribes to as soon as it has connected, and for as long as it lasts. A cluster that elects its leaders stops
/// reading a session that subscribes or unsubscribes, for four seconds with nats-server 2.9, and live frames would wait meanwhile.
/// So the states come back as often as they are published, although only those count that the broker kept from earlier.
fn subscriptions(topics: &HostTopics, cameras: &[&str]) -> Vec<String> {
    let requests = cameras.iter().flat_map(|name| {
        let camera = topics.camera(name);
        [camera.watch(), camera.image_get(), camera.set_any_control()]
    });
    requests.chain([topics.status(), topics.any_state()]).collect()
}

async fn disconnect(broker: &FailoverHandles, topics: &HostTopics) {
    let Some(link) = broker.kept.link() else { return };
    let disconnected = async {
        if link.publish(&topics.status(), OFFLINE.as_bytes(), true).await.is_ok() {
            link.disconnect().await;
            if let Some(live) = broker.live.link() {
                live.disconnect().await;
            }
        }
    };
    // Otherwise the broker publishes the last will.
    let _ = timeout(DISCONNECT_TIMEOUT, disconnected).await;
}

/// The connection, and what comes over it.
struct Edge {
    topics: HostTopics,
    discovery: DiscoveryTopics,
    announce: mpsc::Sender<DiscoveryMessage>,
    cameras: Vec<CameraPart>,
    broker: FailoverHandles,
    /// Counts the connections.
    connections: watch::Sender<u64>,
    reporter: MqttReporter,
    /// Those that were logged.
    problems: BTreeSet<String>,
}

impl Edge {
    async fn run(mut self, mut events: mpsc::Receiver<BrokerEvent>) {
        let (mut connection, mut count) = (EdgeConnection::default(), interval(COUNT_INTERVAL));
        loop {
            let echo_by = connection.echo.due();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event, &mut connection).await,
                    None => return,
                },
                () = sleep_until(echo_by.unwrap_or_else(Instant::now)), if echo_by.is_some() => {
                    self.echo_is_missing(&mut connection).await;
                }
                _ = count.tick() => self.count(),
            }
        }
    }

    fn count(&self) {
        let (counters, now) = (&self.reporter.counters, Instant::now());
        let watchers: usize = self.cameras.iter().map(|camera| camera.watchers.count(now)).sum();
        counters.watchers.set(watchers as u64);
        counters.backlog.set(self.broker.live.link().map_or(0, |link| link.backlog().into()));
    }

    async fn take(&mut self, event: BrokerEvent, connection: &mut EdgeConnection) {
        match event {
            BrokerEvent::Connected(address) => {
                info!("mqtt: connected to {address}");
                self.reporter.connection(Some(&address), None);
                *connection = EdgeConnection { address: Some(address), ..EdgeConnection::default() };
                if *self.connections.borrow() > 0 {
                    self.reporter.counters.reconnects.add(1);
                }
                // What fails here fails because the connection ended: everything is published again at the next one.
                if self.publish_status(connection).await.is_ok() {
                    self.connections.send_modify(|number| *number += 1);
                }
            }
            BrokerEvent::Lost(error) => {
                let error = error.to_string();
                if connection.error.as_ref() != Some(&error) {
                    warn!("mqtt: {error}");
                }
                self.reporter.connection(None, Some(&error));
                *connection = EdgeConnection { error: Some(error), ..EdgeConnection::default() };
            }
            BrokerEvent::Message { topic, payload, is_retained } => {
                if topic == self.topics.status() {
                    self.take_status(&payload, connection).await;
                } else if let Some(name) = self.topics.state_of(&topic) {
                    self.take_kept_state(&name, &payload, is_retained).await;
                } else if self.discovery.takes(&topic) {
                    // More than have room are somebody's mistake: nothing is lost that would not be said again.
                    let payload = payload.to_vec();
                    let _ = self.announce.try_send(DiscoveryMessage { topic, payload, is_retained });
                } else if let Err(why) = self.take_request(&topic, &payload, is_retained).await {
                    self.reporter.counters.refused.add(1);
                    self.log_once(format!("mqtt: a message at {topic} is refused: {why}"));
                }
            }
            BrokerEvent::MessageTooLarge(bytes) => {
                self.reporter.counters.refused.add(1);
                self.log_once(format!(
                    "mqtt: a message of {bytes} bytes is refused; send at most {MOST_INCOMING} to topics below {}",
                    self.topics.base()
                ));
            }
            BrokerEvent::SubscriptionRefused(filter) => {
                let remedy = if self.discovery.filters().contains(&filter) {
                    "let this user read and write it in the broker's access list, or set discovery = false in [mqtt]".into()
                } else {
                    format!(
                        "let this user read and write topics below {} in its access list",
                        self.topics.base()
                    )
                };
                let problem = format!("the broker refuses the subscription to {filter}; {remedy}");
                self.log_once(format!("mqtt: {problem}"));
                self.reporter.connection(connection.address.as_deref(), Some(&problem));
            }
        }
    }

    /// Publishes that this machine is there, which must come back.
    async fn publish_status(&self, connection: &mut EdgeConnection) -> Result<(), NotPublished> {
        let link = self.broker.kept.link().ok_or(NotPublished::NotConnected)?;
        connection.echo.published(Instant::now());
        link.publish(&self.topics.status(), ONLINE.as_bytes(), true).await?;
        self.reporter.counters.published.add(1);
        Ok(())
    }

    /// A state that the broker keeps, of a camera that may not be configured any more.
    async fn take_kept_state(&self, name: &str, payload: &[u8], is_retained: bool) {
        let is_own = self.cameras.iter().any(|part| part.camera.camera.name() == name);
        if let Some(link) = self.broker.kept.link().filter(|_| is_retained && !is_own && !payload.is_empty())
        {
            // What fails is done at the next connection.
            let _ = retract(&link, &self.topics, name).await;
        }
    }

    /// A message came at `status`: what was published, or the last will of an earlier connection whose end the broker has just noticed.
    async fn take_status(&mut self, payload: &[u8], connection: &mut EdgeConnection) {
        if payload != ONLINE.as_bytes() {
            if connection.echo.due().is_none() {
                // Without a connection it is published at the next one.
                let _ = self.publish_status(connection).await;
            }
        } else if connection.echo.came() {
            info!("mqtt: the broker gives back what is published at {} again", self.topics.status());
            self.reporter.connection(connection.address.as_deref(), None);
        }
    }

    async fn echo_is_missing(&mut self, connection: &mut EdgeConnection) {
        if connection.echo.missed() {
            let problem = format!(
                "the broker does not give back what was published at {}: its access list refuses it; let this user read and write \
                 topics below {}",
                self.topics.status(),
                self.topics.base()
            );
            self.log_once(format!("mqtt: {problem}"));
            self.reporter.connection(connection.address.as_deref(), Some(&problem));
        }
        // Without a connection it is published at the next one.
        let _ = self.publish_status(connection).await;
    }

    async fn take_request(&self, topic: &str, payload: &[u8], is_retained: bool) -> Result<(), String> {
        let (name, request) = self.topics.request(topic).ok_or("it is no topic of this service")?;
        let part = self.cameras.iter().find(|part| part.camera.camera.name() == name);
        let part = part.ok_or("there is no such camera")?;
        if is_retained {
            return Err("the broker has kept it; publish it without retain, and an empty one with it".into());
        }
        match request {
            CameraRequest::Watch => {
                let request = WatchRequest::parse(payload)?;
                let asked = request.clone();
                part.watchers.take(request, Instant::now())?;
                self.tell_time(part, &asked).await;
                Ok(())
            }
            CameraRequest::Image => {
                part.image_asked.notify_one();
                Ok(())
            }
            CameraRequest::SetControl(name) => {
                let full = |_| "too many values wait for the camera's driver".to_owned();
                part.set.try_send((name.into_owned(), payload.to_vec())).map_err(full)
            }
        }
    }

    /// Answers a front end that compares the clocks.
    async fn tell_time(&self, part: &CameraPart, request: &WatchRequest) {
        let (Some(t), Some(link)) = (request.sent_at, self.broker.live.link()) else { return };
        let topic = part.camera.topics.watch_answer(&request.viewer);
        let turn = link.turn().await;
        let answer = ClockAnswer { t, now: Timestamp::now().0 }.to_payload();
        // It asks again.
        let _ = turn.publish(&topic, false, &mut [IoSlice::new(&answer)]).await;
    }

    fn log_once(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS && self.problems.insert(problem.clone()) {
            warn!("{problem}");
        }
    }
}
