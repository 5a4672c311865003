#![forbid(unsafe_code)]
//! Winograd convolution with the filters kept.
//!
//! ```text
//! transform the filters                                    `[slice][filter][panel][in_channel][nr]`
//! for each block of tiles                                  (an item)
//!     load and transform its inputs                        `[point][tile][in_channel]`
//!     for each slice of output channels
//!         for each phase
//!             for each point                               (one GEMM)
//!                 products = tiles * panels
//!             transform the products
//!         store the pixels
//! ```

use std::ops::ControlFlow;

use super::{Blocking, Grid, Sizes, Slice, input_strides, odd_lines, slice_stride};
use crate::base::error::Result;
use crate::kernels::threads::Threads;
use crate::kernels::{Ahead, Kernels, Sum, Winograd};
use crate::ops::conv::{Geometry, Item, Job, Scratch, Worker, floats};

/// Input channels whose filters are transformed at a time: their columns stay in the first-level cache.
const FILTER_CHANNELS: usize = 8;

impl Geometry {
    pub(super) fn blocks_scratch(&self, blocking: &Blocking, nr: usize) -> Scratch {
        let filters = Slice::all(self.output.channels, nr)
            .map(|slice| slice.values(blocking.winograd, self.input.channels, nr))
            .sum();
        let Sizes { band, inputs, products, pixels } = self.sizes(blocking, nr);
        Scratch { shared: floats(filters), worker: floats(band + inputs + products + pixels) }
    }
}

impl Job<'_> {
    /// Transforms the filters, a slice an item.
    pub(in crate::ops::conv) fn blocks_filters(
        &self,
        blocking: &Blocking,
        threads: &Threads,
        kernels: &Kernels,
        dst: &mut [f32],
    ) {
        let (nr, in_channels) = (kernels.nr(), self.geometry.input.channels);
        let mut rest = dst;
        let mut items = Vec::new();
        for slice in Slice::all(self.geometry.output.channels, nr) {
            let values = slice.values(blocking.winograd, in_channels, nr);
            let (part, tail) = rest.split_at_mut(values);
            items.push((slice, part));
            rest = tail;
        }
        let mut workers = vec![(); threads.count()];
        let _ = threads.run(
            &mut workers,
            items,
            &mut |_| ControlFlow::Continue(()),
            |(), (slice, part)| self.transform_filters(blocking.winograd, kernels, &slice, part),
        );
    }

    /// Transforms the filters of a slice, `[filter][panel][in_channel][nr]`.
    fn transform_filters(
        &self,
        winograd: Winograd,
        kernels: &Kernels,
        slice: &Slice,
        dst: &mut [f32],
    ) {
        let (nr, in_channels) = (kernels.nr(), self.geometry.input.channels);
        let filter_stride = slice.point_stride(in_channels, nr);
        let row_stride = FILTER_CHANNELS * 3 * nr;
        let mut columns = vec![0.0; winograd.columns() * row_stride];
        for panel in 0..slice.panels {
            for first in (0..in_channels).step_by(FILTER_CHANNELS) {
                let channels = first..in_channels.min(first + FILTER_CHANNELS);
                let values = channels.len() * 3 * nr;
                let at = (panel * in_channels + first) * nr;
                self.filter_columns(
                    winograd,
                    kernels,
                    (slice, panel),
                    channels,
                    row_stride,
                    &mut columns,
                );
                for (phase, y, filters) in winograd.rows() {
                    let from = &columns[winograd.column(phase, y) * row_stride..][..values];
                    let to = &mut dst[filters.start * filter_stride + at..];
                    let row = (phase, filters.len());
                    kernels.winograd_filter_row(winograd, row, from, filter_stride, to);
                }
            }
        }
    }

    pub(in crate::ops::conv) fn blocks_item(
        &self,
        blocking: &Blocking,
        kernels: &Kernels,
        filters: &[f32],
        bias: &[f32],
        worker: &mut Worker<'_>,
        item: Item<'_>,
    ) -> Result<()> {
        let (geometry, winograd, nr) = (&self.geometry, blocking.winograd, kernels.nr());
        let (in_channels, out_channels) = (geometry.input.channels, geometry.output.channels);
        let sizes = geometry.sizes(blocking, nr);
        let Worker { values, input, output } = worker;
        let (band, scratch) = values.split_at_mut(sizes.band);
        let (inputs, scratch) = scratch.split_at_mut(sizes.inputs);
        let (products, pixels) = scratch.split_at_mut(sizes.products);

        let Item { block, rows, sums: group_sums } = item;
        let grid = Grid::new(winograd, &block);
        self.transform_inputs(winograd, kernels, &grid, (band, input), inputs)?;
        let stride = slice_stride(nr);
        let (input_point, product_point) =
            (input_strides(in_channels, grid.tiles()).1, odd_lines(grid.tiles() * stride));
        self.with_rows(&block, rows, output, |mut rows| {
            let mut sums = vec![Sum::default(); out_channels];
            let mut filters = filters;
            for slice in Slice::all(out_channels, nr) {
                let bias = &bias[slice.first..][..slice.panels * nr];
                let filter_stride = slice.point_stride(in_channels, nr);
                for phase in 0..winograd.phases() {
                    for point in 0..winograd.points() {
                        let Some(filter) = winograd.filter(phase, point) else { continue };
                        let filter = &filters[filter * filter_stride..];
                        let operands = (&inputs[point * input_point..], filter, Ahead::Panel);
                        let to = &mut products[point * product_point..];
                        self.multiply(kernels, &grid, &slice, operands, to);
                    }
                    let bias = (phase, bias);
                    self.transform_products(winograd, kernels, &grid, bias, products, pixels);
                }
                for (row, out) in rows.iter_mut().enumerate() {
                    let at = grid.row(winograd, row, stride);
                    let channels = slice.first..slice.first + slice.channels;
                    self.store(kernels, (&pixels[at..], stride), channels, out, &mut sums);
                }
                filters = &filters[slice.values(winograd, in_channels, nr)..];
            }
            self.group(&sums, group_sums);
            Ok(())
        })
    }
}
