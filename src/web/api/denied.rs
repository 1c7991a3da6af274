//! The answers to requests that the access check has denied.
#![forbid(unsafe_code)]

use hyper::header::{ACCEPT, SEC_WEBSOCKET_KEY};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::login;
use crate::web::access::authentication::AuthError;
use crate::web::access::check::AccessDenied;
use crate::web::access::host::HostError;
use crate::web::response::{Answer, json, text};

/// Answers a denied request. `uses_token` tells which secret is asked for.
pub(crate) fn answer(denied: &AccessDenied, request: &Parts, uses_token: bool) -> Answer {
    match denied {
        AccessDenied::Host(error) => {
            let status = match error {
                HostError::Unclear => StatusCode::BAD_REQUEST,
                HostError::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
            };
            text(status, &error.to_string())
        }
        AccessDenied::Credentials(error) => unauthorized(*error, request, uses_token),
        AccessDenied::Origin(origin) => text(
            StatusCode::FORBIDDEN,
            &format!(
                "a page of {origin:?} may not do this with your browser; if it may, add it: [server] allow_origins = \
                 [{origin:?}], or let it give the token in the address"
            ),
        ),
        AccessDenied::NotAdmin => {
            let why = "this password allows watching only; log in with the admin password, which `porthole passwd admin` \
                       sets";
            json(StatusCode::FORBIDDEN, &json!({ "error": why }))
        }
    }
}

/// Answers with the login page where a browser shows its user a page, otherwise with a line of text.
///
/// A browser prompts its user for a password on a Basic challenge, whatever sent the request. Scripts and WebSockets
/// therefore get a Bearer challenge, and their page says what to do.
fn unauthorized(error: AuthError, request: &Parts, uses_token: bool) -> Answer {
    let headers = &request.headers;
    let is_script = headers.contains_key("x-requested-with") || headers.contains_key(SEC_WEBSOCKET_KEY);
    let accepts_html =
        headers.get_all(ACCEPT).iter().any(|types| types.as_bytes().windows(9).any(|w| w == b"text/html"));
    if accepts_html && !is_script && matches!(request.method, Method::GET | Method::HEAD) {
        return login::page(&request.uri, uses_token, Some(error));
    }
    let why = match error {
        AuthError::Missing | AuthError::Wrong if uses_token => {
            "this camera is private; open the URL with the token that `porthole` printed when it first started, or give \
             the token as password"
                .to_owned()
        }
        AuthError::Missing | AuthError::Wrong => {
            "this camera is private; give its password, with any user name, or log in at /login".to_owned()
        }
        AuthError::Throttled(_) | AuthError::Busy => login::message(error),
    };
    let mut answer = text(login::status(error), &why);
    let challenge = if is_script { login::BEARER } else { login::BASIC };
    login::add_headers(&mut answer, error, challenge);
    answer
}
