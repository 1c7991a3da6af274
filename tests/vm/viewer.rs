//! Somebody who watches all the time, as a browser does, whatever else a test is busy with.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tungstenite::Message;

use crate::guest::Service;
use support::picture::try_decode;
use support::until;
use support::ws::{Client, Frame};

/// Reads, checks and acknowledges every frame, from the first one on.
pub struct Viewer {
    seen: Arc<Mutex<Seen>>,
    stream: std::net::TcpStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    count: usize,
    first: Option<Frame>,
    last: Option<Frame>,
    /// What was wrong; nothing is looked at after that.
    trouble: Option<String>,
}

impl Viewer {
    /// Watches the camera at `path`, the first one's being `/ws`.
    #[track_caller]
    pub fn of(service: &Service<'_>, path: &str) -> Self {
        let mut client = Client::porthole(service.address, path);
        let stream = client.stream().try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            loop {
                let result = next(&mut client, &theirs);
                let mut seen = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(()) => {}
                    Err(trouble) => break seen.trouble = Some(trouble),
                }
            }
        });
        Self { seen, stream, thread: Some(thread) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame of which `wanted` is true, looking at the newest one now and then.
    ///
    /// # Panics
    /// If anything was wrong with any frame, or with the connection, at any time.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        until(what, || {
            let seen = self.seen();
            assert!(
                seen.trouble.is_none(),
                "after {} frames: {}",
                seen.count,
                seen.trouble.as_ref().unwrap()
            );
            seen.last.clone().filter(&wanted)
        })
    }

    /// Waits until it has seen `count` frames more, of this size.
    #[track_caller]
    pub fn watch(&self, count: usize, size: (u16, u16)) -> Frame {
        let goal = self.seen().count + count;
        let frame = until(&format!("{count} frames more"), || {
            let frame = self.until("a frame", |_| true);
            (self.seen().count >= goal).then_some(frame)
        });
        assert_eq!((frame.width, frame.height), size);
        frame
    }

    /// The first frame it was sent.
    #[track_caller]
    pub fn first(&self) -> Frame {
        self.until("the first frame", |_| true);
        self.seen().first.clone().unwrap()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes one message in.
fn next(client: &mut Client, seen: &Mutex<Seen>) -> Result<(), String> {
    let message = match client.try_read() {
        Ok(Message::Binary(message)) => message,
        Ok(Message::Close(reason)) => return Err(format!("the service hung up: {reason:?}")),
        Ok(_) => return Ok(()),
        // While a camera is away nothing comes, and that is no reason to go.
        Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(format!("the connection ended: {error}")),
    };
    let frame = Frame::parse(&message);
    let picture = try_decode(&frame.jpeg)?;
    if (picture.width, picture.height) != (frame.width.into(), frame.height.into()) {
        return Err(format!(
            "{}x{} was announced as {}x{}",
            picture.width, picture.height, frame.width, frame.height
        ));
    }
    if frame.captured_at > frame.sent_at {
        return Err(format!("captured at {}, sent at {}", frame.captured_at, frame.sent_at));
    }
    let sequence = frame.sequence;
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &seen.last
            && (last.sequence >= sequence || last.captured_at >= frame.captured_at)
        {
            return Err(format!("frame {sequence} after {}", last.sequence));
        }
        seen.first.get_or_insert_with(|| frame.clone());
        seen.last = Some(frame);
        seen.count += 1;
    }
    let ack = serde_json::json!({ "type": "ack", "sequence": sequence });
    client.try_send(Message::text(ack.to_string())).map_err(|error| format!("the connection ended: {error}"))
}
