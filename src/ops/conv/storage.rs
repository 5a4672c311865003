#![forbid(unsafe_code)]
//! Where a convolution reads and writes: activations in memory, or in the scratch file, of which a worker
//! stages what a block needs.

use std::ops::Range;

use super::band::Band;
use super::{Block, Geometry, Job};
use crate::base::buffer::{Elements, ElementsMut, align_up};
use crate::base::error::Result;
use crate::base::scratch_file::Stored;
use crate::base::storage::Storage;

/// What a convolution reads.
pub(crate) enum Source<'a> {
    Memory(Elements<'a>),
    File(Stored<'a>, Storage),
    /// Whole rows from the given one on.
    Window(Elements<'a>, usize),
    /// Its own output, pixel by pixel.
    InPlace,
}

/// What a convolution writes.
pub(crate) enum Target<'a> {
    Memory(ElementsMut<'a>),
    File(Stored<'a>, Storage),
}

/// Bytes of a pixel of the input and of the output where they are in the scratch file; 0 in memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Staged {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// A block's part of each output row.
pub(super) enum Rows<'a> {
    Memory(Vec<ElementsMut<'a>>),
    File(Stored<'a>, Storage),
}

/// Input pixels at hand.
#[derive(Clone, Copy)]
pub(super) enum Pixels<'p> {
    /// A rectangle of the input that begins at row `top` and column `left`, `width` pixels wide.
    Rectangle { values: Elements<'p>, top: usize, left: usize, width: usize },
    /// The block's own part of each output row.
    Own(&'p [ElementsMut<'p>]),
}

impl Geometry {
    /// Bytes that a worker stages of the input and of the output.
    pub(super) fn staged_bytes(&self, staged: Staged, band: &Band) -> (usize, usize) {
        let (rows, columns, _) = self.block();
        let side = |count: usize| count.div_ceil(band.repeat) + 1;
        let input = side(band.rows) * side(band.columns) * staged.input;
        (align_up(input), align_up(rows * columns * staged.output))
    }

    /// The rows and columns of the input that `band` reads.
    fn reads(&self, band: &Band) -> (Range<usize>, Range<usize>) {
        let side = |first: usize, count: usize, length: usize| {
            let end = (first + count).saturating_sub(self.padding()).min(length * band.repeat);
            first.saturating_sub(self.padding()) / band.repeat..end.div_ceil(band.repeat)
        };
        let rows = side(band.top, band.rows, self.input.height);
        (rows, side(band.left, band.columns, self.input.width))
    }
}

impl Job<'_> {
    /// The input pixels that `band` reads, whatever its channels; those of a file come to `staging`.
    pub(super) fn pixels<'p>(
        &'p self,
        band: &Band,
        own: &'p [ElementsMut<'p>],
        staging: &'p mut [u8],
    ) -> Result<Pixels<'p>> {
        let width = self.geometry.input.width;
        let (stored, dtype) = match &self.input {
            Source::Memory(values) => {
                return Ok(Pixels::Rectangle { values: *values, top: 0, left: 0, width });
            }
            &Source::Window(values, top) => {
                return Ok(Pixels::Rectangle { values, top, left: 0, width });
            }
            Source::InPlace => return Ok(Pixels::Own(own)),
            Source::File(stored, dtype) => (stored, *dtype),
        };
        let (rows, columns) = self.geometry.reads(band);
        let pixel = self.input_pitch * dtype.size();
        let row_bytes = columns.len() * pixel;
        for (row, bytes) in rows.clone().zip(staging.chunks_exact_mut(row_bytes)) {
            stored.read(((row * width + columns.start) * pixel) as u64, bytes)?;
        }
        let values = Elements::new(dtype, &staging[..rows.len() * row_bytes]);
        let (top, left, width) = (rows.start, columns.start, columns.len());
        Ok(Pixels::Rectangle { values, top, left, width })
    }

    /// Calls `f` with the block's part of each output row. Those of a file come to `staging`: read before,
    /// where the convolution adds to them or works in place, and written after.
    pub(super) fn with_rows(
        &self,
        block: &Block,
        rows: Rows<'_>,
        staging: &mut [u8],
        f: impl FnOnce(Vec<ElementsMut<'_>>) -> Result<()>,
    ) -> Result<()> {
        let (stored, dtype) = match rows {
            Rows::Memory(rows) => return f(rows),
            Rows::File(stored, dtype) => (stored, dtype),
        };
        let (pixel, width) = (self.output_pitch * dtype.size(), self.geometry.output.width);
        let row_bytes = block.columns.len() * pixel;
        let at = |row: usize| ((row * width + block.columns.start) * pixel) as u64;
        let staging = &mut staging[..block.rows.len() * row_bytes];
        if self.residual || matches!(self.input, Source::InPlace) {
            for (row, bytes) in block.rows.clone().zip(staging.chunks_exact_mut(row_bytes)) {
                stored.read(at(row), bytes)?;
            }
        }
        f(staging.chunks_exact_mut(row_bytes).map(|row| ElementsMut::new(dtype, row)).collect())?;
        for (row, bytes) in block.rows.clone().zip(staging.chunks_exact(row_bytes)) {
            stored.write(at(row), bytes)?;
        }
        Ok(())
    }
}
