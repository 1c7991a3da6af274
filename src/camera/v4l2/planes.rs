//! The planes of a picture in the memory of a driver, and how its fields become one picture. Pure: calls no device.
//!
//! A multi-planar driver may give each plane memory of its own. The encoder takes the planes where they are. An interlaced driver
//! may give the lines of one field after those of the other. They are copied into their order.
#![forbid(unsafe_code)]

use super::format_ioctls::{DriverFormat, MAX_PLANES};
use crate::jpeg::PicturePlane;

/// A picture in the memory of a driver.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) enum PictureMemory<'a> {
    /// All planes, one after the other.
    Whole(&'a [u8]),
    /// Each plane in memory of its own.
    Planes(&'a [PicturePlane<'a>]),
}

/// A plane in relation to the first one. Layouts: kernel documentation, "YUV Formats".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlaneShape {
    /// Bytes per line: those of the first plane, times the first number, divided by the second.
    bytes_per_line: (usize, usize),
    /// One line for so many lines of the picture.
    lines: usize,
}

const fn shape(times: usize, divided: usize, lines: usize) -> PlaneShape {
    PlaneShape { bytes_per_line: (times, divided), lines }
}

const LUMA: PlaneShape = shape(1, 1, 1);
const PACKED: [PlaneShape; 1] = [LUMA];
const SEMI_420: [PlaneShape; 2] = [LUMA, shape(1, 1, 2)];
const SEMI_422: [PlaneShape; 2] = [LUMA, shape(1, 1, 1)];
const SEMI_444: [PlaneShape; 2] = [LUMA, shape(2, 1, 1)];
const PLANAR_420: [PlaneShape; 3] = [LUMA, shape(1, 2, 2), shape(1, 2, 2)];
const PLANAR_422: [PlaneShape; 3] = [LUMA, shape(1, 2, 1), shape(1, 2, 1)];
const PLANAR_444: [PlaneShape; 3] = [LUMA, shape(1, 1, 1), shape(1, 1, 1)];
const PLANAR_411: [PlaneShape; 3] = [LUMA, shape(1, 4, 1), shape(1, 4, 1)];
const PLANAR_410: [PlaneShape; 3] = [LUMA, shape(1, 4, 4), shape(1, 4, 4)];

/// The planes of a format; one for packed and compressed formats.
fn shapes(fourcc: [u8; 4]) -> &'static [PlaneShape] {
    match &fourcc {
        b"NV12" | b"NV21" | b"NM12" | b"NM21" => &SEMI_420,
        b"NV16" | b"NV61" | b"NM16" | b"NM61" => &SEMI_422,
        b"NV24" | b"NV42" => &SEMI_444,
        b"YU12" | b"YV12" | b"YM12" | b"YM21" => &PLANAR_420,
        b"422P" | b"YM16" | b"YM61" => &PLANAR_422,
        b"YM24" | b"YM42" => &PLANAR_444,
        b"411P" => &PLANAR_411,
        b"YUV9" | b"YVU9" => &PLANAR_410,
        _ => &PACKED,
    }
}

/// The order of two fields that lie one after the other (`V4L2_FIELD_SEQ_TB` and `V4L2_FIELD_SEQ_BT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldOrder {
    /// The field with the first line of the picture comes first.
    TopFirst,
    BottomFirst,
}

impl FieldOrder {
    /// Where line `line` of `lines` lies.
    fn position(self, line: usize, lines: usize) -> usize {
        let is_second = (line % 2 == 1) == (self == Self::TopFirst);
        let first_lines = if self == Self::TopFirst { lines.div_ceil(2) } else { lines / 2 };
        if is_second { first_lines + line / 2 } else { line / 2 }
    }
}

/// How a picture lies in the memory of a driver.
#[derive(Debug)]
pub(super) struct PictureLayout {
    shapes: &'static [PlaneShape],
    height: usize,
    /// Bytes per line of the first plane.
    stride: usize,
    /// The same without padding.
    row: usize,
    /// Bytes per line of each piece of memory, as the driver says; 0 if it does not.
    memory_strides: Vec<usize>,
    fields: Option<FieldOrder>,
}

impl PictureLayout {
    /// The layout of pictures of `format`, with `stride` bytes per line of the first plane, `row` of which are pixels. `None` if
    /// the pieces of memory are not the planes.
    pub(super) fn new(
        format: &DriverFormat,
        (row, stride): (usize, usize),
        fields: Option<FieldOrder>,
    ) -> Option<Self> {
        let shapes = shapes(format.fourcc);
        let memory_strides: Vec<usize> =
            format.planes.iter().map(|plane| plane.bytes_per_line as usize).collect();
        let fits = memory_strides.len() == 1 || memory_strides.len() == shapes.len();
        let height = format.height as usize;
        fits.then_some(Self { shapes, height, stride, row, memory_strides, fields })
    }

    /// Passes the picture in `memory` to `sink`. `woven` is room for a picture whose lines are not in order.
    pub(super) fn pass(
        &self,
        memory: &[&[u8]; MAX_PLANES],
        woven: &mut Vec<u8>,
        sink: impl FnOnce(PictureMemory<'_>),
    ) {
        match (self.fields, self.memory_strides.as_slice()) {
            (None, [_]) => sink(PictureMemory::Whole(memory[0])),
            (None, strides) => {
                let mut planes = [PicturePlane::default(); MAX_PLANES];
                for ((plane, data), stride) in planes.iter_mut().zip(memory).zip(strides) {
                    *plane = PicturePlane { data, stride: *stride };
                }
                sink(PictureMemory::Planes(&planes[..strides.len()]));
            }
            (Some(_), _) => {
                self.bring_together(memory, woven);
                sink(PictureMemory::Whole(woven));
            }
        }
    }

    /// Writes the picture in `memory` to `out`: all planes, their lines in order. Ends at the first line that is missing.
    fn bring_together(&self, memory: &[&[u8]], out: &mut Vec<u8>) {
        out.clear();
        // A driver that lies of its strides must not make this grow.
        let most =
            memory.iter().fold(0_usize, |sum, plane| sum.saturating_add(plane.len())).saturating_mul(2);
        let mut offset = 0_usize;
        for (index, shape) in self.shapes.iter().enumerate() {
            let lines = self.height.div_ceil(shape.lines);
            let (times, divided) = shape.bytes_per_line;
            let (stride, row) = (self.stride.saturating_mul(times) / divided, self.row * times / divided);
            let own_memory = self.memory_strides.len() > 1;
            let (plane, from_stride) = if own_memory {
                let stated = self.memory_strides[index];
                (memory.get(index).copied().unwrap_or_default(), if stated > 0 { stated } else { stride })
            } else {
                let all = memory.first().copied().unwrap_or_default();
                (all.get(offset..).unwrap_or_default(), stride)
            };
            offset = offset.saturating_add(stride.saturating_mul(lines));
            for line in 0..lines {
                let position = self.fields.map_or(line, |order| order.position(line, lines));
                let start = position.saturating_mul(from_stride);
                // Drivers may leave out the padding of the last line.
                let end = start.saturating_add(from_stride).min(plane.len());
                let Some(bytes) = plane.get(start..end).filter(|bytes| bytes.len() >= row) else { return };
                let bytes = &bytes[..bytes.len().min(stride)];
                if out.len().saturating_add(stride) > most {
                    return;
                }
                out.extend_from_slice(bytes);
                out.resize(out.len() + stride - bytes.len(), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format_ioctls::PlaneFormat;
    use super::*;

    fn format(fourcc: &[u8; 4], (width, height): (u32, u32), strides: &[u32]) -> DriverFormat {
        let planes = strides.iter().map(|&bytes_per_line| PlaneFormat {
            bytes_per_line,
            size_image: bytes_per_line.saturating_mul(height),
        });
        DriverFormat { fourcc: *fourcc, width, height, field: 1, planes: planes.collect() }
    }

    fn together(layout: &PictureLayout, memory: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![9; 3];
        layout.bring_together(memory, &mut out);
        out
    }

    #[test]
    fn planes_with_memory_of_their_own_lie_one_after_the_other() {
        // The chroma lines are padded differently from the luma lines.
        let layout = PictureLayout::new(&format(b"NM12", (4, 4), &[4, 6]), (4, 4), None).unwrap();
        let luma: Vec<u8> = (1..=16).collect();
        let chroma = [31, 32, 33, 34, 0, 0, 41, 42, 43, 44, 0, 0];
        let all = together(&layout, &[&luma, &chroma]);
        assert_eq!(all[..16], luma[..]);
        assert_eq!(all[16..], [31, 32, 33, 34, 41, 42, 43, 44]);
        let layout = PictureLayout::new(&format(b"YM12", (4, 2), &[8, 4, 4]), (4, 8), None).unwrap();
        let all = together(&layout, &[&[1; 16], &[2; 4], &[3; 4]]);
        assert_eq!((all.len(), &all[15..21]), (24, &[1, 2, 2, 2, 2, 3][..]));
    }

    #[test]
    fn planes_in_order_are_passed_where_they_are() {
        let lengths = |format: &DriverFormat| {
            let layout = PictureLayout::new(format, (4, 4), None).unwrap();
            let mut memory: [&[u8]; MAX_PLANES] = Default::default();
            (memory[0], memory[1]) = (&[1; 16], &[2; 12]);
            let mut passed = Vec::new();
            layout.pass(&memory, &mut Vec::new(), |memory| {
                passed = match memory {
                    PictureMemory::Whole(all) => vec![(all.len(), 0)],
                    PictureMemory::Planes(planes) => {
                        planes.iter().map(|p| (p.data.len(), p.stride)).collect()
                    }
                }
            });
            passed
        };
        assert_eq!(lengths(&format(b"NM12", (4, 4), &[4, 6])), [(16, 4), (12, 6)]);
        assert_eq!(lengths(&format(b"NV12", (4, 4), &[4])), [(16, 0)]);
    }

    #[test]
    fn fields_become_whole_pictures() {
        let format = format(b"GREY", (2, 5), &[2]);
        let layout = |order| PictureLayout::new(&format, (2, 2), Some(order)).unwrap();
        // The top field has the lines 0, 2 and 4.
        let top_first = [0, 0, 2, 2, 4, 4, 1, 1, 3, 3];
        assert_eq!(together(&layout(FieldOrder::TopFirst), &[&top_first]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        let bottom_first = [1, 1, 3, 3, 0, 0, 2, 2, 4, 4];
        assert_eq!(
            together(&layout(FieldOrder::BottomFirst), &[&bottom_first]),
            [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        );
    }

    #[test]
    fn fields_of_each_plane_are_woven() {
        let layout =
            PictureLayout::new(&format(b"NV12", (2, 4), &[2]), (2, 2), Some(FieldOrder::TopFirst)).unwrap();
        let seq = [0, 0, 2, 2, 1, 1, 3, 3, 10, 10, 11, 11];
        assert_eq!(together(&layout, &[&seq]), [0, 0, 1, 1, 2, 2, 3, 3, 10, 10, 11, 11]);
    }

    #[test]
    fn what_is_missing_ends_the_picture() {
        let layout = PictureLayout::new(&format(b"NM12", (4, 2), &[4, 4]), (4, 4), None).unwrap();
        assert_eq!(together(&layout, &[&[1; 5], &[2; 4]]).len(), 4, "the second line is cut short");
        assert_eq!(together(&layout, &[&[1; 8], &[]]).len(), 8);
        assert_eq!(together(&layout, &[]).len(), 0);
        let lying = PictureLayout::new(&format(b"GREY", (4, 2), &[u32::MAX]), (4, u32::MAX as usize), None);
        assert_eq!(together(&lying.unwrap(), &[&[1; 100]]).len(), 0, "memory for a line of 4 GiB");
        assert!(PictureLayout::new(&format(b"YUYV", (4, 2), &[8, 8]), (8, 8), None).is_none());
    }
}
