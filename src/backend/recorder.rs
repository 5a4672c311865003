#![forbid(unsafe_code)]
//! The backend that computes nothing and writes down what a run needs.

use super::{Attention, Backend, Conv, Entry, Region, Slot, Strategy, Tail};
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::Panels;
use crate::ops::attention::{self, Algorithm};
use crate::ops::conv::Geometry;
use crate::ops::place::Staged;

/// Records lifetimes, scratch memory and multiply-adds of a run.
pub(crate) struct Recorder {
    /// How the kernels pack, which the size of the scratch memory depends on.
    panels: Panels,
    threads: usize,
    algorithm: Algorithm,
    strategy: Strategy,
    /// Operators run so far: the clock of the lifetimes.
    clock: usize,
    entries: Vec<Entry>,
    multiply_adds: u64,
    /// Bytes of each activation.
    activations: Vec<usize>,
    /// Bytes of the weights of the operator that has most, and of all that stay resident.
    weights: usize,
    held: usize,
}

/// What a run needs.
pub(crate) struct Recording {
    /// In the order of their making.
    pub(crate) entries: Vec<Entry>,
    pub(crate) multiply_adds: u64,
    /// Bytes of each activation.
    pub(crate) activations: Vec<usize>,
    /// The most bytes of weights that are resident at a time, and of those that stay resident.
    pub(crate) weights: usize,
    pub(crate) held: usize,
}

impl Recorder {
    pub(crate) fn new(
        panels: Panels,
        threads: usize,
        algorithm: Algorithm,
        strategy: Strategy,
    ) -> Self {
        Self {
            panels,
            threads,
            algorithm,
            strategy,
            clock: 0,
            entries: Vec::new(),
            multiply_adds: 0,
            activations: Vec::new(),
            weights: 0,
            held: 0,
        }
    }

    /// What was recorded.
    pub(crate) fn finish(mut self) -> Recording {
        for entry in &mut self.entries {
            entry.death = entry.death.min(self.clock);
            if let Some(tail) = &mut entry.tail {
                tail.death = tail.death.min(self.clock);
            }
        }
        let Self { entries, multiply_adds, activations, weights, held, .. } = self;
        Recording { entries, multiply_adds, activations, weights: weights + held, held }
    }

    fn convolution(&mut self, conv: &Conv<'_>, input: &Slot, staged: Staged) -> Result<Geometry> {
        let kept = self.strategy.kept;
        let geometry = Geometry::new(input.shape, conv.filters, conv.resample, kept)?;
        let scratch = geometry.scratch(self.panels, self.threads, staged)?;
        self.operator(scratch, geometry.multiply_adds());
        self.weigh(&[conv]);
        Ok(geometry)
    }

    /// Notes the weights of convolutions that run together.
    fn weigh(&mut self, convs: &[&Conv<'_>]) {
        let (mut weights, mut held) = (0, 0);
        let filters = convs.iter().flat_map(|conv| conv.filters);
        for weight in filters.map(|filter| filter.weight) {
            if weight.releases() { weights += weight.len() } else { held += weight.len() }
        }
        self.weights = self.weights.max(weights);
        self.held += held;
    }

    fn operator(&mut self, scratch: usize, multiply_adds: u64) {
        let (birth, death) = (self.clock, self.clock);
        self.entries.push(Entry { bytes: scratch, birth, death, stored: false, tail: None });
        self.multiply_adds = self.multiply_adds.saturating_add(multiply_adds);
        self.clock += 1;
    }
}

impl Backend for Recorder {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        let bytes = shape.bytes(dtype)?;
        let stored = self.strategy.stores(bytes);
        self.activations.push(bytes);
        let (birth, death) = (self.clock, usize::MAX);
        self.entries.push(Entry { bytes, birth, death, stored, tail: None });
        Ok(Slot::new(self.entries.len() - 1, shape, dtype, stored))
    }

    fn free(&mut self, slot: Slot) {
        // The operator that used it last is the one before now.
        let entry = &mut self.entries[slot.home.0];
        let death = self.clock.saturating_sub(1).max(entry.birth);
        match &mut entry.tail {
            Some(tail) if slot.home.1 > 0 => tail.death = death,
            _ => entry.death = death,
        }
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        self.convolution(conv, input, Staged { input: input.staged(), output: out.staged() })?;
        Ok(())
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let staged = Staged { input: 0, output: slot.staged() };
        let geometry = self.convolution(conv, &slot, staged)?;
        slot.narrowed(geometry.output().channels)
    }

    fn fork(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<(Slot, Slot)> {
        let Some(split) = self.strategy.fork(conv, shortcut, &slot)? else {
            return self.fork_apart(conv, shortcut, slot);
        };
        let hidden = self.alloc(Shape::new(0, 0, 0), slot.dtype)?;
        let scratch = split.scratch(self.panels, self.threads, slot.dtype)?;
        self.operator(scratch, split.multiply_adds());
        self.weigh(&[conv, shortcut]);
        let home = slot.home.0;
        let channels = split.channels();
        let (out, hidden) = slot.forked(channels.shortcut, (hidden.id, channels.conv))?;
        self.entries[home].tail = Some(Tail { first: out.bytes()?, death: usize::MAX });
        Ok((out, hidden))
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        slot.cropped(region)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let (tokens, channels) = (out.shape.pixels(), out.shape.channels);
        let geometry =
            attention::Geometry::new(tokens, channels, self.algorithm, self.strategy.kept);
        let scratch = geometry.scratch(self.panels, self.threads, attention.staged(out))?;
        self.operator(scratch, geometry.multiply_adds());
        Ok(())
    }
}
