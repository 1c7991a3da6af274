//! Frames as `multipart/x-mixed-replace`, for everything but browsers with scripts.
//!
//! The boundary that ends a part is sent together with its frame. Programs that look for it, Chromium among them, would
//! otherwise show each frame only when the next one comes.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io::{self, IoSlice};

use hyper::body::Bytes;
use log::debug;

use super::flow_control::{FramePacer, StreamEvent};
use super::head::stream_head;
use super::viewers::{DropReason, Viewer, ViewerStats};
use crate::ring::{Lease, Subscription};
use crate::web::response::{Answer, no_store};
use crate::web::server::client_socket::ClientSocket;

/// The content type of a stream. No JPEG contains the boundary, as a marker is never followed by letters.
const CONTENT_TYPE: &str = "multipart/x-mixed-replace;boundary=porthole-frame";
/// What begins every part. Before the first one, its first line break ends the head.
const BOUNDARY: &str = "\r\n--porthole-frame\r\n";
/// The answer to HEAD.
pub(crate) fn head() -> Answer {
    no_store(CONTENT_TYPE, Bytes::new())
}

/// Serves a viewer until it leaves or takes no data, or `stop` is ready. `header_lines` are added to the head.
pub(super) async fn serve(
    mut socket: ClientSocket,
    viewer: Viewer,
    header_lines: &str,
    stop: impl Future<Output = ()>,
) {
    let Viewer { mut subscription, registration } = viewer;
    let stats = &registration.stats;
    tokio::select! {
        ended = send_frames(&mut socket, &mut subscription, stats, header_lines) => {
            if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                registration.count_dropped(DropReason::Stalled);
            }
            let why = ended.err().map_or_else(|| "closed by the peer".into(), |error| error.to_string());
            debug!("viewer {} (mjpeg): {why}", stats.id);
        }
        () = stop => {}
    }
}

async fn send_frames(
    socket: &mut ClientSocket,
    subscription: &mut Subscription,
    stats: &ViewerStats,
    header_lines: &str,
) -> io::Result<()> {
    socket.limit_unsent()?;
    let [a, b, c, d] = stream_head(CONTENT_TYPE, header_lines);
    let head = [a, b, c, d, BOUNDARY];
    socket.write_parts(&mut head.map(|part| IoSlice::new(part.as_bytes()))).await?;
    let mut part_header = String::with_capacity(64);
    let mut pacer = FramePacer::default();
    // Whatever a client sends behind its request is discarded.
    let mut discarded = [0; 256];
    loop {
        match pacer.next(socket, subscription, true, &mut discarded, None).await? {
            StreamEvent::FrameDue => {
                if let Some(lease) = subscription.lease() {
                    send(socket, &lease, &mut part_header, stats).await?;
                }
            }
            StreamEvent::Read(0) => return Ok(()),
            StreamEvent::Read(_) | StreamEvent::Deadline => {}
            StreamEvent::Closed(closed) => return Err(io::Error::other(closed)),
        }
    }
}

async fn send(
    socket: &mut ClientSocket,
    lease: &Lease<'_>,
    part_header: &mut String,
    stats: &ViewerStats,
) -> io::Result<()> {
    part_header.clear();
    // Writing to a String cannot fail.
    let _ = write!(part_header, "Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", lease.len());
    let parts = &mut [part_header.as_bytes(), lease, BOUNDARY.as_bytes()].map(IoSlice::new);
    let bytes = parts.iter().map(|part| part.len()).sum();
    socket.write_parts(parts).await?;
    stats.frame_sent(lease.frame().captured_at, lease.skipped(), bytes);
    Ok(())
}
