//! When a stream may send its next frame: as soon as there is a newer one and the socket is clear.
//!
//! Every stream waits here, whatever its format. The frame is chosen only when it can leave, so a slow link skips frames
//! and does not queue them.
#![forbid(unsafe_code)]

use std::io;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use crate::ring::{RingClosed, Subscription};
use crate::web::server::client_socket::ClientSocket;

/// What a stream was woken by.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// There is a newer frame, and it would leave at once.
    FrameDue,
    /// The client sent so many bytes; 0 if it has closed the connection.
    Read(usize),
    /// The deadline has passed.
    Deadline,
    /// The camera is gone.
    Closed(RingClosed),
}

/// Paces the frames of one stream.
#[derive(Debug, Default)]
pub(super) struct FramePacer {
    /// When to look again whether the socket is clear, while earlier writes are in the way.
    check_at: Option<Instant>,
}

impl FramePacer {
    /// Waits for the first of: a frame that would leave at once, unless `may_send` is false; bytes from the client, which
    /// are read into `buffer`; and `deadline`. Loses nothing when cancelled.
    ///
    /// # Errors
    /// When the connection fails, or the peer has taken nothing within the write timeout.
    pub(super) async fn next(
        &mut self,
        socket: &mut ClientSocket,
        subscription: &mut Subscription,
        may_send: bool,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<StreamEvent> {
        loop {
            // Checked here, as the timer below is never polled while the peer keeps sending.
            let now = Instant::now();
            self.check_at = self.check_at.filter(|at| now < *at);
            if deadline.is_some_and(|at| now >= at) {
                return Ok(StreamEvent::Deadline);
            }
            let wake_at = self.check_at.into_iter().chain(deadline).min();
            tokio::select! {
                biased;
                changed = subscription.changed(), if may_send && self.check_at.is_none() => {
                    if let Err(closed) = changed {
                        return Ok(StreamEvent::Closed(closed));
                    }
                    self.check_at = socket.time_until_clear()?.map(|time| Instant::now() + time);
                    if self.check_at.is_none() {
                        return Ok(StreamEvent::FrameDue);
                    }
                }
                read = socket.read(buffer) => return read.map(StreamEvent::Read),
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
    }
}
