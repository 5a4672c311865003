//! Slices of output channels.

use std::ops::Range;

use super::strides::{SLICE, odd_lines};
use crate::kernels::{Panels, Winograd};
use crate::ops::conv::layer::Layer;

/// A slice of output channels, cut into panels.
pub(super) struct Slice {
    pub(super) channels: Range<usize>,
    /// Its first panel, and how many it has.
    pub(super) first_panel: usize,
    pub(super) panels: usize,
    /// Bytes of the transformed filters from a point to the next.
    pub(super) point_stride: usize,
}

impl Slice {
    /// Those of a layer.
    pub(super) fn all(layer: &Layer, panels: Panels) -> impl Iterator<Item = Self> {
        let (in_channels, out_channels) = (layer.input.channels, layer.output.channels);
        (0..out_channels).step_by(SLICE).map(move |first| {
            let channels = first..out_channels.min(first + SLICE);
            Self {
                first_panel: panels.count(first),
                panels: panels.count(channels.len()),
                point_stride: odd_lines(panels.bytes(in_channels, channels.len())),
                channels,
            }
        })
    }

    /// Bytes of all its transformed filters.
    pub(super) fn filters(&self, winograd: Winograd) -> usize {
        winograd.filters() * self.point_stride
    }

    /// Bytes of a row of its transformed filters.
    pub(super) fn filter_row(&self, winograd: Winograd) -> usize {
        winograd.values() * self.point_stride
    }
}
