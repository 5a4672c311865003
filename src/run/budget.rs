#![forbid(unsafe_code)]
//! Plans one run of the network by the fastest strategy that fits the memory budget.

use super::plan::Plan;
use super::resources::{Least, Resources};
use crate::backend::cpu::CpuMachine;
use crate::backend::recorder::{Recorder, Recording};
use crate::backend::{Backend, Strategy, WorkspaceLayout};
use crate::base::alloc;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::model::blocks::{Masked, Settings};
use crate::model::network::{Input, Network, Part};

/// Memory of a call besides workspace, weights and lists: code, and the allocator's.
const CODE: u64 = 4 << 20;

/// Memory of a thread: its stack, and the allocator's for it.
const THREAD: u64 = 256 << 10;

/// Limits in bytes for packed operands, to try when memory is short.
const PACKED_LIMITS: [usize; 4] = [64 << 20, 32 << 20, 16 << 20, 8 << 20];

/// One run: a network, or a part of one, on an input of `height` rows of `width`.
#[derive(Clone, Copy)]
pub(crate) struct Call<'n> {
    pub(crate) network: &'n Network<'n>,
    pub(crate) part: Part,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// A plan of a run, with all that the run follows.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) layout: WorkspaceLayout,
    pub(crate) machine: CpuMachine,
    pub(crate) settings: Settings,
    pub(crate) strategy: Strategy,
    /// Bytes of weights that stay resident after the run.
    pub(super) resident: usize,
    pub(super) output: Output,
}

/// The output of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) shape: Shape,
    pub(super) bytes: usize,
    /// Whether it is spilled to the scratch file.
    pub(super) spilled: bool,
}

impl Call<'_> {
    /// Shape and storage of the input.
    pub(crate) fn input(&self, settings: Settings) -> (Shape, Storage) {
        let (channels, storage) = self.network.input(self.part, settings);
        (Shape::new(self.height, self.width, channels), storage)
    }

    /// Makes the inputs of the run, to be filled.
    pub(super) fn inputs<B: Backend>(&self, backend: &mut B, settings: Settings) -> Result<Input> {
        let (shape, storage) = self.input(settings);
        let slot = backend.alloc(shape, storage)?;
        if !self.network.masked() {
            return Ok(Input { slot, masked: None });
        }
        let side = |length| self.network.output_length(length);
        let (height, width) = (side(self.height), side(self.width));
        let mut alloc = |channels| backend.alloc(Shape::new(height, width, channels), Storage::F32);
        let picture = alloc(self.network.out_channels())?;
        Ok(Input { slot, masked: Some(Masked { picture, mask: alloc(1)? }) })
    }

    /// The fastest plan that fits the limits.
    ///
    /// # Errors
    /// `Budget`, naming the least sufficient budget and the options that would lower it.
    pub(crate) fn plan(&self, resources: Resources) -> Result<Planned> {
        let mut least = Least::NONE;
        if let Some(planned) = self.search(resources, &mut least)? {
            return Ok(planned);
        }
        Err(resources.refusal("", least, |leaner| {
            let plans = self.plans(leaner).ok()?.flatten();
            Some(plans.fold(Least::NONE, |least, planned| least.with(&planned.plan)))
        }))
    }

    /// The fastest plan that fits the limits; if none does, the least that any needs.
    pub(super) fn search(
        &self,
        resources: Resources,
        least: &mut Least,
    ) -> Result<Option<Planned>> {
        for planned in self.plans(resources)? {
            let planned = planned?;
            if resources.allow(&planned.plan) {
                return Ok(Some(planned));
            }
            *least = least.with(&planned.plan);
        }
        Ok(None)
    }

    /// All plans, from the fastest to the leanest, made lazily.
    pub(super) fn plans(
        &self,
        resources: Resources,
    ) -> Result<impl Iterator<Item = Result<Planned>>> {
        let (fastest, activations) = self.record(resources, Strategy::IN_MEMORY)?;
        let mut strategies = in_memory(resources);
        if resources.limited() && resources.scratch {
            let mut sizes = activations;
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.dedup();
            for packed_limit in PACKED_LIMITS {
                for &spill_from in &sizes {
                    let spilling = Strategy { spill_from, packed_limit, split_in_place: true };
                    alloc::push(&mut strategies, spilling, "strategies")?;
                }
            }
        }
        let leaner =
            strategies.into_iter().skip(1).map(move |strategy| self.by(resources, strategy));
        Ok(std::iter::once(Ok(fastest)).chain(leaner))
    }

    /// The plan of a strategy.
    pub(super) fn by(&self, resources: Resources, strategy: Strategy) -> Result<Planned> {
        self.record(resources, strategy).map(|(planned, _)| planned)
    }

    /// The plan of a strategy, and the bytes of each activation.
    fn record(&self, resources: Resources, strategy: Strategy) -> Result<(Planned, Vec<usize>)> {
        #[cfg(test)]
        super::tests::recorded();
        let Resources { machine, settings, .. } = resources;
        let mut recorder = Recorder::new(&machine, strategy);
        let input = self.inputs(&mut recorder, settings)?;
        let output = self.network.run(&mut recorder, self.part, settings, input)?;
        let recording = recorder.finish(&output);
        let output =
            Output { shape: output.shape, bytes: output.bytes()?, spilled: output.spilled };
        let Recording { entries, multiply_adds, weights, resident, activations, bookkeeping } =
            recording;
        let layout = WorkspaceLayout::pack(&entries)?;
        // Strategies that differ by a few bytes of lists would each be a budget of its own.
        let lists = (bookkeeping as u64).next_multiple_of(64 << 10);
        let plan = Plan {
            workspace_bytes: layout.bytes() as u64,
            scratch_bytes: layout.spilled_bytes() as u64,
            peak_bytes: (CODE + THREAD * machine.threads as u64)
                .saturating_add((layout.bytes() + weights) as u64)
                .saturating_add(lists)
                .saturating_add(resources.beside),
            multiply_adds,
            exact: true,
            tiles_x: 1,
            tiles_y: 1,
            tile_size: 0,
        };
        Ok((Planned { plan, layout, machine, settings, strategy, resident, output }, activations))
    }
}

/// The strategies without a scratch file, the fastest first.
pub(super) fn in_memory(resources: Resources) -> Vec<Strategy> {
    let mut strategies = vec![Strategy::IN_MEMORY];
    if resources.limited() {
        let split_in_place = Strategy { split_in_place: true, ..Strategy::IN_MEMORY };
        strategies.push(split_in_place);
        strategies
            .extend(PACKED_LIMITS.map(|packed_limit| Strategy { packed_limit, ..split_in_place }));
    }
    strategies
}
