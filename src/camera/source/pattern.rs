//! The `pattern` source: a moving test picture, drawn as YUYV so that it is encoded like the picture of a raw camera.
//!
//! It shows colour bars, a grey ramp, a bouncing ball, the time of day in UTC and the frame number. Along the bottom edge
//! the frame number is also a row of squares that programs can read: white, black, then 32 bits, the highest first, white
//! for one. Each square is 1/34 of the width.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::source_trait::{CapturedPicture, OpenedSource, PictureSink, Source};
use crate::camera::error::SourceError;
use crate::camera::settings::{CameraSettings, DEFAULT_RESOLUTION, max_jpeg_bytes};
use crate::camera::wake::{WaitResult, Waker};
use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::jpeg::{Picture, RawPicture};
use crate::status::SourceInfo;

/// 100 % bars in BT.601 video range, as (Y, U, V): white, yellow, cyan, green, magenta, red, blue, black.
const BARS: [(u8, u8, u8); 8] = [
    (235, 128, 128),
    (210, 16, 146),
    (170, 166, 16),
    (145, 54, 34),
    (106, 202, 222),
    (81, 90, 240),
    (41, 240, 110),
    (16, 128, 128),
];
const BLACK: u8 = 16;
const DARK: u8 = 28;
const WHITE: u8 = 235;
const NO_COLOUR: u8 = 128;

/// Squares in the row for programs: two marks and 32 bits.
const SQUARES: usize = 34;

pub(super) struct PatternSource {
    resolution: Resolution,
    interval: Duration,
    canvas: Option<Canvas>,
    /// When the next frame is due.
    due: Timestamp,
    sequence: u32,
}

impl PatternSource {
    pub(super) fn new(settings: &CameraSettings) -> Self {
        let wanted = settings.resolution.unwrap_or(DEFAULT_RESOLUTION);
        Self {
            // Two pixels share their chroma, so the width is even.
            resolution: Resolution::new(wanted.width.next_multiple_of(2), wanted.height),
            interval: Duration::from_secs_f32(1.0 / settings.fps),
            canvas: None,
            due: Timestamp::default(),
            sequence: 0,
        }
    }
}

impl Source for PatternSource {
    fn open(&mut self) -> Result<OpenedSource, SourceError> {
        self.canvas = Some(Canvas::new(self.resolution));
        self.due = Timestamp::now();
        let info = SourceInfo {
            driver: "pattern".into(),
            card: "Test pattern".into(),
            path: "pattern".into(),
            format: PixelFormat::Yuyv,
            resolution: Some(self.resolution),
            fps: 1.0 / self.interval.as_secs_f32(),
            encoding: None,
            capture: None,
        };
        Ok(OpenedSource {
            info,
            max_jpeg_bytes: max_jpeg_bytes(self.resolution),
            has_larger: false,
            is_told_by_picture: false,
        })
    }

    fn next(
        &mut self,
        waker: &Waker,
        deadline: Timestamp,
        sink: &mut PictureSink<'_>,
    ) -> Result<(), SourceError> {
        let woken = waker.wait(&[], Some(deadline.min(self.due))) == WaitResult::Woken;
        let Some(canvas) = self.canvas.as_mut().filter(|_| !woken && Timestamp::now() >= self.due) else {
            return Ok(());
        };
        let late = Timestamp::now().since(self.due).as_micros() / self.interval.as_micros().max(1);
        self.due = self.due.after(self.interval.saturating_mul(late as u32 + 1));
        self.sequence = self.sequence.wrapping_add(late as u32 + 1);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        canvas.draw(self.sequence, since_epoch);
        let raw = RawPicture {
            data: &canvas.pixels,
            format: PixelFormat::Yuyv,
            resolution: self.resolution,
            stride: canvas.stride,
        };
        sink(CapturedPicture { missed: late as u32, ..CapturedPicture::now(Picture::Raw(raw)) });
        Ok(())
    }

    fn close(&mut self) {
        self.canvas = None;
    }
}

/// The picture, and what is needed to restore its background.
struct Canvas {
    width: usize,
    height: usize,
    stride: usize,
    pixels: Vec<u8>,
    /// One row of each zone: bars, ramp, dark.
    zones: [Vec<u8>; 3],
    /// The centre of the ball.
    ball: Option<(usize, usize)>,
}

impl Canvas {
    fn new(resolution: Resolution) -> Self {
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        let row = |colour: &dyn Fn(usize) -> (u8, u8, u8)| -> Vec<u8> {
            (0..width)
                .flat_map(|x| {
                    let (y, u, v) = colour(x);
                    [y, if x % 2 == 0 { u } else { v }]
                })
                .collect()
        };
        let zones = [
            row(&|x| BARS[x * BARS.len() / width]),
            row(&|x| (BLACK + (x * usize::from(WHITE - BLACK) / width) as u8, NO_COLOUR, NO_COLOUR)),
            row(&|_| (DARK, NO_COLOUR, NO_COLOUR)),
        ];
        let mut canvas = Self { width, height, stride: width * 2, pixels: Vec::new(), zones, ball: None };
        canvas.pixels = (0..height).flat_map(|y| canvas.zone(y).to_vec()).collect();
        canvas
    }

    /// The first row of the dark zone.
    fn dark_top(&self) -> usize {
        self.height * 7 / 10
    }

    /// The background of row `y`.
    fn zone(&self, y: usize) -> &[u8] {
        &self.zones[if y >= self.dark_top() { 2 } else { usize::from(y >= self.height * 6 / 10) }]
    }

    fn draw(&mut self, sequence: u32, since_epoch: Duration) {
        self.move_ball(sequence);
        let bits = self.draw_bits(sequence);
        // Two lines of text fill the dark zone: the clock, and the number at half its size.
        let (top, bottom) = (self.dark_top(), self.height - bits);
        let clock = clock(since_epoch);
        let number = format!("#{sequence:08}");
        let scale = ((bottom - top) / 32).min(self.width / (12 * 6 * 2)).max(1);
        self.draw_text(top + scale * 2, scale * 2, &clock);
        self.draw_text(top + scale * 20, scale, &number);
    }

    fn move_ball(&mut self, sequence: u32) {
        let radius = (self.height / 12).max(2);
        if let Some((x, y)) = self.ball.take() {
            for row in y - radius..y + radius {
                let span = (x - radius) / 2 * 4..(x + radius) / 2 * 4;
                let (from, zone) = (row * self.stride, usize::from(row >= self.height * 6 / 10));
                self.pixels[from..][span.clone()].copy_from_slice(&self.zones[zone][span]);
            }
        }
        let (right, floor) =
            (self.width.saturating_sub(radius * 2), self.dark_top().saturating_sub(radius * 2));
        if right == 0 || floor == 0 {
            return; // the picture is too small for a ball
        }
        // The speeds differ, so that the ball covers the whole area.
        let step = sequence as usize * (self.width / 160).max(1);
        let (x, y) = (radius + bounce(step, right), radius + bounce(step * 2 / 3, floor));
        for row in 0..radius * 2 {
            let dy = row.abs_diff(radius);
            let half = (radius * radius).saturating_sub(dy * dy).isqrt();
            let span = (x - half) / 2 * 4..(x + half) / 2 * 4;
            for pair in self.pixels[(y - radius + row) * self.stride..][span].chunks_exact_mut(4) {
                pair.copy_from_slice(&[WHITE, 90, WHITE, 200]);
            }
        }
        self.ball = Some((x, y));
    }

    /// Draws the squares for programs; returns the height of the row.
    fn draw_bits(&mut self, sequence: u32) -> usize {
        let side = self.width / SQUARES;
        let bits = [true, false].into_iter().chain((0..32).rev().map(|bit| sequence >> bit & 1 == 1));
        let luma: Vec<u8> =
            bits.flat_map(|one| std::iter::repeat_n(if one { WHITE } else { BLACK }, side)).collect();
        let rows = side.min(self.height - self.dark_top());
        for row in self.pixels.chunks_exact_mut(self.stride).rev().take(rows) {
            for (pixel, &luma) in row.chunks_exact_mut(2).zip(&luma) {
                pixel[0] = luma;
            }
        }
        rows
    }

    /// Draws `text` centred at row `top`. A dot of the font is `scale` pixels wide and high.
    fn draw_text(&mut self, top: usize, scale: usize, text: &str) {
        let (advance, line) = (scale * (GLYPH_WIDTH + 1), scale * GLYPH_HEIGHT);
        if text.len() * advance > self.width || top + line > self.height {
            return; // the picture is too small for text
        }
        let left = (self.width - text.len() * advance) / 2;
        for y in 0..line {
            let row = &mut self.pixels[(top + y) * self.stride..][..self.stride];
            for (i, glyph) in text.bytes().map(glyph).enumerate() {
                for x in 0..GLYPH_WIDTH * scale {
                    let dot = glyph[y / scale] >> (GLYPH_WIDTH - 1 - x / scale) & 1 == 1;
                    row[(left + i * advance + x) * 2] = if dot { WHITE } else { DARK };
                }
            }
        }
    }
}

/// Moves between 0 and `limit` and back as `step` grows.
fn bounce(step: usize, limit: usize) -> usize {
    let at = step % (limit * 2);
    if at > limit { limit * 2 - at } else { at }
}

/// The time of day in UTC with milliseconds.
fn clock(since_epoch: Duration) -> String {
    let (s, ms) = (since_epoch.as_secs() % 86_400, since_epoch.subsec_millis());
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

const GLYPH_WIDTH: usize = 5;
const GLYPH_HEIGHT: usize = 7;

/// The rows of a character from the top; bit 4 is the leftmost dot.
fn glyph(character: u8) -> [u8; GLYPH_HEIGHT] {
    match character {
        b'0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        b'1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        b'2' => [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
        b'3' => [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
        b'4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        b'5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        b'6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        b'7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        b'8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        b'9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        b':' => [0x00, 0x0c, 0x0c, 0x00, 0x0c, 0x0c, 0x00],
        b'.' => [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c],
        b'#' => [0x0a, 0x0a, 0x1f, 0x0a, 0x1f, 0x0a, 0x0a],
        _ => [0; GLYPH_HEIGHT],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the row of squares.
    fn read_bits(canvas: &Canvas) -> (bool, bool, u32) {
        let side = canvas.width / SQUARES;
        let row = &canvas.pixels[(canvas.height - side / 2 - 1) * canvas.stride..];
        let mut squares = (0..SQUARES).map(|i| row[(i * side + side / 2) * 2] > 128);
        let marks = (squares.next().unwrap(), squares.next().unwrap());
        (marks.0, marks.1, squares.fold(0, |number, bit| number << 1 | u32::from(bit)))
    }

    #[test]
    fn the_number_is_readable_at_every_size() {
        for size in [(1920, 1080), (1280, 720), (640, 480), (320, 240), (160, 120), (102, 30)] {
            let mut canvas = Canvas::new(Resolution::new(size.0, size.1));
            for sequence in [1, 0xdead_beef, u32::MAX] {
                canvas.draw(sequence, Duration::from_millis(86_399_999));
                assert_eq!(read_bits(&canvas), (true, false, sequence), "{size:?}");
            }
        }
    }

    #[test]
    fn every_size_can_be_drawn() {
        for (w, h) in [(2, 1), (2, 2), (4, 100), (100, 1), (34, 20), (16, 16), (2000, 3)] {
            let mut canvas = Canvas::new(Resolution::new(w, h));
            for sequence in 0..300 {
                canvas.draw(sequence, Duration::ZERO);
            }
        }
    }

    #[test]
    fn moving_parts_restore_the_background() {
        let resolution = Resolution::new(640, 480);
        let mut moved = Canvas::new(resolution);
        for sequence in 0..500 {
            moved.draw(sequence, Duration::from_secs(sequence.into()));
        }
        let mut fresh = Canvas::new(resolution);
        fresh.draw(499, Duration::from_secs(499));
        assert!(moved.pixels == fresh.pixels);
    }

    #[test]
    fn the_clock_shows_the_time_of_day() {
        assert_eq!(clock(Duration::from_millis(86_400_000 * 3 + 45_296_007)), "12:34:56.007");
    }
}
