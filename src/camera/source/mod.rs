//! The kinds of sources: one file for each.
//!
//! A new kind gets a file here that implements [`Source`], a variant of `SourceSpec`, and a line in [`create`]. What several
//! kinds share is in files of their own: `splitter` cuts a byte stream into JPEGs, `process` runs a shell command. Cameras on
//! other machines are in the folder `remote`. Access to V4L2 devices is in the folder `v4l2` beside this one.

mod exec;
mod file;
mod pattern;
mod process;
pub(crate) mod remote;
mod source_trait;
pub(crate) mod splitter;
mod v4l2;

use std::sync::Arc;

pub use remote::credentials::RemoteSettings;
pub(super) use remote::error::RemoteError;
pub use remote::fingerprint::CertificateFingerprint;
pub use remote::secret::SourceSecret;
pub use remote::url::{RemoteUrl, Scheme};
pub(super) use source_trait::{CapturedPicture, OpenedSource, PictureFault, Source};

use crate::camera::settings::CameraSettings;
use crate::camera::source_spec::SourceSpec;
use crate::camera::v4l2::ControlStore;
use crate::camera::wake::Waker;

/// Creates the source of a camera, and its control store if it has controls. `waker` wakes the thread that will use it.
pub(super) fn create(
    settings: &CameraSettings,
    waker: &Arc<Waker>,
) -> (Box<dyn Source>, Option<Arc<ControlStore>>) {
    let v4l2 = |path| {
        let CameraSettings { name, controls, controls_file, .. } = settings;
        let store = Arc::new(ControlStore::new(name, path, controls.clone(), controls_file.clone()));
        let source: Box<dyn Source> = Box::new(v4l2::V4l2Source::new(Arc::clone(&store), settings));
        (source, Some(store))
    };
    match settings.source.clone() {
        SourceSpec::Auto => v4l2(None),
        SourceSpec::Device(path) => v4l2(Some(path)),
        SourceSpec::Pattern => (Box::new(pattern::PatternSource::new(settings)), None),
        SourceSpec::Exec(command) => (Box::new(exec::ExecSource::new(command, settings)), None),
        SourceSpec::Remote(url) => (remote::create(url, settings, waker), None),
        SourceSpec::File(path) => (Box::new(file::FileSource::new(path, settings)), None),
    }
}
