#![forbid(unsafe_code)]
//! The backend that computes on the CPU.

mod demand;
mod layer;
mod memory;

use std::ops::{ControlFlow, Range};

pub(crate) use demand::CpuMachine;
use demand::Operator;
use layer::{filters, finish, load, name};
pub(crate) use memory::Memory;

use super::statistics::{Statistic, Sums};
use super::workspace::carve;
use super::{
    Act, Attention, Backend, Blend, Columns, Conv, Map, Norm, Region, Slot, SplitSlots, Statistics,
    Strategy,
};
use crate::base::alloc;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::scratch_file::FileRegion;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::Sum;
use crate::kernels::threads::Threads;
use crate::ops::attention::{self, TokenRows};
use crate::ops::blend;
use crate::ops::conv::{self, Branches, ConvInput, Geometry, Operands, Prologue};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Target};
use crate::ops::sums::{Picture, group_sums};

/// A run on the CPU, which borrows from its session.
pub(crate) struct Cpu<'a> {
    machine: CpuMachine,
    threads: &'a Threads,
    strategy: Strategy,
    memory: Memory<'a>,
    /// Called with the multiply-adds done so far, on the calling thread; `Break` stops the run.
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// Source of the statistics for normalisations.
    statistics: Statistics<'a>,
    /// Number of layout entries used so far.
    entries: usize,
    /// Group sums of each entry that is an activation with known statistics.
    sums: Vec<Vec<Sum>>,
    multiply_adds: u64,
}

impl<'a> Cpu<'a> {
    /// Makes a run in `memory`, laid out for `strategy` on `machine`.
    pub(crate) fn new(
        machine: CpuMachine,
        threads: &'a Threads,
        strategy: Strategy,
        memory: Memory<'a>,
        progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Self {
        let (statistics, entries, sums, multiply_adds) = (Statistics::Own, 0, Vec::new(), 0);
        Self {
            machine,
            threads,
            strategy,
            memory,
            progress,
            statistics,
            entries,
            sums,
            multiply_adds,
        }
    }

    /// This run, normalising by `statistics`.
    pub(crate) fn with_statistics(self, statistics: Statistics<'a>) -> Self {
        Self { statistics, ..self }
    }

    fn entry(&mut self, bytes: usize) -> Result<(usize, Range<usize>)> {
        let id = self.entries;
        self.entries += 1;
        alloc::push(&mut self.sums, Vec::new(), "the sums of activations")?;
        self.memory.layout.range(id, bytes).map(|range| (id, range)).ok_or_else(|| {
            Error::internal(format!("entry {id} of {bytes} bytes is not in the plan"))
        })
    }

    /// Runs a convolution into `out`, or in place.
    fn convolve(
        &mut self,
        conv: &Conv<'_>,
        operator: Operator<Geometry>,
        input: &Slot,
        out: Option<&Slot>,
    ) -> Result<()> {
        let Operator { geometry, staged, demand } = operator;
        let weights = load(conv)?;
        let prologue = self.prologue(conv, input)?;
        let to = out.unwrap_or(input);
        let (read, written) = (self.memory.spilled(input)?, self.memory.spilled(to)?);
        let (from, scratch) = (self.memory.in_arena(input)?, self.entry(demand.scratch)?.1);
        let ranges = match out {
            Some(out) => [from, self.memory.in_arena(out)?, scratch],
            None => [from.start..from.start, from, scratch],
        };
        let [source, target, scratch] = carve(self.memory.arena, ranges);
        let operands = Operands {
            filters: &filters(conv, &weights),
            input: match (out, read) {
                (None, _) => ConvInput::InPlace,
                (_, Some(spilled)) => ConvInput::Whole(Source::File(spilled, input.dtype)),
                _ => ConvInput::Whole(Source::Memory(Elements::new(input.dtype, source))),
            },
            input_pitch: input.pitch,
            output_pitch: to.pitch,
            prologue: prologue.as_ref().map(Affine::prologue),
            residual: conv.residual,
            epilogue: conv.epilogue,
            groups: conv.groups,
            staged,
        };
        let mut tick = ticker(self.progress, self.multiply_adds, demand.multiply_adds);
        let target = match written {
            Some(spilled) => Target::File(spilled, to.dtype),
            None => Target::Memory(ElementsMut::new(to.dtype, target)),
        };
        let exec = Exec { threads: self.threads, kernels: &self.machine.kernels };
        let job = conv::Job { geometry: &geometry, operands };
        let sums = job.run(exec, target, scratch, &mut tick)?.ok_or_else(cancelled)?;
        finish(conv, &sums, to.dtype)?;
        self.sums[to.id] = sums;
        self.multiply_adds += demand.multiply_adds;
        Ok(())
    }

    /// What is done to `input` while `conv` loads it.
    fn prologue(&mut self, conv: &Conv<'_>, input: &Slot) -> Result<Option<Affine>> {
        let norm = match &conv.prologue {
            None => return Ok(None),
            Some(super::Prologue::Norm(norm)) => norm,
            &Some(super::Prologue::Map(Map { factor, offset, act })) => {
                let channels = input.shape.channels;
                let scale = alloc::filled(factor, channels, AFFINE)?;
                let shift = alloc::filled(offset, channels, AFFINE)?;
                return Ok(Some(Affine { scale, shift, act }));
            }
        };
        let statistics = self.statistics_of(norm, input)?;
        let channels = input.shape.channels;
        if statistics.len() != norm.groups
            || norm.gamma.len() != channels
            || norm.beta.len() != channels
        {
            let (name, found) = (name(conv), statistics.len());
            return Err(Error::internal(format!(
                "{name}: statistics of {found} groups for {} groups of {channels} channels",
                norm.groups
            )));
        }
        let per_group = channels / norm.groups;
        let mut scale = alloc::with_capacity(channels, AFFINE)?;
        let mut shift = alloc::with_capacity(channels, AFFINE)?;
        for (channel, (&gamma, &beta)) in norm.gamma.iter().zip(norm.beta).enumerate() {
            let Statistic { mean, variance } = statistics[channel / per_group];
            let factor = f64::from(gamma) / (variance + norm.epsilon).sqrt();
            let (factor, offset) = (factor as f32, (f64::from(beta) - mean * factor) as f32);
            // The activation function would hide an infinite value.
            if !factor.is_finite() || !offset.is_finite() {
                let (name, dtype) = (name(conv), input.dtype);
                let message = format!(
                    "{name}: the norm before it overflows in channel {channel} ({dtype} storage)"
                );
                return Err(Error::new(ErrorKind::NonFinite, message));
            }
            scale.push(factor);
            shift.push(offset);
        }
        Ok(Some(Affine { scale, shift, act: norm.act }))
    }

    /// The statistics that `norm` normalises `input` by, one for each group.
    fn statistics_of(&mut self, norm: &Norm<'_>, input: &Slot) -> Result<Vec<Statistic>> {
        let Self { machine, threads, memory, statistics, sums, .. } = self;
        let over = |region: &Region| {
            let range = memory.in_arena(input)?;
            if input.spilled {
                return Err(Error::internal("sums of an activation in the scratch file"));
            }
            let Shape { width, channels, .. } = input.shape;
            let values = Elements::new(input.dtype, &memory.arena[range]);
            let picture = Picture { values, width, channels, pitch: input.pitch };
            let exec = Exec { threads, kernels: &machine.kernels };
            group_sums(exec, picture, region, norm.groups)
        };
        let sums = Sums { shape: input.shape, sums: &sums[input.id], over: &over };
        statistics.resolve(norm, &sums)
    }
}

/// Name of scales and shifts, for messages.
const AFFINE: &str = "scale and shift";

/// A scale and a shift for each channel, and what follows them.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
    act: Option<Act>,
}

impl Affine {
    fn prologue(&self) -> Prologue<'_> {
        Prologue { scale: &self.scale, shift: &self.shift, act: self.act }
    }
}

/// Converts an operator's finished items to multiply-adds of the run.
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

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

impl<'a> Backend for Cpu<'a> {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        let bytes = shape.bytes(dtype)?;
        let (id, _) = self.entry(bytes)?;
        Ok(Slot::new(id, shape, dtype, self.strategy.spills(bytes)))
    }

    fn free(&mut self, slot: Slot) {
        // The plan frees the memory; only the statistics go here.
        self.sums[slot.id] = Vec::new();
    }

    fn upload(
        &mut self,
        slot: &Slot,
        row: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let length = slot.shape.width * slot.pixel_bytes();
        if let Some(spilled) = self.memory.spilled(slot)? {
            let mut buffer = AlignedBuf::zeroed(length, "a row")?;
            for y in 0..slot.shape.height {
                row(y, &mut buffer)?;
                spilled.write((y * length) as u64, &buffer)?;
            }
            return Ok(());
        }
        let range = self.memory.in_arena(slot)?;
        let mut rows = self.memory.arena[range].chunks_exact_mut(length).enumerate();
        rows.try_for_each(|(y, values)| row(y, values))
    }

    fn download(
        &mut self,
        slot: &Slot,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        let (pitch, pixel) = (slot.pixel_bytes(), slot.shape.channels * slot.dtype.size());
        if columns.is_empty() || columns.end > slot.shape.width || y >= slot.shape.height {
            return Err(Error::internal(format!("row {y}, {columns:?} of {}", slot.shape)));
        }
        let at = (y * slot.shape.width + columns.start) * pitch;
        let length = (columns.len() - 1) * pitch + pixel;
        let buffer;
        let row = match self.memory.spilled(slot)? {
            // Packed pixels are read directly.
            Some(spilled) if pitch == pixel => return spilled.read(at as u64, pixels),
            Some(spilled) => {
                let mut bytes = AlignedBuf::zeroed(length, "a row")?;
                spilled.read(at as u64, &mut bytes)?;
                buffer = bytes;
                &buffer[..]
            }
            None => {
                let range = self.memory.in_arena(slot)?;
                &self.memory.arena[range][at..at + length]
            }
        };
        if pitch == pixel {
            pixels.copy_from_slice(row);
            return Ok(());
        }
        for (to, from) in pixels.chunks_exact_mut(pixel).zip(row.chunks(pitch)) {
            to.copy_from_slice(&from[..pixel]);
        }
        Ok(())
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        let operator = self.machine.convolution(conv, input, Some(out), self.strategy)?;
        if operator.geometry.output() != out.shape {
            let (name, made) = (name(conv), operator.geometry.output());
            return Err(Error::internal(format!("{name} gives {made}, not {}", out.shape)));
        }
        self.convolve(conv, operator, input, Some(out))
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let operator = self.machine.convolution(conv, &slot, None, self.strategy)?;
        let channels = operator.geometry.output().channels;
        if !operator.geometry.in_place() || channels > slot.pitch {
            let name = name(conv);
            return Err(Error::internal(format!("{name} cannot run in place of {}", slot.shape)));
        }
        self.convolve(conv, operator, &slot, None)?;
        slot.narrowed(channels)
    }

    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots> {
        let Some(operator) = self.machine.split_in_place(conv, shortcut, &slot, self.strategy)?
        else {
            return self.split_apart(conv, shortcut, slot);
        };
        let Operator { geometry, demand, .. } = operator;
        let weights = Branches { conv: load(conv)?, shortcut: load(shortcut)? };
        let prologue = self.prologue(conv, &slot)?;
        let (id, _) = self.entry(0)?;
        let (range, scratch) = (self.memory.in_arena(&slot)?, self.entry(demand.scratch)?.1);
        let [memory, scratch] = carve(self.memory.arena, [range, scratch]);
        let job = conv::SplitJob {
            split: &geometry,
            filters: Branches {
                conv: &filters(conv, &weights.conv),
                shortcut: &filters(shortcut, &weights.shortcut),
            },
            prologue: prologue.as_ref().map(Affine::prologue),
            groups: Branches { conv: conv.groups, shortcut: shortcut.groups },
            dtype: slot.dtype,
        };
        let mut tick = ticker(self.progress, self.multiply_adds, demand.multiply_adds);
        let exec = Exec { threads: self.threads, kernels: &self.machine.kernels };
        let sums = job.run(exec, memory, scratch, &mut tick)?.ok_or_else(cancelled)?;
        finish(conv, &sums.conv, slot.dtype)?;
        finish(shortcut, &sums.shortcut, slot.dtype)?;
        let split = slot.split(id)?;
        self.sums[split.conv.id] = sums.conv;
        self.sums[split.shortcut.id] = sums.shortcut;
        self.multiply_adds += demand.multiply_adds;
        Ok(split)
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        let range = self.memory.in_arena(&slot)?;
        let (pixel, width) = (slot.pixel_bytes(), slot.shape.width);
        let slot = slot.cropped(region)?;
        // Sums over all pixels do not hold for a part.
        self.sums[slot.id].clear();
        let memory = &mut self.memory.arena[range];
        let row = region.width * pixel;
        for (to, y) in region.rows().enumerate() {
            let from = (y * width + region.left) * pixel;
            memory.copy_within(from..from + row, to * row);
        }
        Ok(slot)
    }

    fn blend(&mut self, blend: &Blend<'_>, slot: &Slot) -> Result<()> {
        let Blend { other, mask, groups } = *blend;
        let Shape { width, .. } = slot.shape;
        let step = mask.shape.width / width.max(1);
        let fits = |slot: &Slot| {
            let Shape { height, width, .. } = slot.shape;
            (height * step, width * step) == (mask.shape.height, mask.shape.width)
        };
        if other.shape != slot.shape || step == 0 || !fits(slot) || mask.dtype != Storage::F32 {
            let (x, other, mask) = (slot.shape, other.shape, mask.shape);
            return Err(Error::internal(format!("{other} blended into {x} by a mask of {mask}")));
        }
        let scratch = self.entry(0)?.1;
        let spilled = [self.memory.spilled(other)?, self.memory.spilled(mask)?];
        let written = self.memory.spilled(slot)?;
        let ranges = [self.memory.in_arena(other)?, self.memory.in_arena(mask)?];
        let [first, second] = ranges;
        let ranges = [first, second, self.memory.in_arena(slot)?, scratch];
        let [from_other, from_mask, target, _] = carve(self.memory.arena, ranges);
        let source = |spilled: Option<FileRegion<'a>>, dtype, bytes| match spilled {
            Some(spilled) => Source::File(spilled, dtype),
            None => Source::Memory(Elements::new(dtype, bytes)),
        };
        let [of_other, of_mask] = spilled;
        let job = blend::Blend {
            shape: slot.shape,
            pitch: slot.pitch,
            other_pitch: other.pitch,
            other: source(of_other, other.dtype, from_other),
            mask: source(of_mask, mask.dtype, from_mask),
            step,
            groups,
        };
        let target = match written {
            Some(spilled) => Target::File(spilled, slot.dtype),
            None => Target::Memory(ElementsMut::new(slot.dtype, target)),
        };
        let exec = Exec { threads: self.threads, kernels: &self.machine.kernels };
        let mut tick = ticker(self.progress, self.multiply_adds, 0);
        let sums = job.run(exec, target, &mut tick)?.ok_or_else(cancelled)?;
        self.sums[slot.id] = sums;
        Ok(())
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let operator = self.machine.attend(attention, out, self.strategy)?;
        let Operator { geometry, staged, demand } = operator;
        let tokens = out.shape.pixels();
        let operands = [attention.query, attention.key, attention.value];
        if let Some(odd) = operands.iter().find(|o| o.slot.shape.pixels() != tokens) {
            let found = odd.slot.shape;
            return Err(Error::internal(format!(
                "{}: {found} for {tokens} tokens",
                attention.name
            )));
        }
        // Query, key and value may be columns of one activation, which is borrowed only once.
        let mut slots: Vec<&Slot> = operands.iter().map(|operand| operand.slot).collect();
        slots.dedup_by_key(|slot| slot.id);
        let mut ranges = [const { 0..0 }; 3];
        for (range, slot) in ranges.iter_mut().zip(&slots) {
            *range = self.memory.in_arena(slot)?;
        }
        let [first, second, third] = ranges;
        let mut spilled = [const { None }; 3];
        for (spilled, operand) in spilled.iter_mut().zip(&operands) {
            *spilled = self.memory.spilled(operand.slot)?;
        }
        let written = self.memory.spilled(out)?;
        let (to, scratch) = (self.memory.in_arena(out)?, self.entry(demand.scratch)?.1);
        let ranges = [first, second, third, to, scratch];
        let [first, second, third, target, scratch] = carve(self.memory.arena, ranges);
        let data = [&*first, &*second, &*third];
        let rows = |Columns { slot, first }: Columns<'_>, spilled: Option<FileRegion<'a>>| {
            let source = match spilled {
                Some(spilled) => Source::File(spilled, slot.dtype),
                None => {
                    let at = slots.iter().position(|other| other.id == slot.id).unwrap_or(0);
                    Source::Memory(Elements::new(slot.dtype, data[at]))
                }
            };
            TokenRows { source, stride: slot.pitch, first }
        };
        let [query, key, value] = operands;
        let [of_query, of_key, of_value] = spilled;
        let (query, key, value) = (rows(query, of_query), rows(key, of_key), rows(value, of_value));
        let job = attention::Job { geometry, query, key, value, staged };
        let mut tick = ticker(self.progress, self.multiply_adds, demand.multiply_adds);
        let target = match written {
            Some(spilled) => Target::File(spilled, out.dtype),
            None => Target::Memory(ElementsMut::new(out.dtype, target)),
        };
        let exec = Exec { threads: self.threads, kernels: &self.machine.kernels };
        if job.run(exec, target, scratch, &mut tick)?.is_break() {
            return Err(cancelled());
        }
        self.multiply_adds += demand.multiply_adds;
        Ok(())
    }
}
