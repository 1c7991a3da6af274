//! The rotation of a picture, as an Exif orientation.
//!
//! Rotating the pixels would cost a decode and an encode per frame. An orientation in the header costs 36 bytes; browsers,
//! image libraries and photo programs rotate the picture when they show it. Layout: TIFF 6.0, section 2; Exif 2.32,
//! section 4.7.2.
#![forbid(unsafe_code)]

/// How viewers rotate a picture, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// Not at all.
    #[default]
    None,
    /// By 90 degrees: for a camera on its left side.
    Right,
    /// By 180 degrees: for a camera that is upside down.
    Half,
    /// By 270 degrees: for a camera on its right side.
    Left,
}

/// Bytes of an orientation segment.
const SEGMENT_LEN: usize = 36;

impl Rotation {
    /// The rotation by `degrees` clockwise: 0, 90, 180 or 270.
    pub const fn from_degrees(degrees: i64) -> Option<Self> {
        match degrees {
            0 => Some(Self::None),
            90 => Some(Self::Right),
            180 => Some(Self::Half),
            270 => Some(Self::Left),
            _ => None,
        }
    }

    /// The Exif segment that tells viewers; empty for [`Rotation::None`].
    pub(super) const fn segment(self) -> &'static [u8] {
        // Values of the tag Orientation: on which sides row 0 and column 0 are shown.
        match self {
            Self::None => &[],
            Self::Right => const { &orientation(6) },
            Self::Half => const { &orientation(3) },
            Self::Left => const { &orientation(8) },
        }
    }
}

/// An APP1 segment that holds only the tag Orientation.
const fn orientation(value: u8) -> [u8; SEGMENT_LEN] {
    let mut segment = *b"\xff\xe1\x00\x22Exif\0\0\
        MM\0\x2a\0\0\0\x08\
        \0\x01\
        \x01\x12\0\x03\0\0\0\x01\0\0\0\0\
        \0\0\0\0";
    segment[29] = value;
    segment
}

/// Bytes of SOI and a JFIF header without thumbnail. Every JPEG of libjpeg begins with them.
const JFIF_HEADER_LEN: usize = 20;

/// Inserts `segment` after the JFIF header of the JPEG that begins at `slot[segment.len()]`. The result begins at 0.
pub(super) fn insert(slot: &mut [u8], segment: &[u8]) {
    let len = segment.len();
    slot.copy_within(len..len + JFIF_HEADER_LEN, 0);
    slot[JFIF_HEADER_LEN..JFIF_HEADER_LEN + len].copy_from_slice(segment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_states_its_own_length_and_its_value() {
        for (degrees, value) in [(90, 6), (180, 3), (270, 8)] {
            let segment = Rotation::from_degrees(degrees).unwrap().segment();
            assert_eq!(usize::from(u16::from_be_bytes([segment[2], segment[3]])) + 2, segment.len());
            // Tag 0x0112, type SHORT, one of them, left-aligned in four bytes.
            let entry = [1, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0];
            assert_eq!(segment[20..32], entry, "{degrees}");
        }
        assert!(Rotation::from_degrees(0).unwrap().segment().is_empty());
        assert_eq!([45, -90, 360].map(Rotation::from_degrees), [None; 3]);
    }
}
