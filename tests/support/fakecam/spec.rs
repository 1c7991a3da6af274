//! The text that says which cameras there are. Only its grammar and plain data belong here.
//!
//! `FAKECAM` holds one camera per `;`, each a list of `key=value` separated by blanks:
//!
//! | key | value | default |
//! |---|---|---|
//! | `path` | `/dev/videoN` | required |
//! | `table` | file made by `Table::create` | required |
//! | `card`, `driver`, `bus` | what QUERYCAP answers, `_` being a blank in `card` | as a UVC camera |
//! | `by-id`, `by-path` | name of a link in `/dev/v4l/by-id`, `/dev/v4l/by-path` | none |
//! | `kind` | `capture`, `multiplanar`, `encoder`, `metadata`, `output`; the latter two answer QUERYCAP only | `capture` |
//! | `parm` | what S_PARM and G_PARM do: `set`, `none` (there are none), `zero` (they answer 0/0) | `set` |
//! | `inputs` | inputs with `,` between, `_` being a blank: `NAME:camera`, `NAME:hdmi`, `NAME:analog` | one camera |
//! | `signal` | what an `hdmi` input receives at first, as `WIDTHxHEIGHT` | `1280x720` |
//! | `field` | `none`, `interlaced`, `seq_tb`, `seq_bt`, `alternate` | `none` |
//! | `data_offset` | of the planes of a multi-planar buffer | 0 |
//! | `formats` | modes with `,` between, see below; the first is set at first; an encoder takes them | 720p and VGA at 30; YU12 and NV12 up to 1920x1920 |
//! | `stride_pad` | bytes added to each line of raw formats | 0 |
//! | `start_ms` | added to the time between STREAMON and the first frame (one period) | 0 |
//! | `codec_controls` | `false`: none, although it offers H.264; a UVC camera has its own | `true` |
//! | `hides_node` | `true`: fstat of an open descriptor does not tell the node, as under libcamerify | `false` |
//!
//! A mode is `FOURCC:WIDTHxHEIGHT@RATES` or `FOURCC:stepwise:WxH-WxH/WxH@RATES` (least, largest, step).
//! Rates are frames per second, listed as `30/15/7.5`, the first the default, or a range `1-60`.
use std::str::FromStr;

use crate::content::{Format, Pixel};
use crate::videodev::{self as vd, cap};

type Parsed<T> = Result<T, String>;

/// One camera, as the environment describes it.
#[derive(Default)]
pub(crate) struct Spec {
    /// What stands before the number of `path`.
    pub(crate) stem: String,
    pub(crate) minor: u32,
    pub(crate) table: String,
    pub(crate) card: String,
    pub(crate) driver: String,
    pub(crate) bus: String,
    /// Full paths of the links to the node.
    pub(crate) links: Vec<String>,
    /// `V4L2_CAP_*` of the node.
    pub(crate) caps: u32,
    pub(crate) modes: Vec<Mode>,
    pub(crate) stride_pad: u32,
    pub(crate) start_ms: u64,
    pub(crate) hides_node: bool,
    pub(crate) parm: Parm,
    pub(crate) inputs: Vec<(String, InputKind)>,
    pub(crate) signal: [u32; 2],
    /// `V4L2_FIELD_*`.
    pub(crate) field: u32,
    pub(crate) data_offset: u32,
    lacks_codec_controls: bool,
}

/// What S_PARM and G_PARM do.
#[derive(Default, PartialEq)]
pub(crate) enum Parm {
    #[default]
    Set,
    None,
    Zero,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum InputKind {
    Camera,
    Hdmi,
    Analog,
}

/// A pixel format with one size, or a range of sizes, and its rates.
pub(crate) struct Mode {
    pub(crate) pixel: &'static Pixel,
    /// Width and height; least and largest are the same unless it is a range.
    pub(crate) least: [u32; 2],
    pub(crate) largest: [u32; 2],
    pub(crate) step: [u32; 2],
    /// In frames per 1000 seconds.
    pub(crate) rates: Vec<u32>,
    /// The rates are the two ends of a range.
    pub(crate) any_rate: bool,
}

pub(crate) fn parse(text: &str) -> Parsed<Spec> {
    let mut spec = Spec {
        card: "Fake Cam".into(),
        driver: "uvcvideo".into(),
        bus: "usb-fakecam".into(),
        caps: cap::VIDEO_CAPTURE | cap::STREAMING,
        signal: [1280, 720],
        field: vd::FIELD_NONE,
        ..Spec::default()
    };
    let mut formats = "";
    for word in text.split_whitespace() {
        let (key, value) = halves(word, '=')?;
        match key {
            "path" => {
                spec.stem = value.trim_end_matches(|c: char| c.is_ascii_digit()).into();
                spec.minor = number(&value[spec.stem.len()..])?;
            }
            "table" => spec.table = value.into(),
            "card" => spec.card = value.replace('_', " "),
            "driver" => spec.driver = value.into(),
            "bus" => spec.bus = value.into(),
            "by-id" | "by-path" => spec.links.push(format!("/dev/v4l/{key}/{value}")),
            "kind" => {
                spec.caps = match value {
                    "capture" => cap::VIDEO_CAPTURE | cap::STREAMING,
                    "multiplanar" => cap::VIDEO_CAPTURE_MPLANE | cap::STREAMING,
                    "encoder" => cap::VIDEO_M2M_MPLANE | cap::STREAMING,
                    "metadata" => cap::META_CAPTURE | cap::STREAMING,
                    "output" => cap::VIDEO_OUTPUT,
                    _ => return Err(format!("unknown kind {value}")),
                }
            }
            "formats" => formats = value,
            "stride_pad" => spec.stride_pad = number(value)?,
            "start_ms" => spec.start_ms = number(value)?,
            "parm" => {
                spec.parm = match value {
                    "set" => Parm::Set,
                    "none" => Parm::None,
                    "zero" => Parm::Zero,
                    _ => return Err(format!("unknown parm {value}")),
                }
            }
            "inputs" => spec.inputs = value.split(',').map(input).collect::<Parsed<_>>()?,
            "signal" => spec.signal = size(value)?,
            "field" => {
                spec.field = match value {
                    "none" => vd::FIELD_NONE,
                    "interlaced" => vd::FIELD_INTERLACED,
                    "seq_tb" => vd::FIELD_SEQ_TB,
                    "seq_bt" => vd::FIELD_SEQ_BT,
                    "alternate" => vd::FIELD_ALTERNATE,
                    _ => return Err(format!("unknown field {value}")),
                }
            }
            "data_offset" => spec.data_offset = number(value)?,
            "codec_controls" => spec.lacks_codec_controls = value == "false",
            "hides_node" => spec.hides_node = value == "true",
            _ => return Err(format!("unknown key {key}")),
        }
    }
    if spec.stem.is_empty() || spec.table.is_empty() {
        return Err(format!("path or table missing in {text:?}"));
    }
    formats = match (formats, spec.is_encoder()) {
        ("", true) => "YU12:stepwise:32x32-1920x1920/2x2@1-120,NV12:stepwise:32x32-1920x1920/2x2@1-120",
        ("", false) => "MJPG:1280x720@30,MJPG:640x480@30,YUYV:640x480@30",
        (formats, _) => formats,
    };
    spec.modes = formats.split(',').map(mode).collect::<Parsed<_>>()?;
    Ok(spec)
}

impl Spec {
    pub(crate) fn captures(&self) -> bool {
        self.caps & (cap::VIDEO_CAPTURE | cap::VIDEO_CAPTURE_MPLANE) != 0
    }

    pub(crate) fn is_encoder(&self) -> bool {
        self.caps & cap::VIDEO_M2M_MPLANE != 0
    }

    pub(crate) fn has_codec_controls(&self) -> bool {
        let gives_h264 = self.is_encoder() || self.modes.iter().any(|mode| mode.pixel.is_h264());
        gives_h264 && !self.lacks_codec_controls
    }

    pub(crate) fn is_multiplanar(&self) -> bool {
        self.caps & cap::VIDEO_CAPTURE_MPLANE != 0
    }

    /// The mode and format a driver would choose: the pixel format asked for or else the first, the size with
    /// the most area in common.
    pub(crate) fn fit(&self, fourcc: u32, wish: [u32; 2]) -> (&Mode, Format) {
        let asked = Pixel::find(&fourcc.to_le_bytes()).filter(|&pixel| self.of(pixel).next().is_some());
        let pixel = asked.unwrap_or(self.modes[0].pixel);
        let area = |[width, height]: [u32; 2]| u64::from(width) * u64::from(height);
        let distance = |mode: &&Mode| {
            let size = mode.fit(wish);
            area(wish) + area(size) - 2 * area([wish[0].min(size[0]), wish[1].min(size[1])])
        };
        let best = self.of(pixel).min_by_key(distance).unwrap_or(&self.modes[0]);
        (best, self.format(pixel, best.fit(wish)))
    }

    pub(crate) fn format(&self, pixel: &'static Pixel, size: [u32; 2]) -> Format {
        Format::new(pixel, size, self.stride_pad, self.field)
    }

    /// All modes of a pixel format.
    pub(crate) fn of(&self, pixel: &'static Pixel) -> impl Iterator<Item = &Mode> {
        self.modes.iter().filter(move |mode| mode.pixel == pixel)
    }
}

impl Mode {
    /// The size nearest to the wish.
    pub(crate) fn fit(&self, wish: [u32; 2]) -> [u32; 2] {
        std::array::from_fn(|i| {
            let inside = wish[i].clamp(self.least[i], self.largest[i]);
            inside - (inside - self.least[i]) % self.step[i]
        })
    }

    /// The rate whose interval is nearest to this one.
    pub(crate) fn fit_rate(&self, [numerator, denominator]: [u32; 2]) -> u32 {
        if numerator == 0 || denominator == 0 {
            return self.rates[0];
        }
        let wish = f64::from(denominator) * 1000.0 / f64::from(numerator);
        if self.any_rate {
            return (wish as u32).clamp(self.rates[0], self.rates[1]);
        }
        let distance = |rate: u32| (1.0 / f64::from(rate) - 1.0 / wish).abs();
        let nearest = self.rates.iter().min_by(|a, b| distance(**a).total_cmp(&distance(**b)));
        *nearest.unwrap_or(&self.rates[0])
    }
}

fn mode(text: &str) -> Parsed<Mode> {
    let (fourcc, rest) = halves(text, ':')?;
    let (sizes, rates) = halves(rest, '@')?;
    let pixel = Pixel::find(fourcc.as_bytes()).ok_or_else(|| format!("unknown format {text}"))?;
    let [least, largest, step] = match sizes.strip_prefix("stepwise:") {
        Some(range) => {
            let (ends, step) = halves(range, '/')?;
            let (least, largest) = halves(ends, '-')?;
            [size(least)?, size(largest)?, size(step)?]
        }
        None => [size(sizes)?, size(sizes)?, [1, 1]],
    };
    let any_rate = rates.contains('-');
    let milli = |rate: &str| Ok((number::<f64>(rate)? * 1000.0).round() as u32);
    let rates = rates.split(['/', '-']).map(milli).collect::<Parsed<Vec<u32>>>()?;
    Ok(Mode { pixel, least, largest, step, rates, any_rate })
}

fn input(text: &str) -> Parsed<(String, InputKind)> {
    let (name, kind) = halves(text, ':')?;
    let kind = match kind {
        "camera" => InputKind::Camera,
        "hdmi" => InputKind::Hdmi,
        "analog" => InputKind::Analog,
        _ => return Err(format!("unknown kind of input {kind}")),
    };
    Ok((name.replace('_', " "), kind))
}

fn size(text: &str) -> Parsed<[u32; 2]> {
    let (width, height) = halves(text, 'x')?;
    Ok([number(width)?, number(height)?])
}

fn halves(text: &str, at: char) -> Parsed<(&str, &str)> {
    text.split_once(at).ok_or_else(|| format!("no '{at}' in {text:?}"))
}

fn number<T: FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("not a number: {text:?}"))
}
