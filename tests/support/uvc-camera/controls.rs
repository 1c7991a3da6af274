//! The settings of the camera: brightness, contrast and the power line's frequency in the processing unit; exposure,
//! automatic or by hand, in the camera terminal. They change nothing in the picture: what was set can be asked for.
use crate::descriptors::{CAMERA_TERMINAL, PROCESSING_UNIT};
use crate::usb::Setup;
use crate::uvc::{INFO_DISABLED_BY_AUTO_MODE, INFO_GET_AND_SET, Refusal, request};

/// `bmControls` of the camera terminal, 3.7.2.3: auto exposure mode (D1) and exposure time (D3).
pub(crate) const CAMERA_CONTROLS: [u8; 3] = [0b1010, 0, 0];
/// `bmControls` of the processing unit, 3.7.2.5: brightness (D0), contrast (D1), power line frequency (D10).
pub(crate) const PROCESSING_CONTROLS: [u8; 2] = [0b11, 0b100];

/// Auto exposure modes, 4.2.2.1.2: by hand, and with the aperture fixed, as it is in every webcam.
const MANUAL: i32 = 1;
const APERTURE_PRIORITY: i32 = 8;

/// What can be said of a control.
struct Control {
    name: &'static str,
    unit: u8,
    /// The selector: A.9.4, A.9.5.
    selector: u8,
    bytes: usize,
    minimum: i32,
    maximum: i32,
    /// The step, or for the exposure mode the set of modes there are.
    resolution: i32,
    default: i32,
}

const EXPOSURE_MODE: usize = 0;
const EXPOSURE_TIME: usize = 1;

const CONTROLS: [Control; 5] = [
    Control {
        name: "auto_exposure",
        unit: CAMERA_TERMINAL,
        selector: 2,
        bytes: 1,
        minimum: MANUAL,
        maximum: APERTURE_PRIORITY,
        resolution: MANUAL | APERTURE_PRIORITY,
        default: APERTURE_PRIORITY,
    },
    // In units of 100 microseconds: 4.2.2.1.4.
    Control {
        name: "exposure_time_absolute",
        unit: CAMERA_TERMINAL,
        selector: 4,
        bytes: 4,
        minimum: 3,
        maximum: 2047,
        resolution: 1,
        default: 250,
    },
    Control {
        name: "brightness",
        unit: PROCESSING_UNIT,
        selector: 2,
        bytes: 2,
        minimum: -64,
        maximum: 64,
        resolution: 1,
        default: 0,
    },
    Control {
        name: "contrast",
        unit: PROCESSING_UNIT,
        selector: 3,
        bytes: 2,
        minimum: 0,
        maximum: 95,
        resolution: 1,
        default: 32,
    },
    // 0 disabled, 1 50 Hz, 2 60 Hz: 4.2.2.3.6.
    Control {
        name: "power_line_frequency",
        unit: PROCESSING_UNIT,
        selector: 5,
        bytes: 1,
        minimum: 0,
        maximum: 2,
        resolution: 1,
        default: 1,
    },
];

/// Where the controls stand. They are at their defaults after each plugging in.
pub(crate) struct Controls([i32; CONTROLS.len()]);

impl Controls {
    pub(crate) fn new() -> Self {
        Self(CONTROLS.map(|control| control.default))
    }

    /// Names with values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, i32)> {
        CONTROLS.iter().zip(self.0).map(|(control, value)| (control.name, value))
    }

    /// Answers a request to `unit`: 4.2.2. `sent` is what came with it.
    pub(crate) fn answer(&mut self, unit: u8, setup: Setup, sent: &[u8]) -> Result<Vec<u8>, Refusal> {
        let selector = (setup.value >> 8) as u8;
        let index = CONTROLS.iter().position(|c| c.unit == unit && c.selector == selector);
        let index = index.ok_or(Refusal::InvalidControl)?;
        let control = &CONTROLS[index];
        let disabled = index == EXPOSURE_TIME && self.0[EXPOSURE_MODE] != MANUAL;
        let bytes = |value: i32| Ok(value.to_le_bytes()[..control.bytes].to_vec());
        match setup.request {
            request::GET_CUR => bytes(self.0[index]),
            request::GET_MIN => bytes(control.minimum),
            request::GET_MAX => bytes(control.maximum),
            request::GET_RES => bytes(control.resolution),
            request::GET_DEF => bytes(control.default),
            request::GET_LEN => Ok((control.bytes as u16).to_le_bytes().to_vec()),
            request::GET_INFO => {
                Ok(vec![INFO_GET_AND_SET | if disabled { INFO_DISABLED_BY_AUTO_MODE } else { 0 }])
            }
            request::SET_CUR if disabled => Err(Refusal::WrongState),
            request::SET_CUR => {
                let value = match *sent {
                    [a] => i32::from(a),
                    [a, b] if control.minimum < 0 => i16::from_le_bytes([a, b]).into(),
                    [a, b] => u16::from_le_bytes([a, b]).into(),
                    [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
                    _ => return Err(Refusal::InvalidRequest),
                };
                let offered = index != EXPOSURE_MODE || matches!(value, MANUAL | APERTURE_PRIORITY);
                if sent.len() != control.bytes
                    || value < control.minimum
                    || value > control.maximum
                    || !offered
                {
                    return Err(Refusal::OutOfRange);
                }
                self.0[index] = value;
                Ok(vec![])
            }
            _ => Err(Refusal::InvalidRequest),
        }
    }
}
