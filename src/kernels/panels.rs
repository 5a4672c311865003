//! The layout of packed operands, private to the kernels that read them.

use super::Kernels;
use crate::arch::isa::{Kernel, Simd};

/// The layout of a packed operand, the second of a GEMM. Its columns are divided into panels. A
/// panel holds its part of each row of the operand, row after row; the last panel is padded with
/// zeros.
///
/// Above the kernels a packed operand is a run of bytes: only this type knows its size and strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    width: usize,
}

impl Panels {
    /// Columns of one panel.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// Number of panels of `columns` columns.
    pub(crate) fn count(self, columns: usize) -> usize {
        columns.div_ceil(self.width)
    }

    /// `columns` padded to whole panels: the columns of a product.
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
    /// The panels of these kernels.
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
