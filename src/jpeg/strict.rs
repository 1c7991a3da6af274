//! Decodes a JPEG to find out whether its picture data is whole, where no marker tells.
//!
//! The picture is decoded at an eighth of its size: all of its coefficients are read, and hardly a pixel is computed. libjpeg-turbo
//! reports data that ends early, and data that is left over.
#![forbid(unsafe_code)]

use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

/// Decodes pictures and keeps its memory for the next one.
#[derive(Debug)]
pub(super) struct StrictDecoder {
    decompressor: Decompressor,
    pixels: Vec<u8>,
}

impl StrictDecoder {
    /// # Errors
    /// When libjpeg-turbo cannot be set up.
    pub(super) fn new() -> Result<Self, turbojpeg::Error> {
        let mut decompressor = Decompressor::new()?;
        decompressor.set_scaling_factor(ScalingFactor::ONE_EIGHTH)?;
        Ok(Self { decompressor, pixels: Vec::new() })
    }

    /// Whether the JPEG is decoded to its end without a complaint.
    pub(super) fn is_whole(&mut self, jpeg: &[u8]) -> bool {
        let Ok(header) = self.decompressor.read_header(jpeg) else { return false };
        let [width, height] = [header.width, header.height].map(|side| ScalingFactor::ONE_EIGHTH.scale(side));
        self.pixels.resize(width * height, 0);
        let pixels = &mut self.pixels[..];
        let image = Image { pixels, width, pitch: width, height, format: PixelFormat::GRAY };
        self.decompressor.decompress(jpeg, image).is_ok()
    }
}
