//! How an [`AuthError`] is told: status, message and headers.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

use crate::web::access::authentication::AuthError;
use crate::web::response::answer::{Answer, retry_after, whole_seconds};

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
