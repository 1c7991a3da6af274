//! `GET /controls` lists the controls of a camera, `PUT /controls/NAME` sets one.
#![forbid(unsafe_code)]

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::body::read_body;
use crate::camera::{Camera, ControlError, ControlValue, list_controls, set_control};
use crate::web::response::{Answer, json as json_answer};

/// Most bytes of a request's body. All valid ones are far smaller.
const MAX_BODY: usize = 4096;

/// The body of a PUT.
#[derive(Deserialize)]
struct ControlBody {
    value: ControlValue,
}

/// Lists all controls.
pub(crate) async fn list(camera: &Camera) -> Answer {
    match list_controls(camera).await {
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
    match set_control(camera, name, setting).await {
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
