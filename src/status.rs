//! The status of the service as plain data. Capture threads write it; the LEDs, `/state`, the metrics and the service manager
//! read it.
//!
//! A [`CameraReporter`] writes, a [`Watcher`] reads or waits for a change; neither blocks the other. Changes of state wake
//! watchers. Counters do not, because they change with every frame. How the status is shown does not belong here.
#![forbid(unsafe_code)]

mod announced;
mod broker;
mod counter;
mod counters;
mod mqtt;
mod source_info;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

pub use announced::{AnnouncedCounters, AnnouncedStatus};
pub use broker::BrokerCounters;
pub use counter::{Counter, Histogram};
pub use counters::Counters;
pub use mqtt::{Gauge, MqttCounters, MqttStatus};
pub use source_info::{CaptureMethod, Encoding, SourceInfo};

/// What a camera is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraState {
    /// There are no viewers, and the source is closed.
    #[default]
    Idle,
    /// The source is open or being opened; there is no frame yet.
    Starting,
    /// Frames arrive.
    Live,
    /// The source is open, but frames stopped without an error. It is opened again.
    Stalled,
    /// The source is missing, unreadable or used by another program. It is tried again.
    Lost,
    /// The source cannot deliver pictures as configured.
    Unsupported,
}

impl CameraState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Starting, Self::Live, Self::Stalled, Self::Lost, Self::Unsupported];

    /// The name in `/state`, in the log and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether viewers get no frames until something outside the service changes.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Stalled | Self::Lost | Self::Unsupported)
    }
}

impl fmt::Display for CameraState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Tells a camera from all others that this process has ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CameraId(u64);

/// The status of one camera.
#[derive(Clone, Debug)]
pub struct CameraStatus {
    /// Which camera it is.
    pub id: CameraId,
    /// The name in the configuration and in URLs.
    pub name: String,
    /// The source as configured.
    pub source: String,
    /// Frames per second as configured.
    pub fps_wanted: f32,
    /// The state.
    pub state: CameraState,
    /// The source is open: people in front of the camera may be recorded.
    pub capturing: bool,
    /// The reason of a fault and what to do; `None` without a fault.
    pub error: Option<String>,
    /// The properties of the source when it was last opened.
    pub opened: Option<SourceInfo>,
    /// Its H.264; `None` if there is none by configuration.
    pub h264: Option<H264Info>,
    /// Counters since the start of the service.
    pub counters: Arc<Counters>,
}

/// The H.264 of a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct H264Info {
    /// What encodes it, `copied` if the camera gives it; `None` while nobody takes it.
    pub encoder: Option<String>,
    /// Bits a second that the encoder is set to; `None` if the camera gives it.
    pub bits_per_second: Option<u32>,
    /// It is decoded for viewers of JPEG.
    pub is_decoded: bool,
    /// Why there is none, and what to do.
    pub error: Option<String>,
}

/// The phase of the service between start and stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not serving yet.
    #[default]
    Starting,
    /// Serving.
    Serving,
    /// Stopping.
    Stopping,
}

/// The status of the whole service.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// A warning of the system around the service.
    pub warning: Option<String>,
    /// All cameras, in the order of the configuration. Those that brokers announce come behind them, and go.
    pub cameras: Vec<CameraStatus>,
    /// The connection to an MQTT broker; `None` if none is configured.
    pub mqtt: Option<MqttStatus>,
    /// The brokers whose cameras are shown as they are announced.
    pub announced: Vec<AnnouncedStatus>,
}

impl Status {
    /// The camera `id`; `None` once it is gone.
    pub fn camera(&self, id: CameraId) -> Option<&CameraStatus> {
        self.cameras.iter().find(|camera| camera.id == id)
    }
}

/// Reads the status, or waits for a change.
pub type Watcher = watch::Receiver<Status>;

/// Creates the status of a service with these cameras: name, source and configured rate of each. Returns the reporter of the
/// service, a reporter per camera, and a watcher.
pub fn status(
    cameras: impl IntoIterator<Item = (String, String, f32)>,
) -> (ServiceReporter, Vec<CameraReporter>, Watcher) {
    let (sender, watcher) = watch::channel(Status::default());
    let reporter = ServiceReporter { sender: Arc::new(sender), next_camera: Arc::default() };
    let add = |(name, source, fps)| reporter.add_camera(name, source, fps);
    let reporters = cameras.into_iter().map(add).collect();
    (reporter, reporters, watcher)
}

/// Reports what concerns the whole service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServiceReporter {
    sender: Arc<watch::Sender<Status>>,
    next_camera: Arc<AtomicU64>,
}

impl ServiceReporter {
    /// There is another camera: its name, source and configured rate.
    pub fn add_camera(&self, name: String, source: String, fps_wanted: f32) -> CameraReporter {
        let id = CameraId(self.next_camera.fetch_add(1, Relaxed));
        let camera = CameraStatus {
            id,
            name,
            source,
            fps_wanted,
            state: CameraState::default(),
            capturing: false,
            error: None,
            opened: None,
            h264: None,
            counters: Arc::default(),
        };
        let counters = Arc::clone(&camera.counters);
        self.sender.send_modify(|status| status.cameras.push(camera));
        CameraReporter { sender: Arc::clone(&self.sender), id, counters }
    }

    /// The camera is gone. What its reporters say from now on is not noted.
    pub fn remove_camera(&self, id: CameraId) {
        self.sender.send_modify(|status| status.cameras.retain(|camera| camera.id != id));
    }

    /// Cameras that the broker of `source` announces are shown.
    pub fn announced(&self, source: String) -> AnnouncedReporter {
        let counters = Arc::<AnnouncedCounters>::default();
        let announced =
            AnnouncedStatus { source, connected: None, error: None, counters: Arc::clone(&counters) };
        let mut index = 0;
        self.sender.send_modify(|status| {
            index = status.announced.len();
            status.announced.push(announced);
        });
        AnnouncedReporter { sender: Arc::clone(&self.sender), index, counters }
    }

    /// The service enters this phase.
    pub fn phase(&self, phase: Phase) {
        self.sender.send_modify(|status| status.phase = phase);
    }

    /// Cameras are published to this broker.
    pub fn mqtt(&self, broker: String) -> MqttReporter {
        let counters = Arc::new(MqttCounters::default());
        let mqtt = MqttStatus { broker, counters: Arc::clone(&counters), ..MqttStatus::default() };
        self.sender.send_modify(|status| status.mqtt = Some(mqtt));
        MqttReporter { sender: Arc::clone(&self.sender), counters }
    }

    /// Replaces the warning of the system. Returns whether it changed.
    pub fn warning(&self, warning: Option<String>) -> bool {
        self.sender.send_if_modified(|status| {
            let changed = status.warning != warning;
            status.warning = warning;
            changed
        })
    }
}

/// Reports the status of the connection to an MQTT broker.
#[derive(Debug)]
pub struct MqttReporter {
    sender: Arc<watch::Sender<Status>>,
    /// The counters, which are part of the status.
    pub counters: Arc<MqttCounters>,
}

impl MqttReporter {
    /// There is a connection to `address`, or none, because of `error`. With both, something cannot be published.
    pub fn connection(&self, address: Option<&str>, error: Option<&str>) {
        self.sender.send_if_modified(|status| {
            let Some(mqtt) = &mut status.mqtt else { return false };
            let changed = mqtt.connected.as_deref() != address || mqtt.error.as_deref() != error;
            (mqtt.connected, mqtt.error) = (address.map(Into::into), error.map(Into::into));
            changed
        });
    }
}

/// Reports the status of the connection to a broker whose cameras are shown as they are announced.
#[derive(Debug)]
pub struct AnnouncedReporter {
    sender: Arc<watch::Sender<Status>>,
    index: usize,
    /// The counters, which are part of the status.
    pub counters: Arc<AnnouncedCounters>,
}

impl AnnouncedReporter {
    /// There is a connection to `address`, or none, because of `error`. Returns whether that is new.
    pub fn connection(&self, address: Option<&str>, error: Option<&str>) -> bool {
        self.sender.send_if_modified(|status| {
            let Some(announced) = status.announced.get_mut(self.index) else { return false };
            let changed = announced.connected.as_deref() != address || announced.error.as_deref() != error;
            (announced.connected, announced.error) = (address.map(Into::into), error.map(Into::into));
            changed
        })
    }

    /// The connection is there, and something is wrong with it all the same.
    pub fn problem(&self, error: &str) {
        self.sender.send_modify(|status| {
            if let Some(announced) = status.announced.get_mut(self.index) {
                announced.error = Some(error.to_owned());
            }
        });
    }
}

/// Reports the status of one camera. Each thread of the camera has its own.
#[derive(Clone, Debug)]
pub struct CameraReporter {
    sender: Arc<watch::Sender<Status>>,
    id: CameraId,
    counters: Arc<Counters>,
}

impl CameraReporter {
    /// Which camera it is.
    pub fn id(&self) -> CameraId {
        self.id
    }

    /// The counters of the camera.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The camera is in `state`, without a fault.
    pub fn state(&self, state: CameraState) {
        self.modify(|c| {
            let changed = c.state != state || c.error.is_some();
            (c.state, c.error) = (state, None);
            changed
        });
    }

    /// The camera is in `state` because of `error`.
    pub fn fault(&self, state: CameraState, error: String) {
        self.modify(|c| {
            let changed = c.state != state || c.error.as_deref() != Some(&error);
            (c.state, c.error) = (state, Some(error));
            changed
        });
    }

    /// The source was opened or closed.
    pub fn capturing(&self, capturing: bool) {
        self.modify(|c| std::mem::replace(&mut c.capturing, capturing) != capturing);
    }

    /// The source was opened with these properties.
    pub fn opened(&self, opened: SourceInfo) {
        self.modify(|c| {
            let changed = c.opened.as_ref() != Some(&opened);
            c.opened = Some(opened);
            changed
        });
    }

    /// Changes what is told of its H.264.
    pub fn h264(&self, change: impl FnOnce(&mut H264Info)) {
        self.modify(|c| {
            let mut info = c.h264.clone().unwrap_or_default();
            change(&mut info);
            let changed = c.h264.as_ref() != Some(&info);
            c.h264 = Some(info);
            changed
        });
    }

    fn modify(&self, change: impl FnOnce(&mut CameraStatus) -> bool) {
        let id = self.id;
        self.sender.send_if_modified(|status| {
            status.cameras.iter_mut().find(|camera| camera.id == id).is_some_and(change)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frame::Timestamp;

    fn one_camera() -> (CameraReporter, Watcher) {
        let (_, mut reporters, watcher) = status([("front".into(), "pattern".into(), 30.0)]);
        (reporters.remove(0), watcher)
    }

    #[test]
    fn only_changes_wake_watchers() {
        let (reporter, mut watcher) = one_camera();
        watcher.borrow_and_update();
        reporter.fault(CameraState::Lost, "gone".into());
        assert!(watcher.has_changed().unwrap());
        assert_eq!(watcher.borrow_and_update().cameras[0].error.as_deref(), Some("gone"));
        reporter.fault(CameraState::Lost, "gone".into());
        assert!(!watcher.has_changed().unwrap(), "the same fault again woke the watchers");
        reporter.state(CameraState::Live);
        assert_eq!(watcher.borrow_and_update().cameras[0].error, None);
        reporter.counters().frame(Timestamp(5), 30.0);
        assert!(!watcher.has_changed().unwrap(), "a frame woke the watchers");
        assert_eq!(watcher.borrow().cameras[0].counters.frames.get(), 1);
    }

    #[test]
    fn a_camera_that_is_gone_is_no_other() {
        let (service, reporters, watcher) =
            status(["front", "back"].map(|name| (name.into(), "pattern".into(), 30.0)));
        service.remove_camera(reporters[0].id());
        let late = service.add_camera("front".into(), "pattern".into(), 30.0);
        reporters[0].state(CameraState::Live);
        let names: Vec<String> = watcher.borrow().cameras.iter().map(|camera| camera.name.clone()).collect();
        assert_eq!(names, ["back", "front"]);
        assert!(watcher.borrow().camera(reporters[0].id()).is_none());
        assert_eq!(watcher.borrow().camera(late.id()).unwrap().state, CameraState::Idle);
    }

    #[test]
    fn a_thread_is_stuck_when_its_deadline_and_the_grace_have_passed() {
        let (reporter, _watcher) = one_camera();
        let (counters, second) = (reporter.counters(), Duration::from_secs(1));
        assert!(!counters.is_stuck(Timestamp(u64::MAX), second), "a resting thread has no deadline");
        counters.set_deadline(Some(Timestamp(1_000_000)));
        assert!(!counters.is_stuck(Timestamp(2_000_000), second));
        assert!(counters.is_stuck(Timestamp(2_000_001), second));
        counters.set_deadline(None);
        assert!(!counters.is_stuck(Timestamp(2_000_001), second));
    }
}
