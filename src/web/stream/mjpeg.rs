//! Frames as `multipart/x-mixed-replace`, for everything that is not a browser with scripts.
//!
//! The boundary that ends a part goes out together with its frame: programs that look for it (Chromium among them)
//! would otherwise show each frame when the next one comes.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io::{self, IoSlice};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use log::debug;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::viewer::{Dropped, Tally, Viewer};
use crate::ring::{Lease, Subscription};
use crate::web::router::fresh;
use crate::web::server::client_socket::Socket;

/// Separates the parts. Not to be found in any JPEG: a marker is never followed by letters.
macro_rules! boundary {
    () => {
        "porthole-frame"
    };
}

/// What the whole is, and what separates its parts.
const CONTENT_TYPE: &str = concat!("multipart/x-mixed-replace;boundary=", boundary!());
/// The head, up to lines that depend on who asks. No preamble, no caching, and the connection ends with the stream.
const HEAD: &str = concat!(
    "HTTP/1.1 200 OK\r\n",
    "Content-Type: multipart/x-mixed-replace;boundary=",
    boundary!(),
    "\r\n",
    "Cache-Control: no-store\r\n",
    "X-Content-Type-Options: nosniff\r\n",
    "Referrer-Policy: no-referrer\r\n",
    "Connection: close\r\n",
);
const FIRST: &str = concat!("\r\n--", boundary!(), "\r\n");
const NEXT: &str = concat!("\r\n--", boundary!(), "\r\n");

/// What HEAD is answered.
pub(in crate::web) fn head() -> Response<Full<Bytes>> {
    fresh(CONTENT_TYPE, Bytes::new())
}

/// Serves a viewer until it leaves, takes nothing for too long, or `stop` is ready. `lines` are added to the head.
pub(in crate::web) async fn serve(
    mut socket: Socket,
    viewer: Viewer,
    lines: &str,
    stop: impl Future<Output = ()>,
) {
    let Viewer { mut subscription, entry } = viewer;
    tokio::select! {
        end = frames(&mut socket, &mut subscription, &entry.tally, lines) => {
            if end.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                entry.dropped(Dropped::Stalled);
            }
            let end = end.err().map_or_else(|| "closed by the peer".into(), |error| error.to_string());
            debug!("viewer {} (mjpeg): {end}", entry.tally.id);
        }
        () = stop => {}
    }
}

async fn frames(
    socket: &mut Socket,
    subscription: &mut Subscription,
    tally: &Tally,
    lines: &str,
) -> io::Result<()> {
    socket.keep_fresh()?;
    socket.write_parts(&mut [HEAD, lines, FIRST].map(|part| IoSlice::new(part.as_bytes()))).await?;
    let mut part = String::with_capacity(64);
    // Whatever a client says after its request is of no interest; that it hangs up is.
    let mut ignored = [0; 256];
    let mut look_at = None;
    loop {
        tokio::select! {
            biased;
            newer = subscription.changed(), if look_at.is_none() => newer.map_err(io::Error::other)?,
            read = socket.read(&mut ignored) => match read? {
                0 => return Ok(()),
                // The timer's turn never comes while the peer does not cease to talk.
                _ if look_at.is_none_or(|at| Instant::now() < at) => continue,
                _ => {}
            },
            () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
        }
        look_at = socket.clears_in()?.map(|time| Instant::now() + time);
        if look_at.is_some() {
            continue;
        }
        if let Some(lease) = subscription.lease() {
            send(socket, &lease, &mut part, tally).await?;
        }
    }
}

async fn send(socket: &mut Socket, lease: &Lease<'_>, part: &mut String, tally: &Tally) -> io::Result<()> {
    part.clear();
    // Writing to a String cannot fail.
    let _ = write!(part, "Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", lease.len());
    let parts = &mut [IoSlice::new(part.as_bytes()), IoSlice::new(lease), IoSlice::new(NEXT.as_bytes())];
    let bytes = parts.iter().map(|p| p.len()).sum();
    socket.write_parts(parts).await?;
    tally.frame(lease.frame().captured_at, lease.skipped(), bytes);
    Ok(())
}
