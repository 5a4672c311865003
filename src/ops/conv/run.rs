//! A running convolution.

use super::blocks::Cut;
use super::filter::Filter;
use super::layer::Layer;
use crate::base::alloc;
use crate::base::buffer::Elements;
use crate::base::error::Result;
use crate::kernels::{Act, Epilogue, Panels};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged};

/// Normalisation and activation of the input: `act(x * scale + shift)` with a scale and a shift for
/// each input channel.
#[derive(Clone, Copy)]
pub(crate) struct Prologue<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) act: Option<Act>,
}

/// The input of a convolution.
pub(crate) enum ConvInput<'a> {
    /// All pixels.
    Whole(Source<'a>),
    /// Whole rows, from the given one on.
    Window(Elements<'a>, usize),
    /// Its own output, pixel by pixel.
    InPlace,
}

/// The operands of a convolution.
pub(crate) struct Operands<'a> {
    pub(crate) filters: &'a [Filter<'a>],
    pub(crate) input: ConvInput<'a>,
    /// Values from one pixel to the next, in the input and in the output.
    pub(crate) input_pitch: usize,
    pub(crate) output_pitch: usize,
    pub(crate) prologue: Option<Prologue<'a>>,
    /// Whether to add the values that the output already holds.
    pub(crate) residual: bool,
    pub(crate) epilogue: Epilogue,
    /// Groups of output channels to sum over.
    pub(crate) groups: usize,
    /// The spilled operands.
    pub(crate) staged: Staged,
}

/// A running convolution: threads and kernels, shape and cut, and operands. `band` has the way in,
/// `output` the way out.
#[derive(Clone, Copy)]
pub(super) struct Run<'r> {
    pub(super) exec: Exec<'r>,
    pub(super) layer: &'r Layer,
    pub(super) cut: Cut,
    pub(super) operands: &'r Operands<'r>,
}

impl Run<'_> {
    /// How the filters are packed.
    pub(super) fn panels(&self) -> Panels {
        self.exec.kernels.panels()
    }

    /// The biases of all banks, each bank padded to whole panels.
    pub(super) fn bias(&self) -> Result<Vec<f32>> {
        let panels = self.panels();
        let mut bias = alloc::with_capacity(self.layer.columns(panels), "biases")?;
        for filter in self.operands.filters {
            bias.extend_from_slice(filter.bias);
            bias.resize(panels.filled(bias.len()), 0.0);
        }
        Ok(bias)
    }
}
