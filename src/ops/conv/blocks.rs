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
    /// Block `index` of the output rows `rows`, which start at a block, in a picture of width
    /// `width`: row after row of blocks.
    pub(super) fn block(&self, rows: &Range<usize>, width: usize, index: usize) -> Block {
        let across = self.across(width);
        let part = |index: usize, size: usize, length: usize| {
            let at = index * size;
            at.saturating_sub(self.origin)..length.min(at + size - self.origin)
        };
        let of = part(index / across, self.rows, rows.len());
        let columns = part(index % across, self.columns, width);
        Block { rows: of.start + rows.start..of.end + rows.start, columns }
    }

    /// Number of blocks in `height` output rows of `width`.
    pub(super) fn count(&self, height: usize, width: usize) -> usize {
        (height + self.origin).div_ceil(self.rows) * self.across(width)
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
