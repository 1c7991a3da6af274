//! Reads the answers of one server up to the newest picture.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use hyper::body::{Buf, Bytes, Incoming};
use log::{debug, warn};

use super::client::{HttpAnswer, HttpClient, no_http};
use super::multipart::{Found, MultipartReader, NoPictures};
use crate::camera::source::remote::credentials::RemoteSettings;
use crate::camera::source::remote::endpoint::MAX_SKIPPED;
use crate::camera::source::remote::error::RemoteFault;
use crate::camera::source::remote::url::RemoteUrl;

/// A server, and the pictures that come from it.
pub(super) struct HttpSession {
    pub(super) client: HttpClient,
    pub(super) reader: MultipartReader,
    max_jpeg_bytes: usize,
}

/// What is left of an answer.
pub(super) struct AnswerRest {
    body: Incoming,
    /// Bytes that the reader had no room for.
    unread: Bytes,
    /// The body has ended.
    is_ended: bool,
}

/// Why reading ended.
pub(super) enum ReadEnd {
    /// The reader has a picture.
    Picture {
        /// Pictures that were skipped for it, or too large.
        missed: u32,
    },
    /// The answer has ended, after at least one picture.
    Ended,
}

impl HttpSession {
    pub(super) fn new(
        url: RemoteUrl,
        settings: &RemoteSettings,
        max_jpeg_bytes: usize,
    ) -> Result<Self, RemoteFault> {
        let client = HttpClient::new(url, settings)?;
        Ok(Self { client, reader: MultipartReader::new(max_jpeg_bytes), max_jpeg_bytes })
    }

    /// Begins to read an answer.
    pub(super) fn begin(&mut self, answer: HttpAnswer) -> AnswerRest {
        let HttpAnswer { body, content_type, boundary, length } = answer;
        debug!("http: answer of type {content_type:?}, boundary {boundary:?}, {length:?} bytes");
        self.reader.begin(boundary.as_deref(), content_type.as_deref(), length);
        AnswerRest { body, unread: Bytes::new(), is_ended: false }
    }

    /// Reads up to the newest picture that is there. Nothing is lost when the future is dropped.
    pub(super) async fn next_picture(&mut self, answer: &mut AnswerRest) -> Result<ReadEnd, RemoteFault> {
        let Self { client, reader, max_jpeg_bytes } = self;
        let mut missed = 0;
        loop {
            let taken = reader.push(&answer.unread);
            answer.unread.advance(taken);
            let had_picture = reader.picture().is_some();
            match reader.next_found().map_err(|NoPictures(what)| RemoteFault::NoPictures { what })? {
                Found::Picture => missed += u32::from(had_picture),
                Found::TooLarge => {
                    warn!("http: dropped a frame of more than {max_jpeg_bytes} bytes; set width and height");
                    missed += 1;
                }
                Found::Incomplete if reader.picture().is_some() => {
                    let is_newest = !answer.unread.is_empty() || answer.is_ended || missed >= MAX_SKIPPED;
                    if is_newest || !read_now(client, reader, answer).await? {
                        return Ok(ReadEnd::Picture { missed });
                    }
                }
                Found::Incomplete if !answer.unread.is_empty() => {}
                Found::Incomplete if answer.is_ended => {
                    if reader.pictures() == 0 {
                        let NoPictures(what) = reader.no_pictures();
                        return Err(RemoteFault::NoPictures { what });
                    }
                    return Ok(ReadEnd::Ended);
                }
                Found::Incomplete => read(client, reader, answer).await?,
            }
        }
    }
}

/// Waits for more of the answer.
async fn read(
    client: &mut HttpClient,
    reader: &mut MultipartReader,
    answer: &mut AnswerRest,
) -> Result<(), RemoteFault> {
    let Some(connection) = client.connection() else {
        answer.is_ended = true;
        return Ok(());
    };
    match connection.next_bytes(&mut answer.body).await {
        Some(Ok(bytes)) => answer.unread = bytes,
        // The body is shorter than its length says. The pictures in it are used.
        Some(Err(error)) if reader.pictures() == 0 => return Err(no_http(error)),
        Some(Err(error)) => {
            debug!("http: the answer ended early: {error}");
            client.disconnect();
            answer.is_ended = true;
        }
        None => answer.is_ended = true,
    }
    if answer.is_ended {
        reader.end_of_stream();
    }
    Ok(())
}

/// Reads more of the answer if it is there already; returns whether it was.
async fn read_now(
    client: &mut HttpClient,
    reader: &mut MultipartReader,
    answer: &mut AnswerRest,
) -> Result<bool, RemoteFault> {
    let mut reading = pin!(read(client, reader, answer));
    poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Ready(read) => Poll::Ready(read.map(|()| true)),
        Poll::Pending => Poll::Ready(Ok(false)),
    })
    .await
}
