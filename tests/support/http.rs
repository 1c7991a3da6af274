//! A plain HTTP client that hides nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;
use super::tls::ClientStream;

pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Response {
    request(address, "GET", target, &[])
}

/// One request on a connection of its own.
#[track_caller]
pub fn request(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut stream = send(address, method, target, headers);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes).unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(&bytes)))
}

/// A PUT with a JSON body.
#[track_caller]
pub fn put(address: SocketAddr, target: &str, body: &str) -> Response {
    let length = body.len().to_string();
    let mut stream =
        send(address, "PUT", target, &[("Content-Length", &length), ("Content-Type", "application/json")]);
    stream.write_all(body.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes).unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(&bytes)))
}

/// Sends these bytes as they are, and reads an answer to its end.
#[track_caller]
pub fn raw(address: SocketAddr, request: &str) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes).unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(&bytes)))
}

/// What a browser sends when a form is filled in.
#[track_caller]
pub fn post(address: SocketAddr, target: &str, headers: &[(&str, &str)], form: &str) -> Response {
    let length = form.len().to_string();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let headers = [headers, &[("Content-Length", length.as_str()), kind]].concat();
    let mut stream = send(address, "POST", target, &headers);
    stream.write_all(form.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes).unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(&bytes)))
}

/// The status with which an upgrade to a WebSocket is answered; 101 if it is taken.
#[track_caller]
pub fn upgrade(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> u16 {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut stream = send(address, "GET", target, &[&upgrade, headers].concat());
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

/// Sends a request and leaves the answer to be read.
#[track_caller]
pub fn send(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes()).unwrap();
    stream
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = headers.map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
    let mut response = Response { status, headers, body: bytes[end + 4..].to_vec() };
    if response.header("transfer-encoding") == Some("chunked") {
        response.body = unchunk(&response.body)?;
    }
    Some(response)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 2 + size + 2..)?;
    }
}

/// Reads a multipart stream part by part, holding it to the letter of what clients rely on.
pub struct Multipart {
    stream: Box<dyn ClientStream>,
    pub boundary: String,
    pub head: String,
    buffer: Vec<u8>,
}

impl Multipart {
    /// Asks for a stream and reads its header.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Self {
        Self::over(Box::new(send(address, "GET", target, &[])))
    }

    /// The same where it has been asked for.
    #[track_caller]
    pub fn over(stream: Box<dyn ClientStream>) -> Self {
        let mut this = Self { stream, boundary: String::new(), head: String::new(), buffer: vec![] };
        let head = this.take_until(b"\r\n\r\n");
        this.head = String::from_utf8(head).unwrap();
        assert!(this.head.starts_with("HTTP/1.1 200 "), "{}", this.head);
        let boundary = this.head.split("boundary=").nth(1).expect("a boundary in the header");
        this.boundary = boundary.split("\r\n").next().unwrap().trim_matches('"').to_owned();
        this
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// The next part: its header lines as they are, and its body.
    #[track_caller]
    pub fn part(&mut self) -> (String, Vec<u8>) {
        let start = format!("--{}\r\n", self.boundary);
        assert_eq!(
            String::from_utf8_lossy(&self.take(start.len())),
            start,
            "no boundary where a part begins"
        );
        let head = String::from_utf8(self.take_until(b"\r\n\r\n")).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let body = self.take(length.parse().unwrap());
        assert_eq!(self.take(2), b"\r\n", "no line end after the body");
        (head, body)
    }

    /// Reads exactly so many bytes.
    #[track_caller]
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            self.read();
        }
        self.buffer.drain(..n).collect()
    }

    #[track_caller]
    fn take_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|w| w == end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            self.read();
        }
    }

    #[track_caller]
    fn read(&mut self) {
        let mut chunk = [0; 65536];
        let n = self.stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the stream ended");
        self.buffer.extend_from_slice(&chunk[..n]);
    }
}
