//! One connection from accept to close: the TLS handshake, HTTP requests, and the stream that one of them may start.
//!
//! hyper reads the requests and writes the short answers. For a stream the connection is taken back from hyper once the
//! request is read, with all that hyper has read ahead. Frames then go from the ring to the kernel without passing through
//! hyper's buffers.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::debug;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::access::client::Client;
use super::response::bytes_holding;
use super::router::{self, Reply};
use super::server::address::Peer;
use super::server::client_socket::{CLOSE_TIMEOUT, ClientSocket};
use super::server::connection_limiter::{ActiveRequest, Permit};
use super::server::transport::{Connection, Transport};
use super::server_state::ServerState;
use super::stream::LiveStream;
use crate::sync::lock;

/// Most bytes of a request's header. It is the least that hyper allows; cookies and tokens fit many times over.
const MAX_REQUEST_HEADER: usize = 8192;

pub(super) async fn serve(server: Arc<ServerState>, connection: Connection, peer: Peer, permit: Permit) {
    let opening = timeout(server.request_timeout, Arc::clone(&server).open(connection, peer));
    let opened = tokio::select! {
        opened = opening => opened,
        () = server.stopped() => return,
        () = permit.evicted() => return,
    };
    match opened {
        Ok(Ok(transport)) => serve_http(server, transport, peer, &permit).await,
        Ok(Err(error)) => {
            debug!("{peer}: TLS: {error}");
            server.counters.handshake_failed.add(1);
        }
        Err(_) => server.counters.idle.add(1),
    }
}

async fn serve_http(server: Arc<ServerState>, transport: Transport, peer: Peer, permit: &Permit) {
    let needs_tls = server.tls.is_some() && !peer.is_unix() && !transport.is_encrypted();
    let client = Client::new(peer, transport.connection().local_address(), transport.is_encrypted());
    let socket = match ClientSocket::new(transport, server.stream_timeouts.write) {
        Ok(socket) => socket,
        Err(error) => return debug!("{peer}: {error}"),
    };
    let started: Mutex<Option<(LiveStream, ActiveRequest)>> = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (server, started) = (&server, &started);
        // Boxed, so that the connection can be moved once a stream has started.
        Box::pin(async move {
            let active = permit.begin_request();
            let reply = match needs_tls {
                true => Reply::Answer(router::redirect_to_https(server, request)),
                false => router::route(server, request, client).await,
            };
            match reply {
                Reply::Answer(answer) => {
                    Ok::<Response<_>, Infallible>(answer.map(|body| Full::new(bytes_holding(body, active))))
                }
                Reply::Stream(stream) => {
                    *lock(started) = Some((stream, active));
                    // hyper waits for an answer until the connection is taken from it, which is at once.
                    pending().await
                }
            }
        })
    });
    let mut http = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.request_timeout)
        .max_buf_size(MAX_REQUEST_HEADER)
        .serve_connection(TokioIo::new(socket), service);
    let stream = poll_fn(|cx| {
        let done = http.poll_without_shutdown(cx);
        match lock(&started).take() {
            Some(stream) => Poll::Ready(Some(stream)),
            None => done.map(|done| {
                if let Err(error) = done {
                    debug!("{peer}: {error}");
                    count(&server, &error);
                }
                None
            }),
        }
    });
    let done = tokio::select! {
        stream = stream => Some(stream),
        () = server.stopped() => None,
        () = permit.evicted() => None,
    };
    let Parts { io, read_buf, .. } = http.into_parts();
    let mut socket = io.into_inner();
    match done {
        // The request stays in progress for as long as the stream lasts.
        Some(Some((stream, _active))) => {
            stream.serve(socket, &read_buf, server.stream_timeouts, server.stopped()).await;
        }
        // The last answer may have been to a request that was not read to its end.
        Some(None) => socket.end().await,
        // A peer that takes nothing is disconnected without it.
        None => drop(timeout(CLOSE_TIMEOUT, socket.shutdown()).await),
    }
}

/// Counts a connection that ended with an error of its peer.
fn count(server: &ServerState, error: &hyper::Error) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_timeout() {
        server.counters.idle.add(1);
    } else if error.is_parse() {
        server.counters.malformed.add(1);
    } else if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        server.counters.stalled.add(1);
    }
}
