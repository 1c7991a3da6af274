//! Numbers of the USB Video Class specification, revision 1.1. Sections are those of "Universal Serial Bus Device
//! Class Definition for Video Devices"; what this camera makes of them is in the modules beside this one.

/// `bcdUVC`: 3.7.2.
pub(crate) const BCD_UVC: u16 = 0x0110;
/// Video interface class: A.1.
pub(crate) const CC_VIDEO: u8 = 0x0e;
/// Subclasses: A.2.
pub(crate) const SC_VIDEOCONTROL: u8 = 1;
pub(crate) const SC_VIDEOSTREAMING: u8 = 2;
pub(crate) const SC_VIDEO_INTERFACE_COLLECTION: u8 = 3;
/// Class-specific interface descriptor: A.4.
pub(crate) const CS_INTERFACE: u8 = 0x24;

/// Subtypes of video control descriptors: A.5.
pub(crate) mod vc {
    pub(crate) const HEADER: u8 = 1;
    pub(crate) const INPUT_TERMINAL: u8 = 2;
    pub(crate) const OUTPUT_TERMINAL: u8 = 3;
    pub(crate) const PROCESSING_UNIT: u8 = 5;
    /// Why the last request was refused: A.9.1, 4.2.1.2.
    pub(crate) const REQUEST_ERROR_CODE_CONTROL: u8 = 2;
}

/// Subtypes of video streaming descriptors: A.6.
pub(crate) mod vs {
    pub(crate) const INPUT_HEADER: u8 = 1;
    pub(crate) const FORMAT_MJPEG: u8 = 6;
    pub(crate) const FRAME_MJPEG: u8 = 7;
    pub(crate) const COLORFORMAT: u8 = 0x0d;
    /// What the stream shall be, to be talked over: A.9.8, 4.3.1.1.
    pub(crate) const PROBE_CONTROL: u8 = 1;
    /// What the stream shall be, settled.
    pub(crate) const COMMIT_CONTROL: u8 = 2;
}

/// Requests to controls: A.8, 4.1.
pub(crate) mod request {
    pub(crate) const SET_CUR: u8 = 0x01;
    pub(crate) const GET_CUR: u8 = 0x81;
    pub(crate) const GET_MIN: u8 = 0x82;
    pub(crate) const GET_MAX: u8 = 0x83;
    pub(crate) const GET_RES: u8 = 0x84;
    pub(crate) const GET_LEN: u8 = 0x85;
    pub(crate) const GET_INFO: u8 = 0x86;
    pub(crate) const GET_DEF: u8 = 0x87;
}

/// Answers to GET_INFO: 4.1.2, table 4-3.
pub(crate) const INFO_GET_AND_SET: u8 = 0b0011;
pub(crate) const INFO_DISABLED_BY_AUTO_MODE: u8 = 0b0100;

/// Why a request was refused, as REQUEST_ERROR_CODE_CONTROL tells it: 4.2.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongState = 2,
    OutOfRange = 4,
    InvalidControl = 6,
    InvalidRequest = 7,
}

/// A camera as an input terminal, a host as an output terminal: B.1, B.2.
pub(crate) const ITT_CAMERA: u16 = 0x0201;
pub(crate) const TT_STREAMING: u16 = 0x0101;

/// Bits of the second byte of a payload header: 2.4.3.3.
pub(crate) mod payload {
    /// Length of the shortest header, which has only its length and these bits.
    pub(crate) const HEADER: usize = 2;
    /// Changes from frame to frame.
    pub(crate) const FRAME_ID: u8 = 0x01;
    pub(crate) const END_OF_FRAME: u8 = 0x02;
    pub(crate) const ERROR: u8 = 0x40;
    pub(crate) const END_OF_HEADER: u8 = 0x80;
}

/// `bmFramingInfo`, 4.3.1.1: headers have both a frame id and an end-of-frame bit.
pub(crate) const FRAMING_FID_AND_EOF: u8 = 0b11;
/// `bmHint` of a probe, 4.3.1.1: the frame interval shall be kept.
pub(crate) const HINT_KEEP_INTERVAL: u16 = 1;
/// Length of a probe or commit control of this revision: 4.3.1.1, table 4-47.
pub(crate) const PROBE_LENGTH: usize = 34;
/// The clock of stamps, which this camera does not send.
pub(crate) const CLOCK_HZ: u32 = 48_000_000;
/// BT.709 primaries, BT.709 transfer, SMPTE 170M matrix, as JFIF has it: 3.9.2.6.
pub(crate) const COLORS_OF_JFIF: [u8; 3] = [1, 1, 4];
