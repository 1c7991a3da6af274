//! H.264 on the processor, by openh264: an encoder for what a camera shows now, and a decoder for cameras that send nothing else.
//!
//! The bindings are used directly (openh264-sys2): the wrapper above them cannot set the number of slices, nor change bit rate
//! and complexity while encoding. Calls to the library stay in the two files `encoder_library` and `decoder_library`.
//!
//! From the top down: `encoder`, `decoder` | `encoder_library`, `decoder_library` | `complexity`, `error`.

mod complexity;
mod decoder;
mod decoder_library;
mod encoder;
mod encoder_library;
mod error;
#[cfg(test)]
mod round_trip;

pub use complexity::EncodingComplexity;
pub use decoder::SoftwareDecoder;
pub use encoder::{EncodedUnit, SoftwareEncoder, SoftwareEncoderSettings};
pub use error::SoftwareCodecError;
