#![forbid(unsafe_code)]
//! The decoder: raw latents (`F32`) to a picture (`F32`, unclamped).

use crate::model::steps::{Block, Step};
use crate::model::weights::kl::{Decoder, Level};

/// `post_quant_conv -> conv_in -> mid -> levels, lowest resolution first -> GroupNorm -> SiLU ->
/// conv_out`; with a mask, what lies outside is blended in before each level and before the end.
pub(in crate::model) fn blocks(decoder: &Decoder, masked: bool) -> Vec<Block<'_>> {
    let mut first: Block<'_> = decoder.post_quant_conv.iter().map(Step::Edge).collect();
    first.push(Step::Conv(&decoder.conv_in));
    first.extend(decoder.mid.steps());
    if masked {
        first.push(Step::Condition(&decoder.condition));
    }
    let mut blocks = vec![first];
    blocks.extend(decoder.levels.iter().map(Level::up));
    blocks.push(vec![Step::Head(&decoder.norm_out, &decoder.conv_out)]);
    if masked {
        blocks.iter_mut().skip(1).for_each(|block| block.insert(0, Step::Blend));
    }
    blocks
}

impl Level {
    /// Each ResNet with its attention, then the doubling of the resolution.
    fn up(&self) -> Block<'_> {
        self.steps().chain(self.resample.iter().map(Step::Double)).collect()
    }
}
