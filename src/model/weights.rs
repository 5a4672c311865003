//! The parameter tree: the place of each tensor in the network.

use crate::backend::LayerFilter;
use crate::checkpoint::Tensor;

/// A convolution: `weight` is `[out, in, k, k]`, `bias` is `[out]`. A linear layer is a 1x1 one.
#[derive(Clone)]
pub(crate) struct Conv {
    /// Path in the network for messages, such as `decoder.mid_block.resnets.0.conv1`.
    pub(crate) name: String,
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Vec<f32>,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3.
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

#[derive(Clone)]
pub(crate) struct Resnet {
    pub(crate) norm1: Norm,
    pub(crate) conv1: Conv,
    pub(crate) norm2: Norm,
    pub(crate) conv2: Conv,
    /// Present if the block changes the number of channels.
    pub(crate) shortcut: Option<Conv>,
}

#[derive(Clone)]
pub(crate) struct Attention {
    pub(crate) norm: Norm,
    pub(crate) query: Conv,
    pub(crate) key: Conv,
    pub(crate) value: Conv,
    pub(crate) out: Conv,
}

/// A level: ResNet blocks, each followed by attention if the level has any (then both lists have
/// the same length), and the convolution to the next resolution unless the level is the last.
#[derive(Clone)]
pub(crate) struct Level {
    pub(crate) resnets: Vec<Resnet>,
    pub(crate) attentions: Vec<Attention>,
    pub(crate) resample: Option<Conv>,
}

#[derive(Clone)]
pub(crate) struct Mid {
    pub(crate) resnets: [Resnet; 2],
    pub(crate) attention: Option<Attention>,
}

#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) conv_in: Conv,
    pub(crate) levels: Vec<Level>,
    pub(crate) mid: Mid,
    pub(crate) norm_out: Norm,
    pub(crate) conv_out: Conv,
    pub(crate) quant_conv: Option<Conv>,
}

#[derive(Clone)]
pub(crate) struct Decoder {
    pub(crate) post_quant_conv: Option<Conv>,
    pub(crate) conv_in: Conv,
    pub(crate) mid: Mid,
    pub(crate) levels: Vec<Level>,
    pub(crate) norm_out: Norm,
    pub(crate) conv_out: Conv,
}
