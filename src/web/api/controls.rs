//! `GET /controls` lists the controls of a camera, `PUT /controls/NAME` sets one.
//!
//! A driver may take long to answer, or never answer. It is called on a thread of its own, for one request of a camera at a
//! time. The others wait, and each is answered within its timeout in any case.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::body::read_body;
use crate::camera::{Camera, ControlError, ControlValue};
use crate::web::response::{Answer, json as json_answer};

/// Most bytes of a request's body. All valid ones are far smaller.
const MAX_BODY: usize = 4096;
/// Time for a driver to answer, and for those requests that came before.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a PUT.
#[derive(Deserialize)]
struct ControlBody {
    value: ControlValue,
}

/// Lists all controls.
pub(crate) async fn list(camera: &Camera) -> Answer {
    match call_driver(camera, Camera::controls).await {
        Ok(controls) => json_answer(StatusCode::OK, &json!({ "controls": controls })),
        Err(error) => failed(&error),
    }
}

/// Sets one control to the value in `body`.
pub(crate) async fn set(camera: &Camera, name: &str, body: Incoming) -> Answer {
    let setting = match setting(body).await {
        Ok(setting) => setting,
        Err(why) => return json_answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
    };
    let name = name.to_owned();
    match call_driver(camera, move |camera| camera.set_control(&name, &setting)).await {
        Ok(control) => json_answer(StatusCode::OK, &json!(control)),
        Err(error) => failed(&error),
    }
}

async fn setting(body: Incoming) -> Result<ControlValue, String> {
    let body = read_body(body, MAX_BODY).await?;
    let parsed: Result<ControlBody, _> = serde_json::from_slice(&body);
    parsed.map(|body| body.value).map_err(|_| {
        r#"the body must be {"value": ...} with a number, true, false, or the name of a menu item"#.into()
    })
}

/// Waits for earlier requests, calls the driver on another thread, and stops waiting at the timeout.
async fn call_driver<T: Send + 'static>(
    camera: &Camera,
    work: impl FnOnce(&Camera) -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    let deadline = Instant::now() + DRIVER_TIMEOUT;
    let turn = timeout_at(deadline, camera.controls_turn()).await.map_err(|_| ControlError::Busy)?;
    let camera = camera.clone();
    let call = spawn_blocking(move || {
        let _turn = turn;
        work(&camera)
    });
    match timeout_at(deadline, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ControlError::Unavailable(format!("a bug in porthole: {panic}"))),
        Err(_) => {
            let seconds = DRIVER_TIMEOUT.as_secs();
            Err(ControlError::Unavailable(format!("the camera's driver has not answered within {seconds} s")))
        }
    }
}

fn failed(error: &ControlError) -> Answer {
    let status = match error {
        ControlError::Unavailable(_) | ControlError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ControlError::Unknown { .. } => StatusCode::NOT_FOUND,
        ControlError::ReadOnly { .. } => StatusCode::FORBIDDEN,
        ControlError::Inactive { .. } => StatusCode::CONFLICT,
        ControlError::Value { .. } | ControlError::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    json_answer(status, &json!({ "error": error.to_string() }))
}
