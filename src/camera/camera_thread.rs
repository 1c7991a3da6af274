//! Starts, stops and joins the threads of a camera: the one that captures, and the one that encodes H.264.
#![forbid(unsafe_code)]

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use super::wake::Waker;

/// How a thread of a camera ended.
#[derive(Debug)]
pub enum CameraThreadEnd {
    /// It was told to stop.
    Stopped,
    /// It panicked, with this message.
    Panicked(String),
}

impl CameraThreadEnd {
    /// What a thread that was not told to stop is blamed for.
    pub fn panic_message(self) -> String {
        match self {
            Self::Panicked(message) => message,
            Self::Stopped => "it was not told to stop".into(),
        }
    }
}

/// A running thread of a camera.
#[derive(Debug)]
pub struct CameraThread {
    /// The name of the camera.
    name: String,
    waker: Arc<Waker>,
    /// `None` once the end was returned.
    ended: Option<oneshot::Receiver<CameraThreadEnd>>,
    thread: JoinHandle<()>,
}

impl CameraThread {
    /// Starts the thread `title` of the camera `name`. `waker` ends its waits, and tells it to stop.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn spawn(
        title: &str,
        name: String,
        waker: Arc<Waker>,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let thread = Builder::new().name(format!("{title} {name}")).spawn(move || {
            let panicked = |panic: Box<dyn Any + Send>| CameraThreadEnd::Panicked(panic_message(&*panic));
            let result = catch_unwind(AssertUnwindSafe(run));
            let _ = end.send(result.map_or_else(panicked, |()| CameraThreadEnd::Stopped));
        })?;
        Ok(Self { name, waker, ended: Some(ended), thread })
    }

    /// The name of the camera.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.waker.stop();
    }

    /// Waits for the end of the thread. A panic is returned once; later calls return [`CameraThreadEnd::Stopped`]. Cancel safe.
    pub async fn ended(&mut self) -> CameraThreadEnd {
        let Some(ended) = &mut self.ended else { return CameraThreadEnd::Stopped };
        // The sender is dropped unused only if the panic message panics.
        let end = ended.await.unwrap_or_else(|_| CameraThreadEnd::Panicked("no message".into()));
        self.ended = None;
        end
    }

    /// Joins a thread that has ended.
    pub fn join(self) {
        // Panics were caught, and returned by `ended`.
        let _ = self.thread.join();
    }
}

/// Waits for a thread that ends, and returns the name of its camera. Cancel safe.
pub async fn first_to_end(threads: &mut [CameraThread]) -> (String, CameraThreadEnd) {
    let mut ends: Vec<_> = threads
        .iter_mut()
        .map(|thread| {
            let name = thread.name().to_owned();
            Box::pin(async move { (name, thread.ended().await) })
        })
        .collect();
    poll_fn(|context| {
        let mut ready = ends.iter_mut().map(|end| end.as_mut().poll(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
