#![forbid(unsafe_code)]
//! The decoder: raw latents (`F32`) to a picture (`F32`, unclamped).

use super::steps::{Block, Step};
use super::weights::{Decoder, Level};

/// `post_quant_conv -> conv_in -> mid -> levels, lowest resolution first -> GroupNorm -> SiLU ->
/// conv_out`
pub(super) fn blocks(decoder: &Decoder) -> Vec<Block<'_>> {
    let mut first: Block<'_> = decoder.post_quant_conv.iter().map(Step::Edge).collect();
    first.push(Step::Conv(&decoder.conv_in));
    first.extend(decoder.mid.steps());
    let mut blocks = vec![first];
    blocks.extend(decoder.levels.iter().map(Level::up));
    blocks.push(vec![Step::Head(&decoder.norm_out, &decoder.conv_out)]);
    blocks
}

impl Level {
    /// Each ResNet with its attention, then the doubling of the resolution.
    fn up(&self) -> Block<'_> {
        self.steps().chain(self.resample.iter().map(Step::Double)).collect()
    }
}
