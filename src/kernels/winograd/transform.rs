//! The one-dimensional transforms of Winograd's minimal filtering.
//!
//! F(m, r) gives m outputs of an r-tap filter from m + r - 1 inputs with as many multiplications, by
//! evaluating both as polynomials at points, multiplying, and interpolating (S. Winograd, "Arithmetic
//! Complexity of Computations", 1980; for two dimensions and networks, A. Lavin and S. Gray, "Fast
//! Algorithms for Convolutional Neural Networks", 2015). Two dimensions apply a transform to columns and
//! then to rows.
//!
//! The points decide the error: large powers of a point cancel in the output transform. Points in pairs
//! of x and -x, with the reciprocals of those beyond 1, keep powers small and share most of the
//! operations between the two of a pair. Multiplying the rows of a transform by powers of two would move
//! no bit, as nothing overflows.

use crate::arch::isa::Simd;

/// F(`OUT`, `TAPS`) with tiles of `TILE` = `OUT` + `TAPS` - 1 values.
pub(super) trait Transform<const TILE: usize, const OUT: usize, const TAPS: usize> {
    /// B^T d.
    fn input<S: Simd>(s: S, d: [S::V; TILE]) -> [S::V; TILE];
    /// G g.
    fn filter<S: Simd>(s: S, g: [S::V; TAPS]) -> [S::V; TILE];
    /// A^T m.
    fn output<S: Simd>(s: S, m: [S::V; TILE]) -> [S::V; OUT];
}

/// F(6, 3) at 0, 1, -1, 2, -2, 1/2, -1/2 and infinity.
pub(super) struct F6x3;

impl Transform<8, 6, 3> for F6x3 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 8]) -> [S::V; 8] {
        let c = |x: f32| s.splat(x);
        let zero = s.fma(c(5.25), s.sub(d[4], d[2]), s.sub(d[0], d[6]));
        let infinity = s.fma(c(5.25), s.sub(d[3], d[5]), s.sub(d[7], d[1]));
        // Each pair of points: an even part and an odd part.
        let (even, odd) =
            (s.fma(c(-4.25), d[4], s.add(d[2], d[6])), s.fma(c(-4.25), d[3], s.add(d[1], d[5])));
        let (one, minus_one) = (s.add(even, odd), s.sub(even, odd));
        let (even, odd) = (
            s.fma(c(0.25), d[2], s.fma(c(-1.25), d[4], d[6])),
            s.fma(c(0.5), d[1], s.fma(c(-2.5), d[3], s.add(d[5], d[5]))),
        );
        let (two, minus_two) = (s.add(even, odd), s.sub(even, odd));
        let (even, odd) = (
            s.fma(c(4.0), s.fma(c(-1.25), d[4], d[2]), d[6]),
            s.fma(c(0.5), d[5], s.fma(c(-2.5), d[3], s.add(d[1], d[1]))),
        );
        let (half, minus_half) = (s.add(even, odd), s.sub(even, odd));
        [zero, one, minus_one, two, minus_two, half, minus_half, infinity]
    }

    #[inline(always)]
    fn filter<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 8] {
        let scaled = |x: f32, v: S::V| s.mul(s.splat(x), v);
        let (even, odd) = (scaled(-2.0 / 9.0, s.add(g[0], g[2])), scaled(-2.0 / 9.0, g[1]));
        let (one, minus_one) = (s.add(even, odd), s.sub(even, odd));
        let (even, odd) =
            (scaled(1.0 / 90.0, s.fma(s.splat(4.0), g[2], g[0])), scaled(1.0 / 45.0, g[1]));
        let (two, minus_two) = (s.add(even, odd), s.sub(even, odd));
        let (even, odd) =
            (scaled(8.0 / 45.0, s.fma(s.splat(4.0), g[0], g[2])), scaled(16.0 / 45.0, g[1]));
        let (half, minus_half) = (s.add(even, odd), s.sub(even, odd));
        [g[0], one, minus_one, two, minus_two, half, minus_half, g[2]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 8]) -> [S::V; 6] {
        let c = |x: f32| s.splat(x);
        let (sum1, dif1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum2, dif2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        let (sum3, dif3) = (s.add(m[5], m[6]), s.sub(m[5], m[6]));
        [
            s.add(s.add(m[0], sum1), s.add(sum2, sum3)),
            s.fma(c(2.0), dif2, s.fma(c(0.5), dif3, dif1)),
            s.fma(c(4.0), sum2, s.fma(c(0.25), sum3, sum1)),
            s.fma(c(8.0), dif2, s.fma(c(0.125), dif3, dif1)),
            s.fma(c(16.0), sum2, s.fma(c(0.0625), sum3, sum1)),
            s.fma(c(32.0), dif2, s.fma(c(0.03125), dif3, s.add(dif1, m[7]))),
        ]
    }
}

/// B^T at 0, 1, -1, 2, -2 and infinity: it depends on the points alone.
#[inline(always)]
fn input6<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
    let c = |x: f32| s.splat(x);
    let zero = s.fma(c(4.0), d[0], s.fma(c(-5.0), d[2], d[4]));
    let infinity = s.fma(c(4.0), d[1], s.fma(c(-5.0), d[3], d[5]));
    let (even, odd) = (s.fma(c(-4.0), d[2], d[4]), s.fma(c(-4.0), d[1], d[3]));
    let (one, minus_one) = (s.add(even, odd), s.sub(even, odd));
    let (even, odd) = (s.sub(d[4], d[2]), s.mul(c(2.0), s.sub(d[3], d[1])));
    let (two, minus_two) = (s.add(even, odd), s.sub(even, odd));
    [zero, one, minus_one, two, minus_two, infinity]
}

/// F(4, 3) at 0, 1, -1, 2, -2 and infinity.
pub(super) struct F4x3;

impl Transform<6, 4, 3> for F4x3 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        input6(s, d)
    }

    #[inline(always)]
    fn filter<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 6] {
        let scaled = |x: f32, v: S::V| s.mul(s.splat(x), v);
        let (even, odd) = (scaled(-1.0 / 6.0, s.add(g[0], g[2])), scaled(-1.0 / 6.0, g[1]));
        let (one, minus_one) = (s.add(even, odd), s.sub(even, odd));
        let (even, odd) =
            (scaled(1.0 / 24.0, s.fma(s.splat(4.0), g[2], g[0])), scaled(1.0 / 12.0, g[1]));
        let (two, minus_two) = (s.add(even, odd), s.sub(even, odd));
        [scaled(0.25, g[0]), one, minus_one, two, minus_two, g[2]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        let c = |x: f32| s.splat(x);
        let (sum1, dif1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum2, dif2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(m[0], s.add(sum1, sum2)),
            s.fma(c(2.0), dif2, dif1),
            s.fma(c(4.0), sum2, sum1),
            s.fma(c(8.0), dif2, s.add(dif1, m[5])),
        ]
    }
}

/// F(5, 2) at 0, 1, -1, 2, -2 and infinity: a phase of a 3x3 filter over a doubled picture.
pub(super) struct F5x2;

impl Transform<6, 5, 2> for F5x2 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        input6(s, d)
    }

    #[inline(always)]
    fn filter<S: Simd>(s: S, g: [S::V; 2]) -> [S::V; 6] {
        let scaled = |x: f32, v: S::V| s.mul(s.splat(x), v);
        let (one, minus_one) =
            (scaled(-1.0 / 6.0, s.add(g[0], g[1])), scaled(-1.0 / 6.0, s.sub(g[0], g[1])));
        let twice = s.add(g[1], g[1]);
        let (two, minus_two) =
            (scaled(1.0 / 24.0, s.add(g[0], twice)), scaled(1.0 / 24.0, s.sub(g[0], twice)));
        [scaled(0.25, g[0]), one, minus_one, two, minus_two, g[1]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 5] {
        let c = |x: f32| s.splat(x);
        let (sum1, dif1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum2, dif2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(m[0], s.add(sum1, sum2)),
            s.fma(c(2.0), dif2, dif1),
            s.fma(c(4.0), sum2, sum1),
            s.fma(c(8.0), dif2, dif1),
            s.fma(c(16.0), sum2, s.add(sum1, m[5])),
        ]
    }
}
