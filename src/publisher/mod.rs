//! Cameras published to an MQTT broker: the edge. An observer as the LEDs are: it reads the [status](crate::status) and the
//! [rings](crate::ring), and can delay neither a camera nor a viewer.
//!
//! From the top down, each imports only what is below:
//!
//! | file | what belongs there |
//! |---|---|
//! | `edge` | [`BrokerPublisher`]: what comes from the broker, and what is published at a new connection |
//! | `connection` | what is known of the connection, and whether the broker gives back what is published |
//! | `announce` | what Home Assistant is told, and when |
//! | `live` | live frames while a front end wants them |
//! | `image` | images now and then |
//! | `control`, `set_value` | controls, and what they are set to |
//! | `state` | the state |
//! | `retract` | what the broker keeps of cameras that are not configured any more |
//! | `watch` | the front ends that want live frames |
//! | `shared` | what the tasks of one camera share |
//! | `settings` | [`PublisherSettings`] |
//! | `home_assistant/` | the messages of Home Assistant's discovery, as plain data |
//!
//! The session with the broker and the names of topics belong to [`mqtt`](crate::mqtt).
#![forbid(unsafe_code)]

mod announce;
mod connection;
mod control;
mod edge;
mod home_assistant;
mod image;
mod live;
mod retract;
pub mod set_value;
mod settings;
mod shared;
mod state;
mod watch;

pub use edge::BrokerPublisher;
pub use home_assistant::DiscoverySettings;
pub use settings::{PublisherSettings, RING_PLACES};
