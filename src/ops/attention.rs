#![forbid(unsafe_code)]
//! Single-head attention without a token-by-token matrix.
//!
//! ```text
//! pack the keys into panels, and the values into panels of each block of keys   (in parallel)
//! for each block of queries                                                     (in parallel)
//!     for each span of keys: one block (streamed) or all of them (row by row)
//!         scores = queries * keys                                               (GEMM)
//!         update the running maximum and sum, scores = exp(scores - maximum)    (softmax)
//!         output = output * correction + scores * values                        (GEMM, block by block)
//!     output / sum
//! ```
//!
//! The streamed form is the running softmax of Milakov and Gimelshein (arXiv:1805.02867) as
//! FlashAttention uses it (arXiv:2205.14135). Every row of queries is computed by itself in a fixed
//! order of keys, so the bits depend on nothing but the operands.

use std::ops::{ControlFlow, Range};

use crate::base::buffer::{Elements, ElementsMut, align_up, cast_mut};
use crate::base::error::{Error, Result};
use crate::kernels::threads::Threads;
use crate::kernels::{AffineAct, Ahead, Gemm, Init, Kernels, Softmax, Store};

/// How the softmax goes over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Block by block of keys, with a running maximum.
    Streamed,
    /// All scores of a few queries at a time.
    RowByRow,
}

/// Queries of an item: with 512 channels, they and their output take half of a 1 MiB cache.
const STREAMED_QUERIES: usize = 128;
/// Fewer, as the scores of all keys are kept for each.
const ROW_BY_ROW_QUERIES: usize = 16;
/// Keys of a block: with 512 channels, a block of keys or of values is 256 KiB. Half as many correct the
/// output twice as often, which is a tenth slower; twice as many gain nothing. A multiple of the columns
/// of a panel at every level.
const KEYS: usize = 128;

/// The shape of an attention and the memory it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    tokens: usize,
    channels: usize,
    algorithm: Algorithm,
}

/// Bytes of each part of the scratch memory.
struct Sizes {
    keys: usize,
    values: usize,
    queries: usize,
    output: usize,
    scores: usize,
    rows: usize,
}

impl Sizes {
    fn worker(&self) -> usize {
        self.queries + self.output + self.scores + 3 * self.rows
    }
}

impl Geometry {
    pub(crate) fn new(tokens: usize, channels: usize, algorithm: Algorithm) -> Self {
        Self { tokens, channels, algorithm }
    }

    /// Multiply-adds of the two products.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let tokens = self.tokens as u64;
        tokens.saturating_mul(tokens).saturating_mul(2 * self.channels as u64)
    }

    /// Bytes of scratch memory for `threads` workers and panels of `nr` columns.
    pub(crate) fn scratch(&self, nr: usize, threads: usize) -> Result<usize> {
        let sizes = self.sizes(nr);
        threads
            .checked_mul(sizes.worker())
            .and_then(|bytes| bytes.checked_add(sizes.keys + sizes.values))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// Queries of an item; fewer in a small picture, so that every worker has some.
    fn block(&self) -> usize {
        match self.algorithm {
            Algorithm::Streamed => STREAMED_QUERIES.min(self.tokens.div_ceil(8).max(16)),
            Algorithm::RowByRow => ROW_BY_ROW_QUERIES,
        }
    }

    /// Keys between two updates of the softmax.
    fn span(&self) -> usize {
        match self.algorithm {
            Algorithm::Streamed => KEYS,
            Algorithm::RowByRow => self.tokens,
        }
    }

    fn sizes(&self, nr: usize) -> Sizes {
        let floats = |n: usize| align_up(n * size_of::<f32>());
        let columns = self.channels.next_multiple_of(nr);
        let block = self.block();
        Sizes {
            keys: floats(self.tokens.next_multiple_of(nr) * self.channels),
            values: floats(self.tokens * columns),
            queries: floats(block * self.channels),
            output: floats(block * columns),
            scores: floats(block * self.span().next_multiple_of(nr)),
            rows: floats(block),
        }
    }
}

/// Rows of `channels` values, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: Elements<'a>,
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows `range` of `channels` values each.
    fn slice(&self, range: &Range<usize>, channels: usize) -> Elements<'a> {
        let end = (range.end - 1) * self.stride + channels;
        self.data.slice(range.start * self.stride..end)
    }
}

/// An attention to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) query: Rows<'a>,
    pub(crate) key: Rows<'a>,
    pub(crate) value: Rows<'a>,
}

/// One worker's scratch memory.
struct Worker<'a> {
    queries: &'a mut [f32],
    output: &'a mut [f32],
    scores: &'a mut [f32],
    maximum: &'a mut [f32],
    sum: &'a mut [f32],
    correction: &'a mut [f32],
}

/// What a packing item fills.
enum Panel<'a> {
    Keys(Range<usize>, &'a mut [f32]),
    Values(Range<usize>, &'a mut [f32]),
}

impl Job<'_> {
    /// Runs the attention into `out`, `[tokens, channels]`, with `scratch` of [`Geometry::scratch`]
    /// bytes. `Break` when `tick` (items done, of how many) said to stop.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        kernels: &Kernels,
        out: ElementsMut<'_>,
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Geometry { tokens, channels, .. } = self.geometry;
        let sizes = self.geometry.sizes(kernels.nr());
        let (keys, rest) = scratch.split_at_mut(sizes.keys);
        let (values, rest) = rest.split_at_mut(sizes.values);
        let (keys, values): (&mut [f32], &mut [f32]) = (cast_mut(keys), cast_mut(values));
        self.pack(threads, kernels, keys, values);
        let (keys, values) = (&*keys, &*values);

        let mut workers: Vec<Worker<'_>> =
            rest.chunks_exact_mut(sizes.worker()).map(|bytes| Worker::new(bytes, &sizes)).collect();
        let block = self.geometry.block();
        let mut items = Vec::with_capacity(tokens.div_ceil(block));
        let mut rest = out;
        for start in (0..tokens).step_by(block) {
            let queries = start..tokens.min(start + block);
            let (rows, tail) = rest.split_at(queries.len() * channels);
            items.push((queries, rows));
            rest = tail;
        }
        let count = items.len();
        threads.run(
            &mut workers,
            items,
            &mut |done| tick(done, count),
            |worker, (queries, rows)| self.block(kernels, keys, values, worker, queries, rows),
        )
    }

    /// Keys as `[tokens / nr][channels][nr]`; values as one `[channels / nr][keys][nr]` for each block
    /// of keys.
    fn pack(&self, threads: &Threads, kernels: &Kernels, keys: &mut [f32], values: &mut [f32]) {
        let Geometry { tokens, channels, .. } = self.geometry;
        let nr = kernels.nr();
        let ranges =
            |size: usize| (0..tokens).step_by(size).map(move |at| at..tokens.min(at + size));
        let columns = channels.next_multiple_of(nr);
        let mut items: Vec<Panel<'_>> = ranges(nr)
            .zip(keys.chunks_exact_mut(nr * channels))
            .map(|(range, dst)| Panel::Keys(range, dst))
            .collect();
        let blocks = ranges(KEYS).zip(values.chunks_mut(KEYS * columns));
        items.extend(blocks.map(|(range, dst)| Panel::Values(range, dst)));
        let mut workers = vec![(); threads.count()];
        let _ = threads.run(&mut workers, items, &mut |_| ControlFlow::Continue(()), |(), item| {
            match item {
                Panel::Keys(range, dst) => {
                    let rows = self.key.slice(&range, channels);
                    kernels.pack_rows_transposed(rows, self.key.stride, range.len(), channels, dst);
                }
                Panel::Values(range, dst) => {
                    let rows = self.value.slice(&range, channels);
                    let dst = &mut dst[..range.len() * columns];
                    kernels.pack_rows(rows, self.value.stride, range.len(), channels, dst);
                }
            }
        });
    }

    fn block(
        &self,
        kernels: &Kernels,
        keys: &[f32],
        values: &[f32],
        worker: &mut Worker<'_>,
        queries: Range<usize>,
        out: ElementsMut<'_>,
    ) {
        let Geometry { tokens, channels, .. } = self.geometry;
        let (rows, nr) = (queries.len(), kernels.nr());
        let columns = channels.next_multiple_of(nr);
        kernels.affine_act(
            &AffineAct {
                src: self.query.slice(&queries, channels),
                src_stride: self.query.stride,
                pixels: rows,
                channels,
                affine: None,
                act: None,
                dst_stride: channels,
            },
            worker.queries,
        );
        worker.output[..rows * columns].fill(0.0);
        worker.maximum[..rows].fill(f32::NEG_INFINITY);
        worker.sum[..rows].fill(0.0);
        let span = self.geometry.span();
        for start in (0..tokens).step_by(span) {
            let span = start..tokens.min(start + span);
            self.attend(kernels, keys, values, worker, rows, span);
        }
        for (correction, sum) in worker.correction[..rows].iter_mut().zip(&worker.sum[..rows]) {
            *correction = sum.recip();
        }
        kernels.scale_rows(worker.output, rows, channels, columns, &worker.correction[..rows]);
        let store = Store {
            acc: worker.output,
            acc_stride: columns,
            pixels: rows,
            channels,
            residual: false,
            stream: false,
            dst_stride: channels,
        };
        kernels.store(&store, out, None);
    }

    /// Takes the keys of `span`, which begins at a block of keys, into the worker's output.
    fn attend(
        &self,
        kernels: &Kernels,
        keys: &[f32],
        values: &[f32],
        worker: &mut Worker<'_>,
        rows: usize,
        span: Range<usize>,
    ) {
        let channels = self.geometry.channels;
        let nr = kernels.nr();
        let columns = channels.next_multiple_of(nr);
        let panels = span.len().div_ceil(nr);
        let stride = panels * nr;
        let scores = Gemm {
            a: worker.queries,
            a_stride: channels,
            rows,
            taps: &[0],
            depth: channels,
            b: &keys[span.start * channels..][..stride * channels],
            panels,
            init: Init::Zero,
            c_stride: stride,
            ahead: Ahead::Panel,
        };
        kernels.gemm(&scores, worker.scores);
        let softmax =
            Softmax { rows, columns: span.len(), stride, scale: 1.0 / (channels as f32).sqrt() };
        kernels.softmax_update(
            &softmax,
            worker.scores,
            &mut worker.maximum[..rows],
            &mut worker.sum[..rows],
            &mut worker.correction[..rows],
        );
        kernels.scale_rows(worker.output, rows, channels, columns, &worker.correction[..rows]);
        for start in span.clone().step_by(KEYS) {
            let depth = KEYS.min(span.end - start);
            let product = Gemm {
                a: &worker.scores[start - span.start..],
                a_stride: stride,
                rows,
                taps: &[0],
                depth,
                b: &values[start * columns..][..depth * columns],
                panels: columns / nr,
                init: Init::Keep,
                c_stride: columns,
                ahead: Ahead::Panel,
            };
            kernels.gemm(&product, worker.output);
        }
    }
}

impl<'a> Worker<'a> {
    fn new(bytes: &'a mut [u8], sizes: &Sizes) -> Self {
        let (queries, rest) = bytes.split_at_mut(sizes.queries);
        let (output, rest) = rest.split_at_mut(sizes.output);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let (maximum, rest) = rest.split_at_mut(sizes.rows);
        let (sum, correction) = rest.split_at_mut(sizes.rows);
        Self {
            queries: cast_mut(queries),
            output: cast_mut(output),
            scores: cast_mut(scores),
            maximum: cast_mut(maximum),
            sum: cast_mut(sum),
            correction: cast_mut(correction),
        }
    }
}
