//! Hands raw pictures from the capture thread to the thread that encodes H.264: the newest one, without a wait.
//!
//! Three sets of planes are enough: one is filled, one is the newest, one is being encoded.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::camera::wake::Waker;
use crate::frame::{Resolution, Timestamp};
use crate::jpeg::decode::PlanesUnpacker;
use crate::jpeg::yuv::Planes;
use crate::jpeg::{JpegError, Picture};
use crate::status::Counters;
use crate::sync::lock;

/// A picture to encode.
#[derive(Clone, Debug)]
pub(in crate::camera) struct FedPicture {
    pub(super) planes: Arc<Planes>,
    pub(super) resolution: Resolution,
    pub(super) captured_at: Timestamp,
}

/// What both threads share.
#[derive(Debug)]
pub(in crate::camera) struct PictureFeed {
    /// Pictures are encoded, so they are to be handed over.
    wanted: AtomicBool,
    newest: Mutex<Option<FedPicture>>,
    waker: Arc<Waker>,
}

impl PictureFeed {
    /// A feed for the thread with this waker.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { wanted: AtomicBool::new(false), newest: Mutex::default(), waker }
    }

    /// Asks for pictures, or for none any more.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
        if !wanted {
            *lock(&self.newest) = None;
        }
    }

    /// The newest picture that was not taken yet.
    pub(super) fn take(&self) -> Option<FedPicture> {
        lock(&self.newest).take()
    }
}

/// The capture thread's end of a feed.
#[derive(Debug)]
pub(in crate::camera) struct PictureFeeder {
    feed: Arc<PictureFeed>,
    counters: Arc<Counters>,
    sets: [Arc<Planes>; 3],
    unpacker: PlanesUnpacker,
}

impl PictureFeeder {
    pub(in crate::camera) fn new(feed: Arc<PictureFeed>, counters: Arc<Counters>) -> Self {
        Self { feed, counters, sets: Default::default(), unpacker: PlanesUnpacker::default() }
    }

    /// Whether pictures are encoded.
    pub(in crate::camera) fn is_wanted(&self) -> bool {
        self.feed.wanted.load(Relaxed)
    }

    /// Tells the encoding thread that there is a new frame.
    pub(in crate::camera) fn wake(&self) {
        self.feed.waker.wake();
    }

    /// Hands a raw picture over. Returns false for one that has to go by its JPEG.
    ///
    /// # Errors
    /// When the picture is not whole.
    pub(in crate::camera) fn feed(
        &mut self,
        picture: &Picture<'_>,
        captured_at: Timestamp,
    ) -> Result<bool, JpegError> {
        let set = self.sets.iter_mut().find_map(|set| Arc::get_mut(set).is_some().then_some(set));
        let set = set.expect("the newest picture and the one that is encoded hold two of three sets");
        let planes = Arc::get_mut(set).expect("nobody else has had it since it was found");
        let Some(resolution) = self.unpacker.unpack(picture, planes)? else { return Ok(false) };
        let picture = FedPicture { planes: Arc::clone(set), resolution, captured_at };
        // The one before is dropped outside the lock.
        let overtaken = lock(&self.feed.newest).replace(picture);
        self.counters.h264_overtaken.add(overtaken.is_some().into());
        self.wake();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::jpeg::RawPicture;

    #[test]
    fn the_newest_picture_is_taken_and_one_that_is_encoded_is_not_touched() {
        let feed = Arc::new(PictureFeed::new(Arc::new(Waker::new().unwrap())));
        let mut feeder = PictureFeeder::new(Arc::clone(&feed), Arc::default());
        assert!(!feeder.is_wanted() && feed.take().is_none());
        feed.want(true);
        assert!(feeder.is_wanted());
        let mut put = |luma: u8| {
            let data = vec![luma; 8 * 6];
            let resolution = Resolution::new(8, 6);
            let raw = RawPicture { data: &data, format: PixelFormat::Grey, resolution, stride: 8 };
            assert!(feeder.feed(&Picture::Raw(raw), Timestamp(luma.into())).unwrap());
        };
        put(1);
        let encoding = feed.take().unwrap();
        (2..9).for_each(&mut put);
        let newest = feed.take().unwrap();
        assert_eq!((newest.captured_at, newest.planes.yuv()[0][0]), (Timestamp(8), 8));
        assert_eq!((encoding.captured_at, encoding.planes.yuv()[0][0]), (Timestamp(1), 1));
        assert!(feed.take().is_none());
        drop((encoding, newest));
        put(9);
        feed.want(false);
        assert!(feed.take().is_none(), "an old picture would be the first that the next encoder gets");
    }
}
