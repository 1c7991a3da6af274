//! A camera: what it is, what it offers, what is set, and which code answers which ioctl.
//!
//! What belongs to one open descriptor (buffers, streaming) is in `stream.rs`.
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::content::{Format, Pixel, Scene};
use crate::inputs::Inputs;
use crate::spec::{Mode, Parm, Spec};
use crate::stream::Stream;
use crate::videodev::{self as vd, cap};
use crate::{controls, inputs, locked};
use fakecam_table::{Counter, Setting, Table, hang};
use interpose::{Answer, ensure};

pub(crate) struct Device {
    pub(crate) spec: Spec,
    pub(crate) table: Table,
    settings: Mutex<Settings>,
    /// What frames are drawn on, taken by the thread that does. Its 2 MB are not allocated for every opening: this is the
    /// memory of the program under test, whose heap would grow by another 2 MB whenever their old place was cut up.
    pub(crate) canvas: Mutex<Vec<u8>>,
}

/// What S_FMT and S_PARM set. Like the controls it lasts until the camera is unplugged.
pub(crate) struct Settings {
    pub(crate) format: Format,
    /// In frames per 1000 seconds.
    rate: u32,
    /// Of the last format streamed, kept for the pictures already rendered.
    scene: Option<Arc<Scene>>,
    pub(crate) inputs: Inputs,
    life: u64,
}

impl Device {
    pub(crate) fn new(spec: Spec) -> Result<Self, String> {
        let table = Table::open(&spec.table).map_err(|error| format!("{}: {error}", spec.table))?;
        let settings = Mutex::new(Settings::new(&spec, table.counter(Counter::Unplugs)));
        Ok(Self { spec, table, settings, canvas: Mutex::default() })
    }

    pub(crate) fn is_plugged(&self) -> bool {
        self.table.setting(Setting::Unplug) == 0
    }

    /// Changes whenever the camera is pulled out; what was opened before is dead.
    pub(crate) fn life(&self) -> u64 {
        self.table.counter(Counter::Unplugs)
    }

    pub(crate) fn minor(&self) -> u32 {
        if self.table.minor() == 0 { self.spec.minor } else { self.table.minor() }
    }

    pub(crate) fn path(&self) -> String {
        format!("{}{}", self.spec.stem, self.minor())
    }

    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        let mut settings = locked(&self.settings);
        if settings.life != self.life() {
            *settings = Settings::new(&self.spec, self.life());
        }
        settings
    }

    pub(crate) fn reset_controls_once(&self) {
        if self.table.controls_need_reset() {
            controls::reset(&self.table);
        }
    }

    /// Simulates a driver that does not come back from this call for a while.
    pub(crate) fn hang(&self, call: u32) {
        if self.table.setting(Setting::HangWhere) == call {
            self.table.add(Counter::Hangs, 1);
            thread::sleep(Duration::from_millis(self.table.setting(Setting::HangMs).into()));
        }
    }

    pub(crate) fn check_busy(&self) -> Answer {
        ensure(self.table.setting(Setting::Busy) == 0, libc::EBUSY)
    }

    /// The error a setting asks for.
    pub(crate) fn errno(&self, setting: Setting) -> Answer {
        let errno = self.table.setting(setting);
        ensure(errno == 0, errno as c_int)
    }

    /// Nanoseconds between frames.
    pub(crate) fn period(&self) -> u64 {
        let (setting, set) = (self.table.setting(Setting::FpsMilli), self.settings().rate);
        1_000_000_000_000 / u64::from(if setting == 0 { set } else { setting }.max(1))
    }
}

impl Settings {
    fn new(spec: &Spec, life: u64) -> Self {
        let Mode { pixel, least, rates, .. } = &spec.modes[0];
        let format = spec.format(pixel, *least);
        Self { format, rate: rates[0], scene: None, inputs: Inputs::new(spec.signal), life }
    }

    /// The input has changed: the first format applies again.
    pub(crate) fn refit(&mut self, device: &Device) {
        let Mode { pixel, least, rates, .. } = &device.spec.modes[0];
        (self.format, self.rate) = (device.spec.format(pixel, *least), rates[0]);
    }

    pub(crate) fn scene_and_rate(&mut self) -> (Arc<Scene>, u32) {
        let format = self.format;
        let scene = self.scene.take().filter(|scene| scene.format == format);
        let scene = scene.unwrap_or_else(|| Arc::new(Scene::new(format)));
        (self.scene.insert(scene).clone(), self.rate)
    }
}

/// The value of [`Setting::HangWhere`] for a request. Those that `stream.rs` lets hang are not here.
pub(crate) fn hang_of(request: u32) -> Option<u32> {
    match request {
        vd::QUERYCAP => Some(hang::QUERYCAP),
        vd::ENUM_FMT => Some(hang::ENUM_FMT),
        vd::S_FMT => Some(hang::S_FMT),
        vd::REQBUFS => Some(hang::REQBUFS),
        vd::QUERYCTRL | vd::QUERY_EXT_CTRL => Some(hang::QUERYCTRL),
        vd::G_CTRL | vd::G_EXT_CTRLS => Some(hang::G_CTRL),
        vd::S_CTRL | vd::S_EXT_CTRLS => Some(hang::S_CTRL),
        vd::S_PARM => Some(hang::S_PARM),
        vd::QUERYBUF => Some(hang::QUERYBUF),
        vd::QBUF => Some(hang::QBUF),
        vd::ENUMINPUT => Some(hang::ENUMINPUT),
        vd::QUERY_DV_TIMINGS => Some(hang::QUERY_DV_TIMINGS),
        _ => None,
    }
}

/// Answers an ioctl on a descriptor of a camera.
///
/// # Safety
/// `argument` is null or points to what the kernel's ABI says this request needs.
pub(crate) unsafe fn ioctl(stream: &Stream, fd: c_int, request: u32, argument: *mut c_void) -> Answer {
    stream.device.table.add(Counter::Ioctls, 1);
    stream.device.table.add(Counter::Querycaps, (request == vd::QUERYCAP).into());
    hang_of(request).into_iter().for_each(|call| stream.device.hang(call));
    stream.check_alive(request)?;
    ensure(!argument.is_null(), libc::EFAULT)?;
    let device = stream.device;
    ensure(device.spec.captures() || request == vd::QUERYCAP, libc::ENOTTY)?;
    // SAFETY: as the caller promises; each function below names the type that belongs to its request.
    unsafe {
        match request {
            vd::QUERYCAP => query_cap(device, &mut *argument.cast()),
            vd::ENUM_FMT => enum_formats(device, &mut *argument.cast()),
            vd::ENUM_FRAMESIZES => enum_sizes(device, &mut *argument.cast()),
            vd::ENUM_FRAMEINTERVALS => enum_intervals(device, &mut *argument.cast()),
            vd::G_FMT | vd::TRY_FMT | vd::S_FMT if device.spec.is_multiplanar() => {
                multiplanar_format(stream, request, &mut *argument.cast())
            }
            vd::G_FMT => get_format(device, &mut *argument.cast()),
            vd::TRY_FMT => try_format(device, &mut *argument.cast()).map(drop),
            vd::S_FMT => set_format(stream, &mut *argument.cast()),
            vd::G_PARM => get_parm(device, &mut *argument.cast()),
            vd::S_PARM => set_parm(device, &mut *argument.cast()),
            vd::ENUMINPUT
            | vd::G_INPUT
            | vd::S_INPUT
            | vd::ENUMSTD
            | vd::G_STD
            | vd::S_STD
            | vd::QUERYSTD
            | vd::QUERY_DV_TIMINGS
            | vd::G_DV_TIMINGS
            | vd::S_DV_TIMINGS
            | vd::G_EDID
            | vd::S_EDID => inputs::ioctl(device, request, argument),
            vd::SUBSCRIBE_EVENT => stream.subscribe(&*argument.cast()),
            vd::DQEVENT => stream.dequeue_event(fd, &mut *argument.cast()),
            vd::REQBUFS => stream.request_buffers(&mut *argument.cast()),
            vd::QUERYBUF => stream.query(&mut *argument.cast()),
            vd::QBUF => stream.enqueue(&mut *argument.cast()),
            vd::DQBUF => stream.dequeue(fd, &mut *argument.cast()),
            vd::STREAMON => stream.start(*argument.cast()),
            vd::STREAMOFF => stream.stop(fd, *argument.cast()),
            _ => controls::ioctl(device, request, argument),
        }
    }
}

pub(crate) fn is_capture(device: &Device, kind: u32) -> Answer {
    let own = match device.spec.is_multiplanar() {
        true => vd::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        false => vd::BUF_TYPE_VIDEO_CAPTURE,
    };
    ensure(kind == own, libc::EINVAL)
}

pub(crate) fn query_cap(device: &Device, out: &mut vd::Capability) -> Answer {
    let Spec { driver, card, bus, caps, .. } = &device.spec;
    *out = vd::Capability::default();
    (out.driver, out.card, out.bus_info) = (vd::text(driver), vd::text(card), vd::text(bus));
    out.version = 6 << 16 | 1 << 8;
    out.device_caps = caps | cap::EXT_PIX_FORMAT;
    out.capabilities = out.device_caps | cap::DEVICE_CAPS;
    Ok(())
}

/// Those modes at `index` of an enumeration.
fn nth<T>(mut items: impl Iterator<Item = T>, index: u32) -> Answer<T> {
    items.nth(index as usize).ok_or(libc::EINVAL)
}

fn pixel(fourcc: u32) -> Answer<&'static Pixel> {
    Pixel::find(&fourcc.to_le_bytes()).ok_or(libc::EINVAL)
}

fn enum_formats(device: &Device, out: &mut vd::FmtDesc) -> Answer {
    is_capture(device, out.kind)?;
    let modes = &device.spec.modes;
    let first_of_its_kind = |at: &usize| !modes[..*at].iter().any(|before| before.pixel == modes[*at].pixel);
    let pixel = modes[nth((0..modes.len()).filter(first_of_its_kind), out.index)?].pixel;
    *out = vd::FmtDesc { index: out.index, kind: out.kind, ..Default::default() };
    out.flags = u32::from(pixel.is_compressed()); // V4L2_FMT_FLAG_COMPRESSED
    out.description = vd::text(pixel.name);
    out.pixelformat = u32::from_le_bytes(pixel.fourcc);
    Ok(())
}

fn enum_sizes(device: &Device, out: &mut vd::FrmSizeEnum) -> Answer {
    // The signal has one size.
    ensure(inputs::forced_size(device).is_none(), libc::ENOTTY)?;
    let mode = nth(device.spec.of(pixel(out.pixel_format)?), out.index)?;
    *out = vd::FrmSizeEnum { index: out.index, pixel_format: out.pixel_format, ..Default::default() };
    let ([w, h], [max_w, max_h], [step_w, step_h]) = (mode.least, mode.largest, mode.step);
    (out.kind, out.size) = match mode.least == mode.largest {
        true => (vd::DISCRETE, [w, h, 0, 0, 0, 0]),
        false => (vd::STEPWISE, [w, max_w, step_w, h, max_h, step_h]),
    };
    Ok(())
}

fn enum_intervals(device: &Device, out: &mut vd::FrmIvalEnum) -> Answer {
    ensure(inputs::forced_size(device).is_none(), libc::ENOTTY)?;
    let size = [out.width, out.height];
    let mut modes = device.spec.of(pixel(out.pixel_format)?);
    let mode = modes.find(|mode| mode.fit(size) == size).ok_or(libc::EINVAL)?;
    let intervals: Vec<_> = mode.rates.iter().map(|&rate| interval(rate)).collect();
    out.reserved = [0; 2];
    (out.kind, out.interval) = match (mode.any_rate, out.index) {
        (true, 0) => (vd::STEPWISE, [intervals[1], intervals[0], intervals[1]]),
        (true, _) => return Err(libc::EINVAL),
        (false, index) => (vd::DISCRETE, [nth(intervals.into_iter(), index)?, [0; 2], [0; 2]]),
    };
    Ok(())
}

/// Seconds as a fraction in lowest terms.
fn interval(rate: u32) -> [u32; 2] {
    let divisor = (1..=1000).rev().find(|divisor| 1000 % divisor == 0 && rate.is_multiple_of(*divisor));
    let divisor = divisor.unwrap_or(1);
    [1000 / divisor, rate / divisor]
}

fn pix(format: &Format) -> vd::PixFormat {
    let Format { pixel, width, height, stride, bytes, .. } = *format;
    let mut pix =
        vd::PixFormat { width, height, bytesperline: stride, sizeimage: bytes, ..Default::default() };
    pix.pixelformat = u32::from_le_bytes(pixel.fourcc);
    pix.field = format.field;
    // JPEG or sRGB; full or limited range; the encoding of BT.601; the transfer function of sRGB
    (pix.colorspace, pix.quantization) = if pixel.is_jpeg() { (7, 1) } else { (8, 2) };
    (pix.ycbcr_enc, pix.xfer_func) = (1, 2);
    pix
}

fn get_format(device: &Device, out: &mut vd::Format) -> Answer {
    is_capture(device, out.kind)?;
    out.pix = pix(&device.settings().format);
    Ok(())
}

fn try_format<'a>(device: &'a Device, out: &mut vd::Format) -> Answer<(&'a Mode, Format)> {
    is_capture(device, out.kind)?;
    let forced = inputs::forced_size(device);
    if let Some(size) = forced {
        let (mode, format) = device.spec.fit(out.pix.pixelformat, size);
        let format = device.spec.format(format.pixel, size);
        out.pix = pix(&format);
        return Ok((mode, format));
    }
    let wish = match device.table.setting(Setting::RefuseFmt) {
        0 => [out.pix.width, out.pix.height],
        1 => return Err(libc::EINVAL),
        _ => [1, 1],
    };
    let chosen = device.spec.fit(out.pix.pixelformat, wish);
    out.pix = pix(&chosen.1);
    Ok(chosen)
}

fn set_format(stream: &Stream, out: &mut vd::Format) -> Answer {
    stream.check_idle()?;
    let (mode, format) = try_format(stream.device, out)?;
    let mut settings = stream.device.settings();
    (settings.format, settings.rate) = (format, mode.rates[0]);
    Ok(())
}

/// G_FMT, TRY_FMT and S_FMT of a multi-planar camera.
fn multiplanar_format(stream: &Stream, request: u32, out: &mut vd::FormatMplane) -> Answer {
    let device = stream.device;
    let mut single = vd::Format { kind: out.kind, ..Default::default() };
    (single.pix.width, single.pix.height) = (out.width, out.height);
    single.pix.pixelformat = out.pixelformat;
    let format = match request {
        vd::G_FMT => {
            is_capture(device, out.kind)?;
            device.settings().format
        }
        vd::TRY_FMT => try_format(device, &mut single)?.1,
        _ => {
            set_format(stream, &mut single)?;
            device.settings().format
        }
    };
    let Format { pixel, width, height, field, .. } = format;
    *out = vd::FormatMplane { kind: out.kind, width, height, field, ..Default::default() };
    out.pixelformat = u32::from_le_bytes(pixel.fourcc);
    let memory = format.memory();
    out.num_planes = memory.len() as u32;
    for (plane, [stride, bytes]) in out.planes.iter_mut().zip(memory) {
        (plane[0], plane[1]) = (bytes + device.spec.data_offset, stride);
    }
    Ok(())
}

fn get_parm(device: &Device, out: &mut vd::StreamParm) -> Answer {
    is_capture(device, out.kind)?;
    ensure(device.spec.parm != Parm::None, libc::ENOTTY)?;
    *out = vd::StreamParm { kind: out.kind, ..Default::default() };
    out.capability = vd::CAP_TIMEPERFRAME;
    out.interval = if device.spec.parm == Parm::Zero { [0; 2] } else { interval(device.settings().rate) };
    Ok(())
}

fn set_parm(device: &Device, out: &mut vd::StreamParm) -> Answer {
    is_capture(device, out.kind)?;
    ensure(device.spec.parm != Parm::None, libc::ENOTTY)?;
    let mut settings = device.settings();
    let Format { pixel, width, height, .. } = settings.format;
    let (mode, _) = device.spec.fit(u32::from_le_bytes(pixel.fourcc), [width, height]);
    settings.rate = mode.fit_rate(out.interval);
    drop(settings);
    get_parm(device, out)
}
