//! Starts, stops and joins a capture thread.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use super::capture_loop::CaptureLoop;
use super::still::StillRequests;
use crate::camera::settings::CameraSettings;
use crate::camera::source::Source;
use crate::camera::wake::Waker;
use crate::ring::Publisher;
use crate::status::CameraReporter;

/// How a capture thread ended.
#[derive(Debug)]
pub enum CaptureEnd {
    /// It was told to stop.
    Stopped,
    /// It panicked, with this message.
    Panicked(String),
}

/// A running capture thread.
#[derive(Debug)]
pub struct CaptureThread {
    name: String,
    waker: Arc<Waker>,
    /// `None` once the end was returned.
    ended: Option<oneshot::Receiver<CaptureEnd>>,
    thread: JoinHandle<()>,
}

impl CaptureThread {
    /// The name of the camera.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the thread to close its source and end.
    pub fn stop(&self) {
        self.waker.stop();
    }

    /// Waits for the end of the thread. A panic is returned once; later calls return [`CaptureEnd::Stopped`]. Cancel safe.
    pub async fn ended(&mut self) -> CaptureEnd {
        let Some(ended) = &mut self.ended else { return CaptureEnd::Stopped };
        // The sender is dropped unused only if the panic message panics.
        let end = ended.await.unwrap_or_else(|_| CaptureEnd::Panicked("no message".into()));
        self.ended = None;
        end
    }

    /// Joins a thread that has ended.
    pub fn join(self) {
        // Panics were caught, and returned by `ended`.
        let _ = self.thread.join();
    }
}

/// Starts a capture thread, which rests until there is a subscriber.
pub(in crate::camera) fn spawn(
    settings: CameraSettings,
    source: Box<dyn Source>,
    publisher: Publisher,
    reporter: CameraReporter,
    waker: Arc<Waker>,
    stills: Arc<StillRequests>,
) -> io::Result<CaptureThread> {
    let (name, thread_waker) = (settings.name.clone(), Arc::clone(&waker));
    let (end, ended) = oneshot::channel();
    let thread = Builder::new().name(format!("camera {name}")).spawn(move || {
        let mut capture = CaptureLoop::new(settings, publisher, reporter, thread_waker, stills);
        // Dropped at the end of this closure, also after a panic: the device is closed in any case.
        let mut source = source;
        let result = catch_unwind(AssertUnwindSafe(|| capture.run(source.as_mut())));
        let panicked = |panic: Box<dyn Any + Send>| CaptureEnd::Panicked(panic_message(&*panic));
        let _ = end.send(result.map_or_else(panicked, |()| CaptureEnd::Stopped));
    })?;
    Ok(CaptureThread { name, waker, ended: Some(ended), thread })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
