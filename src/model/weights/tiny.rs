#![forbid(unsafe_code)]
//! The parameter tree of `AutoencoderTiny`.

use super::{Conv, Norm};
use crate::backend::Resample;

/// One layer of a half: the halves are plain sequences.
#[derive(Clone)]
pub(crate) enum Layer {
    Conv(Box<Conv>, Resample, After),
    Block(Box<Block>),
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// The configuration's activation function.
    Act,
    Relu,
}

/// Three convolutions with activations between them, and a way around them.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) convs: [Conv; 3],
    /// Present if the block changes the number of channels.
    pub(crate) skip: Option<Conv>,
    /// What is first added to the input, in FLUX.2's variant.
    pub(crate) pool: Option<Pool>,
}

/// `project(relu(norm(expand(x))))`, of 1x1 convolutions.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) expand: Conv,
    pub(crate) norm: Norm,
    pub(crate) project: Conv,
}

/// Groups of the GroupNorm in a [`Pool`], and its epsilon.
pub(crate) const POOL_GROUPS: usize = 4;
pub(crate) const POOL_EPSILON: f64 = 1e-5;
/// Channels inside a [`Pool`] by those outside.
pub(crate) const POOL_WIDTH: usize = 4;

/// A half: its layers, the last of which gives latents or a picture.
#[derive(Clone)]
pub(crate) struct Half {
    pub(crate) layers: Vec<Layer>,
    pub(crate) last: Conv,
}
