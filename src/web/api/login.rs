//! `/login` and `/logout`: the page that asks for a password or the token, the form that it sends, and how an
//! [`AuthError`] is told.
//!
//! The form works without scripts. Its links are relative, so that they hold behind a proxy that adds a prefix.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode, Uri};
use tokio::time::timeout;

use crate::web::access::authentication::{AuthError, Authenticator};
use crate::web::access::check::AccessCheck;
use crate::web::access::client::Client;
use crate::web::response::{Answer, answer, retry_after, see_other, set_cookies, text, whole_seconds};

const PAGE: &str = include_str!("login.html");
/// Most bytes of the form: a password and an address, several times over.
const MAX_BODY: usize = 8192;
/// Time for a client to send the form.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
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
    let body = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let Ok(Ok(body)) = body else { return text(StatusCode::BAD_REQUEST, "the form did not arrive") };
    let (mut password, mut next) = (String::new(), String::new());
    for (key, value) in form_urlencoded::parse(&body.to_bytes()) {
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
pub(super) const BASIC: &str = "Basic realm=\"porthole\", charset=\"UTF-8\"";
/// The challenge of Bearer authentication. No browser prompts for it.
pub(super) const BEARER: &str = "Bearer realm=\"porthole\"";

/// The status code of an error.
pub(super) fn status(error: AuthError) -> StatusCode {
    match error {
        AuthError::Missing | AuthError::Wrong => StatusCode::UNAUTHORIZED,
        AuthError::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The message for a user; empty where the login form says enough.
pub(super) fn message(error: AuthError) -> String {
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
pub(super) fn add_headers(answer: &mut Answer, error: AuthError, challenge: &'static str) {
    match error {
        AuthError::Missing | AuthError::Wrong => {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        AuthError::Throttled(time) => retry_after(answer, time),
        AuthError::Busy => retry_after(answer, Duration::from_secs(1)),
    }
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
