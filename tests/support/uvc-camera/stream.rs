//! The stream: what it shall be, and from frames to the payloads that fill the host's transfers, in their time.
//!
//! Knows neither how transfers arrive nor where answers go; [`crate::device`] asks what is due, and when to ask again.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::descriptors::{INTERVALS, ISOCHRONOUS_PACKET, MAX_FRAME, SIZES};
use crate::picture::{Fault, Scene};
use crate::usbip::{Packet, Submission};
use crate::uvc::{self, payload};

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// In a packet each microframe, whether there is something to send or not.
    Isochronous,
    /// In payloads of many packets, when there is something.
    Bulk,
}

/// Most bytes of one payload with its header: 2.4.3.2. A bulk one is as large as a transfer of the host's.
const BULK_PAYLOAD: u32 = 16 * 1024;
/// USB 2.0, 4.4: high speed has eight to a millisecond.
const MICROFRAME: Duration = Duration::from_micros(125);
/// A host that lags behind by more than this is not caught up with: its bus has stood still meanwhile.
const LAG: Duration = Duration::from_millis(100);

impl Transport {
    fn max_payload(self) -> u32 {
        match self {
            Self::Isochronous => ISOCHRONOUS_PACKET.into(),
            Self::Bulk => BULK_PAYLOAD,
        }
    }
}

/// A frame size and interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Index into [`SIZES`].
    pub(crate) size: usize,
    /// In units of 100 ns.
    pub(crate) interval: u32,
}

impl Mode {
    pub(crate) const FIRST: Self = Self { size: 0, interval: INTERVALS[0] };

    /// What is nearest to the wish in a probe or commit control: 4.3.1.1. `None` if that is too short to be one.
    pub(crate) fn wished(probe: &[u8]) -> Option<Self> {
        let (index, interval) = (*probe.get(3)?, probe.get(4..8)?);
        let wished = u32::from_le_bytes(interval.try_into().ok()?);
        let size = usize::from(index).checked_sub(1).filter(|&size| size < SIZES.len()).unwrap_or(0);
        let interval = INTERVALS.into_iter().min_by_key(|interval| interval.abs_diff(wished))?;
        Some(Self { size, interval })
    }

    /// This mode as a probe or commit control.
    pub(crate) fn probe(self, transport: Transport) -> Vec<u8> {
        let mut probe = uvc::HINT_KEEP_INTERVAL.to_le_bytes().to_vec();
        probe.extend([1, self.size as u8 + 1]); // indices of format and frame
        probe.extend(self.interval.to_le_bytes());
        probe.extend([0; 10]); // nothing about key frames, quality, window and delay
        probe.extend(MAX_FRAME.to_le_bytes());
        probe.extend(transport.max_payload().to_le_bytes());
        probe.extend(uvc::CLOCK_HZ.to_le_bytes());
        probe.extend([uvc::FRAMING_FID_AND_EOF, 1, 1, 1]); // and payload format versions
        debug_assert_eq!(probe.len(), uvc::PROBE_LENGTH);
        probe
    }

    fn period(self) -> Duration {
        Duration::from_nanos(u64::from(self.interval) * 100)
    }
}

/// A transfer of the host's that is complete.
pub(crate) struct Completion {
    pub(crate) submission: Submission,
    pub(crate) data: Vec<u8>,
    /// What of `data` is in which packet; empty but for isochronous transfers.
    pub(crate) packets: Vec<Packet>,
}

/// What a stream has to do now.
pub(crate) enum Due {
    /// A transfer is complete.
    Now(Completion),
    /// There is nothing to do before this moment, as far as is known now.
    At(Instant),
    /// There is nothing to do until the host does something.
    Nothing,
}

/// What was sent, from the start of the program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// All frames that were sent to their end.
    pub(crate) frames: u64,
    /// Those of them that were spoilt, by [`Fault`].
    pub(crate) spoilt: [u64; Fault::ALL.len()],
}

/// A stream between start and stop.
struct Running {
    /// When the next frame is taken.
    next_frame: Instant,
    /// When the packets of the next isochronous transfer begin.
    next_packet: Instant,
}

/// The camera's one stream.
pub(crate) struct Stream {
    pub(crate) transport: Transport,
    pub(crate) mode: Mode,
    /// No frames, though everything else goes on.
    pub(crate) stalled: bool,
    /// Frames still to be spoilt, by [`Fault`].
    pub(crate) to_spoil: [u32; Fault::ALL.len()],
    pub(crate) sent: Sent,
    /// Times it was started.
    pub(crate) starts: u64,
    running: Option<Running>,
    transfers: VecDeque<Submission>,
    scene: Scene,
    /// Frames taken, from the start of the program: the number of the next.
    taken: u64,
    /// The frame that is being sent, how much of it has been, and how it was spoilt.
    frame: Vec<u8>,
    done: usize,
    fault: Option<Fault>,
    frame_id: u8,
}

impl Stream {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            mode: Mode::FIRST,
            stalled: false,
            to_spoil: Default::default(),
            sent: Sent::default(),
            starts: 0,
            running: None,
            transfers: VecDeque::new(),
            scene: Scene::default(),
            taken: 0,
            frame: Vec::new(),
            done: 0,
            fault: None,
            frame_id: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Transfers the host waits for.
    pub(crate) fn waiting(&self) -> usize {
        self.transfers.len()
    }

    pub(crate) fn start(&mut self) {
        let now = Instant::now();
        self.running = Some(Running { next_frame: now, next_packet: now });
        self.starts += 1;
        self.frame.clear();
        self.done = 0;
    }

    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Forgets the host.
    pub(crate) fn reset(&mut self) {
        self.stop();
        self.transfers.clear();
        self.mode = Mode::FIRST;
    }

    pub(crate) fn submit(&mut self, transfer: Submission) {
        self.transfers.push_back(transfer);
    }

    /// Takes a transfer back; false if it is not waiting any more.
    pub(crate) fn unlink(&mut self, sequence: u32) -> bool {
        let before = self.transfers.len();
        self.transfers.retain(|transfer| transfer.sequence != sequence);
        self.transfers.len() < before
    }

    /// What is to be done at `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let Some(running) = &mut self.running else { return Due::Nothing };
        let Some(transfer) = self.transfers.front() else { return Due::Nothing };
        match self.transport {
            Transport::Isochronous => {
                let end = running.next_packet + MICROFRAME * transfer.packets.len() as u32;
                if now < end {
                    return Due::At(end);
                }
                running.next_packet = if now > end + LAG { now } else { end };
            }
            Transport::Bulk if self.done == self.frame.len() => {
                if self.stalled {
                    return Due::Nothing;
                }
                if now < running.next_frame {
                    return Due::At(running.next_frame);
                }
            }
            Transport::Bulk => {}
        }
        match self.transfers.pop_front() {
            Some(transfer) => Due::Now(self.fill(transfer, now)),
            None => Due::Nothing,
        }
    }

    fn fill(&mut self, submission: Submission, now: Instant) -> Completion {
        let (mut data, mut packets) = (Vec::new(), Vec::new());
        for packet in &submission.packets {
            let before = data.len();
            self.payload(packet.length as usize, now, &mut data);
            packets.push(Packet { actual: (data.len() - before) as u32, ..*packet });
        }
        if submission.packets.is_empty() {
            self.payload(submission.length.min(BULK_PAYLOAD) as usize, now, &mut data);
        }
        Completion { submission, data, packets }
    }

    /// Appends the next payload of at most `room` bytes; nothing if there is no frame to send: 2.4.3.3.
    fn payload(&mut self, room: usize, now: Instant, out: &mut Vec<u8>) {
        if self.done == self.frame.len() && !self.take(now) {
            return;
        }
        let length = (self.frame.len() - self.done).min(room.saturating_sub(payload::HEADER));
        let content = &self.frame[self.done..self.done + length];
        self.done += length;
        let is_last = self.done == self.frame.len();
        let mut bits = payload::END_OF_HEADER | self.frame_id;
        if is_last {
            bits |= payload::END_OF_FRAME;
        }
        if self.fault == Some(Fault::Flagged) {
            bits |= payload::ERROR;
        }
        out.extend([payload::HEADER as u8, bits]);
        out.extend_from_slice(content);
        if is_last {
            self.sent.frames += 1;
            if let Some(fault) = self.fault {
                self.sent.spoilt[fault as usize] += 1;
            }
        }
    }

    /// Takes the next frame, if it is time.
    fn take(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.running else { return false };
        if self.stalled || now < running.next_frame {
            return false;
        }
        // A frame that could not be sent in time moves those after it; they do not come in a burst.
        running.next_frame = (running.next_frame + self.mode.period()).max(now);
        self.fault = Fault::ALL.into_iter().find(|&fault| self.to_spoil[fault as usize] > 0);
        if let Some(fault) = self.fault {
            self.to_spoil[fault as usize] -= 1;
        }
        self.scene.shoot(self.mode.size, self.taken, self.fault, &mut self.frame);
        self.done = 0;
        self.taken += 1;
        self.frame_id ^= payload::FRAME_ID;
        true
    }
}
