//! The kernel's side of the contract: `linux/videodev2.h` for 64-bit machines, as far as it is used here.
//!
//! Names are the kernel's without their `V4L2_` or `VIDIOC_` prefix. No behaviour belongs here.
use std::ffi::c_int;

macro_rules! structs {
    ($( $(#[$attribute:meta])* $name:ident { $($field:ident: $type:ty),+ } )+) => { $(
        $(#[$attribute])*
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type),+ }

        impl Default for $name {
            fn default() -> Self {
                // SAFETY: integers and pointers only, for which zero is a value.
                unsafe { std::mem::zeroed() }
            }
        }
    )+ };
}

structs! {
    Capability {
        driver: [u8; 16], card: [u8; 32], bus_info: [u8; 32],
        version: u32, capabilities: u32, device_caps: u32, reserved: [u32; 3]
    }
    FmtDesc {
        index: u32, kind: u32, flags: u32, description: [u8; 32],
        pixelformat: u32, mbus_code: u32, reserved: [u32; 3]
    }
    /// `size`: width and height, or minimum, maximum and step of the width, then of the height.
    FrmSizeEnum { index: u32, pixel_format: u32, kind: u32, size: [u32; 6], reserved: [u32; 2] }
    /// `interval`: one fraction, or minimum, maximum and step.
    FrmIvalEnum {
        index: u32, pixel_format: u32, width: u32, height: u32, kind: u32,
        interval: [[u32; 2]; 3], reserved: [u32; 2]
    }
    PixFormat {
        width: u32, height: u32, pixelformat: u32, field: u32, bytesperline: u32, sizeimage: u32,
        colorspace: u32, private: u32, flags: u32, ycbcr_enc: u32, quantization: u32, xfer_func: u32
    }
    Format { kind: u32, align: u32, pix: PixFormat, rest: [u32; 38] }
    /// `planes`: sizeimage and bytesperline of each, and what is reserved. `num_planes` is the lowest of four bytes.
    FormatMplane {
        kind: u32, align: u32, width: u32, height: u32, pixelformat: u32, field: u32, colorspace: u32,
        planes: [[u32; 5]; 8], num_planes: u32, rest: [u32; 4]
    }
    Plane { bytesused: u32, length: u32, offset: u64, data_offset: u32, reserved: [u32; 11] }
    Input {
        index: u32, name: [u8; 32], kind: u32, audioset: u32, tuner: u32, std: u64, status: u32, capabilities: u32,
        reserved: [u32; 3]
    }
    Standard { index: u32, id: u64, name: [u8; 24], period: [u32; 2], lines: u32, reserved: [u32; 4] }
    /// `v4l2_bt_timings`: the pixel clock in two words, what is not used here in `rest`.
    DvTimings {
        kind: u32, width: u32, height: u32, interlaced: u32, polarities: u32, pixelclock: [u32; 2],
        porches: [u32; 9], rest: [u32; 17]
    }
    Edid { pad: u32, start_block: u32, blocks: u32, reserved: [u32; 5], data: *mut u8 }
    Event {
        kind: u32, align: u32, changes: u32, payload: [u32; 15], pending: u32, sequence: u32,
        timestamp: libc::timespec, id: u32, reserved: [u32; 8]
    }
    EventSubscription { kind: u32, id: u32, flags: u32, reserved: [u32; 5] }
    StreamParm { kind: u32, capability: u32, mode: u32, interval: [u32; 2], rest: [u32; 46] }
    RequestBuffers { count: u32, kind: u32, memory: u32, capabilities: u32, reserved: u32 }
    Buffer {
        index: u32, kind: u32, bytesused: u32, flags: u32, field: u32, timestamp: libc::timeval,
        timecode: [u32; 4], sequence: u32, memory: u32, offset: u64, length: u32, reserved: [u32; 2]
    }
    /// `rect`: left, top, width, height.
    Selection { kind: u32, target: u32, flags: u32, rect: [u32; 4], reserved: [u32; 9] }
    Control { id: u32, value: i32 }
    /// `range`: minimum, maximum, step, default.
    QueryCtrl { id: u32, kind: u32, name: [u8; 32], range: [i32; 4], flags: u32, reserved: [u32; 2] }
    QueryExtCtrl {
        id: u32, kind: u32, name: [u8; 32], range: [i64; 4], flags: u32,
        elem_size: u32, elems: u32, nr_of_dims: u32, dims: [u32; 4], reserved: [u32; 32]
    }
    /// `label`: a name or, in its first 8 bytes, an integer.
    QueryMenu { id: u32, index: u32, label: [u8; 32], reserved: u32 }
    /// `value`: 32 or 64 bits of integer, or a pointer.
    #[repr(packed)]
    ExtControl { id: u32, size: u32, reserved: u32, value: i64 }
    ExtControls {
        which: u32, count: u32, error_idx: u32, request_fd: u32, reserved: u32, controls: *mut ExtControl
    }
}

const fn request<T>(direction: u32, number: u32) -> u32 {
    direction << 30 | (size_of::<T>() as u32) << 16 | (b'V' as u32) << 8 | number
}

pub(crate) const QUERYCAP: u32 = request::<Capability>(2, 0);
pub(crate) const ENUM_FMT: u32 = request::<FmtDesc>(3, 2);
pub(crate) const G_FMT: u32 = request::<Format>(3, 4);
pub(crate) const S_FMT: u32 = request::<Format>(3, 5);
pub(crate) const REQBUFS: u32 = request::<RequestBuffers>(3, 8);
pub(crate) const QUERYBUF: u32 = request::<Buffer>(3, 9);
pub(crate) const QBUF: u32 = request::<Buffer>(3, 15);
pub(crate) const DQBUF: u32 = request::<Buffer>(3, 17);
pub(crate) const STREAMON: u32 = request::<c_int>(1, 18);
pub(crate) const STREAMOFF: u32 = request::<c_int>(1, 19);
pub(crate) const G_PARM: u32 = request::<StreamParm>(3, 21);
pub(crate) const S_PARM: u32 = request::<StreamParm>(3, 22);
pub(crate) const G_INPUT: u32 = request::<i32>(2, 38);
pub(crate) const S_INPUT: u32 = request::<i32>(3, 39);
pub(crate) const G_CTRL: u32 = request::<Control>(3, 27);
pub(crate) const S_CTRL: u32 = request::<Control>(3, 28);
pub(crate) const QUERYCTRL: u32 = request::<QueryCtrl>(3, 36);
pub(crate) const QUERYMENU: u32 = request::<QueryMenu>(3, 37);
pub(crate) const G_STD: u32 = request::<u64>(2, 23);
pub(crate) const S_STD: u32 = request::<u64>(1, 24);
pub(crate) const ENUMSTD: u32 = request::<Standard>(3, 25);
pub(crate) const ENUMINPUT: u32 = request::<Input>(3, 26);
pub(crate) const G_EDID: u32 = request::<Edid>(3, 40);
pub(crate) const S_EDID: u32 = request::<Edid>(3, 41);
pub(crate) const QUERYSTD: u32 = request::<u64>(2, 63);
pub(crate) const S_DV_TIMINGS: u32 = request::<DvTimings>(3, 87);
pub(crate) const G_DV_TIMINGS: u32 = request::<DvTimings>(3, 88);
pub(crate) const DQEVENT: u32 = request::<Event>(2, 89);
pub(crate) const SUBSCRIBE_EVENT: u32 = request::<EventSubscription>(1, 90);
pub(crate) const QUERY_DV_TIMINGS: u32 = request::<DvTimings>(2, 99);
pub(crate) const S_SELECTION: u32 = request::<Selection>(3, 95);
pub(crate) const TRY_FMT: u32 = request::<Format>(3, 64);
pub(crate) const G_EXT_CTRLS: u32 = request::<ExtControls>(3, 71);
pub(crate) const S_EXT_CTRLS: u32 = request::<ExtControls>(3, 72);
pub(crate) const ENUM_FRAMESIZES: u32 = request::<FrmSizeEnum>(3, 74);
pub(crate) const ENUM_FRAMEINTERVALS: u32 = request::<FrmIvalEnum>(3, 75);
pub(crate) const QUERY_EXT_CTRL: u32 = request::<QueryExtCtrl>(3, 103);

pub(crate) const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
pub(crate) const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
pub(crate) const BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
pub(crate) const BUF_TYPE_VIDEO_OUTPUT_MPLANE: u32 = 10;
pub(crate) const MEMORY_MMAP: u32 = 1;
pub(crate) const FIELD_NONE: u32 = 1;
pub(crate) const FIELD_INTERLACED: u32 = 4;
pub(crate) const FIELD_SEQ_TB: u32 = 5;
pub(crate) const FIELD_SEQ_BT: u32 = 6;
pub(crate) const FIELD_ALTERNATE: u32 = 7;
pub(crate) const EVENT_SOURCE_CHANGE: u32 = 5;
/// `V4L2_EVENT_SRC_CH_RESOLUTION`.
pub(crate) const RESOLUTION_CHANGED: u32 = 1;
/// Capabilities of inputs.
pub(crate) const IN_CAP_DV_TIMINGS: u32 = 2;
pub(crate) const IN_CAP_STD: u32 = 4;
pub(crate) const IN_ST_NO_SIGNAL: u32 = 2;
/// `V4L2_STD_PAL` and `V4L2_STD_NTSC`.
pub(crate) const STD_PAL: u64 = 0xff;
pub(crate) const STD_NTSC: u64 = 0xb000;
/// Kinds of sizes and intervals.
pub(crate) const DISCRETE: u32 = 1;
pub(crate) const STEPWISE: u32 = 3;
pub(crate) const BUF_CAP_SUPPORTS_MMAP: u32 = 1;
pub(crate) const BUF_CAP_SUPPORTS_ORPHANED_BUFS: u32 = 0x10;
pub(crate) const CAP_TIMEPERFRAME: u32 = 0x1000;

pub(crate) mod cap {
    pub(crate) const VIDEO_CAPTURE: u32 = 1;
    pub(crate) const VIDEO_OUTPUT: u32 = 2;
    pub(crate) const VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
    pub(crate) const VIDEO_M2M_MPLANE: u32 = 0x4000;
    pub(crate) const EXT_PIX_FORMAT: u32 = 0x20_0000;
    pub(crate) const META_CAPTURE: u32 = 0x80_0000;
    pub(crate) const STREAMING: u32 = 0x400_0000;
    pub(crate) const DEVICE_CAPS: u32 = 0x8000_0000;
}

pub(crate) mod buf_flag {
    pub(crate) const QUEUED: u32 = 2;
    pub(crate) const DONE: u32 = 4;
    pub(crate) const KEYFRAME: u32 = 8;
    pub(crate) const ERROR: u32 = 0x40;
    pub(crate) const TIMESTAMP_MONOTONIC: u32 = 0x2000;
    pub(crate) const TIMESTAMP_COPY: u32 = 0x4000;
}

pub(crate) mod ctrl_flag {
    pub(crate) const READ_ONLY: u32 = 4;
    pub(crate) const UPDATE: u32 = 8;
    pub(crate) const INACTIVE: u32 = 0x10;
    pub(crate) const WRITE_ONLY: u32 = 0x40;
    pub(crate) const VOLATILE: u32 = 0x80;
    pub(crate) const HAS_PAYLOAD: u32 = 0x100;
    pub(crate) const EXECUTE_ON_WRITE: u32 = 0x200;
    pub(crate) const NEXT_COMPOUND: u32 = 0x4000_0000;
    pub(crate) const NEXT: u32 = 0x8000_0000;
}

/// Text in a fixed field, cut to leave a final zero.
pub(crate) fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let length = text.len().min(N - 1);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    field
}
