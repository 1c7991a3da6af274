//! The topics of all cameras that a path such as `porthole/+/+` stands for.
#![forbid(unsafe_code)]

use super::topics::name_of;

/// Stands for one level (MQTT 3.1.1, section 4.7.1.3).
const ANY: &str = "+";

/// The cameras below a topic: of any machine, of one, or those of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraFilter {
    /// What the topics of machines have in common.
    base: String,
    host: String,
    camera: String,
}

/// What a broker tells of cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnnouncementTopic<'a> {
    /// Whether the machine at this topic is there.
    Host(&'a str),
    /// Whether there is a camera at this topic.
    Camera(&'a str),
}

impl CameraFilter {
    /// The filter of a path; `None` if it is the topic of one camera.
    ///
    /// # Errors
    /// What is wrong with a path that is neither.
    pub fn parse(path: &str) -> Result<Option<Self>, &'static str> {
        const FORMS: &str = "the path must be the topic of one camera, such as mqtt://BROKER/porthole/HOST/CAMERA, or have + instead \
                             of HOST, of CAMERA or of both";
        let levels: Vec<&str> = path.split('/').collect();
        let [base @ .., host, camera] = &levels[..] else { return Err(FORMS) };
        let is_plain = |level: &&str| !level.is_empty() && !level.contains(['+', '#']);
        if !base.iter().all(is_plain)
            || ![host, camera].into_iter().all(|level| *level == ANY || is_plain(level))
        {
            return Err(FORMS);
        }
        if *host != ANY && *camera != ANY {
            return Ok(None);
        }
        // Topics of a broker's own begin with it (section 4.7.2).
        if base.first().is_none_or(|first| first.starts_with('$')) {
            return Err(FORMS);
        }
        Ok(Some(Self { base: base.join("/"), host: (*host).to_owned(), camera: (*camera).to_owned() }))
    }

    /// What is subscribed to.
    pub(crate) fn filters(&self) -> Vec<String> {
        let Self { base, host, camera } = self;
        vec![format!("{base}/{host}/status"), format!("{base}/{host}/{camera}/state")]
    }

    /// What a message at `topic` is about.
    pub(crate) fn announcement<'a>(&self, topic: &'a str) -> Option<AnnouncementTopic<'a>> {
        let levels = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let (at, what) = topic.rsplit_once('/')?;
        let matches = |wanted: &str, level: &str| !level.is_empty() && (wanted == ANY || wanted == level);
        match (levels.split('/').collect::<Vec<_>>().as_slice(), what) {
            ([host, _], "status") if matches(&self.host, host) => Some(AnnouncementTopic::Host(at)),
            ([host, camera, _], "state") if matches(&self.host, host) && matches(&self.camera, camera) => {
                Some(AnnouncementTopic::Camera(at))
            }
            _ => None,
        }
    }

    /// A name for the camera at `topic`: what this filter leaves open of it. `None` if it is not UTF-8.
    pub(crate) fn name(&self, topic: &str) -> Option<String> {
        let (host, camera) = topic.strip_prefix(&self.base)?.strip_prefix('/')?.split_once('/')?;
        let open =
            [(&self.host, host), (&self.camera, camera)].into_iter().filter(|(wanted, _)| *wanted == ANY);
        let names: Option<Vec<String>> = open.map(|(_, level)| Some(name_of(level)?.into_owned())).collect();
        Some(names?.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(path: &str) -> CameraFilter {
        CameraFilter::parse(path).unwrap().unwrap()
    }

    #[test]
    fn paths_of_one_camera_and_of_many_are_told_apart() {
        for one in ["porthole/pi/front", "pi/front", "a/b/c/d"] {
            assert_eq!(CameraFilter::parse(one), Ok(None), "{one}");
        }
        for many in ["porthole/+/+", "porthole/pi/+", "porthole/+/front", "a/b/+/+"] {
            assert!(CameraFilter::parse(many).unwrap().is_some(), "{many}");
        }
        for bad in [
            "",
            "front",
            "+/+",
            "$SYS/+/+",
            "porthole/+/+/+",
            "porthole/#",
            "porthole/a+/+",
            "porthole//+",
            "/+/+",
        ] {
            assert!(CameraFilter::parse(bad).unwrap_err().contains("HOST/CAMERA"), "{bad}");
        }
    }

    #[test]
    fn announcements_are_told_from_other_topics() {
        let all = filter("porthole/+/+");
        assert_eq!(all.filters(), ["porthole/+/status", "porthole/+/+/state"]);
        assert_eq!(all.announcement("porthole/pi/status"), Some(AnnouncementTopic::Host("porthole/pi")));
        let front = Some(AnnouncementTopic::Camera("porthole/pi/front"));
        assert_eq!(all.announcement("porthole/pi/front/state"), front);
        for other in [
            "",
            "porthole/pi",
            "porthole/pi/front/status",
            "porthole/pi/state",
            "portholes/pi/status",
            "porthole//front/state",
        ] {
            assert_eq!(all.announcement(other), None, "{other}");
        }
        let of_one = filter("porthole/pi/+");
        assert_eq!(of_one.announcement("porthole/pi/front/state"), front);
        assert_eq!(of_one.announcement("porthole/other/front/state"), None);
    }

    #[test]
    fn a_camera_is_named_by_what_the_filter_leaves_open() {
        assert_eq!(filter("porthole/+/+").name("porthole/pi/front").unwrap(), "pi-front");
        assert_eq!(filter("porthole/pi/+").name("porthole/pi/a%2Fb").unwrap(), "a/b");
        assert_eq!(filter("porthole/+/front").name("porthole/pi/front").unwrap(), "pi");
        assert_eq!(filter("porthole/+/+").name("porthole/pi/%ff"), None);
    }
}
