//! Element types of activations and their conversion.

use half::{bf16, f16};

use crate::arch::isa::Simd;

/// An element type of activations.
pub(super) trait Element: Copy {
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V;
    /// Rounds to nearest, ties to even.
    fn store<S: Simd>(s: S, x: S::V, to: &mut [Self]);
    /// Like `store`, but bypasses the caches if type and alignment allow it. Call `Simd::fence`
    /// afterwards.
    #[inline(always)]
    fn stream<S: Simd>(s: S, x: S::V, to: &mut [Self]) {
        Self::store(s, x, to);
    }
    /// The value of `to` after a store of `x`.
    #[inline(always)]
    fn rounded<S: Simd>(s: S, _x: S::V, to: &[Self]) -> S::V {
        Self::load(s, to)
    }
    fn to_f32(self) -> f32;
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.load(from)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::V, to: &mut [Self]) {
        s.store(x, to);
    }
    #[inline(always)]
    fn stream<S: Simd>(s: S, x: S::V, to: &mut [Self]) {
        s.stream(x, to);
    }
    #[inline(always)]
    fn rounded<S: Simd>(_s: S, x: S::V, _to: &[Self]) -> S::V {
        x
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
}

impl Element for f16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.widen_f16(from)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::V, to: &mut [Self]) {
        s.to_f16(x, to);
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        f16::from_f32(x)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.widen_bf16(from)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::V, to: &mut [Self]) {
        s.to_bf16(x, to);
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }
}

/// Reads little-endian elements of a checkpoint, perhaps unaligned, as f32.
pub(super) trait WeightElement {
    const SIZE: usize;
    fn read(bytes: &[u8]) -> f32;
}

macro_rules! weight_element {
    ($name:ident, $size:literal, $bytes:ident => $value:expr) => {
        pub(super) struct $name;
        impl WeightElement for $name {
            const SIZE: usize = $size;
            #[inline(always)]
            fn read(bytes: &[u8]) -> f32 {
                let mut $bytes = [0; $size];
                $bytes.copy_from_slice(&bytes[..$size]);
                $value
            }
        }
    };
}

weight_element!(WeightF32, 4, bytes => f32::from_le_bytes(bytes));
weight_element!(WeightF64, 8, bytes => f64::from_le_bytes(bytes) as f32);
weight_element!(WeightBf16, 2, bytes => f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16));
// f16 by its bits rather than by the crate's function, which asks the processor at every value. The
// exponent is rebased by a multiplication, which also normalises denormals; infinities and NaN keep
// the largest exponent.
weight_element!(WeightF16, 2, bytes => {
    let half = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (half & 0x7fff) << 13;
    let rebased = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23);
    let special = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
    f32::from_bits(rebased.to_bits() | special | (half & 0x8000) << 16)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_read_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (found, expected) =
                (WeightF16::read(&bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:04x}"
            );
        }
    }
}
