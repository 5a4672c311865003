//! How the output is cut into blocks.

use std::ops::Range;

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// The cut of a picture into blocks of one size, but for those at its edges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Rows and columns of a block.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// How many rows and columns of the first block lie before the picture.
    pub(super) origin: usize,
}

impl Cut {
    /// The blocks of the output rows `rows`, which begin where a block does, of a picture that is
    /// `width` wide.
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

    /// Blocks side by side in a picture that is `width` wide.
    pub(super) fn across(&self, width: usize) -> usize {
        (width + self.origin).div_ceil(self.columns)
    }
}

/// Splits `length` into as many parts as `most` allows, nearly even; gives the length of the
/// largest.
pub(super) fn even(length: usize, most: usize) -> usize {
    length.div_ceil(length.div_ceil(most))
}
