//! The peak that everything is measured against.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::arch::Level;
use crate::arch::isa::{Kernel, Simd};
use crate::base::error::Result;
use crate::kernels::Kernels;

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

/// Keeps the multipliers busy for a moment; gives the floating-point operations done.
fn fused_multiply_adds(kernels: &Kernels) -> f64 {
    std::hint::black_box(kernels.isa.run(Chains { length: 100_000 })).0
}

/// The fused multiply-adds of `threads` threads at once, in GFLOP/s.
pub fn peak(level: Level, threads: usize) -> Result<f64> {
    let kernels = Kernels::new(level)?;
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let work = || {
        let mut flops = 0.0;
        while !stop.load(Ordering::Relaxed) {
            flops += fused_multiply_adds(&kernels);
        }
        flops
    };
    let flops: f64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(std::time::Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("no panic in a loop")).sum()
    });
    Ok(flops / start.elapsed().as_secs_f64() / 1e9)
}
