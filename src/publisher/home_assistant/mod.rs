//! Home Assistant's discovery by MQTT: the cameras appear there by themselves, each as a device with its picture, its state
//! and its controls.
//!
//! Here stand the messages, and which of them are due. Plain data goes in and plain data comes out: the connection to the
//! broker, and when it is made, do not belong here.
//!
//! Written by Home Assistant's own source, `homeassistant/components/mqtt/` of release 2025.1.4: `discovery.py`, `schemas.py`,
//! `abbreviations.py` and one file a platform. `tests/home_assistant` holds it against that release. Device discovery came with
//! 2024.11.
//!
//! From the top down, each imports only what is below:
//!
//! | file | what belongs there |
//! |---|---|
//! | `discovery` | which messages are due: at a new session, after a change, when Home Assistant has started, for what is gone |
//! | `device_message` | the message of one camera |
//! | `control_entity` | what a control of a camera is in Home Assistant |
//! | `discovery_topics` | where they are published |
//! | `facts` | what they tell |
#![forbid(unsafe_code)]

mod control_entity;
mod device_message;
mod discovery;
mod discovery_topics;
mod facts;

pub(crate) use discovery::{Announcement, Discovery};
pub use discovery_topics::DiscoverySettings;
pub(crate) use discovery_topics::DiscoveryTopics;
pub(crate) use facts::{AnnouncedCamera, AnnouncedDevice};
