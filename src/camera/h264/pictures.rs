//! The pictures that are encoded: the newest frame of the ring, decoded, or what the capture thread has unpacked.
#![forbid(unsafe_code)]

use std::sync::Arc;

use log::debug;

use super::feed::{FedPicture, PictureFeed};
use super::given::GivenPictures;
use crate::frame::{Resolution, Sequence, Timestamp};
use crate::h264::{I420Picture, SamplePlane};
use crate::jpeg::decode::JpegDecoder;
use crate::jpeg::yuv::Planes;
use crate::ring::{FrameRing, Subscription};
use crate::status::CameraReporter;

/// Where pictures are taken from.
pub(super) struct PictureSource {
    feed: Arc<PictureFeed>,
    kind: SourceKind,
}

enum SourceKind {
    Frames { subscription: Subscription, decoder: Box<JpegDecoder>, planes: Planes, last: Option<Sequence> },
    Fed(Option<FedPicture>),
}

/// A picture to encode.
pub(super) struct TakenPicture<'a> {
    pub(super) picture: I420Picture<'a>,
    pub(super) captured_at: Timestamp,
}

impl PictureSource {
    /// Takes pictures from now on. `None` if there are none, or no memory for a decoder.
    pub(super) fn open(given: GivenPictures, frames: &FrameRing, feed: &Arc<PictureFeed>) -> Option<Self> {
        let kind = match given {
            GivenPictures::Frames { .. } => SourceKind::Frames {
                subscription: frames.subscribe().ok()?,
                decoder: Box::new(JpegDecoder::new().ok()?),
                planes: Planes::default(),
                last: None,
            },
            GivenPictures::Unpacked { .. } => SourceKind::Fed(None),
            GivenPictures::Nothing | GivenPictures::Video => return None,
        };
        feed.want(true);
        Some(Self { feed: Arc::clone(feed), kind })
    }

    /// The newest picture that was not taken yet. `None` until there is one.
    pub(super) fn next(&mut self, reporter: &CameraReporter) -> Option<TakenPicture<'_>> {
        match &mut self.kind {
            SourceKind::Frames { subscription, decoder, planes, last } => {
                let lease = subscription.lease()?;
                let frame = lease.frame();
                if last.replace(frame.sequence) == Some(frame.sequence) {
                    return None;
                }
                reporter.counters().h264_overtaken.add(lease.skipped().into());
                match decoder.decode(&lease, planes) {
                    Ok(resolution) => taken(planes, resolution, frame.captured_at),
                    Err(error) => {
                        debug!("frame not encoded as H.264: {error}");
                        None
                    }
                }
            }
            SourceKind::Fed(held) => {
                // The one before is free from here on.
                *held = self.feed.take();
                let FedPicture { planes, resolution, captured_at } = held.as_ref()?;
                taken(planes, *resolution, *captured_at)
            }
        }
    }
}

impl Drop for PictureSource {
    fn drop(&mut self) {
        self.feed.want(false);
    }
}

fn taken(planes: &Planes, resolution: Resolution, captured_at: Timestamp) -> Option<TakenPicture<'_>> {
    let (stride, [y, u, v]) = (planes.y_stride, planes.yuv());
    let plane = |data, stride| SamplePlane { data, stride };
    let planes = [plane(y, stride), plane(u, stride / 2), plane(v, stride / 2)];
    Some(TakenPicture { picture: I420Picture::new(resolution, planes)?, captured_at })
}
