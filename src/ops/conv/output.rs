//! The way out: a block's results, and their places.

use std::ops::Range;
use std::slice::ChunksExactMut;

use super::blocks::{Block, Cut};
use super::run::{ConvInput, Run};
use crate::base::alloc;
use crate::base::buffer::ElementsMut;
use crate::base::error::Result;
use crate::base::storage::Storage;
use crate::kernels::{Store, Sum};
use crate::ops::place::{Place, Target};

/// A block's part of each of its output rows: one by one in memory, or all in the file.
pub(super) type OutputRows<'a> = Place<'a, Vec<ElementsMut<'a>>>;

/// Output rows, top to bottom: one by one in memory, or all in the file.
pub(super) type OutputLines<'a> = Place<'a, Lines<'a>>;

/// Rows in memory, one after the other.
pub(super) enum Lines<'a> {
    /// All of what is left, in rows of this length in values.
    Packed(ElementsMut<'a>, usize),
    /// The first or the second half of rows of bytes.
    Halves(ChunksExactMut<'a, u8>, Storage, Half),
}

/// A half of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    First,
    Second,
}

impl<'a> Lines<'a> {
    /// The row that comes next; `None` after the last.
    fn next(&mut self) -> Option<ElementsMut<'a>> {
        match self {
            Self::Packed(rest, row) => {
                let (line, tail) = rest.take().split_at(*row);
                *rest = tail;
                Some(line)
            }
            Self::Halves(rows, dtype, half) => {
                let row = rows.next()?;
                let (first, second) = row.split_at_mut(row.len() / 2);
                let bytes = if *half == Half::First { first } else { second };
                Some(ElementsMut::new(*dtype, bytes))
            }
        }
    }
}

/// The blocks of some output rows, in order. Each is made as it is taken: a list of them all would
/// grow with the picture.
pub(super) struct Items<'a> {
    cut: Cut,
    /// The output rows, and the width of the picture.
    rows: Range<usize>,
    width: usize,
    /// Values from one pixel to the next.
    pitch: usize,
    lines: OutputLines<'a>,
    /// What is left of the rows of the current row of blocks.
    current: Vec<ElementsMut<'a>>,
    /// The sums of the blocks that come, `groups` of each.
    sums: ChunksExactMut<'a, Sum>,
    /// Index of the next block, and their number.
    next: usize,
    count: usize,
}

/// One block, with its part of each output row and its sums.
pub(super) struct Item<'a> {
    pub(super) block: Block,
    pub(super) rows: OutputRows<'a>,
    pub(super) sums: &'a mut [Sum],
}

/// Results of a convolution: pixels `stride` values apart.
#[derive(Clone, Copy)]
pub(super) struct Results<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl<'a> Items<'a> {
    /// The number of blocks that are left.
    pub(super) fn left(&self) -> usize {
        self.count - self.next
    }

    /// The block that is made `after` others.
    pub(super) fn block(&self, after: usize) -> Block {
        self.cut.block(&self.rows, self.width, self.next + after)
    }

    /// The parts of the output rows of `block`.
    fn parts(&mut self, block: &Block) -> Result<OutputRows<'a>> {
        let what = "a block's rows";
        let lines = match &mut self.lines {
            Place::Memory(lines) => lines,
            Place::File(region, dtype) => return Ok(Place::File(region.clone(), *dtype)),
        };
        if block.columns.start == 0 {
            self.current.clear();
            alloc::reserve(&mut self.current, block.rows.len(), what)?;
            self.current.extend((0..block.rows.len()).map_while(|_| lines.next()));
        }
        let mut parts = alloc::with_capacity(block.rows.len(), what)?;
        for rest in &mut self.current {
            let (part, tail) = rest.take().split_at(block.columns.len() * self.pitch);
            *rest = tail;
            parts.push(part);
        }
        Ok(Place::Memory(parts))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left() == 0 {
            return None;
        }
        let (block, sums) = (self.block(0), self.sums.next()?);
        self.next += 1;
        Some(self.parts(&block).map(|rows| Item { block, rows, sums }))
    }
}

/// Size of an output, in values, that no third-level cache holds until the next layer reads it.
const STREAMED: usize = 8 << 20;

impl Run<'_> {
    /// The rows of an output.
    pub(super) fn lines<'o>(&self, out: Target<'o>) -> OutputLines<'o> {
        let row = self.layer.output.width * self.operands.output_pitch;
        match out {
            Place::Memory(out) => Place::Memory(Lines::Packed(out, row)),
            Place::File(region, dtype) => Place::File(region, dtype),
        }
    }

    /// The blocks of the output rows `rows`, each with its part of `lines` and its sums.
    pub(super) fn items<'o>(
        &self,
        rows: Range<usize>,
        lines: OutputLines<'o>,
        sums: &'o mut [Sum],
    ) -> Items<'o> {
        let (cut, width) = (self.cut, self.layer.output.width);
        Items {
            cut,
            width,
            pitch: self.operands.output_pitch,
            lines,
            current: Vec::new(),
            sums: sums.chunks_exact_mut(self.operands.groups),
            next: 0,
            count: cut.count(rows.len(), width),
            rows,
        }
    }

    /// Calls `f` with the block's part of each output row. Rows in a file go through `staging`:
    /// they are read first if the convolution adds to them or works in place, and written
    /// afterwards.
    pub(super) fn with_rows(
        &self,
        block: &Block,
        rows: OutputRows<'_>,
        staging: &mut [u8],
        f: impl FnOnce(Vec<ElementsMut<'_>>) -> Result<()>,
    ) -> Result<()> {
        let (region, dtype) = match rows {
            Place::Memory(rows) => return f(rows),
            Place::File(region, dtype) => (region, dtype),
        };
        let pixel = self.operands.output_pitch * dtype.size();
        let (row_bytes, width) = (block.columns.len() * pixel, self.layer.output.width);
        let at = |row: usize| ((row * width + block.columns.start) * pixel) as u64;
        let staging = &mut staging[..block.rows.len() * row_bytes];
        if self.operands.residual || matches!(self.operands.input, ConvInput::InPlace) {
            for (row, bytes) in block.rows.clone().zip(staging.chunks_exact_mut(row_bytes)) {
                region.read(at(row), bytes)?;
            }
        }
        let rows = staging.chunks_exact_mut(row_bytes).map(|row| ElementsMut::new(dtype, row));
        f(alloc::collected(rows, "a block's rows")?)?;
        for (row, bytes) in block.rows.clone().zip(staging.chunks_exact(row_bytes)) {
            region.write(at(row), bytes)?;
        }
        Ok(())
    }

    /// Stores results as the channels `channels` of the pixels of `out`, and adds the stored values
    /// to `sums`, one for each channel.
    pub(super) fn store(
        &self,
        results: Results<'_>,
        channels: Range<usize>,
        out: &mut ElementsMut<'_>,
        sums: &mut [Sum],
    ) {
        let operands = self.operands;
        let store = Store {
            acc: results.values,
            acc_stride: results.stride,
            pixels: out.len() / operands.output_pitch,
            channels: channels.len(),
            residual: operands.residual,
            epilogue: operands.epilogue,
            // What goes to the file is read from the caches.
            stream: operands.staged.output == 0 && self.layer.output.len() >= STREAMED,
            dst_stride: operands.output_pitch,
        };
        self.exec.kernels.store(&store, out.tail(channels.start), Some(&mut sums[channels]));
    }
}
