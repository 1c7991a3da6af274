//! Redirects: to HTTPS, to a page's address with its last slash, and onwards after a form.
#![forbid(unsafe_code)]

use hyper::header::{CACHE_CONTROL, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};

use super::answer::{Answer, text};

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

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

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
    fn redirects_after_a_form_are_relative_to_the_root() {
        assert_eq!(see_other("/cameras/front/").headers()[LOCATION], "./cameras/front/");
    }
}
