//! Cameras: the sources of pictures, and the thread that turns their pictures into frames.
//!
//! A [`Camera`] is the viewers' handle. The capture thread opens the source when there are viewers, opens it again after a
//! stall or a loss, and closes it when nobody watches. Frames leave through the [ring](crate::ring), facts through the
//! [status](crate::status). Who watches, and how frames are sent, does not belong here.
//!
//! From the top down, each imports only what is below:
//!
//! | file or folder | what belongs there |
//! |---|---|
//! | `control_call` | calls of a driver for controls, from tasks |
//! | `set` | [`CameraSet`]: the cameras of the service |
//! | `handle` | [`start`] and [`Camera`] |
//! | `capture/` | the capture thread, the publish step, full-size stills |
//! | `h264/` | H.264: its settings, encoders, and the thread that encodes |
//! | `source/` | one file per kind of source, and what only sources use. A new kind of source goes here |
//! | `v4l2/` | V4L2 devices: ioctls, finding and listing them, negotiating a mode, controls, streaming |
//! | `control_values` | the values that controls are set to, kept over a restart |
//! | `settings`, `error`, `source_spec`, `frame_timing` | what the folders above share |
//! | `control`, `edid`, `shell_command`, `wake` | the same, without imports within the room |

mod camera_thread;
mod capture;
mod control;
mod control_call;
mod control_values;
mod edid;
mod error;
mod frame_timing;
mod h264;
mod handle;
mod set;
mod settings;
mod shell_command;
pub(crate) mod source;
mod source_spec;
mod v4l2;
mod wake;

pub use camera_thread::{CameraThread, CameraThreadEnd, first_to_end};
pub use capture::{Still, StillError, StillResult};
pub use control::{Control, ControlError, ControlKind, ControlValue, MenuItem};
pub use control_call::{list_controls, set_control};
pub use edid::{EdidChoice, EdidMode};
pub use h264::{H264Mode, H264Settings};
pub use handle::{Camera, UnitViewer, start};
pub use set::CameraSet;
pub use settings::{
    CameraSettings, DEFAULT_RESOLUTION, InputChoice, InputSettings, LONGEST_NAME, is_camera_name,
};
pub use shell_command::{ShellCommand, secret_ranges, without_passwords};
#[cfg(feature = "mqtt")]
pub(crate) use source::broker_options;
pub use source::{RemoteSettings, RemoteUrl, RpiCamListing, Scheme, list_rpicam};
pub use source_spec::{RpiCamSelector, SourceSpec};
pub use v4l2::{DeviceListing, list};
