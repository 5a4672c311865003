#![forbid(unsafe_code)]
//! The parameter tree of `AutoencoderKL`.

use super::{Conv, Norm};

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
    /// The layers that encode the masked picture of an `AsymmetricAutoencoderKL`.
    pub(crate) condition: Vec<Conv>,
}
