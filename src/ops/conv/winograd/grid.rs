//! The tiles of a block of output pixels.

use std::ops::Range;

use crate::kernels::Winograd;
use crate::ops::conv::band::Band;
use crate::ops::conv::blocks::Block;

/// The tiles of a block of output pixels.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) winograd: Winograd,
    /// The number of times that each row and column of the input is repeated.
    pub(super) repeat: usize,
    /// The first tile row and column.
    pub(super) top: usize,
    pub(super) left: usize,
    /// Outputs of the first tile row and column that lie before the picture.
    pub(super) above: usize,
    pub(super) before: usize,
    pub(super) down: usize,
    pub(super) across: usize,
}

impl Grid {
    pub(super) fn new(winograd: Winograd, repeat: usize, block: &Block) -> Self {
        let (outputs, origin) = (winograd.outputs(), winograd.origin());
        let tiles = |range: &Range<usize>| {
            let (first, skipped) =
                ((range.start + origin) / outputs, (range.start + origin) % outputs);
            (first, skipped, (skipped + range.len()).div_ceil(outputs))
        };
        let (top, above, down) = tiles(&block.rows);
        let (left, before, across) = tiles(&block.columns);
        Self { winograd, repeat, top, left, above, before, down, across }
    }

    pub(super) fn tiles(&self) -> usize {
        self.down * self.across
    }

    /// The offset of row `row` of the block in the pixels of its tiles.
    pub(super) fn row(&self, row: usize, pixel_stride: usize) -> usize {
        let width = self.across * self.winograd.outputs();
        ((self.above + row) * width + self.before) * pixel_stride
    }

    /// The band of the tiles, for some channels.
    pub(super) fn band(&self, channels: Range<usize>) -> Band {
        let (step, inputs) = (self.winograd.step(), self.winograd.inputs());
        let reach = |tiles: usize| (tiles - 1) * step + inputs;
        Band {
            top: self.top * step,
            left: self.left * step,
            repeat: self.repeat,
            rows: reach(self.down),
            columns: reach(self.across),
            // Whole vectors of the widest set; what lies beyond the channels is transformed and
            // never read.
            pixel_stride: channels.len().next_multiple_of(16),
            channels,
        }
    }
}
