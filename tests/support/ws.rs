//! A WebSocket client: somebody else's implementation of the protocol, and our subprotocol on top of it.

use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::error::Error;
use tungstenite::handshake::HandshakeError;
use tungstenite::{Message, WebSocket};

use super::tls::{ClientStream, plain};

pub struct Client {
    socket: WebSocket<Box<dyn ClientStream>>,
    pub protocol: Option<String>,
}

/// A `porthole.v1` message.
#[derive(Clone, Debug)]
pub struct Frame {
    pub sequence: u32,
    pub captured_at: u64,
    pub sent_at: u64,
    pub width: u16,
    pub height: u16,
    pub skipped: u32,
    pub jpeg: Vec<u8>,
}

impl Frame {
    #[track_caller]
    pub fn parse(message: &[u8]) -> Self {
        assert_eq!(&message[..4], b"PHF1");
        let u32_at = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().unwrap());
        let u16_at = |at: usize| u16::from_be_bytes(message[at..at + 2].try_into().unwrap());
        Self {
            sequence: u32_at(4),
            captured_at: u64_at(8),
            sent_at: u64_at(16),
            width: u16_at(24),
            height: u16_at(26),
            skipped: u32_at(28),
            jpeg: message[32..].to_vec(),
        }
    }
}

impl Client {
    /// Connects, asking for the subprotocol `porthole.v1`.
    #[track_caller]
    pub fn porthole(address: SocketAddr, path: &str) -> Self {
        let client = Self::connect(address, path, &[("Sec-WebSocket-Protocol", "porthole.v1")]).unwrap();
        assert_eq!(client.protocol.as_deref(), Some("porthole.v1"));
        client
    }

    /// Connects without a subprotocol.
    #[track_caller]
    pub fn bare(address: SocketAddr, path: &str) -> Self {
        Self::connect(address, path, &[]).unwrap()
    }

    /// Connects; the status of the answer if that is not a WebSocket.
    pub fn connect(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Self::over(plain(address), address, path, headers)
    }

    /// The same over a connection that is there.
    pub fn over(
        stream: Box<dyn ClientStream>,
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                Ok(Self { socket, protocol: protocol.map(|p| p.to_str().unwrap().to_owned()) })
            }
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref().tcp()
    }

    /// The next message, of any kind.
    #[track_caller]
    pub fn read(&mut self) -> Message {
        self.socket.read().unwrap()
    }

    /// The next message, or how the connection ended.
    pub fn try_read(&mut self) -> Result<Message, Error> {
        self.socket.read()
    }

    /// The next binary message; texts are passed over.
    #[track_caller]
    pub fn binary(&mut self) -> Vec<u8> {
        loop {
            if let Message::Binary(bytes) = self.read() {
                return bytes.to_vec();
            }
        }
    }

    /// The next `porthole.v1` frame, not acknowledged.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        Frame::parse(&self.binary())
    }

    /// The next `porthole.v1` frame, acknowledged.
    #[track_caller]
    pub fn acknowledged(&mut self) -> Frame {
        let frame = self.frame();
        self.acknowledge(frame.sequence);
        frame
    }

    #[track_caller]
    pub fn acknowledge(&mut self, sequence: u32) {
        self.say(&json!({ "type": "ack", "sequence": sequence }));
    }

    #[track_caller]
    pub fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string()));
    }

    #[track_caller]
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }

    /// Sends, or says how the connection ended.
    pub fn try_send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message)
    }

    /// The next text message, as JSON; frames are passed over.
    #[track_caller]
    pub fn text(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.read() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}
