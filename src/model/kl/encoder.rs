#![forbid(unsafe_code)]
//! The encoder: a picture (`F32`) to the moments of its posterior (`F32`: mean, then log-variance).

use crate::base::alloc;
use crate::base::error::Result;
use crate::model::steps::{Block, STEPS, Step};
use crate::model::weights::kl::{Encoder, Level};

/// `conv_in -> levels, highest resolution first -> mid -> GroupNorm -> SiLU -> conv_out ->
/// quant_conv`
///
/// # Errors
/// `OutOfMemory`.
pub(in crate::model) fn blocks(encoder: &Encoder) -> Result<Vec<Block<'_>>> {
    let first = std::iter::once(alloc::collected([Step::Conv(&encoder.conv_in)], STEPS));
    let levels = encoder.levels.iter().map(Level::down);
    let (head, quant) = (Step::Head(&encoder.norm_out, &encoder.conv_out), &encoder.quant_conv);
    let last = encoder.mid.steps().chain([head]).chain(quant.iter().map(Step::Edge));
    let last = std::iter::once_with(|| alloc::collected(last, STEPS));
    alloc::try_collected(first.chain(levels).chain(last), STEPS)
}

impl Level {
    /// Each ResNet with its attention, then the halving of the resolution.
    fn down(&self) -> Result<Block<'_>> {
        alloc::collected(self.steps().chain(self.resample.iter().map(Step::Halve)), STEPS)
    }
}
