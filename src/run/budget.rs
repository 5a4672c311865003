#![forbid(unsafe_code)]
//! The choice of a strategy that keeps a memory budget.

use super::options::SessionOptions;
use super::plan::{Direction, Plan, Resources, input_channels, network};
use super::tiles::Tiles;
use crate::backend::recorder::{Recorder, Recording};
use crate::backend::{Backend, Layout, Strategy};
use crate::base::dtype::DType;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::shape::Shape;
use crate::model::Model;

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
}

/// A call to plan: which network on an input of `height` rows of `width`.
#[derive(Clone, Copy)]
pub(crate) struct Call<'m> {
    pub(crate) model: &'m Model,
    pub(crate) direction: Direction,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Call<'_> {
    /// The fastest plan that keeps the budget.
    ///
    /// # Errors
    /// `Budget`, with the least budget that can be kept, and what would lower it.
    pub(crate) fn plan(&self, resources: Resources) -> Result<Planned> {
        let Resources { budget, workspace, .. } = resources;
        let (mut least, mut least_workspace) = (u64::MAX, u64::MAX);
        for planned in self.plans(resources)? {
            let planned = planned?;
            let Plan { peak_bytes, workspace_bytes, .. } = planned.plan;
            if (budget == 0 || peak_bytes <= budget) && workspace_bytes <= workspace {
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
    fn plans(
        &self,
        resources: Resources,
    ) -> Result<impl Iterator<Item = Result<Planned>> + use<'_>> {
        let fastest = self.record(resources, Strategy::IN_MEMORY)?;
        let mut strategies = Vec::new();
        let limited = resources.budget != 0 || resources.workspace != u64::MAX;
        if limited {
            strategies.extend(KEPT.map(|kept| Strategy { kept, ..Strategy::IN_MEMORY }));
        }
        if limited && resources.scratch {
            let mut sizes = fastest.activations.clone();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.dedup();
            let stored = |kept| sizes.iter().map(move |&stored| Strategy { stored, kept });
            strategies.extend(KEPT.into_iter().flat_map(stored));
        }
        let leaner = strategies
            .into_iter()
            .map(move |strategy| Ok(planned(self.record(resources, strategy)?, strategy)));
        Ok(std::iter::once(Ok(planned(fastest, Strategy::IN_MEMORY))).chain(leaner))
    }

    fn record(&self, resources: Resources, strategy: Strategy) -> Result<Recording> {
        let Resources { settings, algorithm, nr, threads, .. } = resources;
        let mut recorder = Recorder::new(nr, threads, algorithm, strategy);
        let channels = input_channels(self.model, self.direction);
        let input = Shape::new(self.height, self.width, channels);
        let slot = recorder.alloc(input, DType::F32)?;
        network(&mut recorder, self.model, self.direction, settings, slot)?;
        Ok(recorder.finish())
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
        if resources.settings.dtype == DType::F32 {
            let mut settings = resources.settings;
            settings.dtype = DType::Bf16;
            hints.extend(other("bf16 activations", Resources { settings, ..resources }));
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
    let Call { model, direction, height, width } = call;
    match Tiles::of(options, model.config(), direction, (height, width))? {
        None => Ok(call.plan(resources)?.plan),
        Some(tiles) => {
            let held = tiles.own_bytes(model, direction, width);
            tiles.plan((height, width), held, |height, width| {
                Call { height, width, ..call }.plan(resources.less(held))
            })
        }
    }
}

fn planned(recording: Recording, strategy: Strategy) -> Planned {
    let layout = Layout::pack(&recording.entries);
    let workspace_bytes = layout.bytes() as u64;
    let plan = Plan {
        workspace_bytes,
        scratch_bytes: layout.stored_bytes() as u64,
        peak_bytes: PROCESS + workspace_bytes + recording.weights as u64,
        multiply_adds: recording.multiply_adds,
        exact: true,
        tiles_x: 1,
        tiles_y: 1,
        tile_size: 0,
    };
    Planned { plan, layout, strategy }
}

/// Bytes for a person, rounded up, so that the number is a budget that can be kept.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
