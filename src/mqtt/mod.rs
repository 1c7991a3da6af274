//! MQTT 3.1.1 as the edge, which publishes cameras, and the front end, which shows them, share it.
//!
//! From the top down, each imports only what is below:
//!
//! | file | what belongs there |
//! |---|---|
//! | `failover` | [`BrokerFailover`]: several sessions where a broker has several addresses |
//! | `session` | [`BrokerSession`]: one connection to a broker after another |
//! | `handshake` | from the options to a connection that the broker accepted |
//! | `link` | [`BrokerLink`]: what is written to one connection, and how much of it is on its way |
//! | `size_guard` | the size of messages that a broker takes |
//! | `packets` | packets from and to bytes |
//! | `options` | [`BrokerOptions`]: what the configuration says of a broker |
//! | `error` | [`MqttError`]: what can be wrong, and what to do |
//! | `topics` | the names of topics |
//! | `watch` | what a front end says of itself: for how long it wants live frames |
//! | `url`, `backoff` | plain types of the above |
//!
//! The packets are those of the crate rumqttc. Its event loop is not used: it does not give the socket, whose queue tells how
//! many frames are on their way, it reads nothing while it writes, and it copies every frame.
//!
//! Which topics are published or subscribed to does not belong here, nor what is done about a message.
#![forbid(unsafe_code)]

mod backoff;
pub(crate) mod camera_filter;
mod error;
mod failover;
mod handshake;
mod link;
mod options;
pub(crate) mod packets;
mod session;
mod size_guard;
pub(crate) mod topics;
mod url;
pub(crate) mod watch;

pub use camera_filter::CameraFilter;
pub(crate) use error::MqttError;
pub(crate) use failover::{BrokerFailover, FailoverHandles};
pub(crate) use link::{BrokerLink, FramesInFlight, NotPublished};
pub use options::BrokerAccess;
pub(crate) use options::{BrokerKeys, BrokerOptions, LastWill};
pub(crate) use session::{BrokerEvent, BrokerHandle, BrokerSession};
pub use url::BrokerUrl;
