//! Elementary functions on vectors.

use crate::arch::isa::Simd;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Silu,
    Mish,
    Gelu,
    Relu,
    /// `3 tanh(x / 3)`, which keeps values in [-3, 3].
    SoftClamp,
}

const LOWEST: f32 = -87.336_54;

/// `e^x` to 2 ulp for `x` in [-87.3, 88.3]; 0 below (no denormals), infinity above, NaN for NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // In this order of operands NaN passes through.
    let clamped = s.max(s.splat(LOWEST), s.min(s.splat(89.0), x));
    s.select_lt(x, s.splat(LOWEST), s.splat(0.0), exp_within(s, clamped))
}

/// `e^x` for `x` from `LOWEST` to 89.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, `ln 2` in two parts (Cody and Waite), and the
/// polynomial of the sixth degree that is nearest to `e^r` (Remez), 1.6e-8 with its coefficients
/// rounded.
#[inline(always)]
fn exp_within<S: Simd>(s: S, x: S::V) -> S::V {
    const LN2_HIGH: f32 = 355.0 / 512.0; // its products with n are exact
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    let c = |v| s.splat(v);
    let n = s.round(s.mul(x, c(std::f32::consts::LOG2_E)));
    let r = s.fma(n, c(-LN2_HIGH), x);
    let r = s.fma(n, c(-LN2_LOW), r);
    let mut p = c(0.001_383_683_6);
    for factor in [0.008_374_816, 0.041_668_225, 0.166_664_2, 0.499_999_9, 1.0, 1.0] {
        p = s.fma(p, r, c(factor));
    }
    s.scale(p, n)
}

/// The error function to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
#[inline(always)]
fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let c = |v| s.splat(v);
    let magnitude = s.copysign(x, c(1.0));
    let t = s.div(c(1.0), s.fma(magnitude, c(0.327_591_1), c(1.0)));
    let mut p = c(1.061_405_4);
    for factor in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, c(factor));
    }
    let tail = s.mul(s.mul(p, t), exp(s, s.sub(c(0.0), s.mul(x, x))));
    s.copysign(s.sub(c(1.0), tail), x)
}

impl Act {
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let c = |v| s.splat(v);
        match self {
            Self::Silu => {
                // From -87 on the result is 0 but for 1e-36, and the divisor has a reciprocal.
                let x = s.max(c(-87.0), x);
                let power = exp_within(s, s.max(c(LOWEST), s.sub(c(0.0), x)));
                s.div_near(x, s.add(c(1.0), power))
            }
            Self::Mish => {
                // tanh(ln(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2); above 20 it is 1 in f32.
                let e = exp(s, s.min(c(20.0), x));
                let n = s.mul(e, s.add(e, c(2.0)));
                s.mul(x, s.div(n, s.add(n, c(2.0))))
            }
            Self::Gelu => {
                let half = s.mul(x, c(0.5));
                s.fma(half, erf(s, s.mul(x, c(std::f32::consts::FRAC_1_SQRT_2))), half)
            }
            Self::Relu => s.max(c(0.0), x),
            Self::SoftClamp => {
                // tanh(y) = (1 - e^-2y) / (1 + e^-2y), with the sign of y.
                let magnitude = s.copysign(x, c(1.0));
                let power = exp(s, s.mul(magnitude, c(-2.0 / 3.0)));
                let tanh = s.div(s.sub(c(1.0), power), s.add(c(1.0), power));
                s.mul(s.copysign(tanh, x), c(3.0))
            }
        }
    }
}
