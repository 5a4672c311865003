#![forbid(unsafe_code)]
//! The decoder: raw latents (`F32`) to a picture (`F32`, unclamped).

use crate::base::alloc;
use crate::base::error::Result;
use crate::model::steps::{Block, STEPS, Step};
use crate::model::weights::kl::{Decoder, Level};

/// `post_quant_conv -> conv_in -> mid -> levels, lowest resolution first -> GroupNorm -> SiLU ->
/// conv_out`; with a mask, what lies outside is blended in before each level and before the end.
///
/// # Errors
/// `OutOfMemory`.
pub(in crate::model) fn blocks(decoder: &Decoder, masked: bool) -> Result<Vec<Block<'_>>> {
    let (edge, conv) = (decoder.post_quant_conv.iter().map(Step::Edge), &decoder.conv_in);
    let condition = masked.then_some(Step::Condition(&decoder.condition));
    let first = edge.chain([Step::Conv(conv)]).chain(decoder.mid.steps()).chain(condition);
    let first = std::iter::once(alloc::collected(first, STEPS));
    let levels = decoder.levels.iter().map(|level| level.up(masked));
    let head = [Step::Head(&decoder.norm_out, &decoder.conv_out)];
    let last = blend(masked).chain(head);
    let last = std::iter::once_with(|| alloc::collected(last, STEPS));
    alloc::try_collected(first.chain(levels).chain(last), STEPS)
}

/// What comes before each block but the first.
fn blend<'n>(masked: bool) -> impl Iterator<Item = Step<'n>> {
    masked.then_some(Step::Blend).into_iter()
}

impl Level {
    /// Each ResNet with its attention, then the doubling of the resolution.
    fn up(&self, masked: bool) -> Result<Block<'_>> {
        let steps = self.steps().chain(self.resample.iter().map(Step::Double));
        alloc::collected(blend(masked).chain(steps), STEPS)
    }
}
