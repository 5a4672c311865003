#![forbid(unsafe_code)]
//! Running the network, or a part of it, in a session's workspace.

use std::ops::{ControlFlow, Range};

use super::budget::{Call, Output, Planned, plan_call};
use super::plan::{Direction, Resources, check_finite, network};
use super::seamless::SeamlessRows;
use super::session::{Progress, Session};
use super::stream::{Fill, Pull, Rows};
use super::tiles::{TiledRows, Tiles};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Statistics};
use crate::base::buffer::{AlignedBuf, cast_mut};
use crate::base::dtype::DType;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::scratch_file::ScratchFile;

/// What a call that runs the network several times has done, and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiled {
    /// Multiply-adds done, and of the whole call.
    pub(super) done: u64,
    pub(super) total: u64,
    /// Bytes held beside the workspace of a run.
    pub(super) held: u64,
}

/// Gives the bytes of a row of the input, from the kept bytes of the arena if it likes.
pub(super) type FillBytes<'f> = dyn FnMut(&[u8], usize, &mut [u8]) -> Result<()> + 'f;

impl Session {
    pub(super) fn all_resources(&self) -> Resources {
        let count = self.threads.count();
        let resources = self.options.resources(&self.model, self.dtype, &self.kernels, count);
        let workspace = self.lent.as_ref().map_or(u64::MAX, |lent| lent.len() as u64);
        Resources { workspace, ..resources }
    }

    /// What a run of the network may have.
    fn resources(&self) -> Resources {
        let held = self.tiled.map_or(0, |tiled| tiled.held);
        self.all_resources().less(held)
    }

    /// One call, whose rows go to `on_row`.
    pub(super) fn call(
        &mut self,
        direction: Direction,
        height: usize,
        width: usize,
        fill: &mut Fill<'_>,
        on_row: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut pull = self.begin(direction, height, width, fill)?;
        while let Some((y, row)) = pull.next(self, fill)? {
            if on_row(y, row).is_break() {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled while rows were taken"));
            }
        }
        Ok(())
    }

    /// Begins a call whose rows are pulled, with the same `fill`, which is asked for each row of the input
    /// once, top to bottom.
    pub(super) fn begin(
        &mut self,
        direction: Direction,
        height: usize,
        width: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Pull> {
        self.tiled = None;
        let model = self.model.clone();
        let config = model.config();
        let call = Call::new(&model, direction, height, width);
        if let Some(tiles) = Tiles::of(&self.options, config, direction, (height, width))? {
            let plan = plan_call(&self.options, call, self.all_resources())?;
            let held = tiles.own_bytes(&self.model, direction, width);
            self.tiled = Some(Tiled { done: 0, total: plan.multiply_adds, held });
            return Ok(Pull::Tiled(TiledRows::new(tiles, direction, height, width)));
        }
        self.with_range(|session| {
            match call.seamless(&session.options, session.all_resources())? {
                Some(plan) => Ok(Pull::Seamless(SeamlessRows::begin(session, call, plan, fill)?)),
                None => Ok(Pull::Whole(session.attempt(direction, height, width, fill)?)),
            }
        })
    }

    /// One run of the network.
    pub(super) fn compute(
        &mut self,
        direction: Direction,
        height: usize,
        width: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Rows> {
        self.with_range(|session| session.attempt(direction, height, width, fill))
    }

    /// Repeats in `Bf16`, which has the range, what overflowed in `F16` storage.
    fn with_range<T>(&mut self, mut run: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        match run(self) {
            Err(error) if error.kind() == ErrorKind::NonFinite && self.dtype == DType::F16 => {
                self.dtype = DType::Bf16;
                run(self)
            }
            result => result,
        }
    }

    fn attempt(
        &mut self,
        direction: Direction,
        height: usize,
        width: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Rows> {
        let model = self.model.clone();
        let call = Call::new(&model, direction, height, width);
        let planned = call.plan(self.resources())?;
        let file = self.scratch_file(planned.plan.scratch_bytes)?;
        self.reserve(planned.layout.bytes())?;
        let channels = call.input(self.resources().settings)?.0.channels;
        let made = self.execute(
            call,
            &planned,
            (0, file.as_ref()),
            Statistics::Own,
            &mut checked(direction, channels, fill),
        )?;
        let Output { shape, stored, .. } = planned.output;
        Rows::new(shape, made, file.filter(|_| stored))
    }

    /// A scratch file of so many bytes, if there are any.
    pub(super) fn scratch_file(&self, bytes: u64) -> Result<Option<ScratchFile>> {
        match &self.options.scratch_dir {
            Some(folder) if bytes > 0 => ScratchFile::create(folder, bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes the arena at least `bytes` long, and no longer where there is a budget. What it holds is lost.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<()> {
        let shrink = self.options.memory_budget > 0 && self.tiled.is_none();
        let wrong = self.arena.len() < bytes || (shrink && self.arena.len() > bytes);
        if self.lent.is_none() && wrong {
            // The old one goes first: the two need not be there together.
            self.arena = AlignedBuf::zeroed(0, "workspace")?;
            self.arena = AlignedBuf::zeroed(bytes, "workspace")?;
        }
        Ok(())
    }

    /// Runs what `call` says as it is planned; `fill` is asked for each row once, top to bottom. The arena is long enough, and its first `kept` bytes stay as they are. Gives the bytes of the
    /// output, in the arena or in the file.
    pub(super) fn execute(
        &mut self,
        call: Call<'_>,
        planned: &Planned,
        (kept, file): (usize, Option<&ScratchFile>),
        statistics: Statistics<'_>,
        fill: &mut FillBytes<'_>,
    ) -> Result<Range<usize>> {
        let Resources { settings, algorithm, .. } = self.all_resources();
        let Planned { plan, layout, strategy, .. } = planned;
        let (cancel, progress) = (&self.cancel, &mut self.progress);
        let (before, total) = match self.tiled {
            Some(tiled) => (tiled.done, tiled.total),
            None => (0, plan.multiply_adds),
        };
        let mut report = |done: u64| {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            progress.as_mut().map_or(ControlFlow::Continue(()), |call| {
                call(Progress { done: before + done, total })
            })
        };
        let workspace = match &mut self.lent {
            Some(lent) => &mut lent[..],
            None => &mut self.arena[..],
        };
        let (kept, arena) = workspace.split_at_mut(kept);
        let arena = &mut arena[..layout.bytes()];
        let mut cpu = Cpu::new(
            (&self.threads, &self.kernels),
            (algorithm, *strategy),
            (arena, file),
            layout,
            &mut report,
        )
        .with_statistics(statistics);
        let (shape, dtype) = call.input(settings)?;
        let input = cpu.alloc(shape, dtype)?;
        cpu.fill(&input, |y, row| fill(kept, y, row))?;
        let output = network(&mut cpu, call.model, (call.direction, call.part), settings, input)?;
        let range = cpu.range(&output)?;
        if let Some(tiled) = &mut self.tiled {
            tiled.done += plan.multiply_adds;
        }
        let at = if output.stored { 0 } else { kept.len() };
        Ok(range.start + at..range.end + at)
    }

    /// Begins to count the work of a call in several runs.
    pub(super) fn count(&mut self, total: u64) {
        self.tiled = Some(Tiled { done: 0, total, held: 0 });
    }

    /// The bytes of the workspace.
    pub(super) fn workspace(&self) -> &[u8] {
        self.lent.as_deref().unwrap_or(&self.arena)
    }

    /// Moves bytes to the workspace's start.
    pub(super) fn move_to_start(&mut self, from: Range<usize>) {
        match &mut self.lent {
            Some(lent) => lent.copy_within(from, 0),
            None => self.arena.copy_within(from, 0),
        }
    }

    /// The next row of what this session decoded last, and where it is.
    pub(super) fn next_row<'r>(&'r self, rows: &'r mut Rows) -> Result<Option<(usize, &'r [f32])>> {
        rows.next(self.workspace())
    }
}

/// The rows of the input as bytes, from `fill`; refused where they are not finite.
pub(super) fn checked(
    direction: Direction,
    channels: usize,
    fill: &mut Fill<'_>,
) -> impl FnMut(&[u8], usize, &mut [u8]) -> Result<()> {
    move |_, y, bytes| {
        let row: &mut [f32] = cast_mut(bytes);
        fill(y, row)?;
        check_finite(direction, y, row, channels)
    }
}
