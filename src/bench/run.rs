//! A decode or an encode, operator by operator.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use super::number::number;
use super::operator::{Operator, method};
use crate::backend::cpu::{Cpu, Memory};
use crate::backend::{Attention, Backend, Blend, Conv, Region, Slot, SplitSlots};
use crate::base::buffer::{AlignedBuf, cast_mut};
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::threads::Threads;
use crate::model::Model;
use crate::model::network::{Direction, Input, Part};
use crate::ops::conv::Geometry;
use crate::run::SessionOptions;
use crate::run::budget::{Call, Planned};
use crate::run::resources::Resources;

/// The backend that computes, with a watch.
struct Watched<'c, 'a> {
    cpu: &'c mut Cpu<'a>,
    operators: Vec<Operator>,
}

impl Watched<'_, '_> {
    fn note(&mut self, conv: &Conv<'_>, input: Shape, out: Shape, seconds: f64) -> Result<()> {
        let geometry = Geometry::new(input, conv.filters, conv.way(), usize::MAX)?;
        let (method, done) = method(&geometry);
        let first = &conv.filters[0];
        let shape = format!("{input} -> {out}, {}x{}", first.kernel, first.kernel);
        let (name, direct) = (first.name.to_owned(), geometry.multiply_adds());
        self.operators.push(Operator { name, shape, method, seconds, direct, done });
        Ok(())
    }
}

impl Backend for Watched<'_, '_> {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        self.cpu.alloc(shape, dtype)
    }

    fn free(&mut self, slot: Slot) {
        self.cpu.free(slot);
    }

    fn upload(
        &mut self,
        slot: &Slot,
        row: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        self.cpu.upload(slot, row)
    }

    fn download(
        &mut self,
        slot: &Slot,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        self.cpu.download(slot, y, columns, pixels)
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        let start = Instant::now();
        self.cpu.conv(conv, input, out)?;
        self.note(conv, input.shape, out.shape, start.elapsed().as_secs_f64())
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let (start, input) = (Instant::now(), slot.shape);
        let out = self.cpu.conv_in_place(conv, slot)?;
        self.note(conv, input, out.shape, start.elapsed().as_secs_f64())?;
        Ok(out)
    }

    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots> {
        let (start, input) = (Instant::now(), slot.shape);
        let split = self.cpu.split(conv, shortcut, slot)?;
        let seconds = start.elapsed().as_secs_f64();
        // The two as one, under the name and the method of the larger.
        self.note(shortcut, input, split.shortcut.shape, 0.0)?;
        let small = self.operators.pop();
        self.note(conv, input, split.conv.shape, seconds)?;
        if let (Some(both), Some(small)) = (self.operators.last_mut(), small) {
            both.shape.push_str(" and 1x1");
            both.direct += small.direct;
            both.done += small.done;
        }
        Ok(split)
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        self.cpu.crop(slot, region)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let start = Instant::now();
        self.cpu.attention(attention, out)?;
        let seconds = start.elapsed().as_secs_f64();
        let work = 2 * (out.shape.pixels() as u64).pow(2) * out.shape.channels as u64;
        self.operators.push(Operator {
            name: attention.name.to_owned(),
            shape: out.shape.to_string(),
            method: "attention",
            seconds,
            direct: work,
            done: work,
        });
        Ok(())
    }

    fn blend(&mut self, blend: &Blend<'_>, slot: &Slot) -> Result<()> {
        self.cpu.blend(blend, slot)
    }
}

/// Runs a decode (or an encode) of noise, `height` rows of `width`, and gives the time of each
/// operator.
///
/// # Errors
/// Those of [`Session::decode`](crate::Session::decode).
pub fn operators(
    model: &Model,
    options: &SessionOptions,
    encode: bool,
    height: usize,
    width: usize,
) -> Result<Vec<Operator>> {
    let direction = if encode { Direction::Encode } else { Direction::Decode };
    let network = model.network(direction)?;
    let call = Call { network: &network, part: Part::Whole, height, width };
    let planned = call.plan(Resources::of_options(options, model)?)?;
    let Planned { layout, machine, settings, strategy, .. } = planned;
    let mut arena = AlignedBuf::zeroed(layout.bytes(), "workspace")?;
    let threads = Threads::new(machine.threads)?;
    let mut progress = |_| ControlFlow::Continue(());
    let memory = Memory { arena: &mut arena, file: None, layout: &layout };
    let mut cpu = Cpu::new(machine, &threads, strategy, memory, &mut progress);
    let input = Shape::new(height, width, network.in_channels());
    let input = cpu.alloc(input, Storage::F32)?;
    cpu.upload(&input, &mut |y, row| {
        let row: &mut [f32] = cast_mut(row);
        for (i, value) in row.iter_mut().enumerate() {
            *value = number(y * width + i);
        }
        Ok(())
    })?;
    let mut watched = Watched { cpu: &mut cpu, operators: Vec::new() };
    let input = Input { slot: input, masked: None };
    network.run(&mut watched, Part::Whole, settings, input)?;
    Ok(watched.operators)
}
