//! What a packed operand looks like: the business of the kernels that read it.

use super::Kernels;
use crate::arch::isa::{Kernel, Simd};

/// The layout of the second operand of a GEMM. Its columns are cut into panels; a panel has a row
/// of the operand after the other, and the last one is filled up with zeros.
///
/// Above the kernels a packed operand is a run of bytes: its size and the distances in it come from
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    width: usize,
}

impl Panels {
    /// Columns of one panel.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// Panels of `columns` columns.
    pub(crate) fn count(self, columns: usize) -> usize {
        columns.div_ceil(self.width)
    }

    /// `columns` filled up to whole panels: those that a product has.
    pub(crate) fn filled(self, columns: usize) -> usize {
        columns.next_multiple_of(self.width)
    }

    /// Values of `depth` rows of a panel that are not packed yet: one for each column.
    pub(crate) fn values(self, depth: usize) -> usize {
        depth.saturating_mul(self.width)
    }

    /// Bytes of a panel of `depth` rows.
    pub(crate) fn panel_bytes(self, depth: usize) -> usize {
        self.values(depth).saturating_mul(size_of::<f32>())
    }

    /// Bytes of an operand of `depth` rows and `columns` columns.
    pub(crate) fn bytes(self, depth: usize, columns: usize) -> usize {
        self.count(columns).saturating_mul(self.panel_bytes(depth))
    }
}

impl Kernels {
    /// How these kernels have their packed operands.
    pub(crate) fn panels(&self) -> Panels {
        Panels { width: self.isa.run(Width) }
    }
}

struct Width;

impl Kernel for Width {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_COLUMNS
    }
}
