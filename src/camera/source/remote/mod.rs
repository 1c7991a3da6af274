//! Cameras on other machines.
//!
//! From the top down, each imports only what is below:
//!
//! | file or folder | what belongs there |
//! |---|---|
//! | `http/` | `http://` and `https://`: multipart streams and single JPEGs |
//! | `ws/` | `ws://` and `wss://`: another Porthole |
//! | `mqtt/` | `mqtt://` and `mqtts://`: another Porthole, through a broker |
//! | `tcp` | `tcp://`: JPEGs or pickles back to back |
//! | `endpoint` | what the sources above share: URL, settings, runtime |
//! | `runtime` | runs what waits for the network on the capture thread |
//! | `connect` | connections to the machine of a URL |
//! | `authentication` | the `Authorization` header, and the challenges of servers |
//! | `credentials` | passwords and tokens |
//! | `clock` | the clock of another machine |
//! | `error` | what can be wrong, and what to do |
//! | `pickle` | pictures in Python pickles |
//! | `url` | the URL of a camera |
#![forbid(unsafe_code)]

pub(crate) mod authentication;
mod clock;
mod connect;
pub(in crate::camera) mod credentials;
mod endpoint;
pub(in crate::camera) mod error;
pub(crate) mod http;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
pub(crate) mod pickle;
mod runtime;
mod tcp;
pub(in crate::camera) mod url;
mod ws;

use std::sync::Arc;

use super::source_trait::Source;
use crate::camera::settings::CameraSettings;
use crate::camera::wake::Waker;
#[cfg(feature = "mqtt")]
use crate::mqtt::BrokerUrl;
#[cfg(feature = "mqtt")]
use crate::status::Counters;
use url::{RemoteUrl, Scheme};

/// Creates the source for `url`.
pub(super) fn create(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Box<dyn Source> {
    match url.scheme() {
        Scheme::Http | Scheme::Https => Box::new(http::HttpSource::new(url, settings, waker)),
        Scheme::Ws | Scheme::Wss => Box::new(ws::WsSource::new(url, settings, waker)),
        Scheme::Tcp => Box::new(tcp::TcpSource::new(url, settings, waker)),
    }
}

/// Creates the source for a camera that is published to the broker at `url`.
#[cfg(feature = "mqtt")]
pub(super) fn create_published(
    url: BrokerUrl,
    settings: &CameraSettings,
    counters: &Counters,
    waker: &Arc<Waker>,
) -> Box<dyn Source> {
    Box::new(mqtt::BrokerSource::new(url, settings, counters, waker))
}
