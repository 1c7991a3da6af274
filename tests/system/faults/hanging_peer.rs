//! Another machine that a remote camera is watched from, and that hangs: while its name is resolved, while it is connected to,
//! or somewhere in its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use socket2::{Domain, Socket, Type};

use support::{Scratch, until};

/// A name that hangs as long as the list of what hangs has it.
const NAME: &str = "hangs.invalid";

/// A source, and the point at which its other side hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerHang {
    /// The name is not resolved.
    Name(&'static str),
    /// The kernel there does not answer.
    Connect(&'static str),
    /// TLS was begun and goes no further.
    Handshake(&'static str),
    /// Nothing is answered, or sent.
    Answer(&'static str),
    /// In the middle of the head of the answer.
    Head(&'static str),
    /// In the middle of the first picture.
    Picture(&'static str),
    /// Behind a picture.
    Pause(&'static str),
}

/// Every point, for every kind of source that this build has.
pub fn peer_hangs() -> impl Iterator<Item = PeerHang> {
    let has_tls = cfg!(feature = "tls");
    PEER_HANGS.into_iter().filter(move |hang| has_tls || !matches!(hang, PeerHang::Handshake(_)))
}

const PEER_HANGS: [PeerHang; 19] = [
    PeerHang::Name("http"),
    PeerHang::Connect("http"),
    PeerHang::Handshake("https"),
    PeerHang::Answer("http"),
    PeerHang::Head("http"),
    PeerHang::Picture("http"),
    PeerHang::Pause("http"),
    PeerHang::Name("ws"),
    PeerHang::Connect("ws"),
    PeerHang::Handshake("wss"),
    PeerHang::Answer("ws"),
    PeerHang::Head("ws"),
    PeerHang::Picture("ws"),
    PeerHang::Pause("ws"),
    PeerHang::Name("tcp"),
    PeerHang::Connect("tcp"),
    PeerHang::Answer("tcp"),
    PeerHang::Picture("tcp"),
    PeerHang::Pause("tcp"),
];

impl PeerHang {
    fn scheme(self) -> &'static str {
        match self {
            Self::Name(scheme) | Self::Connect(scheme) | Self::Handshake(scheme) | Self::Answer(scheme) => {
                scheme
            }
            Self::Head(scheme) | Self::Picture(scheme) | Self::Pause(scheme) => scheme,
        }
    }
}

/// A machine that hangs.
pub struct HangingPeer {
    hang: PeerHang,
    address: SocketAddr,
    reached: Arc<AtomicBool>,
    /// Fill the queue of a listener that accepts nobody.
    _waiting: Option<(Socket, TcpStream)>,
}

impl HangingPeer {
    /// Serves `jpeg` up to the point at which it hangs.
    pub fn start(hang: PeerHang, jpeg: &[u8]) -> Self {
        let reached = Arc::new(AtomicBool::new(false));
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        if matches!(hang, PeerHang::Connect(_)) {
            // The kernel leaves those unanswered that come when as many wait as may.
            listener.listen(0).unwrap();
            let first = TcpStream::connect(address).unwrap();
            return Self { hang, address, reached, _waiting: Some((listener, first)) };
        }
        listener.listen(128).unwrap();
        let (listener, jpeg, tell) = (TcpListener::from(listener), jpeg.to_vec(), Arc::clone(&reached));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (jpeg, tell) = (jpeg.clone(), Arc::clone(&tell));
                thread::spawn(move || {
                    let Some(mut stream) = begin(hang, stream, &jpeg) else { return };
                    tell.store(true, SeqCst);
                    // Reads on, so that the other side has no other reason to wait.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                });
            }
        });
        Self { hang, address, reached, _waiting: None }
    }

    /// The camera's section of the configuration.
    pub fn section(&self) -> String {
        let scheme = self.hang.scheme();
        let fingerprint = match scheme {
            "https" | "wss" => format!("source_fingerprint = \"sha256:{}\"\n", "ab".repeat(32)),
            _ => String::new(),
        };
        let port = self.address.port();
        let host = if matches!(self.hang, PeerHang::Name(_)) { NAME } else { "127.0.0.1" };
        format!("source = \"{scheme}://{host}:{port}\"\n{fingerprint}")
    }

    /// What the list of what hangs must hold.
    pub fn stuck(&self) -> &'static str {
        if matches!(self.hang, PeerHang::Name(_)) { NAME } else { "" }
    }

    /// Waits until the process `pid` is at the point at which this machine hangs.
    pub fn until_reached(&self, pid: u32, scratch: &Scratch) {
        until(&format!("it hangs in {:?}", self.hang), || {
            let reached = match self.hang {
                PeerHang::Name(_) => scratch.path("stuck.reached").exists(),
                PeerHang::Connect(_) => is_connecting(pid, self.address.port()),
                _ => self.reached.load(SeqCst),
            };
            reached.then_some(())
        });
    }
}

/// Serves a client up to the point at which it hangs; `None` if the client leaves before.
fn begin(hang: PeerHang, mut stream: TcpStream, jpeg: &[u8]) -> Option<TcpStream> {
    let sent = match hang {
        PeerHang::Picture(_) => &jpeg[..jpeg.len() / 2],
        PeerHang::Pause(_) => jpeg,
        _ => &[],
    };
    match hang {
        // The peer sends nothing.
        PeerHang::Name(_) | PeerHang::Connect(_) | PeerHang::Answer("tcp") => {}
        PeerHang::Handshake(_) | PeerHang::Answer(_) => {
            stream.read_exact(&mut [0; 16]).ok()?;
        }
        PeerHang::Head(_) => {
            stream.read_exact(&mut [0; 16]).ok()?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Ty").ok()?;
        }
        PeerHang::Picture("tcp") | PeerHang::Pause("tcp") => {}
        PeerHang::Picture("ws") | PeerHang::Pause("ws") => {
            stream = tungstenite::accept(stream).ok()?.get_ref().try_clone().ok()?;
            // An unmasked binary message of 16 bits of length (RFC 6455, section 5.2).
            let [high, low] = u16::try_from(jpeg.len()).unwrap().to_be_bytes();
            stream.write_all(&[0x82, 126, high, low]).ok()?;
        }
        PeerHang::Picture(_) | PeerHang::Pause(_) => {
            stream.read_exact(&mut [0; 16]).ok()?;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n--b\r\n\
                 Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
                jpeg.len()
            );
            stream.write_all(head.as_bytes()).ok()?;
        }
    }
    stream.write_all(sent).ok()?;
    Some(stream)
}

/// Whether the process waits for the answer to a SYN to this port: state 2 in `/proc/PID/net/tcp`.
fn is_connecting(pid: u32, port: u16) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let remote = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|address| address.ends_with(&remote)) && words.next() == Some("02")
    })
}
