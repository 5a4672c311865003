#![forbid(unsafe_code)]
//! Convolution as an implicit GEMM: for each row of the block, `results = band * panels`.
//!
//! No im2col picture is ever made: pixels are channels-last, so a tap of a pixel is a run of
//! `channels` values in the band, and the GEMM reads it in place.

use std::ops::ControlFlow;

use super::band::Band;
use super::{Geometry, Item, Job, Resample, Scratch, Worker, even, floats};
use crate::base::buffer::ElementsMut;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::kernels::threads::Threads;
use crate::kernels::{Ahead, Gemm, Init, Kernels, Sum};

/// Input pixels a block may load: `channels` values of each stay in the second-level cache.
const BAND_VALUES: usize = 192 * 1024;
/// The widest block: eight register tiles of the widest kernel.
const BLOCK_WIDTH: usize = 104;
/// The tallest block, which bounds what one item costs and so how long a cancel waits.
const BLOCK_HEIGHT: usize = 8;

/// How a direct convolution is cut.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    /// Output rows and columns of a block.
    pub(super) block: (usize, usize),
    /// Values from a pixel to the next in the band.
    pixel_stride: usize,
}

impl Blocking {
    /// As tall and wide as the band allows, then evened out over the picture.
    pub(super) fn choose(
        in_channels: usize,
        output: Shape,
        kernel: usize,
        resample: Resample,
    ) -> Self {
        // Rows a multiple of 1 KiB apart fall into few sets of the first-level cache.
        let pixel_stride = in_channels + if in_channels.is_multiple_of(256) { 16 } else { 0 };
        let step = if resample == Resample::Halve { 2 } else { 1 };
        let reach = |n: usize| (n - 1) * step + kernel;
        let columns = even(output.width, BLOCK_WIDTH);
        let fits = |rows: usize| reach(rows) * reach(columns) * pixel_stride <= BAND_VALUES;
        let rows = (1..=BLOCK_HEIGHT).rev().find(|&rows| fits(rows)).unwrap_or(1);
        Self { block: (even(output.height, rows), columns), pixel_stride }
    }
}

impl Geometry {
    pub(super) fn direct_scratch(&self, blocking: &Blocking, nr: usize) -> Scratch {
        let (rows, columns) = blocking.block;
        let panels = self.panels(nr);
        Scratch {
            shared: floats(panels * nr * self.taps() * self.input.channels),
            worker: floats(self.direct_band(blocking, 0, 0, rows, columns).len())
                + floats(columns * panels * nr),
        }
    }

    /// What `rows` of `columns` output pixels from row `top` and column `left` on read.
    pub(super) fn direct_band(
        &self,
        blocking: &Blocking,
        top: usize,
        left: usize,
        rows: usize,
        columns: usize,
    ) -> Band {
        let reach = |n: usize| (n - 1) * self.step() + self.kernel;
        Band {
            top: top * self.step(),
            left: left * self.step(),
            rows: reach(rows),
            columns: reach(columns),
            channels: 0..self.input.channels,
            repeat: if self.resample == Resample::Double { 2 } else { 1 },
            pixel_stride: blocking.pixel_stride,
        }
    }
}

impl Job<'_> {
    /// Packs the filters of all banks into panels.
    pub(super) fn direct_filters(&self, threads: &Threads, kernels: &Kernels, dst: &mut [f32]) {
        let depth = self.geometry.taps() * self.geometry.input.channels;
        let panel = depth * kernels.nr();
        let mut rest = dst;
        let mut items = Vec::new();
        for filter in self.filters {
            let panels = filter.out_channels.div_ceil(kernels.nr());
            let (bank, tail) = rest.split_at_mut(panels * panel);
            items.extend(bank.chunks_exact_mut(panel).enumerate().map(|(i, dst)| (filter, i, dst)));
            rest = tail;
        }
        let mut workers = vec![(); threads.count()];
        // Packing takes milliseconds: not worth a check for a cancel.
        let _ = threads.run(
            &mut workers,
            items,
            &mut |_| ControlFlow::Continue(()),
            |(), (filter, index, dst)| kernels.pack_conv(&filter.pack(), index, dst),
        );
    }

    pub(super) fn direct_block(
        &self,
        blocking: &Blocking,
        kernels: &Kernels,
        filters: &[f32],
        bias: &[f32],
        worker: &mut Worker<'_>,
        item: Item<'_>,
    ) -> Result<()> {
        let Item { block, rows, sums } = item;
        let (top, left) = (block.rows.start, block.columns.start);
        let (down, across) = (block.rows.len(), block.columns.len());
        let band = self.geometry.direct_band(blocking, top, left, down, across);
        let Worker { values, input, output } = worker;
        self.with_rows(&block, rows, output, |rows| {
            let (loaded, results) = values.split_at_mut(band.len());
            let pixels = self.pixels(&band, &rows, input)?;
            self.load(kernels, &band, pixels, loaded);
            let channels = self.direct_rows(kernels, filters, bias, &band, (loaded, results), rows);
            self.group(&channels, sums);
            Ok(())
        })
    }

    /// Convolves the rows of a block; gives the sums of each channel.
    fn direct_rows(
        &self,
        kernels: &Kernels,
        filters: &[f32],
        bias: &[f32],
        band: &Band,
        (loaded, results): (&[f32], &mut [f32]),
        rows: Vec<ElementsMut<'_>>,
    ) -> Vec<Sum> {
        let geometry = &self.geometry;
        let (nr, panels) = (kernels.nr(), geometry.panels(kernels.nr()));
        let taps: Vec<usize> = (0..geometry.taps())
            .map(|tap| {
                tap / geometry.kernel * band.row_stride()
                    + tap % geometry.kernel * band.pixel_stride
            })
            .collect();
        let mut sums = vec![Sum::default(); geometry.output.channels];
        for (row, mut out) in rows.into_iter().enumerate() {
            let gemm = Gemm {
                a: &loaded[row * geometry.step() * band.row_stride()..],
                a_stride: geometry.step() * band.pixel_stride,
                rows: out.len() / self.output_pitch,
                taps: &taps,
                depth: geometry.input.channels,
                b: filters,
                panels,
                init: Init::Bias(bias),
                c_stride: panels * nr,
                ahead: Ahead::Panel,
            };
            kernels.gemm(&gemm, results);
            let (mut column, mut first) = (0, 0);
            for &bank in &geometry.banks {
                let results = (&results[column..], panels * nr);
                self.store(kernels, results, first..first + bank, &mut out, &mut sums);
                column += bank.next_multiple_of(nr);
                first += bank;
            }
        }
        sums
    }
}
