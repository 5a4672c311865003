//! The operations that kernels are written in, on vectors of f32.

use half::{bf16, f16};

/// A kernel, compiled for any instruction set.
pub(crate) trait Kernel {
    type Output;
    /// The body. It and every function that gets the token are `#[inline(always)]`, so that they
    /// are compiled with the features of the instruction set.
    fn run<S: Simd>(self, isa: S) -> Self::Output;
}

/// An instruction set: a token whose existence proves that the processor has it.
///
/// Methods that take slices use the first `LANES` elements and panic if there are fewer.
///
/// # Safety
/// A value may exist only if the processor has the instructions.
pub(crate) unsafe trait Simd: Copy + Send + Sync {
    /// A vector of `LANES` f32 values.
    type V: Copy;
    const LANES: usize;
    /// Rows of the register tile of the GEMM: with two vectors a row, the accumulators and the
    /// operands fill the registers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const TILE_ROWS: usize;
    /// Columns of the register tile, and of a panel of a packed operand.
    const TILE_COLUMNS: usize = 2 * Self::LANES;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `from` points to `LANES` readable values.
    unsafe fn load_ptr(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `to` points to `LANES` writable values.
    unsafe fn store_ptr(self, x: Self::V, to: *mut f32);
    /// Like `store_ptr`, but bypasses the caches; other threads see it after a `fence`.
    ///
    /// # Safety
    /// `to` points to `LANES` writable values, and is a multiple of their size.
    unsafe fn stream_ptr(self, x: Self::V, to: *mut f32);
    /// Ends a series of `stream_ptr`.
    fn fence(self);
    fn widen_f16(self, from: &[f16]) -> Self::V;
    fn widen_bf16(self, from: &[bf16]) -> Self::V;
    /// Rounds to nearest, ties to even; overflow gives infinity.
    fn to_f16(self, x: Self::V, to: &mut [f16]);
    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn to_bf16(self, x: Self::V, to: &mut [bf16]);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b` to 1 ulp, for `b` in [2^-126, 2^126].
    fn div_near(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest integer, ties to even.
    fn round(self, x: Self::V) -> Self::V;
    /// `x * 2^n` for an integral `n` in [-126, 127].
    fn scale(self, x: Self::V, n: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y`.
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// The bits of the magnitude of `x` with the sign of `sign`.
    fn copysign(self, x: Self::V, sign: Self::V) -> Self::V;
    /// Adds the values and their squares to `sum` and `square`, in f64.
    fn accumulate(self, x: Self::V, sum: &mut Self::Wide, square: &mut Self::Wide);
    /// `LANES` f64 accumulators.
    type Wide: Copy;
    fn wide_load(self, from: &[f64]) -> Self::Wide;
    fn wide_store(self, x: Self::Wide, to: &mut [f64]);
    /// Prefetches the cache line at `at`, which need not be readable, to all caches.
    fn prefetch(self, at: *const f32);
    /// Like `prefetch`, but only to the second-level cache.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    fn prefetch_second(self, at: *const f32);

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: checked.
        unsafe { self.load_ptr(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: checked.
        unsafe { self.store_ptr(x, to.as_mut_ptr()) }
    }

    /// Like `store`, but bypasses the caches if `to` is aligned for it. Call `fence` afterwards.
    #[inline(always)]
    fn stream(self, x: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        let to = to.as_mut_ptr();
        // SAFETY: checked.
        unsafe {
            if (to as usize).is_multiple_of(Self::LANES * size_of::<f32>()) {
                self.stream_ptr(x, to);
            } else {
                self.store_ptr(x, to);
            }
        }
    }

    /// The largest of the values; order does not matter.
    #[inline(always)]
    fn reduce_max(self, x: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes[..Self::LANES]);
        lanes[..Self::LANES].iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The sum of the values, first lane first.
    #[inline(always)]
    fn reduce_add(self, x: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes[..Self::LANES]);
        lanes[..Self::LANES].iter().sum()
    }
}
