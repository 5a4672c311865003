#![forbid(unsafe_code)]
//! The weight of a layer: elements in memory that kernels pack, or a source that loads them.

use half::{bf16, f16};

use super::buffer::{AlignedBuf, cast_mut};
use super::encoding::Dense;
use super::error::{Error, Result};

/// Row-major elements in memory: little-endian, possibly unaligned.
#[derive(Clone, Copy)]
pub(crate) struct DenseWeight<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) dtype: Dense,
}

impl DenseWeight<'_> {
    /// The first element that is not finite as f32, and its index.
    fn not_finite(&self) -> Option<(usize, f32)> {
        fn first<const N: usize>(
            bytes: &[u8],
            read: impl Fn([u8; N]) -> f32,
        ) -> Option<(usize, f32)> {
            /// Elements that are looked at together: without a way out, many at a time.
            const BLOCK: usize = 256;
            let elements = bytes.as_chunks().0;
            let wrong = |block: &[[u8; N]]| {
                block.iter().fold(false, |wrong, &element| wrong | !read(element).is_finite())
            };
            let start = BLOCK * elements.chunks(BLOCK).position(wrong)?;
            let values = elements[start..].iter().map(|&element| read(element));
            let (at, value) = values.enumerate().find(|(_, value)| !value.is_finite())?;
            Some((start + at, value))
        }
        match self.dtype {
            Dense::F32 => first(self.bytes, f32::from_le_bytes),
            Dense::F16 => first(self.bytes, |element| f16::from_le_bytes(element).to_f32()),
            Dense::Bf16 => first(self.bytes, |element| bf16::from_le_bytes(element).to_f32()),
            Dense::F64 => first(self.bytes, |element| f64::from_le_bytes(element) as f32),
        }
    }
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

    /// # Errors
    /// `Format`, naming the layer, if an element is not finite.
    pub(crate) fn expect_finite(self, layer: &str) -> Result<Self> {
        let Some((at, found)) = self.dense().not_finite() else { return Ok(self) };
        Err(Error::format(format!(
            "{layer}: weight: finite numbers expected, {found} found at element {at}"
        )))
    }

    pub(crate) fn dense(&self) -> DenseWeight<'_> {
        match self {
            Self::InPlace(dense) => *dense,
            Self::Loaded(buffer) => DenseWeight { bytes: buffer, dtype: Dense::F32 },
        }
    }
}
