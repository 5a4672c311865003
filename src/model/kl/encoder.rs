#![forbid(unsafe_code)]
//! The encoder: a picture (`F32`) to the moments of its posterior (`F32`: mean, then log-variance).

use crate::model::steps::{Block, Step};
use crate::model::weights::kl::{Encoder, Level};

/// `conv_in -> levels, highest resolution first -> mid -> GroupNorm -> SiLU -> conv_out ->
/// quant_conv`
pub(in crate::model) fn blocks(encoder: &Encoder) -> Vec<Block<'_>> {
    let mut blocks = vec![vec![Step::Conv(&encoder.conv_in)]];
    blocks.extend(encoder.levels.iter().map(Level::down));
    let mut last: Block<'_> = encoder.mid.steps().collect();
    last.push(Step::Head(&encoder.norm_out, &encoder.conv_out));
    last.extend(encoder.quant_conv.iter().map(Step::Edge));
    blocks.push(last);
    blocks
}

impl Level {
    /// Each ResNet with its attention, then the halving of the resolution.
    fn down(&self) -> Block<'_> {
        self.steps().chain(self.resample.iter().map(Step::Halve)).collect()
    }
}
