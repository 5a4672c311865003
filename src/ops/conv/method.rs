//! The interface of a method of convolution.

use std::fmt::Debug;
use std::ops::ControlFlow;

use super::band::Band;
use super::blocks::Cut;
use super::layer::Layer;
use super::output::Items;
use super::run::Run;
use super::worker::{Scratch, Worker};
use crate::base::error::Result;
use crate::kernels::Panels;

/// A method of convolution, chosen for a layer: its cut of the output, and its memory.
pub(super) trait Method: Debug {
    /// The blocks of output pixels.
    fn cut(&self) -> Cut;

    /// The band of the largest block of `layer`.
    fn band(&self, layer: &Layer) -> Band;

    /// Its scratch memory, without staging.
    fn scratch(&self, layer: &Layer, panels: Panels) -> Scratch;

    /// Whether blocks can be computed a few rows at a time, after one preparation.
    fn by_rows(&self) -> bool;

    /// Begins a run.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn begin<'r>(&'r self, run: Run<'r>) -> Result<Box<dyn Work + 'r>>;

    /// Bytes at most that a run with `threads` workers allocates besides its scratch memory,
    /// without what [`Geometry::bookkeeping`](super::geometry::Geometry::bookkeeping) counts.
    fn bookkeeping(&self, layer: &Layer, panels: Panels, threads: usize) -> usize;
}

/// A running method of convolution.
pub(super) trait Work {
    /// Fills the memory that all workers share with the prepared filters, which do not depend on
    /// the input.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn prepare(&self, shared: &mut [u8]) -> Result<()>;

    /// The number of steps that [`Work::run`] counts for `blocks` blocks.
    fn steps(&self, blocks: usize) -> usize;

    /// Computes blocks, after [`Work::prepare`]. Returns `Break` if `tick` (steps done) said to
    /// stop.
    fn run(
        &self,
        shared: &mut [u8],
        workers: &mut [Worker<'_>],
        items: Items<'_>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>>;
}
