//! `ws://` and `wss://`: the WebSocket of another Porthole, by the subprotocol `porthole.v1`, whose capture times are carried
//! over into this machine's clock. A server without that subprotocol sends bare JPEGs, which count from their arrival.
//!
//! From the top down: this file | `session` | `handshake`.
#![forbid(unsafe_code)]

mod handshake;
mod session;

use std::sync::Arc;
use std::time::Duration;

use log::debug;
use tokio::time::timeout;

use super::authentication::Authentication;
use super::endpoint::RemoteEndpoint;
use super::error::RemoteFault;
use super::runtime::RunEnd;
use super::url::RemoteUrl;
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::{OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::wake::Waker;
use crate::frame::Timestamp;
use session::WsSession;

/// Longest time to open a WebSocket. After ten seconds the thread would count as stuck.
const OPEN_TIMEOUT: Duration = Duration::from_secs(9);
/// Longest time to send a close frame. The connection is closed after it in any case.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// A camera of another Porthole.
pub(super) struct WsSource {
    endpoint: RemoteEndpoint,
    session: Option<WsSession>,
}

impl WsSource {
    pub(super) fn new(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Self {
        Self { endpoint: RemoteEndpoint::new(url, settings, waker), session: None }
    }

    fn connect(&mut self) -> Result<(), RemoteFault> {
        self.endpoint.prepare()?;
        let endpoint = &self.endpoint;
        let (credentials, connector) = (endpoint.credentials()?, endpoint.connector()?);
        let mut authentication = Authentication::new(credentials);
        let opening = async {
            loop {
                let stream = connector.connect().await?;
                if let Some(opened) = handshake::open(stream, &endpoint.url, &mut authentication).await? {
                    return Ok::<_, RemoteFault>(opened);
                }
            }
        };
        let runtime = endpoint.runtime().ok_or(RemoteFault::Stopped)?;
        let opened = runtime.run_to_end(async { timeout(OPEN_TIMEOUT, opening).await });
        let silent = |_| RemoteFault::Silent { seconds: OPEN_TIMEOUT.as_secs() };
        let opened = opened.ok_or(RemoteFault::Stopped)?.map_err(silent)??;
        self.session = Some(WsSession::new(opened, self.endpoint.max_jpeg_bytes)?);
        Ok(())
    }

    fn pass_next(&mut self, deadline: Timestamp, sink: &mut PictureSink<'_>) -> Result<(), RemoteFault> {
        let (Some(runtime), Some(session)) = (self.endpoint.runtime(), &mut self.session) else {
            return Ok(());
        };
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
        self.connect().map_err(|fault| fault.at(&self.endpoint.url))?;
        Ok(self.endpoint.opened())
    }

    fn next(
        &mut self,
        _: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        Ok(self.pass_next(deadline, sink).map_err(|fault| fault.at(&self.endpoint.url))?)
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
        if let Some(runtime) = self.endpoint.runtime() {
            // A peer that takes nothing finds the connection closed.
            let _ = runtime.run(Timestamp::now().after(CLOSE_TIMEOUT), session.flush());
        }
        debug!("{}: closed", self.endpoint.url);
    }
}
