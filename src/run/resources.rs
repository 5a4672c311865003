#![forbid(unsafe_code)]
//! The inputs of planning, besides the model and the size of the input.

use super::options::{SessionOptions, Tiling};
use super::plan::{Plan, mebibytes};
use crate::arch::Level;
use crate::backend::cpu::CpuMachine;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::kernels::Kernels;
use crate::model::Model;
use crate::model::blocks::Settings;
use crate::os::Headroom;

/// The machine, the settings of the network, the limits, and the tiles requested.
#[derive(Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) machine: CpuMachine,
    pub(crate) settings: Settings,
    /// Limit of a call's memory in bytes, 0 for none.
    pub(super) budget: u64,
    /// Bytes of the budget that the caller needs itself.
    pub(super) reserved: u64,
    /// Memory in bytes that a call holds besides its runs, with what is reserved.
    pub(super) beside: u64,
    /// What the system can give.
    pub(super) headroom: Headroom,
    /// Whether activations may be spilled to a scratch file.
    pub(super) scratch: bool,
    /// Size in bytes of the caller's workspace; `u64::MAX` if the session has its own.
    pub(super) workspace: u64,
    pub(super) tiles: TileOptions,
}

/// The tiles that a caller requests. Lengths are in latents; 0 is the default.
#[derive(Clone, Copy)]
pub(super) struct TileOptions {
    pub(super) tiling: Tiling,
    pub(super) size: usize,
    pub(super) overlap: usize,
}

impl Resources {
    /// The resources of a session with `options` and activations of type `storage`.
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
            reserved: options.memory_reserved,
            beside: options.memory_reserved,
            headroom: Headroom::default(),
            scratch: options.scratch_dir.is_some(),
            workspace: u64::MAX,
            tiles: TileOptions {
                tiling: options.tiling,
                size: options.tile_size,
                overlap: options.tile_overlap,
            },
        }
    }

    /// The resources of a session with `options`.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range.
    pub(crate) fn of_options(options: &SessionOptions, model: &Model) -> Result<Self> {
        let (threads, storage) = (options.resolve_threads()?, options.resolve_storage(model));
        let kernels = Kernels::new(Level::detect()?)?;
        Ok(Self::new(options, model, storage, kernels, threads))
    }

    /// These resources with a caller's workspace of `bytes`.
    pub(super) fn within(self, bytes: u64) -> Self {
        Self { workspace: bytes, ..self }
    }

    /// These resources with `bytes` more held besides every run.
    pub(super) fn with_beside(self, bytes: u64) -> Self {
        Self { beside: self.beside.saturating_add(bytes), ..self }
    }

    /// These resources on a system that can give `headroom`, of which results take `results`.
    pub(super) fn with_headroom(self, headroom: Headroom, results: u64) -> Self {
        let Headroom { memory, address_space } = headroom;
        let rest = |left: Option<u64>| left.map(|left| left.saturating_sub(results));
        let headroom = Headroom { memory: rest(memory), address_space: rest(address_space) };
        Self { headroom, ..self }
    }

    /// These resources with a budget that no plan fits, to learn what each plan needs.
    pub(super) fn unkept(self) -> Self {
        Self { budget: 1, ..self }
    }

    /// Whether the caller has set a limit, which may choose the size of tiles.
    pub(super) fn budgeted(&self) -> bool {
        self.budget != 0 || self.workspace != u64::MAX
    }

    /// Whether there is any limit.
    pub(super) fn limited(&self) -> bool {
        self.budgeted() || self.headroom != Headroom::default()
    }

    /// Whether `plan` fits all limits.
    pub(super) fn allow(&self, plan: &Plan) -> bool {
        (self.budget == 0 || plan.peak_bytes <= self.budget)
            && plan.workspace_bytes <= self.workspace
            && self.system_lacks(plan.peak_bytes, plan.workspace_bytes).is_none()
    }

    /// What a plan needs of the system, what it is of, and what there is, if that is less.
    fn system_lacks(&self, peak: u64, workspace: u64) -> Option<(u64, &'static str, u64)> {
        let own = if self.workspace == u64::MAX { workspace } else { 0 };
        let memory = peak.saturating_sub(self.reserved).saturating_sub(workspace - own);
        let Headroom { memory: most, address_space } = self.headroom;
        let parts = [(memory, "memory", most), (own, "address space", address_space)];
        let mut lacking = parts.into_iter().filter_map(|(need, of, have)| {
            let have = have?;
            (need > have).then_some((need, of, have))
        });
        lacking.next()
    }

    /// These resources with activations of type `storage`.
    pub(super) fn with_storage(self, storage: Storage) -> Self {
        Self { settings: self.settings.with_storage(storage), ..self }
    }

    /// The options that would lower the need, each with its name for messages.
    fn leaner(self) -> impl Iterator<Item = (&'static str, Self)> {
        let scratch =
            (!self.scratch).then_some(("a scratch folder", Self { scratch: true, ..self }));
        let wide = self.settings.storage == Storage::F32;
        let half = wide.then(|| ("bf16 activations", self.with_storage(Storage::Bf16)));
        scratch.into_iter().chain(half)
    }

    /// The error for a limit that no plan fits. `what` names how the call works, `least` its least
    /// need, and `with` the least need with other resources.
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
        let hints = |reserved: u64| -> String {
            self.leaner()
                .filter_map(|(hint, leaner)| Some((hint, with(leaner)?.peak)))
                .map(|(hint, needed)| (hint, mebibytes(needed.saturating_sub(reserved))))
                .filter(|(_, needed)| *needed != mebibytes(least.peak.saturating_sub(reserved)))
                .map(|(hint, needed)| format!(", {needed} with {hint}"))
                .collect()
        };
        if self.budget == 0 || least.peak <= self.budget {
            // Where one plan lacks memory and another address space, neither is short of the least.
            let memory = least.peak.saturating_sub(self.reserved);
            let most = self.headroom.memory.unwrap_or(0);
            let lacks = self.system_lacks(least.peak, least.workspace);
            let (need, of, have) = lacks.unwrap_or((memory, "memory", most));
            let (need, have, hints) = (mebibytes(need), have >> 20, hints(least.peak - need));
            let message =
                format!("at least {need} of {of} are needed{what}{hints}, {have} MiB can be had");
            return Error::new(ErrorKind::OutOfMemory, message);
        }
        let hints = hints(0);
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
    /// Memory of the process in bytes.
    pub(super) peak: u64,
    /// Workspace in bytes.
    pub(super) workspace: u64,
}

impl Least {
    /// The value before any plan.
    pub(super) const NONE: Self = Self { peak: u64::MAX, workspace: u64::MAX };

    /// The minimum of this and the need of `plan`.
    pub(super) fn with(self, plan: &Plan) -> Self {
        Self {
            peak: self.peak.min(plan.peak_bytes),
            workspace: self.workspace.min(plan.workspace_bytes),
        }
    }
}
