//! `/login` and `/logout`: the page that asks for a password or the token, and the form that it sends; and the answers to
//! requests that the access check has denied, many of which are that page.
//!
//! The form works without scripts. Its links are relative, so that they hold behind a proxy that adds a prefix.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, HeaderValue, ORIGIN, REFERRER_POLICY, SEC_WEBSOCKET_KEY, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;

use super::body::read_body;
use crate::web::access::authentication::{AuthError, Authenticator};
use crate::web::access::check::{AccessCheck, AccessDenied};
use crate::web::access::client::Client;
use crate::web::access::host::HostError;
use crate::web::response::{
    Answer, answer, json as json_answer, retry_after, see_other, set_cookies, text, whole_seconds,
};

const PAGE: &str = include_str!("login.html");
/// Most bytes of the form: a password and an address, several times over.
const MAX_BODY: usize = 8192;
/// Most bytes of the address to go on to.
const MAX_NEXT: usize = 512;

/// The login page, shown at `uri`. After login the browser returns there.
pub(crate) fn page(uri: &Uri, uses_token: bool, error: Option<AuthError>) -> Answer {
    let root = "../".repeat(uri.path().matches('/').count().saturating_sub(1));
    let is_login = uri.path().trim_end_matches('/').ends_with("/login");
    let next = if is_login { "/".to_owned() } else { without_token(uri) };
    form(&root, &next, uses_token, error)
}

fn form(root: &str, next: &str, uses_token: bool, error: Option<AuthError>) -> Answer {
    let (label, hint) = if uses_token {
        (
            "Token",
            "The token is part of the address that porthole printed when it first started, and is kept in its state \
             directory.",
        )
    } else {
        ("Password", "Log in to see it.")
    };
    let message = error.map(message).unwrap_or_default();
    let status = error.map_or(StatusCode::OK, status);
    let mut html = PAGE.to_owned();
    for (name, text) in [("label", label), ("hint", hint), ("root", root), ("message", &message)] {
        html = html.replace(&format!("{{{name}}}"), text);
    }
    // Last, as it alone comes from the client.
    let html = html.replace("{next}", &escape_html(next));
    let mut answer = answer(status, "text/html; charset=utf-8", html);
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // With no-referrer a browser would send the form without its Origin.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(error) = error {
        add_headers(&mut answer, error, BEARER);
    }
    answer
}

/// Checks the form that [`page`] sends, and logs the browser in.
pub(crate) async fn log_in(access: &AccessCheck, request: &Parts, body: Incoming, client: Client) -> Answer {
    // A proxy may use TLS where this service does not. The page's own origin tells.
    let origin = request.headers.get(ORIGIN).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_secure = client.is_secure || origin.starts_with(b"https://");
    let Ok(body) = read_body(body, MAX_BODY).await else {
        return text(StatusCode::BAD_REQUEST, "the form did not arrive");
    };
    let (mut password, mut next) = (String::new(), String::new());
    for (key, value) in form_urlencoded::parse(&body) {
        match &*key {
            "password" => password = value.trim().to_owned(),
            "next" => next = value.into_owned(),
            _ => {}
        }
    }
    let next = if is_own_path(&next) { next } else { "/".into() };
    match access.log_in(password.as_bytes(), client).await {
        Ok(role) => {
            let mut answer = see_other(&next);
            set_cookies(answer.headers_mut(), access.authenticator.cookie(role, is_secure));
            answer
        }
        Err(error) => form("", &next, access.authenticator.uses_token(), Some(error)),
    }
}

/// Ends the session of a request.
pub(crate) fn log_out(authenticator: &Authenticator, headers: &HeaderMap) -> Answer {
    let mut answer = see_other("/");
    set_cookies(answer.headers_mut(), authenticator.log_out(headers));
    answer
}

/// Path and query of a URL without the token, which was wrong.
fn without_token(uri: &Uri) -> String {
    let rest: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("token="))
        .collect();
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    let next = format!("{}{query}", uri.path());
    if is_own_path(&next) { next } else { "/".into() }
}

/// Whether `next` is a path of this service, and not another host in any of the ways that browsers read one.
fn is_own_path(next: &str) -> bool {
    let is_graphic = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    is_graphic && next.len() <= MAX_NEXT && next.starts_with('/') && !next.starts_with("//")
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// The challenge of Basic authentication, which every program knows. A browser prompts its user for it.
const BASIC: &str = "Basic realm=\"porthole\", charset=\"UTF-8\"";
/// The challenge of Bearer authentication. No browser prompts for it.
const BEARER: &str = "Bearer realm=\"porthole\"";

/// The status code of an error.
fn status(error: AuthError) -> StatusCode {
    match error {
        AuthError::Missing | AuthError::Wrong => StatusCode::UNAUTHORIZED,
        AuthError::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The message for a user; empty where the login form says enough.
fn message(error: AuthError) -> String {
    match error {
        AuthError::Missing => String::new(),
        AuthError::Wrong => "That is not right.".into(),
        AuthError::Throttled(time) => {
            let seconds = whole_seconds(time);
            format!("Too many wrong guesses came from your address; try again in {seconds} s.")
        }
        AuthError::Busy => "Too many passwords are being checked; try again in a moment.".into(),
    }
}

/// Adds the headers that belong to an error.
fn add_headers(answer: &mut Answer, error: AuthError, challenge: &'static str) {
    match error {
        AuthError::Missing | AuthError::Wrong => {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        AuthError::Throttled(time) => retry_after(answer, time),
        AuthError::Busy => retry_after(answer, Duration::from_secs(1)),
    }
}

/// Answers a denied request. `uses_token` tells which secret is asked for.
pub(crate) fn denied(denied: &AccessDenied, request: &Parts, uses_token: bool) -> Answer {
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
            json_answer(StatusCode::FORBIDDEN, &json!({ "error": why }))
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
        return page(&request.uri, uses_token, Some(error));
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
        AuthError::Throttled(_) | AuthError::Busy => message(error),
    };
    let mut answer = text(status(error), &why);
    let challenge = if is_script { BEARER } else { BASIC };
    add_headers(&mut answer, error, challenge);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_back_to_the_same_service_only() {
        for (uri, next) in [
            ("/", "/"),
            ("/cameras/front/?x", "/cameras/front/?x"),
            ("/?token=wrong", "/"),
            ("/stream?a=1&token=x&b", "/stream?a=1&b"),
            ("//evil.example/", "/"),
        ] {
            assert_eq!(without_token(&uri.parse().unwrap()), next, "{uri}");
        }
        for bad in [
            "",
            "x",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\r\nSet-Cookie: x",
            "/ä",
        ] {
            assert!(!is_own_path(bad), "{bad}");
        }
        assert!(!is_own_path(&format!("/{}", "x".repeat(MAX_NEXT))));
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }
}
