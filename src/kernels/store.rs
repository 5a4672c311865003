//! Stores accumulators as activations: residual, epilogue, rounding, and the sums of the stored
//! values.

use std::ops::Add;

use super::Kernels;
use super::convert::Element;
use super::math::Act;
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::ElementsMut;

/// What is done to a result, with its residual, before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Epilogue {
    #[default]
    None,
    Act(Act),
    /// `2 x - 1`: from [0, 1] to [-1, 1].
    Signed,
}

impl Epilogue {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        match self {
            Self::None => x,
            Self::Act(Act::Relu) => Act::Relu.apply(s, x),
            // Other functions come near to 0 below, and make NaN of -infinity as torch's do.
            Self::Act(act) => s.select_lt(x, s.splat(f32::MIN), s.splat(f32::NAN), act.apply(s, x)),
            Self::Signed => s.fma(x, s.splat(2.0), s.splat(-1.0)),
        }
    }
}

/// `dst[p * dst_stride + c] = epilogue(acc[p * acc_stride + c] (+ dst[p * dst_stride + c]))`,
/// rounded to `dst`'s type.
pub(crate) struct Store<'a> {
    pub(crate) acc: &'a [f32],
    pub(crate) acc_stride: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    /// Whether to add the values of `dst`.
    pub(crate) residual: bool,
    pub(crate) epilogue: Epilogue,
    /// Whether to bypass the caches, if f32 lines allow it: for an output too large to stay in
    /// them. A line is then not read before it is written, and evicts nothing from the caches.
    pub(crate) stream: bool,
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
    /// Runs `job` into `dst` and adds the stored values to `sums` (one for each channel), pixel
    /// after pixel. Panics if a slice is too short for it.
    pub(crate) fn store(&self, job: &Store<'_>, dst: ElementsMut<'_>, sums: Option<&mut [Sum]>) {
        match dst {
            ElementsMut::F32(dst) => self.isa.run(StoreKernel { job, dst, sums }),
            ElementsMut::F16(dst) => self.isa.run(StoreKernel { job, dst, sums }),
            ElementsMut::Bf16(dst) => self.isa.run(StoreKernel { job, dst, sums }),
        }
    }
}

/// Vectors of channels whose sums are kept in registers: two, a slice of Winograd's.
const VECTORS: usize = 2;
/// Prefetch distance in pixels, if they are read before they are written.
const PREFETCH: usize = 4;

struct StoreKernel<'a, T> {
    job: &'a Store<'a>,
    dst: &'a mut [T],
    sums: Option<&'a mut [Sum]>,
}

impl<T: Element> Kernel for StoreKernel<'_, T> {
    type Output = ();

    /// ```text
    /// for each few vectors of channels     their sums stay in registers
    ///     for each pixel                   a column of cache lines
    /// ```
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.job.channels;
        if let Some(sums) = &self.sums {
            assert_eq!(sums.len(), channels);
        }
        let mut first = 0;
        while first + VECTORS * S::LANES <= channels {
            self.columns::<S, VECTORS>(s, first);
            first += VECTORS * S::LANES;
        }
        while first + S::LANES <= channels {
            self.columns::<S, 1>(s, first);
            first += S::LANES;
        }
        for channel in first..channels {
            self.column(s, channel);
        }
        if self.job.stream {
            s.fence();
        }
    }
}

impl<T: Element> StoreKernel<'_, T> {
    /// `N` vectors of channels of all pixels, from channel `first` on.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&mut self, s: S, first: usize) {
        let job = self.job;
        let zeros = s.wide_load(&[0.0; 16]);
        let (mut totals, mut squares) = ([zeros; N], [zeros; N]);
        for pixel in 0..job.pixels {
            let acc = &job.acc[pixel * job.acc_stride + first..][..N * S::LANES];
            let to = &mut self.dst[pixel * job.dst_stride + first..][..N * S::LANES];
            for v in 0..N {
                let mut x = s.load(&acc[v * S::LANES..]);
                let to = &mut to[v * S::LANES..][..S::LANES];
                if job.residual {
                    s.prefetch(to.as_ptr().wrapping_add(PREFETCH * job.dst_stride).cast());
                    x = s.add(x, T::load(s, to));
                }
                x = job.epilogue.apply(s, x);
                if job.stream {
                    T::stream(s, x, to);
                } else {
                    T::store(s, x, to);
                }
                if self.sums.is_some() {
                    s.accumulate(T::rounded(s, x, to), &mut totals[v], &mut squares[v]);
                }
            }
        }
        let Some(sums) = &mut self.sums else { return };
        for (v, sums) in sums[first..][..N * S::LANES].chunks_exact_mut(S::LANES).enumerate() {
            let (mut total, mut square) = ([0.0; 16], [0.0; 16]);
            s.wide_store(totals[v], &mut total);
            s.wide_store(squares[v], &mut square);
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum = *sum + Sum { sum: total[lane], square: square[lane] };
            }
        }
    }

    /// A remaining channel.
    #[inline(always)]
    fn column<S: Simd>(&mut self, s: S, channel: usize) {
        let job = self.job;
        let mut total = Sum::default();
        for pixel in 0..job.pixels {
            let mut x = job.acc[pixel * job.acc_stride + channel];
            let to = &mut self.dst[pixel * job.dst_stride + channel];
            if job.residual {
                x += to.to_f32();
            }
            if job.epilogue != Epilogue::None {
                let mut lanes = [0.0; 16];
                s.store(job.epilogue.apply(s, s.splat(x)), &mut lanes);
                x = lanes[0];
            }
            *to = T::from_f32(x);
            let rounded = f64::from(to.to_f32());
            total = total + Sum { sum: rounded, square: rounded * rounded };
        }
        if let Some(sums) = &mut self.sums {
            sums[channel] = sums[channel] + total;
        }
    }
}
