//! Frames for viewers of JPEG, from a camera that gives nothing but H.264.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::camera::settings::max_jpeg_bytes;
use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::h264::software::SoftwareDecoder;
use crate::jpeg::{JpegError, JpegSettings, JpegWriter, Picture, PicturePlane, PlanarPicture};
use crate::ring::Publisher;
use crate::status::Counters;
use crate::sync::lock;

/// Decodes access units and publishes frames.
pub(super) struct FrameDecoder {
    decoder: SoftwareDecoder,
    writer: JpegWriter,
    publisher: Arc<Mutex<Publisher>>,
    /// The size that the slots of the ring have room for.
    reserved: Resolution,
}

impl FrameDecoder {
    pub(super) fn new(settings: JpegSettings, publisher: Arc<Mutex<Publisher>>) -> Self {
        let mut writer = JpegWriter::new(settings);
        writer.restart(settings.rotation);
        Self { decoder: SoftwareDecoder::new(), writer, publisher, reserved: Resolution::new(0, 0) }
    }

    /// Decodes an access unit in the stored form, of a picture that was captured at `at`, and publishes it while `is_current`.
    /// Returns whether there was a picture.
    pub(super) fn decode(
        &mut self,
        unit: &[u8],
        at: Timestamp,
        counters: &Counters,
        is_current: impl Fn() -> bool,
    ) -> Result<bool, String> {
        let started = Instant::now();
        let Some(picture) = self.decoder.decode(unit).map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        counters.h264_decode.record(started.elapsed());
        let resolution = picture.resolution();
        let planes = picture.planes().map(|plane| PicturePlane { data: plane.data, stride: plane.stride });
        let picture = Picture::Planar(PlanarPicture::new(PixelFormat::Yu12, resolution, &planes));
        let mut publisher = lock(&self.publisher);
        // The capture thread clears the ring after it has closed the source: nothing comes after that.
        if !is_current() {
            return Ok(false);
        }
        if self.reserved != resolution {
            publisher.reserve(max_jpeg_bytes(resolution));
            self.reserved = resolution;
        }
        let writer = &mut self.writer;
        let published = publisher.publish(at, |slot| {
            let started = Instant::now();
            let jpeg = writer.write(&picture, slot)?;
            counters.encode.record(started.elapsed());
            Ok::<_, JpegError>(jpeg)
        });
        published.map(|_| true).map_err(|error| error.to_string())
    }
}
