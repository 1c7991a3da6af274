//! A client of MQTT 3.1.1, as little of it as tests need: messages of QoS 0, read on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A message that came.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub is_retained: bool,
    pub at: Instant,
}

/// A session with a broker. Closed when dropped, without a word, so that its last will is published.
pub struct Session {
    stream: TcpStream,
    messages: Receiver<Message>,
    /// A code for each topic of each subscription that was acknowledged.
    acknowledged: Receiver<Vec<u8>>,
}

/// Who connects.
#[derive(Clone, Copy, Default)]
pub struct Login<'a> {
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
}

impl Session {
    /// Connects; why not, if the broker refuses or is not there.
    pub fn try_connect(
        broker: SocketAddr,
        client: &str,
        login: Login<'_>,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&broker, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let flags = 2 | u8::from(login.user.is_some()) << 7 | u8::from(login.password.is_some()) << 6;
        // Protocol level 4, a clean session, no time at which it must be heard of.
        let mut body = [text("MQTT"), vec![4, flags, 0, 0], text(client)].concat();
        body.extend(login.user.into_iter().chain(login.password).flat_map(text));
        stream.write_all(&packet(0x10, &body))?;
        let (kind, answer) = read_packet(&mut stream)?;
        if (kind, answer.get(1)) != (0x20, Some(&0)) {
            return Err(io::Error::other(format!("the broker answers {kind:#x} {answer:?}")));
        }
        stream.set_read_timeout(None)?;
        let (tell, messages) = channel();
        let (confirm, acknowledged) = channel();
        let mut from = stream.try_clone()?;
        std::thread::spawn(move || {
            while let Ok((kind, body)) = read_packet(&mut from) {
                let told = match kind >> 4 {
                    3 => tell.send(published(kind, &body)).is_ok(),
                    9 => confirm.send(body[2..].to_vec()).is_ok(),
                    _ => true,
                };
                if !told {
                    break;
                }
            }
        });
        Ok(Self { stream, messages, acknowledged })
    }

    /// Connects to a broker that lets anybody in.
    #[track_caller]
    pub fn connect(broker: SocketAddr, client: &str) -> Self {
        Self::try_connect(broker, client, Login::default(), DEADLINE).unwrap()
    }

    /// Asks for what is published to `filter`, without waiting for the answer.
    #[track_caller]
    pub fn ask_for(&mut self, filter: &str) {
        let body = [vec![0, 1], text(filter), vec![0]].concat();
        self.stream.write_all(&packet(0x82, &body)).unwrap();
    }

    /// The same, and waits until the broker has confirmed it. Returns whether it allows it.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str) -> bool {
        self.ask_for(filter);
        self.acknowledged.recv_timeout(DEADLINE).unwrap().iter().all(|code| *code < 0x80)
    }

    /// Publishes; an error if the broker has gone.
    pub fn try_publish(&mut self, topic: &str, payload: &[u8], is_retained: bool) -> io::Result<()> {
        let body = [text(topic), payload.to_vec()].concat();
        self.stream.write_all(&packet(0x30 | u8::from(is_retained), &body))
    }

    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.try_publish(topic, payload, false).unwrap();
    }

    #[track_caller]
    pub fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.try_publish(topic, payload, true).unwrap();
    }

    /// The next message within `patience`; `None` if there is none, or the session has ended.
    pub fn message_within(&mut self, patience: Duration) -> Option<Message> {
        self.messages.recv_timeout(patience).ok()
    }

    /// The next message.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        self.messages.recv_timeout(DEADLINE).expect("a message")
    }

    /// The next message to this topic; others are passed over.
    #[track_caller]
    pub fn message_to(&mut self, topic: &str) -> Message {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let message =
                self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("no message to {topic}"));
            if message.topic == topic {
                return message;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with the length of its body before it, in seven bits a byte.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![kind], body.len());
    loop {
        let more = left >> 7 > 0;
        packet.push((left & 0x7f) as u8 | u8::from(more) << 7);
        left >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn read_packet(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    let mut read = |from: &mut dyn Read| from.read_exact(&mut byte).map(|()| byte[0]);
    let kind = read(from)?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = read(from)?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((kind, body))
}

fn published(kind: u8, body: &[u8]) -> Message {
    assert_eq!(kind >> 1 & 3, 0, "only QoS 0 was asked for");
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    Message {
        topic: String::from_utf8(body[2..end].to_vec()).unwrap(),
        payload: body[end..].to_vec(),
        is_retained: kind & 1 != 0,
        at: Instant::now(),
    }
}
