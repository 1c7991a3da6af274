//! V4L2 devices: everything that calls a video driver.
//!
//! From the top down: `control_store`, `listing` | `locate` | `capture_device` | `formats`, `device_owner`, `nodes`,
//! `controls` | `negotiate`, `ioctl`. Capturing without rscam replaces `capture_device` and `device_owner`.

mod capture_device;
mod control_store;
mod controls;
mod device_owner;
mod formats;
mod ioctl;
mod listing;
mod locate;
mod negotiate;
mod nodes;

pub(super) use capture_device::{CaptureDevice, StreamFormat};
pub(super) use control_store::ControlStore;
pub(super) use ioctl::BufferInfo;
pub use listing::{DeviceListing, list};
pub(super) use locate::LocatedDevice;
pub(super) use negotiate::WantedMode;
pub(super) use nodes::require_capture_node;
