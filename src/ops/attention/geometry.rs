//! The shape of an attention, its blocks, and its memory.

use crate::base::buffer::align_up;
use crate::base::error::{Error, Result};
use crate::kernels::Panels;
use crate::ops::place::Staged;

/// The order of the softmax over the keys.
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
/// Keys of a block: with 512 channels, a block of keys or of values is 256 KiB. Half as many
/// correct the output twice as often, which is a tenth slower; twice as many gain nothing. Whole
/// panels at every level.
pub(super) const KEYS: usize = 128;

/// The shape of an attention and the memory it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(super) tokens: usize,
    pub(super) channels: usize,
    algorithm: Algorithm,
    /// Whether all keys and values are packed before the queries pass.
    pub(super) packed: bool,
}

/// Bytes of each part of the scratch memory.
pub(super) struct Sizes {
    pub(super) keys: usize,
    pub(super) values: usize,
    pub(super) queries: usize,
    pub(super) output: usize,
    pub(super) scores: usize,
    pub(super) rows: usize,
    /// Where rows of the scratch file are staged.
    pub(super) read: usize,
    pub(super) written: usize,
    /// Where a worker packs the keys and the values of a span.
    pub(super) span_keys: usize,
    pub(super) span_values: usize,
}

impl Sizes {
    pub(super) fn worker(&self) -> usize {
        let staging = self.read + self.written + self.span_keys + self.span_values;
        self.queries + self.output + self.scores + 3 * self.rows + staging
    }
}

impl Geometry {
    /// `packed_limit` limits the bytes of packed keys and values; it never changes a bit of the
    /// result.
    pub(crate) fn new(
        tokens: usize,
        channels: usize,
        algorithm: Algorithm,
        packed_limit: usize,
    ) -> Self {
        let bytes = tokens.saturating_mul(2 * channels * size_of::<f32>());
        let packed = bytes <= packed_limit || algorithm == Algorithm::RowByRow;
        Self { tokens, channels, algorithm, packed }
    }

    /// Multiply-adds of the two products.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let tokens = self.tokens as u64;
        tokens.saturating_mul(tokens).saturating_mul(2 * self.channels as u64)
    }

    /// Scratch memory in bytes for `threads` workers. `staged` is the bytes of a token's row if it
    /// is spilled.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not fit the address space.
    pub(crate) fn scratch(&self, panels: Panels, threads: usize, staged: Staged) -> Result<usize> {
        let sizes = self.sizes(panels, staged);
        threads
            .checked_mul(sizes.worker())
            .and_then(|bytes| bytes.checked_add(sizes.keys + sizes.values))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// Queries of an item; fewer in a small picture, so that every worker has some.
    pub(super) fn block(&self) -> usize {
        match self.algorithm {
            Algorithm::Streamed => {
                let most = if self.packed { STREAMED_QUERIES } else { UNPACKED_QUERIES };
                most.min(self.tokens.div_ceil(8).max(16))
            }
            Algorithm::RowByRow => ROW_BY_ROW_QUERIES,
        }
    }

    /// Keys between two updates of the softmax.
    pub(super) fn span(&self) -> usize {
        match self.algorithm {
            Algorithm::Streamed => KEYS,
            Algorithm::RowByRow => self.tokens,
        }
    }

    pub(super) fn sizes(&self, panels: Panels, staged: Staged) -> Sizes {
        let floats = |n: usize| align_up(n * size_of::<f32>());
        let channels = self.channels;
        let block = self.block();
        let (all, span) = if self.packed { (self.tokens, 0) } else { (0, KEYS) };
        Sizes {
            keys: align_up(panels.bytes(channels, all)),
            values: align_up(panels.bytes(all, channels)),
            span_keys: align_up(panels.bytes(channels, span)),
            span_values: align_up(panels.bytes(span, channels)),
            queries: floats(block * channels),
            output: floats(block * panels.filled(channels)),
            scores: floats(block * panels.filled(self.span())),
            rows: floats(block),
            read: align_up(block.max(KEYS) * staged.input),
            written: align_up(block * staged.output),
        }
    }
}
