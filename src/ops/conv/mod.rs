#![forbid(unsafe_code)]
//! Convolution over blocks of the picture, in one pass from stored activation to stored activation.
//!
//! ```text
//! prepare the filters                                      (in parallel)
//! for each block of output pixels                          (in parallel, a block an item)
//!     load its input pixels with their halo into a band:   normalise, activate, repeat, pad
//!     convolve:                                            `direct`, or `winograd` for 3x3 filters
//!     store(results + bias + residual), summing what was stored for the next GroupNorm
//! ```
//!
//! The method and the blocks depend on the layer's shape alone, so neither threads nor budgets move a
//! sum.

mod band;
mod direct;
mod fork;
mod storage;
#[cfg(test)]
mod tests;
mod winograd;

use std::ops::{ControlFlow, Range};

use crate::base::buffer::{Bytes, ElementsMut, align_up, cast_mut};
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::threads::Threads;
use crate::kernels::{Act, Kernels, PackConv, Store, Sum};
use crate::ops::sums::merge;
pub(crate) use fork::{Fork, ForkJob};
use storage::Rows;
pub(crate) use storage::{Source, Staged, Target};
use winograd::Order;

/// A bank of filters as the checkpoint has it.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    /// Path in the network, for messages.
    pub(crate) name: &'a str,
    /// `[out_channels, in_channels, kernel, kernel]`, little-endian, perhaps unaligned.
    pub(crate) weight: &'a Bytes,
    pub(crate) dtype: Encoding,
    /// `[out_channels]`.
    pub(crate) bias: &'a [f32],
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// 1 or 3.
    pub(crate) kernel: usize,
}

impl<'a> Filter<'a> {
    fn pack(&self) -> PackConv<'a> {
        PackConv {
            weight: self.weight,
            dtype: self.dtype,
            out_channels: self.out_channels,
            in_channels: self.in_channels,
            taps: self.kernel * self.kernel,
        }
    }
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

/// The shape of a convolution, the method that computes it, and how it is cut into blocks.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    input: Shape,
    output: Shape,
    kernel: usize,
    resample: Resample,
    /// Output channels of each filter bank.
    banks: Vec<usize>,
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    Direct(direct::Blocking),
    Winograd(winograd::Blocking),
}

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Bytes of scratch memory: what all workers share, such as the prepared filters, and what each has to
/// itself.
struct Scratch {
    shared: usize,
    worker: usize,
}

/// What a worker has to itself: scratch memory, and where it stages blocks of the scratch file.
struct Worker<'a> {
    values: &'a mut [f32],
    input: &'a mut [u8],
    output: &'a mut [u8],
}

impl Geometry {
    /// `kept` is how many bytes of transformed filters or inputs the convolution may keep; it moves no bit of
    /// the result.
    ///
    /// # Errors
    /// `InvalidArgument` when the picture is too small to be halved or too large to be addressed,
    /// `Internal` when the filters do not belong to the input.
    pub(crate) fn new(
        input: Shape,
        filters: &[Filter<'_>],
        resample: Resample,
        kept: usize,
    ) -> Result<Self> {
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
        output.bytes(Storage::F32)?;
        let kernel = first.kernel;
        let winograd = (kernel == 3)
            .then(|| winograd::Blocking::choose(input.channels, output, resample, kept))
            .flatten();
        let method = match winograd {
            Some(blocking) => Method::Winograd(blocking),
            None => {
                Method::Direct(direct::Blocking::choose(input.channels, output, kernel, resample))
            }
        };
        Ok(Self { input, output, kernel, resample, banks, method })
    }

    pub(crate) fn output(&self) -> Shape {
        self.output
    }

    /// Whether an output pixel needs no other than its own input pixel.
    pub(crate) fn in_place(&self) -> bool {
        self.kernel == 1 && self.resample == Resample::Keep
    }

    /// Multiply-adds of the convolution, counted as a direct one.
    pub(crate) fn multiply_adds(&self) -> u64 {
        (self.output.len() as u64).saturating_mul((self.taps() * self.input.channels) as u64)
    }

    /// The method, and the multiply-adds that it really does.
    #[cfg(feature = "bench")]
    pub(crate) fn method(&self) -> (&'static str, u64) {
        match &self.method {
            Method::Direct(_) => ("direct", self.multiply_adds()),
            Method::Winograd(blocking) => self.winograd_method(blocking),
        }
    }

    /// Bytes of scratch memory for `threads` workers and panels of `nr` columns.
    pub(crate) fn scratch(&self, nr: usize, threads: usize, staged: Staged) -> Result<usize> {
        let Scratch { shared, worker } = self.scratch_parts(nr);
        let (input, output) = self.staging(staged);
        threads
            .checked_mul(worker + input + output)
            .and_then(|bytes| bytes.checked_add(shared))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    fn scratch_parts(&self, nr: usize) -> Scratch {
        match &self.method {
            Method::Direct(blocking) => self.direct_scratch(blocking, nr),
            Method::Winograd(blocking) => self.winograd_scratch(blocking, nr),
        }
    }

    /// Bytes that a worker stages of input and output.
    fn staging(&self, staged: Staged) -> (usize, usize) {
        let band = match &self.method {
            Method::Direct(blocking) => {
                let (rows, columns) = blocking.block;
                self.direct_band(blocking, 0, 0, rows, columns)
            }
            Method::Winograd(blocking) => blocking.band(self.input.channels),
        };
        self.staged_bytes(staged, &band)
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

    /// Output rows and columns of a block, and how many of the first block lie before the picture.
    fn block(&self) -> (usize, usize, usize) {
        match &self.method {
            Method::Direct(blocking) => (blocking.block.0, blocking.block.1, 0),
            Method::Winograd(blocking) => {
                let (rows, columns) = blocking.block();
                (rows, columns, blocking.origin())
            }
        }
    }

    fn blocks(&self) -> Vec<Block> {
        self.blocks_of(0..self.output.height)
    }

    /// The blocks of some output rows, which begin where a block does.
    fn blocks_of(&self, of: Range<usize>) -> Vec<Block> {
        let (rows, columns, origin) = self.block();
        let cut = |length: usize, size: usize| {
            (0..length + origin)
                .step_by(size)
                .map(move |at| at.saturating_sub(origin)..length.min(at + size - origin))
        };
        cut(of.len(), rows)
            .map(|rows| rows.start + of.start..rows.end + of.start)
            .flat_map(|rows| {
                cut(self.output.width, columns)
                    .map(move |columns| Block { rows: rows.clone(), columns })
            })
            .collect()
    }
}

/// Splits `length` into as many parts as `most` allows, nearly even; gives the length of the largest.
fn even(length: usize, most: usize) -> usize {
    length.div_ceil(length.div_ceil(most))
}

/// Bytes of `n` values of scratch memory.
fn floats(n: usize) -> usize {
    align_up(n * size_of::<f32>())
}

/// Normalisation and activation of the input: `act(x * scale + shift)` with a scale and a shift for
/// each input channel.
#[derive(Clone)]
pub(crate) struct Prologue {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) act: Option<Act>,
}

/// Values of an output that no third-level cache keeps until the next layer reads it.
const STREAMED: usize = 8 << 20;

/// A convolution to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) filters: &'a [Filter<'a>],
    pub(crate) input: Source<'a>,
    /// Values from a pixel to the next, of the input and of the output.
    pub(crate) input_pitch: usize,
    pub(crate) output_pitch: usize,
    pub(crate) prologue: Option<Prologue>,
    /// Add what the output holds already.
    pub(crate) residual: bool,
    /// Groups of output channels to sum over.
    pub(crate) groups: usize,
    /// What of input and output is in the scratch file: that of [`Geometry::scratch`].
    pub(crate) staged: Staged,
}

/// One block, with the memory it writes.
struct Item<'a> {
    block: Block,
    rows: Rows<'a>,
    sums: &'a mut [Sum],
}

impl Job<'_> {
    /// Runs the convolution into `out`, with `scratch` of [`Geometry::scratch`] bytes; gives the sums of
    /// each group of what was stored, or `None` when `tick` (items done, of how many) said to stop.
    ///
    /// # Errors
    /// `Io` when the scratch file fails.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        kernels: &Kernels,
        out: Target<'_>,
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let geometry = &self.geometry;
        let (sizes, (input, output)) =
            (geometry.scratch_parts(kernels.nr()), geometry.staging(self.staged));
        let (shared, rest) = scratch.split_at_mut(sizes.shared);
        let shared: &mut [f32] = cast_mut(shared);
        let mut workers: Vec<Worker<'_>> = rest
            .chunks_exact_mut(sizes.worker + input + output)
            .map(|part| {
                let (values, staging) = part.split_at_mut(sizes.worker);
                let (input, output) = staging.split_at_mut(input);
                Worker { values: cast_mut(values), input, output }
            })
            .collect();
        if let Method::Winograd(blocking) = &geometry.method
            && blocking.order == Order::Picture
        {
            let scratch = (shared, &mut workers[..]);
            return self.slices_run(blocking, threads, kernels, out, scratch, tick);
        }
        self.prepare(threads, kernels, shared);
        let filters = &*shared;

        let blocks = geometry.blocks();
        let mut sums = vec![Sum::default(); blocks.len() * self.groups];
        let items = self.items(&blocks, out, &mut sums);
        let count = items.len();
        let mut progress = |done| tick(done, count);
        let run = (threads, kernels, filters);
        let flow = self.run_items(run, &mut workers, items, &mut progress)?;
        Ok(flow.is_continue().then(|| merge(&sums, self.groups)))
    }

    /// Packs or transforms the filters.
    fn prepare(&self, threads: &Threads, kernels: &Kernels, dst: &mut [f32]) {
        match &self.geometry.method {
            Method::Direct(_) => self.direct_filters(threads, kernels, dst),
            Method::Winograd(blocking) => self.blocks_filters(blocking, threads, kernels, dst),
        }
    }

    /// Computes blocks with the filters prepared.
    fn run_items(
        &self,
        (threads, kernels, filters): (&Threads, &Kernels, &[f32]),
        workers: &mut [Worker<'_>],
        items: Vec<Item<'_>>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let bias = self.padded_bias(kernels.nr());
        threads.try_run(workers, items, tick, |worker, item| match &self.geometry.method {
            Method::Direct(blocking) => {
                self.direct_block(blocking, kernels, filters, &bias, worker, item)
            }
            Method::Winograd(blocking) => {
                self.blocks_item(blocking, kernels, filters, &bias, worker, item)
            }
        })
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
    fn items<'o>(&self, blocks: &[Block], out: Target<'o>, sums: &'o mut [Sum]) -> Vec<Item<'o>> {
        let rows = match out {
            Target::Memory(out) => {
                let row = self.geometry.output.width * self.output_pitch;
                let mut rest = Some(out);
                let lines = (0..self.geometry.output.height).map_while(|_| {
                    let (line, tail) = rest.take()?.split_at(row);
                    rest = Some(tail);
                    Some(line)
                });
                self.deal(blocks, lines)
            }
            Target::File(stored, dtype) => {
                blocks.iter().map(|_| Rows::File(stored.clone(), dtype)).collect()
            }
        };
        items(blocks, rows, sums, self.groups)
    }

    /// Each block's part of each of the output rows that the blocks consist of.
    fn deal<'o>(
        &self,
        blocks: &[Block],
        lines: impl Iterator<Item = ElementsMut<'o>>,
    ) -> Vec<Rows<'o>> {
        let mut parts: Vec<Vec<ElementsMut<'o>>> =
            blocks.iter().map(|block| Vec::with_capacity(block.rows.len())).collect();
        let (height, width, origin) = self.geometry.block();
        let across = (self.geometry.output.width + origin).div_ceil(width);
        for (y, line) in lines.enumerate() {
            let first = (y + origin) / height * across;
            let mut rest = line;
            for (block, part) in blocks[first..].iter().zip(&mut parts[first..first + across]) {
                let (segment, tail) = rest.split_at(block.columns.len() * self.output_pitch);
                part.push(segment);
                rest = tail;
            }
        }
        parts.into_iter().map(Rows::Memory).collect()
    }

    /// Stores rows of results, and adds to `sums` (one for each channel) what was stored. `results` has
    /// `pixels` rows of `stride` values, of which the first `channels` are those from `first` on.
    fn store(
        &self,
        kernels: &Kernels,
        results: (&[f32], usize),
        channels: Range<usize>,
        out: &mut ElementsMut<'_>,
        sums: &mut [Sum],
    ) {
        let store = Store {
            acc: results.0,
            acc_stride: results.1,
            pixels: out.len() / self.output_pitch,
            channels: channels.len(),
            residual: self.residual,
            // What goes to the file is read from the caches.
            stream: self.staged.output == 0 && self.geometry.output.len() >= STREAMED,
            dst_stride: self.output_pitch,
        };
        kernels.store(&store, out.tail(channels.start), Some(&mut sums[channels]));
    }

    /// The sums of each group from those of its channels.
    fn group(&self, channels: &[Sum], groups: &mut [Sum]) {
        let per_group = channels.len() / self.groups;
        for (group, channels) in groups.iter_mut().zip(channels.chunks_exact(per_group)) {
            *group = channels.iter().fold(Sum::default(), |total, &channel| total + channel);
        }
    }
}

/// Blocks with the memory that they write.
fn items<'o>(
    blocks: &[Block],
    rows: Vec<Rows<'o>>,
    sums: &'o mut [Sum],
    groups: usize,
) -> Vec<Item<'o>> {
    let blocks = blocks.iter().cloned().zip(rows).zip(sums.chunks_exact_mut(groups));
    blocks.map(|((block, rows), sums)| Item { block, rows, sums }).collect()
}
