//! One HTTP connection. It makes progress only while one of its futures is polled, so that closing it takes no task that
//! would have to run once more.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::client::RemoteStream;

/// Most bytes of an answer's header, and of a read: less than most pictures, so that no second one waits here.
const MAX_READ_BYTES: usize = 64 * 1024;

/// What requests of this client have: nothing.
type NoBody = Empty<Bytes>;

/// A connection that asks for one answer after another.
pub(super) struct HttpConnection {
    sender: SendRequest<NoBody>,
    driver: Driver,
}

/// What makes a connection progress; `None` once it has ended. It is dropped then, as only that tells the sender.
type Driver = Option<Pin<Box<Connection<TokioIo<RemoteStream>, NoBody>>>>;

impl HttpConnection {
    pub(super) async fn open(stream: RemoteStream) -> hyper::Result<Self> {
        // Cameras' servers are written by hand more often than others.
        let (sender, connection) = Builder::new()
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .max_buf_size(MAX_READ_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, driver: Some(Box::pin(connection)) })
    }

    /// Sends a request and waits for the header of the answer.
    pub(super) async fn send(&mut self, request: Request<NoBody>) -> hyper::Result<Response<Incoming>> {
        let Self { sender, driver } = self;
        let answer = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        driven(driver, answer).await
    }

    /// The next bytes of a body; `None` at its end. Nothing is lost when the future is dropped.
    pub(super) async fn next_bytes(&mut self, body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
        let driver = &mut self.driver;
        let bytes = async {
            loop {
                match body.frame().await? {
                    Ok(frame) => {
                        // Trailers are of no interest.
                        if let Ok(bytes) = frame.into_data() {
                            return Some(Ok(bytes));
                        }
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        };
        driven(driver, bytes).await
    }

    /// Whether another request can be sent, now that the last answer has been read.
    pub(super) async fn is_reusable(&mut self) -> bool {
        let Self { sender, driver } = self;
        driven(driver, sender.ready()).await.is_ok()
    }
}

/// Polls `future`, and the connection with it.
async fn driven<T>(driver: &mut Driver, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Its error reaches the future too.
        if driver.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
            *driver = None;
        }
        future.as_mut().poll(context)
    })
    .await
}
