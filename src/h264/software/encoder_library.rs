//! Calls to openh264's encoder. What it is told, and when, belongs to [`super::encoder`].
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use openh264_sys2 as library;

use super::super::picture::I420Picture;
use super::complexity::EncodingComplexity;
use crate::frame::Resolution;

/// What an encoder is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncoderParameters {
    /// Both sides are even.
    pub(super) resolution: Resolution,
    /// Pictures a second.
    pub(super) frame_rate: f32,
    pub(super) bits_per_second: u32,
    /// The finest quantizer: a picture that is this good gets no more bits.
    pub(super) finest_quantizer: u8,
    /// The coarsest quantizer: instead of a picture that would be worse, none is sent.
    pub(super) coarsest_quantizer: u8,
    /// Slices of a picture, each encoded by a thread.
    pub(super) slices: u16,
    pub(super) complexity: EncodingComplexity,
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PictureFate {
    Key,
    Other,
    /// Not encoded, to keep the bit rate.
    Skipped,
}

/// An open encoder of the library.
pub(super) struct LibraryEncoder {
    encoder: NonNull<library::ISVCEncoder>,
    /// Filled by the library. On the heap, because it has 8 kB.
    info: Box<library::SFrameBSInfo>,
}

// SAFETY: the encoder has no state of a thread, and is used by one thread at a time: every method takes `&mut self`.
unsafe impl Send for LibraryEncoder {}

/// Calls a function of an encoder's table.
macro_rules! call {
    ($encoder:expr, $function:ident, $($argument:expr),*) => {{
        let encoder = $encoder.as_ptr();
        match (**encoder).$function {
            Some(function) => function(encoder, $($argument),*),
            None => library::cmUnknownReason,
        }
    }};
}

impl LibraryEncoder {
    /// # Errors
    /// The library's number.
    pub(super) fn open(parameters: &EncoderParameters) -> Result<Self, c_int> {
        let mut encoder = ptr::null_mut();
        // SAFETY: the pointer is written to, and read only after success.
        let code = unsafe { library::source::APILoader::WelsCreateSVCEncoder(&raw mut encoder) };
        let encoder = NonNull::new(encoder).filter(|_| code == 0).ok_or(code)?;
        // From here on dropping it destroys the encoder.
        let mut opened = Self { encoder, info: Box::default() };
        let mut silent = library::WELS_LOG_QUIET;
        opened.set(library::ENCODER_OPTION_TRACE_LEVEL, &mut silent)?;
        let mut wanted = library::SEncParamExt::default();
        // SAFETY: the encoder is alive, the structure is the library's own and plain data.
        succeeded(unsafe { call!(opened.encoder, GetDefaultParams, &raw mut wanted) })?;
        fill(&mut wanted, parameters);
        // SAFETY: as above; the library copies what it needs.
        succeeded(unsafe { call!(opened.encoder, InitializeExt, &raw const wanted) })?;
        let mut format = library::videoFormatI420;
        opened.set(library::ENCODER_OPTION_DATAFORMAT, &mut format)?;
        Ok(opened)
    }

    /// Encodes a picture of the size that it was opened with, or a pixel more on each side. Its byte stream is put at the end of
    /// `out`.
    ///
    /// # Errors
    /// The library's number. The encoder must not be used again.
    pub(super) fn encode(
        &mut self,
        picture: &I420Picture<'_>,
        size: Resolution,
        milliseconds: i64,
        out: &mut Vec<u8>,
    ) -> Result<PictureFate, c_int> {
        let [y, u, v] = picture.planes();
        let stride = |stride: usize| c_int::try_from(stride).map_err(|_| library::cmInitParaError);
        let mut source = library::SSourcePicture {
            iColorFormat: library::videoFormatI420,
            iStride: [stride(y.stride)?, stride(u.stride)?, stride(v.stride)?, 0],
            // The library does not write to the picture.
            pData: [
                y.data.as_ptr().cast_mut(),
                u.data.as_ptr().cast_mut(),
                v.data.as_ptr().cast_mut(),
                ptr::null_mut(),
            ],
            iPicWidth: size.width.into(),
            iPicHeight: size.height.into(),
            uiTimeStamp: milliseconds,
            bPsnrY: false,
            bPsnrU: false,
            bPsnrV: false,
        };
        // SAFETY: the planes have all rows of a picture of this size or larger (`I420Picture`), and live until the call returns.
        succeeded(unsafe { call!(self.encoder, EncodeFrame, &raw mut source, &raw mut *self.info) })?;
        let fate = match self.info.eFrameType {
            library::videoFrameTypeSkip => return Ok(PictureFate::Skipped),
            library::videoFrameTypeIDR => PictureFate::Key,
            library::videoFrameTypeInvalid => return Err(library::cmUnknownReason),
            _ => PictureFate::Other,
        };
        let layers = usize::try_from(self.info.iLayerNum).unwrap_or(0);
        for layer in self.info.sLayerInfo.iter().take(layers) {
            let units = usize::try_from(layer.iNalCount).unwrap_or(0);
            if units == 0 || layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
                continue;
            }
            // SAFETY: the library wrote as many lengths as there are units.
            let lengths = unsafe { std::slice::from_raw_parts(layer.pNalLengthInByte, units) };
            let bytes = lengths.iter().map(|length| usize::try_from(*length).unwrap_or(0)).sum();
            // SAFETY: the units of a layer stand one behind the other, and stay until the next call.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(layer.pBsBuf, bytes) });
        }
        Ok(fate)
    }

    /// The next picture becomes a key frame.
    pub(super) fn force_key_frame(&mut self) -> Result<(), c_int> {
        // SAFETY: the encoder is alive.
        succeeded(unsafe { call!(self.encoder, ForceIntraFrame, true) })
    }

    pub(super) fn set_bits_per_second(&mut self, bits_per_second: u32) -> Result<(), c_int> {
        let layer = library::SPATIAL_LAYER_ALL;
        let mut rate = library::SBitrateInfo { iLayer: layer, iBitrate: whole(bits_per_second) };
        self.set(library::ENCODER_OPTION_BITRATE, &mut rate)
    }

    pub(super) fn set_frame_rate(&mut self, frame_rate: f32) -> Result<(), c_int> {
        let mut frame_rate = frame_rate;
        self.set(library::ENCODER_OPTION_FRAME_RATE, &mut frame_rate)
    }

    pub(super) fn set_complexity(&mut self, complexity: EncodingComplexity) -> Result<(), c_int> {
        let mut mode = mode(complexity);
        self.set(library::ENCODER_OPTION_COMPLEXITY, &mut mode)
    }

    /// Sets an option, whose value has the type that the library expects for it.
    fn set<T>(&mut self, option: library::ENCODER_OPTION, value: &mut T) -> Result<(), c_int> {
        let value: *mut c_void = ptr::from_mut(value).cast();
        // SAFETY: the encoder is alive, and the callers above give each option a value of its type.
        succeeded(unsafe { call!(self.encoder, SetOption, option, value) })
    }
}

impl Drop for LibraryEncoder {
    fn drop(&mut self) {
        // SAFETY: it is alive until here, and nothing uses it afterwards. The first call does nothing if it was not initialised.
        unsafe {
            let _ = call!(self.encoder, Uninitialize,);
            library::source::APILoader::WelsDestroySVCEncoder(self.encoder.as_ptr());
        }
    }
}

fn succeeded(code: c_int) -> Result<(), c_int> {
    if code == library::cmResultSuccess { Ok(()) } else { Err(code) }
}

fn whole(value: u32) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

fn mode(complexity: EncodingComplexity) -> library::ECOMPLEXITY_MODE {
    match complexity {
        EncodingComplexity::Low => library::LOW_COMPLEXITY,
        EncodingComplexity::Medium => library::MEDIUM_COMPLEXITY,
        EncodingComplexity::High => library::HIGH_COMPLEXITY,
    }
}

/// Changes the library's defaults to what a live camera needs.
fn fill(wanted: &mut library::SEncParamExt, parameters: &EncoderParameters) {
    let (width, height) = (parameters.resolution.width.into(), parameters.resolution.height.into());
    let bits = whole(parameters.bits_per_second);
    wanted.iUsageType = library::CAMERA_VIDEO_REAL_TIME;
    (wanted.iPicWidth, wanted.iPicHeight) = (width, height);
    wanted.fMaxFrameRate = parameters.frame_rate;
    wanted.iComplexityMode = mode(parameters.complexity);
    // Key frames come by request, because pictures may be late or missing and the period counts pictures.
    wanted.uiIntraPeriod = 0;
    wanted.iNumRefFrame = 1;
    wanted.bEnableSceneChangeDetect = false;
    wanted.eSpsPpsIdStrategy = library::CONSTANT_ID;
    wanted.iRCMode = library::RC_BITRATE_MODE;
    wanted.iTargetBitrate = bits;
    wanted.bEnableFrameSkip = true;
    wanted.iMinQp = parameters.finest_quantizer.into();
    wanted.iMaxQp = parameters.coarsest_quantizer.into();
    wanted.iMultipleThreadIdc = parameters.slices;
    wanted.bUseLoadBalancing = true;
    let [layer, ..] = &mut wanted.sSpatialLayers;
    (layer.iVideoWidth, layer.iVideoHeight) = (width, height);
    layer.fFrameRate = parameters.frame_rate;
    layer.iSpatialBitrate = bits;
    layer.uiProfileIdc = library::PRO_BASELINE;
    layer.sSliceArgument.uiSliceMode =
        if parameters.slices > 1 { library::SM_FIXEDSLCNUM_SLICE } else { library::SM_SINGLE_SLICE };
    layer.sSliceArgument.uiSliceNum = parameters.slices.into();
    // The planes are those of a JPEG: full range, BT.601, the primaries and transfer function of sRGB (ITU-T H.264, tables E-3
    // to E-5).
    layer.bVideoSignalTypePresent = true;
    layer.bFullRange = true;
    layer.bColorDescriptionPresent = true;
    layer.uiColorPrimaries = library::CP_BT709 as u8;
    layer.uiTransferCharacteristics = library::TRC_IEC61966_2_1 as u8;
    layer.uiColorMatrix = library::CM_SMPTE170M as u8;
}
