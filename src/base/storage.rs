//! The element type of activations between layers.

use std::fmt;

/// The element type of activations between layers. Sums are always `f32` or wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16: 11 significant bits, overflows above 65504.
    F16,
    /// bfloat16: 8 significant bits, the range of `F32`.
    Bf16,
}

impl Storage {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Storage::F16 | Storage::Bf16 => 2,
            Storage::F32 => 4,
        }
    }

    /// The lower-case name: `f32`, `f16`, `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
