//! V4L2 devices: everything that calls a video driver.
//!
//! From the top down: `control_store`, `listing` | `locate` | `capture_node` | `capture_device`, `mmap_capture`, `encoder_device` |
//! `set_mode` | `inputs`, `formats`, `device_owner`, `nodes`, `controls` | `negotiate`, `planes` | the files with ioctls. Without rscam,
//! `capture_device` and `device_owner` would go.

mod buffer_ioctls;
mod capture_device;
mod capture_node;
mod control_store;
mod controls;
mod device_owner;
mod encoder_device;
mod format_ioctls;
mod formats;
mod input_error;
mod input_ioctls;
mod inputs;
mod ioctl;
mod listing;
mod locate;
mod mmap_capture;
mod negotiate;
mod nodes;
mod planes;
mod set_mode;
mod timing_ioctls;

pub(super) use capture_node::{CaptureNode, RunningCapture, StreamFormat};
pub(super) use control_store::ControlStore;
pub(super) use encoder_device::{EncoderDevice, EncoderFailure, EncoderMode, find_encoder};
pub(super) use formats::DeviceFormats;
pub(super) use input_error::InputError;
pub(super) use ioctl::Capability;
pub use listing::{DeviceListing, list};
pub(super) use locate::LocatedDevice;
pub(super) use negotiate::{CaptureMode, WantedMode};
pub(super) use nodes::h264_node_beside;
pub(super) use planes::PictureMemory;
