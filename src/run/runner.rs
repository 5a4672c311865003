#![forbid(unsafe_code)]
//! The runner: executes one planned run of the network in the memory of a session.

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use super::budget::{Call, Planned};
use super::control::{Control, Meter, Progress};
use super::options::SessionOptions;
use super::plan::Plan;
use super::planes::Fill;
use super::resources::Resources;
use crate::arch::Level;
use crate::backend::cpu::{Cpu, CpuMachine, Memory};
use crate::backend::{Backend, Slot, Statistics, Strategy, WorkspaceLayout};
use crate::base::buffer::{ALIGN, AlignedBuf, cast_mut};
use crate::base::error::{Error, Result};
use crate::base::scratch_file::ScratchFile;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::Kernels;
use crate::kernels::threads::Threads;
use crate::model::Model;
use crate::model::blocks::Masked;
use crate::os::{self, Headroom};

/// Threads, kernels, and the memory that calls work in.
pub(super) struct Runner {
    pub(super) threads: Threads,
    pub(super) kernels: Kernels,
    /// Type of activations in the next plan; an overflow of `F16` changes it to `Bf16`.
    pub(super) storage: Storage,
    pub(super) control: Control,
    workspace: Workspace,
    scratch_dir: Option<PathBuf>,
}

/// The memory that runs work in.
enum Workspace {
    Own(AlignedBuf),
    /// The caller's memory.
    Lent(&'static mut [u8]),
}

impl Workspace {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(own) => own,
            Self::Lent(lent) => lent,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Own(own) => own,
            Self::Lent(lent) => lent,
        }
    }
}

/// The inputs of a run, besides its plan.
pub(super) struct Io<'a> {
    pub(super) input: RunInput<'a>,
    /// The masked picture of a decode that has one.
    pub(super) masked: Option<MaskedFill<'a>>,
    pub(super) statistics: Statistics<'a>,
    pub(super) meter: &'a mut Meter,
}

/// The source of a run's input rows.
pub(super) enum RunInput<'a> {
    /// The caller, in `F32`.
    Rows(&'a mut Fill<'a>),
    /// Pixels of an earlier run's output, which this run leaves in place.
    Pinned(&'a Made, Pick<'a>),
}

/// Supplies the rows of a masked picture.
pub(super) struct MaskedFill<'a> {
    /// The picture times (1 - mask).
    pub(super) picture: &'a mut Fill<'a>,
    pub(super) mask: &'a mut Fill<'a>,
}

impl MaskedFill<'_> {
    /// The same rows, for one run.
    pub(super) fn reborrow(&mut self) -> MaskedFill<'_> {
        let Self { picture, mask } = self;
        MaskedFill { picture: &mut **picture, mask: &mut **mask }
    }
}

/// The pixels of an activation that make up an input: those of the columns `column(x)` of row
/// `row(y)`, `width` of them, in order.
pub(super) struct Pick<'a> {
    pub(super) row: &'a dyn Fn(usize) -> usize,
    pub(super) column: &'a dyn Fn(usize) -> usize,
    pub(super) width: usize,
}

/// The output of a run, and its place. Valid until the next run that does not pin it.
pub(super) struct Made {
    slot: Slot,
    layout: WorkspaceLayout,
    machine: CpuMachine,
    file: Option<ScratchFile>,
    /// Offset of its run's arena in the workspace, in bytes.
    start: usize,
}

impl Made {
    pub(super) fn shape(&self) -> Shape {
        self.slot.shape
    }

    /// Copies pixels of row `y`, in their storage type, to `pixels`. `arena` is the arena of its
    /// run.
    fn read(
        &self,
        threads: &Threads,
        arena: &mut [u8],
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        let memory = Memory { arena, file: self.file.as_ref(), layout: &self.layout };
        let mut go_on = |_| ControlFlow::Continue(());
        let mut cpu = Cpu::new(self.machine, threads, Strategy::IN_MEMORY, memory, &mut go_on);
        cpu.download(&self.slot, y, columns, pixels)
    }

    /// Copies the pixels of `pick` for row `y`.
    fn pick(
        &self,
        threads: &Threads,
        arena: &mut [u8],
        pick: &Pick<'_>,
        y: usize,
        pixels: &mut [u8],
    ) -> Result<()> {
        let Some(last) = pick.width.checked_sub(1) else { return Ok(()) };
        let (y, columns) = ((pick.row)(y), (pick.column)(0)..(pick.column)(last) + 1);
        if columns.len() == pick.width {
            return self.read(threads, arena, y, columns, pixels);
        }
        let pixel = pixels.len() / pick.width;
        for (x, to) in pixels.chunks_exact_mut(pixel).enumerate() {
            let x = (pick.column)(x);
            self.read(threads, arena, y, x..x + 1, to)?;
        }
        Ok(())
    }
}

impl Runner {
    /// Makes a runner for checked `options`.
    ///
    /// # Errors
    /// `OutOfMemory` if threads cannot be started.
    pub(super) fn new(options: &SessionOptions, model: &Model) -> Result<Self> {
        Ok(Self {
            threads: Threads::new(options.resolve_threads()?)?,
            kernels: Kernels::new(Level::detect()?)?,
            storage: options.resolve_storage(model),
            control: Control::default(),
            workspace: Workspace::Own(AlignedBuf::default()),
            scratch_dir: options.scratch_dir.clone(),
        })
    }

    /// Makes later runs work in the caller's `memory`.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not aligned to 64 bytes.
    pub(super) fn lend(&mut self, memory: &'static mut [u8]) -> Result<()> {
        if memory.as_ptr().align_offset(ALIGN) != 0 {
            let message = format!("workspace: alignment to {ALIGN} bytes expected");
            return Err(Error::invalid(message));
        }
        self.workspace = Workspace::Lent(memory);
        Ok(())
    }

    /// The resources for plans of this runner.
    pub(super) fn resources(&self, options: &SessionOptions, model: &Model) -> Resources {
        let threads = self.threads.count();
        let resources = Resources::new(options, model, self.storage, self.kernels, threads);
        match &self.workspace {
            Workspace::Own(_) => resources,
            Workspace::Lent(lent) => resources.within(lent.len() as u64),
        }
    }

    /// What the system can give a call, which may use the workspace that is there.
    pub(super) fn headroom(&self) -> Headroom {
        let own = match &self.workspace {
            Workspace::Own(own) => own.len() as u64,
            Workspace::Lent(_) => 0,
        };
        let Headroom { memory, address_space } = os::headroom();
        // Pages that no call has touched yet were never taken.
        let touched = os::resident_memory().unwrap_or(own).min(own);
        Headroom {
            memory: memory.map(|left| left.saturating_add(touched)),
            address_space: address_space.map(|left| left.saturating_add(own)),
        }
    }

    /// Workspace in bytes held now.
    pub(super) fn memory(&self) -> usize {
        self.workspace.bytes().len()
    }

    /// Makes the workspace large enough for a call, and no larger if there is a budget. Its
    /// contents are lost.
    pub(super) fn reserve(&mut self, plan: &Plan, resources: Resources) -> Result<()> {
        let bytes = plan.workspace_bytes as usize;
        let Workspace::Own(own) = &mut self.workspace else { return Ok(()) };
        if own.len() < bytes || (resources.budget != 0 && own.len() > bytes) {
            // Frees the old one first, so that both never exist together.
            *own = AlignedBuf::default();
            *own = AlignedBuf::zeroed(bytes, "workspace")?;
        }
        Ok(())
    }

    /// Runs `call` by its plan. The workspace must be large enough.
    ///
    /// # Errors
    /// Those of the input; `Cancelled`, `NonFinite`, `Io` if the scratch file fails.
    pub(super) fn run(&mut self, call: &Call<'_>, planned: &Planned, io: Io<'_>) -> Result<Made> {
        let Planned { plan, layout, machine, settings, strategy, .. } = planned;
        let Io { mut input, masked, statistics, meter } = io;
        let file = match &self.scratch_dir {
            Some(folder) if plan.scratch_bytes > 0 => {
                Some(ScratchFile::create(folder, plan.scratch_bytes)?)
            }
            _ => None,
        };
        let start = match &input {
            RunInput::Pinned(made, _) if made.file.is_none() => made.layout.bytes(),
            _ => 0,
        };
        let workspace = self.workspace.bytes_mut();
        if workspace.len() < start + layout.bytes() {
            return Err(Error::internal("a workspace that is shorter than its plan"));
        }
        let (pinned, arena) = workspace.split_at_mut(start);
        let memory = Memory { arena: &mut arena[..layout.bytes()], file: file.as_ref(), layout };
        let (threads, control, Meter { done, total }) = (&self.threads, &mut self.control, *meter);
        let mut report = |work| control.report(Progress { done: done + work, total });
        let mut cpu =
            Cpu::new(*machine, threads, *strategy, memory, &mut report).with_statistics(statistics);
        let inputs = call.inputs(&mut cpu, *settings)?;
        cpu.upload(&inputs.slot, &mut |y, row| match &mut input {
            RunInput::Rows(fill) => fill(y, cast_mut(row)),
            RunInput::Pinned(made, pick) => made.pick(threads, pinned, pick, y, row),
        })?;
        if let Some(Masked { picture, mask }) = &inputs.masked {
            let fill = masked.ok_or_else(|| Error::internal("a mask without rows"))?;
            cpu.upload(picture, &mut |y, row| (fill.picture)(y, cast_mut(row)))?;
            cpu.upload(mask, &mut |y, row| (fill.mask)(y, cast_mut(row)))?;
        }
        let slot = call.network.run(&mut cpu, call.part, *settings, inputs)?;
        meter.done += plan.multiply_adds;
        let file = file.filter(|_| slot.spilled);
        Ok(Made { slot, layout: layout.clone(), machine: *machine, file, start })
    }

    /// Copies pixels of row `y` of a run's output, in their storage type, to `pixels`.
    pub(super) fn read(
        &mut self,
        made: &Made,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        let arena = &mut self.workspace.bytes_mut()[made.start..];
        made.read(&self.threads, arena, y, columns, pixels)
    }

    /// Moves a run's output to the start of the workspace, where later runs can leave it in place.
    pub(super) fn pin(&mut self, made: Made) -> Result<Made> {
        if made.file.is_some() {
            return Ok(made);
        }
        let Range { start, end } = made.layout.locate(&made.slot)?;
        self.workspace.bytes_mut().copy_within(made.start + start..made.start + end, 0);
        let (slot, layout) = WorkspaceLayout::alone(made.slot)?;
        Ok(Made { slot, layout, start: 0, ..made })
    }
}
