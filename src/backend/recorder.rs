#![forbid(unsafe_code)]
//! The backend that computes nothing and writes down what a run needs.

use super::{Attention, Backend, Conv, Entry, Slot};
use crate::base::dtype::DType;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::ops::attention::{self, Algorithm};
use crate::ops::conv::Geometry;

/// Records lifetimes, scratch memory and multiply-adds of a run.
pub(crate) struct Recorder {
    /// Columns of a packed panel, which the size of the scratch memory depends on.
    nr: usize,
    threads: usize,
    algorithm: Algorithm,
    /// Operators run so far: the clock of the lifetimes.
    clock: usize,
    entries: Vec<Entry>,
    multiply_adds: u64,
}

impl Recorder {
    pub(crate) fn new(nr: usize, threads: usize, algorithm: Algorithm) -> Self {
        Self { nr, threads, algorithm, clock: 0, entries: Vec::new(), multiply_adds: 0 }
    }

    /// What was recorded: the entries in the order of their making, and the multiply-adds.
    pub(crate) fn finish(mut self) -> (Vec<Entry>, u64) {
        for entry in &mut self.entries {
            entry.death = entry.death.min(self.clock);
        }
        (self.entries, self.multiply_adds)
    }

    fn operator(&mut self, scratch: usize, multiply_adds: u64) {
        self.entries.push(Entry { bytes: scratch, birth: self.clock, death: self.clock });
        self.multiply_adds = self.multiply_adds.saturating_add(multiply_adds);
        self.clock += 1;
    }
}

impl Backend for Recorder {
    fn alloc(&mut self, shape: Shape, dtype: DType) -> Result<Slot> {
        let bytes = shape.bytes(dtype)?;
        self.entries.push(Entry { bytes, birth: self.clock, death: usize::MAX });
        Ok(Slot::new(self.entries.len() - 1, shape, dtype))
    }

    fn free(&mut self, slot: Slot) {
        // The operator that used it last is the one before now.
        let entry = &mut self.entries[slot.id];
        entry.death = self.clock.saturating_sub(1).max(entry.birth);
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, _out: &Slot) -> Result<()> {
        let geometry = Geometry::new(input.shape, conv.filters, conv.resample)?;
        self.operator(geometry.scratch(self.nr, self.threads)?, geometry.multiply_adds());
        Ok(())
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let geometry = Geometry::new(slot.shape, conv.filters, conv.resample)?;
        self.operator(geometry.scratch(self.nr, self.threads)?, geometry.multiply_adds());
        slot.narrowed(geometry.output().channels)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let _ = attention;
        let (tokens, channels) = (out.shape.pixels(), out.shape.channels);
        let geometry = attention::Geometry::new(tokens, channels, self.algorithm);
        self.operator(geometry.scratch(self.nr, self.threads)?, geometry.multiply_adds());
        Ok(())
    }
}
