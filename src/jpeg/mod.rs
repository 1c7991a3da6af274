//! From the picture of a source to one valid JPEG, written into the slot from which it is sent.
//!
//! JPEGs are passed through after their structure was checked ([`mod@inspect`]). Raw pictures are encoded ([`encode`]). Neither
//! allocates per frame. Where pictures come from and where JPEGs are sent does not belong here.
//!
//! From the top down: `decode` | `writer` | `encode` | `strips`, `inspect`, `strict`, `planar`, `pixels` | `raw`, `yuv` | the rest.

pub mod decode;
pub mod encode;
mod error;
pub mod exif;
mod huffman;
pub mod inspect;
mod pixels;
mod planar;
mod raw;
mod strict;
mod strips;
mod writer;
pub mod yuv;

pub use error::{Corrupt, JpegError, SlotTooSmall};
pub use raw::{PicturePlane, PlanarPicture, RawPicture};
pub use writer::{JpegSettings, JpegWriter, Picture};
