//! What all connections of the service share.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::camera::{Camera, CameraSet};
use crate::frame::Timestamp;
use crate::led::LedInfo;
use crate::status::{CameraId, Status, Watcher};
use crate::web::access::check::AccessCheck;
use crate::web::response::ResponseHeaders;
use crate::web::server::address::Peer;
use crate::web::server::connection_limiter::ConnectionCounters;
use crate::web::server::tls::TlsServer;
use crate::web::server::transport::{Connection, Transport};
use crate::web::stream::viewers::ViewerRegistry;
use crate::web::stream::websocket::session::StreamTimeouts;

/// Why a camera that a broker had announced gives no frames.
const GONE: &str = "it is not announced any more";

#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) cameras: CameraSet,
    pub(super) status: Watcher,
    pub(super) viewers: Arc<ViewerRegistry>,
    pub(super) access: AccessCheck,
    pub(super) response_headers: ResponseHeaders,
    /// `None` if TCP clients connect without TLS.
    pub(super) tls: Option<TlsServer>,
    pub(super) counters: ConnectionCounters,
    pub(super) request_timeout: Duration,
    pub(super) stream_timeouts: StreamTimeouts,
    pub(super) board: String,
    pub(super) leds: Vec<LedInfo>,
    pub(super) started: Timestamp,
    /// True once the service stops.
    pub(super) stop: watch::Receiver<bool>,
}

impl ServerState {
    /// Completes the TLS handshake if the peer begins one. Has no timeout of its own.
    pub(super) async fn open(self: Arc<Self>, connection: Connection, peer: Peer) -> io::Result<Transport> {
        match self.tls.as_ref().filter(|_| !peer.is_unix()) {
            Some(tls) => tls.accept(connection).await,
            None => Ok(Transport::Plain(connection)),
        }
    }

    /// The camera of this name, or the first one.
    pub(super) fn camera(&self, name: Option<&str>) -> Option<Camera> {
        let cameras = self.cameras.current();
        match name {
            Some(name) => cameras.iter().find(|camera| camera.name() == name).cloned(),
            None => cameras.first().cloned(),
        }
    }

    /// Ready when the service stops.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // An error means that the sender is gone, and so is the service.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Ready with the reason when a camera cannot give frames.
    pub(super) async fn camera_fault(&self, id: CameraId) -> String {
        self.fault(|status| match status.camera(id) {
            Some(camera) => camera.state.is_fault().then(|| camera.error.clone().unwrap_or_default()),
            None => Some(GONE.into()),
        })
        .await
    }

    /// Waits until a camera gives no H.264, and returns the reason.
    pub(super) async fn video_fault(&self, id: CameraId) -> String {
        self.fault(|status| {
            let Some(camera) = status.camera(id) else { return Some(GONE.into()) };
            let of_video = camera.h264.as_ref().and_then(|h264| h264.error.clone());
            of_video.or_else(|| camera.error.clone().filter(|_| camera.state.is_fault()))
        })
        .await
    }

    /// Waits until there is a reason, and returns it.
    async fn fault(&self, why: impl Fn(&Status) -> Option<String>) -> String {
        let mut status = self.status.clone();
        match status.wait_for(|status| why(status).is_some()).await {
            Ok(status) => why(&status).unwrap_or_default(),
            Err(_) => "the service stops".into(),
        }
    }
}
