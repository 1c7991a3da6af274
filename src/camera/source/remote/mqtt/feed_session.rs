//! One session with the broker: it connects again by itself, and writes one thing after another.
#![forbid(unsafe_code)]

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::Receiver;

use crate::mqtt::{BrokerEvent, BrokerHandle, BrokerLink, BrokerOptions, BrokerSession};

/// Events that wait to be taken. Frames are among them; the socket's own queue holds those that come meanwhile.
const EVENTS: usize = 4;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A session, and what is written in it.
pub(super) struct FeedSession {
    running: Work,
    /// Dropping it before its end would end the connection in the middle of a packet.
    writing: Option<Work>,
    handle: BrokerHandle,
    events: Receiver<BrokerEvent>,
    /// Addresses that are tried in turn.
    pub(super) addresses: usize,
    /// Where it is connected to.
    pub(super) address: Option<String>,
    /// Attempts to connect that failed in a row.
    pub(super) failures: usize,
    /// It was connected before.
    pub(super) was_connected: bool,
}

impl FeedSession {
    pub(super) fn new(options: BrokerOptions) -> Self {
        let addresses = options.access.url.addresses().len();
        let (session, handle, events) = BrokerSession::new(options, EVENTS);
        Self {
            running: Box::pin(session.run()),
            writing: None,
            handle,
            events,
            addresses,
            address: None,
            failures: 0,
            was_connected: false,
        }
    }

    /// Writes by `work` to the connection, if there is one, after what is being written.
    pub(super) fn write<W>(&mut self, work: impl FnOnce(Arc<BrokerLink>) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let Some(link) = self.handle.link() else { return };
        let (before, work) = (self.writing.take(), work(link));
        self.writing = Some(Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            work.await;
        }));
    }

    /// Whether all was written.
    pub(super) fn is_written(&self) -> bool {
        self.writing.is_none()
    }

    /// Goes on with the connection and with what is written, and returns the next event.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<BrokerEvent> {
        if let Some(writing) = &mut self.writing
            && writing.as_mut().poll(context).is_ready()
        {
            self.writing = None;
        }
        // An event that waits is taken first: the session goes on once there is room.
        if let Poll::Ready(Some(event)) = self.events.poll_recv(context) {
            return Poll::Ready(event);
        }
        // It ends only when nobody takes events.
        let _ = self.running.as_mut().poll(context);
        match self.events.poll_recv(context) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for FeedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSession").field("address", &self.address).finish_non_exhaustive()
    }
}
