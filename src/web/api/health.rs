//! `/healthz`: whether the service can give frames.
#![forbid(unsafe_code)]

use hyper::StatusCode;

use crate::status::{Phase, Status};
use crate::web::response::answer::{Answer, text, unavailable};

/// Answers 200, or 503 with the problem.
pub(crate) fn answer(status: &Status) -> Answer {
    match health_problem(status) {
        None => text(StatusCode::OK, "ok"),
        Some(problem) => unavailable(&problem),
    }
}

/// Why the service cannot give frames; `None` if it can. An idle camera is no problem.
fn health_problem(status: &Status) -> Option<String> {
    match status.phase {
        Phase::Serving => {}
        Phase::Starting => return Some("the service is starting".into()),
        Phase::Stopping => return Some("the service is stopping".into()),
    }
    let faults = status.cameras.iter().filter(|camera| camera.state.is_fault()).map(|camera| {
        let why = camera.error.as_deref().unwrap_or("no reason given");
        format!("camera {} is {}: {why}", camera.name, camera.state)
    });
    Some(faults.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
}
