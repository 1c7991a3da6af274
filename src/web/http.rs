//! One client's connection: hyper reads the requests and writes the short answers.
//!
//! For a stream of frames the connection is taken away from hyper once the request has been read, and handed with
//! all it has read ahead to whoever writes the frames: they go from the ring to the kernel without passing through
//! anybody's buffers.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, warn};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot::Receiver;
use tokio::time::timeout;

use super::auth::{Admission, Proof, Visitor, login};
use super::crowd::{Awaited, Ticket};
use super::handshake::{Handshake, Refusal};
use super::listener::Peer;
use super::route::{Target, Want, target};
use super::snapshot::{self, NoSnapshot, Sized};
use super::socket::Socket;
use super::transport::{Line, Transport};
use super::viewer::{Kind, NoPlace, Viewer};
use super::ws::Bounds;
use super::{Site, controls, gate, metrics, mjpeg, page, redirect, state, ws};
use crate::camera::{Camera, StillError, StillResult};
use crate::failpoint;

/// Longest request header, in bytes. The smallest that hyper allows; cookies and tokens fit many times over.
const MAX_HEADER: usize = 8192;
/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_millis(200);

pub(super) type Answer = Response<Full<Bytes>>;

/// A viewer who takes the connection over.
enum Takeover {
    Socket(Handshake, Viewer),
    /// With what is added to the head of the stream.
    Stream(Viewer, String),
}

/// What a request leads to.
enum Outcome {
    Answer(Answer),
    Takeover(Takeover),
}

/// Finds out what a peer speaks, and serves it to its end.
pub(super) async fn serve(site: Arc<Site>, line: Line, remote: Peer, ticket: Ticket) {
    let is_open = site.tls.is_none() || remote.is_unix();
    let entering = timeout(site.settings.limits.request_time, Arc::clone(&site).enter(line, remote));
    let entered = tokio::select! {
        entered = entering => entered,
        () = site.stopped() => return,
        () = ticket.sent_away() => return,
    };
    match entered {
        Ok(Ok(transport)) => {
            let is_misplaced = !is_open && !transport.is_encrypted();
            serve_http(site, transport, remote, &ticket, is_misplaced).await;
        }
        Ok(Err(error)) => {
            debug!("{remote}: TLS: {error}");
            site.counters.handshake.add(1);
        }
        Err(_) => site.counters.idle.add(1),
    }
}

/// Serves one connection to its end; all that is asked is sent on to HTTPS if `is_misplaced`.
async fn serve_http(
    site: Arc<Site>,
    transport: Transport,
    remote: Peer,
    ticket: &Ticket,
    is_misplaced: bool,
) {
    // Whoever reached this address of several may be a neighbour there.
    let visitor = Visitor::of(remote, transport.line().own_address(), transport.is_encrypted());
    let socket = match Socket::new(transport, site.settings.patience) {
        Ok(socket) => socket,
        Err(error) => return debug!("{remote}: {error}"),
    };
    let taken = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (site, taken) = (&site, &taken);
        // Boxed, so that the connection can be moved once the request has been read.
        Box::pin(async move {
            let busy = ticket.busy();
            if is_misplaced {
                site.counters.plain.add(1);
                let answer =
                    gate::host(site, &request).map_or_else(|bad| *bad, |_| redirect::answer(&request));
                return Ok::<_, Infallible>(answer.map(|body| Awaited::new(body, busy)));
            }
            match outcome(site, request, remote, visitor).await {
                Outcome::Answer(answer) => Ok(answer.map(|body| Awaited::new(body, busy))),
                Outcome::Takeover(takeover) => {
                    *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((takeover, busy));
                    // hyper waits for an answer until the connection is taken away from it, which is at once.
                    pending().await
                }
            }
        })
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(site.settings.limits.request_time)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(socket), service);
    let takeover = poll_fn(|cx| {
        let done = connection.poll_without_shutdown(cx);
        match taken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(takeover) => Poll::Ready(Some(takeover)),
            None => done.map(|done| {
                if let Err(error) = done {
                    debug!("{remote}: {error}");
                    count(&site, &error);
                }
                None
            }),
        }
    });
    let takeover = tokio::select! {
        takeover = takeover => takeover,
        () = site.stopped() => None,
        () = ticket.sent_away() => None,
    };
    let Parts { io, read_buf, .. } = connection.into_parts();
    let mut socket = io.into_inner();
    match takeover {
        // For as long as they watch they are busy.
        Some((Takeover::Socket(handshake, viewer), _busy)) => {
            let bounds = Bounds { patience: site.settings.patience, silence: site.settings.limits.silence };
            ws::serve(socket, &read_buf, handshake, viewer, bounds, site.stopped()).await;
        }
        Some((Takeover::Stream(viewer, lines), _busy)) => {
            mjpeg::serve(socket, viewer, &lines, site.stopped()).await;
        }
        None => {
            // A peer that is gone already has no use for a goodbye.
            let _ = timeout(GOODBYE, socket.shutdown()).await;
        }
    }
}

/// Counts a connection that was not ended by its peer.
fn count(site: &Site, error: &hyper::Error) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_timeout() {
        site.counters.idle.add(1);
    } else if error.is_parse() {
        site.counters.malformed.add(1);
    } else if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        site.counters.stalled.add(1);
    }
}

async fn outcome(site: &Arc<Site>, request: Request<Incoming>, remote: Peer, visitor: Visitor) -> Outcome {
    failpoint::pass("connection");
    let dress = site.doors.dress(request.headers());
    let mut outcome = match gate::enter(site, request, visitor, &dress).await {
        Ok((request, entry)) => admitted(site, request, remote, &entry, visitor.secure).await,
        Err(answer) => Outcome::Answer(answer),
    };
    match &mut outcome {
        Outcome::Answer(answer) => dress.put_on(answer.headers_mut()),
        Outcome::Takeover(Takeover::Stream(_, lines)) => *lines = dress.lines(),
        Outcome::Takeover(Takeover::Socket(..)) => {}
    }
    outcome
}

async fn admitted(
    site: &Arc<Site>,
    request: Request<Incoming>,
    remote: Peer,
    entry: &gate::Entry,
    secure: bool,
) -> Outcome {
    let uri = request.uri().clone();
    let target = match target(uri.path(), uri.query()) {
        Ok(target) => target,
        Err(why) => return Outcome::Answer(text(StatusCode::BAD_REQUEST, &why)),
    };
    let allowed: &[Method] =
        if matches!(target.want, Want::Control(_)) { &[Method::PUT] } else { &[Method::GET, Method::HEAD] };
    if !allowed.contains(request.method()) {
        let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        names.push("OPTIONS");
        let names = names.join(", ");
        let why = format!("{} is not possible here; use {names}", request.method());
        return Outcome::Answer(allowing(StatusCode::METHOD_NOT_ALLOWED, &names, &why));
    }
    if let Some(answer) = gate::refusal(site, entry, &target.want) {
        return Outcome::Answer(answer);
    }
    // A browser that came by URL keeps what it needs for all that the page asks next; a program asks for no page.
    let Admission { role, proof } = entry.admission;
    let remembers =
        proof == Proof::Url && (matches!(target.want, Want::Page("/")) || site.auth.mode() == "token");
    let mut outcome = wanted(site, request, target, remote).await;
    if let Outcome::Answer(answer) = &mut outcome {
        let headers = answer.headers_mut();
        if let Some(proof) = proof.name() {
            // Of fixed words.
            let access = HeaderValue::from_str(&format!("{role}; by={proof}"));
            access.ok().and_then(|access| headers.insert(HeaderName::from_static("porthole-access"), access));
        }
        if remembers {
            login::set(headers, site.auth.cookie(role, secure));
        }
    }
    outcome
}

async fn wanted(site: &Arc<Site>, request: Request<Incoming>, target: Target<'_>, remote: Peer) -> Outcome {
    let place = match site.camera(target.camera) {
        Some(place) => place,
        None => return Outcome::Answer(text(StatusCode::NOT_FOUND, &site.no_such_camera(target.camera))),
    };
    let head = request.method() == Method::HEAD;
    let enter = |kind| site.viewers.enter(place, kind, remote);
    let full = |full: NoPlace| {
        site.counters.refused.add(1);
        Outcome::Answer(unavailable(&full.to_string()))
    };
    let answer = match target.want {
        Want::Socket | Want::TutorialSocket => match Handshake::read(request.headers()) {
            Ok(handshake) => {
                let tutorial = target.want == Want::TutorialSocket;
                return match enter(if tutorial { Kind::Tutorial } else { handshake.kind() }) {
                    Ok(viewer) => Outcome::Takeover(Takeover::Socket(handshake, viewer)),
                    Err(none) => full(none),
                };
            }
            Err(refusal) => upgrade_required(refusal),
        },
        Want::Stream if head => mjpeg::head(),
        Want::Stream => {
            return match enter(Kind::Mjpeg) {
                Ok(viewer) => Outcome::Takeover(Takeover::Stream(viewer, String::new())),
                Err(none) => full(none),
            };
        }
        Want::Snapshot { .. } | Want::Still if head => jpeg(Bytes::new()),
        Want::Snapshot { max_age } => match enter(Kind::Snapshot) {
            Ok(viewer) => snapshot(site, place, viewer, max_age).await,
            Err(none) => return full(none),
        },
        Want::Still => match place.1.still() {
            Ok(taken) => match enter(Kind::Snapshot) {
                Ok(viewer) => still(site, place, viewer, taken).await,
                Err(none) => return full(none),
            },
            Err(none) => no_snapshot(place.1, &none.into()),
        },
        Want::State => fresh("application/json", state::json(site).into()),
        Want::Metrics => fresh(metrics::CONTENT_TYPE, metrics::text(site).into()),
        Want::Health => match state::ailment(&site.status.borrow()) {
            None => text(StatusCode::OK, "ok"),
            Some(ailment) => unavailable(&ailment),
        },
        Want::Controls => controls::list(place.1).await,
        Want::Control(name) => controls::set(place.1, name, request).await,
        Want::Page(path) => page::answer(path, request.headers()).unwrap_or_else(nothing),
        Want::PageWithoutSlash => with_slash(request.uri()),
    };
    Outcome::Answer(answer)
}

async fn snapshot(
    site: &Arc<Site>,
    (index, camera): (usize, &Camera),
    viewer: Viewer,
    max_age: Option<Duration>,
) -> Answer {
    match snapshot::take(viewer, max_age, site.fault(index)).await {
        Ok(held) => jpeg(Bytes::from_owner(held)),
        Err(none) => no_snapshot(camera, &none),
    }
}

async fn still(
    site: &Arc<Site>,
    (index, camera): (usize, &Camera),
    viewer: Viewer,
    taken: Receiver<StillResult>,
) -> Answer {
    match snapshot::largest(viewer, taken, site.fault(index)).await {
        Ok(Sized::Large(still)) => jpeg(Bytes::from_owner(still)),
        Ok(Sized::Frame(held)) => jpeg(Bytes::from_owner(held)),
        Err(none) => no_snapshot(camera, &none),
    }
}

fn no_snapshot(camera: &Camera, none: &NoSnapshot) -> Answer {
    let mut answer = unavailable(&format!("camera {}: {none}", camera.name()));
    if matches!(none, NoSnapshot::Still(StillError::Busy | StillError::TooSoon)) {
        *answer.status_mut() = StatusCode::CONFLICT;
    }
    answer
}

fn with_slash(uri: &Uri) -> Answer {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Relative to the last slash, so that it is right behind a proxy too.
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let mut answer = text(StatusCode::PERMANENT_REDIRECT, "the page is beyond the slash");
    if let Ok(location) = HeaderValue::from_str(&format!("{name}/{query}")) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn nothing() -> Answer {
    text(StatusCode::NOT_FOUND, "there is nothing here; the page is at /")
}

fn jpeg(bytes: Bytes) -> Answer {
    fresh("image/jpeg", bytes)
}

/// Something that is different the next time.
pub(super) fn fresh(content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = respond(StatusCode::OK, content_type, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn unavailable(why: &str) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn upgrade_required(refusal: Refusal) -> Answer {
    let mut answer = text(StatusCode::UPGRADE_REQUIRED, &refusal.to_string());
    let headers = answer.headers_mut();
    headers.insert(hyper::header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(hyper::header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}

/// An answer that says what methods there are.
pub(super) fn allowing(status: StatusCode, methods: &str, why: &str) -> Answer {
    let mut answer = text(status, why);
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.headers_mut().insert(ALLOW, methods);
    }
    answer
}

/// Something as JSON.
pub(super) fn json_answer(status: StatusCode, what: &serde_json::Value) -> Answer {
    let mut answer = fresh("application/json", what.to_string().into());
    *answer.status_mut() = status;
    answer
}

/// A line of text.
pub(super) fn text(status: StatusCode, what: &str) -> Answer {
    let line = if what.is_empty() { String::new() } else { format!("{}\n", what.trim_end()) };
    respond(status, "text/plain; charset=utf-8", line.into())
}

/// An answer that holds what every answer does.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    answer
}

/// Logs a connection's task that panicked; the others go on.
pub(super) fn report(panic: tokio::task::JoinError) {
    warn!("a connection ended in a panic, which is a bug in porthole: {panic}");
}
