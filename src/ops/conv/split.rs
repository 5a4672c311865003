//! Split in place: the first two convolutions of a ResNet block that halves the channels run in the
//! place of their input. So the widest activations of a decoder exist once instead of twice.
//!
//! ```text
//! for each few rows of blocks
//!     copy the input rows that they read into the window, which has the last of those before still
//!     a row of the input = [row of the 1x1 convolution | row of the 3x3 convolution]
//! sort the halves: all rows of the one, then all rows of the other
//! ```

use std::ops::{ControlFlow, Range};

use super::filter::Filter;
use super::geometry::Geometry;
use super::layer::Resample;
use super::output::{Half, Lines, OutputLines};
use super::run::{ConvInput, Operands, Prologue};
use super::worker::{Scratch, Staging, Worker};
use crate::base::alloc;
use crate::base::buffer::{Elements, align_up};
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::{Epilogue, Panels, Sum};
use crate::ops::exec::Exec;
use crate::ops::place::{Place, Staged};
use crate::ops::sums::merge;

/// Names of lists, for messages.
const SUMS: &str = "sums";
const PIECES: &str = "pieces of rows";

/// Blocks per thread between two copies.
const BLOCKS: usize = 4;

/// A value for each of the two convolutions: the 3x3 one, and the 1x1 one, which is the block's
/// shortcut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branches<T> {
    pub(crate) conv: T,
    pub(crate) shortcut: T,
}

/// A 3x3 and a 1x1 convolution on one input, each to half of its channels.
pub(crate) struct Split {
    geometries: Branches<Geometry>,
}

impl Split {
    /// `None` if the two do not fit in the place of their input, or are not computed row by row.
    pub(crate) fn new<W>(
        input: Shape,
        filters: Branches<&[Filter<'_, W>]>,
    ) -> Result<Option<Self>> {
        let geometry = |filters: &[Filter<'_, W>]| {
            Geometry::new(input, filters, Resample::Keep.into(), usize::MAX)
        };
        let (conv, shortcut) = (geometry(filters.conv)?, geometry(filters.shortcut)?);
        let halves = [&conv, &shortcut].iter().all(|of| 2 * of.output().channels == input.channels);
        let fits = halves && conv.method.by_rows() && shortcut.in_place();
        Ok(fits.then_some(Self { geometries: Branches { conv, shortcut } }))
    }

    /// Output channels.
    pub(crate) fn channels(&self) -> Branches<usize> {
        let Branches { conv, shortcut } = &self.geometries;
        Branches { conv: conv.output().channels, shortcut: shortcut.output().channels }
    }

    /// Multiply-adds of both, counted as direct ones.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let Branches { conv, shortcut } = &self.geometries;
        conv.multiply_adds().saturating_add(shortcut.multiply_adds())
    }

    /// Scratch memory in bytes for `threads` workers.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not fit the address space.
    pub(crate) fn scratch(&self, panels: Panels, threads: usize, dtype: Storage) -> Result<usize> {
        let Branches { conv, shortcut } = self.parts(panels);
        let shared = conv.shared + shortcut.shared + self.window(threads, dtype);
        threads
            .checked_mul(conv.worker.max(shortcut.worker))
            .and_then(|bytes| bytes.checked_add(shared))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// Bytes at most that a run with `threads` workers allocates besides its scratch memory, for
    /// sums of `groups` groups.
    pub(crate) fn bookkeeping(
        &self,
        panels: Panels,
        threads: usize,
        groups: Branches<usize>,
        dtype: Storage,
    ) -> usize {
        let Branches { conv, shortcut } = &self.geometries;
        let of_conv = conv.bookkeeping(panels, threads, groups.conv);
        let of_shortcut = shortcut.bookkeeping(panels, threads, groups.shortcut);
        // The sums of all blocks beside those of a step's.
        let height = self.input().height;
        let sums = conv.blocks(height).saturating_mul(groups.conv * size_of::<Sum>());
        [of_shortcut, sums, sorting(height, self.row(dtype) / 2, threads)]
            .iter()
            .fold(of_conv, |sum, &bytes| sum.saturating_add(bytes))
    }

    fn parts(&self, panels: Panels) -> Branches<Scratch> {
        let Branches { conv, shortcut } = &self.geometries;
        Branches { conv: conv.parts(panels), shortcut: shortcut.parts(panels) }
    }

    fn input(&self) -> Shape {
        self.geometries.conv.layer.input
    }

    /// Output rows between two copies.
    fn step(&self, threads: usize) -> usize {
        let cut = self.geometries.conv.method.cut();
        let across = self.input().width.div_ceil(cut.columns);
        cut.rows * threads.saturating_mul(BLOCKS).div_ceil(across)
    }

    /// Bytes of an input row.
    fn row(&self, dtype: Storage) -> usize {
        self.input().width * self.input().channels * dtype.size()
    }

    /// Bytes of the window.
    fn window(&self, threads: usize, dtype: Storage) -> usize {
        let rows = self.input().height.min(self.step(threads) + 2);
        align_up(rows * self.row(dtype))
    }
}

/// A split to run.
pub(crate) struct SplitJob<'a> {
    pub(crate) split: &'a Split,
    pub(crate) filters: Branches<&'a [Filter<'a>]>,
    pub(crate) groups: Branches<usize>,
    /// The prologue of the 3x3 convolution.
    pub(crate) prologue: Option<Prologue<'a>>,
    pub(crate) dtype: Storage,
}

impl SplitJob<'_> {
    /// Runs both in `memory`, which holds the input, and afterwards the output of the 1x1
    /// convolution followed by that of the 3x3 one. Returns the sums of their groups, or `None` if
    /// `tick` (blocks done, of how many) said to stop.
    pub(crate) fn run(
        &self,
        exec: Exec<'_>,
        memory: &mut [u8],
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Branches<Vec<Sum>>>> {
        let (split, threads) = (self.split, exec.threads.count());
        let sizes = split.parts(exec.kernels.panels());
        let (conv, rest) = scratch.split_at_mut(sizes.conv.shared);
        let (shortcut, rest) = rest.split_at_mut(sizes.shortcut.shared);
        let (window, rest) = rest.split_at_mut(split.window(threads, self.dtype));
        let worker = sizes.conv.worker.max(sizes.shortcut.worker);
        let mut workers = Worker::all(rest, worker, Staging::default())?;
        let operands = self.operands(Elements::new(self.dtype, &window[..0]), 0);
        let Branches { conv: of_conv, shortcut: of_shortcut } = &split.geometries;
        let mut conv = Branch::prepare(of_conv, exec, &operands.conv, conv)?;
        let mut shortcut = Branch::prepare(of_shortcut, exec, &operands.shortcut, shortcut)?;

        let (height, row) = (split.input().height, split.row(self.dtype));
        let (mut loaded, mut done, count) = (0..0, 0, of_conv.blocks(height));
        let mut of_blocks = alloc::with_capacity(count * self.groups.conv, SUMS)?;
        let mut of_shortcut = alloc::filled(Sum::default(), self.groups.shortcut, SUMS)?;
        for start in (0..height).step_by(split.step(threads)) {
            let rows = start..height.min(start + split.step(threads));
            let need = start.saturating_sub(1)..height.min(rows.end + 1);
            slide(exec, window, memory, &loaded, &need, row)?;
            loaded = need.clone();
            let values = Elements::new(self.dtype, &window[..need.len() * row]);
            let operands = self.operands(values, need.start);
            let memory = &mut memory[rows.start * row..rows.end * row];

            let mut progress = |step: usize| tick(done + step, count);
            let out = halves(memory, row, self.dtype, Half::Second);
            let sums = conv.rows(&operands.conv, rows.clone(), out, &mut workers, &mut progress)?;
            let Some(sums) = sums else { return Ok(None) };
            // Each step begins at a block, so that there is room for those of all.
            of_blocks.extend(sums);
            done = of_blocks.len() / self.groups.conv;

            // This one is short, and not counted.
            let mut progress = |_| tick(done, count);
            let out = halves(memory, row, self.dtype, Half::First);
            let sums = shortcut.rows(&operands.shortcut, rows, out, &mut workers, &mut progress)?;
            let Some(sums) = sums else { return Ok(None) };
            for (total, sum) in of_shortcut.iter_mut().zip(merge(&sums, self.groups.shortcut)?) {
                *total = *total + sum;
            }
        }
        sort_halves(exec, memory, row / 2)?;
        let conv = merge(&of_blocks, self.groups.conv)?;
        Ok(Some(Branches { conv, shortcut: of_shortcut }))
    }

    /// The operands of both: input rows from `top` on.
    fn operands<'o>(&'o self, values: Elements<'o>, top: usize) -> Branches<Operands<'o>> {
        let Branches { conv, shortcut } = self.split.channels();
        let operands = |filters, groups, output_pitch, prologue| Operands {
            filters,
            input: ConvInput::Window(values, top),
            input_pitch: self.split.input().channels,
            output_pitch,
            prologue,
            residual: false,
            epilogue: Epilogue::None,
            groups,
            staged: Staged::default(),
        };
        let Self { filters, groups, prologue, .. } = self;
        Branches {
            conv: operands(filters.conv, groups.conv, conv, *prologue),
            shortcut: operands(filters.shortcut, groups.shortcut, shortcut, None),
        }
    }
}

/// One of the two convolutions, with prepared filters.
struct Branch<'b> {
    geometry: &'b Geometry,
    exec: Exec<'b>,
    filters: &'b mut [u8],
}

impl<'b> Branch<'b> {
    fn prepare(
        geometry: &'b Geometry,
        exec: Exec<'b>,
        operands: &Operands<'_>,
        filters: &'b mut [u8],
    ) -> Result<Self> {
        geometry.method.begin(geometry.run(exec, operands))?.prepare(filters)?;
        Ok(Self { geometry, exec, filters })
    }

    /// Computes some output rows; returns the sums of each of their blocks, or `None` if `tick`
    /// (blocks done) said to stop.
    fn rows(
        &mut self,
        operands: &Operands<'_>,
        rows: Range<usize>,
        out: OutputLines<'_>,
        workers: &mut [Worker<'_>],
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let blocks = self.geometry.blocks(rows.len());
        let mut sums = alloc::filled(Sum::default(), blocks * operands.groups, SUMS)?;
        let run = self.geometry.run(self.exec, operands);
        let items = run.items(rows, out, &mut sums);
        let flow = self.geometry.method.begin(run)?.run(self.filters, workers, items, tick)?;
        Ok(flow.is_continue().then_some(sums))
    }
}

/// Halves of rows of `row` bytes; the first is the shortcut's.
fn halves(rows: &mut [u8], row: usize, dtype: Storage, half: Half) -> OutputLines<'_> {
    Place::Memory(Lines::Halves(rows.chunks_exact_mut(row), dtype, half))
}

/// Moves a window from the rows `loaded` to the rows `need`; those not loaded are copied from
/// `memory`.
fn slide(
    exec: Exec<'_>,
    window: &mut [u8],
    memory: &[u8],
    loaded: &Range<usize>,
    need: &Range<usize>,
    row: usize,
) -> Result<()> {
    let overlap = loaded.end.saturating_sub(need.start);
    if overlap > 0 {
        let from = (loaded.len() - overlap) * row..loaded.len() * row;
        window.copy_within(from, 0);
    }
    let new = memory[(need.start + overlap) * row..need.end * row].chunks_exact(row);
    let rows = window[overlap * row..need.len() * row].chunks_exact_mut(row).zip(new);
    exec.each(rows, |(to, from)| {
        to.copy_from_slice(from);
        Ok(())
    })
}

/// Moves the even pieces of `half` bytes to the front and the odd ones to the back, each in order.
/// Each thread moves a part of all pieces.
fn sort_halves(exec: Exec<'_>, memory: &mut [u8], half: usize) -> Result<()> {
    let part = half.div_ceil(exec.threads.count());
    let count = memory.len() / half;
    let empty = (0..half.div_ceil(part)).map(|_| alloc::with_capacity(count, PIECES));
    let mut parts: Vec<Vec<&mut [u8]>> = alloc::try_collected(empty, PIECES)?;
    for piece in memory.chunks_exact_mut(half) {
        for (pieces, part) in parts.iter_mut().zip(piece.chunks_mut(part)) {
            pieces.push(part);
        }
    }
    exec.each(parts, |mut pieces| permute(&mut pieces))
}

/// Bytes at most that [`sort_halves`] allocates for `height` rows.
fn sorting(height: usize, half: usize, threads: usize) -> usize {
    // The pieces of each thread, and whether each is in its place; then a piece of each thread.
    let piece = size_of::<&mut [u8]>() + size_of::<bool>();
    let parts = height.saturating_mul(2 * piece).saturating_add(size_of::<Vec<&mut [u8]>>());
    half.saturating_add(threads.min(half).saturating_mul(parts + 1))
}

/// Moves the even pieces to the front and the odd ones to the back, along the cycles of the
/// permutation.
fn permute(pieces: &mut [&mut [u8]]) -> Result<()> {
    let count = pieces.len() / 2;
    // Where the piece comes from that belongs at `at`.
    let source = |at: usize| 2 * (at % count) + at / count;
    let mut done = alloc::filled(false, 2 * count, PIECES)?;
    let mut first = Vec::new();
    for start in 0..2 * count {
        if done[start] {
            continue;
        }
        first.clear();
        alloc::reserve(&mut first, pieces[start].len(), PIECES)?;
        first.extend_from_slice(pieces[start]);
        let mut at = start;
        loop {
            done[at] = true;
            let from = source(at);
            if from == start {
                pieces[at].copy_from_slice(&first);
                break;
            }
            if let Ok([to, from]) = pieces.get_disjoint_mut([at, from]) {
                to.copy_from_slice(from);
            }
            at = from;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Level;
    use crate::kernels::Kernels;
    use crate::kernels::threads::Threads;

    #[test]
    fn halves_are_sorted() {
        let (threads, kernels) = (Threads::new(3).unwrap(), Kernels::new(Level::Portable).unwrap());
        let exec = Exec { threads: &threads, kernels: &kernels };
        for count in 1..20_u8 {
            let mut memory: Vec<u8> =
                (0..count).flat_map(|y| [y, y + 100, y + 50, y + 150]).collect();
            sort_halves(exec, &mut memory, 2).unwrap();
            let expected: Vec<u8> = (0..count)
                .flat_map(|y| [y, y + 100])
                .chain((0..count).flat_map(|y| [y + 50, y + 150]))
                .collect();
            assert_eq!(memory, expected);
        }
    }

    #[test]
    fn a_window_slides_over_rows_that_are_written_behind_it() {
        let (threads, kernels) = (Threads::new(2).unwrap(), Kernels::new(Level::Portable).unwrap());
        let exec = Exec { threads: &threads, kernels: &kernels };
        let (row, height, step) = (3, 11, 4);
        let mut memory: Vec<u8> = (0..height).flat_map(|y| [y as u8; 3]).collect();
        let mut window = vec![0; (step + 2) * row];
        let mut loaded = 0..0;
        for start in (0..height).step_by(step) {
            let rows = start..height.min(start + step);
            let need = start.saturating_sub(1)..height.min(rows.end + 1);
            slide(exec, &mut window, &memory, &loaded, &need, row).unwrap();
            let expected: Vec<u8> = need.clone().flat_map(|y| [y as u8; 3]).collect();
            assert_eq!(window[..need.len() * row], expected);
            memory[rows.start * row..rows.end * row].fill(99);
            loaded = need;
        }
    }
}
