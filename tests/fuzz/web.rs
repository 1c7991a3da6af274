//! What peers send: messages over WebSocket, and requests.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use porthole::config::{Flags, resolve};
use porthole::service::Service;
use porthole::testing::framing::{MAX_CONTROL_PAYLOAD, Message, MessageReader, ProtocolError};
use porthole::testing::porthole_v1::{FrameMessage, HEADER_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::memory::watch;
use crate::targets::Cuts;

/// Longest header of a client's frame.
const HEADER: usize = 14;

/// First byte: how the stream is cut. Second: the longest message. The rest: the stream.
pub fn inbound(data: &[u8]) {
    let [cuts, limit, stream @ ..] = data else { return };
    let limit = [16, 125, 200, 4096][usize::from(limit % 4)];
    let whole = hear(stream, Cuts::new(0), limit);
    let cut = hear(stream, Cuts::new(cuts | 1), limit);
    assert_eq!(cut, whole, "what is heard depends on how the stream was cut");
}

/// First byte: how the stream is cut. Second: the longest message. The rest: what a server sends.
pub fn porthole_v1(data: &[u8]) {
    let [cuts, limit, stream @ ..] = data else { return };
    let limit = [40, 125, 200, 4096][usize::from(limit % 4)];
    let whole = hear_server(stream, Cuts::new(0), limit);
    let cut = hear_server(stream, Cuts::new(cuts | 1), limit);
    assert_eq!(cut, whole, "what is heard depends on how the stream was cut");
}

/// All that is heard of a server, up to the end or the first violation.
fn hear_server(mut stream: &[u8], mut cuts: Cuts, limit: usize) -> Vec<Heard> {
    let (mut heard, mut reader) = (Vec::new(), MessageReader::of_server(limit));
    loop {
        let whole = reader.binary_messages();
        let message = match reader.next_message() {
            Ok(None) => {
                assert_eq!(whole, 0, "a message that is whole was not returned");
                let room = reader.unfilled();
                assert!(!room.is_empty(), "no room left to read into");
                let n = cuts.next(room.len().min(stream.len()));
                if stream.is_empty() {
                    return heard;
                }
                room[..n].copy_from_slice(&stream[..n]);
                reader.advance(n);
                stream = &stream[n..];
                continue;
            }
            Ok(Some(message)) => message,
            Err(violation) => {
                heard.push(Heard::ProtocolError(violation));
                return heard;
            }
        };
        heard.push(match message {
            Message::Text(text) => Heard::Text(bounded(text.as_bytes(), limit), sum(text.as_bytes())),
            Message::Binary(bytes) => {
                if let Some((header, jpeg)) = FrameMessage::decode(bytes) {
                    assert_eq!(header.encode(), bytes[..HEADER_BYTES], "another header");
                    assert_eq!(jpeg.len(), bytes.len() - HEADER_BYTES);
                }
                Heard::Binary(bounded(bytes, limit), sum(bytes))
            }
            Message::Ping(bytes) => Heard::Ping(bounded(bytes, MAX_CONTROL_PAYLOAD), sum(bytes)),
            Message::Pong => Heard::Pong,
            Message::Close(code) => Heard::Close(code),
        });
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Text(usize, u64),
    Binary(usize, u64),
    Ping(usize, u64),
    Pong,
    Close(Option<u16>),
    ProtocolError(ProtocolError),
}

/// All that is heard, up to the end or the first violation.
fn hear(mut stream: &[u8], mut cuts: Cuts, limit: usize) -> Vec<Heard> {
    // A frame has two bytes of header and four of mask at least.
    let mut heard = Vec::with_capacity(stream.len() / 6 + 1);
    let watch = watch();
    let ahead = cuts.next(stream.len().min(limit));
    let mut reader = MessageReader::new(limit, &stream[..ahead]).expect("no more than a message");
    stream = &stream[ahead..];
    loop {
        let message = match reader.next_message() {
            Ok(Some(message)) => Ok(message),
            Ok(None) if stream.is_empty() => break,
            Ok(None) => {
                let room = reader.unfilled();
                assert!(!room.is_empty(), "no room left to read into");
                let n = cuts.next(room.len().min(stream.len()));
                room[..n].copy_from_slice(&stream[..n]);
                reader.advance(n);
                stream = &stream[n..];
                continue;
            }
            Err(violation) => Err(violation),
        };
        heard.push(match message {
            Ok(Message::Text(text)) => Heard::Text(bounded(text.as_bytes(), limit), sum(text.as_bytes())),
            Ok(Message::Binary(bytes)) => Heard::Binary(bounded(bytes, limit), sum(bytes)),
            Ok(Message::Ping(bytes)) => Heard::Ping(bounded(bytes, MAX_CONTROL_PAYLOAD), sum(bytes)),
            Ok(Message::Pong) => Heard::Pong,
            Ok(Message::Close(code)) => Heard::Close(code),
            Err(violation) => {
                assert!(matches!(violation.code(), 1002 | 1007 | 1009));
                heard.push(Heard::ProtocolError(violation));
                break;
            }
        });
    }
    // A frame, and the fragments of one message, which are kept in room that doubles as it grows.
    let most = limit.max(MAX_CONTROL_PAYLOAD) + HEADER + 2 * limit.max(8);
    assert!(watch.most() <= most, "{} bytes held for messages of up to {limit}", watch.most());
    heard
}

fn bounded(bytes: &[u8], limit: usize) -> usize {
    assert!(bytes.len() <= limit, "{} bytes where {limit} were allowed", bytes.len());
    bytes.len()
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The token of the service that knows the one who asks; part of the inputs.
const TOKEN: &str = "fuzz0token";
/// What only those who may come in are given.
const SECRETS: [&[u8]; 4] = [b"101 Switching", b"image/jpeg", b"multipart/x-mixed-replace", b"\"cameras\""];
/// Time for an answer, and for the end of the connection. All that is waited for is this machine's own.
const DEADLINE: Duration = Duration::from_secs(20);

thread_local! {
    static SERVICES: Services = Services::start();
}

/// First byte: which service. The rest: all that a client sends before it closes its side.
pub fn http(data: &[u8]) {
    let Some((&which, request)) = data.split_first() else { return };
    SERVICES.with(|services| services.ask(usize::from(which) % 3, request));
}

/// Whole services in this thread, with cameras that are not there: open to all, with a token that the inputs hold,
/// and with one that nobody knows.
struct Services {
    runtime: Runtime,
    /// Where all they have is kept, for as long as they are there.
    folder: PathBuf,
    sockets: [PathBuf; 3],
}

impl Services {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("no descriptors");
        let folder = std::env::temp_dir().join(format!("porthole-fuzz-{}", std::process::id()));
        let unknown = std::collections::hash_map::RandomState::new();
        let unknown = format!("{:?}", std::hash::BuildHasher::hash_one(&unknown, 0));
        let sockets = [("none", "open"), ("token", TOKEN), ("token", &unknown)].map(|(mode, token)| {
            let folder = folder.join(token);
            std::fs::create_dir_all(&folder).expect("no place for a token");
            std::fs::write(folder.join("token"), token).expect("no place for a token");
            let socket = folder.join("http");
            let text = format!(
                "[server]\nlisten = \"unix:{}\"\nmax_viewers = 3\nstate_dir = {folder:?}\n\
                 [auth]\nmode = \"{mode}\"\n\
                 [[camera]]\nsource = \"/dev/none\"\n[[camera]]\nname = \"b\"\nsource = \"/dev/none\"\n",
                socket.display()
            );
            let config = resolve(&Flags::default(), Path::new("fuzz.toml"), &text).expect("a configuration");
            let _inside = runtime.enter();
            let service = Service::start(config).unwrap_or_else(|error| panic!("{error}"));
            runtime.spawn(service.run(pending()));
            socket
        });
        Self { runtime, folder, sockets }
    }

    fn ask(&self, which: usize, request: &[u8]) {
        let mut answer = Vec::with_capacity(4096);
        let exchange = async {
            let mut stream = UnixStream::connect(&self.sockets[which]).await.expect("it listens");
            // A peer that has had enough may hang up in the middle; what it said before counts.
            let _ = stream.write_all(request).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut answer).await;
        };
        // A timer is made where there is a runtime.
        let ended = self.runtime.block_on(async { timeout(DEADLINE, exchange).await });
        assert!(ended.is_ok(), "the connection was not ended");
        if !answer.is_empty() {
            assert!(answer.starts_with(b"HTTP/1."), "an answer that is none");
            assert!(!answer.starts_with(b"HTTP/1.1 500"), "an error of the program's own");
        }
        if which == 2 {
            for secret in SECRETS {
                assert!(memchr::memmem::find(&answer, secret).is_none(), "let in without the token");
            }
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
