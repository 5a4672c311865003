//! The element type of a tensor in a file.

use std::fmt;

/// The element type of a tensor in a file. Weights become `f32` when they are packed.
///
/// `Q...` are the block-quantised types of GGUF: 32 elements with one or two 16-bit numbers, or
/// super-blocks of 256 elements.
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
    /// 8 bits with 4 of exponent and 3 of mantissa, no infinity (OCP E4M3).
    F8E4M3,
    /// 8 bits with 5 of exponent and 2 of mantissa (OCP E5M2).
    F8E5M2,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 2 bits in super-blocks.
    Q2K,
    /// 3 bits in super-blocks.
    Q3K,
    /// 4 bits in super-blocks.
    Q4K,
    /// 5 bits in super-blocks.
    Q5K,
    /// 6 bits in super-blocks.
    Q6K,
}

/// The encodings that kernels pack where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dense {
    F32,
    F16,
    Bf16,
    F64,
}

impl Encoding {
    /// Size of `len` elements in bytes; `None` if it does not fit the address space, or if `len` is
    /// not a whole number of blocks.
    pub const fn bytes(self, len: usize) -> Option<usize> {
        let (elements, bytes) = self.block();
        if !len.is_multiple_of(elements) {
            return None;
        }
        (len / elements).checked_mul(bytes)
    }

    /// Elements of a block, and its size in bytes. One element is a block of most types.
    pub(crate) const fn block(self) -> (usize, usize) {
        match self {
            Encoding::F8E4M3 | Encoding::F8E5M2 => (1, 1),
            Encoding::F16 | Encoding::Bf16 => (1, 2),
            Encoding::F32 => (1, 4),
            Encoding::F64 => (1, 8),
            Encoding::Q4_0 => (32, 18),
            Encoding::Q4_1 => (32, 20),
            Encoding::Q5_0 => (32, 22),
            Encoding::Q5_1 => (32, 24),
            Encoding::Q8_0 => (32, 34),
            Encoding::Q2K => (256, 84),
            Encoding::Q3K => (256, 110),
            Encoding::Q4K => (256, 144),
            Encoding::Q5K => (256, 176),
            Encoding::Q6K => (256, 210),
        }
    }

    /// The encoding as one that kernels pack; `None` if its elements must be loaded first.
    pub(crate) const fn dense(self) -> Option<Dense> {
        match self {
            Encoding::F32 => Some(Dense::F32),
            Encoding::F16 => Some(Dense::F16),
            Encoding::Bf16 => Some(Dense::Bf16),
            Encoding::F64 => Some(Dense::F64),
            _ => None,
        }
    }

    /// The lower-case name: `f32`, `f16`, `bf16`, `f64`, `f8_e4m3`, `f8_e5m2`, `q8_0`, `q4_k` ...
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::F64 => "f64",
            Encoding::F8E4M3 => "f8_e4m3",
            Encoding::F8E5M2 => "f8_e5m2",
            Encoding::Q4_0 => "q4_0",
            Encoding::Q4_1 => "q4_1",
            Encoding::Q5_0 => "q5_0",
            Encoding::Q5_1 => "q5_1",
            Encoding::Q8_0 => "q8_0",
            Encoding::Q2K => "q2_k",
            Encoding::Q3K => "q3_k",
            Encoding::Q4K => "q4_k",
            Encoding::Q5K => "q5_k",
            Encoding::Q6K => "q6_k",
        }
    }
}

impl From<Dense> for Encoding {
    fn from(dense: Dense) -> Self {
        match dense {
            Dense::F32 => Self::F32,
            Dense::F16 => Self::F16,
            Dense::Bf16 => Self::Bf16,
            Dense::F64 => Self::F64,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
