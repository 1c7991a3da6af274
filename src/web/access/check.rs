//! What every request passes before anything is fetched for it, in this order: is it for this machine, may who sent it
//! come in, is the page that sent it one that may, and may they do what they ask.
#![forbid(unsafe_code)]

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_KEY, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

use super::client::{Admission, Denied, Visitor};
use super::origin::{BadHost, Dress, Sender};
use super::password::Role;
use crate::web::api::login;
use crate::web::route::Want;
use crate::web::router::{Answer, allowing, json_answer, text};
use crate::web::{Site, page};

/// Files that the login page needs, and that hold nothing of this camera.
const OPEN_FILES: [&str; 3] = ["/style.css", "/icon.svg", "/favicon.ico"];

/// A request that has passed the first gate.
#[derive(Debug)]
pub(in crate::web) struct Entry {
    pub(in crate::web) admission: Admission,
    sender: Sender,
}

/// Lets a request in, or answers it: those that name no host of this machine, those without a right token or password,
/// and those that can be answered without.
pub(in crate::web) async fn enter(
    site: &Site,
    request: Request<Incoming>,
    visitor: Visitor,
    dress: &Dress,
) -> Result<(Request<Incoming>, Entry), Answer> {
    let host = host(site, &request).map_err(|answer| *answer)?;
    if request.method() == Method::OPTIONS {
        let mut answer = allowing(StatusCode::NO_CONTENT, "GET, HEAD, PUT, OPTIONS", "");
        if request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            dress.permit(answer.headers_mut());
        }
        return Err(answer);
    }
    let sender = site.doors.sender(request.headers(), host.as_ref(), visitor.secure);
    let uri = request.uri().clone();
    match uri.path().trim_end_matches('/') {
        "/login" | "/logout" => return Err(door(site, request, &uri, visitor, &sender).await),
        path if OPEN_FILES.contains(&path) && matches!(*request.method(), Method::GET | Method::HEAD) => {
            if let Some(answer) = page::answer(path, request.headers()) {
                return Err(answer);
            }
        }
        _ => {}
    }
    match site.auth.admit(request.headers(), uri.query(), visitor).await {
        Ok(admission) => Ok((request, Entry { admission, sender })),
        Err(denied) => Err(turn_away(site, request.headers(), request.method(), &uri, denied)),
    }
}

/// The host that a request names, or the answer to one that names none of this machine.
pub(in crate::web) fn host<B>(
    site: &Site,
    request: &Request<B>,
) -> Result<Option<(String, Option<u16>)>, Box<Answer>> {
    site.doors.host(request).map_err(|bad| {
        site.counters.foreign_host.add(1);
        let status = match bad {
            BadHost::Unclear => StatusCode::BAD_REQUEST,
            BadHost::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
        };
        Box::new(text(status, &bad.to_string()))
    })
}

/// The answer to a request for what may not be had by the page that sent it, or by whoever is behind it.
///
/// A page of another site can make a browser open a WebSocket or, where nobody asks for a proof, change a control, with
/// whatever proof the browser has. Where the proof is one that only its owner can have written there, it is the owner's
/// page.
pub(in crate::web) fn refusal(site: &Site, entry: &Entry, want: &Want<'_>) -> Option<Answer> {
    let Entry { admission, sender } = entry;
    if matches!(want, Want::Socket | Want::TutorialSocket | Want::Control(_)) && admission.proof.is_ambient()
    {
        let is_ok = match sender {
            Sender::Program | Sender::Friend => true,
            // Pages written for the tutorial come from servers of their own. They are let in where everybody is.
            Sender::Neighbour(_) => *want == Want::TutorialSocket && site.auth.mode() == "none",
            Sender::Foreign(_) => false,
        };
        if !is_ok {
            site.counters.foreign_origin.add(1);
            return Some(not_from(sender));
        }
    }
    if matches!(want, Want::Control(_)) && admission.role < Role::Admin {
        site.counters.not_admin.add(1);
        let why = "this password lets one see and change nothing; log in with the admin password, which \
                   `porthole passwd admin` sets";
        return Some(json_answer(StatusCode::FORBIDDEN, &serde_json::json!({ "error": why })));
    }
    None
}

fn not_from(sender: &Sender) -> Answer {
    let origin = match sender {
        Sender::Foreign(origin) | Sender::Neighbour(origin) => origin.as_str(),
        Sender::Program | Sender::Friend => "",
    };
    let why = format!(
        "a page of {origin:?} may not do this with your browser; if it may, add it: [server] allow_origins = \
         [{origin:?}], or let it give the token in the address"
    );
    text(StatusCode::FORBIDDEN, &why)
}

/// Logging in and out.
async fn door(
    site: &Site,
    request: Request<Incoming>,
    uri: &Uri,
    visitor: Visitor,
    sender: &Sender,
) -> Answer {
    if site.auth.mode() == "none" {
        return login::go_on("/");
    }
    let is_login = uri.path().starts_with("/login");
    match *request.method() {
        Method::GET | Method::HEAD if is_login => return login::page(&site.auth, uri, None),
        Method::POST => {}
        _ => {
            let allowed = if is_login { "GET, HEAD, POST, OPTIONS" } else { "POST, OPTIONS" };
            return allowing(StatusCode::METHOD_NOT_ALLOWED, allowed, &format!("use {allowed}"));
        }
    }
    // Nobody else's page logs a browser in or out.
    if !matches!(sender, Sender::Program | Sender::Friend) {
        site.counters.foreign_origin.add(1);
        return not_from(sender);
    }
    if !is_login {
        return login::log_out(&site.auth, request.headers());
    }
    match login::log_in(&site.auth, request, visitor).await {
        Ok(answer) => answer,
        Err((denied, answer)) => mark(site, answer, denied, true),
    }
}

/// Answers a request that may not come in. A browser that leads its user here gets the login page; a program is told in
/// a line, and asked for a password in the way that all of them know.
///
/// A browser that is asked in that way prompts for a password, whoever sent the request. So a script, and a WebSocket, is
/// told in a way that no browser takes for a question, and the page says what to do.
fn turn_away(site: &Site, headers: &HeaderMap, method: &Method, uri: &Uri, denied: Denied) -> Answer {
    let by_script = headers.contains_key("x-requested-with") || headers.contains_key(SEC_WEBSOCKET_KEY);
    let wants_page =
        headers.get_all(ACCEPT).iter().any(|kinds| kinds.as_bytes().windows(9).any(|w| w == b"text/html"));
    if wants_page && !by_script && matches!(*method, Method::GET | Method::HEAD) {
        return mark(site, login::page(&site.auth, uri, Some(denied)), denied, true);
    }
    let why = match denied {
        Denied::Nothing | Denied::Wrong if site.auth.mode() == "token" => {
            "this camera is private; open the URL with the token that `porthole` printed when it first started, or give \
             the token as password"
                .to_owned()
        }
        Denied::Nothing | Denied::Wrong => {
            "this camera is private; give its password, with any user name, or log in at /login".to_owned()
        }
        Denied::TooMany(_) | Denied::Busy => login::words(denied),
    };
    mark(site, text(login::status(denied), &why), denied, by_script)
}

/// Counts a denial, and adds what its status has to come with.
fn mark(site: &Site, mut answer: Answer, denied: Denied, by_browser: bool) -> Answer {
    let headers = answer.headers_mut();
    match denied {
        Denied::Nothing | Denied::Wrong => {
            site.counters.unauthorized.add(1);
            let challenge = match by_browser {
                true => "Bearer realm=\"porthole\"",
                false => "Basic realm=\"porthole\", charset=\"UTF-8\"",
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Denied::TooMany(time) => {
            site.counters.throttled.add(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(login::seconds(time)));
        }
        Denied::Busy => {
            site.counters.unchecked.add(1);
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
    answer
}
