//! MQTT packets, from and to bytes. Those of a broker are read by rumqttc, after their kind and length were checked; the
//! head of a PUBLISH is written here, as its payload is sent from where it lies.
#![forbid(unsafe_code)]

use std::io;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest packet behind its fixed header (MQTT 3.1.1, section 2.2.3).
pub(crate) const LARGEST: usize = 268_435_455;
/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// What came from a broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A packet.
    Packet(Packet),
    /// A packet of this size, which is larger than those that are taken. It is skipped.
    TooLarge(usize),
}

/// What came is not what a broker sends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PacketError(String);

/// Cuts the bytes of a broker into packets.
#[derive(Debug)]
pub struct PacketReader {
    buffer: BytesMut,
    most_bytes: usize,
    /// Bytes of a packet that is skipped which have not come yet.
    to_skip: usize,
}

impl PacketReader {
    /// Takes packets of at most `most_bytes`.
    pub fn new(most_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), most_bytes, to_skip: 0 }
    }

    /// The next packet. Loses nothing when cancelled.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Result<Arrived, PacketError>> {
        loop {
            match self.take() {
                Ok(None) => {}
                Ok(Some(arrived)) => return Ok(Ok(arrived)),
                Err(error) => return Ok(Err(error)),
            }
            self.buffer.reserve(READ_BYTES);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes `bytes` as if they had come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next packet of what has come; `None` if more must come.
    ///
    /// # Errors
    /// When it is not what a broker sends. Nothing more can be read then.
    pub fn take(&mut self) -> Result<Option<Arrived>, PacketError> {
        let skipped = self.to_skip.min(self.buffer.len());
        drop(self.buffer.split_to(skipped));
        self.to_skip -= skipped;
        let Some((first, head, rest)) = fixed_header(&self.buffer)? else { return Ok(None) };
        // CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP: a broker sends no other at quality 0 and 1.
        // All but PUBLISH have no flags (section 2.2.2).
        if !matches!(first, 0x20 | 0x30..=0x3F | 0x40 | 0x90 | 0xB0 | 0xD0) {
            return Err(PacketError(format!("it sent a packet that begins with {first:#04x}")));
        }
        let length = head + rest;
        if length > self.most_bytes {
            self.to_skip = length;
            return Ok(Some(Arrived::TooLarge(length)));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut packet = self.buffer.split_to(length);
        match Packet::read(&mut packet, length) {
            Ok(packet) => Ok(Some(Arrived::Packet(packet))),
            Err(error) => Err(PacketError(error.to_string())),
        }
    }
}

/// The first byte, the length of the fixed header, and the length of what follows (section 2.2); `None` if more must come.
fn fixed_header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, PacketError> {
    let Some((first, bytes)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0;
    for (n, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((*first, n + 2, length)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(PacketError("its lengths are not those of MQTT".into())) }
}

/// Writes what stands before the payload of a PUBLISH at quality 0 (section 3.3).
///
/// # Errors
/// The packet is larger than MQTT allows.
pub(super) fn publish_head(
    head: &mut Vec<u8>,
    topic: &str,
    is_retained: bool,
    payload: usize,
) -> Result<(), PacketError> {
    let Ok(topic_bytes) = u16::try_from(topic.len()) else {
        return Err(PacketError(format!("a topic of {} bytes", topic.len())));
    };
    let mut rest = 2 + topic.len() + payload;
    if rest > LARGEST {
        return Err(PacketError(format!("a packet of {rest} bytes")));
    }
    head.clear();
    head.push(0x30 | u8::from(is_retained));
    loop {
        let digit = (rest % 128) as u8;
        rest /= 128;
        if rest == 0 {
            head.push(digit);
            break;
        }
        head.push(digit | 0x80);
    }
    head.extend_from_slice(&topic_bytes.to_be_bytes());
    head.extend_from_slice(topic.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Publish;

    use super::*;

    #[test]
    fn a_publish_is_written_as_rumqttc_reads_it() {
        for (topic, payload) in [("a", 0), ("porthole/pi/front/live", 125), ("a/b", 20_000), ("ü", 2_100_000)]
        {
            let payload = vec![7; payload];
            let mut bytes = Vec::new();
            publish_head(&mut bytes, topic, true, payload.len()).unwrap();
            bytes.extend_from_slice(&payload);
            let mut reader = PacketReader::new(bytes.len());
            for piece in bytes.chunks(1000) {
                assert_eq!(reader.take().unwrap(), None);
                reader.feed(piece);
            }
            let mut expected = Publish::new(topic, QoS::AtMostOnce, payload);
            expected.retain = true;
            assert_eq!(reader.take().unwrap(), Some(Arrived::Packet(Packet::Publish(expected))));
            assert_eq!(reader.take().unwrap(), None);
        }
        assert!(publish_head(&mut Vec::new(), "a", false, LARGEST).is_err());
        assert!(publish_head(&mut Vec::new(), &"a".repeat(70_000), false, 0).is_err());
    }

    #[test]
    fn a_packet_that_is_too_large_is_skipped_and_the_next_is_read() {
        let mut bytes = Vec::new();
        publish_head(&mut bytes, "a", false, 5000).unwrap();
        bytes.resize(bytes.len() + 5000, 1);
        let length = bytes.len();
        bytes.extend_from_slice(&[0xD0, 0]);
        let mut reader = PacketReader::new(100);
        let mut arrived = Vec::new();
        for piece in bytes.chunks(700) {
            reader.feed(piece);
            arrived.extend(reader.take().unwrap());
        }
        assert_eq!(arrived, [Arrived::TooLarge(length), Arrived::Packet(Packet::PingResp)]);
    }

    #[test]
    fn what_no_broker_sends_is_an_error() {
        for bytes in [
            &b"HTTP/1.1 400"[..],
            &[0x10, 0],
            &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x20, 1, 0],
            &[0x90, 2, 0, 1],
        ] {
            let mut reader = PacketReader::new(100);
            reader.feed(bytes);
            assert!(reader.take().is_err(), "{bytes:x?}");
        }
    }
}
