//! The portable instruction set: one lane of plain Rust. It is the specification of the others.

use half::{bf16, f16};

use super::isa::Simd;

/// The token, which exists everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

// SAFETY: needs no instructions beyond the target's own.
unsafe impl Simd for Scalar {
    type V = f32;
    type Wide = f64;
    const LANES: usize = 1;
    const TILE_ROWS: usize = 4;
    /// Columns of a panel, which `matrixmultiply` computes.
    const TILE_COLUMNS: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> f32 {
        // SAFETY: the caller's.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: f32, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { *to = x }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, x: f32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to = x }
    }
    #[inline(always)]
    fn fence(self) {}
    #[inline(always)]
    fn widen_f16(self, from: &[f16]) -> f32 {
        from[0].to_f32()
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[bf16]) -> f32 {
        from[0].to_f32()
    }
    #[inline(always)]
    fn to_f16(self, x: f32, to: &mut [f16]) {
        to[0] = f16::from_f32(x);
    }
    #[inline(always)]
    fn to_bf16(self, x: f32, to: &mut [bf16]) {
        to[0] = bf16::from_f32(x);
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn div_near(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        // f32::mul_add is a library call where the target has no such instruction. The product of
        // two f32 is exact in f64, and the one rounding too many is no matter here.
        (f64::from(a) * f64::from(b) + f64::from(c)) as f32
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn round(self, x: f32) -> f32 {
        x.round_ties_even()
    }
    #[inline(always)]
    fn scale(self, x: f32, n: f32) -> f32 {
        x * f32::from_bits(((n as i32 + 127) as u32) << 23)
    }
    #[inline(always)]
    fn select_lt(self, a: f32, b: f32, x: f32, y: f32) -> f32 {
        if a < b { x } else { y }
    }
    #[inline(always)]
    fn copysign(self, x: f32, sign: f32) -> f32 {
        x.copysign(sign)
    }
    #[inline(always)]
    fn accumulate(self, x: f32, sum: &mut f64, square: &mut f64) {
        let x = f64::from(x);
        *sum += x;
        *square += x * x;
    }
    #[inline(always)]
    fn wide_load(self, from: &[f64]) -> f64 {
        from[0]
    }
    #[inline(always)]
    fn wide_store(self, x: f64, to: &mut [f64]) {
        to[0] = x;
    }
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}
    #[inline(always)]
    fn prefetch_second(self, _at: *const f32) {}
}
