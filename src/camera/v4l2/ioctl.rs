//! The descriptor of a V4L2 device, and what the device reports about itself.
//!
//! The other ioctls are in files beside this one, by what they are about: `format_ioctls`, `buffer_ioctls`, `input_ioctls`.
//! Structures and numbers are those of linux/videodev2.h. All calls go through `ioctl` of libc, because `libcamerify` of
//! libcamera replaces it to provide cameras.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawCapability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// What a device reports about itself.
#[derive(Clone, Debug)]
pub(in crate::camera) struct Capability {
    pub(in crate::camera) driver: String,
    pub(in crate::camera) card: String,
    pub(in crate::camera) bus: String,
    /// The capabilities of this node, not of the whole device: `V4L2_CAP_*`.
    caps: u32,
}

const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
const CAP_VIDEO_M2M: u32 = 0x0000_8000;
/// `V4L2_CAP_IO_MC`: links and formats before this node are set through the media controller.
const CAP_IO_MC: u32 = 0x2000_0000;
const CAP_META_CAPTURE: u32 = 0x0080_0000;
const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// `enum v4l2_buf_type`, as far as it captures or encodes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum BufferType {
    /// All planes of a picture are in one piece of memory.
    Capture = 1,
    /// Each plane of a picture may have memory of its own. Of an encoder: what it has encoded.
    CaptureMplane = 9,
    /// The pictures that an encoder is given.
    OutputMplane = 10,
}

impl BufferType {
    /// Whether each plane of a picture may have memory of its own.
    pub(super) fn is_multi_planar(self) -> bool {
        self != Self::Capture
    }
}

/// The kind of a video node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// Delivers pictures that this service can use.
    Capture,
    /// Delivers metadata of pictures. UVC cameras have such a node beside each capture node.
    Metadata,
    /// An encoder, decoder or scaler.
    Converter,
    /// Any other node: radio, teletext, output.
    Other,
}

impl NodeKind {
    /// For messages: "is ..., not a camera".
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Capture => "a capture node",
            Self::Metadata => "a metadata node",
            Self::Converter => "a video converter",
            Self::Other => "a video node of another kind",
        }
    }
}

impl Capability {
    /// Whether `other` is the same node of a camera of the same model, in any port.
    pub(super) fn is_same_model(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.driver == other.driver && self.card == other.card
    }

    /// Whether `other` is the same node of a camera of the same model in the same port.
    pub(super) fn is_same_camera(&self, other: &Self) -> bool {
        self.is_same_model(other) && self.bus == other.bus
    }

    /// Whether `other` is a node of the same device, of any kind.
    pub(super) fn is_same_device(&self, other: &Self) -> bool {
        self.driver == other.driver && self.bus == other.bus
    }

    pub(super) fn kind(&self) -> NodeKind {
        let has = |cap| self.caps & cap == cap;
        if has(CAP_VIDEO_M2M) || has(CAP_VIDEO_M2M_MPLANE) {
            NodeKind::Converter
        } else if has(CAP_VIDEO_CAPTURE | CAP_STREAMING) || has(CAP_VIDEO_CAPTURE_MPLANE | CAP_STREAMING) {
            NodeKind::Capture
        } else if has(CAP_META_CAPTURE) {
            NodeKind::Metadata
        } else {
            NodeKind::Other
        }
    }

    /// The type of the buffers that a capture node delivers.
    pub(super) fn buffer_type(&self) -> BufferType {
        if self.caps & CAP_VIDEO_CAPTURE != 0 { BufferType::Capture } else { BufferType::CaptureMplane }
    }

    /// Whether the node takes pictures and gives what it makes of them, both multi-planar.
    pub(super) fn converts_planes(&self) -> bool {
        let wanted = CAP_VIDEO_M2M_MPLANE | CAP_STREAMING;
        self.caps & wanted == wanted
    }

    /// Whether the node is an image processor of a Raspberry Pi. It delivers what libcamera feeds it with.
    pub(super) fn is_image_processor(&self) -> bool {
        matches!(self.driver.as_str(), "bcm2835-isp" | "pispbe")
    }

    /// Whether the node is one end of a chain of sensors and image processors that other programs set up.
    pub(super) fn needs_pipeline(&self) -> bool {
        self.caps & CAP_IO_MC != 0
    }
}

mod calls {
    nix::ioctl_read!(querycap, b'V', 0, super::RawCapability);
}

/// A borrowed descriptor of an open V4L2 device.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct Device<'fd>(BorrowedFd<'fd>);

impl<'fd> Device<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>) -> Self {
        Self(fd)
    }

    pub(in crate::camera) fn fd(self) -> BorrowedFd<'fd> {
        self.0
    }

    /// VIDIOC_QUERYCAP.
    pub(in crate::camera) fn capability(self) -> io::Result<Capability> {
        let mut raw = RawCapability {
            driver: [0; 16],
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        // SAFETY: the kernel writes one v4l2_capability, which is the layout of `raw`.
        unsafe { calls::querycap(self.0.as_raw_fd(), &mut raw) }?;
        let caps = if raw.capabilities & CAP_DEVICE_CAPS != 0 { raw.device_caps } else { raw.capabilities };
        Ok(Capability { driver: text(&raw.driver), card: text(&raw.card), bus: text(&raw.bus_info), caps })
    }
}

/// A NUL-terminated field as text.
pub(super) fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.split(|&b| b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(caps: u32) -> Capability {
        Capability { driver: String::new(), card: String::new(), bus: String::new(), caps }
    }

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<RawCapability>(), 104);
    }

    #[test]
    fn a_multi_planar_node_is_a_camera_unless_it_converts() {
        let multi = node(CAP_VIDEO_CAPTURE_MPLANE | CAP_STREAMING);
        assert_eq!((multi.kind(), multi.buffer_type()), (NodeKind::Capture, BufferType::CaptureMplane));
        let both = node(CAP_VIDEO_CAPTURE_MPLANE | CAP_VIDEO_CAPTURE | CAP_STREAMING);
        assert_eq!((both.kind(), both.buffer_type()), (NodeKind::Capture, BufferType::Capture));
        assert_eq!(node(CAP_VIDEO_M2M_MPLANE | CAP_STREAMING).kind(), NodeKind::Converter);
        assert_eq!(node(CAP_VIDEO_CAPTURE_MPLANE).kind(), NodeKind::Other, "read() is not used");
    }
}
