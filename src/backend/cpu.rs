#![forbid(unsafe_code)]
//! The backend that computes, on the processor.

use std::ops::{ControlFlow, Range};

use super::workspace::carve;
use super::{
    Attention, Backend, Columns, Conv, Layout, Norm, Region, Slot, Statistic, Statistics, Strategy,
};
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::scratch_file::{ScratchFile, Stored};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::threads::Threads;
use crate::kernels::{Kernels, Sum};
use crate::ops::attention::{self, Algorithm, Rows};
use crate::ops::conv::{self, Branches, Geometry, Input, Operands, Prologue};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged, Target};
use crate::ops::sums::{Picture, group_sums};

/// What a run on the processor borrows from its session.
pub(crate) struct Cpu<'a> {
    threads: &'a Threads,
    kernels: &'a Kernels,
    algorithm: Algorithm,
    strategy: Strategy,
    arena: &'a mut [u8],
    /// Where the activations are that the arena does not have.
    file: Option<&'a ScratchFile>,
    layout: &'a Layout,
    /// Told the multiply-adds done so far, on the calling thread; `Break` stops the run.
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// Where normalisations have their statistics from.
    statistics: Statistics<'a>,
    /// Entries of the layout handed out so far.
    entries: usize,
    /// Group sums of each entry that is an activation with known statistics.
    sums: Vec<Vec<Sum>>,
    multiply_adds: u64,
}

impl<'a> Cpu<'a> {
    /// A run that follows `layout`, which was made for `strategy`, in `arena` and in `file`.
    pub(crate) fn new(
        (threads, kernels): (&'a Threads, &'a Kernels),
        (algorithm, strategy): (Algorithm, Strategy),
        (arena, file): (&'a mut [u8], Option<&'a ScratchFile>),
        layout: &'a Layout,
        progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Self {
        let (statistics, entries, sums, multiply_adds) = (Statistics::Own, 0, Vec::new(), 0);
        Self {
            threads,
            kernels,
            algorithm,
            strategy,
            arena,
            file,
            layout,
            progress,
            statistics,
            entries,
            sums,
            multiply_adds,
        }
    }

    /// The same run with normalisations by `statistics`.
    pub(crate) fn with_statistics(self, statistics: Statistics<'a>) -> Self {
        Self { statistics, ..self }
    }

    /// Fills an activation with the bytes of its values, row by row.
    pub(crate) fn fill(
        &mut self,
        slot: &Slot,
        mut row: impl FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let length = slot.shape.width * slot.shape.channels * slot.dtype.size();
        if let Some(stored) = self.stored(slot)? {
            let mut buffer = AlignedBuf::zeroed(length, "a row")?;
            for y in 0..slot.shape.height {
                row(y, &mut buffer)?;
                stored.write((y * length) as u64, &buffer)?;
            }
            return Ok(());
        }
        let range = self.range(slot)?;
        let rows = self.arena[range].chunks_exact_mut(length).enumerate();
        rows.into_iter().try_for_each(|(y, values)| row(y, values))
    }

    /// The part of the scratch file that an activation has, if it has one.
    fn stored(&self, slot: &Slot) -> Result<Option<Stored<'a>>> {
        if !slot.stored {
            return Ok(None);
        }
        let range = self.range(slot)?;
        let file = self.file.ok_or_else(|| Error::internal("a run without its scratch file"))?;
        Ok(Some(file.part(range.start as u64..range.end as u64)))
    }

    /// What the arena has of an activation.
    fn in_arena(&self, slot: &Slot) -> Result<Range<usize>> {
        if slot.stored { Ok(0..0) } else { self.range(slot) }
    }

    fn entry(&mut self, bytes: usize) -> Result<(usize, Range<usize>)> {
        let id = self.entries;
        self.entries += 1;
        self.sums.push(Vec::new());
        self.layout.range(id, bytes).map(|range| (id, range)).ok_or_else(|| {
            Error::internal(format!("entry {id} of {bytes} bytes is not in the plan"))
        })
    }

    /// The bytes of an activation, of the arena or of the scratch file.
    pub(crate) fn range(&self, slot: &Slot) -> Result<Range<usize>> {
        let (home, first) = slot.home;
        self.layout
            .part(home, first..first + slot.bytes()?)
            .ok_or_else(|| Error::internal(format!("activation {} is not in the plan", slot.id)))
    }

    /// Runs a convolution into `out`, or in place.
    fn convolve(
        &mut self,
        conv: &Conv<'_>,
        geometry: Geometry,
        input: &Slot,
        out: Option<&Slot>,
    ) -> Result<()> {
        let name = conv.filters.first().map_or("convolution", |filter| filter.name);
        let prologue = match &conv.norm {
            Some(norm) => Some(self.prologue(norm, input, name)?),
            None => None,
        };
        let work = geometry.multiply_adds();
        let to = out.unwrap_or(input);
        let staged = Staged { input: out.map_or(0, |_| input.staged()), output: to.staged() };
        let bytes = geometry.scratch(self.kernels.panels(), self.threads.count(), staged)?;
        let (read, written) = (self.stored(input)?, self.stored(to)?);
        let (from, scratch) = (self.in_arena(input)?, self.entry(bytes)?.1);
        let ranges = match out {
            Some(out) => [from, self.in_arena(out)?, scratch],
            None => [from.start..from.start, from, scratch],
        };
        let [source, target, scratch] = carve(self.arena, ranges);
        let operands = Operands {
            filters: conv.filters,
            input: match (out, read) {
                (None, _) => Input::InPlace,
                (_, Some(stored)) => Input::Whole(Source::File(stored, input.dtype)),
                _ => Input::Whole(Source::Memory(Elements::new(input.dtype, source))),
            },
            input_pitch: input.pitch,
            output_pitch: to.pitch,
            prologue,
            residual: conv.residual,
            groups: conv.groups,
            staged,
        };
        let mut tick = ticker(self.progress, self.multiply_adds, work);
        let target = match written {
            Some(stored) => Target::File(stored, to.dtype),
            None => Target::Memory(ElementsMut::new(to.dtype, target)),
        };
        let exec = Exec { threads: self.threads, kernels: self.kernels };
        let job = conv::Job { geometry: &geometry, operands };
        let sums = job.run(exec, target, scratch, &mut tick)?.ok_or_else(cancelled)?;
        for filter in conv.filters {
            filter.weight.release();
        }
        check_sums(conv, &sums, to.dtype)?;
        self.sums[to.id] = sums;
        self.multiply_adds += work;
        Ok(())
    }

    fn prologue(&mut self, norm: &Norm<'_>, input: &Slot, name: &str) -> Result<Prologue> {
        let statistics = self.statistics_of(norm, input)?;
        let channels = input.shape.channels;
        if statistics.len() != norm.groups
            || norm.gamma.len() != channels
            || norm.beta.len() != channels
        {
            let found = statistics.len();
            return Err(Error::internal(format!(
                "{name}: statistics of {found} groups for {} groups of {channels} channels",
                norm.groups
            )));
        }
        let per_group = channels / norm.groups;
        let (mut scale, mut shift) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for (channel, (&gamma, &beta)) in norm.gamma.iter().zip(norm.beta).enumerate() {
            let Statistic { mean, variance } = statistics[channel / per_group];
            let factor = f64::from(gamma) / (variance + norm.epsilon).sqrt();
            scale.push(factor as f32);
            shift.push((f64::from(beta) - mean * factor) as f32);
        }
        Ok(Prologue { scale, shift, act: norm.act })
    }

    /// The statistics that `norm` normalises `input` by, one for each group.
    fn statistics_of(&mut self, norm: &Norm<'_>, input: &Slot) -> Result<Vec<Statistic>> {
        let per_group = input.shape.channels / norm.groups;
        let count = |pixels: usize| (pixels * per_group) as f64;
        if matches!(&self.statistics, Statistics::Shared(shared) if shared.gathers()) {
            let core = norm.core.ok_or_else(|| Error::internal("a tile without its place"))?;
            let sums = self.sums_of(input, &core, norm.groups)?;
            if let Statistics::Shared(shared) = &mut self.statistics {
                shared.gather(&sums, count(core.height * core.width));
            }
        }
        if let Statistics::Shared(shared) = &mut self.statistics {
            return shared.next();
        }
        let pixels = count(input.shape.pixels());
        let of = |sums: &[Sum]| sums.iter().map(|&sum| Statistic::of(sum, pixels)).collect();
        let own: Vec<Statistic> = match &self.statistics {
            // The run's own input, which no operator of it stored.
            Statistics::Reduced(_) if self.sums[input.id].is_empty() => {
                let Shape { height, width, .. } = input.shape;
                let all = Region { top: 0, left: 0, height, width };
                of(&self.sums_of(input, &all, norm.groups)?)
            }
            _ => of(&self.sums[input.id]),
        };
        match &mut self.statistics {
            Statistics::Reduced(reduced) => Ok(reduced.next(own, norm.epsilon)),
            _ => Ok(own),
        }
    }

    /// The sums of each group over a part of an activation in memory.
    fn sums_of(&self, slot: &Slot, region: &Region, groups: usize) -> Result<Vec<Sum>> {
        let range = self.in_arena(slot)?;
        if slot.stored {
            return Err(Error::internal("sums of an activation in the scratch file"));
        }
        let Shape { width, channels, .. } = slot.shape;
        let values = Elements::new(slot.dtype, &self.arena[range]);
        let picture = Picture { values, width, channels, pitch: slot.pitch };
        let exec = Exec { threads: self.threads, kernels: self.kernels };
        Ok(group_sums(exec, picture, region, groups))
    }
}

/// Turns items done of an operator into multiply-adds of the run.
fn ticker<'t>(
    progress: &'t mut dyn FnMut(u64) -> ControlFlow<()>,
    before: u64,
    operator: u64,
) -> impl FnMut(usize, usize) -> ControlFlow<()> + 't {
    move |done, of| {
        let part = u128::from(operator) * done as u128 / of.max(1) as u128;
        progress(before + part as u64)
    }
}

/// Refuses sums of an output that is not finite.
fn check_sums(conv: &Conv<'_>, sums: &[Sum], dtype: Storage) -> Result<()> {
    let Some(group) = sums.iter().position(|sum| !sum.square.is_finite()) else { return Ok(()) };
    let (name, of) = (conv.filters.first().map_or("", |filter| filter.name), conv.groups);
    let message =
        format!("{name}: the output is not finite in group {group} of {of} ({dtype} storage)");
    Err(Error::new(ErrorKind::NonFinite, message))
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

impl<'a> Backend for Cpu<'a> {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        let bytes = shape.bytes(dtype)?;
        let (id, _) = self.entry(bytes)?;
        Ok(Slot::new(id, shape, dtype, self.strategy.stores(bytes)))
    }

    fn free(&mut self, slot: Slot) {
        // The plan knows already; only the statistics go.
        self.sums[slot.id] = Vec::new();
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        let kept = self.strategy.kept;
        let geometry = Geometry::new(input.shape, conv.filters, conv.resample, kept)?;
        if geometry.output() != out.shape {
            let (name, made) = (conv.filters[0].name, geometry.output());
            return Err(Error::internal(format!("{name} gives {made}, not {}", out.shape)));
        }
        self.convolve(conv, geometry, input, Some(out))
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let kept = self.strategy.kept;
        let geometry = Geometry::new(slot.shape, conv.filters, conv.resample, kept)?;
        let channels = geometry.output().channels;
        if !geometry.in_place() || channels > slot.pitch {
            let name = conv.filters[0].name;
            return Err(Error::internal(format!("{name} cannot run in place of {}", slot.shape)));
        }
        self.convolve(conv, geometry, &slot, None)?;
        slot.narrowed(channels)
    }

    fn fork(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<(Slot, Slot)> {
        let Some(split) = self.strategy.fork(conv, shortcut, &slot)? else {
            return self.fork_apart(conv, shortcut, slot);
        };
        let name = conv.filters.first().map_or("convolution", |filter| filter.name);
        let prologue = match &conv.norm {
            Some(norm) => Some(self.prologue(norm, &slot, name)?),
            None => None,
        };
        let (hidden, _) = self.entry(0)?;
        let bytes = split.scratch(self.kernels.panels(), self.threads.count(), slot.dtype)?;
        let (range, scratch) = (self.range(&slot)?, self.entry(bytes)?.1);
        let [memory, scratch] = carve(self.arena, [range, scratch]);
        let job = conv::SplitJob {
            split: &split,
            filters: Branches { conv: conv.filters, shortcut: shortcut.filters },
            prologue,
            groups: Branches { conv: conv.groups, shortcut: shortcut.groups },
            dtype: slot.dtype,
        };
        let work = split.multiply_adds();
        let mut tick = ticker(self.progress, self.multiply_adds, work);
        let exec = Exec { threads: self.threads, kernels: self.kernels };
        let sums = job.run(exec, memory, scratch, &mut tick)?.ok_or_else(cancelled)?;
        for (conv, sums) in [(conv, &sums.conv), (shortcut, &sums.shortcut)] {
            check_sums(conv, sums, slot.dtype)?;
            for filter in conv.filters {
                filter.weight.release();
            }
        }
        let channels = split.channels();
        let (out, hidden) = slot.forked(channels.shortcut, (hidden, channels.conv))?;
        self.sums[hidden.id] = sums.conv;
        self.sums[out.id] = sums.shortcut;
        self.multiply_adds += work;
        Ok((out, hidden))
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        let range = self.range(&slot)?;
        let (pixel, width) = (slot.pitch * slot.dtype.size(), slot.shape.width);
        let slot = slot.cropped(region)?;
        let memory = &mut self.arena[range];
        let row = region.width * pixel;
        for (to, y) in region.rows().enumerate() {
            let from = (y * width + region.left) * pixel;
            memory.copy_within(from..from + row, to * row);
        }
        Ok(slot)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let (tokens, channels) = (out.shape.pixels(), out.shape.channels);
        let geometry =
            attention::Geometry::new(tokens, channels, self.algorithm, self.strategy.kept);
        let work = geometry.multiply_adds();
        let operands = [attention.query, attention.key, attention.value];
        let staged = attention.staged(out);
        let bytes = geometry.scratch(self.kernels.panels(), self.threads.count(), staged)?;
        if let Some(odd) = operands.iter().find(|o| o.slot.shape.pixels() != tokens) {
            let found = odd.slot.shape;
            return Err(Error::internal(format!(
                "{}: {found} for {tokens} tokens",
                attention.name
            )));
        }
        // Query, key and value may be columns of one activation, which is carved out once.
        let mut held: Vec<&Slot> = operands.iter().map(|operand| operand.slot).collect();
        held.dedup_by_key(|slot| slot.id);
        let mut ranges = [const { 0..0 }; 3];
        for (range, slot) in ranges.iter_mut().zip(&held) {
            *range = self.in_arena(slot)?;
        }
        let [first, second, third] = ranges;
        let mut stored = [const { None }; 3];
        for (stored, operand) in stored.iter_mut().zip(&operands) {
            *stored = self.stored(operand.slot)?;
        }
        let written = self.stored(out)?;
        let ranges = [first, second, third, self.in_arena(out)?, self.entry(bytes)?.1];
        let [first, second, third, target, scratch] = carve(self.arena, ranges);
        let data = [&*first, &*second, &*third];
        let rows = |Columns { slot, first }: Columns<'_>, stored: Option<Stored<'a>>| {
            let source = match stored {
                Some(stored) => Source::File(stored, slot.dtype),
                None => {
                    let at = held.iter().position(|other| other.id == slot.id).unwrap_or(0);
                    Source::Memory(Elements::new(slot.dtype, data[at]))
                }
            };
            Rows { source, stride: slot.pitch, first }
        };
        let [query, key, value] = operands;
        let [of_query, of_key, of_value] = stored;
        let (query, key, value) = (rows(query, of_query), rows(key, of_key), rows(value, of_value));
        let job = attention::Job { geometry, query, key, value, staged };
        let mut tick = ticker(self.progress, self.multiply_adds, work);
        let target = match written {
            Some(stored) => Target::File(stored, out.dtype),
            None => Target::Memory(ElementsMut::new(out.dtype, target)),
        };
        let exec = Exec { threads: self.threads, kernels: self.kernels };
        if job.run(exec, target, scratch, &mut tick)?.is_break() {
            return Err(cancelled());
        }
        self.multiply_adds += work;
        Ok(())
    }
}
