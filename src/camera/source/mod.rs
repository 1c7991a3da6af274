//! The kinds of sources: one file for each.
//!
//! A new kind gets a file here that implements [`Source`], a variant of `SourceSpec`, and a line in [`create`]. What several
//! kinds share is in files of their own: `v4l2_stream` is a V4L2 device that streams, `splitter` cuts a byte stream into JPEGs, `unit_stream` one of H.264 into access units,
//! `process` runs a command, `picture_process` one that writes pictures. Cameras on other machines are in the folder `remote`,
//! those of a Raspberry Pi in `rpicam`. Access to V4L2 devices is in the folder `v4l2` beside this one.

mod auto;
mod exec;
mod file;
mod h264_node;
mod pattern;
mod picture_process;
mod process;
pub(crate) mod remote;
mod rpicam;
mod source_trait;
pub(crate) mod splitter;
mod unit_stream;
mod v4l2;
mod v4l2_stream;

use std::sync::Arc;

pub use remote::credentials::RemoteSettings;
pub(super) use remote::error::RemoteError;
#[cfg(feature = "mqtt")]
pub(crate) use remote::mqtt::broker_options;
pub use remote::url::{RemoteUrl, Scheme};
pub(super) use rpicam::RpiCamError;
pub use rpicam::{RpiCamListing, list as list_rpicam};
pub(super) use source_trait::{CapturedPicture, OpenedSource, PictureFault, Source};

use h264_node::{H264NodeSource, SharedFirstNode};
use rpicam::{RpiCamSource, StartControls};

use crate::camera::control::CameraControls;
use crate::camera::control_values::ControlValues;
use crate::camera::settings::CameraSettings;
use crate::camera::source_spec::{RpiCamSelector, SourceSpec};
use crate::camera::v4l2::ControlStore;
use crate::camera::wake::Waker;
use crate::status::Counters;

/// What a camera is made of.
pub(super) struct CreatedSource {
    pub(super) source: Box<dyn Source>,
    /// `None` for sources that have none.
    pub(super) controls: Option<Arc<dyn CameraControls>>,
    /// The second node of a device, with H.264. Whether there is one shows when it is opened, while `source` is open.
    pub(super) h264_node: Option<Box<dyn Source>>,
}

/// Creates the source of a camera. `waker` wakes the thread that will use it.
pub(super) fn create(settings: &CameraSettings, waker: &Arc<Waker>, counters: &Counters) -> CreatedSource {
    let first = SharedFirstNode::default();
    let (source, controls) = create_first(settings, waker, &first, counters);
    let is_v4l2 = matches!(settings.source, SourceSpec::Auto | SourceSpec::Device(_));
    let h264_node = is_v4l2.then(|| Box::new(H264NodeSource::new(first, settings)) as Box<dyn Source>);
    CreatedSource { source, controls, h264_node }
}

/// The source of pictures, and its controls if it has any. Without feature `mqtt` no source has counters of its own.
#[cfg_attr(not(feature = "mqtt"), allow(unused_variables))]
fn create_first(
    settings: &CameraSettings,
    waker: &Arc<Waker>,
    first: &SharedFirstNode,
    counters: &Counters,
) -> (Box<dyn Source>, Option<Arc<dyn CameraControls>>) {
    let CameraSettings { name, controls, controls_file, .. } = settings;
    let values = Arc::new(ControlValues::new(name, controls.clone(), controls_file.clone()));
    let v4l2 = |path| {
        let controls = Arc::new(ControlStore::new(path, Arc::clone(&values)));
        (v4l2::V4l2Source::new(Arc::clone(&controls), settings, first.clone()), controls)
    };
    let rpicam = |selector| {
        let options = settings.rpicam_options.clone();
        let controls = StartControls::new(Arc::clone(&values), options, Arc::clone(waker));
        let controls = Arc::new(controls);
        (RpiCamSource::new(selector, settings, Arc::clone(&controls), waker), controls)
    };
    match settings.source.clone() {
        SourceSpec::Auto => {
            let ((v4l2, store), (rpicam, controls)) = (v4l2(None), rpicam(RpiCamSelector::Index(0)));
            let (source, controls) = auto::AutoSource::new(v4l2, rpicam, (store, controls));
            (Box::new(source), Some(Arc::new(controls)))
        }
        SourceSpec::Device(path) => {
            let (source, controls) = v4l2(Some(path));
            (Box::new(source), Some(controls))
        }
        SourceSpec::RpiCam(selector) => {
            let (source, controls) = rpicam(selector);
            (Box::new(source), Some(controls))
        }
        SourceSpec::Pattern => (Box::new(pattern::PatternSource::new(settings)), None),
        SourceSpec::Exec(command) => (Box::new(exec::ExecSource::new(command, settings)), None),
        SourceSpec::Remote(url) => (remote::create(url, settings, waker), None),
        #[cfg(feature = "mqtt")]
        SourceSpec::Broker(url) => (remote::create_published(url, settings, counters, waker), None),
        SourceSpec::File(path) => (Box::new(file::FileSource::new(path, settings)), None),
    }
}
