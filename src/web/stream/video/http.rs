//! H.264 over HTTP: one endless fragmented MP4, or a byte stream, from a key frame on.
//!
//! The head of the answer names the codec, so it is sent with the first picture; until then there may be another answer.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::time::Duration;

use hyper::body::Bytes;
use log::debug;
use tokio::time::timeout;

use super::tracker::VideoTracker;
use crate::camera::UnitViewer;
use crate::ring::units::UnitLease;
use crate::web::response::{Answer, no_store};
use crate::web::server::client_socket::ClientSocket;
use crate::web::stream::byte_stream::{byte_stream_len, write_byte_stream};
use crate::web::stream::feed::Feed;
use crate::web::stream::flow_control::{FramePacer, StreamEvent};
use crate::web::stream::head::stream_head;
use crate::web::stream::viewers::{DropReason, Viewer, ViewerKind, ViewerStats};

/// Time for the first picture: a camera takes up to three seconds to open, and an encoder or a camera that encodes itself up to
/// some seconds until a key frame.
const FIRST_UNIT_TIMEOUT: Duration = Duration::from_secs(10);

/// In what H.264 is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VideoContainer {
    /// Fragmented MP4.
    Mp4,
    /// A byte stream (ITU-T H.264, Annex B).
    AnnexB,
}

impl VideoContainer {
    pub(crate) const fn viewer_kind(self) -> ViewerKind {
        match self {
            Self::Mp4 => ViewerKind::Mp4,
            Self::AnnexB => ViewerKind::AnnexB,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::AnnexB => "video/h264",
        }
    }

    /// The answer to HEAD.
    pub(crate) fn head(self) -> Answer {
        no_store(self.content_type(), Bytes::new())
    }
}

/// Waits for the first access unit, until `fault` is ready: then the camera gives none. Fails with the reason and its remedy.
pub(crate) async fn await_first(
    viewer: &mut Viewer<UnitViewer>,
    fault: impl Future<Output = String>,
) -> Result<(), String> {
    tokio::select! {
        biased;
        first = timeout(FIRST_UNIT_TIMEOUT, viewer.subscription.changed()) => match first {
            Ok(first) => first.map_err(|closed| closed.to_string()),
            Err(_) => Err(format!(
                "no H.264 within {} s; use /stream for JPEGs, or set h264 = \"auto\" for this camera",
                FIRST_UNIT_TIMEOUT.as_secs()
            )),
        },
        why = fault => Err(why),
    }
}

/// Serves a viewer until it leaves or takes no data, or `stop` is ready. `header_lines` are added to the head.
pub(in crate::web::stream) async fn serve(
    mut socket: ClientSocket,
    viewer: Viewer<UnitViewer>,
    container: VideoContainer,
    header_lines: &str,
    stop: impl Future<Output = ()>,
) {
    let Viewer { mut subscription, registration } = viewer;
    let stats = &registration.stats;
    tokio::select! {
        ended = send_units(&mut socket, &mut subscription, stats, container, header_lines) => {
            if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                registration.count_dropped(DropReason::Stalled);
            }
            let why = ended.err().map_or_else(|| "closed by the peer".into(), |error| error.to_string());
            debug!("viewer {} ({}): {why}", stats.id, stats.kind.name());
        }
        () = stop => {}
    }
}

async fn send_units(
    socket: &mut ClientSocket,
    viewer: &mut UnitViewer,
    stats: &ViewerStats,
    container: VideoContainer,
    header_lines: &str,
) -> io::Result<()> {
    socket.limit_unsent()?;
    let (mut pacer, mut tracker) = (FramePacer::default(), VideoTracker::default());
    // The head is sent once, whatever becomes of the format.
    let mut has_begun = false;
    // Whatever a client sends behind its request is discarded.
    let mut discarded = [0; 256];
    loop {
        match pacer.next(socket, viewer, true, &mut discarded, None).await? {
            StreamEvent::FrameDue => {
                let Some(lease) = viewer.units.lease() else { continue };
                let has_changed = tracker.take(&lease.unit(), &lease);
                if has_begun && container == VideoContainer::Mp4 && (has_changed || !tracker.is_known()) {
                    // A file has one initialization segment. Clients connect again.
                    return Err(io::Error::other("the format has changed"));
                }
                if !has_begun && tracker.is_known() {
                    begin(socket, &tracker, container, header_lines).await?;
                    has_begun = true;
                }
                if has_begun {
                    send(socket, &lease, &mut tracker, stats, container).await?;
                }
            }
            StreamEvent::Read(0) => return Ok(()),
            StreamEvent::Read(_) | StreamEvent::Deadline => {}
            StreamEvent::Closed(closed) => return Err(io::Error::other(closed)),
        }
    }
}

/// Sends the head of the answer, and the initialization segment if there is one.
async fn begin(
    socket: &mut ClientSocket,
    tracker: &VideoTracker,
    container: VideoContainer,
    header_lines: &str,
) -> io::Result<()> {
    let (content_type, segment) = match container {
        VideoContainer::AnnexB => (container.content_type().to_owned(), &[][..]),
        VideoContainer::Mp4 => {
            let codec = tracker.track().map(|track| track.parameters.codec()).unwrap_or_default();
            let content_type = format!("{}; codecs=\"{codec}\"", container.content_type());
            (content_type, tracker.init_segment().unwrap_or_default())
        }
    };
    let [a, b, c, d] = stream_head(&content_type, header_lines).map(str::as_bytes);
    socket.write_parts(&mut [a, b, c, d, b"\r\n", segment].map(IoSlice::new)).await
}

async fn send(
    socket: &mut ClientSocket,
    lease: &UnitLease<'_>,
    tracker: &mut VideoTracker,
    stats: &ViewerStats,
    container: VideoContainer,
) -> io::Result<()> {
    let unit = lease.unit();
    let bytes = match container {
        VideoContainer::Mp4 => {
            let (fragment, sample) = tracker.fragment(&unit, lease);
            socket.write_parts(&mut [fragment, sample].map(IoSlice::new)).await?;
            fragment.len() + sample.len()
        }
        VideoContainer::AnnexB => {
            write_byte_stream(socket, &[], lease).await?;
            byte_stream_len(lease)
        }
    };
    stats.frame_sent(unit.captured_at, lease.skipped(), bytes);
    Ok(())
}
