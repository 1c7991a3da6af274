//! The topics of discovery: where the messages are, and where Home Assistant says that it has started.
#![forbid(unsafe_code)]

use blake2::{Blake2s256, Digest};

use crate::mqtt::topics::HostTopics;

/// Where Home Assistant says that it has started, unless it is configured otherwise: `DEFAULT_PREFIX` and `DEFAULT_BIRTH` of
/// `const.py`. The topic does not change with the prefix of discovery.
const BIRTH_TOPIC: &str = "homeassistant/status";

/// Whether cameras are announced, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Cameras are announced. Otherwise what was announced before is taken away.
    pub enabled: bool,
    /// The topic below which Home Assistant looks.
    pub prefix: String,
}

/// The topics of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryTopics {
    settings: DiscoverySettings,
    service_id: String,
}

impl DiscoveryTopics {
    /// Those of the service that has these topics.
    pub(crate) fn new(settings: DiscoverySettings, topics: &HostTopics) -> Self {
        Self { settings, service_id: service_id(topics) }
    }

    /// What to subscribe to. Before anything is published: the broker answers with what it still has from earlier.
    pub(crate) fn filters(&self) -> Vec<String> {
        let own = self.config("+");
        let births = self.births().filter(|_| self.settings.enabled);
        std::iter::once(own).chain(births).collect()
    }

    /// Whether a message at this topic belongs to discovery.
    pub(crate) fn takes(&self, topic: &str) -> bool {
        self.is_birth(topic) || self.camera_of(topic).is_some()
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.settings.enabled
    }

    pub(super) fn service_id(&self) -> &str {
        &self.service_id
    }

    /// The topic of a camera's message. It is the device's ID there; the service is what Home Assistant calls the node's ID.
    pub(super) fn config(&self, camera: &str) -> String {
        format!("{}/device/{}/{camera}/config", self.settings.prefix, self.service_id)
    }

    /// The camera whose message is at this topic.
    pub(super) fn camera_of(&self, topic: &str) -> Option<String> {
        let rest = topic.strip_prefix(&self.settings.prefix)?.strip_prefix("/device/")?;
        let camera = rest.strip_prefix(&self.service_id)?.strip_prefix('/')?.strip_suffix("/config")?;
        (!camera.is_empty() && !camera.contains('/')).then(|| camera.to_owned())
    }

    /// Whether Home Assistant says there that it has started.
    pub(super) fn is_birth(&self, topic: &str) -> bool {
        self.births().any(|birth| birth == topic)
    }

    /// Where it may say so: by default, and by custom with another prefix.
    fn births(&self) -> impl Iterator<Item = String> + use<> {
        let of_prefix = format!("{}/status", self.settings.prefix);
        let default = Some(BIRTH_TOPIC.to_owned()).filter(|default| *default != of_prefix);
        std::iter::once(of_prefix).chain(default)
    }
}

/// The name of the service in topics of Home Assistant. It follows from the service's own topic alone, so it is the same after
/// every restart, and no two services at a broker have the same.
fn service_id(topics: &HostTopics) -> String {
    let base = topics.base();
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let id: String = base.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    if base.chars().all(|c| is_kept(c) || c == '/') {
        return id;
    }
    // Other characters have become `_` as well, so another topic may have become the same.
    let digest = Blake2s256::digest(base.as_bytes());
    format!("{id}_{}", hex::encode(&digest[..4]))
}

/// Whether Home Assistant takes `name` as a level of a topic of its own: `TOPIC_MATCHER` of `discovery.py`.
pub(super) fn is_id(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(enabled: bool, prefix: &str) -> DiscoveryTopics {
        let settings = DiscoverySettings { enabled, prefix: prefix.into() };
        DiscoveryTopics::new(settings, &HostTopics::new("porthole/nest", "host").unwrap())
    }

    fn id(topic: &str) -> String {
        service_id(&HostTopics::new(topic, "host").unwrap())
    }

    #[test]
    fn the_id_of_a_service_is_that_of_no_other_topic() {
        assert_eq!(id("porthole/nest-box"), "porthole_nest-box");
        assert_eq!(id("farm/barn/cameras"), "farm_barn_cameras");
        let others = ["farm_barn/cameras", "farm/barn cameras", "farm/barn.cameras", "farm/bärn/cameras"];
        let ids = others.map(id);
        for (topic, id_of_topic) in others.iter().zip(&ids) {
            assert!(is_id(id_of_topic), "{id_of_topic}");
            assert_eq!(id(topic), *id_of_topic, "the same at every start");
            assert_eq!(ids.iter().filter(|other| *other == id_of_topic).count(), 1, "{id_of_topic}");
        }
    }

    #[test]
    fn its_own_messages_and_those_of_home_assistant_are_subscribed_to() {
        let own = "homeassistant/device/porthole_nest/+/config";
        assert_eq!(topics(true, "homeassistant").filters(), [own, "homeassistant/status"]);
        assert_eq!(topics(false, "homeassistant").filters(), [own], "only to clear what is there");
        let filters = ["home/ha/device/porthole_nest/+/config", "home/ha/status", "homeassistant/status"];
        assert_eq!(topics(true, "home/ha").filters(), filters);
    }

    #[test]
    fn a_topic_of_its_own_names_the_camera() {
        let topics = topics(true, "homeassistant");
        assert_eq!(topics.camera_of(&topics.config("front_1")).as_deref(), Some("front_1"));
        for other in [
            "homeassistant/device/porthole_nest2/front/config",
            "homeassistant/device/porthole_nest/a/b/config",
            "homeassistant/device/porthole_nest//config",
            "homeassistant/device/porthole_nest/config",
            "homeassistant/status",
            "homeassistant",
            "",
        ] {
            assert_eq!(topics.camera_of(other), None, "{other}");
        }
        assert!(topics.takes("homeassistant/status") && topics.takes(&topics.config("front")));
        assert!(!topics.takes("porthole/nest/status"));
    }
}
