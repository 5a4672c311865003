#![forbid(unsafe_code)]
//! Winograd convolution with the picture kept, a strip of blocks at a time where the budget is tight.
//!
//! ```text
//! for each block of tiles                                  (an item)
//!     load and transform its inputs                        `[block][point][tile][in_channel]`
//! for each slice of output channels                        (an item)
//!     transform the columns of its filters                 `[row][panel][in_channel][3][nr]`
//!     for each phase
//!         for each row of points
//!             transform the row's filters                  `[filter][panel][in_channel][nr]`, which stay in
//!             for each point                               the second-level cache
//!                 for each block                           (one GEMM)
//!                     products = tiles * panels
//!         for each block
//!             transform the products                       `[slice][block][pixel][channel]`
//! for each block                                           (an item)
//!     store the pixels of all slices
//! ```

use std::ops::ControlFlow;

use super::{Blocking, Grid, Sizes, Slice, input_strides, odd_lines, slice_stride};
use crate::base::error::Result;
use crate::kernels::threads::Threads;
use crate::kernels::{Ahead, Kernels, Sum};
use crate::ops::conv::{Geometry, Item, Job, Scratch, Target, Worker, floats, merge, run_items};

impl Geometry {
    pub(super) fn slices_scratch(&self, blocking: &Blocking, nr: usize) -> Scratch {
        let Sizes { band, inputs, products, pixels } = self.sizes(blocking, nr);
        let blocks = self.blocks().len().min(blocking.strip);
        let slices = Slice::all(self.output.channels, nr).count();
        let filters = Slice::all(self.output.channels, nr)
            .map(|slice| {
                let (_, columns, row) = slice.stages(blocking.winograd, self.input.channels, nr);
                columns + row
            })
            .max()
            .unwrap_or(0);
        Scratch {
            shared: floats(blocks * inputs + slices * blocks * pixels),
            worker: floats(band.max(filters + blocks * products)),
        }
    }
}

impl Job<'_> {
    /// As [`Job::run`], with the two parts of the scratch memory.
    pub(in crate::ops::conv) fn slices_run(
        &self,
        blocking: &Blocking,
        threads: &Threads,
        kernels: &Kernels,
        out: Target<'_>,
        (shared, workers): (&mut [f32], &mut [Worker<'_>]),
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let (geometry, nr) = (&self.geometry, kernels.nr());
        let blocks = geometry.blocks();
        let slices: Vec<Slice> = Slice::all(geometry.output.channels, nr).collect();
        let bias = self.padded_bias(nr);
        let mut sums = vec![Sum::default(); blocks.len() * self.groups];
        let mut items = self.items(&blocks, out, &mut sums).into_iter();
        let strips = blocks.len().div_ceil(blocking.strip);
        let (total, mut before) = (2 * blocks.len() + strips * slices.len(), 0);
        for _ in 0..strips {
            let strip: Vec<Item<'_>> = items.by_ref().take(blocking.strip).collect();
            let done = 2 * strip.len() + slices.len();
            let mut progress = |done| tick(before + done, total);
            let shared = &mut *shared;
            let job = (&slices[..], &bias[..]);
            let scratch = (shared, &mut *workers);
            if self
                .strip(blocking, threads, kernels, job, strip, scratch, &mut progress)?
                .is_break()
            {
                return Ok(None);
            }
            before += done;
        }
        drop(items);
        Ok(Some(merge(&sums, self.groups)))
    }

    /// Convolves a strip of blocks.
    #[allow(clippy::too_many_arguments)]
    fn strip(
        &self,
        blocking: &Blocking,
        threads: &Threads,
        kernels: &Kernels,
        (slices, bias): (&[Slice], &[f32]),
        items: Vec<Item<'_>>,
        (shared, workers): (&mut [f32], &mut [Worker<'_>]),
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (winograd, nr, blocks) = (blocking.winograd, kernels.nr(), items.len());
        let sizes = self.geometry.sizes(blocking, nr);
        let grids: Vec<Grid> = items.iter().map(|item| Grid::new(winograd, &item.block)).collect();
        let (inputs, pixels) = shared.split_at_mut(blocks * sizes.inputs);

        let transforms = grids.iter().zip(inputs.chunks_exact_mut(sizes.inputs)).collect();
        let flow = run_items(threads, workers, transforms, tick, |worker, (grid, dst)| {
            let scratch = (&mut *worker.values, &mut *worker.input);
            self.transform_inputs(winograd, kernels, grid, scratch, dst)
        })?;
        if flow.is_break() {
            return Ok(flow);
        }

        let inputs = &*inputs;
        let slice_pixels = blocks * sizes.pixels;
        let products = slices.iter().zip(pixels.chunks_exact_mut(slice_pixels)).collect();
        let mut progress = |done| tick(blocks + done);
        let flow = run_items(threads, workers, products, &mut progress, |worker, (slice, dst)| {
            let bias = &bias[slice.first..][..slice.panels * nr];
            let scratch = (&mut *worker.values, dst);
            self.slice(blocking, kernels, &grids, slice, (inputs, bias), scratch);
            Ok(())
        })?;
        if flow.is_break() {
            return Ok(flow);
        }

        let pixels = &*pixels;
        let stores = items.into_iter().zip(&grids).enumerate().collect();
        let mut progress = |done| tick(blocks + slices.len() + done);
        run_items(threads, workers, stores, &mut progress, |worker, (block, (item, grid))| {
            let of_slice = |slice: usize| &pixels[slice * slice_pixels + block * sizes.pixels..];
            self.slices_store(blocking, kernels, grid, slices, of_slice, worker, item)
        })
    }

    /// Multiplies all blocks by the filters of one slice.
    fn slice(
        &self,
        blocking: &Blocking,
        kernels: &Kernels,
        grids: &[Grid],
        slice: &Slice,
        (inputs, bias): (&[f32], &[f32]),
        (scratch, dst): (&mut [f32], &mut [f32]),
    ) {
        let (winograd, nr, in_channels) =
            (blocking.winograd, kernels.nr(), self.geometry.input.channels);
        let sizes = self.geometry.sizes(blocking, nr);
        let (column_stride, columns, row) = slice.stages(winograd, in_channels, nr);
        let (columns, scratch) = scratch.split_at_mut(columns);
        let (filters, products) = scratch.split_at_mut(row);
        let all_columns = winograd.columns() * column_stride;
        for (panel, columns) in columns.chunks_exact_mut(all_columns).enumerate() {
            let at = (slice, panel);
            self.filter_columns(winograd, kernels, at, 0..in_channels, column_stride, columns);
        }
        let filter_stride = slice.point_stride(in_channels, nr);
        for phase in 0..winograd.phases() {
            let mut transformed = 0..0;
            for y in 0..winograd.inputs() {
                let Some(row) = winograd.row(phase, y) else { continue };
                if row != transformed {
                    let column = winograd.column(phase, y) * column_stride;
                    for (panel, columns) in columns.chunks_exact(all_columns).enumerate() {
                        let from = &columns[column..][..in_channels * 3 * nr];
                        let to = &mut filters[panel * in_channels * nr..];
                        let row = (phase, row.len());
                        kernels.winograd_filter_row(winograd, row, from, filter_stride, to);
                    }
                    transformed = row.clone();
                }
                for point in y * winograd.inputs()..(y + 1) * winograd.inputs() {
                    let Some(filter) = winograd.filter(phase, point) else { continue };
                    let filter = &filters[(filter - row.start) * filter_stride..];
                    for (block, grid) in grids.iter().enumerate() {
                        // The inputs of the next block come from the third-level cache.
                        let (next, at) = if block + 1 < grids.len() {
                            (block + 1, point)
                        } else {
                            (0, point + 1)
                        };
                        let ahead = &inputs[next * sizes.inputs..][..sizes.inputs];
                        let input_point = input_strides(in_channels, grid.tiles()).1;
                        let product_point = odd_lines(grid.tiles() * slice_stride(nr));
                        let from = &inputs[block * sizes.inputs + point * input_point..];
                        let to = &mut products[block * sizes.products + point * product_point..];
                        let ahead = ahead.get(at * input_point..(at + 1) * input_point);
                        let ahead = Ahead::Values(ahead.unwrap_or_default());
                        self.multiply(kernels, grid, slice, (from, filter, ahead), to);
                    }
                }
            }
            for (block, grid) in grids.iter().enumerate() {
                let from = &products[block * sizes.products..];
                let to = &mut dst[block * sizes.pixels..];
                self.transform_products(winograd, kernels, grid, (phase, bias), from, to);
            }
        }
    }

    /// Stores the pixels of a block, a slice of channels after the other.
    fn slices_store<'p>(
        &self,
        blocking: &Blocking,
        kernels: &Kernels,
        grid: &Grid,
        slices: &[Slice],
        pixels: impl Fn(usize) -> &'p [f32],
        worker: &mut Worker<'_>,
        item: Item<'_>,
    ) -> Result<()> {
        let stride = slice_stride(kernels.nr());
        let Item { block, rows, sums: group_sums } = item;
        self.with_rows(&block, rows, worker.output, |rows| {
            let mut sums = vec![Sum::default(); self.geometry.output.channels];
            for (row, mut out) in rows.into_iter().enumerate() {
                let at = grid.row(blocking.winograd, row, stride);
                for (index, slice) in slices.iter().enumerate() {
                    let channels = slice.first..slice.first + slice.channels;
                    let results = (&pixels(index)[at..], stride);
                    self.store(kernels, results, channels, &mut out, &mut sums);
                }
            }
            self.group(&sums, group_sums);
            Ok(())
        })
    }
}
