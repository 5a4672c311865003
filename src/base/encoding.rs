//! The element type of a tensor in a file.

use std::fmt;

/// The element type of a tensor in a file. Weights become `f32` when they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Encoding {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE 754 binary64, rounded to `f32`.
    F64,
}

impl Encoding {
    /// Size of `len` elements in bytes; `None` if it does not fit the address space.
    pub const fn bytes(self, len: usize) -> Option<usize> {
        match self {
            Encoding::F16 | Encoding::Bf16 => len.checked_mul(2),
            Encoding::F32 => len.checked_mul(4),
            Encoding::F64 => len.checked_mul(8),
        }
    }

    /// The lower-case name: `f32`, `f16`, `bf16`, `f64`.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::F64 => "f64",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
