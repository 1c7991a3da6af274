//! What every kind of source implements, and what it gives to the capture thread.
#![forbid(unsafe_code)]

use crate::camera::error::SourceError;
use crate::camera::frame_timing::ImplausibleClaims;
use crate::camera::wake::Waker;
use crate::frame::{PixelFormat, Timestamp};
use crate::jpeg::{JpegError, Picture};
use crate::status::SourceInfo;

/// A source of pictures. One thread uses it, and opens and closes it many times.
pub(in crate::camera) trait Source: Send {
    /// Opens the source and starts capturing.
    fn open(&mut self) -> Result<OpenedSource, SourceError>;

    /// Opens the source at its largest picture size; `None`, and nothing opened, if `open` uses that size already.
    fn open_largest(&mut self) -> Result<Option<OpenedSource>, SourceError> {
        Ok(None)
    }

    /// Waits for the next picture until `deadline` and passes it to `sink`. Returns without one at the deadline, and when the
    /// thread is woken. The picture is valid only during the call of `sink`.
    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError>;

    /// Asks a source of H.264 for a key frame. Returns whether it can be asked.
    fn request_key_frame(&mut self) -> bool {
        false
    }

    /// Whether an open source must be opened again, as its settings have changed. Viewers stay.
    fn wants_reopen(&self) -> bool {
        false
    }

    /// Whether the open source turns its pictures as configured, so that viewers must not.
    fn rotates(&self) -> bool {
        false
    }

    /// Why an open source is silent, if it goes on by itself, so that opening it again would only take time.
    fn pause_reason(&self) -> Option<String> {
        None
    }

    /// What a person can do if an open source gives no picture that can be shown. It follows a message of what is wrong.
    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => "see whether it gives pictures to another program",
            PictureFault::Corrupt => "set validate = false if its picture is good all the same",
            PictureFault::Short => "set another format or size",
            PictureFault::TooLarge => "set width and height to the size of its pictures",
            PictureFault::Video => "see whether ffplay shows its H.264",
            PictureFault::Other => "set another format or size",
        }
    }

    /// Releases everything that opening acquired. Also called after errors and when nothing is open.
    fn close(&mut self);
}

/// What is wrong with the pictures of an open source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::camera) enum PictureFault {
    /// There are none.
    Silent,
    /// They are JPEGs that are not whole or not valid.
    Corrupt,
    /// They are raw, and less than their size takes.
    Short,
    /// They are JPEGs of more bytes than expected.
    TooLarge,
    /// They are H.264 of which no picture can be made.
    Video,
    /// They cannot be encoded.
    Other,
}

impl From<&JpegError> for PictureFault {
    fn from(error: &JpegError) -> Self {
        match error {
            JpegError::Corrupt(_) => Self::Corrupt,
            JpegError::ShortBuffer { .. } | JpegError::ShortPlane { .. } | JpegError::MissingPlane { .. } => {
                Self::Short
            }
            JpegError::TooLarge(_) => Self::TooLarge,
            JpegError::UnevenSize { .. }
            | JpegError::SizeWithoutVideo { .. }
            | JpegError::Video
            | JpegError::Encode(_) => Self::Other,
        }
    }
}

/// Receives the pictures of a source.
pub(in crate::camera) type PictureSink<'a> = dyn FnMut(CapturedPicture<'_>) + 'a;

/// A picture from a source.
pub(in crate::camera) struct CapturedPicture<'a> {
    pub(in crate::camera) picture: Picture<'a>,
    /// When the picture was complete.
    pub(in crate::camera) at: Timestamp,
    /// Pictures that were lost since the previous one.
    pub(in crate::camera) missed: u32,
    /// The source reports that the content is damaged.
    pub(in crate::camera) damaged: bool,
    /// What the source says of the frame that cannot be true.
    pub(in crate::camera) implausible: ImplausibleClaims,
}

impl<'a> CapturedPicture<'a> {
    /// An intact picture that is complete now, with no picture lost before it.
    pub(super) fn now(picture: Picture<'a>) -> Self {
        Self {
            picture,
            at: Timestamp::now(),
            missed: 0,
            damaged: false,
            implausible: ImplausibleClaims::default(),
        }
    }
}

/// The properties of an opened source.
#[derive(Clone, Debug)]
pub(in crate::camera) struct OpenedSource {
    /// For the status; its `encoding` is not known to the source.
    pub(in crate::camera) info: SourceInfo,
    /// Most bytes of a JPEG of this source.
    pub(in crate::camera) max_jpeg_bytes: usize,
    /// The source offers a larger picture size.
    pub(in crate::camera) has_larger: bool,
    /// Its first picture tells whether it gives H.264 instead.
    pub(in crate::camera) is_told_by_picture: bool,
}

impl OpenedSource {
    /// A source of JPEGs of any size, with at most `max_jpeg_bytes` each, or of H.264. `driver`, `card` and `path` are for the
    /// status.
    pub(super) fn of_stream(
        driver: &str,
        card: String,
        path: String,
        fps: f32,
        max_jpeg_bytes: usize,
    ) -> Self {
        let info = SourceInfo {
            driver: driver.to_owned(),
            card,
            path,
            format: PixelFormat::Mjpeg,
            resolution: None,
            fps,
            encoding: None,
            capture: None,
        };
        Self { info, max_jpeg_bytes, has_larger: false, is_told_by_picture: true }
    }
}
