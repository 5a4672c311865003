//! The types of the elements of NumPy's arrays.

use half::f16;

/// A type of floats, little-endian in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    F32,
    F64,
}

impl Element {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Appends the elements of `data` as f32, rounded where they are wider.
    pub(crate) fn append_f32(self, data: &[u8], out: &mut Vec<f32>) {
        fn map<const N: usize>(data: &[u8], out: &mut Vec<f32>, convert: impl Fn([u8; N]) -> f32) {
            out.extend(data.as_chunks().0.iter().map(|&bytes| convert(bytes)));
        }
        match self {
            Self::F16 => map(data, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::F32 => map(data, out, f32::from_le_bytes),
            Self::F64 => map(data, out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}
