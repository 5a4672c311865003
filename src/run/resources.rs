#![forbid(unsafe_code)]
//! What the plan of a call depends on beside the model and the size of its input.

use super::options::{SessionOptions, Tiling};
use super::plan::{Plan, mebibytes};
use crate::arch::Level;
use crate::backend::cpu::CpuMachine;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::kernels::Kernels;
use crate::model::Model;
use crate::model::blocks::Settings;

/// The machine, the settings of the network, the limits, and the tiles that are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) machine: CpuMachine,
    pub(crate) settings: Settings,
    /// Bytes of the process, 0 for no limit.
    pub(super) budget: u64,
    /// Bytes of the process beside a run: what a call holds from run to run.
    pub(super) beside: u64,
    /// Whether there is a folder for a scratch file.
    pub(super) scratch: bool,
    /// Bytes of workspace that the caller has, if it is the caller's.
    pub(super) workspace: u64,
    pub(super) tiles: TileOptions,
}

/// The tiles that a caller asks for, 0 for the default of a length. Lengths are in latents.
#[derive(Clone, Copy)]
pub(super) struct TileOptions {
    pub(super) tiling: Tiling,
    pub(super) size: usize,
    pub(super) overlap: usize,
}

impl Resources {
    /// Those of `options`, for a session that stores activations as `storage`.
    pub(super) fn new(
        options: &SessionOptions,
        model: &Model,
        storage: Storage,
        kernels: Kernels,
        threads: usize,
    ) -> Self {
        let algorithm = options.attention.into();
        Self {
            machine: CpuMachine { kernels, threads, algorithm },
            settings: Settings::new(model.config(), storage, options.fuse_qkv),
            budget: options.memory_budget,
            beside: 0,
            scratch: options.scratch_dir.is_some(),
            workspace: u64::MAX,
            tiles: TileOptions {
                tiling: options.tiling,
                size: options.tile_size,
                overlap: options.tile_overlap,
            },
        }
    }

    /// Those of a session that `options` would make.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range.
    pub(crate) fn of_options(options: &SessionOptions, model: &Model) -> Result<Self> {
        let (threads, storage) = (options.resolve_threads()?, options.resolve_storage(model));
        let kernels = Kernels::new(Level::detect()?)?;
        Ok(Self::new(options, model, storage, kernels, threads))
    }

    /// With `bytes` of workspace that are the caller's.
    pub(super) fn within(self, bytes: u64) -> Self {
        Self { workspace: bytes, ..self }
    }

    /// With `bytes` of the process that are held beside every run.
    pub(super) fn with_beside(self, bytes: u64) -> Self {
        Self { beside: bytes, ..self }
    }

    /// With a budget that no plan keeps, to see what all of them need.
    pub(super) fn unkept(self) -> Self {
        Self { budget: 1, ..self }
    }

    /// Whether there is any limit.
    pub(super) fn limited(&self) -> bool {
        self.budget != 0 || self.workspace != u64::MAX
    }

    /// Whether `plan` keeps all limits.
    pub(super) fn allow(&self, plan: &Plan) -> bool {
        (self.budget == 0 || plan.peak_bytes <= self.budget)
            && plan.workspace_bytes <= self.workspace
    }

    /// With activations stored as `storage`.
    pub(super) fn stored_as(self, storage: Storage) -> Self {
        Self { settings: self.settings.stored_as(storage), ..self }
    }

    /// What a caller could change to need less: each with a word for it.
    fn leaner(self) -> impl Iterator<Item = (&'static str, Self)> {
        let scratch =
            (!self.scratch).then_some(("a scratch folder", Self { scratch: true, ..self }));
        let wide = self.settings.storage == Storage::F32;
        let half = wide.then(|| ("bf16 activations", self.stored_as(Storage::Bf16)));
        scratch.into_iter().chain(half)
    }

    /// The error that says which limit cannot be kept. `what` a call is worked on in; `least` what
    /// it needs at least, also with other resources.
    pub(super) fn refusal(
        self,
        what: &str,
        least: Least,
        with: impl Fn(Self) -> Option<Least>,
    ) -> Error {
        if least.workspace > self.workspace {
            let (needed, found) = (least.workspace, self.workspace);
            return Error::invalid(format!(
                "workspace: at least {needed} bytes expected, {found} found"
            ));
        }
        let hints: String = self
            .leaner()
            .filter_map(|(hint, leaner)| Some((hint, with(leaner)?)))
            .filter(|(_, needed)| needed.peak < least.peak)
            .map(|(hint, needed)| format!(", {} with {hint}", mebibytes(needed.peak)))
            .collect();
        let message = format!(
            "a memory budget of {} cannot be kept{what}: at least {} are needed{hints}",
            mebibytes(self.budget),
            mebibytes(least.peak),
        );
        Error::new(ErrorKind::Budget, message)
    }
}

/// The least that any plan needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    /// Bytes of the process.
    pub(super) peak: u64,
    /// Bytes of workspace.
    pub(super) workspace: u64,
}

impl Least {
    /// Of no plan yet.
    pub(super) const NONE: Self = Self { peak: u64::MAX, workspace: u64::MAX };

    /// With one more plan.
    pub(super) fn with(self, plan: &Plan) -> Self {
        Self {
            peak: self.peak.min(plan.peak_bytes),
            workspace: self.workspace.min(plan.workspace_bytes),
        }
    }
}
