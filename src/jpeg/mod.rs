//! From the picture of a source to one valid JPEG, written into the slot from which it is sent.
//!
//! JPEGs are passed through after their structure was checked ([`mod@inspect`]). Raw pictures are encoded ([`encode`]). Neither
//! allocates per frame. Where pictures come from and where JPEGs are sent does not belong here.
//!
//! From the top down: `writer` | `encode` | `strips` | `compress`, `error` | `inspect` | the rest.

mod compress;
pub mod encode;
mod error;
pub mod exif;
mod huffman;
pub mod inspect;
mod picture;
mod settings;
mod slot;
mod strips;
mod writer;
pub mod yuv;

pub use error::JpegError;
pub use picture::{Picture, RawPicture};
pub use settings::JpegSettings;
pub use slot::SlotTooSmall;
pub use writer::JpegWriter;
