#![forbid(unsafe_code)]
//! The networks of a tiny autoencoder: a picture (`F32`) to latents (`F32`), and back.

use crate::backend::Resample;
use crate::base::alloc;
use crate::base::error::Result;
use crate::model::blocks::Edge;
use crate::model::steps::{Block, STEPS, Step};
use crate::model::weights::Conv;
use crate::model::weights::tiny::{After, Half, Layer};

/// `[-1, 1] to [0, 1] -> layers`
///
/// # Errors
/// `OutOfMemory`.
pub(in crate::model) fn encoder(half: &Half) -> Result<Vec<Block<'_>>> {
    blocks(half, Edge::Picture, Edge::ToLatents)
}

/// `3 tanh(x / 3) -> layers -> [0, 1] to [-1, 1]`
///
/// # Errors
/// `OutOfMemory`.
pub(in crate::model) fn decoder(half: &Half) -> Result<Vec<Block<'_>>> {
    blocks(half, Edge::Latents, Edge::ToPicture)
}

/// A block for each layer: the network may be cut between any two.
fn blocks(half: &Half, first: Edge, last: Edge) -> Result<Vec<Block<'_>>> {
    let edge = |i| if i == 0 { first } else { Edge::None };
    let layers = half.layers.iter().enumerate().map(|(i, layer)| step(layer, edge(i)));
    let end = conv(&half.last, After::Nothing, Resample::Keep, last);
    let blocks = layers.chain([end]).map(|step| alloc::collected([step], STEPS));
    alloc::try_collected(blocks, STEPS)
}

fn step(layer: &Layer, edge: Edge) -> Step<'_> {
    match layer {
        Layer::Conv(weights, resample, after) => conv(weights, *after, *resample, edge),
        Layer::Block(block) => Step::TinyBlock(block),
    }
}

fn conv(conv: &Conv, act: After, resample: Resample, edge: Edge) -> Step<'_> {
    Step::Tiny { conv, act, resample, edge }
}
