#![forbid(unsafe_code)]
//! The needs of each operator on the CPU: the shapes of the work and their memory. The recorder
//! reads the needs; the run also reads the shapes, from the same functions.

use crate::backend::{Attention, Blend, Conv, Demand, Machine, Prologue, Slot, Strategy};
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::kernels::Kernels;
use crate::ops::attention::{self, Algorithm};
use crate::ops::conv::{Branches, Geometry, Split};
use crate::ops::place::Staged;
use crate::ops::{blend, sums};

/// The CPU, with the session's settings that determine how work is divided.
#[derive(Clone, Copy)]
pub(crate) struct CpuMachine {
    pub(crate) kernels: Kernels,
    pub(crate) threads: usize,
    pub(crate) algorithm: Algorithm,
}

/// An operator to run.
pub(super) struct Operator<G> {
    pub(super) geometry: G,
    /// The operands and outputs that are spilled.
    pub(super) staged: Staged,
    pub(super) demand: Demand,
}

impl CpuMachine {
    /// Plans a convolution into `out`, or in place.
    pub(super) fn convolution(
        &self,
        conv: &Conv<'_>,
        input: &Slot,
        out: Option<&Slot>,
        strategy: Strategy,
    ) -> Result<Operator<Geometry>> {
        let geometry = Geometry::new(input.shape, conv.filters, conv.way(), strategy.packed_limit)?;
        let staged = match out {
            Some(out) => Staged { input: input.staged(), output: out.staged() },
            None => Staged { input: 0, output: input.staged() },
        };
        let (panels, threads) = (self.kernels.panels(), self.threads);
        let bookkeeping = geometry.bookkeeping(panels, threads, conv.groups);
        let demand = Demand {
            scratch: geometry.scratch(panels, threads, staged)?,
            bookkeeping: bookkeeping.saturating_add(self.normalising(conv, input)),
            multiply_adds: geometry.multiply_adds(),
        };
        Ok(Operator { geometry, staged, demand })
    }

    /// Bytes at most that the statistics of a convolution's input take, if sums are made of it.
    fn normalising(&self, conv: &Conv<'_>, input: &Slot) -> usize {
        let Some(Prologue::Norm(norm)) = &conv.prologue else { return 0 };
        let Shape { height, channels, .. } = input.shape;
        sums::bookkeeping(height, channels, norm.groups, self.threads)
    }

    /// Plans two convolutions split in place, if they fit there and are in memory.
    pub(super) fn split_in_place(
        &self,
        conv: &Conv<'_>,
        shortcut: &Conv<'_>,
        slot: &Slot,
        strategy: Strategy,
    ) -> Result<Option<Operator<Split>>> {
        if !strategy.split_in_place || slot.spilled || slot.pitch != slot.shape.channels {
            return Ok(None);
        }
        let filters = Branches { conv: conv.filters, shortcut: shortcut.filters };
        let Some(geometry) = Split::new(slot.shape, filters)? else { return Ok(None) };
        let (panels, threads) = (self.kernels.panels(), self.threads);
        let groups = Branches { conv: conv.groups, shortcut: shortcut.groups };
        let bookkeeping = geometry.bookkeeping(panels, threads, groups, slot.dtype);
        let demand = Demand {
            scratch: geometry.scratch(panels, threads, slot.dtype)?,
            bookkeeping: bookkeeping.saturating_add(self.normalising(conv, slot)),
            multiply_adds: geometry.multiply_adds(),
        };
        Ok(Some(Operator { geometry, staged: Staged::default(), demand }))
    }

    /// Plans an attention into `out`.
    pub(super) fn attend(
        &self,
        attention: &Attention<'_>,
        out: &Slot,
        strategy: Strategy,
    ) -> Result<Operator<attention::Geometry>> {
        let (tokens, channels) = (out.shape.pixels(), out.shape.channels);
        let geometry =
            attention::Geometry::new(tokens, channels, self.algorithm, strategy.packed_limit);
        let operands = [attention.query, attention.key, attention.value];
        let input = operands.iter().map(|operand| operand.slot.staged()).max().unwrap_or(0);
        let staged = Staged { input, output: out.staged() };
        let scratch = geometry.scratch(self.kernels.panels(), self.threads, staged)?;
        let bookkeeping = attention::bookkeeping(self.threads);
        let demand = Demand { scratch, bookkeeping, multiply_adds: geometry.multiply_adds() };
        Ok(Operator { geometry, staged, demand })
    }
}

impl Machine for CpuMachine {
    fn conv(
        &self,
        conv: &Conv<'_>,
        input: &Slot,
        out: Option<&Slot>,
        strategy: Strategy,
    ) -> Result<Demand> {
        Ok(self.convolution(conv, input, out, strategy)?.demand)
    }

    fn split(
        &self,
        conv: &Conv<'_>,
        shortcut: &Conv<'_>,
        slot: &Slot,
        strategy: Strategy,
    ) -> Result<Option<Demand>> {
        let operator = self.split_in_place(conv, shortcut, slot, strategy)?;
        Ok(operator.map(|operator| operator.demand))
    }

    fn attention(
        &self,
        attention: &Attention<'_>,
        out: &Slot,
        strategy: Strategy,
    ) -> Result<Demand> {
        Ok(self.attend(attention, out, strategy)?.demand)
    }

    fn blend(&self, blend: &Blend<'_>, slot: &Slot) -> Demand {
        let step = blend.mask.shape.width / slot.shape.width.max(1);
        let widest = slot.pitch.max(blend.other.pitch).max(step);
        let bookkeeping = blend::bookkeeping(slot.shape, widest, blend.groups, self.threads);
        Demand { scratch: 0, bookkeeping, multiply_adds: 0 }
    }
}
