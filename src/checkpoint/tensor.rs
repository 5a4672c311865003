#![forbid(unsafe_code)]
//! Named tensors of a checkpoint, still in the file's own type and memory.

use std::collections::BTreeMap;

use half::{bf16, f16};

use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;

/// A tensor in the file's form: little-endian elements in row-major order, possibly unaligned.
#[derive(Clone)]
pub(crate) struct Tensor {
    /// The name in the file, for messages.
    pub(crate) name: String,
    pub(crate) dtype: Encoding,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Bytes,
}

impl Tensor {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements as f32, rounded if the type is wider.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        let bytes = &*self.bytes;
        match self.dtype {
            Encoding::F32 => elements(bytes, f32::from_le_bytes),
            Encoding::F16 => elements(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Encoding::Bf16 => elements(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Encoding::F64 => elements(bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

/// Tensors in the file's form, before their names are sorted.
#[derive(Default)]
pub(super) struct RawTensors {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Tensors with an element type that weights cannot have, by name, with the type's name.
    pub(super) unsupported: BTreeMap<String, String>,
}

fn elements<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .chunks_exact(N)
        .map(|chunk| {
            let mut element = [0; N];
            element.copy_from_slice(chunk);
            read(element)
        })
        .collect()
}
