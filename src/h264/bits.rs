//! Reads the bits of a NAL unit: without emulation prevention (ITU-T H.264, 7.3.1), with the codes of 7.2 and 9.1.
#![forbid(unsafe_code)]

/// A byte that an encoder puts between two zeros and a small byte, so that no start code appears. It is no part of the content.
const EMULATION_PREVENTION: u8 = 3;

/// Reads bits from the most significant one on. Every read gives `None` behind the end.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    rest: &'a [u8],
    /// Zeros that were read last.
    zeros: u8,
    byte: u8,
    /// Bits of `byte` that have not been read.
    left: u8,
}

impl<'a> BitReader<'a> {
    /// A reader of a NAL unit's bytes behind its header.
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self { rest: content, zeros: 0, byte: 0, left: 0 }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if self.zeros < 2 || first != EMULATION_PREVENTION {
            self.zeros = if first == 0 { self.zeros.saturating_add(1) } else { 0 };
            return Some(first);
        }
        self.zeros = 0;
        self.next_byte()
    }

    /// u(1), as a flag.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            (self.byte, self.left) = (self.next_byte()?, 8);
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// u(n), of 32 bits at most.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count.min(32)).try_fold(0, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// u(8).
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bits(8).map(|byte| byte as u8)
    }

    /// ue(v). Codes that are longer than the standard allows give `None`.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        // At most 31 bits follow, so the sum is below 2^32.
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// se(v).
    pub(super) fn signed(&mut self) -> Option<i32> {
        let code = i64::from(self.unsigned()?);
        let value = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { value } else { -value }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_golomb_codes_are_read_as_in_table_9_2() {
        // 1 | 010 | 011 | 00100 | 00101 | 000
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<u32> = (0..5).map(|_| reader.unsigned().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4]);
        assert_eq!(reader.unsigned(), None);
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<i32> = (0..5).map(|_| reader.signed().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_longest_code_is_read_and_a_longer_one_is_not() {
        let longest = [0, 0, 0, 0b1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(BitReader::new(&longest).unsigned(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&longest).signed(), Some(-i32::MAX));
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).unsigned(), None);
    }

    #[test]
    fn emulation_prevention_is_left_out() {
        let mut reader = BitReader::new(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3, 3]);
        let bytes: Vec<u8> = std::iter::from_fn(|| reader.byte()).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 3, 3]);
    }

    #[test]
    fn fields_of_any_width_are_read_across_bytes() {
        let mut reader = BitReader::new(&[0xab, 0xcd, 0xef, 0x01, 0x23]);
        assert_eq!(
            (reader.bits(4), reader.bits(0), reader.bits(32)),
            (Some(0xa), Some(0), Some(0xbcde_f012))
        );
        assert_eq!((reader.bits(4), reader.bits(1)), (Some(3), None));
    }
}
