//! The composition root: builds the stages, runs them, stops them in reverse within one deadline.
#![forbid(unsafe_code)]

mod manager;
mod warning;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};

use crate::camera::{self, CaptureEnd, CaptureThread};
use crate::config::Config;
use crate::failpoint;
use crate::led::{LedError, LedRole, StatusLeds, StatusLedsThread};
use crate::status::{Phase, ServiceReporter, Watcher, status};
use crate::web::{ListenAddress, Web, WebError};

/// From the request to stop to the end of the process. Short enough that no supervisor loses its patience, long
/// enough for a camera to finish a frame and for a child to be asked before it is killed.
const STOP: Duration = Duration::from_millis(900);

/// Why the service did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The web stage.
    #[error(transparent)]
    Web(#[from] WebError),
    /// An LED that the service must not run without.
    #[error("led {role}: {source}; or set required = false to run without it")]
    Led {
        /// What it is for.
        role: LedRole,
        /// Why it cannot be had.
        #[source]
        source: LedError,
    },
    /// The thread of the LEDs.
    #[error(
        "the thread of the LEDs cannot be started: {source}; see the limits on processes and descriptors"
    )]
    LedThread {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A capture thread.
    #[error(
        "camera {name}: its thread cannot be started: {source}; see the limits on processes and descriptors"
    )]
    Camera {
        /// The camera's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why the service went down without being asked to, or not as it should.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A capture thread panicked.
    #[error("camera {name}: its thread panicked: {message}; this is a bug in porthole, please report it")]
    Panicked {
        /// The camera's name.
        name: String,
        /// What it said.
        message: String,
    },
    /// The thread of the LEDs panicked.
    #[error(
        "the LEDs went dark by a panic, and no camera may run without them; this is a bug in porthole, please report it"
    )]
    Dark,
    /// A task that runs for as long as the service does came to its end.
    #[error("{what} ended: {why}; this is a bug in porthole, please report it")]
    Ended {
        /// What did.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// Something did not stop in time.
    #[error("{what} did not stop within {} ms; it is left to the kernel", STOP.as_millis())]
    Stuck {
        /// What did not.
        what: String,
    },
}

/// A service that is set up and listens.
#[derive(Debug)]
pub struct Service {
    web: Web,
    threads: Vec<CaptureThread>,
    leds: StatusLedsThread,
    phase: ServiceReporter,
    status: Watcher,
    warning_file: Option<PathBuf>,
}

impl Service {
    /// Builds every stage and starts to listen. Cameras rest until somebody watches.
    ///
    /// # Errors
    /// [`StartError`] says what could not be set up; everything else has been taken down again.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let Config { mut web, cameras, leds, warning_file, .. } = config;
        let (phase, reporters, status) =
            status(cameras.iter().map(|c| (c.name.clone(), c.source.to_string(), c.fps)));
        let leds = StatusLeds::open(leds).map_err(|(role, source)| StartError::Led { role, source })?;
        web.leds = leds.infos();
        let leds = leds.start(status.clone()).map_err(|source| StartError::LedThread { source })?;
        let (mut viewed, mut threads) = (Vec::new(), Vec::new());
        for (settings, reporter) in cameras.into_iter().zip(reporters) {
            let name = settings.name.clone();
            let started = camera::start(settings, web.max_viewers, reporter);
            let (camera, thread) = started.map_err(|source| StartError::Camera { name, source })?;
            viewed.push(camera);
            threads.push(thread);
        }
        let web = Web::bind(web, viewed, status.clone())?;
        Ok(Self { web, threads, leds, phase, status, warning_file })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.web.addresses()
    }

    /// URLs to open in a browser; see [`Web::urls`].
    ///
    /// # Errors
    /// When the kernel does not tell the addresses.
    pub fn urls(&self, hostname: &str) -> io::Result<Vec<String>> {
        self.web.urls(hostname)
    }

    /// Serves until `stop` is ready or a stage fails, then stops every stage, in reverse, within one deadline.
    ///
    /// # Errors
    /// [`Fault`] when it was not asked to stop, or something would not.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Fault> {
        // The leds go last, however this ends: dark when the cameras are closed.
        let Self { web, mut threads, mut leds, phase, status, warning_file } = self;
        let (stop_web, web_stopped) = oneshot::channel::<()>();
        // A sender that is dropped stops the web too.
        let mut web = tokio::spawn(web.serve(async { drop(web_stopped.await) }));
        phase.phase(Phase::Serving);
        failpoint::pass("main");
        let mut supervisor = tokio::spawn(manager::inform(status));

        let fault = tokio::select! {
            () = stop => None,
            fault = first_to_end(&mut threads) => Some(fault),
            () = leds.ended() => Some(Fault::Dark),
            ended = &mut web => Some(ended_itself("the web", ended)),
            never = warning::watch(warning_file, &phase) => match never {},
            ended = &mut supervisor => Some(ended_itself("what keeps the service manager informed", ended)),
        };

        let deadline = Instant::now() + STOP;
        phase.phase(Phase::Stopping);
        manager::stopping();
        drop(stop_web);
        let mut stuck = Vec::new();
        if !web.is_finished() && timeout_at(deadline, &mut web).await.is_err() {
            stuck.push("the web".to_owned());
        }
        // All are told before the first is waited for.
        threads.iter().for_each(CaptureThread::stop);
        for mut thread in threads {
            match timeout_at(deadline, thread.ended()).await {
                Ok(_) => thread.join(),
                Err(_) => stuck.push(format!("camera {}", thread.name())),
            }
        }
        supervisor.abort();
        match (fault, stuck.is_empty()) {
            (Some(fault), _) => Err(fault),
            (None, false) => Err(Fault::Stuck { what: stuck.join(" and ") }),
            (None, true) => Ok(()),
        }
    }
}

/// A task that was not told to has ended, which only a panic makes it do.
fn ended_itself(what: &'static str, ended: Result<(), JoinError>) -> Fault {
    let why = ended.map_or_else(|panic| panic.to_string(), |()| "it was not told to".into());
    Fault::Ended { what, why }
}

/// Waits for a capture thread that ends without having been told to, which only a panic makes it do.
async fn first_to_end(threads: &mut [CaptureThread]) -> Fault {
    let ends = threads.iter_mut().map(|thread| {
        let name = thread.name().to_owned();
        Box::pin(async move { (name, thread.ended().await) })
    });
    let (name, ended) = first(ends.collect()).await;
    let message = match ended {
        CaptureEnd::Panicked(message) => message,
        CaptureEnd::Stopped => "it stopped without being told to".into(),
    };
    Fault::Panicked { name, message }
}

/// The output of the first of `futures` to have one.
async fn first<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|cx| {
        let mut ready = futures.iter_mut().map(|future| std::pin::Pin::new(future).poll(cx));
        ready.find(|poll| poll.is_ready()).unwrap_or(std::task::Poll::Pending)
    })
    .await
}
