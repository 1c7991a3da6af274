//! How the kernel's virtual host controller talks of transfers: Documentation/usb/usbip_protocol.rst.
//!
//! Only what it sends and takes after a device was attached. All numbers are big-endian but for a setup packet.
use std::io::{self, Read};

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
/// All messages begin with so many 32-bit words.
const WORDS: usize = 12;
/// Number of packets of a transfer that is not isochronous.
const NO_PACKETS: u32 = u32::MAX;
/// Most that is taken in at once; the kernel's own limit for control transfers is 4096, and we offer no other OUT.
const MAX_OUT: u32 = 64 * 1024;
/// Most packets of one transfer: the kernel's `USBIP_MAX_ISO_PACKETS`.
const MAX_PACKETS: u32 = 1024;

/// A packet of an isochronous transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) actual: u32,
}

/// A transfer that the host asks for.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) sequence: u32,
    pub(crate) endpoint: u8,
    pub(crate) is_in: bool,
    /// Most bytes to send, or how many were received.
    pub(crate) length: u32,
    pub(crate) setup: [u8; 8],
    /// What the host sends.
    pub(crate) sent: Vec<u8>,
    pub(crate) packets: Vec<Packet>,
    packets_word: u32,
}

/// What the host wants.
pub(crate) enum Command {
    Submit(Submission),
    /// The transfer `victim` shall not be answered any more.
    Unlink {
        sequence: u32,
        victim: u32,
    },
}

/// Reads one command. The end of the stream is an error: the device was detached.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Command> {
    let mut bytes = [0; WORDS * 4];
    stream.read_exact(&mut bytes)?;
    let word = |index: usize| {
        let at = index * 4;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let (command, sequence) = (word(0), word(1));
    match command {
        CMD_SUBMIT => {
            let (is_in, endpoint, length, packets_word) = (word(3) != 0, word(4) as u8, word(6), word(8));
            let mut setup = [0; 8];
            setup.copy_from_slice(&bytes[40..]);
            let out = if is_in { 0 } else { length };
            let count = if packets_word == NO_PACKETS { 0 } else { packets_word };
            if out > MAX_OUT || count > MAX_PACKETS {
                return Err(io::Error::other(format!("a transfer of {out} bytes, {count} packets")));
            }
            let mut sent = vec![0; out as usize];
            stream.read_exact(&mut sent)?;
            let mut packets = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let mut bytes = [0; 16];
                stream.read_exact(&mut bytes)?;
                let [o0, o1, o2, o3, l0, l1, l2, l3, ..] = bytes;
                let (offset, length) = ([o0, o1, o2, o3], [l0, l1, l2, l3]);
                packets.push(Packet {
                    offset: u32::from_be_bytes(offset),
                    length: u32::from_be_bytes(length),
                    actual: 0,
                });
            }
            Ok(Command::Submit(Submission {
                sequence,
                endpoint,
                is_in,
                length,
                setup,
                sent,
                packets,
                packets_word,
            }))
        }
        CMD_UNLINK => Ok(Command::Unlink { sequence, victim: word(5) }),
        other => Err(io::Error::other(format!("command {other}"))),
    }
}

/// The answer to a transfer: `Err` is an errno. Data of packets lies without gaps, each packet's place with it.
pub(crate) fn answer(to: &Submission, result: Result<&[u8], i32>, packets: &[Packet]) -> Vec<u8> {
    let (status, data) = match result {
        Ok(data) => (0, data),
        Err(errno) => (-errno, &[][..]),
    };
    let actual = if to.is_in || status != 0 { data.len() as u32 } else { to.length };
    let mut message = head(RET_SUBMIT, to.sequence, &[status as u32, actual, 0, to.packets_word]);
    message.extend_from_slice(data);
    for Packet { offset, length, actual } in packets {
        for word in [*offset, *length, *actual, 0] {
            message.extend(word.to_be_bytes());
        }
    }
    message
}

/// The answer to [`Command::Unlink`]: whether the victim was taken back, or has been answered already.
pub(crate) fn unlinked(sequence: u32, taken_back: bool) -> Vec<u8> {
    head(RET_UNLINK, sequence, &[if taken_back { -libc::ECONNRESET } else { 0 } as u32])
}

fn head(command: u32, sequence: u32, rest: &[u32]) -> Vec<u8> {
    // Device, direction and endpoint of an answer are 0.
    let words = [command, sequence, 0, 0, 0].into_iter().chain(rest.iter().copied());
    words.chain(std::iter::repeat(0)).take(WORDS).flat_map(u32::to_be_bytes).collect()
}
