//! Starts and stops cameras as a broker announces them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;

use log::{info, warn};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::directory::{Directory, DirectoryFull, MOST_CAMERAS};
use crate::camera::{
    self, CameraSet, CameraSettings, CameraThread, CameraThreadEnd, LONGEST_NAME, SourceSpec, first_to_end,
    is_camera_name,
};
use crate::escape::escape;
use crate::mqtt::{BrokerEvent, BrokerSession, BrokerUrl, CameraFilter};
use crate::status::{AnnouncedReporter, CameraId, ServiceReporter};

/// Messages that wait to be taken. The session reads nothing meanwhile.
const EVENTS: usize = 16;

/// The cameras of one broker.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnouncedSettings {
    /// The broker.
    pub broker: BrokerUrl,
    /// Which of its cameras.
    pub filter: CameraFilter,
    /// The settings of each, but for its name and its source.
    pub template: CameraSettings,
}

/// A thread of a camera panicked.
#[derive(Debug)]
pub struct CameraPanic {
    /// The name of the camera.
    pub name: String,
    /// What the panic said.
    pub message: String,
}

/// Shows the cameras that a broker announces, while it [runs](Self::run).
#[derive(Debug)]
pub struct AnnouncedCameras {
    settings: AnnouncedSettings,
    /// Most viewers of each.
    max_viewers: usize,
    cameras: CameraSet,
    service: ServiceReporter,
    reporter: AnnouncedReporter,
    directory: Directory,
    /// By topic.
    running: BTreeMap<String, RunningCamera>,
    /// Topics of cameras that are left out, and why.
    refused: BTreeMap<String, String>,
    threads: JoinSet<Result<(), CameraPanic>>,
}

#[derive(Debug)]
struct RunningCamera {
    id: CameraId,
    name: String,
    /// Dropped, its threads stop.
    _stop: oneshot::Sender<()>,
}

impl AnnouncedCameras {
    /// Cameras that are added to `cameras`, and to the status by `service`.
    pub fn new(
        settings: AnnouncedSettings,
        max_viewers: usize,
        cameras: CameraSet,
        service: ServiceReporter,
    ) -> Self {
        let reporter = service.announced(settings.template.source.to_string());
        let (directory, running, refused, threads) = Default::default();
        Self { settings, max_viewers, cameras, service, reporter, directory, running, refused, threads }
    }

    /// Shows cameras until `stop` is ready, then stops them and waits for their threads.
    ///
    /// # Errors
    /// [`CameraPanic`] when a thread of one has panicked. The others run on until this is dropped.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), CameraPanic> {
        let options = camera::broker_options(&self.settings.template, self.settings.broker.clone());
        let (session, broker, mut events) = BrokerSession::new(options, EVENTS);
        let mut session = pin!(session.run());
        let mut subscribing = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let change = self.directory.next_change();
            let may_have_changed = tokio::select! {
                () = &mut stop => break,
                Some(event) = events.recv() => {
                    if let (BrokerEvent::Connected(_), Some(link)) = (&event, broker.link()) {
                        let filters = self.settings.filter.filters();
                        // A broker that takes nothing ends the connection, which is told.
                        subscribing.spawn(async move { drop(link.subscribe(filters).await) });
                    }
                    self.take(event)
                }
                // It ends only when nobody takes events.
                () = &mut session => break,
                Some(Err(panic)) = subscribing.join_next() => resume_unwind(panic.into_panic()),
                Some(ended) = self.threads.join_next() => {
                    ended.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))?;
                    false
                }
                () = sleep_until(change.unwrap_or_else(Instant::now)), if change.is_some() => true,
            };
            if may_have_changed {
                self.follow();
            }
        }
        for (_, gone) in std::mem::take(&mut self.running) {
            self.stop(gone);
        }
        while let Some(ended) = self.threads.join_next().await {
            ended.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))?;
        }
        Ok(())
    }

    /// Returns whether other cameras may be announced now.
    fn take(&mut self, event: BrokerEvent) -> bool {
        let source = &self.settings.template.source;
        match event {
            BrokerEvent::Connected(address) => {
                info!("{source}: connected to {address}");
                let was_connected = self.directory.connected(Instant::now());
                if was_connected {
                    self.reporter.counters.reconnects.add(1);
                }
                self.reporter.connection(Some(&address), None);
            }
            BrokerEvent::Lost(error) => {
                let error = error.to_string();
                if self.reporter.connection(None, Some(&error)) {
                    warn!("{source}: {error}");
                }
            }
            BrokerEvent::Message { topic, payload, .. } => {
                match self.directory.take(&self.settings.filter, &topic, &payload, Instant::now()) {
                    Ok(may_have_changed) => return may_have_changed,
                    Err(DirectoryFull) => self.refuse(
                        &topic,
                        format!("a broker's first {MOST_CAMERAS} cameras are shown; name fewer in source"),
                    ),
                }
            }
            BrokerEvent::MessageTooLarge(bytes) => {
                info!("{source}: a message of {bytes} bytes is passed over");
            }
            BrokerEvent::SubscriptionRefused(filter) => {
                let problem = format!(
                    "the broker refuses the subscription to {filter}; let this user read it in the broker's access list"
                );
                warn!("{source}: {problem}");
                self.reporter.problem(&problem);
            }
        }
        false
    }

    /// Starts and stops cameras, so that those that are announced run.
    fn follow(&mut self) {
        let announced: BTreeSet<String> =
            self.directory.cameras(Instant::now()).into_iter().map(str::to_owned).collect();
        let gone: Vec<String> =
            self.running.keys().filter(|topic| !announced.contains(*topic)).cloned().collect();
        for topic in gone {
            if let Some(gone) = self.running.remove(&topic) {
                info!("camera {}: is not announced any more", gone.name);
                self.stop(gone);
            }
        }
        for topic in announced {
            if !self.running.contains_key(&topic)
                && let Err(why) = self.start(&topic)
            {
                self.refuse(&topic, why);
            }
        }
    }

    fn start(&mut self, topic: &str) -> Result<(), String> {
        let name = self.name(topic)?;
        let settings = CameraSettings {
            name: name.clone(),
            source: SourceSpec::Broker(self.settings.broker.with_topic(topic)),
            ..self.settings.template.clone()
        };
        let reporter = self.service.add_camera(name.clone(), settings.source.to_string(), settings.fps);
        let id = reporter.id();
        let started = camera::start(settings, self.max_viewers, reporter);
        let (camera, threads) = started.map_err(|error| {
            self.service.remove_camera(id);
            cannot_start(&error)
        })?;
        let (stop, stopped) = oneshot::channel();
        self.threads.spawn(supervise(name.clone(), threads, stopped));
        self.cameras.add(camera);
        self.refused.remove(topic);
        self.reporter.counters.added.add(1);
        info!("camera {name}: is announced at {}", escape(topic));
        self.running.insert(topic.to_owned(), RunningCamera { id, name, _stop: stop });
        Ok(())
    }

    fn name(&self, topic: &str) -> Result<String, String> {
        let name = self.settings.filter.name(topic).filter(|name| is_camera_name(name));
        let name = name.ok_or_else(|| {
            format!(
                "a name has up to {LONGEST_NAME} letters, digits, - and _, and its own would not; name it differently there"
            )
        })?;
        if self.cameras.current().iter().any(|other| other.name() == name) {
            return Err(format!("there is another camera {name}; name one of them differently"));
        }
        Ok(name)
    }

    fn stop(&self, gone: RunningCamera) {
        self.cameras.remove(gone.id);
        self.service.remove_camera(gone.id);
        self.reporter.counters.removed.add(1);
    }

    /// Counts and logs a camera that is left out, once.
    fn refuse(&mut self, topic: &str, why: String) {
        if self.refused.get(topic) == Some(&why) || self.refused.len() >= MOST_CAMERAS {
            return;
        }
        warn!("{}: the camera at {} is left out: {why}", self.settings.template.source, escape(topic));
        self.reporter.counters.refused.add(1);
        self.refused.insert(topic.to_owned(), why);
    }
}

fn cannot_start(error: &io::Error) -> String {
    format!("its thread cannot be started: {error}; check the limits on processes and descriptors")
}

/// Waits for the threads of a camera, which are told to stop when the sender of `stopped` is dropped.
async fn supervise(
    name: String,
    mut threads: Vec<CameraThread>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), CameraPanic> {
    tokio::select! {
        _ = stopped => {}
        (_, end) = first_to_end(&mut threads) => {
            let message = end.panic_message();
            return Err(CameraPanic { name, message });
        }
    }
    threads.iter().for_each(CameraThread::stop);
    for mut thread in threads {
        if let CameraThreadEnd::Panicked(message) = thread.ended().await {
            return Err(CameraPanic { name, message });
        }
        thread.join();
    }
    Ok(())
}
