//! A scene as a camera of a desk sees it: textured, still, with the noise of a sensor. Its JPEGs are as large as those of good cameras,
//! whether or not anything moves.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Pictures until the clip begins again.
const PICTURES: u32 = 15;
/// What the sensor adds at most, in either direction.
const NOISE: i32 = 3;

/// The clip as JPEGs of so many bytes at least, one after the other, and the bytes of one of them.
pub fn clip(size: [u16; 2], bytes: usize) -> (Vec<u8>, usize) {
    let first = picture(size, 0);
    let quality =
        (60..100).find(|quality| jpeg(&first, size, *quality).len() >= bytes).expect("a fine quality");
    let clip: Vec<u8> =
        (0..PICTURES).flat_map(|number| jpeg(&picture(size, number), size, quality)).collect();
    let each = clip.len() / PICTURES as usize;
    (clip, each)
}

fn jpeg(rgb: &[u8], [width, height]: [u16; 2], quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(rgb, width, height, ColorType::Rgb).unwrap();
    out
}

/// Patches of colours with grain, which are the same in each picture, and noise, which is not.
fn picture([width, height]: [u16; 2], number: u32) -> Vec<u8> {
    let mut noise = number.wrapping_mul(2_654_435_761) | 1;
    let mut sample = |base: u32| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        // The sum of two is nearer to what sensors do than one.
        let part = |bits: u32| (bits as i32 & 0xff) % (NOISE + 1);
        let noise = part(noise >> 8) - part(noise >> 20);
        (base as i32 + noise).clamp(0, 255) as u8
    };
    let mut rgb = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..u32::from(height) {
        for x in 0..u32::from(width) {
            let patch = hash(x / 80, y / 72);
            let grain = hash(x / 3, y / 3) % 24;
            rgb.extend([0, 8, 16].map(|shift| sample(60 + (patch >> shift) % 140 + grain)));
        }
    }
    rgb
}

fn hash(x: u32, y: u32) -> u32 {
    let mixed = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 15
}
