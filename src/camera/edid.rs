//! The EDID that an HDMI input shows to what is connected: the picture sizes that it takes. Structure: VESA E-EDID A.2,
//! extension: CTA-861-G, 7.5.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The `edid` key of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdidChoice {
    /// One that is made for a picture size and rate.
    Mode(EdidMode),
    /// A file with an EDID.
    File(PathBuf),
}

/// A picture size and rate for which an EDID is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdidMode {
    name: &'static str,
    /// Video Identification Code of CTA-861.
    vic: u8,
    /// In units of 10 kHz.
    pixel_clock: u16,
    /// Visible pixels, front porch, sync, back porch.
    horizontal: [u16; 4],
    /// The same in lines.
    vertical: [u16; 4],
}

const fn mode(
    name: &'static str,
    vic: u8,
    pixel_clock: u16,
    horizontal: [u16; 4],
    vertical: [u16; 4],
) -> EdidMode {
    EdidMode { name, vic, pixel_clock, horizontal, vertical }
}

const LINES_720: [u16; 4] = [720, 5, 5, 20];
const LINES_1080: [u16; 4] = [1080, 4, 5, 36];

/// The modes: CTA-861-G, table 1. Those of 24 to 30 pictures a second fit into two CSI lanes.
const MODES: [EdidMode; 7] = [
    mode("720p50", 19, 7425, [1280, 440, 40, 220], LINES_720),
    mode("720p60", 4, 7425, [1280, 110, 40, 220], LINES_720),
    mode("1080p24", 32, 7425, [1920, 638, 44, 148], LINES_1080),
    mode("1080p25", 33, 7425, [1920, 528, 44, 148], LINES_1080),
    mode("1080p30", 34, 7425, [1920, 88, 44, 148], LINES_1080),
    mode("1080p50", 31, 14850, [1920, 528, 44, 148], LINES_1080),
    mode("1080p60", 16, 14850, [1920, 88, 44, 148], LINES_1080),
];

/// Bytes of a block.
const BLOCK: usize = 128;
/// The start of every EDID.
const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

impl FromStr for EdidChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = MODES.into_iter().find(|mode| mode.name.eq_ignore_ascii_case(text));
        match named {
            Some(mode) => Ok(Self::Mode(mode)),
            None if text.starts_with('/') => Ok(Self::File(text.into())),
            None => {
                let names = MODES.map(|mode| mode.name).join(", ");
                Err(format!("must be one of {names}, or the path of a file, from /"))
            }
        }
    }
}

impl fmt::Display for EdidChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => f.write_str(mode.name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why bytes are no EDID; `None` if they are one.
pub(super) fn fault(edid: &[u8]) -> Option<&'static str> {
    if !edid.starts_with(&HEADER) {
        Some("does not begin as an EDID does")
    } else if !edid.len().is_multiple_of(BLOCK) || edid.len() != BLOCK * (1 + usize::from(edid[126])) {
        Some("has not as many blocks of 128 bytes as it states")
    } else if edid.chunks_exact(BLOCK).any(|block| sum(block) != 0) {
        Some("has a block with a wrong checksum")
    } else {
        None
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

impl EdidMode {
    /// The EDID: this mode as the preferred one, and 640x480, which every HDMI device has.
    pub(super) fn edid(&self) -> Vec<u8> {
        let mut base = Vec::with_capacity(2 * BLOCK);
        base.extend(HEADER);
        // Manufacturer "LNX", as the EDIDs in the kernel have; product and serial number; year 2026.
        base.extend([0x31, 0xd8, 0x01, 0x00, 0, 0, 0, 0, 0, 36]);
        // EDID 1.3; digital; no size; gamma 2.2; RGB, sRGB, and the first detailed timing is preferred.
        base.extend([1, 3, 0x80, 0, 0, 0x78, 0x0e]);
        // The primaries of sRGB.
        base.extend([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
        // 640x480 at 60 Hz, and no other standard timing.
        base.extend([0x20, 0, 0]);
        base.extend([1; 16]);
        base.extend(self.detailed_timing());
        base.extend(*b"\0\0\0\xfc\0Porthole\n    ");
        // Rates of 23 to 61 Hz and 26 to 68 kHz, and pixels at the next 10 MHz.
        let megahertz = self.pixel_clock.div_ceil(1000) as u8;
        base.extend([0, 0, 0, 0xfd, 0, 23, 61, 26, 68, megahertz, 0, 0x0a]);
        base.extend([b' '; 6]);
        // A descriptor without meaning, then one extension.
        base.extend([0, 0, 0, 0x10]);
        base.extend([0; 14]);
        base.push(1);
        seal(&mut base);
        // Revision 3; the data blocks end at 16; computers show no overscan; one native timing.
        let mut extension = vec![0x02, 0x03, 16, 0x81];
        // Video: this mode, and 640x480.
        extension.extend([0x42, self.vic, 1]);
        // HDMI, at the first input.
        extension.extend([0x65, 0x03, 0x0c, 0x00, 0x10, 0x00]);
        // Capabilities: the source chooses the range of RGB; nothing is overscanned.
        extension.extend([0xe2, 0x00, 0x4a]);
        extension.resize(BLOCK - 1, 0);
        seal(&mut extension);
        base.append(&mut extension);
        base
    }

    /// The detailed timing descriptor: E-EDID A.2, 3.10.2.
    fn detailed_timing(&self) -> [u8; 18] {
        let blank = |side: &[u16; 4]| side[1] + side[2] + side[3];
        let (h, v) = (self.horizontal, self.vertical);
        let (h_blank, v_blank) = (blank(&h), blank(&v));
        let low = |value: u16| value as u8;
        let upper = |value: u16| (value >> 8) as u8;
        [
            low(self.pixel_clock),
            upper(self.pixel_clock),
            low(h[0]),
            low(h_blank),
            upper(h[0]) << 4 | upper(h_blank),
            low(v[0]),
            low(v_blank),
            upper(v[0]) << 4 | upper(v_blank),
            low(h[1]),
            low(h[2]),
            low(v[1] & 15) << 4 | low(v[2] & 15),
            upper(h[1]) << 6 | upper(h[2]) << 4,
            0,
            0,
            0,
            0,
            0,
            // Progressive, with separate syncs of positive polarity.
            0x1e,
        ]
    }
}

/// Ends a block with its checksum.
fn seal(block: &mut Vec<u8>) {
    block.push(sum(block).wrapping_neg());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_an_edid_that_states_it() {
        for mode in MODES {
            let edid = mode.edid();
            assert_eq!((edid.len(), fault(&edid)), (256, None), "{}", mode.name);
            let [clock, again] = [edid[54], edid[55]];
            assert_eq!(u16::from_le_bytes([clock, again]), mode.pixel_clock);
            let value = |low: usize, high: usize, shift: u8| {
                u16::from(edid[54 + low]) | u16::from(edid[54 + high] >> shift & 15) << 8
            };
            assert_eq!([value(2, 4, 4), value(5, 7, 4)], [mode.horizontal[0], mode.vertical[0]]);
            let total = |side: [u16; 4]| side.iter().map(|part| u64::from(*part)).sum::<u64>();
            let pixels = total(mode.horizontal) * total(mode.vertical);
            let rate: u64 = mode.name.split('p').nth(1).unwrap().parse().unwrap();
            assert_eq!(u64::from(mode.pixel_clock) * 10_000, pixels * rate, "{}", mode.name);
            assert_eq!(mode.name.parse(), Ok(EdidChoice::Mode(mode)));
        }
    }

    #[test]
    fn another_decoder_finds_them_conformant() {
        let folder = std::env::temp_dir();
        for mode in MODES {
            let file = folder.join(format!("porthole-{}-{}.edid", std::process::id(), mode.name));
            std::fs::write(&file, mode.edid()).unwrap();
            let decoded = std::process::Command::new("edid-decode").arg("--check").arg(&file).output();
            std::fs::remove_file(&file).unwrap();
            let Ok(decoded) = decoded else { return println!("there is no edid-decode") };
            let text = String::from_utf8_lossy(&decoded.stdout);
            assert!(text.contains("EDID conformity: PASS"), "{}: {text}", mode.name);
        }
    }

    #[test]
    fn what_is_no_edid_is_told() {
        let mut edid = MODES[0].edid();
        assert!(fault(&edid[..128]).unwrap().contains("blocks"));
        edid[200] ^= 1;
        assert!(fault(&edid).unwrap().contains("checksum"));
        assert!(fault(b"<html>").unwrap().contains("begin"));
        assert!(fault(&[]).is_some());
        assert!("1080p29".parse::<EdidChoice>().unwrap_err().contains("1080p30"));
        assert_eq!("/boot/edid.bin".parse(), Ok(EdidChoice::File("/boot/edid.bin".into())));
    }
}
