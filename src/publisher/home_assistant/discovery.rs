//! Which messages are due: all at a new session and when Home Assistant has started, one after a change, and those that take
//! away what is no more.
//!
//! The broker keeps the messages, so it also is the memory of what was announced before a restart: the service subscribes to
//! its own messages, and clears those of cameras and controls that it has no more. A message names each entity that is to go
//! before it is sent without it, and before it is cleared: at an empty message, release 2025.1.4 looks for the entities by
//! another name than the one that they were added by where the topic has a node ID, and finds none. (2026.11 finds them.)
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::device_message::{Components, DeviceMessage, is_of_control};
use super::discovery_topics::{DiscoveryTopics, is_id};
use super::facts::AnnouncedDevice;

/// What Home Assistant says when it has started: `DEFAULT_BIRTH` of `const.py`.
const BIRTH: &[u8] = b"online";

/// A message to publish, retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Its topic.
    pub(crate) topic: String,
    /// The message; empty to clear what the broker keeps.
    pub(crate) payload: String,
}

/// Knows what is announced, and what is to be announced.
#[derive(Debug)]
pub(crate) struct Discovery {
    topics: DiscoveryTopics,
    version: String,
    /// The messages that are to stand at the broker, by camera.
    wanted: BTreeMap<String, DeviceMessage>,
    /// The entities that Home Assistant may know, by camera: those announced here, and those that were found at the broker.
    standing: BTreeMap<String, Components>,
    /// The last message of each camera.
    announced: BTreeMap<String, String>,
}

impl Discovery {
    /// Nothing is announced yet.
    pub(crate) fn new(topics: DiscoveryTopics, device: &AnnouncedDevice) -> Self {
        let mut discovery = Self {
            topics,
            version: device.version.clone(),
            wanted: BTreeMap::new(),
            standing: BTreeMap::new(),
            announced: BTreeMap::new(),
        };
        discovery.want(device);
        discovery
    }

    /// A session with the broker has begun, which may have lost everything. Returns all messages.
    pub(crate) fn connected(&mut self) -> Vec<Announcement> {
        self.announced.clear();
        self.due()
    }

    /// Returns the messages of what has changed.
    pub(crate) fn update(&mut self, device: &AnnouncedDevice) -> Vec<Announcement> {
        self.want(device);
        self.due()
    }

    /// Takes a message from the broker. Returns what is due because of it.
    pub(crate) fn received(&mut self, topic: &str, payload: &[u8], retained: bool) -> Vec<Announcement> {
        if let Some(camera) = self.topics.camera_of(topic) {
            // What is not retained is what was published a moment ago, by this service as a rule.
            if !retained || payload.is_empty() {
                return Vec::new();
            }
            let standing = self.standing.entry(camera.clone()).or_default();
            for (name, entity) in components_of(payload) {
                standing.entry(name).or_insert(entity);
            }
            return self.due_of(&camera);
        }
        let has_started = self.topics.is_birth(topic) && payload == BIRTH;
        if has_started { self.connected() } else { Vec::new() }
    }

    fn want(&mut self, device: &AnnouncedDevice) {
        self.wanted.clear();
        if self.topics.is_enabled() {
            let message = |camera| DeviceMessage::new(self.topics.service_id(), device, camera);
            let cameras = device.cameras.iter().filter(|camera| is_id(&camera.name));
            self.wanted.extend(cameras.map(|camera| (camera.name.clone(), message(camera))));
        }
    }

    /// The messages that are due, of all cameras.
    fn due(&mut self) -> Vec<Announcement> {
        let mut cameras: Vec<String> = self.wanted.keys().chain(self.standing.keys()).cloned().collect();
        cameras.sort();
        cameras.dedup();
        cameras.iter().flat_map(|camera| self.due_of(camera)).collect()
    }

    /// The messages that are due, of one camera.
    fn due_of(&mut self, camera: &str) -> Vec<Announcement> {
        let topic = self.topics.config(camera);
        let announce = |payload| Announcement { topic: topic.clone(), payload };
        let standing = self.standing.remove(camera);
        let Some(message) = self.wanted.get(camera) else {
            self.announced.remove(camera);
            let Some(standing) = standing else { return Vec::new() };
            let removals = standing.iter().filter_map(removal).collect();
            let farewell = DeviceMessage::farewell(self.topics.service_id(), camera, &self.version);
            return vec![announce(farewell.payload(&removals)), announce(String::new())];
        };
        let mut components = message.components.clone();
        let mut gone = Components::new();
        for (name, entity) in standing.iter().flatten() {
            let now = components.get(name);
            if now.is_none() && !message.knows_controls && is_of_control(name) {
                // The camera is away. Its controls stay as they were.
                components.insert(name.clone(), entity.clone());
            } else if now.is_none_or(|now| platform(now) != platform(entity)) {
                gone.extend(removal((name, entity)));
            }
        }
        let payload = message.payload(&components);
        let mut due = Vec::new();
        if !gone.is_empty() {
            let mut leaving = components.clone();
            leaving.extend(gone);
            due.push(announce(message.payload(&leaving)));
        }
        if !due.is_empty() || self.announced.get(camera) != Some(&payload) {
            due.push(announce(payload.clone()));
        }
        self.announced.insert(camera.to_owned(), payload);
        self.standing.insert(camera.to_owned(), components);
        due
    }
}

/// The entities in a message that the broker has kept; none if it is no such message.
fn components_of(payload: &[u8]) -> Components {
    let mut message: Map<String, Value> = serde_json::from_slice(payload).unwrap_or_default();
    match message.remove("cmps") {
        Some(Value::Object(mut components)) => {
            components.retain(|_, entity| platform(entity).is_some());
            components
        }
        _ => Components::new(),
    }
}

/// What takes an entity away: its platform and nothing else.
fn removal((name, entity): (&String, &Value)) -> Option<(String, Value)> {
    platform(entity).map(|platform| (name.clone(), json!({ "p": platform })))
}

fn platform(entity: &Value) -> Option<&str> {
    entity.get("p")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::super::control_entity::tests::control;
    use super::super::discovery_topics::DiscoverySettings;
    use super::super::facts::AnnouncedCamera;
    use super::*;
    use crate::camera::{Control, ControlKind};
    use crate::mqtt::topics::HostTopics;

    const FRONT: &str = "homeassistant/device/porthole_nest/front/config";
    const BACK: &str = "homeassistant/device/porthole_nest/back/config";

    fn topics(enabled: bool) -> DiscoveryTopics {
        let settings = DiscoverySettings { enabled, prefix: "homeassistant".into() };
        DiscoveryTopics::new(settings, &host_topics())
    }

    fn host_topics() -> HostTopics {
        HostTopics::new("porthole/{host}", "nest").unwrap()
    }

    fn device(cameras: &[(&str, Option<Vec<Control>>)]) -> AnnouncedDevice {
        let camera = |(name, controls): &(&str, Option<Vec<Control>>)| AnnouncedCamera {
            name: (*name).into(),
            controls: controls.clone(),
        };
        AnnouncedDevice {
            host: "nest".into(),
            version: "1.2.3".into(),
            topics: host_topics(),
            configuration_url: None,
            cameras: cameras.iter().map(camera).collect(),
        }
    }

    /// Topic, and the names of the controls in the message: `-NAME` of one that is taken away, nothing if it is cleared.
    fn told(due: &[Announcement]) -> Vec<(&str, String)> {
        let controls = |payload: &str| {
            let components = components_of(payload.as_bytes());
            let of_control = components.iter().filter(|(name, _)| is_of_control(name));
            let names = of_control.map(|(name, entity)| match entity.as_object().unwrap().len() {
                1 => format!("-{}", &name["control_".len()..]),
                _ => name["control_".len()..].to_owned(),
            });
            names.collect::<Vec<_>>().join(" ")
        };
        let text = |payload: &str| match payload {
            "" => "cleared".to_owned(),
            payload => controls(payload),
        };
        due.iter().map(|announcement| (announcement.topic.as_str(), text(&announcement.payload))).collect()
    }

    fn controls(names: &[&str]) -> Option<Vec<Control>> {
        Some(names.iter().map(|name| control(name, ControlKind::Integer)).collect())
    }

    #[test]
    fn everything_is_told_at_a_new_session_and_then_what_changes() {
        let mut device = device(&[("front", controls(&["gain"])), ("back", None), ("bad name", None)]);
        let mut discovery = Discovery::new(topics(true), &device);
        let first = discovery.connected();
        assert_eq!(told(&first), [(BACK, String::new()), (FRONT, "gain".into())]);
        assert_eq!(discovery.update(&device), [], "nothing has changed");
        device.cameras[1].controls = controls(&["hue"]);
        assert_eq!(told(&discovery.update(&device)), [(BACK, "hue".into())]);
        assert_eq!(told(&discovery.connected()), [(BACK, "hue".into()), (FRONT, "gain".into())]);
    }

    #[test]
    fn everything_is_told_again_when_home_assistant_has_started() {
        let device = device(&[("front", None)]);
        let mut discovery = Discovery::new(topics(true), &device);
        let first = discovery.connected();
        assert_eq!(discovery.received("homeassistant/status", b"online", false), first);
        assert_eq!(discovery.received("homeassistant/status", b"offline", false), []);
        assert_eq!(discovery.received("porthole/nest/front/image/get", b"PRESS", false), []);
        let elsewhere = DiscoverySettings { enabled: true, prefix: "home/ha".into() };
        let mut discovery = Discovery::new(DiscoveryTopics::new(elsewhere, &host_topics()), &device);
        assert_eq!(discovery.received("home/ha/status", b"online", true).len(), 1);
        assert_eq!(discovery.received("homeassistant/status", b"online", true).len(), 1);
    }

    #[test]
    fn what_stands_at_the_broker_and_is_no_more_is_cleared() {
        let mut old = Discovery::new(
            topics(true),
            &device(&[("front", controls(&["gain", "hue"])), ("back", controls(&["gain"]))]),
        );
        let kept = old.connected();
        let mut new = Discovery::new(topics(true), &device(&[("front", controls(&["gain"]))]));
        let first = new.connected();
        assert_eq!(told(&first), [(FRONT, "gain".into())]);
        let due = new.received(BACK, kept[0].payload.as_bytes(), true);
        assert_eq!(told(&due), [(BACK, "-gain".into()), (BACK, "cleared".into())]);
        let removals = components_of(due[0].payload.as_bytes());
        assert_eq!(removals.len(), 10, "every entity is named");
        assert!(removals.values().all(|removal| removal.as_object().unwrap().len() == 1), "{removals:?}");
        let due = new.received(FRONT, kept[1].payload.as_bytes(), true);
        assert_eq!(told(&due), [(FRONT, "gain -hue".into()), (FRONT, "gain".into())]);
        assert_eq!(new.received(FRONT, first[0].payload.as_bytes(), true), []);
        assert_eq!(new.received(BACK, kept[0].payload.as_bytes(), false), [], "its own, or another's");
        assert_eq!(new.received(BACK, b"", true), []);
    }

    #[test]
    fn cameras_and_controls_that_go_while_it_runs_are_cleared() {
        let mut discovery =
            Discovery::new(topics(true), &device(&[("back", controls(&[])), ("front", controls(&["gain"]))]));
        discovery.connected();
        let mut without = device(&[("front", controls(&[]))]);
        let due = discovery.update(&without);
        let cleared = [
            (BACK, String::new()),
            (BACK, "cleared".to_owned()),
            (FRONT, "-gain".to_owned()),
            (FRONT, String::new()),
        ];
        assert_eq!(told(&due), cleared);
        assert_eq!(discovery.update(&without), []);
        without.cameras[0].controls = Some(vec![control("gain", ControlKind::Boolean)]);
        assert_eq!(told(&discovery.update(&without)), [(FRONT, "gain".into())]);
        without.cameras[0].controls = controls(&["gain"]);
        let due =
            told(&discovery.update(&without)).into_iter().map(|(_, controls)| controls).collect::<Vec<_>>();
        assert_eq!(due, ["-gain", "gain"], "a switch goes before a number of the same name comes");
    }

    #[test]
    fn controls_of_a_camera_that_is_away_stay_as_they_were() {
        let mut before = Discovery::new(topics(true), &device(&[("front", controls(&["gain", "hue"]))]));
        let kept = before.connected();
        let mut discovery = Discovery::new(topics(true), &device(&[("front", None)]));
        assert_eq!(told(&discovery.connected()), [(FRONT, String::new())]);
        let due = discovery.received(FRONT, kept[0].payload.as_bytes(), true);
        assert_eq!(told(&due), [(FRONT, "gain hue".into())]);
        assert_eq!(due, kept, "as before the restart");
        let due = discovery.update(&device(&[("front", controls(&["gain"]))]));
        assert_eq!(told(&due), [(FRONT, "gain -hue".into()), (FRONT, "gain".into())]);
    }

    #[test]
    fn without_discovery_what_stands_at_the_broker_is_cleared() {
        let device = device(&[("front", controls(&["gain"]))]);
        let kept = Discovery::new(topics(true), &device).connected();
        let mut discovery = Discovery::new(topics(false), &device);
        assert_eq!(discovery.connected(), []);
        let due = discovery.received(FRONT, kept[0].payload.as_bytes(), true);
        assert_eq!(told(&due), [(FRONT, "-gain".into()), (FRONT, "cleared".into())]);
        assert_eq!(discovery.received("homeassistant/status", b"online", false), []);
    }

    #[test]
    fn nothing_at_the_broker_can_confuse_it() {
        let mut discovery = Discovery::new(topics(true), &device(&[("front", None)]));
        discovery.connected();
        let junk: [&[u8]; 6] = [
            b"\xff\xfe",
            b"[]",
            b"{\"cmps\":[1]}",
            b"{\"cmps\":{\"control_x\":7}}",
            b"{\"cmps\":{\"old\":null}}",
            b"null",
        ];
        for payload in junk {
            assert!(discovery.received(FRONT, payload, true).len() <= 1, "{payload:?}");
        }
        let due = discovery.received(BACK, b"junk", true);
        assert_eq!(told(&due).last(), Some(&(BACK, "cleared".to_owned())));
    }
}
