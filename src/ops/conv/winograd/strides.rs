//! Strides of transformed values: odd numbers of cache lines, so that the points of a value do not
//! fall into one cache set.

use crate::base::buffer::ALIGN;
use crate::kernels::Panels;

/// Output channels of a slice: their products stay in the second-level cache.
pub(super) const SLICE: usize = 32;

/// `bytes` rounded up to an odd number of cache lines.
pub(super) fn odd_lines(bytes: usize) -> usize {
    let lines = bytes.div_ceil(ALIGN);
    ALIGN * (lines + usize::from(lines.is_multiple_of(2)))
}

/// `values` of f32, rounded up to an odd number of cache lines.
pub(super) fn odd_values(values: usize) -> usize {
    odd_lines(values * size_of::<f32>()) / size_of::<f32>()
}

/// Values from one tile to the next in the transformed inputs of a block.
pub(super) fn input_tile(in_channels: usize) -> usize {
    odd_values(in_channels)
}

/// Values from one point to the next in the transformed inputs of a block of `tiles` tiles.
pub(super) fn input_point(in_channels: usize, tiles: usize) -> usize {
    odd_values(tiles * input_tile(in_channels))
}

/// Values from a pixel (and a tile's product) of a slice to the next.
pub(super) fn slice_pixel(panels: Panels) -> usize {
    panels.filled(SLICE)
}

/// Values of the products of a slice and a block of `tiles` tiles from a point to the next.
pub(super) fn product_point(panels: Panels, tiles: usize) -> usize {
    odd_values(tiles * slice_pixel(panels))
}
