//! What the camera says it is: a camera terminal into a processing unit into the host, one MJPEG format.
//!
//! The numbers of interfaces, entities and endpoints are decided here; [`crate::device`] answers by them.
use crate::controls::{CAMERA_CONTROLS, PROCESSING_CONTROLS};
use crate::stream::Transport;
use crate::usb::{self, Descriptor, descriptor, total_length};
use crate::uvc::{self, vc, vs};

/// Interfaces, 3.5: one to control, one to stream.
pub(crate) const CONTROL_INTERFACE: u8 = 0;
pub(crate) const STREAMING_INTERFACE: u8 = 1;
/// Entities, 3.7.2: numbers are free but for 0.
pub(crate) const CAMERA_TERMINAL: u8 = 1;
pub(crate) const PROCESSING_UNIT: u8 = 2;
const OUTPUT_TERMINAL: u8 = 3;
/// The endpoint that frames come from.
pub(crate) const VIDEO_ENDPOINT: u8 = 1;

/// Picture sizes, in the order of their frame indices, which begin with 1.
pub(crate) const SIZES: [(u16, u16); 2] = [(640, 480), (1280, 720)];
/// Frame intervals in units of 100 ns: 30, 15 and 5 frames a second.
pub(crate) const INTERVALS: [u32; 3] = [333_333, 666_666, 2_000_000];
/// Most bytes a frame may take: several times what pictures of this content need.
pub(crate) const MAX_FRAME: u32 = 512 * 1024;
/// Bytes in an isochronous packet, one each microframe: the most a packet may have without being one of several.
pub(crate) const ISOCHRONOUS_PACKET: u16 = 1024;
/// Bytes in a bulk packet at high speed: USB 2.0, 5.8.3.
const BULK_PACKET: u16 = 512;
/// For tests, by the owner of the vendor id.
const VENDOR_AND_PRODUCT: [u16; 2] = [0x1209, 0x0001];
/// `bMaxPower`, in units of 2 mA.
const MAX_POWER: u8 = 250;

/// Strings by their index, USB 2.0, 9.6.7; the serial number comes after them.
const STRINGS: [&str; 2] = ["Porthole", "Test Camera"];
const MANUFACTURER: u8 = 1;
const PRODUCT: u8 = 2;
const SERIAL: u8 = 3;

/// USB 2.0, 9.6.1.
pub(crate) fn device() -> Vec<u8> {
    Descriptor::new(descriptor::DEVICE)
        .u16(usb::BCD_USB)
        .bytes(&usb::MISCELLANEOUS_CLASS)
        .bytes(&[usb::CONTROL_PACKET])
        .u16(VENDOR_AND_PRODUCT[0])
        .u16(VENDOR_AND_PRODUCT[1])
        .u16(0x0100) // the device's own release
        .bytes(&[MANUFACTURER, PRODUCT, SERIAL])
        .bytes(&[1]) // configurations
        .done()
}

/// USB 2.0, 9.6.2: what would be different at full speed.
pub(crate) fn device_qualifier() -> Vec<u8> {
    Descriptor::new(descriptor::DEVICE_QUALIFIER)
        .u16(usb::BCD_USB)
        .bytes(&usb::MISCELLANEOUS_CLASS)
        .bytes(&[usb::CONTROL_PACKET, 1, 0])
        .done()
}

/// USB 2.0, 9.6.7. Index 0 lists the languages.
pub(crate) fn string(index: u8, serial: &str) -> Option<Vec<u8>> {
    let text = match index {
        0 => return Some(Descriptor::new(descriptor::STRING).u16(usb::ENGLISH).done()),
        SERIAL => serial,
        _ => STRINGS.get(usize::from(index) - 1)?,
    };
    let string = Descriptor::new(descriptor::STRING);
    Some(text.encode_utf16().fold(string, Descriptor::u16).done())
}

/// USB 2.0, 9.6.3: the one configuration, with everything in it.
pub(crate) fn configuration(transport: Transport) -> Vec<u8> {
    let interfaces = 2;
    let head = Descriptor::new(descriptor::CONFIGURATION)
        .u16(0) // total length
        .bytes(&[interfaces, 1, 0, usb::BUS_POWERED, MAX_POWER])
        .done();
    // 3.6: the two interfaces are one function.
    let function = Descriptor::new(descriptor::INTERFACE_ASSOCIATION)
        .bytes(&[CONTROL_INTERFACE, interfaces])
        .bytes(&[uvc::CC_VIDEO, uvc::SC_VIDEO_INTERFACE_COLLECTION, 0, PRODUCT])
        .done();
    let streaming = match transport {
        // 3.8: alternate setting 0 takes no bandwidth, so setting 1 is what starts the stream.
        Transport::Isochronous => [
            interface(STREAMING_INTERFACE, 0, 0, uvc::SC_VIDEOSTREAMING),
            video_streaming(),
            interface(STREAMING_INTERFACE, 1, 1, uvc::SC_VIDEOSTREAMING),
            endpoint(usb::ISOCHRONOUS_ASYNCHRONOUS, ISOCHRONOUS_PACKET),
        ],
        Transport::Bulk => [
            interface(STREAMING_INTERFACE, 0, 1, uvc::SC_VIDEOSTREAMING),
            video_streaming(),
            endpoint(usb::BULK, BULK_PACKET),
            vec![],
        ],
    };
    let control = [interface(CONTROL_INTERFACE, 0, 0, uvc::SC_VIDEOCONTROL), video_control()];
    total_length([head, function, control.concat(), streaming.concat()].concat(), 2)
}

/// USB 2.0, 9.6.5.
fn interface(number: u8, alternate: u8, endpoints: u8, subclass: u8) -> Vec<u8> {
    Descriptor::new(descriptor::INTERFACE)
        .bytes(&[number, alternate, endpoints, uvc::CC_VIDEO, subclass, 0, PRODUCT])
        .done()
}

/// USB 2.0, 9.6.6. An isochronous one is served every microframe; bulk has no use for the interval.
fn endpoint(attributes: u8, packet: u16) -> Vec<u8> {
    let interval = u8::from(attributes == usb::ISOCHRONOUS_ASYNCHRONOUS);
    Descriptor::new(descriptor::ENDPOINT)
        .bytes(&[VIDEO_ENDPOINT | usb::IN, attributes])
        .u16(packet)
        .bytes(&[interval])
        .done()
}

/// 3.7.2: the entities and how they are connected.
fn video_control() -> Vec<u8> {
    let header = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vc::HEADER])
        .u16(uvc::BCD_UVC)
        .u16(0) // total length
        .u32(uvc::CLOCK_HZ)
        .bytes(&[1, STREAMING_INTERFACE])
        .done();
    // 3.7.2.3
    let camera = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vc::INPUT_TERMINAL, CAMERA_TERMINAL])
        .u16(uvc::ITT_CAMERA)
        .bytes(&[0, 0]) // goes with no output terminal, has no name
        .bytes(&[0; 6]) // no zoom: no focal lengths
        .bytes(&[CAMERA_CONTROLS.len() as u8])
        .bytes(&CAMERA_CONTROLS)
        .done();
    // 3.7.2.5
    let processing = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vc::PROCESSING_UNIT, PROCESSING_UNIT, CAMERA_TERMINAL])
        .u16(0) // no digital zoom
        .bytes(&[PROCESSING_CONTROLS.len() as u8])
        .bytes(&PROCESSING_CONTROLS)
        .bytes(&[0, 0]) // no name, no analog video standard
        .done();
    // 3.7.2.2
    let output = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vc::OUTPUT_TERMINAL, OUTPUT_TERMINAL])
        .u16(uvc::TT_STREAMING)
        .bytes(&[0, PROCESSING_UNIT, 0])
        .done();
    total_length([header, camera, processing, output].concat(), 5)
}

/// 3.9.2: the format, its sizes and rates. MJPEG's part is in the payload specification for it, 3.1.
fn video_streaming() -> Vec<u8> {
    let header = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vs::INPUT_HEADER, 1])
        .u16(0) // total length
        .bytes(&[VIDEO_ENDPOINT | usb::IN, 0, OUTPUT_TERMINAL])
        .bytes(&[0, 0, 0]) // no still pictures, no trigger
        .bytes(&[1, 0]) // one byte of controls for the format, none of them
        .done();
    let format = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vs::FORMAT_MJPEG, 1, SIZES.len() as u8])
        .bytes(&[0, 1]) // frames differ in size; the first is the default
        .bytes(&[0, 0, 0, 0]) // square pixels, not interlaced, free to copy
        .done();
    let frames = SIZES.iter().zip(1..).flat_map(|(&(width, height), index)| frame(index, width, height));
    let colors =
        Descriptor::new(uvc::CS_INTERFACE).bytes(&[vs::COLORFORMAT]).bytes(&uvc::COLORS_OF_JFIF).done();
    total_length([header, format, frames.collect(), colors].concat(), 4)
}

fn frame(index: u8, width: u16, height: u16) -> Vec<u8> {
    let bits_per_second = |interval: u32| MAX_FRAME * 8 * (10_000_000 / interval);
    let [fastest, .., slowest] = INTERVALS;
    let frame = Descriptor::new(uvc::CS_INTERFACE)
        .bytes(&[vs::FRAME_MJPEG, index, 0])
        .u16(width)
        .u16(height)
        .u32(bits_per_second(slowest))
        .u32(bits_per_second(fastest))
        .u32(MAX_FRAME)
        .u32(fastest)
        .bytes(&[INTERVALS.len() as u8]);
    INTERVALS.into_iter().fold(frame, Descriptor::u32).done()
}
