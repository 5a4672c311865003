//! AVX2 with FMA and F16C: eight lanes, 16 registers.

use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::arch::isa::{Kernel, Simd};
use crate::arch::token::{ops, token};

token! {
    /// Proof of AVX2, FMA and F16C.
    Avx2: is_x86_feature_detected, "avx2", "fma", "f16c"
}

// SAFETY: the token is made by detection only.
unsafe impl Simd for Avx2 {
    type V = __m256;
    type Wide = [__m256d; 2];
    const LANES: usize = 8;
    /// Six rows of two accumulators, two operands and one broadcast value in 16 registers.
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves the features.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m256 {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: __m256, to: *mut f32) {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, x: __m256, to: *mut f32) {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm256_stream_ps(to, x) }
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: every x86-64 has it.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn widen_f16(self, from: &[f16]) -> __m256 {
        assert!(from.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[bf16]) -> __m256 {
        assert!(from.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    fn to_f16(self, x: __m256, to: &mut [f16]) {
        assert!(to.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm_storeu_si128(to.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn to_bf16(self, x: __m256, to: &mut [bf16]) {
        assert!(to.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe {
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            // Packing works within halves of 128 bits; the permutation brings the two results
            // together.
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(high, high));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
        }
    }
    ops! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        max(a, b) = _mm256_max_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
        round(x) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        scale(x, n) = {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        };
        select_lt(a, b, x, y) = _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        copysign(x, sign) = {
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, x), _mm256_and_ps(bit, sign))
        };
    }
    #[inline(always)]
    fn div_near(self, a: __m256, b: __m256) -> __m256 {
        self.div(a, b)
    }
    #[inline(always)]
    fn accumulate(self, x: __m256, sum: &mut Self::Wide, square: &mut Self::Wide) {
        // SAFETY: the token proves the features.
        unsafe {
            let halves = [
                _mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x)),
            ];
            for (half, (sum, square)) in halves.into_iter().zip(sum.iter_mut().zip(square)) {
                *sum = _mm256_add_pd(*sum, half);
                *square = _mm256_fmadd_pd(half, half, *square);
            }
        }
    }
    #[inline(always)]
    fn wide_load(self, from: &[f64]) -> Self::Wide {
        assert!(from.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe { [_mm256_loadu_pd(from.as_ptr()), _mm256_loadu_pd(from.as_ptr().add(4))] }
    }
    #[inline(always)]
    fn wide_store(self, x: Self::Wide, to: &mut [f64]) {
        assert!(to.len() >= 8);
        // SAFETY: the token, and the length checked.
        unsafe {
            _mm256_storeu_pd(to.as_mut_ptr(), x[0]);
            _mm256_storeu_pd(to.as_mut_ptr().add(4), x[1]);
        }
    }
    #[inline(always)]
    fn prefetch_second(self, at: *const f32) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
