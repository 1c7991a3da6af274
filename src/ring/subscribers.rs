//! How many viewers a ring has, and how its publisher wakes them: what both kinds of rings share.
#![forbid(unsafe_code)]

use std::pin::pin;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::failpoint;
use crate::frame::Timestamp;
use crate::sync::lock;

/// How many viewers there are: all that a camera knows of its viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribers {
    /// Number of viewers, for whom the camera is kept open.
    pub viewers: usize,
    /// Those of them that take this ring's frames. The others take another rendition.
    pub takers: usize,
    /// When the last viewer left; `None` while there is a viewer, and before the first one.
    pub last_left: Option<Timestamp>,
}

/// All subscriptions of a ring are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {max_viewers} viewer places are taken; close a viewer or raise max_viewers")]
pub struct RingFull {
    /// How many subscriptions the ring has.
    pub max_viewers: usize,
}

/// The publisher of the ring was dropped: no frame will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the camera has been shut down")]
pub struct RingClosed;

/// The number of viewers, and who waits.
#[derive(Debug)]
pub(super) struct SubscriberTable {
    pub(super) max_viewers: usize,
    subscribers: Mutex<Subscribers>,
    /// Wakes the notifier task; notified by the publisher.
    publisher_notify: Notify,
    /// Wakes the waiting subscriptions; notified by the notifier task.
    subscriber_notify: Notify,
}

impl SubscriberTable {
    pub(super) fn new(max_viewers: usize) -> Self {
        Self {
            max_viewers,
            subscribers: Mutex::new(Subscribers { viewers: 0, takers: 0, last_left: None }),
            publisher_notify: Notify::new(),
            subscriber_notify: Notify::new(),
        }
    }

    pub(super) fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.subscribers)
    }

    /// Counts a viewer, who takes this ring's frames or not.
    pub(super) fn connect(&self, takes_frames: bool) -> Result<(), RingFull> {
        let mut subscribers = self.subscribers();
        if subscribers.viewers == self.max_viewers {
            return Err(RingFull { max_viewers: self.max_viewers });
        }
        subscribers.viewers += 1;
        subscribers.takers += usize::from(takes_frames);
        subscribers.last_left = None;
        Ok(())
    }

    /// Counts a viewer off.
    pub(super) fn disconnect(&self, took_frames: bool) {
        let mut subscribers = self.subscribers();
        subscribers.viewers -= 1;
        subscribers.takers -= usize::from(took_frames);
        if subscribers.viewers == 0 {
            subscribers.last_left = Some(Timestamp::now());
        }
    }

    /// Wakes the notifier task. Called by the publisher, for which it is one system call at most.
    pub(super) fn notify(&self) {
        self.publisher_notify.notify_one();
    }

    /// The notifier task: wakes the waiting subscriptions for each call of [`notify`](Self::notify), until `is_closed`.
    pub(super) async fn run_notifier(&self, is_closed: impl Fn() -> bool) {
        while !is_closed() {
            self.publisher_notify.notified().await;
            failpoint::pass("notifier");
            self.subscriber_notify.notify_waiters();
        }
        self.subscriber_notify.notify_waiters();
    }

    /// Wakes the waiting subscriptions, who see for themselves whether there is something.
    pub(super) fn wake_viewers(&self) {
        self.subscriber_notify.notify_waiters();
    }

    /// Waits until `ready` gives something. It is called at once, and whenever the notifier task wakes. Cancel safe.
    pub(super) async fn wait<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        let mut notified = pin!(self.subscriber_notify.notified());
        loop {
            // Enabled before the check, so that a frame published between the check and the wait is not missed.
            notified.as_mut().enable();
            if let Some(result) = ready() {
                return result;
            }
            notified.as_mut().await;
            notified.set(self.subscriber_notify.notified());
        }
    }
}
