//! Live fragmented MP4 (ISO/IEC 14496-12 and -15): an initialization segment, then one fragment for each access unit.
//!
//! The boxes are those of the crate shiguredo_mp4. An access unit in the stored form is the sample as it is (ISO/IEC 14496-15,
//! 5.3.3), so nothing is copied: [`FragmentHeads`] writes what stands before it. Reading MP4, and sending it, does not belong
//! here.
//!
//! From the top down: `fragment` | `track`, `timeline`.
#![forbid(unsafe_code)]

mod fragment;
mod timeline;
mod track;

pub use fragment::FragmentHeads;
pub use timeline::{SampleTime, Timeline};
pub use track::VideoTrack;

/// Ticks a second of the times in a track. Some players take only a few; all take that of RTP.
const TIMESCALE: u32 = 90_000;
/// The number of the only track.
const TRACK: u32 = 1;
