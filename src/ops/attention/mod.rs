//! Single-head attention without a token-by-token matrix.
//!
//! ```text
//! pack the keys, and the values of each block of keys        (in parallel; where memory is short,
//!                                                            for each span)
//! for each block of queries                                  (in parallel)
//!     for each span of keys                                  (streamed: a block; row by row: all)
//!         scores = queries * keys                            (GEMM)
//!         update the running maximum and sum                 (softmax)
//!         scores = exp(scores - maximum)
//!         output = output * correction + scores * values     (GEMM, block by block)
//!     output / sum
//! ```
//!
//! The streamed form is the running softmax of Milakov and Gimelshein (arXiv:1805.02867) as
//! FlashAttention uses it (arXiv:2205.14135). Every row of queries is computed by itself in a fixed
//! order of keys, so the bits depend on nothing but the operands.

mod geometry;
#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};

use super::exec::Exec;
use super::place::{Place, Source, Staged, Target};
use crate::base::alloc;
use crate::base::buffer::{Elements, ElementsMut, cast_mut};
use crate::base::error::Result;
use crate::kernels::{AffineAct, Epilogue, Gemm, Init, Kernels, Prefetch, Softmax, Store};
pub(crate) use geometry::{Algorithm, Geometry};
use geometry::{KEYS, Sizes};

/// Rows of values, one for each token, `stride` apart; the first begins at value `first`.
pub(crate) struct TokenRows<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) stride: usize,
    pub(crate) first: usize,
}

impl TokenRows<'_> {
    /// Rows `range` of `channels` values each; those of a file come to `staging`.
    fn read<'s>(
        &'s self,
        range: &Range<usize>,
        channels: usize,
        staging: &'s mut [u8],
    ) -> Result<Elements<'s>> {
        let start = range.start * self.stride + self.first;
        let end = (range.end - 1) * self.stride + self.first + channels;
        self.source.read(start..end, staging)
    }
}

/// An attention to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) query: TokenRows<'a>,
    pub(crate) key: TokenRows<'a>,
    pub(crate) value: TokenRows<'a>,
    /// The spilled operands, as given to [`Geometry::scratch`].
    pub(crate) staged: Staged,
}

/// One worker's scratch memory.
struct Worker<'a> {
    state: State<'a>,
    read: &'a mut [u8],
    written: &'a mut [u8],
    /// Where it packs the keys and the values of a span.
    keys: &'a mut [u8],
    values: &'a mut [u8],
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

/// A block of queries, and where its output goes: its own rows in memory, or the file that has all.
struct Item<'a> {
    queries: Range<usize>,
    out: Target<'a>,
}

/// Keys and values, packed from a block of keys on.
#[derive(Clone, Copy)]
struct Packed<'a> {
    keys: &'a [u8],
    values: &'a [u8],
}

/// The data packed as one item.
enum Panel<'a> {
    Keys(Range<usize>, &'a mut [u8]),
    Values(Range<usize>, &'a mut [u8]),
}

impl Job<'_> {
    /// Runs the attention into `out`, `[tokens, channels]`, with `scratch` of [`Geometry::scratch`]
    /// bytes. `Break` when `tick` (items done, of how many) said to stop.
    ///
    /// # Errors
    /// `Io` if the scratch file fails, `OutOfMemory`.
    pub(crate) fn run(
        &self,
        exec: Exec<'_>,
        out: Target<'_>,
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let sizes = self.geometry.sizes(exec.kernels.panels(), self.staged);
        let (keys, rest) = scratch.split_at_mut(sizes.keys);
        let (values, rest) = rest.split_at_mut(sizes.values);
        let workers = rest.chunks_exact_mut(sizes.worker());
        let workers = workers.map(|bytes| Worker::new(bytes, &sizes));
        let mut workers = alloc::collected(workers, "workers")?;
        if self.geometry.packed {
            self.pack(exec, &mut workers, keys, values)?;
        }
        let packed = Packed { keys, values };

        let (items, count) =
            (self.items(out), self.geometry.tokens.div_ceil(self.geometry.block()));
        let mut progress = |done| tick(done, count);
        exec.threads.try_run(&mut workers, items, &mut progress, |worker, Item { queries, out }| {
            self.block(exec.kernels, packed, worker, &queries)?;
            let output = &*worker.state.output;
            match out {
                Place::Memory(rows) => self.store(exec.kernels, output, &queries, rows),
                Place::File(region, dtype) => {
                    let row = self.geometry.channels * dtype.size();
                    let bytes = &mut worker.written[..queries.len() * row];
                    let rows = ElementsMut::new(dtype, bytes);
                    self.store(exec.kernels, output, &queries, rows);
                    region.write((queries.start * row) as u64, bytes)?;
                }
            }
            Ok(())
        })
    }

    /// The blocks of queries.
    fn items<'o>(&self, mut out: Target<'o>) -> impl Iterator<Item = Item<'o>> + Send + use<'o> {
        let Geometry { tokens, channels, .. } = self.geometry;
        let block = self.geometry.block();
        let blocks = (0..tokens).step_by(block).map(move |start| start..tokens.min(start + block));
        blocks.map(move |queries| {
            let out = match &mut out {
                Place::Memory(rest) => {
                    let (rows, tail) = rest.take().split_at(queries.len() * channels);
                    *rest = tail;
                    Place::Memory(rows)
                }
                Place::File(region, dtype) => Place::File(region.clone(), *dtype),
            };
            Item { queries, out }
        })
    }

    /// Packs all keys, and the values of each block of keys.
    fn pack(
        &self,
        exec: Exec<'_>,
        workers: &mut [Worker<'_>],
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<()> {
        let Geometry { tokens, channels, .. } = self.geometry;
        let (kernels, panels) = (exec.kernels, exec.kernels.panels());
        let ranges =
            |size: usize| (0..tokens).step_by(size).map(move |at| at..tokens.min(at + size));
        let keys = ranges(panels.width())
            .zip(keys.chunks_exact_mut(panels.panel_bytes(channels)))
            .map(|(range, dst)| Panel::Keys(range, dst));
        let values = ranges(KEYS).zip(values.chunks_mut(panels.bytes(KEYS, channels)));
        let items = keys.chain(values.map(|(range, dst)| Panel::Values(range, dst)));
        let mut go_on = |_| ControlFlow::Continue(());
        let _ = exec.threads.try_run(workers, items, &mut go_on, |worker, item| match item {
            Panel::Keys(range, dst) => self.pack_keys(kernels, &range, worker.read, dst),
            Panel::Values(range, dst) => self.pack_values(kernels, &range, worker.read, dst),
        })?;
        Ok(())
    }

    /// Packs the keys of `range`, which fit into one panel.
    fn pack_keys(
        &self,
        kernels: &Kernels,
        range: &Range<usize>,
        staging: &mut [u8],
        dst: &mut [u8],
    ) -> Result<()> {
        let channels = self.geometry.channels;
        let rows = self.key.read(range, channels, staging)?;
        kernels.pack_rows_transposed(rows, self.key.stride, range.len(), channels, dst);
        Ok(())
    }

    /// Packs the values of `range`, a block of keys.
    fn pack_values(
        &self,
        kernels: &Kernels,
        range: &Range<usize>,
        staging: &mut [u8],
        dst: &mut [u8],
    ) -> Result<()> {
        let channels = self.geometry.channels;
        let rows = self.value.read(range, channels, staging)?;
        let dst = &mut dst[..kernels.panels().bytes(range.len(), channels)];
        kernels.pack_rows(rows, self.value.stride, range.len(), channels, dst);
        Ok(())
    }

    /// Attends to all keys for a block of queries; what comes of it is in the worker's output.
    fn block(
        &self,
        kernels: &Kernels,
        all: Packed<'_>,
        worker: &mut Worker<'_>,
        queries: &Range<usize>,
    ) -> Result<()> {
        let Geometry { tokens, channels, packed, .. } = self.geometry;
        let (rows, panels) = (queries.len(), kernels.panels());
        let columns = panels.filled(channels);
        let Worker { state, read, keys, values, .. } = worker;
        kernels.affine_act(
            &AffineAct {
                src: self.query.read(queries, channels, read)?,
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
                let keys = &all.keys[panels.bytes(channels, start)..];
                let values = &all.values[panels.bytes(start, channels)..];
                self.attend(kernels, Packed { keys, values }, state, rows, span.len());
            } else {
                let (width, bytes) = (panels.width(), panels.panel_bytes(channels));
                for (at, dst) in span.clone().step_by(width).zip(keys.chunks_mut(bytes)) {
                    let panel = at..span.end.min(at + width);
                    self.pack_keys(kernels, &panel, read, dst)?;
                }
                self.pack_values(kernels, &span, read, values)?;
                self.attend(kernels, Packed { keys, values }, state, rows, span.len());
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
            epilogue: Epilogue::None,
            acc: output,
            acc_stride: kernels.panels().filled(channels),
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
        packed: Packed<'_>,
        state: &mut State<'_>,
        rows: usize,
        length: usize,
    ) {
        let (channels, panels) = (self.geometry.channels, kernels.panels());
        let (columns, stride) = (panels.filled(channels), panels.filled(length));
        let scores = Gemm {
            a: state.queries,
            a_stride: channels,
            rows,
            taps: &[0],
            depth: channels,
            b: packed.keys,
            columns: length,
            init: Init::Zero,
            c_stride: stride,
            prefetch: Prefetch::Panel,
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
                b: &packed.values[panels.bytes(start, channels)..],
                columns: channels,
                init: Init::Keep,
                c_stride: columns,
                prefetch: Prefetch::Panel,
            };
            kernels.gemm(&product, state.output);
        }
    }
}

/// Bytes that an attention with `threads` workers allocates besides its scratch memory.
pub(crate) fn bookkeeping(threads: usize) -> usize {
    threads.saturating_mul(size_of::<Worker<'_>>()).saturating_add(FIXED)
}

/// Bytes of the small allocations, whose number and sizes nothing chooses.
const FIXED: usize = 1024;

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
        Self { state, read, written, keys, values }
    }
}
