//! Bits, as syntax elements are made of.

/// Bytes that are written bit by bit, the highest first.
#[derive(Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the byte that is not full.
    last: u8,
    count: u32,
}

impl BitWriter {
    /// The lowest `length` bits of `value`.
    pub(crate) fn put(&mut self, length: u32, value: u32) {
        for at in (0..length).rev() {
            self.last = self.last << 1 | (value >> at & 1) as u8;
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.last);
                (self.last, self.count) = (0, 0);
            }
        }
    }

    /// `ue(v)` (9.1).
    pub(crate) fn ue(&mut self, value: u32) {
        let code = value + 1;
        let length = u32::BITS - code.leading_zeros();
        self.put(length - 1, 0);
        self.put(length, code);
    }

    /// `se(v)` (9.1.1).
    pub(crate) fn se(&mut self, value: i32) {
        self.ue(if value > 0 { 2 * value.unsigned_abs() - 1 } else { 2 * value.unsigned_abs() });
    }

    /// The bytes, with `rbsp_trailing_bits`.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        while self.count != 0 {
            self.put(1, 0);
        }
        self.bytes
    }
}
