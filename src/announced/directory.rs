//! Which cameras a broker announces. Pure: it is told of messages and of the time.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::mqtt::CameraFilter;
use crate::mqtt::camera_filter::AnnouncementTopic;
use crate::mqtt::topics::ONLINE;

/// Most cameras, and most machines, of one broker. Each camera has a thread or two.
pub(super) const MOST_CAMERAS: usize = 256;
/// A machine that goes offline for a shorter time keeps its cameras: it may have lost its connection only.
const OFFLINE_LINGER: Duration = Duration::from_secs(10);
/// After a new connection, what is announced is sent again within this time. What is not is gone.
const SYNC_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Directory {
    /// By the topic of each machine.
    hosts: BTreeMap<String, HostPresence>,
    /// Topics of cameras, and whether each was announced over the present connection.
    cameras: BTreeMap<String, bool>,
    /// When what was announced over earlier connections alone is gone.
    sync_at: Option<Instant>,
    was_connected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostPresence {
    Online,
    /// It was online before.
    OfflineSince(Instant),
    Offline,
}

/// There are too many cameras or machines, so this one is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectoryFull;

impl Directory {
    /// There is a new connection. Returns whether it is not the first one.
    pub(super) fn connected(&mut self, now: Instant) -> bool {
        self.cameras.values_mut().for_each(|is_confirmed| *is_confirmed = false);
        self.sync_at = Some(now + SYNC_TIME);
        std::mem::replace(&mut self.was_connected, true)
    }

    /// Takes a message. Others than announcements are passed over. Returns whether [`cameras`](Self::cameras) may have changed:
    /// most messages are states of cameras that are there.
    pub(super) fn take(
        &mut self,
        filter: &CameraFilter,
        topic: &str,
        payload: &[u8],
        now: Instant,
    ) -> Result<bool, DirectoryFull> {
        match filter.announcement(topic) {
            Some(AnnouncementTopic::Host(host)) if payload.is_empty() => {
                Ok(self.hosts.remove(host).is_some())
            }
            Some(AnnouncementTopic::Host(host)) => {
                let presence = match self.hosts.get(host) {
                    _ if payload == ONLINE.as_bytes() => HostPresence::Online,
                    Some(HostPresence::Online) => HostPresence::OfflineSince(now),
                    Some(offline) => *offline,
                    None => HostPresence::Offline,
                };
                insert(&mut self.hosts, host, presence)
            }
            // Nothing is kept at the topic any more.
            Some(AnnouncementTopic::Camera(camera)) if payload.is_empty() => {
                Ok(self.cameras.remove(camera).is_some())
            }
            Some(AnnouncementTopic::Camera(camera)) => insert(&mut self.cameras, camera, true),
            None => Ok(false),
        }
    }

    /// Lets go of what is gone by `now`. Returns the topics of the cameras that are left.
    pub(super) fn cameras(&mut self, now: Instant) -> BTreeSet<&str> {
        if self.sync_at.is_some_and(|at| now >= at) {
            self.sync_at = None;
            self.cameras.retain(|_, is_confirmed| *is_confirmed);
        }
        for presence in self.hosts.values_mut() {
            if matches!(presence, HostPresence::OfflineSince(since) if now >= *since + OFFLINE_LINGER) {
                *presence = HostPresence::Offline;
            }
        }
        let is_there = |camera: &&str| {
            let host = camera.rsplit_once('/').and_then(|(host, _)| self.hosts.get(host));
            host.is_some_and(|presence| *presence != HostPresence::Offline)
        };
        self.cameras.keys().map(String::as_str).filter(is_there).collect()
    }

    /// When [`cameras`](Self::cameras) may change by itself.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let offline = self.hosts.values().filter_map(|presence| match presence {
            HostPresence::OfflineSince(since) => Some(*since + OFFLINE_LINGER),
            _ => None,
        });
        offline.chain(self.sync_at).min()
    }
}

/// Returns whether that changed anything.
fn insert<V: PartialEq>(map: &mut BTreeMap<String, V>, key: &str, value: V) -> Result<bool, DirectoryFull> {
    if let Some(before) = map.get_mut(key) {
        let has_changed = *before != value;
        *before = value;
        return Ok(has_changed);
    }
    if map.len() >= MOST_CAMERAS {
        return Err(DirectoryFull);
    }
    map.insert(key.to_owned(), value);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        directory: Directory,
        filter: CameraFilter,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let filter = CameraFilter::parse("porthole/+/+").unwrap().unwrap();
            let mut this = Self { directory: Directory::default(), filter, now: Instant::now() };
            assert!(!this.directory.connected(this.now));
            this
        }

        fn take(&mut self, topic: &str, payload: &str) {
            self.directory
                .take(&self.filter, &format!("porthole/{topic}"), payload.as_bytes(), self.now)
                .unwrap();
        }

        fn after(&mut self, time: Duration) {
            self.now += time;
        }

        fn cameras(&mut self) -> String {
            let cameras = self.directory.cameras(self.now);
            cameras.into_iter().map(|topic| &topic["porthole/".len()..]).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn cameras_of_machines_that_are_online_are_there() {
        let mut rig = Rig::new();
        rig.take("pi/front/state", "{}");
        rig.take("old/front/state", "{}");
        assert_eq!(rig.cameras(), "", "whether the machines are there is not known yet");
        rig.take("pi/status", "online");
        rig.take("old/status", "offline");
        rig.take("pi/back/state", "{}");
        rig.take("pi/back/image", "x");
        assert_eq!(rig.cameras(), "pi/back pi/front");
        rig.take("pi/back/state", "");
        rig.take("old/status", "online");
        assert_eq!(rig.cameras(), "old/front pi/front");
        rig.take("pi/status", "");
        assert_eq!(rig.cameras(), "old/front");
    }

    #[test]
    fn a_machine_that_comes_back_soon_keeps_its_cameras() {
        let mut rig = Rig::new();
        rig.take("pi/status", "online");
        rig.take("pi/front/state", "{}");
        rig.after(SYNC_TIME);
        assert_eq!((rig.cameras().as_str(), rig.directory.next_change()), ("pi/front", None));
        for _ in 0..2 {
            rig.take("pi/status", "offline");
            assert_eq!(rig.directory.next_change(), Some(rig.now + OFFLINE_LINGER));
            rig.after(OFFLINE_LINGER / 2);
            rig.take("pi/status", "offline");
            assert_eq!(rig.cameras(), "pi/front", "for a moment");
            rig.take("pi/status", "online");
            assert_eq!(rig.directory.next_change(), None);
        }
        rig.take("pi/status", "offline");
        rig.after(OFFLINE_LINGER);
        assert_eq!((rig.cameras().as_str(), rig.directory.next_change()), ("", None));
        rig.take("pi/status", "offline");
        assert_eq!(rig.cameras(), "");
        rig.take("pi/status", "online");
        assert_eq!(rig.cameras(), "pi/front");
    }

    #[test]
    fn what_is_not_announced_again_at_a_new_connection_is_gone() {
        let mut rig = Rig::new();
        rig.take("pi/status", "online");
        rig.take("pi/front/state", "{}");
        rig.take("pi/back/state", "{}");
        rig.after(SYNC_TIME * 2);
        let now = rig.now;
        assert!(rig.directory.connected(now));
        assert_eq!(rig.cameras(), "pi/back pi/front", "nothing goes because of a connection");
        rig.take("pi/front/state", "{}");
        rig.after(SYNC_TIME);
        assert_eq!(rig.cameras(), "pi/front");
    }

    #[test]
    fn a_broker_that_announces_without_end_takes_no_memory() {
        let mut rig = Rig::new();
        for number in 0..MOST_CAMERAS {
            rig.take(&format!("pi{number}/status"), "online");
            rig.take(&format!("pi{number}/front/state"), "{}");
        }
        for topic in ["one/status", "one/front/state"] {
            let topic = format!("porthole/{topic}");
            assert_eq!(rig.directory.take(&rig.filter, &topic, b"online", rig.now), Err(DirectoryFull));
        }
        rig.take("pi7/front/state", "{ }");
        assert_eq!(rig.directory.cameras(rig.now).len(), MOST_CAMERAS);
        rig.take("pi7/front/state", "");
        rig.take("pi8/one-more/state", "{}");
        assert_eq!(rig.directory.cameras(rig.now).len(), MOST_CAMERAS);
    }
}
