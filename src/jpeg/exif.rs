//! Which way up: the one thing that is said of a picture in Exif.
//!
//! Turning the pixels would cost a decode and an encode for each frame. An orientation in the header costs 36 bytes,
//! and browsers, image libraries and photo programs turn the picture when they show it. Layout: TIFF 6.0, section 2;
//! Exif 2.32, section 4.7.2.
#![forbid(unsafe_code)]

/// How far a picture is turned, clockwise, when it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// Shown as the camera gives it.
    #[default]
    None,
    /// By 90 degrees: for a camera that lies on its left side.
    Right,
    /// By 180 degrees: for a camera that hangs upside down.
    Half,
    /// By 270 degrees: for a camera that lies on its right side.
    Left,
}

/// Bytes of an orientation segment.
pub(super) const SEGMENT: usize = 36;

impl Rotation {
    /// The rotation by so many degrees clockwise, if it is one of the four.
    pub const fn from_degrees(degrees: i64) -> Option<Self> {
        match degrees {
            0 => Some(Self::None),
            90 => Some(Self::Right),
            180 => Some(Self::Half),
            270 => Some(Self::Left),
            _ => None,
        }
    }

    /// The segment that tells viewers; none for a picture that is upright.
    pub(super) const fn segment(self) -> &'static [u8] {
        // The values of the tag Orientation: where row 0 and column 0 are to be seen.
        match self {
            Self::None => &[],
            Self::Right => const { &orientation(6) },
            Self::Half => const { &orientation(3) },
            Self::Left => const { &orientation(8) },
        }
    }
}

/// An APP1 segment that holds the tag Orientation and nothing else.
const fn orientation(value: u8) -> [u8; SEGMENT] {
    let mut segment = *b"\xff\xe1\x00\x22Exif\0\0\
        MM\0\x2a\0\0\0\x08\
        \0\x01\
        \x01\x12\0\x03\0\0\0\x01\0\0\0\0\
        \0\0\0\0";
    segment[29] = value;
    segment
}

/// Bytes of SOI and a JFIF header without thumbnail, with which libjpeg begins every picture.
const HEAD: usize = 20;

/// Puts `segment` behind the JFIF header of the JPEG that begins at `slot[segment.len()]`; it begins at 0 then.
pub(super) fn insert(slot: &mut [u8], segment: &[u8]) {
    let len = segment.len();
    slot.copy_within(len..len + HEAD, 0);
    slot[HEAD..HEAD + len].copy_from_slice(segment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_as_long_as_it_says_and_holds_its_value() {
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
