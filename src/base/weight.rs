#![forbid(unsafe_code)]
//! The weight of a layer: elements in memory that kernels pack, or a source that loads them.

use super::buffer::{AlignedBuf, cast_mut};
use super::encoding::Dense;
use super::error::Result;

/// Row-major elements in memory: little-endian, possibly unaligned.
#[derive(Clone, Copy)]
pub(crate) struct DenseWeight<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) dtype: Dense,
}

/// Memory of a weight in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeightMemory {
    /// While its layer runs.
    pub(crate) passing: usize,
    /// For as long as the model lives.
    pub(crate) resident: usize,
}

/// A weight, wherever and however its checkpoint has it.
pub(crate) trait WeightSource: Sync {
    /// The elements, if they lie in memory in a form that kernels pack.
    fn dense(&self) -> Option<DenseWeight<'_>>;

    /// Number of elements.
    fn len(&self) -> usize;

    /// Loads the elements in row-major order; `out` has [`WeightSource::len`] values.
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Format` if its contents are corrupt. The message names the
    /// tensor.
    fn load(&self, out: &mut [f32]) -> Result<()>;

    /// Memory that the elements need, loaded or not.
    fn memory(&self) -> WeightMemory;

    /// Returns the memory of elements that can be read again to the system.
    fn release(&self);
}

/// A weight while its layer runs: in place, or loaded.
pub(crate) enum LayerWeight<'a> {
    InPlace(DenseWeight<'a>),
    Loaded(AlignedBuf),
}

impl<'a> LayerWeight<'a> {
    /// # Errors
    /// Those of [`WeightSource::load`], and `OutOfMemory`.
    pub(crate) fn of(source: &'a dyn WeightSource) -> Result<Self> {
        if let Some(dense) = source.dense() {
            return Ok(Self::InPlace(dense));
        }
        let mut buffer = AlignedBuf::zeroed(source.len() * size_of::<f32>(), "a layer's weight")?;
        source.load(cast_mut(&mut buffer))?;
        Ok(Self::Loaded(buffer))
    }

    pub(crate) fn dense(&self) -> DenseWeight<'_> {
        match self {
            Self::InPlace(dense) => *dense,
            Self::Loaded(buffer) => DenseWeight { bytes: buffer, dtype: Dense::F32 },
        }
    }
}
