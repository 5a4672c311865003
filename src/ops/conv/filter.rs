//! Filters in the checkpoint's form.

use crate::base::weight::{DenseWeight, LayerWeight, WeightSource};
use crate::kernels::PackConv;

/// A bank of filters. `W` is its weight `[out_channels, in_channels, kernel, kernel]`: in memory,
/// or where the checkpoint has it.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a, W = DenseWeight<'a>> {
    /// Path in the network, for messages.
    pub(crate) name: &'a str,
    pub(crate) weight: W,
    /// `[out_channels]`.
    pub(crate) bias: &'a [f32],
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3; 4 only where the picture is halved.
    pub(crate) kernel: usize,
}

impl<'a> Filter<'a> {
    /// The filters in the form that the kernels pack.
    pub(super) fn pack(&self) -> PackConv<'a> {
        PackConv {
            weight: self.weight,
            out_channels: self.out_channels,
            in_channels: self.in_channels,
            taps: self.kernel * self.kernel,
        }
    }
}

/// A bank of filters whose weight is not loaded yet.
pub(crate) type LayerFilter<'a> = Filter<'a, &'a dyn WeightSource>;

impl<'a> LayerFilter<'a> {
    /// These filters with the weight in memory.
    pub(crate) fn with_weight<'w>(self, weight: &'w LayerWeight<'a>) -> Filter<'w>
    where
        'a: 'w,
    {
        let Self { name, bias, in_channels, out_channels, kernel, .. } = self;
        Filter { name, weight: weight.dense(), bias, in_channels, out_channels, kernel }
    }
}
