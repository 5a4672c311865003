#![forbid(unsafe_code)]
//! The halo of a tile: the pixels around it that the network reads. Each step declares how far it
//! reads; the halo before each step follows.

use super::steps::{Block, Step};
use super::weights::Conv;
use crate::backend::{LOCAL_GRID, Resample};
use crate::base::alloc;
use crate::base::error::Result;

impl Step<'_> {
    /// The halo that this step reads in its input, in pixels, for a tile with a halo of `after` in
    /// its output. `None` if every output pixel reads the whole picture. Statistics of GroupNorms
    /// do not count.
    pub(super) fn reach(&self, after: usize) -> Option<usize> {
        Some(match self {
            Self::Edge(conv) | Self::Conv(conv) | Self::Head(_, conv) => after + border(conv),
            Self::Double(conv) => (after + border(conv)).div_ceil(2),
            Self::Halve(conv) => 2 * after + border(conv),
            Self::Resnet(block) => after + border(&block.conv1) + border(&block.conv2),
            Self::Attention(_) | Self::Condition(_) | Self::Blend => return None,
            Self::Tiny { resample, .. } => local(after, *resample),
            Self::TinyBlock(block) if block.pool.is_some() => return None,
            Self::TinyBlock(block) => {
                block.convs.iter().fold(after, |after, _| local(after, Resample::Keep))
            }
        })
    }
}

/// The halo of each step of `blocks` in its input, in pixels; `None` if the step, or a later one,
/// needs the whole picture.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn halos(blocks: &[Block<'_>]) -> Result<Vec<Option<usize>>> {
    let mut after = Some(0);
    let mut halos = alloc::with_capacity(blocks.iter().map(Vec::len).sum(), "halos")?;
    for step in blocks.iter().rev().flat_map(|block| block.iter().rev()) {
        after = after.and_then(|after| step.reach(after));
        halos.push(after);
    }
    halos.reverse();
    Ok(halos)
}

/// The halo of a local convolution in its input. Its values are computed in squares of
/// [`LOCAL_GRID`] outputs, which are the same in a tile only if they are whole and begin at the
/// same pixels: so its input begins at a multiple of them too.
fn local(after: usize, resample: Resample) -> usize {
    let after = after.next_multiple_of(LOCAL_GRID);
    match resample {
        Resample::Keep => after + LOCAL_GRID,
        Resample::Double => (after + 1).div_ceil(2).next_multiple_of(2),
        Resample::Halve | Resample::HalvePadded => 2 * after + 2,
    }
}

/// Pixels that a convolution reads on each side of a pixel.
fn border(conv: &Conv) -> usize {
    conv.kernel / 2
}
