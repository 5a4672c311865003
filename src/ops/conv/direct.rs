//! Convolution as an implicit GEMM: for each row of the block, `results = band * panels`.
//!
//! No im2col picture is ever made: pixels are channels-last, so a tap of a pixel is a run of
//! `channels` values in the band, and the GEMM reads it in place.

use std::ops::ControlFlow;

use super::band::Band;
use super::blocks::{Block, Cut, even};
use super::layer::Layer;
use super::method::{Method, Work};
use super::output::{Item, Items, Results};
use super::run::Run;
use super::worker::{FIXED, Scratch, Worker, floats};
use crate::base::alloc;
use crate::base::buffer::{ElementsMut, align_up, cast_mut};
use crate::base::error::Result;
use crate::kernels::{Gemm, Init, Panels, Prefetch, Sum};
use crate::ops::sums::group;

/// Input pixels a block may load: `channels` values of each stay in the second-level cache.
const BAND_VALUES: usize = 192 * 1024;
/// The widest block: eight register tiles of the widest kernel.
const BLOCK_WIDTH: usize = 104;
/// The tallest block: it bounds the time of one item, and so the delay of a cancel.
const BLOCK_HEIGHT: usize = 8;

/// The cut of a direct convolution.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    cut: Cut,
    /// Values from one pixel to the next in the band.
    pixel_stride: usize,
}

impl Blocking {
    /// Chooses blocks as tall and wide as the band allows, then evens them out over the picture.
    pub(super) fn choose(layer: &Layer) -> Self {
        let in_channels = layer.input.channels;
        // Rows a multiple of 1 KiB apart fall into few sets of the first-level cache.
        let pixel_stride = in_channels + if in_channels.is_multiple_of(256) { 16 } else { 0 };
        let reach = |n: usize| (n - 1) * layer.step() + layer.kernel;
        let columns = even(layer.output.width, BLOCK_WIDTH);
        let fits = |rows: usize| reach(rows) * reach(columns) * pixel_stride <= BAND_VALUES;
        let rows = (1..=BLOCK_HEIGHT).rev().find(|&rows| fits(rows)).unwrap_or(1);
        let rows = even(layer.output.height, rows);
        Self { cut: Cut { rows, columns, origin: 0 }, pixel_stride }
    }

    /// The band of `block`.
    fn band_of(&self, layer: &Layer, block: &Block) -> Band {
        let reach = |n: usize| (n - 1) * layer.step() + layer.kernel;
        Band {
            top: block.rows.start * layer.step(),
            left: block.columns.start * layer.step(),
            rows: reach(block.rows.len()),
            columns: reach(block.columns.len()),
            channels: 0..layer.input.channels,
            repeat: layer.repeat(),
            pixel_stride: self.pixel_stride,
        }
    }
}

impl Method for Blocking {
    fn cut(&self) -> Cut {
        self.cut
    }

    fn band(&self, layer: &Layer) -> Band {
        let Cut { rows, columns, .. } = self.cut;
        self.band_of(layer, &Block { rows: 0..rows, columns: 0..columns })
    }

    fn scratch(&self, layer: &Layer, panels: Panels) -> Scratch {
        let columns = layer.columns(panels);
        Scratch {
            shared: align_up(panels.bytes(layer.depth(), columns)),
            worker: floats(self.band(layer).len()) + floats(self.cut.columns * columns),
        }
    }

    fn by_rows(&self) -> bool {
        true
    }

    fn begin<'r>(&'r self, run: Run<'r>) -> Result<Box<dyn Work + 'r>> {
        let (panels, bias) = (run.panels(), run.bias()?);
        Ok(Box::new(Direct { run, blocking: self, panels, bias }))
    }

    fn bookkeeping(&self, layer: &Layer, _: Panels, threads: usize) -> usize {
        threads.saturating_mul(layer.taps() * size_of::<usize>()).saturating_add(FIXED)
    }
}

/// A running direct convolution.
struct Direct<'r> {
    run: Run<'r>,
    blocking: &'r Blocking,
    panels: Panels,
    bias: Vec<f32>,
}

impl Work for Direct<'_> {
    /// Packs the filters of all banks into panels.
    fn prepare(&self, shared: &mut [u8]) -> Result<()> {
        let (exec, panels) = (self.run.exec, self.panels);
        let panel = panels.panel_bytes(self.run.layer.depth());
        let mut rest = shared;
        let items = self.run.operands.filters.iter().flat_map(move |filter| {
            let bank = rest.split_off_mut(..panels.count(filter.out_channels) * panel);
            let parts = bank.unwrap_or_default().chunks_exact_mut(panel).enumerate();
            parts.map(move |(i, dst)| (filter, i, dst))
        });
        exec.each(items, |(filter, i, dst)| {
            exec.kernels.pack_conv(&filter.pack(), i, dst);
            Ok(())
        })
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
        let threads = self.run.exec.threads;
        threads.try_run(workers, items, tick, |worker, item| self.block(filters, worker, item?))
    }
}

impl Direct<'_> {
    fn block(&self, filters: &[u8], worker: &mut Worker<'_>, item: Item<'_>) -> Result<()> {
        let Item { block, rows, sums } = item;
        let band = self.blocking.band_of(self.run.layer, &block);
        let Worker { scratch, input, output } = worker;
        let (loaded, results) = cast_mut(scratch).split_at_mut(band.len());
        self.run.with_rows(&block, rows, output, |rows| {
            let pixels = self.run.pixels(&band, &rows, input)?;
            self.run.load(&band, pixels, loaded);
            let channels = self.rows(filters, &band, loaded, results, rows)?;
            group(&channels, sums);
            Ok(())
        })
    }

    /// Convolves the rows of a block; returns the sums of each channel.
    fn rows(
        &self,
        filters: &[u8],
        band: &Band,
        loaded: &[f32],
        results: &mut [f32],
        rows: Vec<ElementsMut<'_>>,
    ) -> Result<Vec<Sum>> {
        let layer = self.run.layer;
        let columns = self.bias.len();
        let taps = (0..layer.taps()).map(|tap| {
            tap / layer.kernel * band.row_stride() + tap % layer.kernel * band.pixel_stride
        });
        let taps = alloc::collected(taps, "offsets")?;
        let mut sums = alloc::filled(Sum::default(), layer.output.channels, "a block's sums")?;
        for (row, mut out) in rows.into_iter().enumerate() {
            let gemm = Gemm {
                a: &loaded[row * layer.step() * band.row_stride()..],
                a_stride: layer.step() * band.pixel_stride,
                rows: out.len() / self.run.operands.output_pitch,
                taps: &taps,
                depth: layer.input.channels,
                b: filters,
                columns,
                init: Init::Bias(&self.bias),
                c_stride: columns,
                prefetch: Prefetch::Panel,
            };
            self.run.exec.kernels.gemm(&gemm, results);
            let (mut column, mut first) = (0, 0);
            for &bank in &layer.banks {
                let results = Results { values: &results[column..], stride: columns };
                self.run.store(results, first..first + bank, &mut out, &mut sums);
                column += self.panels.filled(bank);
                first += bank;
            }
        }
        Ok(sums)
    }
}
