#![forbid(unsafe_code)]
//! The halo of a tile: what around it the network reads. Each step declares how far it reads, and
//! the halo before any of them follows.

use super::steps::Step;
use super::weights::Conv;

impl Step<'_> {
    /// Pixels of the input around those that a tile with `after` pixels around it reads; `None`
    /// where every output pixel reads all of the picture. Statistics of GroupNorms do not count.
    pub(super) fn reach(&self, after: usize) -> Option<usize> {
        Some(match self {
            Self::Edge(conv) | Self::Conv(conv) | Self::Head(_, conv) => after + border(conv),
            Self::Double(conv) => (after + border(conv)).div_ceil(2),
            Self::Halve(conv) => 2 * after + border(conv),
            Self::Resnet(block) => after + border(&block.conv1) + border(&block.conv2),
            Self::Attention(_) => return None,
        })
    }
}

/// The pixels that each of `steps` needs around a tile in its input; `None` where it, or a step
/// after it, needs all of the picture.
pub(super) fn halos(steps: &[&Step<'_>]) -> Vec<Option<usize>> {
    let mut after = Some(0);
    let mut halos: Vec<Option<usize>> = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        after = after.and_then(|after| step.reach(after));
        halos.push(after);
    }
    halos.reverse();
    halos
}

/// Pixels that a convolution reads around one of its own.
fn border(conv: &Conv) -> usize {
    conv.kernel / 2
}
