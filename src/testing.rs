//! What tests and fuzz targets use beside the public interface: the parsers of what peers and cameras send.
//!
//! Belongs here: re-exports. Does not belong here: code. Nothing in the program imports this, and nothing here is a
//! promise to anybody outside this repository.
#![forbid(unsafe_code)]

/// Pictures in a stream of bytes.
pub mod splitter {
    pub use crate::camera::source::splitter::{Piece, Splitter};
}

/// Pictures in the body of an HTTP answer.
pub mod multipart {
    pub use crate::camera::source::remote::http::multipart::{Found, MultipartReader, NoPictures};
}

/// What a broker sends.
#[cfg(feature = "mqtt")]
pub mod mqtt {
    pub use crate::mqtt::packets::{Arrived, PacketReader};
    pub use crate::mqtt::topics::{HostTopics, level};
    pub use crate::mqtt::watch::WatchRequest;
    pub use crate::publisher::set_value;
}

/// Frames of a camera that is published to a broker.
#[cfg(feature = "mqtt")]
pub mod live {
    pub use crate::camera::source::remote::mqtt::live::{LiveFrame, LiveFrames};
    pub use crate::frame::Timestamp;
}

/// Answers to challenges of HTTP servers.
pub mod challenge {
    pub use crate::camera::source::remote::authentication::answer_to_challenge;
}

/// Pictures in a stream of Python pickles.
pub mod pickle {
    pub use crate::camera::source::remote::pickle::{PickleError, PickleReader, PickledPiece};
}

/// The frame messages of `porthole.v1`.
pub mod porthole_v1 {
    pub use crate::websocket::{FrameMessage, HEADER_BYTES};
}

/// WebSocket framing.
pub mod framing {
    pub use crate::websocket::framing::{
        MAX_CONTROL_PAYLOAD, Message, MessageReader, ProtocolError, ServerFrameHeader, close_code,
    };
}
