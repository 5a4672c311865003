//! Every kernel at every level of this processor against plain loops in f64, with guard zones
//! around whatever it writes.

mod attention;
mod elementwise;
mod gemm;
mod pack;
mod winograd;

use super::Kernels;
use crate::arch::Level;

/// A value that no kernel computes here.
const GUARD: f32 = 12345.678;
/// Values before and after an output.
const MARGIN: usize = 40;

/// Kernels of each level of this processor.
fn levels() -> impl Iterator<Item = Kernels> {
    Level::available().into_iter().map(|level| Kernels::new(level).unwrap())
}

/// Numbers in [-1, 1) that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// `rows` rows of `columns` values, `stride` apart, between guards.
struct Guarded {
    all: Vec<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Guarded {
    fn new(rows: usize, columns: usize, stride: usize) -> Self {
        let all = vec![GUARD; 2 * MARGIN + (rows - 1) * stride + columns];
        Self { all, rows, columns, stride }
    }

    /// The part that a kernel may write, with the gaps between rows, exactly as long as it has to
    /// be.
    fn inner(&mut self) -> &mut [f32] {
        let end = self.all.len() - MARGIN;
        &mut self.all[MARGIN..end]
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.all[MARGIN + row * self.stride + column]
    }

    #[track_caller]
    fn check_guards(&self) {
        for (i, &value) in self.all.iter().enumerate() {
            let inside = i
                .checked_sub(MARGIN)
                .is_some_and(|at| at / self.stride < self.rows && at % self.stride < self.columns);
            assert!(inside || value == GUARD, "a value was written at {i}, outside of the rows");
        }
    }
}

/// The bytes of packed values, exactly as many as a kernel may read.
fn bytes(values: &[f32]) -> &[u8] {
    // SAFETY: the same memory, as long as it is borrowed; each f32 is four bytes of any values.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes that a kernel packs values into.
fn bytes_mut(values: &mut [f32]) -> &mut [u8] {
    // SAFETY: as in `bytes`; four bytes of any values are an f32.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

#[track_caller]
fn close(found: f32, expected: f64, tolerance: f64, what: &dyn std::fmt::Debug) {
    let difference = (f64::from(found) - expected).abs();
    assert!(difference <= tolerance, "{what:?}: {found} found, {expected} expected");
}
