//! The page that asks for a password or the token, and what it sends: a plain form, so that it works without scripts.
//! Nothing here depends on the path a proxy may have put before the service's own.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION, ORIGIN, REFERRER_POLICY, SET_COOKIE};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use tokio::time::timeout;

use crate::web::access::authentication::Auth;
use crate::web::access::client::{Denied, Visitor};
use crate::web::router::{Answer, respond};

const PAGE: &str = include_str!("login.html");
/// Largest body of a form. A password and an address fit many times over.
const MAX_BODY: usize = 8192;
/// A client has this long to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Longest address to go on to.
const MAX_NEXT: usize = 512;

/// The page, shown at `uri`, from where one goes on once logged in.
pub(in crate::web) fn page(auth: &Auth, uri: &Uri, denied: Option<Denied>) -> Answer {
    // As deep as it lies, whatever lies before that.
    let root = "../".repeat(uri.path().matches('/').count().saturating_sub(1));
    let own = uri.path().trim_end_matches('/').ends_with("/login");
    let next = if own { "/".to_owned() } else { without_token(uri) };
    form(auth, &root, &next, denied)
}

fn form(auth: &Auth, root: &str, next: &str, denied: Option<Denied>) -> Answer {
    let (label, hint) = match auth.mode() {
        "token" => (
            "Token",
            "The token is part of the address that porthole printed when it first started, and is kept in its state \
             directory.",
        ),
        _ => ("Password", "Log in to see it."),
    };
    let message = denied.map(words).unwrap_or_default();
    let status = match denied {
        None => StatusCode::OK,
        Some(denied) => status(denied),
    };
    let mut html = PAGE.to_owned();
    let parts = [("label", label), ("hint", hint), ("root", root), ("message", &message)];
    for (name, text) in parts {
        html = html.replace(&format!("{{{name}}}"), text);
    }
    // Last, as it is the one text that others write.
    let html = html.replace("{next}", &escaped(next));
    let mut answer = respond(status, "text/html; charset=utf-8", html.into());
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // With no-referrer a browser would not say either whose form it sends.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// What is said about it.
pub(in crate::web) fn words(denied: Denied) -> String {
    match denied {
        Denied::Nothing => String::new(),
        Denied::Wrong => "That is not right.".into(),
        Denied::TooMany(time) => {
            let seconds = seconds(time);
            format!("Too much that came from your address was wrong; try again in {seconds} s.")
        }
        Denied::Busy => "Too many are being checked; try again in a moment.".into(),
    }
}

/// What it is in HTTP.
pub(in crate::web) fn status(denied: Denied) -> StatusCode {
    match denied {
        Denied::Nothing | Denied::Wrong => StatusCode::UNAUTHORIZED,
        Denied::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whole seconds after which it has passed.
pub(in crate::web) fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// Takes the form that [`page`] sends.
pub(in crate::web) async fn log_in(
    auth: &Auth,
    request: Request<Incoming>,
    visitor: Visitor,
) -> Result<Answer, (Denied, Answer)> {
    // A proxy may encrypt where this service does not; the page's own address tells.
    let origin = request.headers().get(ORIGIN).map(HeaderValue::as_bytes).unwrap_or_default();
    let secure = visitor.secure || origin.starts_with(b"https://");
    let body = timeout(BODY_TIME, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let Ok(Ok(body)) = body else {
        return Ok(respond(
            StatusCode::BAD_REQUEST,
            "text/plain; charset=utf-8",
            "the form did not come\n".into(),
        ));
    };
    let (mut password, mut next) = (String::new(), String::new());
    for (key, value) in form_urlencoded::parse(&body.to_bytes()) {
        match &*key {
            "password" => password = value.trim().to_owned(),
            "next" => next = value.into_owned(),
            _ => {}
        }
    }
    let next = if is_own(&next) { next } else { "/".into() };
    let checked = if password.is_empty() {
        Err(Denied::Nothing)
    } else {
        auth.check(password.as_bytes(), visitor.suspect).await
    };
    match checked {
        Ok(role) => {
            let mut answer = go_on(&next);
            set(answer.headers_mut(), auth.cookie(role, secure));
            Ok(answer)
        }
        Err(denied) => Err((denied, form(auth, "", &next, Some(denied)))),
    }
}

/// Ends the session of whoever asks.
pub(in crate::web) fn log_out(auth: &Auth, headers: &HeaderMap) -> Answer {
    let mut answer = go_on("/");
    set(answer.headers_mut(), auth.log_out(headers));
    answer
}

/// Leads a browser on, from the service's root.
pub(in crate::web) fn go_on(next: &str) -> Answer {
    let mut answer = respond(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "go on\n".into());
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&format!(".{next}")) {
        headers.insert(LOCATION, location);
    }
    answer
}

/// Adds cookies. They are of letters, digits and what is fixed.
pub(in crate::web) fn set(headers: &mut HeaderMap, cookies: impl IntoIterator<Item = String>) {
    for cookie in cookies.into_iter().filter_map(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Path and query of a URL, without a token that was wrong.
fn without_token(uri: &Uri) -> String {
    let rest: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("token="))
        .collect();
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    let next = format!("{}{query}", uri.path());
    if is_own(&next) { next } else { "/".into() }
}

/// Whether an address is of this service: a path, and no other host in any of the ways in which browsers read one.
fn is_own(next: &str) -> bool {
    let graphic = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    graphic && next.len() <= MAX_NEXT && next.starts_with('/') && !next.starts_with("//")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_where_one_wanted_and_to_no_other_host() {
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
            assert!(!is_own(bad), "{bad}");
        }
        assert!(!is_own(&format!("/{}", "x".repeat(MAX_NEXT))));
        assert_eq!(go_on("/cameras/front/").headers()[LOCATION], "./cameras/front/");
    }

    #[test]
    fn what_others_write_is_no_markup() {
        assert_eq!(escaped("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }

    #[test]
    fn waits_are_told_in_whole_seconds_that_suffice() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| seconds(Duration::from_millis(ms))), [0, 1, 1, 2]);
    }
}
