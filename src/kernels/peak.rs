//! The peak speed, against which everything is measured.

use super::Kernels;
use crate::arch::isa::{Kernel, Simd};

/// Twelve chains of fused multiply-adds in registers: as many as hide the latency, and nothing
/// else.
struct Chains {
    length: u32,
}

impl Kernel for Chains {
    /// Floating-point operations, and a sum that keeps them.
    type Output = (f64, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f64, f32) {
        let (x, y) = (s.splat(std::hint::black_box(0.5)), s.splat(std::hint::black_box(1.0)));
        let mut chains = [y; 12];
        for _ in 0..self.length {
            for chain in &mut chains {
                *chain = s.fma(*chain, x, y);
            }
        }
        let flops = 2.0 * f64::from(12 * self.length) * S::LANES as f64;
        (flops, chains.into_iter().map(|chain| s.reduce_add(chain)).sum())
    }
}

impl Kernels {
    /// Keeps the multipliers busy for a moment; returns the number of floating-point operations
    /// done.
    pub(crate) fn fused_multiply_adds(&self) -> f64 {
        std::hint::black_box(self.isa.run(Chains { length: 100_000 })).0
    }
}
