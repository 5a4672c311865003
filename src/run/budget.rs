#![forbid(unsafe_code)]
//! The choice of a strategy that keeps a memory budget.

use super::options::SessionOptions;
use super::plan::{Direction, Part, Plan, Resources, input_channels, network};
use super::tiles::Tiles;
use crate::backend::recorder::{Recorder, Recording};
use crate::backend::{Backend, Layout, Slot, Strategy};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::model::blocks::Settings;
use crate::model::{Model, decoder};

/// What a process has beside workspace and weights: code, stacks, the allocator's, and what of the file of
/// weights the system maps along with what is read.
const PROCESS: u64 = 16 << 20;

/// What a [`Strategy`] keeps where memory is short.
const KEPT: [usize; 4] = [64 << 20, 32 << 20, 16 << 20, 8 << 20];

/// A plan, and what it consists of.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) layout: Layout,
    pub(crate) strategy: Strategy,
    /// Bytes of weights that stay resident after the run.
    pub(crate) held: usize,
    /// What the run gives.
    pub(crate) output: Output,
}

/// The activation that a run gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) shape: Shape,
    pub(crate) dtype: Storage,
    /// Values from a pixel to the next.
    pub(crate) pitch: usize,
    pub(crate) bytes: usize,
    /// Whether it is in the scratch file.
    pub(crate) stored: bool,
}

impl Output {
    pub(super) fn of(slot: &Slot) -> Result<Self> {
        let &Slot { shape, dtype, pitch, stored, .. } = slot;
        Ok(Self { shape, dtype, pitch, bytes: slot.bytes()?, stored })
    }
}

/// A run to plan: which network, or part of one, on an input of `height` rows of `width`.
#[derive(Clone, Copy)]
pub(crate) struct Call<'m> {
    pub(crate) model: &'m Model,
    pub(crate) direction: Direction,
    pub(crate) part: Part,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl<'m> Call<'m> {
    /// The whole network.
    pub(crate) fn new(model: &'m Model, direction: Direction, height: usize, width: usize) -> Self {
        Self { model, direction, part: Part::Whole, height, width }
    }

    /// Shape and storage of the input.
    pub(crate) fn input(&self, settings: Settings) -> Result<(Shape, Storage)> {
        let (channels, dtype) = match self.part {
            Part::Rest(_) => (decoder::front_channels(self.model.need_decoder()?), settings.dtype),
            _ => (input_channels(self.model, self.direction), Storage::F32),
        };
        Ok((Shape::new(self.height, self.width, channels), dtype))
    }

    /// The fastest plan that keeps the budget.
    ///
    /// # Errors
    /// `Budget`, with the least budget that can be kept, and what would lower it.
    pub(crate) fn plan(&self, resources: Resources) -> Result<Planned> {
        let workspace = resources.workspace;
        let (mut least, mut least_workspace) = (u64::MAX, u64::MAX);
        for planned in self.plans(resources)? {
            let planned = planned?;
            let Plan { peak_bytes, workspace_bytes, .. } = planned.plan;
            if resources.allow(&planned.plan) {
                return Ok(planned);
            }
            least = least.min(peak_bytes);
            least_workspace = least_workspace.min(workspace_bytes);
        }
        if least_workspace > workspace {
            return Err(Error::invalid(format!(
                "workspace: at least {least_workspace} bytes expected, {workspace} found"
            )));
        }
        Err(self.refusal(resources, least))
    }

    /// All plans, from the fastest to the leanest, each made when it is asked for.
    pub(super) fn plans(
        &self,
        resources: Resources,
    ) -> Result<impl Iterator<Item = Result<Planned>> + use<'m>> {
        let call = *self;
        let (fastest, activations) = self.record(resources, Strategy::IN_MEMORY)?;
        let mut strategies = in_memory(resources);
        if resources.limited() && resources.scratch {
            let mut sizes = activations;
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.dedup();
            let stored =
                |kept| sizes.iter().map(move |&stored| Strategy { stored, kept, forked: true });
            strategies.extend(KEPT.into_iter().flat_map(stored));
        }
        let leaner =
            strategies.into_iter().skip(1).map(move |strategy| call.by(resources, strategy));
        Ok(std::iter::once(Ok(fastest)).chain(leaner))
    }

    /// The plan of a strategy.
    pub(super) fn by(&self, resources: Resources, strategy: Strategy) -> Result<Planned> {
        self.record(resources, strategy).map(|(planned, _)| planned)
    }

    /// The same, with the bytes of each activation.
    fn record(&self, resources: Resources, strategy: Strategy) -> Result<(Planned, Vec<usize>)> {
        let Resources { settings, algorithm, panels, threads, .. } = resources;
        let mut recorder = Recorder::new(panels, threads, algorithm, strategy);
        let (shape, dtype) = self.input(settings)?;
        let input = recorder.alloc(shape, dtype)?;
        let part = (self.direction, self.part);
        let output = network(&mut recorder, self.model, part, settings, input)?;
        let output = Output::of(&output)?;
        let Recording { entries, multiply_adds, weights, held, activations } = recorder.finish();
        let layout = Layout::pack(&entries);
        let plan = Plan {
            workspace_bytes: layout.bytes() as u64,
            scratch_bytes: layout.stored_bytes() as u64,
            peak_bytes: PROCESS + (layout.bytes() + weights) as u64,
            multiply_adds,
            exact: true,
            tiles_x: 1,
            tiles_y: 1,
            tile_size: 0,
        };
        Ok((Planned { plan, layout, strategy, held, output }, activations))
    }

    fn refusal(&self, resources: Resources, needed: u64) -> Error {
        let other = |what: &str, resources: Resources| {
            let plans = self.plans(resources).ok()?;
            let least = plans.filter_map(|planned| Some(planned.ok()?.plan.peak_bytes)).min()?;
            (least < needed).then(|| format!(", {} with {what}", mebibytes(least)))
        };
        let mut hints = Vec::new();
        if !resources.scratch {
            hints.extend(other("a scratch folder", Resources { scratch: true, ..resources }));
        }
        if let Some(smaller) = resources.in_bf16() {
            hints.extend(other("bf16 activations", smaller));
        }
        let message = format!(
            "a memory budget of {} cannot be kept: at least {} are needed{}",
            mebibytes(resources.budget),
            mebibytes(needed),
            hints.concat()
        );
        Error::new(ErrorKind::Budget, message)
    }
}

/// The plan of a call, in tiles where `options` ask for them and the picture is larger than one.
pub(crate) fn plan_call(
    options: &SessionOptions,
    call: Call<'_>,
    resources: Resources,
) -> Result<Plan> {
    let Call { model, direction, height, width, .. } = call;
    match Tiles::of(options, model.config(), direction, (height, width))? {
        None => match call.seamless(options, resources)? {
            Some(seamless) => Ok(seamless.plan()),
            None => Ok(call.plan(resources)?.plan),
        },
        Some(tiles) => {
            let held = tiles.own_bytes(model, direction, width);
            tiles.plan((height, width), held, |height, width| {
                Call { height, width, ..call }.plan(resources.less(held))
            })
        }
    }
}

/// The strategies without a scratch file, the fastest first.
pub(super) fn in_memory(resources: Resources) -> Vec<Strategy> {
    let mut strategies = vec![Strategy::IN_MEMORY];
    if resources.limited() {
        let forked = Strategy { forked: true, ..Strategy::IN_MEMORY };
        strategies.push(forked);
        strategies.extend(KEPT.map(|kept| Strategy { kept, ..forked }));
    }
    strategies
}

/// Bytes for a person, rounded up, so that the number is a budget that can be kept.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
