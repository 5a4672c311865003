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
    /// Stride 2, padded by one on each side.
    HalvePadded,
}

impl Resample {
    /// Height, or width, of the output for an input of height, or width, `length`.
    pub(crate) fn output(self, length: usize, kernel: usize) -> usize {
        match self {
            Self::Keep => length,
            Self::Double => length * 2,
            Self::Halve => length / 2,
            Self::HalvePadded => (length + 2).checked_sub(kernel).map_or(0, |rest| rest / 2 + 1),
        }
    }
}

/// How a convolution goes over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) resample: Resample,
    /// Whether each value is to be the same, to the bit, in a tile of the picture as in the whole.
    pub(crate) local: bool,
}

impl From<Resample> for Way {
    /// The way over a whole picture.
    fn from(resample: Resample) -> Self {
        Self { resample, local: false }
    }
}

/// The shape of a convolution, on which alone the choice of its method depends.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(super) kernel: usize,
    pub(super) resample: Resample,
    /// Whether each value is to be the same in a tile of the picture as in the whole.
    pub(super) local: bool,
    /// Output channels of each filter bank.
    pub(super) banks: Vec<usize>,
}

impl Layer {
    /// # Errors
    /// `InvalidArgument` if the picture is too small to halve or too large to address, `Internal`
    /// if the filters do not fit the input.
    pub(super) fn new<W>(input: Shape, filters: &[Filter<'_, W>], way: Way) -> Result<Self> {
        let Way { resample, local } = way;
        let first =
            filters.first().ok_or_else(|| Error::internal("convolution without a filter"))?;
        let fits = |f: &Filter<'_, W>| f.in_channels == input.channels && f.kernel == first.kernel;
        if let Some(odd) = filters.iter().find(|f| !fits(f)) {
            let (name, channels) = (odd.name, odd.in_channels);
            return Err(Error::internal(format!("{name} takes {channels} channels, not {input}")));
        }
        let output = |length| resample.output(length, first.kernel);
        let (height, width) = (output(input.height), output(input.width));
        if height == 0 || width == 0 {
            return Err(Error::invalid(format!(
                "{}: a picture of {}x{} is too small to be halved",
                first.name, input.width, input.height
            )));
        }
        let banks: Vec<usize> = filters.iter().map(|f| f.out_channels).collect();
        let output = Shape::new(height, width, banks.iter().sum());
        output.bytes(Storage::F32)?;
        Ok(Self { input, output, kernel: first.kernel, resample, local, banks })
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
        match self.resample {
            Resample::Halve | Resample::HalvePadded => 2,
            Resample::Keep | Resample::Double => 1,
        }
    }

    /// The number of times that each row and column of the input is repeated.
    pub(super) fn repeat(&self) -> usize {
        if self.resample == Resample::Double { 2 } else { 1 }
    }

    /// Zeros above and left of the picture.
    pub(super) fn padding(&self) -> usize {
        if self.kernel > 1 && self.resample != Resample::Halve { 1 } else { 0 }
    }
}
