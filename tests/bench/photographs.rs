//! Photographs as cameras give them.

use std::path::PathBuf;

/// Where Debian's package mate-backgrounds has its photographs.
const PHOTOGRAPHS: &str = "/usr/share/backgrounds/mate/nature";
const AT_MOST: usize = 8;

/// Photographs as a camera of that size would give them.
pub fn photographs(width: usize, height: usize) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(PHOTOGRAPHS).expect("photographs of Debian's package mate-backgrounds");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let decoded = files.iter().filter_map(|file| {
        turbojpeg::decompress(&std::fs::read(file).ok()?, turbojpeg::PixelFormat::RGB).ok()
    });
    let large = decoded.filter(|image| image.width >= width && image.height >= height);
    let frames: Vec<Vec<u8>> = large.take(AT_MOST).map(|image| yuyv(&image, width, height)).collect();
    assert!(frames.len() >= 3, "only {} photographs of {width}x{height} and more", frames.len());
    frames
}

/// The largest part of an image that has the shape wanted, made smaller by taking means, in YUYV (BT.601, full range).
fn yuyv(image: &turbojpeg::Image<Vec<u8>>, width: usize, height: usize) -> Vec<u8> {
    let scale = (image.width as f64 / width as f64).min(image.height as f64 / height as f64);
    let mean = |x: usize, y: usize| {
        let (from_x, to_x) = ((x as f64 * scale) as usize, ((x + 1) as f64 * scale) as usize);
        let (from_y, to_y) = ((y as f64 * scale) as usize, ((y + 1) as f64 * scale) as usize);
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        for y in from_y..to_y.max(from_y + 1) {
            for x in from_x..to_x.max(from_x + 1) {
                let pixel = &image.pixels[y * image.pitch + x * 3..][..3];
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
                count += 1.0;
            }
        }
        sum.map(|sum| sum / count)
    };
    let luma = |[r, g, b]: [f64; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
    let mut out = Vec::with_capacity(width * height * 2);
    for y in 0..height {
        for x in (0..width).step_by(2) {
            let (left, right) = (mean(x, y), mean(x + 1, y));
            let both: Vec<f64> = left.iter().zip(right).map(|(a, b)| (a + b) / 2.0).collect();
            let gray = luma([both[0], both[1], both[2]]);
            let (u, v) = (128.0 + (both[2] - gray) / 1.772, 128.0 + (both[0] - gray) / 1.402);
            out.extend([luma(left), u, luma(right), v].map(|value| value.round().clamp(0.0, 255.0) as u8));
        }
    }
    out
}
