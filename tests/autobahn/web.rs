//! An echo, on the program's own framing: what comes in through its [`MessageReader`] goes out with its [`ServerFrameHeader`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use porthole::testing::framing::{Message, MessageReader, ServerFrameHeader, close_code};
use tungstenite::handshake::derive_accept_key;

/// A peer that says nothing for so long is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Echoes messages of up to `limit` bytes, for as long as this process lives.
pub fn echo(limit: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // A peer may hang up whenever it likes; what the suite thinks of the rest is in its report.
            std::thread::spawn(move || drop(serve(stream, limit)));
        }
    });
    address
}

fn serve(mut stream: TcpStream, limit: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    shake_hands(&mut stream)?;
    // The suite does not speak before it is answered, so nothing was read ahead.
    let mut reader = MessageReader::new(limit, &[]).map_err(io::Error::other)?;
    let code = loop {
        let (header, payload) = match reader.next_message() {
            Ok(Some(Message::Text(text))) => (ServerFrameHeader::text(text.len()), text.as_bytes()),
            Ok(Some(Message::Binary(bytes))) => (ServerFrameHeader::binary(bytes.len()), bytes),
            Ok(Some(Message::Ping(bytes))) => (ServerFrameHeader::pong(bytes.len()), bytes),
            Ok(Some(Message::Pong)) => continue,
            Ok(Some(Message::Close(_))) => break close_code::NORMAL,
            Err(violation) => break violation.code(),
            Ok(None) => {
                match stream.read(reader.unfilled())? {
                    0 => return Ok(()),
                    n => reader.advance(n),
                }
                continue;
            }
        };
        stream.write_all(header.as_bytes())?;
        stream.write_all(payload)?;
    };
    stream.write_all(ServerFrameHeader::close(2).as_bytes())?;
    stream.write_all(&code.to_be_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // What is still under way is taken, or closing would look like an abort to the peer.
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn shake_hands(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request);
    let key = request.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let accept = derive_accept_key(key.ok_or(ErrorKind::InvalidData)?.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes())
}
