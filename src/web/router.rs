//! From a request to its answer: finds the endpoint, has access checked, calls the endpoint, and adds the headers that
//! every answer has.
#![forbid(unsafe_code)]

use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::access::authentication::Grant;
use super::access::check::Operation;
use super::access::client::{Client, CredentialKind};
use super::api::{controls, login, metrics, state};
use super::page;
use super::response::{
    Answer, add_preflight, allowed_methods, jpeg, see_other, set_cookies, text, to_https, unavailable,
    with_slash,
};
use super::route::{Endpoint, Route};
use super::server_state::ServerState;
use super::stream::viewers::{ViewerKind, ViewerRejected};
use super::stream::websocket::protocol::{Handshake, HandshakeError};
use super::stream::{LiveStream, VideoContainer, await_first, mjpeg_head, snapshot};
use crate::camera::Camera;
use crate::failpoint;

/// The result of a request.
pub(super) enum Reply {
    Answer(Answer),
    /// It starts a stream, which takes the connection over.
    Stream(LiveStream),
}

/// Redirects a request that came without TLS.
pub(super) fn redirect_to_https(server: &ServerState, request: Request<Incoming>) -> Answer {
    server.counters.redirected.add(1);
    let (request, _body) = request.into_parts();
    match server.access.check_host(&request) {
        Ok(()) => to_https(&request),
        Err(why) => login::denied(&why, &request, server.access.authenticator.uses_token()),
    }
}

pub(super) async fn route(server: &Arc<ServerState>, request: Request<Incoming>, client: Client) -> Reply {
    failpoint::pass("connection");
    let (request, body) = request.into_parts();
    let allowed_origin = server.access.origins.readable_by(&request.headers);
    let mut reply = checked(server, &request, body, client).await.unwrap_or_else(Reply::Answer);
    match &mut reply {
        Reply::Answer(answer) => {
            server.response_headers.apply(answer.headers_mut(), allowed_origin.as_ref());
        }
        Reply::Stream(LiveStream::Mjpeg(_, header_lines) | LiveStream::Video(_, _, header_lines)) => {
            *header_lines = server.response_headers.stream_lines(allowed_origin.as_ref());
        }
        Reply::Stream(LiveStream::WebSocket(..) | LiveStream::VideoWebSocket(..)) => {}
    }
    reply
}

/// Checks access to the endpoint of a request, and calls it. A request that does not get that far is an `Err`.
async fn checked(
    server: &Arc<ServerState>,
    request: &Parts,
    body: Incoming,
    client: Client,
) -> Result<Reply, Answer> {
    let route = Route::parse(request.uri.path(), request.uri.query());
    let operation = match &route {
        _ if request.method == Method::OPTIONS => Operation::Public,
        Ok(route) => route.endpoint.operation(&request.method, server.access.authenticator.is_open()),
        // Without read access a client does not learn that its address is not valid.
        Err(_) => Operation::Read,
    };
    let access = &server.access;
    let denied = |why| login::denied(&why, request, access.authenticator.uses_token());
    let grant = access.check(request, client, operation).await.map_err(denied)?;
    if request.method == Method::OPTIONS {
        let mut answer = allowed_methods(StatusCode::NO_CONTENT, "GET, HEAD, PUT, OPTIONS", "");
        if server.access.origins.readable_by(&request.headers).is_some() {
            add_preflight(&request.headers, answer.headers_mut());
        }
        return Err(answer);
    }
    let route = route.map_err(|why| text(StatusCode::BAD_REQUEST, &why))?;
    if route.endpoint.is_login() && access.authenticator.is_open() {
        return Err(see_other("/"));
    }
    if !route.endpoint.allows(&request.method) {
        let methods = route.endpoint.methods();
        let why = format!("{} is not possible here; use {methods}", request.method);
        return Err(allowed_methods(StatusCode::METHOD_NOT_ALLOWED, methods, &why));
    }
    let is_page = route.endpoint == Endpoint::Page("/");
    let mut reply = call(server, request, body, route, client).await.unwrap_or_else(Reply::Answer);
    if let (Reply::Answer(answer), Some(grant)) = (&mut reply, grant) {
        add_grant(server, answer.headers_mut(), grant, is_page, client);
    }
    Ok(reply)
}

/// Tells which role was granted for which credentials, and makes a browser remember a secret that came by URL. The page
/// loads its files without it. Other programs repeat their URL and need no session.
fn add_grant(server: &ServerState, headers: &mut HeaderMap, grant: Grant, is_page: bool, client: Client) {
    let Grant { role, credential } = grant;
    if let Some(credential) = credential.name() {
        // Consists of fixed words.
        let access = HeaderValue::from_str(&format!("{role}; by={credential}"));
        access.ok().and_then(|access| headers.insert(HeaderName::from_static("porthole-access"), access));
    }
    if credential == CredentialKind::Url && (is_page || server.access.authenticator.uses_token()) {
        set_cookies(headers, server.access.authenticator.cookie(role, client.is_secure));
    }
}

/// Calls the endpoint of a request. Without its camera, or room for another viewer, that is an `Err`.
async fn call(
    server: &Arc<ServerState>,
    request: &Parts,
    body: Incoming,
    route: Route<'_>,
    client: Client,
) -> Result<Reply, Answer> {
    let viewers = &server.viewers;
    let answer = match route.endpoint {
        Endpoint::Login if request.method != Method::POST => {
            login::page(&request.uri, server.access.authenticator.uses_token(), None)
        }
        Endpoint::Login => login::log_in(&server.access, request, body, client).await,
        Endpoint::Logout => login::log_out(&server.access.authenticator, &request.headers),
        Endpoint::State => {
            viewers.bring_up_to_date(&server.cameras.current()).await;
            state::answer(server)
        }
        Endpoint::Metrics => {
            viewers.bring_up_to_date(&server.cameras.current()).await;
            metrics::answer(server).await
        }
        Endpoint::Health => state::health(&server.status.borrow()),
        // It is also shown while no camera is announced.
        Endpoint::Page(path) | Endpoint::PublicFile(path) if route.camera.is_none() => file(path, request),
        _ => {
            let camera = server.camera(route.camera);
            let camera = camera.ok_or_else(|| unknown_camera(&server.cameras.current(), route.camera))?;
            return call_camera(server, &camera, request, body, route.endpoint, client).await;
        }
    };
    Ok(Reply::Answer(answer))
}

/// Calls the endpoint of a camera.
async fn call_camera(
    server: &Arc<ServerState>,
    camera: &Camera,
    request: &Parts,
    body: Incoming,
    endpoint: Endpoint<'_>,
    client: Client,
) -> Result<Reply, Answer> {
    let is_head = request.method == Method::HEAD;
    let register = |kind| server.viewers.register(camera, kind, client.peer, Camera::subscribe);
    let register_video = |kind| {
        let units = camera.units().ok_or(ViewerRejected::NoH264)?;
        let subscribe = |camera: &Camera| camera.subscribe_units(units);
        server.viewers.register(camera, kind, client.peer, subscribe)
    };
    let rejected = |why: ViewerRejected| match why {
        ViewerRejected::NoH264 => text(StatusCode::NOT_FOUND, &why.to_string()),
        _ => unavailable(&why.to_string()),
    };
    let answer = match endpoint {
        Endpoint::WebSocket | Endpoint::TutorialWebSocket => {
            let handshake = Handshake::read(&request.headers).map_err(upgrade_required)?;
            let is_tutorial = endpoint == Endpoint::TutorialWebSocket;
            let kind = if is_tutorial { ViewerKind::Tutorial } else { handshake.kind() };
            return Ok(Reply::Stream(match kind {
                ViewerKind::H264 | ViewerKind::Mp4WebSocket => {
                    LiveStream::VideoWebSocket(handshake, register_video(kind).map_err(rejected)?)
                }
                _ => LiveStream::WebSocket(handshake, register(kind).map_err(rejected)?),
            }));
        }
        Endpoint::Stream if is_head => mjpeg_head(),
        Endpoint::Stream => {
            let viewer = register(ViewerKind::Mjpeg).map_err(rejected)?;
            return Ok(Reply::Stream(LiveStream::Mjpeg(viewer, String::new())));
        }
        Endpoint::Mp4 | Endpoint::AnnexB if camera.units().is_none() => {
            return Err(rejected(ViewerRejected::NoH264));
        }
        Endpoint::Mp4 if is_head => VideoContainer::Mp4.head(),
        Endpoint::AnnexB if is_head => VideoContainer::AnnexB.head(),
        Endpoint::Mp4 | Endpoint::AnnexB => {
            let container =
                if endpoint == Endpoint::Mp4 { VideoContainer::Mp4 } else { VideoContainer::AnnexB };
            let mut viewer = register_video(container.viewer_kind()).map_err(rejected)?;
            let first = await_first(&mut viewer, server.video_fault(camera.id())).await;
            first.map_err(|why| unavailable(&format!("camera {}: {why}", camera.name())))?;
            return Ok(Reply::Stream(LiveStream::Video(container, viewer, String::new())));
        }
        Endpoint::Snapshot { .. } | Endpoint::Still if is_head => jpeg(Bytes::new()),
        Endpoint::Snapshot { max_age } => {
            let viewer = register(ViewerKind::Snapshot).map_err(rejected)?;
            let fault = server.camera_fault(camera.id());
            snapshot::answer(camera, snapshot::frame(viewer, max_age, fault).await)
        }
        Endpoint::Still => {
            let requested = camera.still().map_err(|error| snapshot::answer(camera, Err(error.into())))?;
            let viewer = register(ViewerKind::Snapshot).map_err(rejected)?;
            let fault = server.camera_fault(camera.id());
            snapshot::answer(camera, snapshot::still(viewer, requested, fault).await)
        }
        Endpoint::Controls => controls::list(camera).await,
        Endpoint::Control(name) => controls::set(camera, name, body).await,
        Endpoint::Page(path) => file(path, request),
        Endpoint::PageWithoutSlash => with_slash(&request.uri),
        // They concern the whole service, and `call` answers them.
        Endpoint::Login
        | Endpoint::Logout
        | Endpoint::State
        | Endpoint::Metrics
        | Endpoint::Health
        | Endpoint::PublicFile(_) => nothing_here(),
    };
    Ok(Reply::Answer(answer))
}

/// A file of the page.
fn file(path: &str, request: &Parts) -> Answer {
    page::answer(path, &request.headers).unwrap_or_else(nothing_here)
}

fn nothing_here() -> Answer {
    text(StatusCode::NOT_FOUND, "there is nothing here; the page is at /")
}

fn unknown_camera(cameras: &[Camera], name: Option<&str>) -> Answer {
    let known: Vec<&str> = cameras.iter().map(Camera::name).collect();
    let why = match name {
        _ if known.is_empty() => {
            "no broker has announced a camera yet; /state tells whether they are connected".to_owned()
        }
        Some(name) => format!("there is no camera {name:?}; there is {}", known.join(", ")),
        None => format!("there is {}", known.join(", ")),
    };
    text(StatusCode::NOT_FOUND, &why)
}

fn upgrade_required(error: HandshakeError) -> Answer {
    let mut answer = text(StatusCode::UPGRADE_REQUIRED, &error.to_string());
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}
