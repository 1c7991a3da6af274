//! Calls to openh264's decoder. Which access units it gets belongs to [`super::decoder`].
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_void};
use std::ptr::{self, NonNull};

use openh264_sys2 as library;

use super::super::picture::{I420Picture, SamplePlane};
use crate::frame::Resolution;

/// An open decoder of the library.
pub(super) struct LibraryDecoder {
    decoder: NonNull<library::ISVCDecoder>,
    /// What it decoded last; valid until it is called again.
    shown: Option<DecodedPlanes>,
}

/// A picture in the memory of the library.
struct DecodedPlanes {
    resolution: Resolution,
    planes: [DecodedPlane; 3],
}

#[derive(Clone, Copy)]
struct DecodedPlane {
    data: NonNull<u8>,
    stride: usize,
    /// From the first sample to the last one.
    len: usize,
}

// SAFETY: the decoder has no state of a thread, and is used by one thread at a time: every method takes `&mut self`.
unsafe impl Send for LibraryDecoder {}

/// Calls a function of a decoder's table.
macro_rules! call {
    ($decoder:expr, $function:ident, $missing:expr, $($argument:expr),*) => {{
        let decoder = $decoder.as_ptr();
        match (**decoder).$function {
            Some(function) => function(decoder, $($argument),*),
            None => $missing,
        }
    }};
}

impl LibraryDecoder {
    /// # Errors
    /// The library's number.
    pub(super) fn open() -> Result<Self, i64> {
        const MISSING: c_long = -1;
        let mut decoder = ptr::null_mut();
        // SAFETY: the pointer is written to, and read only after success.
        let code = unsafe { library::source::APILoader::WelsCreateDecoder(&raw mut decoder) };
        #[allow(clippy::useless_conversion, reason = "c_long has 32 bits on 32-bit boards")]
        let number = |code: c_long| i64::from(code);
        let decoder = NonNull::new(decoder).filter(|_| code == 0).ok_or(number(code))?;
        // From here on dropping it destroys the decoder.
        let opened = Self { decoder, shown: None };
        let mut silent: c_int = library::WELS_LOG_QUIET;
        let option: *mut c_void = (&raw mut silent).cast();
        let parameters = library::SDecodingParam {
            // A damaged picture is not shown.
            eEcActiveIdc: library::ERROR_CON_DISABLE,
            sVideoProperty: library::SVideoProperty {
                eVideoBsType: library::VIDEO_BITSTREAM_AVC,
                ..library::SVideoProperty::default()
            },
            ..library::SDecodingParam::default()
        };
        // SAFETY: the decoder is alive; the option has the type that is expected for it; the library copies the parameters.
        unsafe {
            call!(opened.decoder, SetOption, MISSING, library::DECODER_OPTION_TRACE_LEVEL, option);
            match call!(opened.decoder, Initialize, MISSING, &raw const parameters) {
                0 => Ok(opened),
                code => Err(number(code)),
            }
        }
    }

    /// Decodes one access unit. Afterwards there may be a picture. With `in_order` it is the one of this access unit; without, the
    /// library waits for pictures that are shown before it.
    ///
    /// # Errors
    /// The library's bits, of type DECODING_STATE.
    pub(super) fn decode(&mut self, annex_b: &[u8], in_order: bool) -> Result<(), i64> {
        self.shown = None;
        let length = c_int::try_from(annex_b.len()).map_err(|_| i64::from(INVALID))?;
        let mut planes = [ptr::null_mut::<u8>(); 3];
        let mut info = library::SBufferInfo::default();
        // SAFETY: the decoder is alive; the bytes live until the call returns; it writes three pointers and the description.
        let state = unsafe {
            let (planes, info) = (planes.as_mut_ptr(), &raw mut info);
            call!(self.decoder, DecodeFrameNoDelay, INVALID, annex_b.as_ptr(), length, planes, info)
        };
        accepted(state)?;
        if info.iBufferStatus != 1 && in_order {
            // SAFETY: as above. It takes the picture that the library kept back, if there is one.
            let state =
                unsafe { call!(self.decoder, FlushFrame, INVALID, planes.as_mut_ptr(), &raw mut info) };
            accepted(state)?;
        }
        if info.iBufferStatus == 1 {
            // SAFETY: the description is plain data, and has this member only.
            let buffer = unsafe { info.UsrData.sSystemBuffer };
            self.shown = Some(described(planes, &buffer).ok_or(i64::from(INVALID))?);
        }
        Ok(())
    }

    /// The picture of the access unit that was decoded last, if it gave one.
    pub(super) fn picture(&self) -> Option<I420Picture<'_>> {
        let DecodedPlanes { resolution, planes } = self.shown.as_ref()?;
        I420Picture::new(
            *resolution,
            planes.map(|DecodedPlane { data, stride, len }| {
                // SAFETY: the library described the plane so. It stays until the next call, which takes `&mut self`.
                SamplePlane { data: unsafe { std::slice::from_raw_parts(data.as_ptr(), len) }, stride }
            }),
        )
    }
}

const INVALID: library::DECODING_STATE = library::dsInvalidArgument;

fn accepted(state: library::DECODING_STATE) -> Result<(), i64> {
    if state & !library::dsFramePending == library::dsErrorFree { Ok(()) } else { Err(state.into()) }
}

/// What the library says that it decoded, if that can be.
fn described(planes: [*mut u8; 3], buffer: &library::SSysMEMBuffer) -> Option<DecodedPlanes> {
    let side = |length: c_int| u16::try_from(length).ok().filter(|length| *length > 0);
    let resolution = Resolution::new(side(buffer.iWidth)?, side(buffer.iHeight)?);
    let luma = (usize::from(resolution.width), usize::from(resolution.height));
    let chroma = (luma.0.div_ceil(2), luma.1.div_ceil(2));
    let plane = |data: *mut u8, (width, rows): (usize, usize), stride: c_int| {
        let stride = usize::try_from(stride).ok().filter(|stride| *stride >= width)?;
        Some(DecodedPlane { data: NonNull::new(data)?, stride, len: stride * (rows - 1) + width })
    };
    let [y, u, v] = planes;
    let [y_stride, chroma_stride] = buffer.iStride;
    let planes =
        [plane(y, luma, y_stride)?, plane(u, chroma, chroma_stride)?, plane(v, chroma, chroma_stride)?];
    (buffer.iFormat == library::videoFormatI420).then_some(DecodedPlanes { resolution, planes })
}

impl Drop for LibraryDecoder {
    fn drop(&mut self) {
        // SAFETY: it is alive until here, and nothing uses it afterwards. The first call does nothing if it was not initialised.
        unsafe {
            call!(self.decoder, Uninitialize, 0,);
            library::source::APILoader::WelsDestroyDecoder(self.decoder.as_ptr());
        }
    }
}
