//! Input-stationary Winograd convolution: the transformed picture stays, a strip of blocks at a
//! time if the budget is tight.
//!
//! ```text
//! for each block of tiles                                  (an item)
//!     load and transform its inputs                        `[block][point][tile][in_channel]`
//! for each slice of output channels                        (an item)
//!     transform the columns of its filters                 `[panel][row][in_channel][3]`
//!     for each phase
//!         for each row of points
//!             transform the row's filters                  `[filter]`, packed panels, which stay
//!             for each point                               in the second-level cache
//!                 for each block                           (one GEMM)
//!                     products = tiles * panels
//!         for each block
//!             transform the products                       `[slice][block][pixel][channel]`
//! for each block                                           (an item)
//!     store the pixels of all slices
//! ```

use std::ops::ControlFlow;

use super::blocking::Blocking;
use super::grid::Grid;
use super::slice::Slice;
use super::stages::{Sizes, Stages, column_row};
use super::strides::{input_point, odd_values, product_point, slice_pixel};
use crate::base::alloc;
use crate::base::buffer::{align_up, cast_mut};
use crate::base::error::Result;
use crate::kernels::{Panels, Prefetch, Sum, Winograd};
use crate::ops::conv::layer::Layer;
use crate::ops::conv::method::Work;
use crate::ops::conv::output::{Item, Items, Results};
use crate::ops::conv::worker::{Scratch, Worker, floats};
use crate::ops::sums::group;

/// The scratch memory of this order.
pub(super) fn scratch(blocking: &Blocking, layer: &Layer, panels: Panels) -> Scratch {
    let Sizes { band, inputs, products, pixels } = Sizes::new(blocking, layer, panels);
    let strip = strip(blocking, layer);
    let slices = Slice::all(layer, panels).count();
    let in_channels = layer.input.channels;
    let filters = Slice::all(layer, panels)
        .map(|slice| {
            let columns = Columns::new(blocking.winograd, in_channels, panels);
            columns.bytes(&slice) + slice.filter_row(blocking.winograd)
        })
        .max()
        .unwrap_or(0);
    let multiplying = filters + strip * products * size_of::<f32>();
    Scratch {
        shared: floats(strip * inputs + slices * strip * pixels),
        worker: align_up(multiplying.max(band * size_of::<f32>())),
    }
}

/// Bytes that this order allocates beside: the tiles of each block of a strip.
pub(super) fn bookkeeping(blocking: &Blocking, layer: &Layer) -> usize {
    strip(blocking, layer).saturating_mul(size_of::<Grid>())
}

/// Blocks of the largest strip.
fn strip(blocking: &Blocking, layer: &Layer) -> usize {
    blocking.blocks().count(layer.output.height, layer.output.width).min(blocking.strip)
}

/// Values of transformed columns of filters: from a row to the next, and from a panel to the next.
struct Columns {
    row: usize,
    panel: usize,
}

impl Columns {
    fn new(winograd: Winograd, in_channels: usize, panels: Panels) -> Self {
        let row = odd_values(column_row(panels, in_channels));
        Self { row, panel: winograd.columns() * row }
    }

    /// Bytes of those of a slice.
    fn bytes(&self, slice: &Slice) -> usize {
        slice.panels * self.panel * size_of::<f32>()
    }
}

/// A running Winograd convolution in this order.
pub(super) struct InputStationary<'r> {
    pub(super) stages: Stages<'r>,
    /// Number of blocks whose transformed inputs are kept at a time.
    pub(super) strip: usize,
}

impl Work for InputStationary<'_> {
    /// Nothing: filters are transformed slice by slice.
    fn prepare(&self, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn steps(&self, blocks: usize) -> usize {
        2 * blocks + blocks.div_ceil(self.strip) * self.stages.slices.len()
    }

    fn run(
        &self,
        shared: &mut [u8],
        workers: &mut [Worker<'_>],
        mut items: Items<'_>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (shared, mut before) = (cast_mut(shared), 0);
        while items.left() > 0 {
            let after = before + self.steps(items.left().min(self.strip));
            let flow = self.strip(shared, workers, &mut items, &mut |done| tick(before + done))?;
            if flow.is_break() {
                return Ok(flow);
            }
            before = after;
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl InputStationary<'_> {
    /// Convolves the next strip of blocks.
    fn strip(
        &self,
        shared: &mut [f32],
        workers: &mut [Worker<'_>],
        items: &mut Items<'_>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let Stages { ref run, ref slices, ref sizes, .. } = self.stages;
        let (threads, blocks) = (run.exec.threads, items.left().min(self.strip));
        let grids = (0..blocks).map(|after| self.stages.blocking.grid(&items.block(after)));
        let grids = alloc::collected(grids, "a strip of blocks")?;
        let (inputs, pixels) = shared.split_at_mut(blocks * sizes.inputs);

        let transforms = grids.iter().zip(inputs.chunks_exact_mut(sizes.inputs));
        let flow = threads.try_run(workers, transforms, tick, |worker, (grid, dst)| {
            self.stages.inputs(grid, cast_mut(worker.scratch), worker.input, dst)
        })?;
        if flow.is_break() {
            return Ok(flow);
        }

        let inputs = &*inputs;
        let slice_pixels = blocks * sizes.pixels;
        let products = slices.iter().zip(pixels.chunks_exact_mut(slice_pixels));
        let mut progress = |done| tick(blocks + done);
        let flow = threads.run(workers, products, &mut progress, |worker, (slice, dst)| {
            self.slice(&grids, slice, inputs, worker.scratch, dst);
        });
        if flow.is_break() {
            return Ok(flow);
        }

        let pixels = &*pixels;
        // In this order, so that no item is taken beyond the last grid.
        let stores = grids.iter().zip(items).enumerate();
        let mut progress = |done| tick(blocks + slices.len() + done);
        threads.try_run(workers, stores, &mut progress, |worker, (block, (grid, item))| {
            let of_slice = |slice: usize| &pixels[slice * slice_pixels + block * sizes.pixels..];
            self.store(grid, of_slice, worker, item?)
        })
    }

    /// Multiplies all blocks by the filters of one slice, and transforms the products into pixels.
    fn slice(
        &self,
        grids: &[Grid],
        slice: &Slice,
        inputs: &[f32],
        scratch: &mut [u8],
        dst: &mut [f32],
    ) {
        let Stages { ref run, winograd, panels, ref sizes, .. } = self.stages;
        let (kernels, in_channels) = (run.exec.kernels, self.stages.in_channels());
        let stride = Columns::new(winograd, in_channels, panels);
        let (columns, scratch) = scratch.split_at_mut(stride.bytes(slice));
        let (filters, products) = scratch.split_at_mut(slice.filter_row(winograd));
        let (columns, products) = (cast_mut(columns), cast_mut(products));
        for (panel, columns) in columns.chunks_exact_mut(stride.panel).enumerate() {
            self.stages.filter_columns(slice, panel, 0..in_channels, stride.row, columns);
        }
        for phase in 0..winograd.phases() {
            let mut transformed = 0..0;
            for y in 0..winograd.inputs() {
                let Some(row) = winograd.row(phase, y) else { continue };
                if row != transformed {
                    let column = winograd.column(phase, y) * stride.row;
                    for (panel, columns) in columns.chunks_exact(stride.panel).enumerate() {
                        let from = &columns[column..][..column_row(panels, in_channels)];
                        let to = &mut filters[panel * panels.panel_bytes(in_channels)..];
                        let (filters, stride) = (row.len(), slice.point_stride);
                        kernels.winograd_filter_row(winograd, phase, filters, from, stride, to);
                    }
                    transformed = row.clone();
                }
                for point in y * winograd.inputs()..(y + 1) * winograd.inputs() {
                    let Some(filter) = winograd.filter(phase, point) else { continue };
                    let filter = &filters[(filter - row.start) * slice.point_stride..];
                    self.point(grids, slice, point, inputs, filter, products);
                }
            }
            for (block, grid) in grids.iter().enumerate() {
                let from = &products[block * sizes.products..];
                let to = &mut dst[block * sizes.pixels..];
                self.stages.pixels(grid, slice, phase, from, to);
            }
        }
    }

    /// Multiplies all blocks at one point.
    fn point(
        &self,
        grids: &[Grid],
        slice: &Slice,
        point: usize,
        inputs: &[f32],
        filter: &[u8],
        products: &mut [f32],
    ) {
        let Stages { panels, ref sizes, .. } = self.stages;
        let in_channels = self.stages.in_channels();
        for (block, grid) in grids.iter().enumerate() {
            let input_point = input_point(in_channels, grid.tiles());
            let product_point = product_point(panels, grid.tiles());
            let from = &inputs[block * sizes.inputs + point * input_point..];
            let to = &mut products[block * sizes.products + point * product_point..];
            // The inputs of the next product come from the third-level cache.
            let (next, at) =
                if block + 1 < grids.len() { (block + 1, point) } else { (0, point + 1) };
            let prefetch = &inputs[next * sizes.inputs..][..sizes.inputs];
            let prefetch =
                prefetch.get(at * input_point..(at + 1) * input_point).unwrap_or_default();
            self.stages.multiply(grid, slice, from, filter, Prefetch::Values(prefetch), to);
        }
    }

    /// Stores the pixels of a block, a slice of channels after the other.
    fn store<'p>(
        &self,
        grid: &Grid,
        pixels: impl Fn(usize) -> &'p [f32],
        worker: &mut Worker<'_>,
        item: Item<'_>,
    ) -> Result<()> {
        let Stages { ref run, panels, ref slices, .. } = self.stages;
        let stride = slice_pixel(panels);
        let Item { block, rows, sums: group_sums } = item;
        run.with_rows(&block, rows, worker.output, |rows| {
            let channels = run.layer.output.channels;
            let mut sums = alloc::filled(Sum::default(), channels, "a block's sums")?;
            for (row, mut out) in rows.into_iter().enumerate() {
                let at = grid.row(row, stride);
                for (index, slice) in slices.iter().enumerate() {
                    let results = Results { values: &pixels(index)[at..], stride };
                    run.store(results, slice.channels.clone(), &mut out, &mut sums);
                }
            }
            group(&sums, group_sums);
            Ok(())
        })
    }
}
