#![forbid(unsafe_code)]
//! The needs of each operator on the CPU: the shapes of the work and their memory. The recorder
//! reads the needs; the run also reads the shapes, from the same functions.

use crate::backend::{Attention, Conv, Demand, Machine, Slot, Strategy};
use crate::base::error::Result;
use crate::kernels::Kernels;
use crate::ops::attention::{self, Algorithm};
use crate::ops::conv::{Branches, Geometry, Split};
use crate::ops::place::Staged;

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
        let scratch = geometry.scratch(self.kernels.panels(), self.threads, staged)?;
        let demand = Demand { scratch, multiply_adds: geometry.multiply_adds() };
        Ok(Operator { geometry, staged, demand })
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
        let scratch = geometry.scratch(self.kernels.panels(), self.threads, slot.dtype)?;
        let demand = Demand { scratch, multiply_adds: geometry.multiply_adds() };
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
        let demand = Demand { scratch, multiply_adds: geometry.multiply_adds() };
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
}
