//! `tcp://`: pictures over a bare connection, which are JPEGs back to back, H.264, or the tutorial's pickles. What comes
//! first tells which.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use log::{debug, warn};

use super::endpoint::{MAX_SKIPPED, RemoteEndpoint};
use super::error::RemoteFault;
use super::pickle::{PROTO, PROTOCOLS, PickleReader, PickledPiece};
use super::runtime::RunEnd;
use super::url::RemoteUrl;
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::{CapturedPicture, OpenedSource, PictureFault, PictureSink, Source};
use crate::camera::source::splitter::{Piece, Splitter};
use crate::camera::source::unit_stream::UnitStream;
use crate::camera::wake::Waker;
use crate::client::{Arrival, RemoteStream, poll_arrival};
use crate::frame::Timestamp;
use crate::h264::{UnitPiece, begins_byte_stream};
use crate::jpeg::Picture;

/// Room beside a picture, for the start of the next one.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Bytes that tell JPEGs, H.264 and pickles apart, and are shown if they are nothing of that.
const BEGIN_BYTES: usize = 16;
/// Bytes within which the first picture begins. Headers of a multipart stream are far shorter.
const MAX_BYTES_BEFORE_PICTURES: usize = 64 * 1024;

/// A camera that sends pictures to every client that connects.
pub(super) struct TcpSource {
    endpoint: RemoteEndpoint,
    connection: Option<PictureConnection>,
}

impl TcpSource {
    pub(super) fn new(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Self {
        Self { endpoint: RemoteEndpoint::new(url, settings, waker), connection: None }
    }

    fn connect(&mut self) -> Result<(), RemoteFault> {
        let connector = self.endpoint.connector()?;
        let stream = self.endpoint.prepare()?.run_to_end(connector.connect());
        let stream = stream.ok_or(RemoteFault::Stopped)??;
        self.connection = Some(PictureConnection::new(stream, self.endpoint.max_jpeg_bytes));
        Ok(())
    }

    fn pass_next(&mut self, deadline: Timestamp, sink: &mut PictureSink<'_>) -> Result<(), RemoteFault> {
        let (Some(runtime), Some(connection)) = (self.endpoint.runtime(), &mut self.connection) else {
            return Ok(());
        };
        loop {
            if connection.pass_newest(sink)? {
                return Ok(());
            }
            connection.check_whether_it_goes_on()?;
            let pause_ends = connection.pause_ends().filter(|end| *end < deadline);
            match runtime.run(pause_ends.unwrap_or(deadline), connection.read()) {
                RunEnd::Done(read) => read.map_err(|source| RemoteFault::Broken { source })?,
                RunEnd::TimedOut if pause_ends.is_some() => {
                    if connection.pass_after_pause(sink) {
                        return Ok(());
                    }
                }
                RunEnd::Woken | RunEnd::TimedOut => return Ok(()),
            }
            if Timestamp::now() >= deadline {
                // Of a peer that never pauses.
                return Ok(());
            }
        }
    }
}

impl Source for TcpSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        self.connect().map_err(|fault| fault.at(&self.endpoint.url))?;
        Ok(self.endpoint.opened())
    }

    fn next(
        &mut self,
        _: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        Ok(self.pass_next(deadline, sink).map_err(|fault| fault.at(&self.endpoint.url))?)
    }

    fn remedy(&self, fault: PictureFault) -> &'static str {
        match fault {
            PictureFault::Silent => {
                "see whether the program there has its camera, and sends to all who connect"
            }
            PictureFault::Corrupt => {
                "let the program send whole JPEGs, one after the other, or set validate = false if the picture is good \
                 all the same"
            }
            PictureFault::Video => {
                "let the program send H.264 with parameter sets, as rpicam-vid does with --codec h264 --inline"
            }
            _ => "set width and height to the size of its pictures",
        }
    }

    fn close(&mut self) {
        if self.connection.take().is_some() {
            debug!("{}: closed", self.endpoint.url);
        }
    }
}

/// A connection, and what has come over it.
struct PictureConnection {
    stream: RemoteStream,
    max_jpeg_bytes: usize,
    input: Input,
    /// The reader has no room for all that has come.
    has_more: bool,
    has_ended: bool,
    /// Pictures lost since the last one that was passed on.
    missed: u32,
    has_passed_any: bool,
}

/// What the bytes are.
enum Input {
    /// Not known before the first bytes.
    Begin { bytes: [u8; BEGIN_BYTES], len: usize },
    /// JPEGs, of which none may have begun yet in the bytes that came.
    Jpegs { splitter: Splitter, begin: Vec<u8>, came: usize },
    /// Access units of H.264. None is left out: the later ones refer to it.
    Units(UnitStream),
    /// Pickled dictionaries.
    Pickles(PickleReader),
}

impl PictureConnection {
    fn new(stream: RemoteStream, max_jpeg_bytes: usize) -> Self {
        Self {
            stream,
            max_jpeg_bytes,
            input: Input::Begin { bytes: [0; BEGIN_BYTES], len: 0 },
            has_more: false,
            has_ended: false,
            missed: 0,
            has_passed_any: false,
        }
    }

    /// Waits for bytes, and reads all that have come. Nothing is lost when the future is dropped.
    async fn read(&mut self) -> io::Result<()> {
        let Self { stream, input, .. } = self;
        let Arrival { is_all, has_ended } = poll_fn(|context| {
            poll_arrival(stream, context, |read| match input {
                Input::Begin { bytes, len } => {
                    let n = read(&mut bytes[*len..])?;
                    *len += n;
                    Ok(n)
                }
                Input::Jpegs { splitter, came, .. } => {
                    let n = splitter.fill(|room| read(room))?;
                    *came = came.saturating_add(n);
                    Ok(n)
                }
                Input::Units(units) => units.fill(|room| read(room)),
                Input::Pickles(reader) => reader.fill(|room| read(room)),
            })
        })
        .await?;
        (self.has_more, self.has_ended) = (!is_all, has_ended);
        Ok(())
    }

    /// Passes the newest picture that has come to `sink`. Returns whether there was one.
    fn pass_newest(&mut self, sink: &mut PictureSink<'_>) -> Result<bool, RemoteFault> {
        self.tell_apart()?;
        let (newest, skipped) = match &mut self.input {
            Input::Begin { .. } => return Ok(false),
            Input::Units(_) => return Ok(self.pass_next_unit(sink)),
            Input::Jpegs { splitter, .. } => {
                let (piece, skipped) = splitter.newest_piece();
                match piece {
                    Piece::Picture(data) => (Some(data), skipped),
                    Piece::TooLarge => {
                        self.dropped_too_large();
                        return Ok(false);
                    }
                    Piece::Incomplete => return Ok(false),
                }
            }
            Input::Pickles(reader) => match reader.newest_piece()? {
                (PickledPiece::Picture(data), skipped) => (Some(data), skipped),
                (PickledPiece::NoPicture, skipped) => (None, skipped),
                (PickledPiece::Incomplete, _) => return Ok(false),
            },
        };
        self.missed = self.missed.saturating_add(skipped);
        if self.has_more && self.missed < MAX_SKIPPED && newest.is_some() {
            // A newer one is on its way.
            self.missed += 1;
            self.has_more = false;
            return Ok(false);
        }
        let picture = Picture::Jpeg { data: newest.unwrap_or_default(), expected: None };
        let missed = std::mem::take(&mut self.missed);
        sink(CapturedPicture { missed, damaged: newest.is_none(), ..CapturedPicture::now(picture) });
        self.has_passed_any = true;
        Ok(true)
    }

    /// Passes the next access unit that has come to `sink`. Returns whether there was one.
    fn pass_next_unit(&mut self, sink: &mut PictureSink<'_>) -> bool {
        let Input::Units(units) = &mut self.input else { return false };
        let unit = match units.next_piece() {
            UnitPiece::Unit(unit) => unit,
            UnitPiece::TooLarge => {
                self.dropped_too_large();
                return false;
            }
            UnitPiece::Incomplete => return false,
        };
        let missed = std::mem::take(&mut self.missed);
        sink(CapturedPicture { missed, ..CapturedPicture::now(Picture::H264(unit)) });
        self.has_passed_any = true;
        true
    }

    /// Passes the access unit that has come before a pause. Returns whether there was one.
    fn pass_after_pause(&mut self, sink: &mut PictureSink<'_>) -> bool {
        let Input::Units(units) = &mut self.input else { return false };
        let Some(unit) = units.finish() else { return false };
        let missed = std::mem::take(&mut self.missed);
        sink(CapturedPicture { missed, ..CapturedPicture::now(Picture::H264(unit)) });
        self.has_passed_any = true;
        true
    }

    /// When the source has paused; `None` if that tells nothing.
    fn pause_ends(&self) -> Option<Timestamp> {
        if let Input::Units(units) = &self.input { units.pause_ends() } else { None }
    }

    fn dropped_too_large(&mut self) {
        warn!("tcp: dropped a frame of more than {} bytes; set width and height", self.max_jpeg_bytes);
        self.missed = self.missed.saturating_add(1);
    }

    /// Chooses the reader once enough has come.
    fn tell_apart(&mut self) -> Result<(), RemoteFault> {
        let Input::Begin { bytes, len } = &self.input else { return Ok(()) };
        let begin = bytes[..*len].to_vec();
        let [first, second, ..] = begin[..] else { return Ok(()) };
        let is_h264 = begins_byte_stream(&begin);
        if is_h264.is_none() && begin.len() < BEGIN_BYTES {
            return Ok(());
        }
        self.input = if first == PROTO && PROTOCOLS.contains(&second) {
            let mut reader = PickleReader::new(self.max_jpeg_bytes);
            fill_from(&begin, |read| reader.fill(read));
            Input::Pickles(reader)
        } else if is_h264 == Some(true) {
            let mut units = UnitStream::new(self.max_jpeg_bytes + READ_AHEAD_BYTES);
            units.fill_from(&begin);
            Input::Units(units)
        } else {
            let mut splitter = Splitter::new(self.max_jpeg_bytes + READ_AHEAD_BYTES);
            fill_from(&begin, |read| splitter.fill(read));
            Input::Jpegs { splitter, came: begin.len(), begin }
        };
        Ok(())
    }

    /// Fails once no picture can be expected any more. All that was read has been parsed.
    fn check_whether_it_goes_on(&self) -> Result<(), RemoteFault> {
        if let Input::Jpegs { splitter, begin, came } = &self.input
            && !self.has_passed_any
            && !splitter.is_in_picture()
            && (self.has_ended || *came > MAX_BYTES_BEFORE_PICTURES)
        {
            return Err(RemoteFault::NotPictures { begin: begin.escape_ascii().to_string() });
        }
        match (self.has_ended, self.has_passed_any) {
            (false, _) => Ok(()),
            (true, true) => Err(RemoteFault::Closed { after: "" }),
            (true, false) => Err(RemoteFault::Closed { after: " before its first picture" }),
        }
    }
}

/// Gives a new reader the bytes that have been read already.
fn fill_from(
    bytes: &[u8],
    fill: impl FnOnce(&mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize>,
) {
    let filled = fill(&mut |room| {
        room[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    });
    debug_assert!(filled.is_ok(), "a new reader has more room than that");
}
