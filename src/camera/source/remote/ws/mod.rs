//! `ws://` and `wss://`: the WebSocket of another Porthole, by the subprotocol `porthole.v1`, whose capture times are carried
//! over into this machine's clock. A server without that subprotocol sends bare JPEGs, which count from their arrival.
//!
//! From the top down: this file | `session` | `handshake`, `clock`.
#![forbid(unsafe_code)]

mod clock;
mod handshake;
mod session;

use std::sync::Arc;
use std::time::Duration;

use log::debug;
use tokio::time::timeout;

use super::connect::Connector;
use super::credentials::{RemoteSettings, SourceCredentials};
use super::error::RemoteFault;
use super::runtime::{RemoteRuntime, RunEnd};
use super::url::RemoteUrl;
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Timestamp};
use crate::status::SourceInfo;
use session::WsSession;

/// Longest time to open a WebSocket. After ten seconds the thread would count as stuck.
const OPEN_TIMEOUT: Duration = Duration::from_secs(9);
/// Longest time to say goodbye. The connection is closed after it in any case.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);

/// A camera of another Porthole.
pub(super) struct WsSource {
    url: RemoteUrl,
    settings: RemoteSettings,
    fps: f32,
    max_jpeg_bytes: usize,
    waker: Arc<Waker>,
    /// Made when it is first opened.
    runtime: Option<RemoteRuntime>,
    session: Option<WsSession>,
}

impl WsSource {
    pub(super) fn new(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Self {
        Self {
            url,
            settings: settings.remote.clone(),
            fps: settings.fps,
            max_jpeg_bytes: settings.max_jpeg_bytes(),
            waker: Arc::clone(waker),
            runtime: None,
            session: None,
        }
    }

    fn connect(&mut self) -> Result<(), RemoteFault> {
        if self.runtime.is_none() {
            let runtime = RemoteRuntime::new(Arc::clone(&self.waker));
            self.runtime = Some(runtime.map_err(|source| RemoteFault::Runtime { source })?);
        }
        let Some(runtime) = &self.runtime else { return Err(RemoteFault::Stopped) };
        let credentials = SourceCredentials::read(&self.url, &self.settings)?;
        let connector = Connector::new(&self.url, self.settings.fingerprint)?;
        let opening = async {
            let stream = connector.connect().await?;
            handshake::open(stream, &self.url, &credentials).await
        };
        let opened = runtime.run_to_end(async { timeout(OPEN_TIMEOUT, opening).await });
        let silent = |_| RemoteFault::Silent { seconds: OPEN_TIMEOUT.as_secs() };
        let opened = opened.ok_or(RemoteFault::Stopped)?.map_err(silent)??;
        self.session = Some(WsSession::new(opened, self.max_jpeg_bytes)?);
        Ok(())
    }

    fn pass_next(&mut self, deadline: Timestamp, sink: &mut PictureSink<'_>) -> Result<(), RemoteFault> {
        let (Some(runtime), Some(session)) = (&self.runtime, &mut self.session) else { return Ok(()) };
        loop {
            if session.take_messages(sink)? {
                return Ok(());
            }
            if session.has_ended {
                return Err(RemoteFault::Closed { after: "" });
            }
            if session.next_ping().is_some_and(|at| Timestamp::now() >= at) {
                session.ping()?;
            }
            let until = session.next_ping().map_or(deadline, |at| at.min(deadline));
            match runtime.run(until, session.exchange()) {
                RunEnd::Done(exchanged) => exchanged.map_err(|source| RemoteFault::Broken { source })?,
                RunEnd::Woken => return Ok(()),
                RunEnd::TimedOut => {}
            }
            if Timestamp::now() >= deadline {
                return Ok(());
            }
        }
    }
}

impl Source for WsSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        self.connect().map_err(|fault| fault.at(&self.url))?;
        let info = SourceInfo {
            driver: self.url.scheme().name().into(),
            card: self.url.authority(),
            path: self.url.to_string(),
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps: self.fps,
            encoding: None,
            capture: None,
        };
        Ok(OpenedSource { info, max_jpeg_bytes: self.max_jpeg_bytes, has_larger: false })
    }

    fn next(
        &mut self,
        _: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        Ok(self.pass_next(deadline, sink).map_err(|fault| fault.at(&self.url))?)
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => "see what /state there says of its camera",
            PictureFault::Corrupt => {
                "see whether the server there sends JPEGs, or set validate = false if the picture is good all the same"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        session.close();
        if let Some(runtime) = &self.runtime {
            // A peer that takes nothing finds the connection closed.
            let _ = runtime.run(Timestamp::now().after(GOODBYE_TIMEOUT), session.flush());
        }
        debug!("{}: closed", self.url);
    }
}
