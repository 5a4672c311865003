#![forbid(unsafe_code)]
//! The two convolutions that a ResNet block begins with where it halves the channels, in the place of their
//! input: what a decoder has twice at its widest is then there once.
//!
//! ```text
//! for each few rows of blocks
//!     copy the input rows that they read into the window, which has the last of those before still
//!     a row of the input = [row of the 1x1 convolution | row of the 3x3 convolution]
//! sort the halves: all rows of the one, then all rows of the other
//! ```

use std::ops::{ControlFlow, Range};

use super::winograd::Order;
use super::{Filter, Geometry, Job, Method, Prologue, Resample, Source, Staged, Worker, items};
use crate::base::buffer::{Elements, ElementsMut, align_up, cast_mut};
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::threads::Threads;
use crate::kernels::{Kernels, Sum};
use crate::ops::sums::merge;

/// Blocks for each thread that are worked on between two copies.
const BLOCKS: usize = 4;

/// A 3x3 and a 1x1 convolution of one input, each to half of its channels.
pub(crate) struct Fork {
    conv: Geometry,
    shortcut: Geometry,
}

impl Fork {
    /// `None` where the two do not fit in the place of their input, or are not computed row by row.
    pub(crate) fn new(
        input: Shape,
        conv: &[Filter<'_>],
        shortcut: &[Filter<'_>],
    ) -> Result<Option<Self>> {
        let conv = Geometry::new(input, conv, Resample::Keep, usize::MAX)?;
        let shortcut = Geometry::new(input, shortcut, Resample::Keep, usize::MAX)?;
        let halves = [&conv, &shortcut].iter().all(|of| 2 * of.output.channels == input.channels);
        let by_rows =
            !matches!(&conv.method, Method::Winograd(blocking) if blocking.order == Order::Picture);
        let fits = halves && by_rows && shortcut.in_place();
        Ok(fits.then_some(Self { conv, shortcut }))
    }

    /// Multiply-adds of both, counted as direct ones.
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.conv.multiply_adds().saturating_add(self.shortcut.multiply_adds())
    }

    /// Bytes of scratch memory for `threads` workers and panels of `nr` columns.
    pub(crate) fn scratch(&self, nr: usize, threads: usize, dtype: Storage) -> Result<usize> {
        let (conv, shortcut) = (self.conv.scratch_parts(nr), self.shortcut.scratch_parts(nr));
        let shared = conv.shared + shortcut.shared + self.window(threads, dtype);
        threads
            .checked_mul(conv.worker.max(shortcut.worker))
            .and_then(|bytes| bytes.checked_add(shared))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// Output rows between two copies.
    fn step(&self, threads: usize) -> usize {
        let (rows, columns, _) = self.conv.block();
        let across = self.conv.output.width.div_ceil(columns);
        rows * threads.saturating_mul(BLOCKS).div_ceil(across)
    }

    /// Bytes of an input row.
    fn row(&self, dtype: Storage) -> usize {
        self.conv.input.width * self.conv.input.channels * dtype.size()
    }

    /// Bytes of the window.
    fn window(&self, threads: usize, dtype: Storage) -> usize {
        let rows = self.conv.input.height.min(self.step(threads) + 2);
        align_up(rows * self.row(dtype))
    }
}

/// A fork to run.
pub(crate) struct ForkJob<'a> {
    pub(crate) fork: &'a Fork,
    /// Of the 3x3 convolution and of the 1x1 convolution, as their groups.
    pub(crate) filters: [&'a [Filter<'a>]; 2],
    pub(crate) groups: [usize; 2],
    /// Of the 3x3 convolution.
    pub(crate) prologue: Option<Prologue>,
    pub(crate) dtype: Storage,
}

impl<'a> ForkJob<'a> {
    /// Runs both in `memory`, which has the input and then the output of the 1x1 convolution, followed by that
    /// of the 3x3 convolution. Gives the sums of each group of the 3x3 and of the 1x1 convolution, or
    /// `None` when `tick` (items done, of how many) said to stop.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        kernels: &Kernels,
        memory: &mut [u8],
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<[Vec<Sum>; 2]>> {
        let fork = self.fork;
        let (conv, shortcut) =
            (fork.conv.scratch_parts(kernels.nr()), fork.shortcut.scratch_parts(kernels.nr()));
        let (conv_filters, rest) = scratch.split_at_mut(conv.shared);
        let (shortcut_filters, rest) = rest.split_at_mut(shortcut.shared);
        let (window, rest) = rest.split_at_mut(fork.window(threads.count(), self.dtype));
        let mut workers: Vec<Worker<'_>> = rest
            .chunks_exact_mut(conv.worker.max(shortcut.worker))
            .map(|values| Worker { values: cast_mut(values), input: &mut [], output: &mut [] })
            .collect();
        let filters = [cast_mut(conv_filters), cast_mut(shortcut_filters)];
        let empty = Elements::new(self.dtype, &window[..0]);
        for (which, filters) in filters.into_iter().enumerate() {
            self.job(which, empty, 0).prepare(threads, kernels, filters);
        }
        let filters: [&[f32]; 2] = [cast_mut(conv_filters), cast_mut(shortcut_filters)];

        let (height, row) = (fork.conv.input.height, fork.row(self.dtype));
        let count = fork.conv.blocks().len();
        let mut sums = vec![Sum::default(); count * self.groups[0]];
        let mut of_shortcut = vec![Sum::default(); self.groups[1]];
        let (mut held, mut done) = (0..0, 0);
        for start in (0..height).step_by(fork.step(threads.count())) {
            let rows = start..height.min(start + fork.step(threads.count()));
            let need = start.saturating_sub(1)..height.min(rows.end + 1);
            slide(threads, window, memory, (&held, &need), row);
            held = need.clone();
            let values = Elements::new(self.dtype, &window[..need.len() * row]);

            let lines = memory[rows.start * row..rows.end * row].chunks_exact_mut(row);
            let (mut to_shortcut, mut to_conv) = (Vec::new(), Vec::new());
            for line in lines {
                let (first, second) = line.split_at_mut(row / 2);
                to_shortcut.push(ElementsMut::new(self.dtype, first));
                to_conv.push(ElementsMut::new(self.dtype, second));
            }
            let blocks = fork.conv.blocks_of(rows.clone());
            let of_blocks =
                &mut sums[done * self.groups[0]..(done + blocks.len()) * self.groups[0]];
            let job = self.job(0, values, need.start);
            let dealt = job.deal(&blocks, to_conv.into_iter());
            let items_of_conv = items(&blocks, dealt, of_blocks, self.groups[0]);
            let mut progress = |step: usize| tick(done + step, count);
            let run = (threads, kernels, filters[0]);
            if job.run_items(run, &mut workers, items_of_conv, &mut progress)?.is_break() {
                return Ok(None);
            }
            done += blocks.len();

            let blocks = fork.shortcut.blocks_of(rows);
            let mut of_blocks = vec![Sum::default(); blocks.len() * self.groups[1]];
            let job = self.job(1, values, need.start);
            let dealt = job.deal(&blocks, to_shortcut.into_iter());
            let items_of_shortcut = items(&blocks, dealt, &mut of_blocks, self.groups[1]);
            // This one is short, and not counted.
            let mut progress = |_| tick(done, count);
            let run = (threads, kernels, filters[1]);
            if job.run_items(run, &mut workers, items_of_shortcut, &mut progress)?.is_break() {
                return Ok(None);
            }
            for (total, sum) in of_shortcut.iter_mut().zip(merge(&of_blocks, self.groups[1])) {
                *total = *total + sum;
            }
        }
        sort_halves(threads, memory, row / 2);
        Ok(Some([merge(&sums, self.groups[0]), of_shortcut]))
    }

    /// One of the two convolutions, of input rows from `top` on.
    fn job<'j>(&'j self, which: usize, values: Elements<'j>, top: usize) -> Job<'j> {
        let geometry = if which == 0 { &self.fork.conv } else { &self.fork.shortcut };
        Job {
            geometry: geometry.clone(),
            filters: self.filters[which],
            input: Source::Window(values, top),
            input_pitch: geometry.input.channels,
            output_pitch: geometry.output.channels,
            prologue: if which == 0 { self.prologue.clone() } else { None },
            residual: false,
            groups: self.groups[which],
            staged: Staged::default(),
        }
    }
}

/// Makes a window that has the rows `held` one that has the rows `need`, which are still in `memory` where
/// they were not held.
fn slide(
    threads: &Threads,
    window: &mut [u8],
    memory: &[u8],
    (held, need): (&Range<usize>, &Range<usize>),
    row: usize,
) {
    let kept = held.end.saturating_sub(need.start);
    if kept > 0 {
        let from = (held.len() - kept) * row..held.len() * row;
        window.copy_within(from, 0);
    }
    let new = memory[(need.start + kept) * row..need.end * row].chunks_exact(row);
    let rows = window[kept * row..need.len() * row].chunks_exact_mut(row).zip(new).collect();
    each(threads, rows, |(to, from): (&mut [u8], &[u8])| to.copy_from_slice(from));
}

/// Moves the even pieces of `half` bytes to the front and the odd ones to the back, each in their order. Each
/// thread moves a part of all pieces.
fn sort_halves(threads: &Threads, memory: &mut [u8], half: usize) {
    let part = half.div_ceil(threads.count());
    let mut parts: Vec<Vec<&mut [u8]>> = Vec::new();
    for piece in memory.chunks_exact_mut(half) {
        for (index, part) in piece.chunks_mut(part).enumerate() {
            if index == parts.len() {
                parts.push(Vec::new());
            }
            parts[index].push(part);
        }
    }
    each(threads, parts, |mut pieces| permute(&mut pieces));
}

/// The same of pieces, along the cycles of the permutation.
fn permute(pieces: &mut [&mut [u8]]) {
    let count = pieces.len() / 2;
    // Where the piece comes from that belongs at `at`.
    let source = |at: usize| 2 * (at % count) + at / count;
    let mut done = vec![false; 2 * count];
    for start in 0..2 * count {
        if done[start] {
            continue;
        }
        let first = pieces[start].to_vec();
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
}

/// Runs `f` on each item.
fn each<I: Send>(threads: &Threads, items: Vec<I>, f: impl Fn(I) + Sync) {
    let mut workers = vec![(); threads.count()];
    let _ =
        threads.run(&mut workers, items, &mut |_| ControlFlow::Continue(()), |(), item| f(item));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_sorted() {
        for count in 1..20_u8 {
            let mut memory: Vec<u8> =
                (0..count).flat_map(|y| [y, y + 100, y + 50, y + 150]).collect();
            sort_halves(&Threads::new(3).unwrap(), &mut memory, 2);
            let expected: Vec<u8> = (0..count)
                .flat_map(|y| [y, y + 100])
                .chain((0..count).flat_map(|y| [y + 50, y + 150]))
                .collect();
            assert_eq!(memory, expected);
        }
    }

    #[test]
    fn a_window_slides_over_rows_that_are_written_behind_it() {
        let (row, height, step) = (3, 11, 4);
        let mut memory: Vec<u8> = (0..height).flat_map(|y| [y as u8; 3]).collect();
        let mut window = vec![0; (step + 2) * row];
        let mut held = 0..0;
        for start in (0..height).step_by(step) {
            let rows = start..height.min(start + step);
            let need = start.saturating_sub(1)..height.min(rows.end + 1);
            slide(&Threads::new(2).unwrap(), &mut window, &memory, (&held, &need), row);
            let expected: Vec<u8> = need.clone().flat_map(|y| [y as u8; 3]).collect();
            assert_eq!(window[..need.len() * row], expected);
            memory[rows.start * row..rows.end * row].fill(99);
            held = need;
        }
    }
}
