//! `mqtt://` and `mqtts://`: a camera of another Porthole that publishes it to a broker. The far machine sends each frame once,
//! however many machines like this one show it. It is asked for frames while somebody watches here.
//!
//! From the top down: this file | `feed` | `feed_session`, `live` | `order`.
#![forbid(unsafe_code)]

mod feed;
mod feed_session;
pub(crate) mod live;
mod order;

use std::sync::Arc;
use std::time::Duration;

use log::debug;
use tokio::time::timeout;

use super::credentials::RemoteSettings;
use super::error::RemoteFault;
use super::runtime::{RemoteRuntime, RunEnd};
use crate::camera::error::SourceError;
use crate::camera::frame_timing::ImplausibleClaims;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::{CapturedPicture, OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::wake::Waker;
use crate::client::ServerTrust;
use crate::frame::Timestamp;
use crate::jpeg::Picture;
use crate::mqtt::{BrokerAccess, BrokerKeys, BrokerOptions, BrokerUrl};
use crate::status::{BrokerCounters, Counters};
use crate::websocket::HEADER_BYTES;
use feed::CameraFeed;

/// Longest time to open a session. After ten seconds the thread would count as stuck.
const OPEN_TIMEOUT: Duration = Duration::from_secs(9);
/// Longest time to end the request for frames and to disconnect. Without it, the request lapses by itself.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes of an MQTT packet beside the payload: the topic and what stands before it.
const MOST_PACKET_HEAD: usize = 1024;
/// The far camera's state may be larger than small pictures are.
const LEAST_INCOMING: usize = 256 * 1024;

/// What to do about a broker that refuses, by the keys of a camera.
static KEYS: BrokerKeys = BrokerKeys {
    credentials: "the user in the URL (mqtt://USER@HOST/…) and source_password_file",
    trust: "if it is the right one, set source_fingerprint to its fingerprint",
    identity: "its rules: a camera's source has no certificate of its own",
    size: "let the broker take larger messages",
};

/// How the broker at `url` is connected to for a camera with these settings.
pub(crate) fn broker_options(settings: &CameraSettings, url: BrokerUrl) -> BrokerOptions {
    let RemoteSettings { password_file, fingerprint, .. } = settings.remote.clone();
    let trust = fingerprint.map_or(ServerTrust::System, ServerTrust::Fingerprint);
    let largest = settings.max_jpeg_bytes() + HEADER_BYTES + MOST_PACKET_HEAD;
    BrokerOptions {
        access: BrokerAccess { url, user: None, password_file, trust, identity: None },
        last_will: None,
        keys: &KEYS,
        most_incoming: largest.max(LEAST_INCOMING),
    }
}

/// A camera that is published to a broker.
pub(super) struct BrokerSource {
    options: BrokerOptions,
    /// The name of this front end at the far machine.
    viewer: String,
    fps: f32,
    max_jpeg_bytes: usize,
    counters: Arc<BrokerCounters>,
    waker: Arc<Waker>,
    /// Made when the source is first opened.
    runtime: Option<RemoteRuntime>,
    feed: Option<CameraFeed>,
}

impl BrokerSource {
    pub(super) fn new(
        url: BrokerUrl,
        settings: &CameraSettings,
        counters: &Counters,
        waker: &Arc<Waker>,
    ) -> Self {
        Self {
            options: broker_options(settings, url),
            viewer: viewer_name(),
            fps: settings.fps,
            max_jpeg_bytes: settings.max_jpeg_bytes(),
            counters: Arc::clone(counters.begin_broker()),
            waker: Arc::clone(waker),
            runtime: None,
            feed: None,
        }
    }

    fn connect(&mut self) -> Result<(), RemoteFault> {
        if self.runtime.is_none() {
            let runtime = RemoteRuntime::new(Arc::clone(&self.waker));
            self.runtime = Some(runtime.map_err(|source| RemoteFault::Runtime { source })?);
        }
        let runtime = self.runtime.as_ref().ok_or(RemoteFault::Stopped)?;
        let mut feed = CameraFeed::new(&self.options, &self.viewer, Arc::clone(&self.counters));
        let connected = runtime.run_to_end(async { timeout(OPEN_TIMEOUT, feed.connected()).await });
        let silent = |_| RemoteFault::Silent { seconds: OPEN_TIMEOUT.as_secs() };
        connected.ok_or(RemoteFault::Stopped)?.map_err(silent)??;
        self.feed = Some(feed);
        Ok(())
    }

    fn pass_next(&mut self, deadline: Timestamp, sink: &mut PictureSink<'_>) -> Result<(), RemoteFault> {
        let (Some(runtime), Some(feed)) = (&self.runtime, &mut self.feed) else { return Ok(()) };
        loop {
            if let Some(frame) = feed.take()? {
                let time = frame.time;
                sink(CapturedPicture {
                    picture: Picture::Jpeg { data: frame.jpeg(), expected: None },
                    at: time.map_or(frame.came_at, |time| time.at),
                    missed: frame.missed,
                    damaged: time.is_none(),
                    implausible: time.map_or(ImplausibleClaims::default(), |time| time.implausible),
                });
                return Ok(());
            }
            if Timestamp::now() >= feed.next_request() {
                feed.ask();
            }
            match runtime.run(feed.next_request().min(deadline), feed.exchange()) {
                RunEnd::Woken => return Ok(()),
                RunEnd::Done(()) | RunEnd::TimedOut => {}
            }
            if Timestamp::now() >= deadline {
                return Ok(());
            }
        }
    }
}

impl Source for BrokerSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        self.connect().map_err(|fault| fault.at(&self.options.access.url))?;
        let url = &self.options.access.url;
        let (driver, card, path) = (url.scheme(), url.topic().to_owned(), url.to_string());
        let opened = OpenedSource::of_stream(driver, card, path, self.fps, self.max_jpeg_bytes);
        // Live frames are JPEGs.
        Ok(OpenedSource { is_told_by_picture: false, ..opened })
    }

    fn next(
        &mut self,
        _: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        Ok(self.pass_next(deadline, sink).map_err(|fault| fault.at(&self.options.access.url))?)
    }

    fn pause_reason(&self) -> Option<String> {
        let why = self.feed.as_ref()?.pause_reason()?;
        Some(format!("{}: {why}", self.options.access.url))
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => {
                "see the topic of the URL, whether the porthole there has [mqtt], and whether the broker lets this user publish to its watch"
            }
            PictureFault::Corrupt => {
                "see what else publishes there, or set validate = false if the picture is good all the same"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        let Some(mut feed) = self.feed.take() else { return };
        feed.leave();
        if let Some(runtime) = &self.runtime {
            // A broker that takes nothing finds the connection closed.
            let _ = runtime.run(Timestamp::now().after(CLOSE_TIMEOUT), feed.written());
        }
        debug!("{}: closed", self.options.access.url);
    }
}

/// A name that no other front end has.
fn viewer_name() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let host: String = host.unwrap_or_default().chars().filter(|c| !c.is_control()).take(60).collect();
    let mut random = [0; 4];
    // Without random numbers: two processes of one machine have different numbers.
    if getrandom::fill(&mut random).is_err() {
        random = std::process::id().to_ne_bytes();
    }
    format!("{host}-{}", hex::encode(random))
}
