//! The one-dimensional transforms of Winograd's minimal filtering.
//!
//! F(m, r) gives m outputs of an r-tap filter from m + r - 1 inputs with as many multiplications,
//! by evaluating both as polynomials at points, multiplying, and interpolating (S. Winograd,
//! "Arithmetic Complexity of Computations", 1980; for two dimensions and networks, A. Lavin and S.
//! Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). Two dimensions apply a
//! transform to columns and then to rows.
//!
//! The points decide the error: a rounding error in a product is multiplied by the powers of its
//! point in the output transform. All variants have the points 0, infinity and pairs of x and -x,
//! which share most of their operations. In F(6, 3) and F(8, 3) each point's reciprocal is one too,
//! which keeps the powers small. Multiplying the rows of a transform by powers of two would move no
//! bit, as nothing overflows.

use super::variant::Winograd;
use crate::arch::isa::Simd;

/// F(`OUT`, `TAPS`) with tiles of `TILE` = `OUT` + `TAPS` - 1 values, one for each point: 0, then x
/// and -x for each pair, and infinity.
pub(super) trait Transform<const TILE: usize, const OUT: usize, const TAPS: usize> {
    /// The variant that it belongs to.
    const WINOGRAD: Winograd;
    /// B^T d.
    fn input<S: Simd>(s: S, d: [S::V; TILE]) -> [S::V; TILE];
    /// G g.
    fn filter<S: Simd>(s: S, g: [S::V; TAPS]) -> [S::V; TILE];
    /// A^T m.
    fn output<S: Simd>(s: S, m: [S::V; TILE]) -> [S::V; OUT];
}

macro_rules! transform {
    (
        $(#[$doc:meta])*
        $name:ident, $winograd:expr; $tile:literal, $out:literal, $taps:literal, $points:expr
    ) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Transform<$tile, $out, $taps> for $name {
            const WINOGRAD: Winograd = $winograd;

            #[inline(always)]
            fn input<S: Simd>(s: S, d: [S::V; $tile]) -> [S::V; $tile] {
                const { &Pairs::new($points) }.input(s, d)
            }

            #[inline(always)]
            fn filter<S: Simd>(s: S, g: [S::V; $taps]) -> [S::V; $tile] {
                const { &Pairs::new($points) }.filter(s, g)
            }

            #[inline(always)]
            fn output<S: Simd>(s: S, m: [S::V; $tile]) -> [S::V; $out] {
                const { &Pairs::new($points) }.output(s, m)
            }
        }
    };
}

transform! {
    /// F(4, 3).
    F4x3, Winograd::F4; 6, 4, 3, [1.0, 2.0]
}
transform! {
    /// F(5, 2): a phase of a 3x3 filter over a doubled picture. Phases share the point 1, the first
    /// pair's.
    F5x2, Winograd::Doubled; 6, 5, 2, [1.0, 2.0]
}
transform! {
    /// F(6, 3).
    F6x3, Winograd::F6; 8, 6, 3, [1.0, 2.0, 0.5]
}
transform! {
    /// F(8, 3). Two pairs and their reciprocals, which amplify an error within 2 % of the least.
    F8x3, Winograd::F8; 10, 8, 3, [0.4, 0.8, 1.25, 2.5]
}

/// F(5, 3) with stride 2: F(5, 2) of even inputs with the first and the last tap, six points, and
/// five odd inputs that each meet the middle tap and belong to one output.
pub(super) struct F5x3By2;

impl Transform<11, 5, 3> for F5x3By2 {
    const WINOGRAD: Winograd = Winograd::Halved;

    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 11]) -> [S::V; 11] {
        let [d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10] = d;
        let [p0, p1, p2, p3, p4, p5] = F5x2::input(s, [d0, d2, d4, d6, d8, d10]);
        [p0, p1, p2, p3, p4, p5, d1, d3, d5, d7, d9]
    }

    #[inline(always)]
    fn filter<S: Simd>(s: S, [first, middle, last]: [S::V; 3]) -> [S::V; 11] {
        let [p0, p1, p2, p3, p4, p5] = F5x2::filter(s, [first, last]);
        [p0, p1, p2, p3, p4, p5, middle, middle, middle, middle, middle]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 11]) -> [S::V; 5] {
        let [p0, p1, p2, p3, p4, p5, o0, o1, o2, o3, o4] = m;
        let [e0, e1, e2, e3, e4] = F5x2::output(s, [p0, p1, p2, p3, p4, p5]);
        [s.add(e0, o0), s.add(e1, o1), s.add(e2, o2), s.add(e3, o3), s.add(e4, o4)]
    }
}

/// Calls `$body` with `$T` the transform of a variant, and its numbers.
macro_rules! with {
    ($winograd:expr, |$T:ident, $TILE:ident, $OUT:ident, $TAPS:ident| $body:expr) => {
        match $winograd {
            $crate::kernels::Winograd::F4 => {
                type $T = $crate::kernels::winograd::transform::F4x3;
                const $TILE: usize = 6;
                const $OUT: usize = 4;
                const $TAPS: usize = 3;
                $body
            }
            $crate::kernels::Winograd::F6 => {
                type $T = $crate::kernels::winograd::transform::F6x3;
                const $TILE: usize = 8;
                const $OUT: usize = 6;
                const $TAPS: usize = 3;
                $body
            }
            $crate::kernels::Winograd::F8 => {
                type $T = $crate::kernels::winograd::transform::F8x3;
                const $TILE: usize = 10;
                const $OUT: usize = 8;
                const $TAPS: usize = 3;
                $body
            }
            $crate::kernels::Winograd::Doubled => {
                type $T = $crate::kernels::winograd::transform::F5x2;
                const $TILE: usize = 6;
                const $OUT: usize = 5;
                const $TAPS: usize = 2;
                $body
            }
            $crate::kernels::Winograd::Halved => {
                type $T = $crate::kernels::winograd::transform::F5x3By2;
                const $TILE: usize = 11;
                const $OUT: usize = 5;
                const $TAPS: usize = 3;
                $body
            }
        }
    };
}
pub(super) use with;

/// The most outputs and the most pairs of points of a transform.
const MAX_OUT: usize = 8;
const MAX_PAIRS: usize = 4;

/// Constants of the transforms for points 0, x and -x for each of `N` values x, and infinity.
struct Pairs<const N: usize> {
    /// x^i.
    powers: [[f32; N]; MAX_OUT],
    /// The product of (y - z^2) over the other values z: its coefficients from y^0 on.
    others: [[f32; N]; N],
    /// The product over all values: its coefficients from y^0 on, without the leading one.
    all: [f32; N],
    /// The reciprocal of the product of the differences from all other points, for x (and -x), and
    /// for 0.
    scale: [f32; N],
    zero: f32,
}

impl<const N: usize> Pairs<N> {
    const fn new(points: [f64; N]) -> Self {
        let mut new = Self {
            powers: [[0.0; N]; MAX_OUT],
            others: [[0.0; N]; N],
            all: [0.0; N],
            scale: [0.0; N],
            zero: 0.0,
        };
        let all = product(&points, N);
        new.zero = (1.0 / all[0]) as f32;
        let mut k = 0;
        while k < N {
            let x = points[k];
            let (mut power, mut i) = (1.0, 0);
            while i < MAX_OUT {
                new.powers[i][k] = power as f32;
                power *= x;
                i += 1;
            }
            let others = product(&points, k);
            let (mut differences, mut j) = (2.0 * x * x, 0);
            while j < N {
                new.others[k][j] = others[j] as f32;
                if j != k {
                    differences *= x * x - points[j] * points[j];
                }
                j += 1;
            }
            new.all[k] = all[k] as f32;
            new.scale[k] = (1.0 / differences) as f32;
            k += 1;
        }
        new
    }

    #[inline(always)]
    fn input<S: Simd, const TILE: usize>(&self, s: S, d: [S::V; TILE]) -> [S::V; TILE] {
        let mut points = d;
        let (mut zero, mut infinity) = (d[2 * N], d[2 * N + 1]);
        for j in (0..N).rev() {
            zero = s.fma(s.splat(self.all[j]), d[2 * j], zero);
            infinity = s.fma(s.splat(self.all[j]), d[2 * j + 1], infinity);
        }
        (points[0], points[2 * N + 1]) = (zero, infinity);
        for k in 0..N {
            let (mut even, mut odd) = (d[2 * N], d[2 * N - 1]);
            for j in (0..N - 1).rev() {
                let c = s.splat(self.others[k][j]);
                (even, odd) = (s.fma(c, d[2 * j + 2], even), s.fma(c, d[2 * j + 1], odd));
            }
            (points[2 * k + 1], points[2 * k + 2]) = self.pair(s, k, even, odd);
        }
        points
    }

    #[inline(always)]
    fn filter<S: Simd, const TAPS: usize, const TILE: usize>(
        &self,
        s: S,
        g: [S::V; TAPS],
    ) -> [S::V; TILE] {
        let mut points = [s.mul(s.splat(self.zero), g[0]); TILE];
        for k in 0..N {
            let scale = self.scale[k];
            let (mut even, odd) = (s.mul(s.splat(scale), g[0]), s.mul(s.splat(scale), g[1]));
            if TAPS == 3 {
                even = s.fma(s.splat(scale * self.powers[2][k]), g[TAPS - 1], even);
            }
            (points[2 * k + 1], points[2 * k + 2]) = self.pair(s, k, even, odd);
        }
        points[2 * N + 1] = g[TAPS - 1];
        points
    }

    /// The values at x and -x, where `even` and `x * odd` are the two parts.
    #[inline(always)]
    fn pair<S: Simd>(&self, s: S, k: usize, even: S::V, odd: S::V) -> (S::V, S::V) {
        let x = self.powers[1][k];
        (s.fma(s.splat(x), odd, even), s.fma(s.splat(-x), odd, even))
    }

    #[inline(always)]
    fn output<S: Simd, const TILE: usize, const OUT: usize>(
        &self,
        s: S,
        m: [S::V; TILE],
    ) -> [S::V; OUT] {
        let (mut sums, mut differences) = ([m[0]; N], [m[0]; N]);
        for k in 0..N {
            sums[k] = s.add(m[2 * k + 1], m[2 * k + 2]);
            differences[k] = s.sub(m[2 * k + 1], m[2 * k + 2]);
        }
        let mut outputs = [m[0]; OUT];
        // Indices and not iterators, which would not be compiled with the instruction set.
        #[allow(clippy::needless_range_loop)]
        for i in 0..OUT {
            let parts = if i % 2 == 0 { &sums } else { &differences };
            let mut output = s.mul(s.splat(self.powers[i][0]), parts[0]);
            for k in 1..N {
                output = s.fma(s.splat(self.powers[i][k]), parts[k], output);
            }
            outputs[i] = output;
        }
        outputs[0] = s.add(m[0], outputs[0]);
        outputs[OUT - 1] = s.add(m[2 * N + 1], outputs[OUT - 1]);
        outputs
    }
}

/// The product of (y - z^2) over all values z but `points[but]`: its coefficients from y^0 on.
const fn product<const N: usize>(points: &[f64; N], but: usize) -> [f64; MAX_PAIRS + 1] {
    let mut coefficients = [0.0; MAX_PAIRS + 1];
    coefficients[0] = 1.0;
    let mut k = 0;
    while k < N {
        if k != but {
            let square = points[k] * points[k];
            let mut j = MAX_PAIRS;
            while j > 0 {
                coefficients[j] = coefficients[j - 1] - square * coefficients[j];
                j -= 1;
            }
            coefficients[0] *= -square;
        }
        k += 1;
    }
    coefficients
}
