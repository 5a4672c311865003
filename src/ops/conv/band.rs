//! The way in: the band, which holds the input pixels that a block of output pixels reads, ready
//! for the multiplication.

use std::ops::Range;

use super::layer::Layer;
use super::run::{ConvInput, Run};
use crate::base::buffer::{Elements, ElementsMut};
use crate::base::error::Result;
use crate::kernels::AffineAct;
use crate::ops::place::Place;

/// A rectangle of the input after doubling and padding, with some of its channels.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// The first row and column in the padded picture; 0 is the first row of padding, if any.
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: Range<usize>,
    /// The number of times that each row and column of the input is repeated.
    pub(super) repeat: usize,
    /// Values from one pixel to the next in the band.
    pub(super) pixel_stride: usize,
}

impl Band {
    /// Values of the band.
    pub(super) fn len(&self) -> usize {
        self.rows * self.row_stride()
    }

    /// Values from one row to the next.
    pub(super) fn row_stride(&self) -> usize {
        self.columns * self.pixel_stride
    }

    /// The largest number of input pixels that a band of this size reads.
    pub(super) fn pixels(&self) -> usize {
        let side = |count: usize| count.div_ceil(self.repeat) + 1;
        side(self.rows) * side(self.columns)
    }

    /// The input rows and columns of the band.
    fn reads(&self, layer: &Layer) -> (Range<usize>, Range<usize>) {
        let padding = layer.padding();
        let side = |first: usize, count: usize, length: usize| {
            let end = (first + count).saturating_sub(padding).min(length * self.repeat);
            first.saturating_sub(padding) / self.repeat..end.div_ceil(self.repeat)
        };
        let rows = side(self.top, self.rows, layer.input.height);
        (rows, side(self.left, self.columns, layer.input.width))
    }
}

/// Input pixels in memory.
#[derive(Clone, Copy)]
pub(super) enum PixelSource<'p> {
    /// A rectangle of the input that begins at row `top` and column `left`, `width` pixels wide.
    Rectangle { values: Elements<'p>, top: usize, left: usize, width: usize },
    /// The block's own part of each output row.
    Own(&'p [ElementsMut<'p>]),
}

impl Run<'_> {
    /// The input pixels of `band`, with all channels; those in a file are read to `staging`.
    pub(super) fn pixels<'p>(
        &'p self,
        band: &Band,
        own: &'p [ElementsMut<'p>],
        staging: &'p mut [u8],
    ) -> Result<PixelSource<'p>> {
        let width = self.layer.input.width;
        let (region, dtype) = match &self.operands.input {
            &ConvInput::Whole(Place::Memory(values)) => {
                return Ok(PixelSource::Rectangle { values, top: 0, left: 0, width });
            }
            &ConvInput::Window(values, top) => {
                return Ok(PixelSource::Rectangle { values, top, left: 0, width });
            }
            ConvInput::InPlace => return Ok(PixelSource::Own(own)),
            ConvInput::Whole(Place::File(region, dtype)) => (region, *dtype),
        };
        let (rows, columns) = band.reads(self.layer);
        let pixel = self.operands.input_pitch * dtype.size();
        let row_bytes = columns.len() * pixel;
        for (row, bytes) in rows.clone().zip(staging.chunks_exact_mut(row_bytes)) {
            region.read(((row * width + columns.start) * pixel) as u64, bytes)?;
        }
        let values = Elements::new(dtype, &staging[..rows.len() * row_bytes]);
        let (top, left, width) = (rows.start, columns.start, columns.len());
        Ok(PixelSource::Rectangle { values, top, left, width })
    }

    /// Loads `band` from `pixels`, normalised and activated, with zeros around the picture.
    pub(super) fn load(&self, band: &Band, pixels: PixelSource<'_>, dst: &mut [f32]) {
        let layer = self.layer;
        let (padding, stride, factor) = (layer.padding(), band.pixel_stride, band.repeat);
        let (height, width) = (layer.input.height * factor, layer.input.width * factor);

        // Band column 0 is the picture's column `left - padding`.
        let before = padding.saturating_sub(band.left);
        let inside =
            (band.left + before - padding)..(band.left + band.columns - padding).min(width);
        let after = before + inside.len();
        let mut loaded = None;
        for row in 0..band.rows {
            let (done, rest) = dst.split_at_mut(row * band.row_stride());
            let line = &mut rest[..band.row_stride()];
            let y = (band.top + row).checked_sub(padding).filter(|&y| y < height);
            let Some(y) = y.map(|y| y / factor) else {
                line.fill(0.0);
                continue;
            };
            if loaded == Some(y) {
                line.copy_from_slice(&done[(row - 1) * band.row_stride()..]);
                continue;
            }
            loaded = Some(y);
            line[..before * stride].fill(0.0);
            line[after * stride..].fill(0.0);
            let line = &mut line[before * stride..after * stride];
            for phase in 0..factor {
                self.load_row(y, pixels, &inside, phase, band, line);
            }
        }
    }

    /// Loads columns of (doubled) input row `y`: every `repeat`-th of `inside`, from position
    /// `phase` on.
    fn load_row(
        &self,
        y: usize,
        pixels: PixelSource<'_>,
        inside: &Range<usize>,
        phase: usize,
        band: &Band,
        line: &mut [f32],
    ) {
        if phase >= inside.len() {
            return;
        }
        let (stride, factor) = (band.pixel_stride, band.repeat);
        let count = (inside.len() - phase).div_ceil(factor);
        let (x, pitch) = ((inside.start + phase) / factor, self.operands.input_pitch);
        let (src, pixel) = match pixels {
            PixelSource::Rectangle { values, top, left, width } => {
                (values, (y - top) * width + x - left)
            }
            PixelSource::Own(rows) => (rows[y - band.top].shared(), x - band.left),
        };
        let channels = band.channels.clone();
        let start = pixel * pitch + channels.start;
        let end = start + (count - 1) * pitch + channels.len();
        let prologue = self.operands.prologue.as_ref();
        let job = AffineAct {
            src: src.slice(start..end),
            src_stride: pitch,
            pixels: count,
            channels: channels.len(),
            affine: prologue.map(|p| (&p.scale[channels.clone()], &p.shift[channels.clone()])),
            act: prologue.and_then(|p| p.act),
            dst_stride: factor * stride,
        };
        self.exec.kernels.affine_act(&job, &mut line[phase * stride..]);
    }
}
