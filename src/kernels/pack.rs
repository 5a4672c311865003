//! Packing of the second operand of a GEMM, as [`Panels`](super::Panels) says: panels of `nr`
//! columns.

use super::Kernels;
use super::convert::{Element, WeightBf16, WeightElement, WeightF16, WeightF32, WeightF64};
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::{Elements, cast_mut};
use crate::base::encoding::Dense;
use crate::base::weight::DenseWeight;

/// Filters `[out_channels, in_channels, taps]`.
pub(crate) struct PackConv<'a> {
    pub(crate) weight: DenseWeight<'a>,
    pub(crate) out_channels: usize,
    pub(crate) in_channels: usize,
    /// Values of a filter for one input channel: 9 of a 3x3, 1 of a 1x1.
    pub(crate) taps: usize,
}

impl Kernels {
    /// Packs the filters of panel `index` as `[tap][in_channel][nr]`. Panics when a slice does not
    /// fit.
    pub(crate) fn pack_conv(&self, job: &PackConv<'_>, index: usize, dst: &mut [u8]) {
        let (nr, dst) = (self.panels().width(), cast_mut(dst));
        match job.weight.dtype {
            Dense::F32 => pack_filters::<WeightF32>(job, index, nr, dst),
            Dense::F16 => pack_filters::<WeightF16>(job, index, nr, dst),
            Dense::Bf16 => pack_filters::<WeightBf16>(job, index, nr, dst),
            Dense::F64 => pack_filters::<WeightF64>(job, index, nr, dst),
        }
    }

    /// Packs `rows` (at most `nr`) rows of `depth` values, `stride` apart, as the columns of one
    /// panel: the keys of attention.
    pub(crate) fn pack_rows_transposed(
        &self,
        src: Elements<'_>,
        stride: usize,
        rows: usize,
        depth: usize,
        dst: &mut [u8],
    ) {
        let (nr, dst) = (self.panels().width(), cast_mut(dst));
        match src {
            Elements::F32(src) => transpose(src, stride, rows, depth, nr, dst),
            Elements::F16(src) => transpose(src, stride, rows, depth, nr, dst),
            Elements::Bf16(src) => transpose(src, stride, rows, depth, nr, dst),
        }
    }

    /// Packs a matrix of `depth` rows of `columns` values, `stride` apart, as
    /// `[columns / nr][depth][nr]`: the values of attention.
    pub(crate) fn pack_rows(
        &self,
        src: Elements<'_>,
        stride: usize,
        depth: usize,
        columns: usize,
        dst: &mut [u8],
    ) {
        let (nr, dst) = (self.panels().width(), cast_mut(dst));
        match src {
            Elements::F32(src) => self.isa.run(PackRows { src, stride, depth, columns, nr, dst }),
            Elements::F16(src) => self.isa.run(PackRows { src, stride, depth, columns, nr, dst }),
            Elements::Bf16(src) => self.isa.run(PackRows { src, stride, depth, columns, nr, dst }),
        }
    }
}

/// Input channels packed at a time: a cache line of each of the panel's filters, taps and all, is
/// read once, and the rows written stay in the first-level cache.
const CHANNELS: usize = 8;

fn pack_filters<T: WeightElement>(job: &PackConv<'_>, index: usize, nr: usize, dst: &mut [f32]) {
    let PackConv { in_channels, taps, .. } = *job;
    assert_eq!(dst.len(), in_channels * taps * nr);
    for first in (0..in_channels).step_by(CHANNELS) {
        let channels = CHANNELS.min(in_channels - first);
        visit::<T>(job, index, nr, first, channels, |channel, tap, lane, value| {
            dst[(tap * in_channels + first + channel) * nr + lane] = value;
        });
    }
}

/// The taps of `channels` input channels from `first` on, for the filters of panel `index`, as
/// `[channel][tap][nr]`.
pub(super) fn gather<T: WeightElement>(
    job: &PackConv<'_>,
    index: usize,
    nr: usize,
    first: usize,
    channels: usize,
    dst: &mut [f32],
) {
    assert!(dst.len() >= channels * job.taps * nr);
    visit::<T>(job, index, nr, first, channels, |channel, tap, lane, value| {
        dst[(channel * job.taps + tap) * nr + lane] = value;
    });
}

/// Calls `put(channel, tap, lane, value)` for each tap of a panel, zeros where it has no more
/// filters.
#[inline(always)]
fn visit<T: WeightElement>(
    job: &PackConv<'_>,
    index: usize,
    nr: usize,
    first: usize,
    channels: usize,
    mut put: impl FnMut(usize, usize, usize, f32),
) {
    let PackConv { in_channels, taps, .. } = *job;
    let filters = job.out_channels.saturating_sub(index * nr).min(nr);
    let filter = in_channels * taps * T::SIZE;
    let weight = &job.weight.bytes[index * nr * filter..][..filters * filter];
    for lane in 0..nr {
        let run = (lane < filters).then(|| {
            &weight[lane * filter + first * taps * T::SIZE..][..channels * taps * T::SIZE]
        });
        for channel in 0..channels {
            for tap in 0..taps {
                let at = (channel * taps + tap) * T::SIZE;
                put(channel, tap, lane, run.map_or(0.0, |run| T::read(&run[at..at + T::SIZE])));
            }
        }
    }
}

fn transpose<T: Element>(
    src: &[T],
    stride: usize,
    rows: usize,
    depth: usize,
    nr: usize,
    dst: &mut [f32],
) {
    assert!(rows <= nr && dst.len() == depth * nr);
    // A square of values at a time, so that both sides stay in the first-level cache.
    for start in (0..depth).step_by(16) {
        let end = depth.min(start + 16);
        for lane in 0..nr {
            if lane < rows {
                let row = &src[lane * stride..][start..end];
                for (k, value) in (start..end).zip(row) {
                    dst[k * nr + lane] = value.to_f32();
                }
            } else {
                for k in start..end {
                    dst[k * nr + lane] = 0.0;
                }
            }
        }
    }
}

struct PackRows<'a, T> {
    src: &'a [T],
    stride: usize,
    depth: usize,
    columns: usize,
    nr: usize,
    dst: &'a mut [f32],
}

impl<T: Element> Kernel for PackRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { src, stride, depth, columns, nr, dst } = self;
        assert_eq!(dst.len(), columns.next_multiple_of(nr) * depth);
        for (panel, dst) in dst.chunks_exact_mut(depth * nr).enumerate() {
            let first = panel * nr;
            let used = nr.min(columns - first);
            for (k, dst) in dst.chunks_exact_mut(nr).enumerate() {
                let row = &src[k * stride + first..][..used];
                let whole = used / S::LANES * S::LANES;
                for c in (0..whole).step_by(S::LANES) {
                    s.store(T::load(s, &row[c..]), &mut dst[c..]);
                }
                for (to, from) in dst[whole..used].iter_mut().zip(&row[whole..]) {
                    *to = from.to_f32();
                }
                dst[used..].fill(0.0);
            }
        }
    }
}
