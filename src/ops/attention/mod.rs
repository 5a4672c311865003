#![forbid(unsafe_code)]
//! Single-head attention without a token-by-token matrix.
//!
//! ```text
//! pack the keys into panels, and the values into panels of each block of keys   (in parallel; where memory
//!                                                                               is short, for each span)
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

#[cfg(test)]
mod tests;

use super::conv::{Staged, Target};
use crate::base::buffer::{Elements, ElementsMut, align_up, cast_mut};
use crate::base::error::{Error, Result};
use crate::base::scratch_file::Stored;
use crate::base::storage::Storage;
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
/// More, where keys and values are packed for each block of queries.
const UNPACKED_QUERIES: usize = 512;
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
    /// Whether all keys and values are packed before the queries pass.
    packed: bool,
}

/// Bytes of each part of the scratch memory.
struct Sizes {
    keys: usize,
    values: usize,
    queries: usize,
    output: usize,
    scores: usize,
    rows: usize,
    /// Where rows of the scratch file are staged.
    read: usize,
    written: usize,
    /// Where a worker packs the keys and the values of a span.
    span_keys: usize,
    span_values: usize,
}

impl Sizes {
    fn worker(&self) -> usize {
        let staging = self.read + self.written + self.span_keys + self.span_values;
        self.queries + self.output + self.scores + 3 * self.rows + staging
    }
}

impl Geometry {
    /// `kept` is how many bytes of packed keys and values may be kept; it moves no bit of the result.
    pub(crate) fn new(tokens: usize, channels: usize, algorithm: Algorithm, kept: usize) -> Self {
        let bytes = tokens.saturating_mul(2 * channels * size_of::<f32>());
        let packed = bytes <= kept || algorithm == Algorithm::RowByRow;
        Self { tokens, channels, algorithm, packed }
    }

    /// Multiply-adds of the two products.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let tokens = self.tokens as u64;
        tokens.saturating_mul(tokens).saturating_mul(2 * self.channels as u64)
    }

    /// Bytes of scratch memory for `threads` workers and panels of `nr` columns. `staged` has the bytes of a
    /// token's row where it is in the scratch file.
    pub(crate) fn scratch(&self, nr: usize, threads: usize, staged: Staged) -> Result<usize> {
        let sizes = self.sizes(nr, staged);
        threads
            .checked_mul(sizes.worker())
            .and_then(|bytes| bytes.checked_add(sizes.keys + sizes.values))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// Queries of an item; fewer in a small picture, so that every worker has some.
    fn block(&self) -> usize {
        match self.algorithm {
            Algorithm::Streamed => {
                let most = if self.packed { STREAMED_QUERIES } else { UNPACKED_QUERIES };
                most.min(self.tokens.div_ceil(8).max(16))
            }
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

    fn sizes(&self, nr: usize, staged: Staged) -> Sizes {
        let floats = |n: usize| align_up(n * size_of::<f32>());
        let columns = self.channels.next_multiple_of(nr);
        let block = self.block();
        let (all, span) = if self.packed { (self.tokens, 0) } else { (0, KEYS) };
        Sizes {
            keys: floats(all.next_multiple_of(nr) * self.channels),
            values: floats(all * columns),
            span_keys: floats(span.next_multiple_of(nr) * self.channels),
            span_values: floats(span * columns),
            queries: floats(block * self.channels),
            output: floats(block * columns),
            scores: floats(block * self.span().next_multiple_of(nr)),
            rows: floats(block),
            read: align_up(block.max(KEYS) * staged.input),
            written: align_up(block * staged.output),
        }
    }
}

/// Rows of values, one for each token, `stride` apart; the first begins at value `first`.
pub(crate) struct Rows<'a> {
    pub(crate) data: Data<'a>,
    pub(crate) stride: usize,
    pub(crate) first: usize,
}

/// Where rows are.
pub(crate) enum Data<'a> {
    Memory(Elements<'a>),
    File(Stored<'a>, Storage),
}

impl Rows<'_> {
    /// Rows `range` of `channels` values each; those of a file come to `staging`.
    fn slice<'s>(
        &'s self,
        range: &Range<usize>,
        channels: usize,
        staging: &'s mut [u8],
    ) -> Result<Elements<'s>> {
        let start = range.start * self.stride + self.first;
        let end = (range.end - 1) * self.stride + self.first + channels;
        match &self.data {
            Data::Memory(values) => Ok(values.slice(start..end)),
            Data::File(stored, dtype) => {
                let bytes = &mut staging[..(end - start) * dtype.size()];
                stored.read((start * dtype.size()) as u64, bytes)?;
                Ok(Elements::new(*dtype, bytes))
            }
        }
    }
}

/// An attention to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) query: Rows<'a>,
    pub(crate) key: Rows<'a>,
    pub(crate) value: Rows<'a>,
    /// What of operands and output is in the scratch file: that of [`Geometry::scratch`].
    pub(crate) staged: Staged,
}

/// One worker's scratch memory.
struct Worker<'a> {
    state: State<'a>,
    read: &'a mut [u8],
    written: &'a mut [u8],
    keys: &'a mut [f32],
    values: &'a mut [f32],
}

/// A block of queries on its way over the keys.
struct State<'a> {
    queries: &'a mut [f32],
    output: &'a mut [f32],
    scores: &'a mut [f32],
    maximum: &'a mut [f32],
    sum: &'a mut [f32],
    correction: &'a mut [f32],
}

/// A block of queries, and where its rows go: if not to memory, then to the file.
struct Item<'a> {
    queries: Range<usize>,
    rows: Option<ElementsMut<'a>>,
}

/// What a packing item fills.
enum Panel<'a> {
    Keys(Range<usize>, &'a mut [f32]),
    Values(Range<usize>, &'a mut [f32]),
}

impl Job<'_> {
    /// Runs the attention into `out`, `[tokens, channels]`, with `scratch` of [`Geometry::scratch`]
    /// bytes. `Break` when `tick` (items done, of how many) said to stop.
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
    ) -> Result<ControlFlow<()>> {
        let Geometry { tokens, channels, .. } = self.geometry;
        let sizes = self.geometry.sizes(kernels.nr(), self.staged);
        let (keys, rest) = scratch.split_at_mut(sizes.keys);
        let (values, rest) = rest.split_at_mut(sizes.values);
        let (keys, values): (&mut [f32], &mut [f32]) = (cast_mut(keys), cast_mut(values));
        let mut workers: Vec<Worker<'_>> =
            rest.chunks_exact_mut(sizes.worker()).map(|bytes| Worker::new(bytes, &sizes)).collect();
        if self.geometry.packed {
            self.pack(threads, kernels, &mut workers, keys, values)?;
        }
        let (keys, values) = (&*keys, &*values);

        let block = self.geometry.block();
        let (mut rest, file) = match out {
            Target::Memory(out) => (Some(out), None),
            Target::File(stored, dtype) => (None, Some((stored, dtype))),
        };
        let mut items = Vec::with_capacity(tokens.div_ceil(block));
        for start in (0..tokens).step_by(block) {
            let queries = start..tokens.min(start + block);
            let (rows, tail) = match rest {
                Some(rest) => {
                    let (rows, tail) = rest.split_at(queries.len() * channels);
                    (Some(rows), Some(tail))
                }
                None => (None, None),
            };
            items.push(Item { queries, rows });
            rest = tail;
        }
        let count = items.len();
        let mut progress = |done| tick(done, count);
        threads.try_run(&mut workers, items, &mut progress, |worker, Item { queries, rows }| {
            self.block(kernels, keys, values, worker, &queries)?;
            match (rows, &file) {
                (Some(rows), _) => self.store(kernels, worker.state.output, &queries, rows),
                (None, Some((stored, dtype))) => {
                    let row = channels * dtype.size();
                    let bytes = &mut worker.written[..queries.len() * row];
                    let rows = ElementsMut::new(*dtype, bytes);
                    self.store(kernels, worker.state.output, &queries, rows);
                    stored.write((queries.start * row) as u64, bytes)?;
                }
                (None, None) => {}
            }
            Ok(())
        })
    }

    /// Keys as `[tokens / nr][channels][nr]`; values as one `[channels / nr][keys][nr]` for each block
    /// of keys.
    fn pack(
        &self,
        threads: &Threads,
        kernels: &Kernels,
        workers: &mut [Worker<'_>],
        keys: &mut [f32],
        values: &mut [f32],
    ) -> Result<()> {
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
        let mut go_on = |_| ControlFlow::Continue(());
        let _ = threads.try_run(workers, items, &mut go_on, |worker, item| match item {
            Panel::Keys(range, dst) => self.pack_keys(kernels, &range, worker.read, dst),
            Panel::Values(range, dst) => self.pack_values(kernels, &range, worker.read, dst),
        })?;
        Ok(())
    }

    /// Packs the keys of `range`, `nr` of them at most, into one panel.
    fn pack_keys(
        &self,
        kernels: &Kernels,
        range: &Range<usize>,
        staging: &mut [u8],
        dst: &mut [f32],
    ) -> Result<()> {
        let channels = self.geometry.channels;
        let rows = self.key.slice(range, channels, staging)?;
        kernels.pack_rows_transposed(rows, self.key.stride, range.len(), channels, dst);
        Ok(())
    }

    /// Packs the values of `range`, a block of keys, into panels.
    fn pack_values(
        &self,
        kernels: &Kernels,
        range: &Range<usize>,
        staging: &mut [u8],
        dst: &mut [f32],
    ) -> Result<()> {
        let channels = self.geometry.channels;
        let rows = self.value.slice(range, channels, staging)?;
        let dst = &mut dst[..range.len() * channels.next_multiple_of(kernels.nr())];
        kernels.pack_rows(rows, self.value.stride, range.len(), channels, dst);
        Ok(())
    }

    /// Attends to all keys for a block of queries; what comes of it is in the worker's output.
    fn block(
        &self,
        kernels: &Kernels,
        keys: &[f32],
        values: &[f32],
        worker: &mut Worker<'_>,
        queries: &Range<usize>,
    ) -> Result<()> {
        let Geometry { tokens, channels, packed, .. } = self.geometry;
        let (rows, nr) = (queries.len(), kernels.nr());
        let columns = channels.next_multiple_of(nr);
        let Worker { state, read, keys: span_keys, values: span_values, .. } = worker;
        kernels.affine_act(
            &AffineAct {
                src: self.query.slice(queries, channels, read)?,
                src_stride: self.query.stride,
                pixels: rows,
                channels,
                affine: None,
                act: None,
                dst_stride: channels,
            },
            state.queries,
        );
        state.output[..rows * columns].fill(0.0);
        state.maximum[..rows].fill(f32::NEG_INFINITY);
        state.sum[..rows].fill(0.0);
        let span = self.geometry.span();
        for start in (0..tokens).step_by(span) {
            let span = start..tokens.min(start + span);
            if packed {
                let operands = (&keys[start * channels..], &values[start * columns..]);
                self.attend(kernels, operands, state, rows, span.len());
            } else {
                for (at, dst) in span.clone().step_by(nr).zip(span_keys.chunks_mut(nr * channels)) {
                    let panel = at..span.end.min(at + nr);
                    self.pack_keys(kernels, &panel, read, dst)?;
                }
                self.pack_values(kernels, &span, read, span_values)?;
                self.attend(kernels, (span_keys, span_values), state, rows, span.len());
            }
        }
        for (correction, sum) in state.correction[..rows].iter_mut().zip(&state.sum[..rows]) {
            *correction = sum.recip();
        }
        kernels.scale_rows(state.output, rows, channels, columns, &state.correction[..rows]);
        Ok(())
    }

    /// Stores the output of a block of queries.
    fn store(
        &self,
        kernels: &Kernels,
        output: &[f32],
        queries: &Range<usize>,
        out: ElementsMut<'_>,
    ) {
        let channels = self.geometry.channels;
        let store = Store {
            acc: output,
            acc_stride: channels.next_multiple_of(kernels.nr()),
            pixels: queries.len(),
            channels,
            residual: false,
            stream: false,
            dst_stride: channels,
        };
        kernels.store(&store, out, None);
    }

    /// Takes the next `length` keys, packed from a block of keys on, into the output.
    fn attend(
        &self,
        kernels: &Kernels,
        (keys, values): (&[f32], &[f32]),
        state: &mut State<'_>,
        rows: usize,
        length: usize,
    ) {
        let channels = self.geometry.channels;
        let nr = kernels.nr();
        let columns = channels.next_multiple_of(nr);
        let panels = length.div_ceil(nr);
        let stride = panels * nr;
        let scores = Gemm {
            a: state.queries,
            a_stride: channels,
            rows,
            taps: &[0],
            depth: channels,
            b: &keys[..stride * channels],
            panels,
            init: Init::Zero,
            c_stride: stride,
            ahead: Ahead::Panel,
        };
        kernels.gemm(&scores, state.scores);
        let softmax =
            Softmax { rows, columns: length, stride, scale: 1.0 / (channels as f32).sqrt() };
        kernels.softmax_update(
            &softmax,
            state.scores,
            &mut state.maximum[..rows],
            &mut state.sum[..rows],
            &mut state.correction[..rows],
        );
        kernels.scale_rows(state.output, rows, channels, columns, &state.correction[..rows]);
        for start in (0..length).step_by(KEYS) {
            let depth = KEYS.min(length - start);
            let product = Gemm {
                a: &state.scores[start..],
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
            kernels.gemm(&product, state.output);
        }
    }
}

impl<'a> Worker<'a> {
    fn new(bytes: &'a mut [u8], sizes: &Sizes) -> Self {
        let (queries, rest) = bytes.split_at_mut(sizes.queries);
        let (output, rest) = rest.split_at_mut(sizes.output);
        let (scores, rest) = rest.split_at_mut(sizes.scores);
        let (maximum, rest) = rest.split_at_mut(sizes.rows);
        let (sum, rest) = rest.split_at_mut(sizes.rows);
        let (correction, rest) = rest.split_at_mut(sizes.rows);
        let (read, rest) = rest.split_at_mut(sizes.read);
        let (written, rest) = rest.split_at_mut(sizes.written);
        let (keys, values) = rest.split_at_mut(sizes.span_keys);
        let state = State {
            queries: cast_mut(queries),
            output: cast_mut(output),
            scores: cast_mut(scores),
            maximum: cast_mut(maximum),
            sum: cast_mut(sum),
            correction: cast_mut(correction),
        };
        Self { state, read, written, keys: cast_mut(keys), values: cast_mut(values) }
    }
}
