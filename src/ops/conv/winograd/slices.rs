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
use crate::kernels::{Ahead, Kernels, Sum, Winograd};
use crate::ops::conv::{Geometry, Item, Job, Scratch, Target, Worker, floats};
use crate::ops::sums::merge;

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
        let blocks = self.geometry.blocks();
        let run = Slices {
            job: self,
            winograd: blocking.winograd,
            kernels,
            sizes: self.geometry.sizes(blocking, kernels.nr()),
            slices: Slice::all(self.geometry.output.channels, kernels.nr()).collect(),
            bias: self.padded_bias(kernels.nr()),
        };
        let mut sums = vec![Sum::default(); blocks.len() * self.groups];
        let mut items = self.items(&blocks, out, &mut sums).into_iter();
        let strips = blocks.len().div_ceil(blocking.strip);
        let (total, mut before) = (2 * blocks.len() + strips * run.slices.len(), 0);
        for _ in 0..strips {
            let strip: Vec<Item<'_>> = items.by_ref().take(blocking.strip).collect();
            let after = before + 2 * strip.len() + run.slices.len();
            let mut progress = |done| tick(before + done, total);
            if run.strip(threads, strip, (shared, workers), &mut progress)?.is_break() {
                return Ok(None);
            }
            before = after;
        }
        drop(items);
        Ok(Some(merge(&sums, self.groups)))
    }
}

/// A convolution with the picture kept, at work.
struct Slices<'r, 'a> {
    job: &'r Job<'a>,
    winograd: Winograd,
    kernels: &'r Kernels,
    sizes: Sizes,
    slices: Vec<Slice>,
    bias: Vec<f32>,
}

impl Slices<'_, '_> {
    /// Convolves a strip of blocks.
    fn strip(
        &self,
        threads: &Threads,
        items: Vec<Item<'_>>,
        (shared, workers): (&mut [f32], &mut [Worker<'_>]),
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let Self { job, winograd, kernels, sizes, slices, .. } = self;
        let blocks = items.len();
        let grids: Vec<Grid> = items.iter().map(|item| Grid::new(*winograd, &item.block)).collect();
        let (inputs, pixels) = shared.split_at_mut(blocks * sizes.inputs);

        let transforms = grids.iter().zip(inputs.chunks_exact_mut(sizes.inputs)).collect();
        let flow = threads.try_run(workers, transforms, tick, |worker, (grid, dst)| {
            let scratch = (&mut *worker.values, &mut *worker.input);
            job.transform_inputs(*winograd, kernels, grid, scratch, dst)
        })?;
        if flow.is_break() {
            return Ok(flow);
        }

        let inputs = &*inputs;
        let slice_pixels = blocks * sizes.pixels;
        let products = slices.iter().zip(pixels.chunks_exact_mut(slice_pixels)).collect();
        let mut progress = |done| tick(blocks + done);
        let flow = threads.run(workers, products, &mut progress, |worker, (slice, dst)| {
            self.slice(&grids, slice, inputs, worker.values, dst);
        });
        if flow.is_break() {
            return Ok(flow);
        }

        let pixels = &*pixels;
        let stores = items.into_iter().zip(&grids).enumerate().collect();
        let mut progress = |done| tick(blocks + slices.len() + done);
        threads.try_run(workers, stores, &mut progress, |worker, (block, (item, grid))| {
            let of_slice = |slice: usize| &pixels[slice * slice_pixels + block * sizes.pixels..];
            self.store(grid, of_slice, worker, item)
        })
    }

    /// Multiplies all blocks by the filters of one slice, and transforms the products into pixels.
    fn slice(
        &self,
        grids: &[Grid],
        slice: &Slice,
        inputs: &[f32],
        scratch: &mut [f32],
        dst: &mut [f32],
    ) {
        let Self { job, winograd, kernels, sizes, .. } = self;
        let (nr, in_channels) = (kernels.nr(), job.geometry.input.channels);
        let bias = &self.bias[slice.first..][..slice.panels * nr];
        let (column_stride, columns, row) = slice.stages(*winograd, in_channels, nr);
        let (columns, scratch) = scratch.split_at_mut(columns);
        let (filters, products) = scratch.split_at_mut(row);
        let panel_columns = winograd.columns() * column_stride;
        for (panel, columns) in columns.chunks_exact_mut(panel_columns).enumerate() {
            let at = (slice, panel);
            job.filter_columns(*winograd, kernels, at, 0..in_channels, column_stride, columns);
        }
        let stride = slice.point_stride(in_channels, nr);
        for phase in 0..winograd.phases() {
            let mut transformed = 0..0;
            for y in 0..winograd.inputs() {
                let Some(row) = winograd.row(phase, y) else { continue };
                if row != transformed {
                    let column = winograd.column(phase, y) * column_stride;
                    for (panel, columns) in columns.chunks_exact(panel_columns).enumerate() {
                        let from = &columns[column..][..in_channels * 3 * nr];
                        let to = &mut filters[panel * in_channels * nr..];
                        kernels.winograd_filter_row(
                            *winograd,
                            (phase, row.len()),
                            from,
                            stride,
                            to,
                        );
                    }
                    transformed = row.clone();
                }
                for point in y * winograd.inputs()..(y + 1) * winograd.inputs() {
                    let Some(filter) = winograd.filter(phase, point) else { continue };
                    let filter = &filters[(filter - row.start) * stride..];
                    self.point(grids, slice, point, (inputs, filter), products);
                }
            }
            for (block, grid) in grids.iter().enumerate() {
                let from = &products[block * sizes.products..];
                let to = &mut dst[block * sizes.pixels..];
                job.transform_products(*winograd, kernels, grid, (phase, bias), from, to);
            }
        }
    }

    /// Multiplies all blocks at one point.
    fn point(
        &self,
        grids: &[Grid],
        slice: &Slice,
        point: usize,
        (inputs, filter): (&[f32], &[f32]),
        products: &mut [f32],
    ) {
        let in_channels = self.job.geometry.input.channels;
        for (block, grid) in grids.iter().enumerate() {
            let input_point = input_strides(in_channels, grid.tiles()).1;
            let product_point = odd_lines(grid.tiles() * slice_stride(self.kernels.nr()));
            let from = &inputs[block * self.sizes.inputs + point * input_point..];
            let to = &mut products[block * self.sizes.products + point * product_point..];
            // The inputs of the next product come from the third-level cache.
            let (next, at) =
                if block + 1 < grids.len() { (block + 1, point) } else { (0, point + 1) };
            let ahead = &inputs[next * self.sizes.inputs..][..self.sizes.inputs];
            let ahead = ahead.get(at * input_point..(at + 1) * input_point).unwrap_or_default();
            let operands = (from, filter, Ahead::Values(ahead));
            self.job.multiply(self.kernels, grid, slice, operands, to);
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
        let stride = slice_stride(self.kernels.nr());
        let Item { block, rows, sums: group_sums } = item;
        self.job.with_rows(&block, rows, worker.output, |rows| {
            let mut sums = vec![Sum::default(); self.job.geometry.output.channels];
            for (row, mut out) in rows.into_iter().enumerate() {
                let at = grid.row(self.winograd, row, stride);
                for (index, slice) in self.slices.iter().enumerate() {
                    let channels = slice.first..slice.first + slice.channels;
                    let results = (&pixels(index)[at..], stride);
                    self.job.store(self.kernels, results, channels, &mut out, &mut sums);
                }
            }
            self.job.group(&sums, group_sums);
            Ok(())
        })
    }
}
