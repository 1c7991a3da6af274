//! Copies the H.264 that a camera gives on a second node, while the first one gives pictures.
#![forbid(unsafe_code)]

use std::time::Duration;

use log::{debug, info};

use super::output::{UnitOrigin, UnitOutput};
use crate::camera::error::SourceError;
use crate::camera::source::{CapturedPicture, PictureFault, Source};
use crate::camera::wake::Waker;
use crate::frame::Timestamp;
use crate::h264::H264Error;
use crate::jpeg::Picture;
use crate::status::CameraReporter;

/// Pictures a second of a node that does not state its rate.
const USUAL_FPS: f32 = 30.0;
/// Time for the first access unit. USB cameras power up and set their exposure first.
const FIRST_UNIT: Duration = Duration::from_secs(5);
/// A node that has given some and gives none for this long, or for this many of its pictures, has stalled.
const SILENT: (Duration, f32) = (Duration::from_secs(2), 5.0);

/// Why nothing is copied any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{path}: no H.264 for {seconds} s; {remedy}")]
    Silent { path: String, seconds: f32, remedy: &'static str },
    #[error("{path}: no usable H.264 for {seconds} s, the last {fault}; {remedy}")]
    Unusable {
        path: String,
        seconds: f32,
        #[source]
        fault: H264Error,
        remedy: &'static str,
    },
}

/// What copying takes from its camera.
pub(super) struct NodeCopy<'a> {
    pub(super) name: &'a str,
    pub(super) output: &'a UnitOutput,
    pub(super) reporter: &'a CameraReporter,
    pub(super) waker: &'a Waker,
}

impl NodeCopy<'_> {
    /// Opens the node, copies while `is_wanted`, and closes it.
    ///
    /// # Errors
    /// When there is no such node, or it gives nothing.
    pub(super) fn run(&self, node: &mut dyn Source, is_wanted: impl Fn() -> bool) -> Result<(), CopyError> {
        let copied = self.copy(node, is_wanted);
        node.close();
        // What the source gives meanwhile goes on.
        if self.output.end(UnitOrigin::Beside) {
            self.reporter.h264(|info| info.encoder = None);
        }
        copied
    }

    fn copy(&self, node: &mut dyn Source, is_wanted: impl Fn() -> bool) -> Result<(), CopyError> {
        let opened = node.open()?;
        let (path, size) = (&opened.info.path, opened.info.resolution);
        let fps = if opened.info.fps > 0.0 { opened.info.fps } else { USUAL_FPS };
        // A quarter of the bytes of its JPEGs.
        if !self.output.begin(UnitOrigin::Beside, fps, opened.max_jpeg_bytes / 4) {
            return Ok(());
        }
        let size = size.map(|size| format!(" of {size}")).unwrap_or_default();
        info!("camera {}: copies H.264{size} from {path}", self.name);
        self.reporter.h264(|info| {
            (info.encoder, info.bits_per_second, info.error) = (Some("copied".into()), None, None);
        });
        let silent = SILENT.0.max(Duration::from_secs_f32(SILENT.1 / fps.max(0.001)));
        let mut timeout = FIRST_UNIT.max(silent);
        let mut stalled_at = Timestamp::now().after(timeout);
        let mut fault = None;
        while is_wanted() {
            let mut result = None;
            node.next(self.waker, stalled_at, &mut |captured| result = Some(self.publish(&captured)))?;
            if self.output.wants_key_frame(UnitOrigin::Beside) && node.request_key_frame() {
                self.output.key_frame_comes(UnitOrigin::Beside);
            }
            match result {
                Some(Ok(())) => (timeout, fault, stalled_at) = (silent, None, Timestamp::now().after(silent)),
                Some(Err(error)) => fault = error,
                None => {}
            }
            if Timestamp::now() >= stalled_at {
                let (path, seconds) = (path.clone(), timeout.as_secs_f32());
                return Err(match fault {
                    None => CopyError::Silent { path, seconds, remedy: node.remedy(PictureFault::Silent) },
                    Some(fault) => {
                        CopyError::Unusable { path, seconds, fault, remedy: node.remedy(PictureFault::Video) }
                    }
                });
            }
        }
        Ok(())
    }

    /// Publishes what the node gave. Fails without a reason where the driver reports damage.
    fn publish(&self, captured: &CapturedPicture<'_>) -> Result<(), Option<H264Error>> {
        let lost = captured.missed + u32::from(captured.damaged);
        if lost > 0 {
            self.output.lost(UnitOrigin::Beside, lost);
        }
        let Picture::H264(unit) = captured.picture else { return Err(None) };
        match self.output.publish(UnitOrigin::Beside, unit, captured.at) {
            // Parameter sets in a buffer of their own are a sign of life too.
            Ok(_) | Err(H264Error::NoPicture) => Ok(()),
            Err(error) => {
                debug!("access unit rejected: {error}");
                Err(Some(error))
            }
        }
    }
}
