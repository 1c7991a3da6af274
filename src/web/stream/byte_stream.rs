//! Writes access units from the ring as a byte stream (ITU-T H.264, Annex B), without copying them.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};

use heapless::Vec as FixedVec;

use crate::h264::{NalUnits, START_CODE};
use crate::web::server::client_socket::ClientSocket;

/// Parts of one write: a start code and a NAL unit are two. An access unit has some four NAL units, and one more for each
/// further slice; one with more takes several writes.
const MAX_PARTS: usize = 32;

/// Bytes of an access unit as a byte stream.
pub(super) fn byte_stream_len(unit: &[u8]) -> usize {
    NalUnits::new(unit).map(|nal| START_CODE.len() + nal.bytes().len()).sum()
}

/// Writes `before`, then an access unit. `before` has few parts.
pub(super) async fn write_byte_stream(
    socket: &mut ClientSocket,
    before: &[&[u8]],
    unit: &[u8],
) -> io::Result<()> {
    let mut parts: FixedVec<IoSlice<'_>, MAX_PARTS> =
        before.iter().take(MAX_PARTS).map(|part| IoSlice::new(part)).collect();
    for nal in NalUnits::new(unit) {
        if parts.len() + 2 > MAX_PARTS {
            socket.write_parts(&mut parts).await?;
            parts.clear();
        }
        // There is room for two.
        let _ = parts.push(IoSlice::new(&START_CODE));
        let _ = parts.push(IoSlice::new(nal.bytes()));
    }
    socket.write_parts(&mut parts).await
}
