#![forbid(unsafe_code)]
//! The parameter trees: the place of each tensor in a network.
//!
//! `kl` has the tree of `AutoencoderKL`, `tiny` that of `AutoencoderTiny`.

pub(crate) mod kl;
pub(crate) mod tiny;

use crate::backend::LayerFilter;
use crate::checkpoint::Tensor;

/// A convolution: `weight` is `[out, in, k, k]`, `bias` is `[out]`. A linear layer is a 1x1 one.
#[derive(Clone)]
pub(crate) struct Conv {
    /// Path in the network for messages, such as `decoder.mid_block.resnets.0.conv1`.
    pub(crate) name: String,
    pub(crate) weight: Tensor,
    /// `[out]`; zeros if the file has none.
    pub(crate) bias: Vec<f32>,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3; 4 in the encoder of a mask.
    pub(crate) kernel: usize,
}

impl Conv {
    /// The filter bank, in the form of the backend.
    pub(crate) fn filter(&self) -> LayerFilter<'_> {
        LayerFilter {
            name: &self.name,
            weight: &self.weight,
            bias: &self.bias,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel: self.kernel,
        }
    }
}

/// A GroupNorm's affine part: `gamma` and `beta` are `[channels]`, already `f32`.
#[derive(Clone)]
pub(crate) struct Norm {
    pub(crate) name: String,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}
