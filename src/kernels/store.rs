//! From accumulators to stored activations: residual, rounding, and the sums of what was stored.

use std::ops::Add;

use super::Kernels;
use super::convert::Element;
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::ElementsMut;

/// `dst[p * dst_stride + c] = acc[p * acc_stride + c] (+ dst[p * dst_stride + c])`, rounded to `dst`'s
/// type.
pub(crate) struct Store<'a> {
    pub(crate) acc: &'a [f32],
    pub(crate) acc_stride: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    /// Add what `dst` holds.
    pub(crate) residual: bool,
    pub(crate) dst_stride: usize,
}

/// Sum and sum of squares of stored values, in f64: with f32 values the squares are exact, and the
/// variance that follows from them keeps seven digits even where the mean is a thousand times the
/// deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) square: f64,
}

impl Add for Sum {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, square: self.square + other.square }
    }
}

impl Kernels {
    /// Runs `job` into `dst`, adding to `sums` (one for each channel) what was stored, pixel after
    /// pixel. Panics when a slice is too short for it.
    pub(crate) fn store(&self, job: &Store<'_>, dst: ElementsMut<'_>, sums: Option<&mut [Sum]>) {
        match dst {
            ElementsMut::F32(dst) => self.isa.run(Pixels { job, dst, sums }),
            ElementsMut::F16(dst) => self.isa.run(Pixels { job, dst, sums }),
            ElementsMut::Bf16(dst) => self.isa.run(Pixels { job, dst, sums }),
        }
    }
}

struct Pixels<'a, T> {
    job: &'a Store<'a>,
    dst: &'a mut [T],
    sums: Option<&'a mut [Sum]>,
}

impl<T: Element> Kernel for Pixels<'_, T> {
    type Output = ();

    /// ```text
    /// for each vector of channels          its sums stay in registers
    ///     for each pixel                   a column of cache lines
    /// ```
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { job, dst, mut sums } = self;
        if let Some(sums) = &sums {
            assert_eq!(sums.len(), job.channels);
        }
        let whole = job.channels / S::LANES * S::LANES;
        for c in (0..whole).step_by(S::LANES) {
            let zeros = s.wide_load(&[0.0; 16]);
            let (mut sum, mut square) = (zeros, zeros);
            for pixel in 0..job.pixels {
                let mut x = s.load(&job.acc[pixel * job.acc_stride + c..]);
                let to = &mut dst[pixel * job.dst_stride + c..][..S::LANES];
                if job.residual {
                    x = s.add(x, T::load(s, to));
                }
                T::store(s, x, to);
                if sums.is_some() {
                    s.accumulate(T::load(s, to), &mut sum, &mut square);
                }
            }
            if let Some(sums) = &mut sums {
                let (mut values, mut squares) = ([0.0; 16], [0.0; 16]);
                s.wide_store(sum, &mut values);
                s.wide_store(square, &mut squares);
                for (lane, total) in sums[c..c + S::LANES].iter_mut().enumerate() {
                    *total = *total + Sum { sum: values[lane], square: squares[lane] };
                }
            }
        }
        for c in whole..job.channels {
            let mut total = Sum::default();
            for pixel in 0..job.pixels {
                let mut x = job.acc[pixel * job.acc_stride + c];
                let to = &mut dst[pixel * job.dst_stride + c];
                if job.residual {
                    x += to.to_f32();
                }
                *to = T::from_f32(x);
                let stored = f64::from(to.to_f32());
                total = total + Sum { sum: stored, square: stored * stored };
            }
            if let Some(sums) = &mut sums {
                sums[c] = sums[c] + total;
            }
        }
    }
}
