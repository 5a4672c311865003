//! A convolution at work.

use super::blocks::Cut;
use super::filter::Filter;
use super::layer::Layer;
use crate::base::buffer::Elements;
use crate::kernels::{Act, Panels};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged};

/// Normalisation and activation of the input: `act(x * scale + shift)` with a scale and a shift for
/// each input channel.
#[derive(Clone)]
pub(crate) struct Prologue {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) act: Option<Act>,
}

/// What a convolution reads.
pub(crate) enum Input<'a> {
    /// All pixels.
    Whole(Source<'a>),
    /// Whole rows from the given one on.
    Window(Elements<'a>, usize),
    /// Its own output, pixel by pixel.
    InPlace,
}

/// What a convolution is given.
pub(crate) struct Operands<'a> {
    pub(crate) filters: &'a [Filter<'a>],
    pub(crate) input: Input<'a>,
    /// Values from a pixel to the next, of the input and of the output.
    pub(crate) input_pitch: usize,
    pub(crate) output_pitch: usize,
    pub(crate) prologue: Option<Prologue>,
    /// Add what the output holds already.
    pub(crate) residual: bool,
    /// Groups of output channels to sum over.
    pub(crate) groups: usize,
    /// What of input and output is in the scratch file.
    pub(crate) staged: Staged,
}

/// A convolution at work: what it runs on, its shape and cut, and its operands. `band` has the way
/// in, `output` the way out.
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

    /// The biases of all banks, each bank filled up to whole panels.
    pub(super) fn bias(&self) -> Vec<f32> {
        let panels = self.panels();
        let mut bias = Vec::with_capacity(self.layer.columns(panels));
        for filter in self.operands.filters {
            bias.extend_from_slice(filter.bias);
            bias.resize(panels.filled(bias.len()), 0.0);
        }
        bias
    }
}
