//! The cut of the output into blocks.

use std::ops::Range;

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// The cut of a picture into blocks of one size; those at its edges may be smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Rows and columns of a block.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Rows and columns of the first block that lie before the picture.
    pub(super) origin: usize,
}

impl Cut {
    /// The blocks of the output rows `rows`, which start at a block, in a picture of width `width`.
    pub(super) fn blocks(&self, rows: Range<usize>, width: usize) -> Vec<Block> {
        let cut = |length: usize, size: usize| {
            let origin = self.origin;
            (0..length + origin)
                .step_by(size)
                .map(move |at| at.saturating_sub(origin)..length.min(at + size - origin))
        };
        cut(rows.len(), self.rows)
            .map(|of| of.start + rows.start..of.end + rows.start)
            .flat_map(|rows| {
                cut(width, self.columns).map(move |columns| Block { rows: rows.clone(), columns })
            })
            .collect()
    }

    /// Number of blocks side by side in a picture of width `width`.
    pub(super) fn across(&self, width: usize) -> usize {
        (width + self.origin).div_ceil(self.columns)
    }
}

/// Splits `length` into the fewest nearly even parts of at most `most`; returns the length of the
/// largest.
pub(super) fn even(length: usize, most: usize) -> usize {
    length.div_ceil(length.div_ceil(most))
}
