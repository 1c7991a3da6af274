//! The device: answers control transfers, and hands the rest to the stream.
use crate::controls::Controls;
use crate::descriptors::{self, CONTROL_INTERFACE, STREAMING_INTERFACE, VIDEO_ENDPOINT};
use crate::stream::{Mode, Stream, Transport};
use crate::usb::{self, Kind, Setup, descriptor};
use crate::uvc::{self, Refusal, vc, vs};

/// A camera, plugged in or not.
pub(crate) struct Device {
    pub(crate) stream: Stream,
    pub(crate) controls: Controls,
    /// Commits still to be refused, and those that have been.
    pub(crate) to_refuse: u32,
    pub(crate) refused: u64,
    serial: String,
    configuration: u8,
    alternate: u8,
    last_refusal: Option<Refusal>,
}

/// What a control transfer is answered with; `None` is a stall, which is how a device says no: USB 2.0, 9.2.7.
type Answer = Option<Vec<u8>>;

impl Device {
    pub(crate) fn new(transport: Transport, serial: String) -> Self {
        Self {
            stream: Stream::new(transport),
            controls: Controls::new(),
            to_refuse: 0,
            refused: 0,
            serial,
            configuration: 0,
            alternate: 0,
            last_refusal: None,
        }
    }

    /// As it is when power comes.
    pub(crate) fn power_up(&mut self) {
        self.stream.reset();
        self.controls = Controls::new();
        (self.configuration, self.alternate, self.last_refusal) = (0, 0, None);
    }

    /// From now on it does nothing wrong.
    pub(crate) fn forget_faults(&mut self) {
        self.to_refuse = 0;
        self.stream.stalled = false;
        self.stream.to_spoil = Default::default();
    }

    /// Answers a control transfer.
    pub(crate) fn control(&mut self, setup: Setup, sent: &[u8]) -> Answer {
        let answer = match setup.kind {
            Kind::Standard => self.standard(setup),
            Kind::Class => self.class(setup, sent),
            Kind::Other => None,
        };
        // The host may ask for less than there is: USB 2.0, 9.3.5.
        answer.map(|mut data| {
            data.truncate(setup.length.into());
            data
        })
    }

    /// USB 2.0, 9.4.
    fn standard(&mut self, setup: Setup) -> Answer {
        use usb::request::*;
        let [low, high] = setup.value.to_le_bytes();
        match setup.request {
            GET_DESCRIPTOR => match high {
                descriptor::DEVICE => Some(descriptors::device()),
                descriptor::CONFIGURATION => Some(descriptors::configuration(self.stream.transport)),
                descriptor::STRING => descriptors::string(low, &self.serial),
                descriptor::DEVICE_QUALIFIER => Some(descriptors::device_qualifier()),
                _ => None,
            },
            GET_STATUS => Some(vec![0, 0]),
            GET_CONFIGURATION => Some(vec![self.configuration]),
            SET_CONFIGURATION => {
                self.configuration = low;
                Some(vec![])
            }
            GET_INTERFACE => Some(vec![self.alternate]),
            SET_INTERFACE => {
                if setup.index == STREAMING_INTERFACE.into() {
                    self.alternate = low;
                    match self.stream.transport {
                        Transport::Isochronous if low > 0 => self.stream.start(),
                        _ => self.stream.stop(),
                    }
                }
                Some(vec![])
            }
            // The one way a host has to end a bulk stream is to clear a halt that is not there.
            CLEAR_FEATURE => {
                if setup.index == (VIDEO_ENDPOINT | usb::IN).into() {
                    self.stream.stop();
                }
                Some(vec![])
            }
            SET_FEATURE => Some(vec![]),
            _ => None,
        }
    }

    /// 4.1: requests to an entity of the control interface, or to the streaming interface.
    fn class(&mut self, setup: Setup, sent: &[u8]) -> Answer {
        let [interface, entity] = setup.index.to_le_bytes();
        let selector = (setup.value >> 8) as u8;
        let answer = match (interface, entity) {
            (CONTROL_INTERFACE, 0) if selector == vc::REQUEST_ERROR_CODE_CONTROL => {
                // It is asked for because of an error, and is none itself.
                return match setup.request {
                    uvc::request::GET_CUR => Some(vec![self.last_refusal.map_or(0, |refusal| refusal as u8)]),
                    _ => None,
                };
            }
            (CONTROL_INTERFACE, unit) => self.controls.answer(unit, setup, sent),
            (STREAMING_INTERFACE, 0) => self.negotiate(selector, setup.request, sent),
            _ => Err(Refusal::InvalidControl),
        };
        self.last_refusal = answer.as_ref().err().copied();
        answer.ok()
    }

    /// 4.3.1.1: the host proposes, the device answers with what it would do; a commit settles it.
    fn negotiate(&mut self, selector: u8, request: u8, sent: &[u8]) -> Result<Vec<u8>, Refusal> {
        use uvc::request::*;
        if !matches!(selector, vs::PROBE_CONTROL | vs::COMMIT_CONTROL) {
            return Err(Refusal::InvalidControl);
        }
        match request {
            SET_CUR => {
                if selector == vs::COMMIT_CONTROL && self.to_refuse > 0 {
                    self.to_refuse -= 1;
                    self.refused += 1;
                    return Err(Refusal::OutOfRange);
                }
                self.stream.mode = Mode::wished(sent).ok_or(Refusal::InvalidRequest)?;
                if selector == vs::COMMIT_CONTROL && self.stream.transport == Transport::Bulk {
                    self.stream.start();
                }
                Ok(vec![])
            }
            GET_CUR | GET_MIN | GET_MAX | GET_DEF => Ok(self.stream.mode.probe(self.stream.transport)),
            GET_LEN => Ok((uvc::PROBE_LENGTH as u16).to_le_bytes().to_vec()),
            GET_INFO => Ok(vec![uvc::INFO_GET_AND_SET]),
            _ => Err(Refusal::InvalidRequest),
        }
    }
}
