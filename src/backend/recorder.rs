#![forbid(unsafe_code)]
//! The backend that computes nothing and records the needs of a run.

use std::ops::Range;

use super::statistics::Statistic;
use super::{
    Attention, Backend, Blend, Conv, Demand, Entry, Machine, Prologue, Region, Slot, SplitSlots,
    Strategy, Tail,
};
use crate::base::alloc;
use crate::base::buffer::align_up;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::Sum;

/// Records lifetimes, scratch memory and multiply-adds of a run on a machine.
pub(crate) struct Recorder<'m, M> {
    machine: &'m M,
    strategy: Strategy,
    /// Number of operators so far: the clock of the lifetimes.
    clock: usize,
    entries: Vec<Entry>,
    multiply_adds: u64,
    /// Bytes of each activation.
    activations: Vec<usize>,
    /// Weights in bytes: the most of any operator, and the sum of those that stay resident.
    weights: usize,
    resident: usize,
    /// Bytes that an operator allocates besides its scratch memory: the most of any.
    bookkeeping: usize,
    /// Groups that are summed, and groups of all normalisations.
    sums: usize,
    groups: usize,
}

/// The needs of a run.
pub(crate) struct Recording {
    /// In order of creation.
    pub(crate) entries: Vec<Entry>,
    pub(crate) multiply_adds: u64,
    /// Bytes of each activation.
    pub(crate) activations: Vec<usize>,
    /// Weights in bytes: the most resident at a time, and those that stay resident.
    pub(crate) weights: usize,
    pub(crate) resident: usize,
    /// Bytes at most that a run allocates besides its workspace: the most of any operator, and what
    /// lives from one to the next.
    pub(crate) bookkeeping: usize,
}

/// Bytes of what a run keeps of each entry, and of the lists that planning makes of them, which
/// double as they grow: the entry itself, its ranges, its places, and those that others bar.
const OF_ENTRY: usize = 3 * size_of::<Entry>() + 16 * size_of::<Range<usize>>();
/// Statistics that tiles keep of each group of each normalisation (`statistics.rs`).
const STATISTICS: usize = 6;
/// Bytes of small allocations: the steps of the network, and what no size changes.
const FIXED: usize = 64 << 10;

impl<'m, M: Machine> Recorder<'m, M> {
    pub(crate) fn new(machine: &'m M, strategy: Strategy) -> Self {
        let (entries, activations) = (Vec::new(), Vec::new());
        Self {
            machine,
            strategy,
            clock: 0,
            entries,
            multiply_adds: 0,
            activations,
            weights: 0,
            resident: 0,
            bookkeeping: 0,
            sums: 0,
            groups: 0,
        }
    }

    /// The recording of a run with the output `output`.
    pub(crate) fn finish(mut self, output: &Slot) -> Recording {
        self.row(output);
        for entry in &mut self.entries {
            entry.death = entry.death.min(self.clock);
            if let Some(tail) = &mut entry.tail {
                tail.death = tail.death.min(self.clock);
            }
        }
        let parts = [
            self.bookkeeping,
            self.entries.len().saturating_mul(OF_ENTRY),
            self.sums.saturating_mul(size_of::<Sum>()),
            self.groups.saturating_mul(STATISTICS * size_of::<Statistic>()),
        ];
        let bookkeeping = parts.iter().fold(FIXED, |sum, &bytes| sum.saturating_add(bytes));
        let Self { entries, multiply_adds, activations, weights, resident, .. } = self;
        let weights = weights + resident;
        Recording { entries, multiply_adds, activations, weights, resident, bookkeeping }
    }

    /// Records that a row of `slot` is copied.
    fn row(&mut self, slot: &Slot) {
        let row = align_up(slot.shape.width * slot.pixel_bytes());
        // That of the caller, and that of the scratch file.
        self.bookkeeping = self.bookkeeping.max(2 * row);
    }

    fn convolution(&mut self, conv: &Conv<'_>, input: &Slot, out: Option<&Slot>) -> Result<()> {
        let demand = self.machine.conv(conv, input, out, self.strategy)?;
        self.operator(demand)?;
        self.weigh(&[conv]);
        Ok(())
    }

    /// Records the weights of convolutions that run together.
    fn weigh(&mut self, convs: &[&Conv<'_>]) {
        for conv in convs {
            self.sums += conv.groups;
            if let Some(Prologue::Norm(norm)) = &conv.prologue {
                self.groups += norm.groups;
            }
        }
        let (mut weights, mut resident) = (0, 0);
        for filter in convs.iter().flat_map(|conv| conv.filters) {
            let memory = filter.weight.memory();
            weights += memory.passing;
            resident += memory.resident;
        }
        self.weights = self.weights.max(weights);
        self.resident += resident;
    }

    fn operator(&mut self, demand: Demand) -> Result<()> {
        let Demand { scratch, bookkeeping, multiply_adds } = demand;
        let (birth, death) = (self.clock, self.clock);
        self.enter(Entry { bytes: scratch, birth, death, spilled: false, tail: None })?;
        self.bookkeeping = self.bookkeeping.max(bookkeeping);
        self.multiply_adds = self.multiply_adds.saturating_add(multiply_adds);
        self.clock += 1;
        Ok(())
    }

    fn enter(&mut self, entry: Entry) -> Result<()> {
        alloc::push(&mut self.entries, entry, "the entries of a plan")
    }
}

impl<M: Machine> Backend for Recorder<'_, M> {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        let bytes = shape.bytes(dtype)?;
        let spilled = self.strategy.spills(bytes);
        alloc::push(&mut self.activations, bytes, "the activations of a plan")?;
        let (birth, death) = (self.clock, usize::MAX);
        self.enter(Entry { bytes, birth, death, spilled, tail: None })?;
        Ok(Slot::new(self.entries.len() - 1, shape, dtype, spilled))
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

    fn upload(
        &mut self,
        slot: &Slot,
        _: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        self.row(slot);
        Ok(())
    }

    fn download(&mut self, _: &Slot, _: usize, _: Range<usize>, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        self.convolution(conv, input, Some(out))
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        self.convolution(conv, &slot, None)?;
        let channels = conv.output(slot.shape).channels;
        slot.narrowed(channels)
    }

    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots> {
        let Some(demand) = self.machine.split(conv, shortcut, &slot, self.strategy)? else {
            return self.split_apart(conv, shortcut, slot);
        };
        // The convolution's output has no memory of its own.
        let out = self.alloc(Shape::new(0, 0, 0), slot.dtype)?;
        self.operator(demand)?;
        self.weigh(&[conv, shortcut]);
        let home = slot.home.0;
        let split = slot.split(out.id)?;
        let first = split.shortcut.bytes()?;
        self.entries[home].tail = Some(Tail { first, death: usize::MAX });
        Ok(split)
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        slot.cropped(region)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let demand = self.machine.attention(attention, out, self.strategy)?;
        self.operator(demand)
    }

    fn blend(&mut self, blend: &Blend<'_>, slot: &Slot) -> Result<()> {
        self.sums += blend.groups;
        self.operator(self.machine.blend(blend, slot))
    }
}
