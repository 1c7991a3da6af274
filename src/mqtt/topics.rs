//! The names of topics below `porthole/HOST`. The manual's chapter on MQTT lists them; other programs rely on them.
//!
//! A name that is one level of a topic, of a host, a camera or a control, has `%XX` in place of what a level cannot have.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a machine says of itself at its topic `status`.
pub(crate) const ONLINE: &str = "online";
/// The same, or its broker says it.
pub(crate) const OFFLINE: &str = "offline";

/// Longest first part of a topic. The names below it fit into what MQTT allows, 65,535 bytes, many times over.
const LONGEST_BASE: usize = 256;
/// What stands for the name of this machine in the configured topic.
const HOST: &str = "{host}";
/// What a level cannot have: the separator, wildcards (MQTT 3.1.1, section 4.7.1), control characters, and the sign of these
/// escapes. `$` is reserved at the beginning of a topic (section 4.7.2).
const ESCAPED: &AsciiSet = &CONTROLS.add(b'/').add(b'+').add(b'#').add(b'%').add(b'$');

/// `name` as one level of a topic.
pub fn level(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The name that a level stands for; `None` if that is not UTF-8.
pub(crate) fn name_of(level: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(level).decode_utf8().ok()
}

/// The topics of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTopics {
    base: String,
}

impl HostTopics {
    /// The topics below `template`, in which `{host}` stands for the name of this machine.
    ///
    /// # Errors
    /// What is wrong with `template`, and what it must be.
    pub fn new(template: &str, host: &str) -> Result<Self, String> {
        let base = template.replace(HOST, &level(host));
        let is_topic = !base.is_empty() && !base.split('/').any(str::is_empty) && !base.starts_with('$');
        if base.len() > LONGEST_BASE
            || !is_topic
            || base.chars().any(|c| c.is_control() || "+#{}".contains(c))
        {
            return Err(format!(
                "must be a topic like \"porthole/{HOST}\": levels between single `/`, without + # and $ at its beginning, of at most \
                 {LONGEST_BASE} bytes"
            ));
        }
        Ok(Self { base })
    }

    /// All of them are below this topic.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the machine is there: `online` or `offline`.
    pub(crate) fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// The topics of one camera.
    pub(crate) fn camera(&self, name: &str) -> CameraTopics {
        CameraTopics { base: format!("{}/{}", self.base, level(name)) }
    }

    /// The filter of the states of all cameras.
    pub(crate) fn any_state(&self) -> String {
        format!("{}/+/state", self.base)
    }

    /// The camera whose state is at `topic`; `None` for other topics.
    pub(crate) fn state_of<'a>(&self, topic: &'a str) -> Option<Cow<'a, str>> {
        let below = topic.strip_prefix(self.base.as_str())?.strip_prefix('/')?;
        name_of(below.strip_suffix("/state").filter(|camera| !camera.contains('/'))?)
    }

    /// What a topic asks for; `None` if it asks for nothing.
    pub fn request<'a>(&self, topic: &'a str) -> Option<(Cow<'a, str>, CameraRequest<'a>)> {
        let below = topic.strip_prefix(self.base.as_str())?.strip_prefix('/')?;
        let (camera, below) = below.split_once('/')?;
        let request = match below {
            "watch" => CameraRequest::Watch,
            "image/get" => CameraRequest::Image,
            _ => {
                let control = below.strip_prefix("control/")?.strip_suffix("/set")?;
                CameraRequest::SetControl(name_of(control).filter(|_| !control.contains('/'))?)
            }
        };
        Some((name_of(camera)?, request))
    }
}

/// What a message asks of a camera, by its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraRequest<'a> {
    /// A front end wants live frames.
    Watch,
    /// One image.
    Image,
    /// The control of this name is to be set.
    SetControl(Cow<'a, str>),
}

/// The topics of one camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CameraTopics {
    base: String,
}

impl CameraTopics {
    /// The topics below `base`, the topic of a camera.
    pub(crate) fn below(base: &str) -> Self {
        Self { base: base.to_owned() }
    }

    /// All of them are below this topic.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The topic of its machine.
    pub(crate) fn host(&self) -> &str {
        self.base.rsplit_once('/').map_or("", |(host, _)| host)
    }

    /// Whether its machine is there: `online` or `offline`.
    pub(crate) fn status_of_host(&self) -> String {
        format!("{}/status", self.host())
    }

    /// Its part of `/state`.
    pub(crate) fn state(&self) -> String {
        format!("{}/state", self.base)
    }

    /// Now and then a JPEG.
    pub(crate) fn image(&self) -> String {
        format!("{}/image", self.base)
    }

    /// To it: asks for one [`image`](Self::image).
    pub(crate) fn image_get(&self) -> String {
        format!("{}/image/get", self.base)
    }

    /// To it: a front end, and for how long it wants [`live`](Self::live).
    pub(crate) fn watch(&self) -> String {
        format!("{}/watch", self.base)
    }

    /// To a front end of this name: the time here, when it has asked.
    pub(crate) fn watch_answer(&self, viewer: &str) -> String {
        format!("{}/{}", self.watch(), level(viewer))
    }

    /// Messages of `porthole.v1` while they are wanted.
    pub(crate) fn live(&self) -> String {
        format!("{}/live", self.base)
    }

    /// The value of a control.
    pub(crate) fn control(&self, name: &str) -> String {
        format!("{}/control/{}", self.base, level(name))
    }

    /// To it: a new value of a control.
    pub(crate) fn set_control(&self, name: &str) -> String {
        format!("{}/set", self.control(name))
    }

    /// The filter of all topics of [`set_control`](Self::set_control).
    pub(crate) fn set_any_control(&self) -> String {
        format!("{}/control/+/set", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> HostTopics {
        HostTopics::new("porthole/{host}", "pi").unwrap()
    }

    #[test]
    fn topics_are_named_as_documented() {
        let camera = topics().camera("front");
        assert_eq!(topics().status(), "porthole/pi/status");
        let names = [camera.state(), camera.image(), camera.image_get(), camera.watch(), camera.live()];
        assert_eq!(
            names,
            ["state", "image", "image/get", "watch", "live"].map(|n| format!("porthole/pi/front/{n}"))
        );
        assert_eq!(camera.watch_answer("web/1"), "porthole/pi/front/watch/web%2F1");
        assert_eq!(camera.control("gain"), "porthole/pi/front/control/gain");
        assert_eq!(camera.set_control("gain"), "porthole/pi/front/control/gain/set");
        assert_eq!(camera.set_any_control(), "porthole/pi/front/control/+/set");
    }

    #[test]
    fn a_name_is_one_level_whatever_it_has() {
        for name in ["front", "a/b", "+", "#", "100%", "$x", "naïve", "a\0b", "%2F"] {
            let level = level(name);
            assert!(!level.contains(['/', '+', '#', '\0', '$']), "{level}");
            assert_eq!(name_of(&level).unwrap(), name);
            let topics = topics();
            let (camera, request) = topics.camera(name).watch().leak_request(&topics);
            assert_eq!((camera.as_str(), request.as_str()), (name, "Watch"));
        }
    }

    trait LeakRequest {
        fn leak_request(&self, topics: &HostTopics) -> (String, String);
    }

    impl LeakRequest for String {
        fn leak_request(&self, topics: &HostTopics) -> (String, String) {
            let (camera, request) = topics.request(self).unwrap();
            (camera.into_owned(), format!("{request:?}"))
        }
    }

    #[test]
    fn requests_are_told_from_other_topics() {
        let topics = topics();
        let request = |topic| topics.request(topic).map(|(camera, request)| (camera.into_owned(), request));
        let front = |request| Some(("front".to_owned(), request));
        assert_eq!(request("porthole/pi/front/watch"), front(CameraRequest::Watch));
        assert_eq!(request("porthole/pi/front/image/get"), front(CameraRequest::Image));
        let set = CameraRequest::SetControl("a/b".into());
        assert_eq!(request("porthole/pi/front/control/a%2Fb/set"), front(set));
        for other in [
            "",
            "porthole/pi",
            "porthole/pi/",
            "porthole/pi/status",
            "porthole/pi/front/live",
            "porthole/other/front/watch",
            "porthole/pi/front/control/a/b/set",
            "porthole/pi/front/control/set",
            "porthole/pix/front/watch",
            "porthole/pi/%ff/watch",
        ] {
            assert_eq!(request(other), None, "{other}");
        }
    }

    #[test]
    fn a_template_is_a_topic() {
        assert_eq!(HostTopics::new("{host}", "a/b").unwrap().base(), "a%2Fb");
        let long = "x".repeat(LONGEST_BASE + 1);
        for bad in ["", "/a", "a/", "a//b", "a/+", "#", "$SYS/a", "a/{name}", "a\nb", long.as_str()] {
            let error = HostTopics::new(bad, "pi").unwrap_err();
            assert!(error.contains("porthole/{host}"), "{bad}: {error}");
        }
    }
}
