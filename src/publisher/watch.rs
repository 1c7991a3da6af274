//! The front ends that want live frames of one camera, by their names. Each leaves by itself when its time is over.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::mqtt::watch::WatchRequest;
use crate::sync::lock;

/// Most front ends of one camera: each is a machine, so this many are a mistake or an attack.
const MOST_WATCHERS: usize = 256;

/// The front ends of one camera.
#[derive(Debug)]
pub(super) struct CameraWatchers {
    by_name: Mutex<BTreeMap<String, Instant>>,
    /// When the last of them leaves.
    until: watch::Sender<Option<Instant>>,
}

impl CameraWatchers {
    pub(super) fn new() -> Self {
        Self { by_name: Mutex::default(), until: watch::Sender::new(None) }
    }

    /// Takes what a front end says of itself.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn take(&self, request: WatchRequest, now: Instant) -> Result<(), String> {
        let mut by_name = lock(&self.by_name);
        by_name.retain(|_, until| *until > now);
        if request.time.is_zero() {
            by_name.remove(&request.viewer);
        } else if by_name.len() < MOST_WATCHERS || by_name.contains_key(&request.viewer) {
            by_name.insert(request.viewer, now + request.time);
        } else {
            return Err(format!("{MOST_WATCHERS} front ends watch this camera already"));
        }
        let last = by_name.values().max().copied();
        self.until.send_if_modified(|until| std::mem::replace(until, last) != last);
        Ok(())
    }

    /// How many there are.
    pub(super) fn count(&self, now: Instant) -> usize {
        lock(&self.by_name).values().filter(|until| **until > now).count()
    }

    /// Waits until there is one.
    pub(super) async fn wanted(&self) {
        let is_wanted = |until: &Option<Instant>| until.is_some_and(|until| until > Instant::now());
        // Fails only without the sender, which this is.
        let _ = self.until.subscribe().wait_for(is_wanted).await;
    }

    /// Waits until there is none.
    pub(super) async fn left(&self) {
        let mut changed = self.until.subscribe();
        loop {
            let until = *changed.borrow_and_update();
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                _ = changed.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(viewer: &str, ms: u64) -> WatchRequest {
        WatchRequest { viewer: viewer.into(), time: Duration::from_millis(ms), sent_at: None }
    }

    #[test]
    fn a_camera_is_wanted_until_the_last_one_has_left() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (watchers, now) = (CameraWatchers::new(), Instant::now());
            watchers.left().await;
            watchers.take(request("a", 60_000), now).unwrap();
            watchers.take(request("b", 50), now).unwrap();
            watchers.wanted().await;
            assert_eq!(watchers.count(now), 2);
            watchers.take(request("a", 0), now).unwrap();
            watchers.left().await;
            assert!(now.elapsed() >= Duration::from_millis(50));
            assert_eq!(watchers.count(Instant::now()), 0);
        });
    }

    #[test]
    fn their_number_is_limited_and_those_there_may_stay() {
        let (watchers, now) = (CameraWatchers::new(), Instant::now());
        for n in 0..MOST_WATCHERS {
            watchers.take(request(&n.to_string(), 1000), now).unwrap();
        }
        assert!(watchers.take(request("one more", 1000), now).is_err());
        watchers.take(request("7", 2000), now).unwrap();
        let later = now + Duration::from_millis(1500);
        assert_eq!(watchers.count(later), 1);
        watchers.take(request("one more", 1000), later).unwrap();
    }
}
