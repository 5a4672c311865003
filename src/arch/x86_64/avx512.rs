//! AVX-512: sixteen lanes, 32 registers.

use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::arch::isa::{Kernel, Simd};
use crate::arch::token::{ops, token};

token! {
    /// Proof of AVX-512 F, BW, DQ and VL, and of what AVX2 proves.
    Avx512: is_x86_feature_detected,
    "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "f16c"
}

// SAFETY: the token is made by detection only.
unsafe impl Simd for Avx512 {
    type V = __m512;
    type Wide = [__m512d; 2];
    const LANES: usize = 16;
    /// 13 rows of two accumulators, two operands and one broadcast value in 32 registers; a row
    /// more would fit, but the compiler spills it.
    const TILE_ROWS: usize = 13;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m512 {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: __m512, to: *mut f32) {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, x: __m512, to: *mut f32) {
        // SAFETY: the token, and the caller's promise.
        unsafe { _mm512_stream_ps(to, x) }
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: every x86-64 has it.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn widen_f16(self, from: &[f16]) -> __m512 {
        assert!(from.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[bf16]) -> __m512 {
        assert!(from.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    fn to_f16(self, x: __m512, to: &mut [f16]) {
        assert!(to.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn to_bf16(self, x: __m512, to: &mut [bf16]) {
        assert!(to.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let bits = _mm512_mask_mov_epi32(rounded, nan, quiet);
            let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }
    ops! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        div_near(a, b) = {
            // One step of Newton's method takes the reciprocal's 14 bits to 28: half the time of a
            // division.
            let near = _mm512_rcp14_ps(b);
            let error = _mm512_fnmadd_ps(b, near, _mm512_set1_ps(1.0));
            let quotient = _mm512_mul_ps(a, near);
            _mm512_fmadd_ps(quotient, error, quotient)
        };
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        round(x) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        scale(x, n) = _mm512_scalef_ps(x, n);
        select_lt(a, b, x, y) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x);
        copysign(x, sign) = {
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, x), _mm512_and_ps(bit, sign))
        };
    }
    #[inline(always)]
    fn accumulate(self, x: __m512, sum: &mut Self::Wide, square: &mut Self::Wide) {
        // SAFETY: the token proves the features.
        unsafe {
            let halves = [
                _mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x)),
            ];
            for (half, (sum, square)) in halves.into_iter().zip(sum.iter_mut().zip(square)) {
                *sum = _mm512_add_pd(*sum, half);
                *square = _mm512_fmadd_pd(half, half, *square);
            }
        }
    }
    #[inline(always)]
    fn wide_load(self, from: &[f64]) -> Self::Wide {
        assert!(from.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe { [_mm512_loadu_pd(from.as_ptr()), _mm512_loadu_pd(from.as_ptr().add(8))] }
    }
    #[inline(always)]
    fn wide_store(self, x: Self::Wide, to: &mut [f64]) {
        assert!(to.len() >= 16);
        // SAFETY: the token, and the length checked.
        unsafe {
            _mm512_storeu_pd(to.as_mut_ptr(), x[0]);
            _mm512_storeu_pd(to.as_mut_ptr().add(8), x[1]);
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
