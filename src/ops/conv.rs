#![forbid(unsafe_code)]
//! Convolution as an implicit GEMM over blocks of the picture.
//!
//! ```text
//! pack the filters into panels                             (in parallel, a panel an item)
//! for each block of output pixels                          (in parallel, a block an item)
//!     load its input rows with their halo into a band:     normalise, activate, repeat, pad
//!     for each output row of the block
//!         accumulators = band * panels                     (one GEMM; a tap is an offset into the band)
//!         store(accumulators + bias + residual), summing what was stored for the next GroupNorm
//! ```
//!
//! No im2col picture is ever made: pixels are channels-last, so a tap of a pixel is a run of
//! `channels` values in the band, and the GEMM reads it in place.
//!
//! The blocks depend on the layer's shape alone, so neither threads nor budgets move a sum.

use std::ops::{ControlFlow, Range};

use crate::base::buffer::{Elements, ElementsMut, align_up, cast_mut};
use crate::base::dtype::DType;
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::kernels::threads::Threads;
use crate::kernels::{Act, AffineAct, Gemm, Init, Kernels, PackConv, Store, Sum};

/// A bank of filters as the checkpoint has it.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    /// Path in the network, for messages.
    pub(crate) name: &'a str,
    /// `[out_channels, in_channels, kernel, kernel]`, little-endian, perhaps unaligned.
    pub(crate) weight: &'a [u8],
    pub(crate) dtype: DType,
    /// `[out_channels]`.
    pub(crate) bias: &'a [f32],
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3.
    pub(crate) kernel: usize,
}

/// What happens to the resolution on the way through a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    /// Nothing: stride 1, padded by one on each side where the kernel is 3x3.
    Keep,
    /// Nearest-neighbour doubling before it.
    Double,
    /// Stride 2, padded by one row below and one column on the right (diffusers' `Downsample2D`).
    Halve,
}

/// Input pixels a block may load: `channels` values of each stay in the second-level cache.
const BAND_VALUES: usize = 192 * 1024;
/// The widest block: eight register tiles of the widest kernel.
const BLOCK_WIDTH: usize = 112;
/// The tallest block, which bounds what one item costs and so how long a cancel waits.
const BLOCK_HEIGHT: usize = 8;

/// The shape of a convolution, how it is cut into blocks, and what memory that takes.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    input: Shape,
    output: Shape,
    kernel: usize,
    resample: Resample,
    /// Output rows and columns of a block.
    block: (usize, usize),
    /// Values from a pixel to the next in the band.
    pixel_stride: usize,
    /// Output channels of each filter bank.
    banks: Vec<usize>,
}

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Geometry {
    /// # Errors
    /// `InvalidArgument` when the picture is too small to be halved or too large to be addressed,
    /// `Internal` when the filters do not belong to the input.
    pub(crate) fn new(input: Shape, filters: &[Filter<'_>], resample: Resample) -> Result<Self> {
        let first =
            filters.first().ok_or_else(|| Error::internal("convolution without a filter"))?;
        let fits = |f: &Filter<'_>| f.in_channels == input.channels && f.kernel == first.kernel;
        if let Some(odd) = filters.iter().find(|f| !fits(f)) {
            let (name, channels) = (odd.name, odd.in_channels);
            return Err(Error::internal(format!("{name} takes {channels} channels, not {input}")));
        }
        let (height, width) = match resample {
            Resample::Keep => (input.height, input.width),
            Resample::Double => (input.height * 2, input.width * 2),
            Resample::Halve => (input.height / 2, input.width / 2),
        };
        if height == 0 || width == 0 {
            return Err(Error::invalid(format!(
                "{}: a picture of {}x{} is too small to be halved",
                first.name, input.width, input.height
            )));
        }
        let banks: Vec<usize> = filters.iter().map(|f| f.out_channels).collect();
        let output = Shape::new(height, width, banks.iter().sum());
        output.bytes(DType::F32)?;
        // Rows a multiple of 1 KiB apart fall into few sets of the first-level cache.
        let pixel_stride = input.channels + if input.channels.is_multiple_of(256) { 16 } else { 0 };
        let mut geometry = Self {
            input,
            output,
            kernel: first.kernel,
            resample,
            block: (1, 1),
            pixel_stride,
            banks,
        };
        geometry.block = geometry.choose_block();
        Ok(geometry)
    }

    pub(crate) fn output(&self) -> Shape {
        self.output
    }

    /// Multiply-adds of the convolution, counted as a direct one.
    pub(crate) fn multiply_adds(&self) -> u64 {
        (self.output.len() as u64).saturating_mul((self.taps() * self.input.channels) as u64)
    }

    /// Bytes of scratch memory for `threads` workers and panels of `nr` columns.
    pub(crate) fn scratch(&self, nr: usize, threads: usize) -> Result<usize> {
        let sizes = self.sizes(nr);
        threads
            .checked_mul(sizes.worker())
            .and_then(|bytes| bytes.checked_add(sizes.packed))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    fn sizes(&self, nr: usize) -> Sizes {
        let (rows, columns) = self.block;
        let (band_rows, band_columns) = self.band(rows, columns);
        let panels = self.panels(nr);
        let floats = |n: usize| align_up(n * size_of::<f32>());
        Sizes {
            packed: floats(panels * nr * self.taps() * self.input.channels),
            band: floats(band_rows * band_columns * self.pixel_stride),
            accumulators: floats(columns * panels * nr),
        }
    }

    /// As tall and wide as the band allows, then evened out over the picture.
    fn choose_block(&self) -> (usize, usize) {
        let even = |length: usize, most: usize| length.div_ceil(length.div_ceil(most));
        let columns = even(self.output.width, BLOCK_WIDTH);
        let fits = |rows: usize| {
            let (band_rows, band_columns) = self.band(rows, columns);
            band_rows * band_columns * self.pixel_stride <= BAND_VALUES
        };
        let rows = (1..=BLOCK_HEIGHT).rev().find(|&rows| fits(rows)).unwrap_or(1);
        (even(self.output.height, rows), columns)
    }

    /// Rows and columns of the (doubled) input that a block of output pixels reads.
    fn band(&self, rows: usize, columns: usize) -> (usize, usize) {
        let reach = |n: usize| (n - 1) * self.step() + self.kernel;
        (reach(rows), reach(columns))
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn panels(&self, nr: usize) -> usize {
        self.banks.iter().map(|channels| channels.div_ceil(nr)).sum()
    }

    /// Input pixels from one output pixel to the next.
    fn step(&self) -> usize {
        if self.resample == Resample::Halve { 2 } else { 1 }
    }

    /// Zeros above and left of the picture.
    fn padding(&self) -> usize {
        if self.kernel == 3 && self.resample != Resample::Halve { 1 } else { 0 }
    }

    fn blocks(&self) -> Vec<Block> {
        let cut = |length: usize, size: usize| {
            (0..length).step_by(size).map(move |at| at..length.min(at + size))
        };
        cut(self.output.height, self.block.0)
            .flat_map(|rows| {
                cut(self.output.width, self.block.1)
                    .map(move |columns| Block { rows: rows.clone(), columns })
            })
            .collect()
    }
}

/// Bytes of each part of the scratch memory.
struct Sizes {
    packed: usize,
    band: usize,
    accumulators: usize,
}

impl Sizes {
    fn worker(&self) -> usize {
        self.band + self.accumulators
    }
}

/// Normalisation and activation of the input: `act(x * scale + shift)` with a scale and a shift for
/// each input channel.
#[derive(Clone)]
pub(crate) struct Prologue {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) act: Option<Act>,
}

/// A convolution to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) filters: &'a [Filter<'a>],
    pub(crate) input: Elements<'a>,
    pub(crate) prologue: Option<Prologue>,
    /// Add what the output holds already.
    pub(crate) residual: bool,
    /// Groups of output channels to sum over.
    pub(crate) groups: usize,
}

/// One worker's scratch memory.
struct Worker<'a> {
    band: &'a mut [f32],
    accumulators: &'a mut [f32],
}

/// One block, with the memory it writes.
struct Item<'a> {
    block: Block,
    /// The block's part of each output row.
    rows: Vec<ElementsMut<'a>>,
    sums: &'a mut [Sum],
}

impl Job<'_> {
    /// Runs the convolution into `out`, with `scratch` of [`Geometry::scratch`] bytes; gives the sums of
    /// each group of what was stored, or `None` when `tick` (items done, of how many) said to stop.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        kernels: &Kernels,
        out: ElementsMut<'_>,
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Option<Vec<Sum>> {
        let sizes = self.geometry.sizes(kernels.nr());
        let (packed, rest) = scratch.split_at_mut(sizes.packed);
        let packed: &mut [f32] = cast_mut(packed);
        self.pack(threads, kernels, packed);
        let packed = &*packed;

        let mut workers: Vec<Worker<'_>> = rest
            .chunks_exact_mut(sizes.worker())
            .map(|bytes| {
                let (band, accumulators) = bytes.split_at_mut(sizes.band);
                Worker { band: cast_mut(band), accumulators: cast_mut(accumulators) }
            })
            .collect();
        let blocks = self.geometry.blocks();
        let mut sums = vec![Sum::default(); blocks.len() * self.groups];
        let items = self.items(&blocks, out, &mut sums);
        let count = items.len();
        let bias = self.padded_bias(kernels.nr());
        let flow =
            threads.run(&mut workers, items, &mut |done| tick(done, count), |worker, item| {
                self.block(kernels, packed, &bias, worker, item)
            });
        flow.is_continue().then(|| merge(&sums, self.groups))
    }

    fn pack(&self, threads: &Threads, kernels: &Kernels, packed: &mut [f32]) {
        let depth = self.geometry.taps() * self.geometry.input.channels;
        let panel = depth * kernels.nr();
        let mut rest = packed;
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
            |(), (filter, index, dst)| {
                let job = PackConv {
                    weight: filter.weight,
                    dtype: filter.dtype,
                    out_channels: filter.out_channels,
                    in_channels: filter.in_channels,
                    taps: filter.kernel * filter.kernel,
                };
                kernels.pack_conv(&job, index, dst);
            },
        );
    }

    /// The biases of all banks, each bank padded to whole panels.
    fn padded_bias(&self, nr: usize) -> Vec<f32> {
        let mut bias = Vec::with_capacity(self.geometry.panels(nr) * nr);
        for filter in self.filters {
            bias.extend_from_slice(filter.bias);
            bias.resize(bias.len().next_multiple_of(nr), 0.0);
        }
        bias
    }

    /// Hands every block its part of the output and its sums.
    fn items<'o>(
        &self,
        blocks: &[Block],
        out: ElementsMut<'o>,
        sums: &'o mut [Sum],
    ) -> Vec<Item<'o>> {
        let shape = self.geometry.output;
        let mut items: Vec<Item<'o>> = blocks
            .iter()
            .cloned()
            .zip(sums.chunks_exact_mut(self.groups))
            .map(|(block, sums)| Item { rows: Vec::with_capacity(block.rows.len()), block, sums })
            .collect();
        let across = shape.width.div_ceil(self.geometry.block.1);
        let mut rest = out;
        for y in 0..shape.height {
            let first = y / self.geometry.block.0 * across;
            for item in &mut items[first..first + across] {
                let (segment, tail) = rest.split_at(item.block.columns.len() * shape.channels);
                item.rows.push(segment);
                rest = tail;
            }
        }
        items
    }

    fn block(
        &self,
        kernels: &Kernels,
        packed: &[f32],
        bias: &[f32],
        worker: &mut Worker<'_>,
        item: Item<'_>,
    ) {
        let geometry = &self.geometry;
        let (channels, nr) = (geometry.output.channels, kernels.nr());
        let (pixels, panels) = (item.block.columns.len(), geometry.panels(nr));
        let band_columns = self.load(kernels, worker.band, &item.block);
        let taps: Vec<usize> = (0..geometry.taps())
            .map(|tap| {
                (tap / geometry.kernel * band_columns + tap % geometry.kernel)
                    * geometry.pixel_stride
            })
            .collect();
        let mut sums = vec![Sum::default(); channels];
        for (row, mut out) in item.rows.into_iter().enumerate() {
            let start = row * geometry.step() * band_columns * geometry.pixel_stride;
            let gemm = Gemm {
                a: &worker.band[start..],
                a_stride: geometry.step() * geometry.pixel_stride,
                rows: pixels,
                taps: &taps,
                depth: geometry.input.channels,
                b: packed,
                panels,
                init: Init::Bias(bias),
                c_stride: panels * nr,
            };
            kernels.gemm(&gemm, worker.accumulators);
            let (mut column, mut first) = (0, 0);
            for &bank in &geometry.banks {
                let store = Store {
                    acc: &worker.accumulators[column..],
                    acc_stride: panels * nr,
                    pixels,
                    channels: bank,
                    residual: self.residual,
                    dst_stride: channels,
                };
                kernels.store(&store, out.tail(first), Some(&mut sums[first..first + bank]));
                column += bank.next_multiple_of(nr);
                first += bank;
            }
        }
        let per_group = channels / self.groups;
        for (group, channels) in item.sums.iter_mut().zip(sums.chunks_exact(per_group)) {
            *group = channels.iter().fold(Sum::default(), |total, &channel| total + channel);
        }
    }

    /// Loads the input pixels that `block` reads, normalised and activated, with zeros around the
    /// picture. Gives the band's columns.
    fn load(&self, kernels: &Kernels, band: &mut [f32], block: &Block) -> usize {
        let geometry = &self.geometry;
        let (rows, columns) = geometry.band(block.rows.len(), block.columns.len());
        let (step, padding, stride) = (geometry.step(), geometry.padding(), geometry.pixel_stride);
        let factor = if geometry.resample == Resample::Double { 2 } else { 1 };
        let (height, width) = (geometry.input.height * factor, geometry.input.width * factor);

        // Band column 0 is the picture's column `left - padding`.
        let left = block.columns.start * step;
        let before = padding.saturating_sub(left);
        let inside = (left + before - padding)..(left + columns - padding).min(width);
        let after = before + inside.len();
        let mut loaded = None;
        for row in 0..rows {
            let (done, rest) = band.split_at_mut(row * columns * stride);
            let line = &mut rest[..columns * stride];
            let y = (block.rows.start * step + row).checked_sub(padding).filter(|&y| y < height);
            let Some(y) = y.map(|y| y / factor) else {
                line.fill(0.0);
                continue;
            };
            if loaded == Some(y) {
                line.copy_from_slice(&done[(row - 1) * columns * stride..]);
                continue;
            }
            loaded = Some(y);
            line[..before * stride].fill(0.0);
            line[after * stride..].fill(0.0);
            let line = &mut line[before * stride..after * stride];
            for phase in 0..factor {
                self.load_pixels(kernels, y, &inside, factor, phase, line);
            }
        }
        columns
    }

    /// Loads every `factor`th of the (doubled) columns `inside` of input row `y`, from the one whose
    /// position in `inside` is `phase`.
    fn load_pixels(
        &self,
        kernels: &Kernels,
        y: usize,
        inside: &Range<usize>,
        factor: usize,
        phase: usize,
        line: &mut [f32],
    ) {
        if phase >= inside.len() {
            return;
        }
        let (shape, stride) = (self.geometry.input, self.geometry.pixel_stride);
        let pixels = (inside.len() - phase).div_ceil(factor);
        let first = (y * shape.width + (inside.start + phase) / factor) * shape.channels;
        let job = AffineAct {
            src: self.input.slice(first..first + pixels * shape.channels),
            src_stride: shape.channels,
            pixels,
            channels: shape.channels,
            affine: self.prologue.as_ref().map(|p| (&p.scale[..], &p.shift[..])),
            act: self.prologue.as_ref().and_then(|p| p.act),
            dst_stride: factor * stride,
        };
        kernels.affine_act(&job, &mut line[phase * stride..]);
    }
}

/// Adds up the sums of all blocks, in their order.
fn merge(sums: &[Sum], groups: usize) -> Vec<Sum> {
    let mut total = vec![Sum::default(); groups];
    for block in sums.chunks_exact(groups) {
        for (total, &sum) in total.iter_mut().zip(block) {
            *total = *total + sum;
        }
    }
    total
}
