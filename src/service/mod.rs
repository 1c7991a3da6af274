//! The composition root: builds the rooms' parts, runs them, and stops them in reverse order within one deadline.
#![forbid(unsafe_code)]

mod manager;
mod reaper;
mod warning;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

#[cfg(feature = "mqtt")]
use crate::announced::{AnnouncedCameras, CameraPanic};
use crate::camera::{self, CameraSet, CameraThread, first_to_end};
use crate::config::Config;
use crate::failpoint;
use crate::led::{LedError, LedRole, StatusLeds, StatusLedsThread};
#[cfg(feature = "mqtt")]
use crate::publisher::{self, BrokerPublisher};
use crate::status::{Phase, ServiceReporter, Watcher, status};
use crate::web::{ListenAddress, Web, WebError};

/// Longest time from the request to stop to the end of the process. Short enough for every supervisor; long enough for a camera
/// to finish a frame, and for a child process to end on SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_millis(900);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum StartError {
    /// The web server.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A required LED.
    #[error("led {role}: {source}; or set required = false to run without it")]
    Led { role: LedRole, source: LedError },
    /// The LED thread.
    #[error("the LED thread cannot be started: {source}; check the limits on processes and descriptors")]
    LedThread { source: io::Error },
    /// A capture thread.
    #[error(
        "camera {name}: its thread cannot be started: {source}; check the limits on processes and descriptors"
    )]
    Camera { name: String, source: io::Error },
}

/// Why the service ended without a request to stop, or did not stop in time.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum RunError {
    /// A capture thread panicked.
    #[error("camera {name}: its thread panicked: {message}; this is a bug in porthole, please report it")]
    Panicked { name: String, message: String },
    /// The LED thread panicked.
    #[error(
        "the LED thread panicked, and no camera may run without the privacy LED; this is a bug in porthole, please report it"
    )]
    LedsPanicked,
    /// A task ended before the service.
    #[error("{what} ended: {why}; this is a bug in porthole, please report it")]
    Ended { what: &'static str, why: String },
    /// A thread or task did not stop in time.
    #[error("{what} did not stop within {} ms; it is left to the kernel", STOP_TIMEOUT.as_millis())]
    Stuck { what: String },
}

/// A service that listens.
#[derive(Debug)]
pub struct Service {
    web: Web,
    threads: Vec<CameraThread>,
    leds: StatusLedsThread,
    phase: ServiceReporter,
    status: Watcher,
    warning_file: Option<PathBuf>,
    #[cfg(feature = "mqtt")]
    publisher: Option<BrokerPublisher>,
    #[cfg(feature = "mqtt")]
    announced: Vec<AnnouncedCameras>,
}

impl Service {
    /// Sets everything up and listens. Cameras stay closed until there is a viewer.
    ///
    /// # Errors
    /// [`StartError`] says what could not be set up. Everything else has been shut down.
    pub fn start(config: Config) -> Result<Self, StartError> {
        #[cfg(feature = "mqtt")]
        let (mqtt, announced) = (config.mqtt, config.announced);
        let Config { mut web, cameras, leds, warning_file, .. } = config;
        let (phase, reporters, status) =
            status(cameras.iter().map(|c| (c.name.clone(), c.source.to_string(), c.fps)));
        let leds = StatusLeds::open(leds).map_err(|(role, source)| StartError::Led { role, source })?;
        web.leds = leds.infos();
        let leds = leds.start(status.clone()).map_err(|source| StartError::LedThread { source })?;
        let (mut viewed, mut threads) = (Vec::new(), Vec::new());
        let max_viewers = web.max_viewers;
        #[cfg(feature = "mqtt")]
        let places = max_viewers + if mqtt.is_some() { publisher::RING_PLACES } else { 0 };
        #[cfg(not(feature = "mqtt"))]
        let places = max_viewers;
        for (settings, reporter) in cameras.into_iter().zip(reporters) {
            let name = settings.name.clone();
            let started = camera::start(settings, places, reporter);
            let (camera, of_camera) = started.map_err(|source| StartError::Camera { name, source })?;
            viewed.push(camera);
            threads.extend(of_camera);
        }
        #[cfg(feature = "mqtt")]
        let published = viewed.clone();
        let cameras = CameraSet::new(viewed);
        #[cfg(feature = "mqtt")]
        let announced = announced
            .into_iter()
            .map(|settings| AnnouncedCameras::new(settings, max_viewers, cameras.clone(), phase.clone()));
        #[cfg(feature = "mqtt")]
        let announced = announced.collect();
        let web = Web::bind(web, cameras, status.clone())?;
        #[cfg(feature = "mqtt")]
        let publisher = mqtt.map(|settings| {
            let reporter = phase.mqtt(settings.broker.url.to_string());
            let page = web.page_url(&settings.host).ok().flatten();
            BrokerPublisher::new(settings, published, web.camera_states(), page, status.clone(), reporter)
        });
        Ok(Self {
            web,
            threads,
            leds,
            phase,
            status,
            warning_file,
            #[cfg(feature = "mqtt")]
            publisher,
            #[cfg(feature = "mqtt")]
            announced,
        })
    }

    /// The addresses that the service listens on.
    ///
    /// # Errors
    /// When the kernel does not report them.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.web.addresses()
    }

    /// URLs to open in a browser; see [`Web::urls`].
    ///
    /// # Errors
    /// When the kernel does not report the addresses.
    pub fn urls(&self, hostname: &str) -> io::Result<Vec<String>> {
        self.web.urls(hostname)
    }

    /// Serves until `stop` is ready or something fails, then stops everything in reverse order within one deadline.
    ///
    /// # Errors
    /// [`RunError`] when something failed, or did not stop in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        // The LEDs are dropped last, however this ends: they go dark after the cameras are closed.
        let (stop_publisher, publisher_stopped) = oneshot::channel::<()>();
        #[cfg(feature = "mqtt")]
        let mut publisher = self
            .publisher
            .map(|publisher| tokio::spawn(publisher.run(async { drop(publisher_stopped.await) })));
        #[cfg(not(feature = "mqtt"))]
        let (mut publisher, _) = (None::<JoinHandle<()>>, publisher_stopped);
        let (stop_announced, announced_stopped) = watch::channel(());
        let mut announced = JoinSet::<Result<(), RunError>>::new();
        #[cfg(feature = "mqtt")]
        for cameras in self.announced {
            let mut stopped = announced_stopped.clone();
            announced.spawn(async move {
                // A dropped sender stops them.
                let ended = cameras.run(async move { drop(stopped.changed().await) }).await;
                ended.map_err(|CameraPanic { name, message }| RunError::Panicked { name, message })
            });
        }
        drop(announced_stopped);
        let Self { web, mut threads, mut leds, phase, status, warning_file, .. } = self;
        let (stop_web, web_stopped) = oneshot::channel::<()>();
        // A dropped sender stops the web too.
        let mut web = tokio::spawn(web.serve(async { drop(web_stopped.await) }));
        phase.phase(Phase::Serving);
        failpoint::pass("main");
        let mut notifier = tokio::spawn(manager::notify(status));

        let failed = tokio::select! {
            () = stop => None,
            (name, end) = first_to_end(&mut threads) => Some(RunError::Panicked { name, message: end.panic_message() }),
            error = end_of_announced(&mut announced) => Some(error),
            () = leds.ended() => Some(RunError::LedsPanicked),
            ended = &mut web => Some(ended_early("the web", ended)),
            ended = end_of(&mut publisher) => Some(ended_early("the publisher", ended)),
            never = warning::watch(warning_file, &phase) => match never {},
            never = reaper::reap_orphans() => match never {},
            ended = &mut notifier => Some(ended_early("the task that notifies the service manager", ended)),
        };

        let deadline = Instant::now() + STOP_TIMEOUT;
        phase.phase(Phase::Stopping);
        manager::stopping();
        drop((stop_web, stop_publisher));
        let mut stuck = Vec::new();
        if !web.is_finished() && timeout_at(deadline, &mut web).await.is_err() {
            stuck.push("the web".to_owned());
        }
        if let Some(publisher) = publisher.filter(|publisher| !publisher.is_finished())
            && timeout_at(deadline, publisher).await.is_err()
        {
            stuck.push("the publisher".to_owned());
        }
        drop(stop_announced);
        // All threads are told before the first one is awaited.
        threads.iter().for_each(CameraThread::stop);
        for mut thread in threads {
            match timeout_at(deadline, thread.ended()).await {
                Ok(_) => thread.join(),
                Err(_) => stuck.push(format!("camera {}", thread.name())),
            }
        }
        while !announced.is_empty() {
            match timeout_at(deadline, announced.join_next()).await {
                Ok(_) => {}
                Err(_) => {
                    stuck.push("an announced camera".to_owned());
                    break;
                }
            }
        }
        notifier.abort();
        match (failed, stuck.is_empty()) {
            (Some(error), _) => Err(error),
            (None, false) => Err(RunError::Stuck { what: stuck.join(" and ") }),
            (None, true) => Ok(()),
        }
    }
}

/// Waits for the end of a task, if there is one.
async fn end_of(task: &mut Option<JoinHandle<()>>) -> Result<(), JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// The error for a task that ended early, which only a panic causes.
fn ended_early(what: &'static str, ended: Result<(), JoinError>) -> RunError {
    let why = ended.map_or_else(|panic| panic.to_string(), |()| "it was not told to stop".into());
    RunError::Ended { what, why }
}

/// Waits for the end of the cameras of a broker, which only a panic causes.
async fn end_of_announced(tasks: &mut JoinSet<Result<(), RunError>>) -> RunError {
    match tasks.join_next().await {
        None => std::future::pending().await,
        Some(Ok(Err(error))) => error,
        Some(Ok(Ok(()))) => ended_early("the task of announced cameras", Ok(())),
        Some(Err(panic)) => ended_early("the task of announced cameras", Err(panic)),
    }
}
