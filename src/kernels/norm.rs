//! Normalisation and activation of pixels on their way into a convolution's band.

use super::Kernels;
use super::convert::Element;
use super::math::Act;
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::Elements;

/// `dst[p * dst_stride + c] = act(src[p * src_stride + c] * scale[c] + shift[c])`.
pub(crate) struct AffineAct<'a> {
    pub(crate) src: Elements<'a>,
    pub(crate) src_stride: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    /// Scale and shift of each channel; without, the values are only converted.
    pub(crate) affine: Option<(&'a [f32], &'a [f32])>,
    pub(crate) act: Option<Act>,
    pub(crate) dst_stride: usize,
}

impl Kernels {
    /// Runs `job` into `dst`. Panics when a slice is too short for it.
    pub(crate) fn affine_act(&self, job: &AffineAct<'_>, dst: &mut [f32]) {
        match job.src {
            Elements::F32(src) => self.isa.run(AffineActKernel { job, src, dst }),
            Elements::F16(src) => self.isa.run(AffineActKernel { job, src, dst }),
            Elements::Bf16(src) => self.isa.run(AffineActKernel { job, src, dst }),
        }
    }
}

/// Prefetch distance in pixels.
const PREFETCH: usize = 8;

struct AffineActKernel<'a, T> {
    job: &'a AffineAct<'a>,
    src: &'a [T],
    dst: &'a mut [f32],
}

impl<T: Element> Kernel for AffineActKernel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { job, src, dst } = self;
        let channels = job.channels;
        let whole = channels / S::LANES * S::LANES;
        let (mut a, mut b) = ([1.0; 16], [0.0; 16]);
        if let Some((scale, shift)) = job.affine {
            assert!(scale.len() == channels && shift.len() == channels);
            a[..channels - whole].copy_from_slice(&scale[whole..]);
            b[..channels - whole].copy_from_slice(&shift[whole..]);
        }
        for pixel in 0..job.pixels {
            let from = &src[pixel * job.src_stride..][..channels];
            let to = &mut dst[pixel * job.dst_stride..][..channels];
            for c in (0..whole).step_by(S::LANES) {
                // A few channels of each pixel are no stream that the processor foresees.
                s.prefetch(from.as_ptr().wrapping_add(PREFETCH * job.src_stride + c).cast());
                let mut x = T::load(s, &from[c..]);
                if let Some((scale, shift)) = job.affine {
                    x = s.fma(x, s.load(&scale[c..]), s.load(&shift[c..]));
                }
                s.store(activate(s, x, job.act), &mut to[c..]);
            }
            if whole < channels {
                let mut lanes = [0.0; 16];
                for (lane, &value) in lanes.iter_mut().zip(&from[whole..]) {
                    *lane = value.to_f32();
                }
                let x = s.fma(s.load(&lanes), s.load(&a), s.load(&b));
                s.store(activate(s, x, job.act), &mut lanes);
                to[whole..].copy_from_slice(&lanes[..channels - whole]);
            }
        }
    }
}

#[inline(always)]
fn activate<S: Simd>(s: S, x: S::V, act: Option<Act>) -> S::V {
    match act {
        Some(act) => act.apply(s, x),
        None => x,
    }
}
