//! `http://` and `https://`: a multipart stream, or a single JPEG that is asked for again and again.
//!
//! What the server sends decides which it is: when an answer with pictures ends, the next is asked for, at the configured
//! rate at most. From the top down: this file | `session` | `client` | `connection`, `multipart` |
//! `part_head`.
#![forbid(unsafe_code)]

mod client;
mod connection;
pub(crate) mod multipart;
mod part_head;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use super::endpoint::RemoteEndpoint;
use super::error::RemoteFault;
use super::runtime::RunEnd;
use super::url::RemoteUrl;
use crate::camera::error::SourceError;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::{CapturedPicture, OpenedSource, PictureSink, Source};
use crate::camera::wake::Waker;
use crate::frame::Timestamp;
use crate::jpeg::Picture;
use client::HttpAnswer;
use session::{AnswerRest, HttpSession, ReadEnd};

/// A camera behind an HTTP server.
pub(super) struct HttpSource {
    endpoint: RemoteEndpoint,
    phase: HttpPhase,
    /// When the server is asked for the next answer at the earliest.
    due: Timestamp,
}

/// A request under way, with the session that it belongs to.
type Asking = Pin<Box<dyn Future<Output = (Box<HttpSession>, Result<HttpAnswer, RemoteFault>)> + Send>>;

/// What is done with the server.
enum HttpPhase {
    Closed,
    /// The next answer is not due yet.
    Resting(Box<HttpSession>),
    /// A request was sent.
    Asking(Asking),
    /// An answer is read.
    Reading(Box<HttpSession>, AnswerRest),
}

impl HttpSource {
    pub(super) fn new(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Self {
        Self {
            endpoint: RemoteEndpoint::new(url, settings, waker),
            phase: HttpPhase::Closed,
            due: Timestamp::now(),
        }
    }

    /// Sends a request.
    fn ask(&mut self, mut session: Box<HttpSession>) -> Asking {
        self.due = Timestamp::now().after(Duration::from_secs_f32(1.0 / self.endpoint.fps));
        Box::pin(async move {
            let answer = session.client.ask().await;
            (session, answer)
        })
    }

    fn connect(&mut self) -> Result<(), RemoteFault> {
        let RemoteEndpoint { url, settings, max_jpeg_bytes, .. } = &self.endpoint;
        let session = HttpSession::new(url.clone(), settings, *max_jpeg_bytes)?;
        let asking = self.ask(Box::new(session));
        let done = self.endpoint.prepare()?.run_to_end(asking);
        let (mut session, answer) = done.ok_or(RemoteFault::Stopped)?;
        let reading = session.begin(answer?);
        self.phase = HttpPhase::Reading(session, reading);
        Ok(())
    }

    /// Goes on until there is a picture, or `deadline` or a wake end it. Returns the session with the picture, and how many were
    /// skipped for it.
    fn advance(&mut self, deadline: Timestamp) -> Result<Option<u32>, RemoteFault> {
        loop {
            match std::mem::replace(&mut self.phase, HttpPhase::Closed) {
                HttpPhase::Closed => return Ok(None),
                HttpPhase::Resting(session) if Timestamp::now() < self.due => {
                    let until = deadline.min(self.due);
                    let rested = self.run(until, std::future::pending::<()>());
                    self.phase = HttpPhase::Resting(session);
                    if matches!(rested, RunEnd::Woken) || Timestamp::now() < self.due {
                        return Ok(None);
                    }
                }
                HttpPhase::Resting(session) => self.phase = HttpPhase::Asking(self.ask(session)),
                HttpPhase::Asking(mut asking) => match self.run(deadline, asking.as_mut()) {
                    RunEnd::Done((mut session, answer)) => {
                        let reading = session.begin(answer?);
                        self.phase = HttpPhase::Reading(session, reading);
                    }
                    RunEnd::Woken | RunEnd::TimedOut => {
                        self.phase = HttpPhase::Asking(asking);
                        return Ok(None);
                    }
                },
                HttpPhase::Reading(mut session, mut reading) => {
                    let read = self.run(deadline, session.next_picture(&mut reading));
                    let ended = match read {
                        RunEnd::Done(read) => Some(read?),
                        RunEnd::Woken | RunEnd::TimedOut => None,
                    };
                    let missed = match &ended {
                        Some(ReadEnd::Picture { missed }) => Some(*missed),
                        _ => None,
                    };
                    self.phase = match ended {
                        Some(ReadEnd::Ended) => HttpPhase::Resting(session),
                        _ => HttpPhase::Reading(session, reading),
                    };
                    if missed.is_some() || !matches!(ended, Some(ReadEnd::Ended)) {
                        return Ok(missed);
                    }
                }
            }
        }
    }

    fn run<T>(&self, deadline: Timestamp, future: impl Future<Output = T>) -> RunEnd<T> {
        match self.endpoint.runtime() {
            Some(runtime) => runtime.run(deadline, future),
            None => RunEnd::TimedOut,
        }
    }
}

impl Source for HttpSource {
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
        let advanced = self.advance(deadline).map_err(|fault| fault.at(&self.endpoint.url))?;
        let Some(missed) = advanced else { return Ok(()) };
        if let HttpPhase::Reading(session, _) = &mut self.phase {
            if let Some(data) = session.reader.picture() {
                let picture = Picture::Jpeg { data, expected: None };
                sink(CapturedPicture { missed, ..CapturedPicture::now(picture) });
            }
            session.reader.release();
        }
        Ok(())
    }

    fn close(&mut self) {
        if !matches!(self.phase, HttpPhase::Closed) {
            debug!("{}: closed", self.endpoint.url);
        }
        self.phase = HttpPhase::Closed;
    }
}
