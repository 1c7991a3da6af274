//! Why bytes did not become an access unit.
#![forbid(unsafe_code)]

/// Why bytes did not become an access unit, or an access unit no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum H264Error {
    /// There is no start code, or nothing behind it.
    #[error(
        "no H.264 start code in {bytes} bytes; the source must send a byte stream (Annex B), like rpicam-vid with --codec h264"
    )]
    NotAnnexB { bytes: usize },
    /// Parameter sets and other things about pictures to come, which is not wrong. Parameter sets are remembered.
    #[error("H.264 without a picture: only parameter sets or messages")]
    NoPicture,
    /// No decoder can show the picture.
    #[error(
        "H.264 picture whose parameter sets have not come; the source must send them with key frames, like rpicam-vid with --inline"
    )]
    MissingParameterSets,
    /// A set of sequence parameters that is damaged, or not as the standard says.
    #[error("H.264 sequence parameter set with {0}")]
    InvalidSps(&'static str),
    /// The access unit does not fit where it is to be written.
    #[error("H.264 picture of {need} bytes does not fit into {room}; lower its bit rate")]
    TooLarge { need: usize, room: usize },
}
