//! Calls of a driver for a camera's controls, from tasks.
//!
//! A driver may take long to answer, or never answer. It is called on a thread of its own, for one request of a camera at a
//! time. The others wait, and each is answered within its timeout in any case.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::control::{Control, ControlError, ControlValue};
use super::handle::Camera;

/// Time for a driver to answer, and for those requests that came before.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(5);

/// The controls of `camera`.
///
/// # Errors
/// [`ControlError`] when the camera does not answer.
pub async fn list_controls(camera: &Camera) -> Result<Vec<Control>, ControlError> {
    call_driver(camera, Camera::controls).await
}

/// Sets a control of `camera`.
///
/// # Errors
/// [`ControlError`] says why it was not set.
pub async fn set_control(camera: &Camera, name: &str, value: ControlValue) -> Result<Control, ControlError> {
    let name = name.to_owned();
    call_driver(camera, move |camera| camera.set_control(&name, &value)).await
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
