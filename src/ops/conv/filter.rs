//! Filters in the checkpoint's form.

use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;
use crate::kernels::PackConv;

/// A bank of filters in the checkpoint's form.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    /// Path in the network, for messages.
    pub(crate) name: &'a str,
    /// `[out_channels, in_channels, kernel, kernel]`, little-endian, perhaps unaligned.
    pub(crate) weight: &'a Bytes,
    pub(crate) dtype: Encoding,
    /// `[out_channels]`.
    pub(crate) bias: &'a [f32],
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3.
    pub(crate) kernel: usize,
}

impl<'a> Filter<'a> {
    /// The filters in the form that the kernels pack.
    pub(super) fn pack(&self) -> PackConv<'a> {
        PackConv {
            weight: self.weight,
            dtype: self.dtype,
            out_channels: self.out_channels,
            in_channels: self.in_channels,
            taps: self.kernel * self.kernel,
        }
    }
}
