//! What every answer is made of: status, body, caching, redirects, and the headers that tell browsers what the answer may
//! be used for. What an answer says is decided by the endpoints.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CACHE_CONTROL,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    SET_COOKIE, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::Value;

use crate::escape::escape_lines;

/// An answer whose body is known as a whole.
pub(crate) type Answer = Response<Bytes>;

/// Bytes that keep something alive until the kernel has them: the place of a viewer, or a request in progress.
struct HeldBytes<B, H> {
    bytes: B,
    _held: H,
}

impl<B: AsRef<[u8]>, H> AsRef<[u8]> for HeldBytes<B, H> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// The bytes of an answer. `held` is dropped with them, which hyper does once the kernel has all of them.
pub(crate) fn bytes_holding<B, H>(bytes: B, held: H) -> Bytes
where
    B: AsRef<[u8]> + Send + 'static,
    H: Send + 'static,
{
    Bytes::from_owner(HeldBytes { bytes, _held: held })
}

/// An answer with the headers that every answer has.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
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

/// An answer that people read in a terminal, as that of curl.
pub(crate) fn text(status: StatusCode, lines: &str) -> Answer {
    let lines = escape_lines(lines.trim_end());
    let line = if lines.is_empty() { String::new() } else { format!("{lines}\n") };
    answer(status, "text/plain; charset=utf-8", line)
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = no_store("application/json", value.to_string());
    *answer.status_mut() = status;
    answer
}

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

pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

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

/// Redirects a plain HTTP request to HTTPS. Without a usable `Host`, and for methods other than GET and HEAD, a line of
/// text says what to do.
///
/// There is no HSTS: a browser would then ask every other service of this host for HTTPS too.
pub(crate) fn to_https(request: &Parts) -> Answer {
    let is_reading = matches!(request.method, Method::GET | Method::HEAD);
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    match host.filter(|_| is_reading) {
        Some(host) => redirect(
            StatusCode::PERMANENT_REDIRECT,
            "this port speaks HTTPS",
            &format!("https://{host}{path}"),
        ),
        None => text(StatusCode::BAD_REQUEST, "this port speaks HTTPS: write https:// in place of http://"),
    }
}

/// Whether `host` is only a name or address, with or without a port.
fn is_host(host: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !host.is_empty() && host.len() < 256 && host.bytes().all(is_part)
}

/// Adds the last slash to the address of a page, as the page names its files relative to it.
pub(crate) fn with_slash(uri: &Uri) -> Answer {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Relative, so that it also holds behind a proxy that adds a prefix.
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    redirect(
        StatusCode::PERMANENT_REDIRECT,
        "the page's address ends with a slash",
        &format!("{name}/{query}"),
    )
}

/// Leads a browser to `path` after a form, relative to the root of the service.
pub(crate) fn see_other(path: &str) -> Answer {
    let mut answer = redirect(StatusCode::SEE_OTHER, "go on", &format!(".{path}"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn redirect(status: StatusCode, line: &str, location: &str) -> Answer {
    let mut answer = text(status, line);
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// The headers of all answers, made once from the configured origins. Where they depend on the request, they are given the
/// origin that may read the answer (`allowed_origin`).
#[derive(Debug)]
pub(crate) struct ResponseHeaders {
    /// Content security policy of pages and scripts.
    page_policy: HeaderValue,
    /// Content security policy of text and JSON: only which sites may embed it.
    data_policy: HeaderValue,
    /// Whether an answer depends on the `Origin` of its request.
    varies: bool,
}

impl ResponseHeaders {
    /// For a service whose answers the pages of `origins` may read and embed.
    pub(crate) fn new(origins: &[String]) -> Self {
        let sites: String = origins.iter().filter(|o| *o != "null").map(|o| format!(" {o}")).collect();
        let embedders = format!("frame-ancestors 'self'{sites}");
        let page = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
             media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; {embedders}"
        );
        // Origins consist of letters, digits and a few signs, and the rest is fixed.
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("frame-ancestors 'none'"))
        };
        let varies = !origins.is_empty() && !origins.iter().any(|origin| origin == "*");
        Self { page_policy: value(&page), data_policy: value(&embedders), varies }
    }

    /// Adds them to an answer. Other sites may embed pictures, as dashboards do, which does not let them read the pixels.
    /// They may neither embed nor read anything else.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, allowed_origin: Option<&HeaderValue>) {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let picture_types = [&b"image/jpeg"[..], b"multipart/", b"video/"];
        let is_picture = picture_types.iter().any(|picture| content_type.starts_with(picture));
        let is_data =
            content_type.starts_with(b"text/plain") || content_type.starts_with(b"application/json");
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static(if is_picture { "cross-origin" } else { "same-origin" }),
        );
        if !is_picture {
            let policy = if is_data { &self.data_policy } else { &self.page_policy };
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = allowed_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }

    /// The same for a stream of pictures, whose head is written by hand: lines that each end with CRLF.
    pub(crate) fn stream_lines(&self, allowed_origin: Option<&HeaderValue>) -> String {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("multipart/"))]);
        self.apply(&mut headers, allowed_origin);
        headers.remove(CONTENT_TYPE);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().unwrap_or_default())
        };
        headers.iter().map(line).collect()
    }
}

/// Answers a CORS preflight request: what a script of an allowed origin may send (Fetch, section 3.2.2).
pub(crate) fn add_preflight(request: &HeaderMap, headers: &mut HeaderMap) {
    if !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return;
    }
    for (name, value) in [
        ("access-control-allow-methods", "GET, HEAD, PUT"),
        ("access-control-allow-headers", "authorization, content-type, x-requested-with"),
        ("access-control-allow-private-network", "true"),
        ("access-control-max-age", "600"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn waits_are_rounded_up_to_whole_seconds() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| whole_seconds(Duration::from_millis(ms))), [0, 1, 1, 2]);
    }

    fn answered(method: &str, host: Option<&str>, target: &str) -> (u16, Option<String>) {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let answer = to_https(&request.body(()).unwrap().into_parts().0);
        let location = answer.headers().get(LOCATION).map(|l| l.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location)
    }

    #[test]
    fn reading_requests_are_redirected_to_https_and_others_are_refused() {
        let there = Some("https://pi.local:8080/a?b=c".to_owned());
        assert_eq!(answered("GET", Some("pi.local:8080"), "/a?b=c"), (308, there));
        assert_eq!(answered("HEAD", Some("[::1]:8080"), "/"), (308, Some("https://[::1]:8080/".into())));
        assert_eq!(answered("PUT", Some("pi.local"), "/"), (400, None));
        assert_eq!(answered("GET", None, "/"), (400, None));
        for bad in ["", "a/b", "a@b", "a b", "a\\b"] {
            assert_eq!(answered("GET", Some(bad), "/"), (400, None), "{bad}");
        }
    }

    #[test]
    fn text_answers_have_no_control_characters() {
        let answer = text(StatusCode::OK, "camera a: \x1b]0;x\x07\ncamera b: \u{9b}2J\n");
        assert_eq!(
            answer.body(),
            r"camera a: \u{1b}]0;x\u{7}
camera b: \u{9b}2J
"
            .as_bytes()
        );
    }

    #[test]
    fn redirects_after_a_form_are_relative_to_the_root() {
        assert_eq!(see_other("/cameras/front/").headers()[LOCATION], "./cameras/front/");
    }

    #[test]
    fn answers_name_the_origins_that_may_read_and_embed_them() {
        let applied = |origins: &[&str], allowed: Option<&'static str>| {
            let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            let mut headers = HeaderMap::new();
            ResponseHeaders::new(&origins)
                .apply(&mut headers, allowed.map(HeaderValue::from_static).as_ref());
            headers
        };
        let closed = applied(&[], None);
        assert!(!closed.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && !closed.contains_key(VARY));
        let listed = applied(&["https://a.example"], Some("https://a.example"));
        assert_eq!(listed[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(listed[VARY], "Origin");
        let policy = listed[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.ends_with("frame-ancestors 'self' https://a.example"), "{policy}");
        let other = applied(&["https://a.example"], None);
        assert!(!other.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && other.contains_key(VARY));
        let open = applied(&["*"], Some("*"));
        assert!(open[ACCESS_CONTROL_ALLOW_ORIGIN] == "*" && !open.contains_key(VARY));
    }
}
