//! What a method of convolution is.

use std::fmt::Debug;
use std::ops::ControlFlow;

use super::band::Band;
use super::blocks::Cut;
use super::layer::Layer;
use super::output::Item;
use super::run::Run;
use super::worker::{Scratch, Worker};
use crate::base::error::Result;
use crate::kernels::Panels;

/// A method of convolution, as it was chosen for a layer: how the output is cut, and the memory
/// that it takes.
pub(super) trait Method: Debug {
    /// The blocks of output pixels.
    fn cut(&self) -> Cut;

    /// What the largest block of `layer` reads.
    fn band(&self, layer: &Layer) -> Band;

    /// The scratch memory that it takes, without what is staged.
    fn scratch(&self, layer: &Layer, panels: Panels) -> Scratch;

    /// Whether blocks can be computed a few rows at a time, after one preparation.
    fn by_rows(&self) -> bool;

    /// The method at work.
    fn begin<'r>(&'r self, run: Run<'r>) -> Box<dyn Work + 'r>;
}

/// A method of convolution at work.
pub(super) trait Work {
    /// Fills what all workers share with what does not depend on the input: the filters.
    fn prepare(&self, shared: &mut [u8]);

    /// How many steps [`Work::run`] counts for so many blocks.
    fn steps(&self, blocks: usize) -> usize;

    /// Computes blocks, after [`Work::prepare`]. `Break` when `tick` (steps done) said to stop.
    fn run(
        &self,
        shared: &mut [u8],
        workers: &mut [Worker<'_>],
        items: Vec<Item<'_>>,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>>;
}
