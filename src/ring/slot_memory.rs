//! The memory of a slot: pages of its own, which come from the kernel when they are first written and go back with the slot.
//!
//! An allocator does not promise that. glibc's keeps what was freed, and clears all of it when it is asked for zeroes again: a ring that was
//! opened a few times, for slots that are nearly empty, then had all of its pages.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

#[derive(Debug)]
pub(super) enum SlotMemory {
    Pages(MmapMut),
    /// Where the kernel gives no more mappings.
    Allocated(Box<[u8]>),
}

impl SlotMemory {
    /// So many zeroes.
    pub(super) fn zeroes(bytes: usize) -> Self {
        MmapMut::map_anon(bytes).map_or_else(|_| Self::Allocated(vec![0; bytes].into()), Self::Pages)
    }
}

impl Deref for SlotMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for SlotMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Allocated(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_its_bytes_however_few() {
        for bytes in [0, 1, 5000] {
            let mut memory = SlotMemory::zeroes(bytes);
            assert!(memory.len() == bytes && memory.iter().all(|byte| *byte == 0));
            memory.fill(7);
            assert_eq!(memory.iter().map(|byte| usize::from(*byte)).sum::<usize>(), bytes * 7);
        }
    }
}
