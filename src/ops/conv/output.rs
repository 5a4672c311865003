//! The way out: a block's results, and their places.

use std::ops::Range;

use super::blocks::Block;
use super::run::{ConvInput, Run};
use crate::base::buffer::ElementsMut;
use crate::base::error::Result;
use crate::kernels::{Store, Sum};
use crate::ops::place::{Place, Target};

/// Output rows, or parts of them: one by one in memory, or all in the file.
pub(super) type OutputRows<'a> = Place<'a, Vec<ElementsMut<'a>>>;

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

/// Size of an output, in values, that no third-level cache holds until the next layer reads it.
const STREAMED: usize = 8 << 20;

impl Run<'_> {
    /// The rows of an output.
    pub(super) fn rows<'o>(&self, out: Target<'o>) -> OutputRows<'o> {
        match out {
            Place::Memory(out) => {
                let row = self.layer.output.width * self.operands.output_pitch;
                let mut rest = Some(out);
                let lines = (0..self.layer.output.height).map_while(|_| {
                    let (line, tail) = rest.take()?.split_at(row);
                    rest = Some(tail);
                    Some(line)
                });
                Place::Memory(lines.collect())
            }
            Place::File(region, dtype) => Place::File(region, dtype),
        }
    }

    /// Gives every block its part of each of its output rows, and its sums.
    pub(super) fn items<'o>(
        &self,
        blocks: Vec<Block>,
        rows: OutputRows<'o>,
        sums: &'o mut [Sum],
    ) -> Vec<Item<'o>> {
        let rows: Vec<OutputRows<'o>> = match rows {
            Place::Memory(lines) => {
                self.deal(&blocks, lines).into_iter().map(Place::Memory).collect()
            }
            Place::File(region, dtype) => {
                blocks.iter().map(|_| Place::File(region.clone(), dtype)).collect()
            }
        };
        let sums = sums.chunks_exact_mut(self.operands.groups);
        let parts = blocks.into_iter().zip(rows).zip(sums);
        parts.map(|((block, rows), sums)| Item { block, rows, sums }).collect()
    }

    /// Each block's part of each of `lines`.
    fn deal<'o>(&self, blocks: &[Block], lines: Vec<ElementsMut<'o>>) -> Vec<Vec<ElementsMut<'o>>> {
        let mut parts: Vec<Vec<ElementsMut<'o>>> =
            blocks.iter().map(|block| Vec::with_capacity(block.rows.len())).collect();
        let across = self.cut.across(self.layer.output.width);
        for (y, line) in lines.into_iter().enumerate() {
            let first = (y + self.cut.origin) / self.cut.rows * across;
            let mut rest = line;
            for (block, part) in blocks[first..].iter().zip(&mut parts[first..first + across]) {
                let (segment, tail) =
                    rest.split_at(block.columns.len() * self.operands.output_pitch);
                part.push(segment);
                rest = tail;
            }
        }
        parts
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
        f(staging.chunks_exact_mut(row_bytes).map(|row| ElementsMut::new(dtype, row)).collect())?;
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
