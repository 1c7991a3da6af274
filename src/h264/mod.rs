//! H.264: from the byte stream of a source or an encoder to access units in the form in which they are kept and sent.
//!
//! An **access unit** is the NAL units of one picture, a **key frame** is an access unit at which a decoder can start (IDR), a
//! **group of pictures** is a key frame and what follows it. Inside the program an access unit has the **stored form**: each NAL
//! unit behind its length, 4 bytes big-endian, as in ISO/IEC 14496-15, 5.3.3. It has no access unit delimiters, no filler, and no
//! ends of sequence or stream. A key frame begins with sequence and picture parameter sets, its own being the first of each. A start code `00 00 00 01` is as
//! long as such a length, so the stored form becomes a byte stream (ITU-T H.264, Annex B) without a change of any other byte.
//!
//! With the feature `h264` there is also an encoder and a decoder on the processor.
//!
//! Nothing here waits, and no input causes a panic. Where access units are kept, sent, or put into MP4 does not belong here.
//!
//! From the top down: `software` | `access_unit`, `splitter` | `sps` | `nal` | `bits`, `picture`, `error`.

pub mod access_unit;
mod bits;
mod error;
pub mod nal;
mod picture;
#[cfg(feature = "h264")]
pub mod software;
pub mod splitter;
pub mod sps;

pub use access_unit::{ParameterSets, WrittenUnit, write_access_unit};
pub use error::H264Error;
pub use nal::{AnnexB, LENGTH_BYTES, NalKind, NalUnit, NalUnits, START_CODE, begins_byte_stream};
pub use picture::{I420Picture, SamplePlane};
pub use splitter::{AccessUnitSplitter, UnitPiece};
pub use sps::SequenceParameters;
