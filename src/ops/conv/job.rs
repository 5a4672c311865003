//! One convolution.

use std::ops::ControlFlow;

use super::geometry::Geometry;
use super::run::Operands;
use super::worker::Worker;
use crate::base::alloc;
use crate::base::error::Result;
use crate::kernels::Sum;
use crate::ops::exec::Exec;
use crate::ops::place::Target;
use crate::ops::sums::merge;

/// A convolution to run.
pub(crate) struct Job<'a> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) operands: Operands<'a>,
}

impl Job<'_> {
    /// Runs the convolution into `out`, with `scratch` of [`Geometry::scratch`] bytes. Returns the
    /// sums of each group of the stored values, or `None` if `tick` (steps done, of how many) said
    /// to stop.
    ///
    /// # Errors
    /// `Io` if the scratch file fails, `OutOfMemory`.
    pub(crate) fn run(
        &self,
        exec: Exec<'_>,
        out: Target<'_>,
        scratch: &mut [u8],
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let Self { geometry, operands } = self;
        let sizes = geometry.parts(exec.kernels.panels());
        let (shared, rest) = scratch.split_at_mut(sizes.shared);
        let mut workers = Worker::all(rest, sizes.worker, geometry.staging(operands.staged))?;
        let run = geometry.run(exec, operands);
        let work = geometry.method.begin(run)?;
        work.prepare(shared)?;

        let height = geometry.layer.output.height;
        let blocks = geometry.blocks(height);
        let steps = work.steps(blocks);
        let mut sums = alloc::filled(Sum::default(), blocks * operands.groups, "a layer's sums")?;
        let items = run.items(0..height, run.lines(out), &mut sums);
        let flow = work.run(shared, &mut workers, items, &mut |done| tick(done, steps))?;
        if flow.is_break() {
            return Ok(None);
        }
        merge(&sums, operands.groups).map(Some)
    }
}
