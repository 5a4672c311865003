//! The running softmax of streamed attention.

use super::Kernels;
use super::math::exp;
use crate::arch::isa::{Kernel, Simd};

/// A block of scores: `rows` queries by `columns` keys, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Softmax {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
    /// Factor of the scores.
    pub(crate) scale: f32,
}

impl Kernels {
    /// Takes a block of scores into the running softmax of each row: with `m` the new maximum,
    /// `scores = exp(scores * scale - m)`, `correction = exp(maximum - m)`,
    /// `sum = sum * correction + sum of scores`, `maximum = m`. Begin with a maximum of -infinity
    /// and a sum of 0.
    pub(crate) fn softmax_update(
        &self,
        block: &Softmax,
        scores: &mut [f32],
        maximum: &mut [f32],
        sum: &mut [f32],
        correction: &mut [f32],
    ) {
        self.isa.run(Update { block: *block, scores, maximum, sum, correction });
    }

    /// Multiplies each of `rows` rows of `columns` values, `stride` apart, by its factor.
    pub(crate) fn scale_rows(
        &self,
        values: &mut [f32],
        rows: usize,
        columns: usize,
        stride: usize,
        factors: &[f32],
    ) {
        self.isa.run(ScaleRows { values, rows, columns, stride, factors });
    }
}

struct Update<'a> {
    block: Softmax,
    scores: &'a mut [f32],
    maximum: &'a mut [f32],
    sum: &'a mut [f32],
    correction: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Softmax { rows, columns, stride, scale } = self.block;
        let whole = columns / S::LANES * S::LANES;
        for row in 0..rows {
            let scores = &mut self.scores[row * stride..][..columns];
            let mut largest = s.splat(f32::NEG_INFINITY);
            for c in (0..whole).step_by(S::LANES) {
                let x = s.mul(s.load(&scores[c..]), s.splat(scale));
                s.store(x, &mut scores[c..]);
                largest = s.max(x, largest);
            }
            let mut largest = s.reduce_max(largest);
            for x in &mut scores[whole..] {
                *x *= scale;
                largest = largest.max(*x);
            }
            let before = self.maximum[row];
            let now = before.max(largest);
            self.maximum[row] = now;
            let mut total = s.splat(0.0);
            for c in (0..whole).step_by(S::LANES) {
                let e = exp(s, s.sub(s.load(&scores[c..]), s.splat(now)));
                s.store(e, &mut scores[c..]);
                total = s.add(total, e);
            }
            let mut lanes = [f32::NEG_INFINITY; 16];
            let rest = columns - whole;
            for (lane, &x) in lanes.iter_mut().zip(&scores[whole..]) {
                *lane = x - now;
            }
            let tail = exp(s, s.load(&lanes));
            total = s.add(total, tail);
            s.store(tail, &mut lanes);
            scores[whole..].copy_from_slice(&lanes[..rest]);
            let correction = if before == f32::NEG_INFINITY { 0.0 } else { (before - now).exp() };
            self.correction[row] = correction;
            self.sum[row] = self.sum[row] * correction + s.reduce_add(total);
        }
    }
}

struct ScaleRows<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
    factors: &'a [f32],
}

impl Kernel for ScaleRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.columns / S::LANES * S::LANES;
        for row in 0..self.rows {
            let factor = self.factors[row];
            let values = &mut self.values[row * self.stride..][..self.columns];
            for c in (0..whole).step_by(S::LANES) {
                let x = s.mul(s.load(&values[c..]), s.splat(factor));
                s.store(x, &mut values[c..]);
            }
            for x in &mut values[whole..] {
                *x *= factor;
            }
        }
    }
}
