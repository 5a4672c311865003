//! A layer, with the method chosen for it.

use super::direct;
use super::filter::Filter;
use super::layer::{Layer, Way};
use super::method::Method;
use super::run::{Operands, Run};
use super::winograd;
use super::worker::{Scratch, Staging, Worker};
use crate::base::buffer::{ElementsMut, align_up};
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::kernels::{Panels, Sum};
use crate::ops::exec::Exec;
use crate::ops::place::Staged;

/// The shape of a convolution, with the method that computes it.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub(crate) layer: Layer,
    pub(super) method: Box<dyn Method>,
}

impl Geometry {
    /// `packed_limit` limits the bytes of packed filters or inputs; it never changes a bit of the
    /// result.
    ///
    /// # Errors
    /// `InvalidArgument` if the picture is too small to halve or too large to address, `Internal`
    /// if the filters do not fit the input.
    pub(crate) fn new<W>(
        input: Shape,
        filters: &[Filter<'_, W>],
        way: Way,
        packed_limit: usize,
    ) -> Result<Self> {
        let layer = Layer::new(input, filters, way)?;
        let method: Box<dyn Method> = match winograd::Blocking::choose(&layer, packed_limit) {
            Some(blocking) => Box::new(blocking),
            None => Box::new(direct::Blocking::choose(&layer)),
        };
        Ok(Self { layer, method })
    }

    pub(crate) fn output(&self) -> Shape {
        self.layer.output
    }

    /// Whether each output pixel needs only its own input pixel.
    pub(crate) fn in_place(&self) -> bool {
        self.layer.in_place()
    }

    /// Multiply-adds of the convolution, counted as a direct one.
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.layer.multiply_adds()
    }

    /// Scratch memory in bytes for `threads` workers.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not fit the address space.
    pub(crate) fn scratch(&self, panels: Panels, threads: usize, staged: Staged) -> Result<usize> {
        let Scratch { shared, worker } = self.parts(panels);
        let Staging { input, output } = self.staging(staged);
        threads
            .checked_mul(worker + input + output)
            .and_then(|bytes| bytes.checked_add(shared))
            .ok_or_else(|| Error::invalid("scratch memory does not fit the address space"))
    }

    /// The parts of the scratch memory, without staging.
    pub(super) fn parts(&self, panels: Panels) -> Scratch {
        self.method.scratch(&self.layer, panels)
    }

    /// The staging memory of a worker.
    pub(super) fn staging(&self, staged: Staged) -> Staging {
        let (band, cut) = (self.method.band(&self.layer), self.method.cut());
        Staging {
            input: align_up(band.pixels() * staged.input),
            output: align_up(cut.rows * cut.columns * staged.output),
        }
    }

    /// The number of blocks of `rows` output rows, which start at a block.
    pub(super) fn blocks(&self, rows: usize) -> usize {
        self.method.cut().count(rows, self.layer.output.width)
    }

    /// Bytes at most that a run with `threads` workers allocates besides its scratch memory, for
    /// sums of `groups` groups: those of each block, and what is made for blocks at work.
    pub(crate) fn bookkeeping(&self, panels: Panels, threads: usize, groups: usize) -> usize {
        let Layer { input, output, .. } = &self.layer;
        let sums = (self.blocks(output.height) + 2) * groups * size_of::<Sum>();
        // A row of blocks, and for each worker a block's rows, its sums and its part of the memory.
        let rows = self.method.cut().rows * size_of::<ElementsMut<'_>>();
        let worker = rows + output.channels * size_of::<Sum>() + size_of::<Worker<'_>>();
        // Scale and shift of a prologue, and the biases.
        let vectors = (2 * input.channels + self.layer.columns(panels)) * size_of::<f32>();
        let method = self.method.bookkeeping(&self.layer, panels, threads);
        [rows, threads.saturating_mul(worker), vectors, method]
            .iter()
            .fold(sums, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// The convolution of `operands`, to pass to the method's [`begin`](Method::begin).
    pub(super) fn run<'r>(&'r self, exec: Exec<'r>, operands: &'r Operands<'r>) -> Run<'r> {
        Run { exec, layer: &self.layer, cut: self.method.cut(), operands }
    }
}
