//! The `source` key of a camera.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::shell_command::{ShellCommand, without_passwords};
use super::source::RemoteUrl;
#[cfg(feature = "mqtt")]
use crate::mqtt::{BrokerUrl, CameraFilter};

/// Where pictures come from, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// The first capture device.
    Auto,
    /// A V4L2 device, by its node or a stable name.
    Device(PathBuf),
    /// A moving test pattern.
    Pattern,
    /// The standard output of a shell command.
    Exec(ShellCommand),
    /// A file of JPEGs, played in a loop.
    File(PathBuf),
    /// A camera on another machine.
    Remote(RemoteUrl),
    /// A camera that another machine publishes to a broker: the path of the URL is its topic. Or all cameras that a broker announces:
    /// the path is a [`CameraFilter`].
    #[cfg(feature = "mqtt")]
    Broker(BrokerUrl),
    /// A Raspberry Pi's own camera.
    RpiCam(RpiCamSelector),
}

/// One of a Raspberry Pi's cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpiCamSelector {
    /// By its number, from 0.
    Index(u32),
    /// By the beginning of its model, such as `imx708`, or by its whole path in the device tree.
    Name(String),
}

impl fmt::Display for RpiCamSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "rpicam:{index}"),
            Self::Name(name) => write!(f, "rpicam:{name}"),
        }
    }
}

impl SourceSpec {
    /// Whether it stands for all cameras that a broker announces.
    pub fn is_many(&self) -> bool {
        #[cfg(feature = "mqtt")]
        if let Self::Broker(url) = self {
            return matches!(CameraFilter::parse(url.topic()), Ok(Some(_)));
        }
        false
    }
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = "write auto, pattern, a device path like /dev/video0, rpicam, exec:COMMAND, file:PATH, \
                      or a URL that begins with http://, https://, ws://, wss://, tcp://, mqtt:// or mqtts://";
        let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        match scheme.as_ref().map(|(scheme, rest)| (scheme.as_str(), *rest)) {
            Some(("exec", command)) if !command.trim().is_empty() => {
                Ok(Self::Exec(ShellCommand::new(command)))
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("rpicam", camera)) if !camera.trim().is_empty() => {
                let camera = camera.trim();
                let name = || RpiCamSelector::Name(camera.to_owned());
                Ok(Self::RpiCam(camera.parse().map_or_else(|_| name(), RpiCamSelector::Index)))
            }
            _ if text.eq_ignore_ascii_case("rpicam") => Ok(Self::RpiCam(RpiCamSelector::Index(0))),
            _ if RemoteUrl::has_scheme(text) => text.parse().map(Self::Remote),
            Some(("mqtt" | "mqtts", rest)) if rest.starts_with("//") => published(text),
            _ if text.eq_ignore_ascii_case("auto") => Ok(Self::Auto),
            _ if text.eq_ignore_ascii_case("pattern") => Ok(Self::Pattern),
            _ if text.starts_with('/') => Ok(Self::Device(text.into())),
            _ => Err(format!("source {:?} is not known; {remedy}", without_passwords(text))),
        }
    }
}

/// A camera that is published to a broker.
#[cfg(feature = "mqtt")]
fn published(text: &str) -> Result<SourceSpec, String> {
    let failed = |why: &str| format!("source {:?}: {why}", without_passwords(text));
    let url: BrokerUrl = text.parse().map_err(|why: String| failed(&why))?;
    CameraFilter::parse(url.topic()).map_err(failed)?;
    Ok(SourceSpec::Broker(url))
}

#[cfg(not(feature = "mqtt"))]
fn published(_: &str) -> Result<SourceSpec, String> {
    Err("this build has no feature mqtt; use ws:// to show another porthole".to_owned())
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Pattern => f.write_str("pattern"),
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Remote(url) => write!(f, "{url}"),
            #[cfg(feature = "mqtt")]
            Self::Broker(url) => write!(f, "{url}"),
            Self::RpiCam(selector) => write!(f, "{selector}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_displayed_as_they_are_parsed() {
        for text in [
            "auto",
            "pattern",
            "/dev/v4l/by-id/usb-x",
            "exec:rpicam-vid -o -",
            "rpicam:1",
            "rpicam:imx708_wide",
            "file:a clip.mjpeg",
            "http://pi:8080/stream",
        ] {
            assert_eq!(text.parse::<SourceSpec>().unwrap().to_string(), text);
        }
    }

    #[cfg(feature = "mqtt")]
    #[test]
    fn a_published_camera_is_named_by_broker_and_topic() {
        let text = "mqtts://one:8883,[::1]:8884/porthole/pi/front";
        let spec: SourceSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        assert!(matches!(spec, SourceSpec::Broker(url) if url.topic() == "porthole/pi/front"));
        for text in [
            "mqtt://one",
            "mqtt://one/",
            "mqtt://one/front",
            "mqtt://one/porthole/+/+/+",
            "mqtt://one/porthole//front",
            "mqtt://one/porthole/pi/",
            "mqtt://me:secret@one:x/porthole/pi/front",
        ] {
            let error = text.parse::<SourceSpec>().unwrap_err();
            assert!(error.contains("mqtt://") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_error_for_an_unknown_source_lists_the_forms() {
        for text in ["", "video0", "rpicam:", "rpi", "exec:", "exec:  ", "file:", "rtsp://camera"] {
            let error = text.parse::<SourceSpec>().unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("/dev/video0"), "{error}");
        }
    }
}
