//! Numbers and structures of the USB 2.0 specification that any device needs. Nothing about video belongs here.

/// Standard requests: 9.4, table 9-4.
pub(crate) mod request {
    pub(crate) const GET_STATUS: u8 = 0;
    pub(crate) const CLEAR_FEATURE: u8 = 1;
    pub(crate) const SET_FEATURE: u8 = 3;
    pub(crate) const GET_DESCRIPTOR: u8 = 6;
    pub(crate) const GET_CONFIGURATION: u8 = 8;
    pub(crate) const SET_CONFIGURATION: u8 = 9;
    pub(crate) const GET_INTERFACE: u8 = 10;
    pub(crate) const SET_INTERFACE: u8 = 11;
}

/// Descriptor types: 9.4, table 9-5, and the engineering change notice on interface associations.
pub(crate) mod descriptor {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const CONFIGURATION: u8 = 2;
    pub(crate) const STRING: u8 = 3;
    pub(crate) const INTERFACE: u8 = 4;
    pub(crate) const ENDPOINT: u8 = 5;
    pub(crate) const DEVICE_QUALIFIER: u8 = 6;
    pub(crate) const INTERFACE_ASSOCIATION: u8 = 11;
}

/// `bcdUSB` of a device of this specification: 9.6.1.
pub(crate) const BCD_USB: u16 = 0x0200;
/// Largest packet of endpoint 0 at high speed: 5.5.3.
pub(crate) const CONTROL_PACKET: u8 = 64;
/// Bit of an endpoint's address that says it sends to the host: 9.6.6.
pub(crate) const IN: u8 = 0x80;
/// `bmAttributes` of an endpoint, 9.6.6: isochronous, its clock its own.
pub(crate) const ISOCHRONOUS_ASYNCHRONOUS: u8 = 0b0101;
/// `bmAttributes` of an endpoint, 9.6.6: bulk.
pub(crate) const BULK: u8 = 0b10;
/// `bmAttributes` of a configuration, 9.6.3: powered by the bus. The bit is always set.
pub(crate) const BUS_POWERED: u8 = 0x80;
/// The class that says "look at the interface associations": 9.6.1 as the change notice has it.
pub(crate) const MISCELLANEOUS_CLASS: [u8; 3] = [0xef, 2, 1];
/// US English, the language of the strings: 9.6.7.
pub(crate) const ENGLISH: u16 = 0x0409;

/// What a request is about: `bmRequestType` bits 6 to 5, 9.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Standard,
    Class,
    Other,
}

/// The eight bytes that begin a control transfer: 9.3.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) request: u8,
    pub(crate) value: u16,
    pub(crate) index: u16,
    pub(crate) length: u16,
}

impl Setup {
    pub(crate) fn parse(bytes: [u8; 8]) -> Self {
        let [request_type, request, v0, v1, i0, i1, l0, l1] = bytes;
        Self {
            kind: match request_type >> 5 & 3 {
                0 => Kind::Standard,
                1 => Kind::Class,
                _ => Kind::Other,
            },
            request,
            value: u16::from_le_bytes([v0, v1]),
            index: u16::from_le_bytes([i0, i1]),
            length: u16::from_le_bytes([l0, l1]),
        }
    }
}

/// One descriptor: its length, its type, then little-endian fields (9.5).
pub(crate) struct Descriptor(Vec<u8>);

impl Descriptor {
    pub(crate) fn new(kind: u8) -> Self {
        Self(vec![0, kind])
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// The finished descriptor, with its length put in.
    pub(crate) fn done(mut self) -> Vec<u8> {
        self.0[0] = self.0.len() as u8;
        self.0
    }
}

/// Puts the length of a group of descriptors into the field at `at` of its first one, where such groups have it.
pub(crate) fn total_length(mut group: Vec<u8>, at: usize) -> Vec<u8> {
    let length = (group.len() as u16).to_le_bytes();
    group[at..at + 2].copy_from_slice(&length);
    group
}
