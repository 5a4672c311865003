//! The shape of a convolution.

use super::filter::Filter;
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::Panels;

/// The change of resolution by a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    /// None: stride 1, padded by one on each side if the kernel is 3x3.
    Keep,
    /// Nearest-neighbour doubling before it.
    Double,
    /// Stride 2, padded by one row below and one column on the right (diffusers' `Downsample2D`).
    Halve,
}

/// The shape of a convolution, on which alone the choice of its method depends.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(super) kernel: usize,
    pub(super) resample: Resample,
    /// Output channels of each filter bank.
    pub(super) banks: Vec<usize>,
}

impl Layer {
    /// # Errors
    /// `InvalidArgument` if the picture is too small to halve or too large to address, `Internal`
    /// if the filters do not fit the input.
    pub(super) fn new<W>(
        input: Shape,
        filters: &[Filter<'_, W>],
        resample: Resample,
    ) -> Result<Self> {
        let first =
            filters.first().ok_or_else(|| Error::internal("convolution without a filter"))?;
        let fits = |f: &Filter<'_, W>| f.in_channels == input.channels && f.kernel == first.kernel;
        if let Some(odd) = filters.iter().find(|f| !fits(f)) {
            let (name, channels) = (odd.name, odd.in_channels);
            return Err(Error::internal(format!("{name} takes {channels} channels, not {input}")));
        }
        let (height, width) = match resample {
            Resample::Keep => (input.height, input.width),
            Resample::Double => (input.height * 2, input.width * 2),
            Resample::Halve => (input.height / 2, input.width / 2),
        };
        if height == 0 || width == 0 {
            return Err(Error::invalid(format!(
                "{}: a picture of {}x{} is too small to be halved",
                first.name, input.width, input.height
            )));
        }
        let banks: Vec<usize> = filters.iter().map(|f| f.out_channels).collect();
        let output = Shape::new(height, width, banks.iter().sum());
        output.bytes(Storage::F32)?;
        Ok(Self { input, output, kernel: first.kernel, resample, banks })
    }

    /// Whether each output pixel needs only its own input pixel.
    pub(super) fn in_place(&self) -> bool {
        self.kernel == 1 && self.resample == Resample::Keep
    }

    /// Multiply-adds of the convolution, counted as a direct one.
    pub(super) fn multiply_adds(&self) -> u64 {
        (self.output.len() as u64).saturating_mul(self.depth() as u64)
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Number of values summed for an output value.
    pub(super) fn depth(&self) -> usize {
        self.taps() * self.input.channels
    }

    /// Output channels of all banks, each padded to whole panels.
    pub(super) fn columns(&self, panels: Panels) -> usize {
        self.banks.iter().map(|&channels| panels.filled(channels)).sum()
    }

    /// Input pixels from one output pixel to the next: the stride.
    pub(super) fn step(&self) -> usize {
        if self.resample == Resample::Halve { 2 } else { 1 }
    }

    /// The number of times that each row and column of the input is repeated.
    pub(super) fn repeat(&self) -> usize {
        if self.resample == Resample::Double { 2 } else { 1 }
    }

    /// Zeros above and left of the picture.
    pub(super) fn padding(&self) -> usize {
        if self.kernel == 3 && self.resample != Resample::Halve { 1 } else { 0 }
    }
}
