#![forbid(unsafe_code)]
//! The band: the input pixels that a block of output pixels reads, ready to be multiplied.

use std::ops::Range;

use super::Job;
use super::storage::Pixels;
use crate::kernels::{AffineAct, Kernels};

/// A rectangle of the input, doubled and padded as the convolution sees it, and some of its channels.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// The first row and column, in the padded picture: 0 is the first row of zeros where there is padding.
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: Range<usize>,
    /// How often each row and column of the input is repeated.
    pub(super) repeat: usize,
    /// Values from a pixel to the next in the band.
    pub(super) pixel_stride: usize,
}

impl Band {
    /// Values of the band.
    pub(super) fn len(&self) -> usize {
        self.rows * self.row_stride()
    }

    /// Values from a row to the next.
    pub(super) fn row_stride(&self) -> usize {
        self.columns * self.pixel_stride
    }
}

impl Job<'_> {
    /// Loads `band` from `pixels`, normalised and activated, with zeros around the picture.
    pub(super) fn load(&self, kernels: &Kernels, band: &Band, pixels: Pixels<'_>, dst: &mut [f32]) {
        let geometry = &self.geometry;
        let (padding, stride, factor) = (geometry.padding(), band.pixel_stride, band.repeat);
        let (height, width) = (geometry.input.height * factor, geometry.input.width * factor);

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
                self.load_row(kernels, (y, pixels), &inside, phase, band, line);
            }
        }
    }

    /// Loads the columns `inside` of (doubled) input row `y`, from the one whose position in `inside` is
    /// `phase`, as many apart as a column is repeated.
    fn load_row(
        &self,
        kernels: &Kernels,
        (y, pixels): (usize, Pixels<'_>),
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
        let (x, pitch) = ((inside.start + phase) / factor, self.input_pitch);
        let (src, pixel) = match pixels {
            Pixels::Rectangle { values, top, left, width } => {
                (values, (y - top) * width + x - left)
            }
            Pixels::Own(rows) => (rows[y - band.top].shared(), x - band.left),
        };
        let channels = band.channels.clone();
        let start = pixel * pitch + channels.start;
        let end = start + (count - 1) * pitch + channels.len();
        let job = AffineAct {
            src: src.slice(start..end),
            src_stride: pitch,
            pixels: count,
            channels: channels.len(),
            affine: self
                .prologue
                .as_ref()
                .map(|p| (&p.scale[channels.clone()], &p.shift[channels.clone()])),
            act: self.prologue.as_ref().and_then(|p| p.act),
            dst_stride: factor * stride,
        };
        kernels.affine_act(&job, &mut line[phase * stride..]);
    }
}
