//! What is told about the service, as plain data.
#![forbid(unsafe_code)]

use crate::camera::Control;
use crate::mqtt::topics::HostTopics;

/// The service and its cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnnouncedDevice {
    /// The name of the machine.
    pub(crate) host: String,
    /// The version of the service.
    pub(crate) version: String,
    /// The topics of the service.
    pub(crate) topics: HostTopics,
    /// Where a browser finds the page; without the token, as everybody at the broker may read it.
    pub(crate) configuration_url: Option<String>,
    /// The cameras.
    pub(crate) cameras: Vec<AnnouncedCamera>,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnnouncedCamera {
    /// Its name in topics.
    pub(crate) name: String,
    /// Its controls; `None` while they are not known, as its driver does not answer.
    pub(crate) controls: Option<Vec<Control>>,
}
