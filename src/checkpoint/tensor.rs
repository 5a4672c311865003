//! A named tensor of a checkpoint, still in the file's own dtype and memory.

use crate::base::buffer::Bytes;
use crate::base::dtype::DType;

/// A tensor as the file has it: little-endian elements in row-major order, perhaps unaligned.
#[derive(Clone)]
pub(crate) struct Tensor {
    /// The name in the file, for messages.
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Bytes,
}

impl Tensor {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}
