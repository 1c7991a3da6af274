//! Answers to whoever speaks plain HTTP where HTTPS is spoken: where to go instead.
#![forbid(unsafe_code)]

use hyper::header::{HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode};

use crate::web::router::{Answer, text};

/// To the same place by HTTPS, if it can be said where that is; else a few words.
///
/// Only for a while a browser keeps to it: one that was told for ever, by HSTS, would ask every other service of this
/// machine for HTTPS too.
pub(in crate::web) fn answer<B>(request: &Request<B>) -> Answer {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location = host.map(|host| format!("https://{host}{path}"));
    match location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        Some(location) if is_reading => {
            let mut answer = text(StatusCode::PERMANENT_REDIRECT, "this port speaks HTTPS");
            answer.headers_mut().insert(LOCATION, location);
            answer
        }
        _ => text(StatusCode::BAD_REQUEST, "this port speaks HTTPS: write https:// in place of http://"),
    }
}

/// A name or address, with or without a port, and nothing that could be read as more.
fn is_host(host: &str) -> bool {
    let part = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !host.is_empty() && host.len() < 256 && host.bytes().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, host: Option<&str>, target: &str) -> (u16, Option<String>) {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let answer = answer(&request.body(()).unwrap());
        let location = answer.headers().get(LOCATION).map(|l| l.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location)
    }

    #[test]
    fn one_who_reads_is_sent_on_and_others_are_told() {
        let there = Some("https://pi.local:8080/a?b=c".to_owned());
        assert_eq!(asked("GET", Some("pi.local:8080"), "/a?b=c"), (308, there));
        assert_eq!(asked("HEAD", Some("[::1]:8080"), "/"), (308, Some("https://[::1]:8080/".into())));
        assert_eq!(asked("PUT", Some("pi.local"), "/"), (400, None));
        assert_eq!(asked("GET", None, "/"), (400, None));
        for bad in ["", "a/b", "a@b", "a b", "a\\b"] {
            assert_eq!(asked("GET", Some(bad), "/"), (400, None), "{bad}");
        }
    }
}
