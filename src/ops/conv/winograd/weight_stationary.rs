//! Winograd convolution whose transformed filters stay.
//!
//! ```text
//! transform the filters                                    `[slice][filter]`, packed panels
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

use super::blocking::Blocking;
use super::slice::Slice;
use super::stages::{Sizes, Stages, column_row};
use super::strides::{input_point, product_point, slice_pixel};
use crate::base::alloc;
use crate::base::buffer::{align_up, cast_mut};
use crate::base::error::Result;
use crate::kernels::{Panels, Prefetch, Sum};
use crate::ops::conv::layer::Layer;
use crate::ops::conv::method::Work;
use crate::ops::conv::output::{Item, Items, Results};
use crate::ops::conv::worker::{Scratch, Worker, floats};
use crate::ops::sums::group;

/// Input channels whose filters are transformed at a time: their columns stay in the first-level
/// cache.
const FILTER_CHANNELS: usize = 8;

/// The scratch memory of this order.
pub(super) fn scratch(blocking: &Blocking, layer: &Layer, panels: Panels) -> Scratch {
    let filters =
        Slice::all(layer, panels).map(|slice| slice.filters(blocking.winograd)).sum::<usize>();
    let Sizes { band, inputs, products, pixels } = Sizes::new(blocking, layer, panels);
    Scratch { shared: align_up(filters), worker: floats(band + inputs + products + pixels) }
}

/// Bytes that a worker of this order allocates beside.
pub(super) fn bookkeeping(blocking: &Blocking, panels: Panels) -> usize {
    blocking.winograd.columns() * column_row(panels, FILTER_CHANNELS) * size_of::<f32>()
}

/// A running Winograd convolution in this order.
pub(super) struct WeightStationary<'r> {
    pub(super) stages: Stages<'r>,
}

impl Work for WeightStationary<'_> {
    /// Transforms the filters, a slice an item.
    fn prepare(&self, shared: &mut [u8]) -> Result<()> {
        let mut rest = shared;
        let winograd = self.stages.winograd;
        let items = self.stages.slices.iter().map(move |slice| {
            (slice, rest.split_off_mut(..slice.filters(winograd)).unwrap_or_default())
        });
        self.stages.run.exec.each(items, |(slice, part)| self.filters(slice, part))
    }

    fn steps(&self, blocks: usize) -> usize {
        blocks
    }

    fn run(
        &self,
        shared: &mut [u8],
        workers: &mut [Worker<'_>],
        items: Items<'_>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let filters = &*shared;
        let threads = self.stages.run.exec.threads;
        threads.try_run(workers, items, tick, |worker, item| self.block(filters, worker, item?))
    }
}

impl WeightStationary<'_> {
    /// Transforms the filters of a slice.
    fn filters(&self, slice: &Slice, dst: &mut [u8]) -> Result<()> {
        let Stages { winograd, panels, .. } = self.stages;
        let (kernels, in_channels) = (self.stages.run.exec.kernels, self.stages.in_channels());
        let row_stride = column_row(panels, FILTER_CHANNELS);
        let length = winograd.columns() * row_stride;
        let mut columns = alloc::filled(0.0, length, "columns of filters")?;
        for panel in 0..slice.panels {
            for first in (0..in_channels).step_by(FILTER_CHANNELS) {
                let channels = first..in_channels.min(first + FILTER_CHANNELS);
                let values = column_row(panels, channels.len());
                let at = panel * panels.panel_bytes(in_channels) + panels.panel_bytes(first);
                self.stages.filter_columns(slice, panel, channels, row_stride, &mut columns);
                for (phase, y, row) in winograd.rows() {
                    let from = &columns[winograd.column(phase, y) * row_stride..][..values];
                    let (filters, stride) = (row.len(), slice.point_stride);
                    let to = &mut dst[row.start * stride + at..];
                    kernels.winograd_filter_row(winograd, phase, filters, from, stride, to);
                }
            }
        }
        Ok(())
    }

    fn block(&self, filters: &[u8], worker: &mut Worker<'_>, item: Item<'_>) -> Result<()> {
        let Stages { ref run, winograd, panels, ref slices, ref sizes, .. } = self.stages;
        let Worker { scratch, input, output } = worker;
        let (band, scratch) = cast_mut(scratch).split_at_mut(sizes.band);
        let (inputs, scratch) = scratch.split_at_mut(sizes.inputs);
        let (products, pixels) = scratch.split_at_mut(sizes.products);

        let Item { block, rows, sums: group_sums } = item;
        let grid = self.stages.blocking.grid(&block);
        self.stages.inputs(&grid, band, input, inputs)?;
        let input_point = input_point(self.stages.in_channels(), grid.tiles());
        let product_point = product_point(panels, grid.tiles());
        let stride = slice_pixel(panels);
        run.with_rows(&block, rows, output, |mut rows| {
            let channels = run.layer.output.channels;
            let mut sums = alloc::filled(Sum::default(), channels, "a block's sums")?;
            let mut filters = filters;
            for slice in slices {
                for phase in 0..winograd.phases() {
                    for point in 0..winograd.points() {
                        let Some(filter) = winograd.filter(phase, point) else { continue };
                        let filter = &filters[filter * slice.point_stride..];
                        let inputs = &inputs[point * input_point..];
                        let to = &mut products[point * product_point..];
                        self.stages.multiply(&grid, slice, inputs, filter, Prefetch::Panel, to);
                    }
                    self.stages.pixels(&grid, slice, phase, products, pixels);
                }
                for (row, out) in rows.iter_mut().enumerate() {
                    let values = &pixels[grid.row(row, stride)..];
                    run.store(Results { values, stride }, slice.channels.clone(), out, &mut sums);
                }
                filters = &filters[slice.filters(winograd)..];
            }
            group(&sums, group_sums);
            Ok(())
        })
    }
}
