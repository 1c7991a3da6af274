//! Short answers: a status, a content type, a body, and the headers that belong to them.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE,
};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// An answer whose body is known as a whole.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer with the headers that every answer has.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    answer
}

/// An answer that no cache may keep, as the next one will differ.
pub(crate) fn no_store(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = answer(StatusCode::OK, content_type, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A line of text.
pub(crate) fn text(status: StatusCode, line: &str) -> Answer {
    let line = if line.is_empty() { String::new() } else { format!("{}\n", line.trim_end()) };
    answer(status, "text/plain; charset=utf-8", line)
}

/// A JSON value, not to be kept by caches.
pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = no_store("application/json", value.to_string());
    *answer.status_mut() = status;
    answer
}

/// A JPEG, not to be kept by caches.
pub(crate) fn jpeg(bytes: Bytes) -> Answer {
    no_store("image/jpeg", bytes)
}

/// 503: the client may try again in a second.
pub(crate) fn unavailable(why: &str) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
    retry_after(&mut answer, Duration::from_secs(1));
    answer
}

/// Adds the time after which the client may try again, rounded up to seconds.
pub(crate) fn retry_after(answer: &mut Answer, time: Duration) {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(time)));
}

/// The time in seconds, rounded up.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// An answer that lists the methods an endpoint has.
pub(crate) fn allowed_methods(status: StatusCode, methods: &'static str, why: &str) -> Answer {
    let mut answer = text(status, why);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

/// Adds cookies, which consist of letters, digits and fixed text.
pub(crate) fn set_cookies(headers: &mut HeaderMap, cookies: impl IntoIterator<Item = String>) {
    for cookie in cookies.into_iter().filter_map(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_to_whole_seconds() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| whole_seconds(Duration::from_millis(ms))), [0, 1, 1, 2]);
    }
}
