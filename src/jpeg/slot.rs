//! Copies into a slot of limited size.
#![forbid(unsafe_code)]

/// A JPEG needs more bytes than its slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {need} bytes and the slot has {room}")]
pub struct SlotTooSmall {
    /// Bytes needed.
    pub need: usize,
    /// Bytes available.
    pub room: usize,
}

/// Copies `data` to the start of `slot`; returns its length.
pub(super) fn copy_to_slot(data: &[u8], slot: &mut [u8]) -> Result<usize, SlotTooSmall> {
    let too_small = SlotTooSmall { need: data.len(), room: slot.len() };
    slot.get_mut(..data.len()).ok_or(too_small)?.copy_from_slice(data);
    Ok(data.len())
}
