//! The controls of a camera over HTTP: `GET /controls` lists them, `PUT /controls/NAME` sets one.
//!
//! Drivers take their time, and may never answer; they are asked on a thread that is not the network's, and a request
//! is answered within its own time whatever becomes of it.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::http::{Answer, json_answer};
use crate::camera::{Camera, ControlError, ControlValue};

/// Largest body of a request. All that mean anything are far smaller.
const MAX_BODY: usize = 4096;
/// A client has this long to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// A driver has this long to answer.
const DRIVER_TIME: Duration = Duration::from_secs(5);

/// What is PUT.
#[derive(Deserialize)]
struct Body {
    value: ControlValue,
}

/// Lists all controls.
pub(super) async fn list(camera: &Camera) -> Answer {
    let camera = camera.clone();
    match in_time(move || camera.controls()).await {
        Ok(controls) => json_answer(StatusCode::OK, &json!({ "controls": controls })),
        Err(error) => refusal(&error),
    }
}

/// Sets one control to what the body says.
pub(super) async fn set(camera: &Camera, name: &str, request: Request<Incoming>) -> Answer {
    let setting = match setting(request).await {
        Ok(setting) => setting,
        Err(why) => return json_answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
    };
    let (camera, name) = (camera.clone(), name.to_owned());
    match in_time(move || camera.set_control(&name, &setting)).await {
        Ok(control) => json_answer(StatusCode::OK, &json!(control)),
        Err(error) => refusal(&error),
    }
}

async fn setting(request: Request<Incoming>) -> Result<ControlValue, String> {
    let body = timeout(BODY_TIME, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let body = body.map_err(|_| format!("the body did not come within {} s", BODY_TIME.as_secs()))?;
    let body = body.map_err(|error| format!("the body cannot be read: {error}"))?.to_bytes();
    let parsed: Result<Body, _> = serde_json::from_slice(&body);
    parsed.map(|body| body.value).map_err(|_| {
        r#"the body must be {"value": ...} with a number, true, false, or the name of a menu item"#.into()
    })
}

/// Runs something that may take long, and gives up waiting when it takes too long.
async fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    match timeout(DRIVER_TIME, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ControlError::Unavailable(format!("a bug in porthole: {panic}"))),
        Err(_) => {
            let seconds = DRIVER_TIME.as_secs();
            Err(ControlError::Unavailable(format!("the camera's driver has not answered within {seconds} s")))
        }
    }
}

fn refusal(error: &ControlError) -> Answer {
    let status = match error {
        ControlError::Unavailable(_) | ControlError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ControlError::Unknown { .. } => StatusCode::NOT_FOUND,
        ControlError::ReadOnly { .. } => StatusCode::FORBIDDEN,
        ControlError::Inactive { .. } => StatusCode::CONFLICT,
        ControlError::Value { .. } | ControlError::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let why: Value = json!({ "error": error.to_string() });
    json_answer(status, &why)
}
