#![forbid(unsafe_code)]
//! The steps of a network.
//!
//! A family of autoencoders is a list of blocks of steps (`kl/`, `tiny/`). Everything else follows
//! from the list: the run, a tile's halo, and the first part, which needs the whole picture.

use super::blocks::{Blocks, Edge};
use super::weights::kl::{Attention, Level, Mid, Resnet};
use super::weights::tiny::{After, Block as TinyBlock};
use super::weights::{Conv, Norm};
use crate::backend::{Act, Backend, Resample, Slot};
use crate::base::error::Result;

/// One step: an activation in, an activation out.
pub(super) enum Step<'n> {
    /// A 1x1 convolution at the network's edge, `F32` in and out.
    Edge(&'n Conv),
    Conv(&'n Conv),
    /// Nearest-neighbour doubling of the resolution, then a convolution.
    Double(&'n Conv),
    /// A convolution of stride 2.
    Halve(&'n Conv),
    Resnet(&'n Resnet),
    /// Attention over all pixels of the picture.
    Attention(&'n Attention),
    /// GroupNorm, SiLU and the last 3x3 convolution, to `F32`.
    Head(&'n Norm, &'n Conv),
    /// Encoding the picture around a mask.
    Condition(&'n [Conv]),
    /// Keeping that picture where the mask is 0.
    Blend,
    /// A tiny autoencoder's convolution: whether the activation function follows, and where in its
    /// half it stands.
    Tiny {
        conv: &'n Conv,
        act: After,
        resample: Resample,
        edge: Edge,
    },
    TinyBlock(&'n TinyBlock),
}

/// Name of lists of steps, for messages.
pub(super) const STEPS: &str = "the steps of a network";

/// Steps between two points where a network may be cut.
pub(super) type Block<'n> = Vec<Step<'n>>;

impl Step<'_> {
    /// Channels of the input.
    pub(super) fn in_channels(&self) -> usize {
        match self {
            Self::Edge(conv) | Self::Conv(conv) | Self::Double(conv) | Self::Halve(conv) => {
                conv.in_channels
            }
            Self::Resnet(block) => block.conv1.in_channels,
            Self::Attention(block) => block.query.in_channels,
            Self::Head(_, conv) | Self::Tiny { conv, .. } => conv.in_channels,
            Self::TinyBlock(block) => block.convs[0].in_channels,
            Self::Condition(_) | Self::Blend => 0,
        }
    }

    /// The change of resolution.
    pub(super) fn resample(&self) -> Resample {
        match self {
            Self::Double(_) => Resample::Double,
            Self::Halve(_) => Resample::Halve,
            Self::Tiny { resample, .. } => *resample,
            _ => Resample::Keep,
        }
    }

    /// Whether its values are the same in a tile as in the whole picture, to the bit.
    pub(super) fn local(&self) -> bool {
        match self {
            Self::Tiny { .. } => true,
            Self::TinyBlock(block) => block.pool.is_none(),
            _ => false,
        }
    }

    /// Whether a tile sheds the part of its halo that is no longer needed before this step: where
    /// activations are largest, or the halo shrinks most.
    pub(super) fn trims(&self) -> bool {
        matches!(self, Self::Double(_)) || self.local()
    }

    /// Runs the step.
    pub(super) fn run<B: Backend>(&self, blocks: &mut Blocks<'_, B>, input: Slot) -> Result<Slot> {
        match self {
            Self::Edge(conv) => blocks.quant_conv(conv, input),
            Self::Conv(conv) => blocks.conv(conv, input, Resample::Keep),
            Self::Double(conv) => blocks.conv(conv, input, Resample::Double),
            Self::Halve(conv) => blocks.conv(conv, input, Resample::Halve),
            Self::Resnet(block) => blocks.resnet(block, input),
            Self::Attention(block) => blocks.attention(block, input),
            Self::Head(norm, conv) => blocks.head(norm, conv, input),
            Self::Condition(layers) => blocks.encode_condition(layers).map(|()| input),
            Self::Blend => blocks.blend(input),
            Self::Tiny { conv, act, resample, edge } => {
                let act = match act {
                    After::Nothing => None,
                    After::Act => Some(blocks.act()),
                    After::Relu => Some(Act::Relu),
                };
                blocks.tiny_conv(conv, act, *resample, *edge, input)
            }
            Self::TinyBlock(block) => blocks.tiny_block(block, input),
        }
    }
}

impl Level {
    /// Each ResNet with its attention.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.resnets.iter().enumerate().flat_map(|(i, resnet)| {
            let attention = self.attentions.get(i).map(Step::Attention);
            std::iter::once(Step::Resnet(resnet)).chain(attention)
        })
    }
}

impl Mid {
    /// ResNet, attention where the model has it, ResNet.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let [first, second] = &self.resnets;
        let attention = self.attention.iter().map(Step::Attention);
        std::iter::once(Step::Resnet(first)).chain(attention).chain([Step::Resnet(second)])
    }
}
