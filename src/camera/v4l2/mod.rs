//! V4L2 devices: everything that calls a video driver.
//!
//! From the top down: `control_store`, `listing` | `locate` | `capture_node` | `capture_device`, `mmap_capture` |
//! `set_mode` | `formats`, `device_owner`, `nodes`, `controls` | `negotiate`, `planes` | the files with ioctls. Without rscam,
//! `capture_device` and `device_owner` would go.

mod buffer_ioctls;
mod capture_device;
mod capture_node;
mod control_store;
mod controls;
mod device_owner;
mod format_ioctls;
mod formats;
mod ioctl;
mod listing;
mod locate;
mod mmap_capture;
mod negotiate;
mod nodes;
mod planes;
mod set_mode;

pub(super) use capture_node::{CaptureNode, RunningCapture, StreamFormat};
pub(super) use control_store::ControlStore;
pub use listing::{DeviceListing, list};
pub(super) use locate::LocatedDevice;
pub(super) use negotiate::WantedMode;
pub(super) use planes::PictureMemory;
