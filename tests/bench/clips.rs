//! A camera's 720p at 30 pictures a second that shows a still scene, a panning one and a busy one, all with the noise of a sensor.

use std::time::Duration;

use porthole::frame::Resolution;
use porthole::h264::{I420Picture, SamplePlane};

#[path = "photographs.rs"]
mod photographs;

pub const WIDTH: usize = 1280;
pub const HEIGHT: usize = 720;
pub const FPS: usize = 30;
/// Time from one picture to the next.
pub const TIME: Duration = Duration::from_micros(33_333);
/// Size of the photographs that the camera pans over.
const WIDE: (usize, usize) = (1920, 1080);
/// What a sensor of a webcam adds in a room at most, in either direction.
const NOISE: i16 = 3;

/// Y, U and V of a picture, without padding.
pub type Planes = [Vec<u8>; 3];

/// The scenes by name, and how each is made.
pub struct Scenes(Vec<Vec<u8>>);

impl Scenes {
    pub const NAMES: [&str; 3] = ["still", "panning", "busy"];

    pub fn new() -> Self {
        Self(photographs::photographs(WIDE.0, WIDE.1))
    }

    /// So many pictures of a scene.
    pub fn clip(&self, name: &str, pictures: usize) -> Vec<Planes> {
        let (step, scenes) = match name {
            "still" => (0, 1),
            "panning" => (3, 1),
            _ => (24, self.0.len()),
        };
        (0..pictures)
            .map(|number| {
                // A busy scene changes every second.
                let scene = &self.0[number / FPS % scenes];
                let most = WIDE.0 - WIDTH;
                let at = number * step % (2 * most);
                window(scene, at.min(2 * most - at) & !1, number as u32)
            })
            .collect()
    }
}

/// As encoders take it.
pub fn picture(planes: &Planes) -> I420Picture<'_> {
    let plane = |index: usize, stride| SamplePlane { data: &planes[index][..], stride };
    let resolution = Resolution::new(WIDTH as u16, HEIGHT as u16);
    I420Picture::new(resolution, [plane(0, WIDTH), plane(1, WIDTH / 2), plane(2, WIDTH / 2)]).unwrap()
}

/// What the camera sees of a photograph in YUYV from this column on, with noise of its own in each picture.
fn window(yuyv: &[u8], column: usize, number: u32) -> Planes {
    let mut state = number.wrapping_mul(2_654_435_761) | 1;
    let mut noisy = |sample: u8| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // The sum of two is nearer to what sensors do than one.
        let part = |bits: u32| (bits % (NOISE as u32 + 1)) as i16;
        (i16::from(sample) + part(state >> 8) - part(state >> 20)).clamp(0, 255) as u8
    };
    let rows: Vec<&[u8]> = (0..HEIGHT).map(|row| &yuyv[(row * WIDE.0 + column) * 2..][..WIDTH * 2]).collect();
    let luma = rows.iter().flat_map(|row| row.iter().step_by(2)).map(|sample| noisy(*sample)).collect();
    let mut chroma = |offset: usize| {
        let even = rows.iter().step_by(2);
        even.flat_map(|row| row[offset..].iter().step_by(4)).map(|sample| noisy(*sample)).collect()
    };
    [luma, chroma(1), chroma(3)]
}

/// As a camera of that kind gives it: a JPEG of quality 80.
pub fn jpeg(planes: &Planes) -> Vec<u8> {
    turbojpeg::compress_yuv(yuv_image(&planes.concat()), 80).unwrap().to_vec()
}

/// As libjpeg-turbo takes it, of planes one after the other.
pub fn yuv_image(planes: &[u8]) -> turbojpeg::YuvImage<&[u8]> {
    let subsamp = turbojpeg::Subsamp::Sub2x2;
    turbojpeg::YuvImage { pixels: planes, width: WIDTH, align: 1, height: HEIGHT, subsamp }
}
