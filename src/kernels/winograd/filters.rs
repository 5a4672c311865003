//! Filters between a checkpoint and the points: their columns first, then their rows.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::Kernels;
use super::super::convert::{WeightBf16, WeightF16, WeightF32, WeightF64};
use super::super::pack::{PackConv, gather};
use super::transform::{Transform, with};
use super::variant::{ONE, Winograd};
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::cast_mut;
use crate::base::encoding::Dense;

impl Kernels {
    /// Transforms the columns of the filters of panel `index`, as far as they belong to `channels`,
    /// into the [`Winograd::columns`] rows of `dst`, `row_stride` apart: each `[channel][x][nr]`,
    /// which are [`Panels::values`] of three times the channels. Panics when a slice does not fit.
    ///
    /// [`Panels::values`]: super::super::Panels::values
    pub(crate) fn winograd_filter_columns(
        &self,
        winograd: Winograd,
        job: &PackConv<'_>,
        index: usize,
        channels: Range<usize>,
        row_stride: usize,
        dst: &mut [f32],
    ) {
        let nr = self.panels().width();
        assert!(job.taps == 9 && row_stride >= channels.len() * 3 * nr && nr <= MAX_NR);
        assert!(dst.len() >= (winograd.columns() - 1) * row_stride + channels.len() * 3 * nr);
        let gather = match job.weight.dtype {
            Dense::F32 => gather::<WeightF32>,
            Dense::F16 => gather::<WeightF16>,
            Dense::Bf16 => gather::<WeightBf16>,
            Dense::F64 => gather::<WeightF64>,
        };
        // The taps of a few channels, gathered so that filters lie side by side.
        let mut gathered = [0.0; CHANNELS * 9 * MAX_NR];
        for first in channels.clone().step_by(CHANNELS) {
            let count = CHANNELS.min(channels.end - first);
            gather(job, index, nr, first, count, &mut gathered);
            let at = (first - channels.start) * 3 * nr;
            with!(winograd, |T, TILE, OUT, TAPS| {
                self.isa.run(FilterColumns::<T, TILE, OUT, TAPS> {
                    gathered: &gathered,
                    channels: count,
                    nr,
                    row_stride,
                    dst: &mut dst[at..],
                    transform: PhantomData,
                })
            });
        }
    }

    /// Transforms a row of filters whose columns are transformed already, `src`, in a phase, into
    /// the `filters` filters of [`Winograd::row`]: a packed panel each, `[channel][nr]`,
    /// `point_stride` bytes apart in `dst`. Panics when a slice does not fit.
    pub(crate) fn winograd_filter_row(
        &self,
        winograd: Winograd,
        phase: usize,
        filters: usize,
        src: &[f32],
        point_stride: usize,
        dst: &mut [u8],
    ) {
        assert!(point_stride.is_multiple_of(size_of::<f32>()));
        let (point_stride, dst) = (point_stride / size_of::<f32>(), cast_mut::<f32>(dst));
        let nr = self.panels().width();
        let channels = src.len() / (3 * nr);
        assert!(src.len() == channels * 3 * nr && point_stride >= channels * nr);
        assert!(dst.len() >= (filters - 1) * point_stride + channels * nr);
        let shared = filters < winograd.values();
        let odd = winograd.odd(phase).1;
        with!(winograd, |T, TILE, OUT, TAPS| {
            let transform: PhantomData<T> = PhantomData;
            self.isa.run(FilterRow::<T, TILE, OUT, TAPS> {
                odd,
                shared,
                src,
                channels,
                nr,
                point_stride,
                dst,
                transform,
            });
        });
    }
}

/// Input channels whose filters are gathered at a time: a cache line or two of each filter.
const CHANNELS: usize = 8;
/// The widest panel.
const MAX_NR: usize = 32;

/// A 3-tap filter in a phase: unchanged if phases have three taps. If they have two, the even
/// outputs of a doubled input see its first tap and the sum of the others, the odd ones the sum of
/// the first two and the last.
#[inline(always)]
fn of_phase<S: Simd, const TAPS: usize>(s: S, g: [S::V; 3], odd: bool) -> [S::V; TAPS] {
    let mut taps = [g[0]; TAPS];
    if TAPS == 3 {
        taps[..3].copy_from_slice(&g);
    } else if odd {
        (taps[0], taps[1]) = (s.add(g[0], g[1]), g[2]);
    } else {
        (taps[0], taps[1]) = (g[0], s.add(g[1], g[2]));
    }
    taps
}

struct FilterColumns<'a, T, const TILE: usize, const OUT: usize, const TAPS: usize> {
    /// `[channel][tap][nr]`.
    gathered: &'a [f32],
    channels: usize,
    nr: usize,
    row_stride: usize,
    dst: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform<TILE, OUT, TAPS>, const TILE: usize, const OUT: usize, const TAPS: usize> Kernel
    for FilterColumns<'_, T, TILE, OUT, TAPS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gathered, channels, nr, row_stride, dst, .. } = self;
        let (values, parities) =
            (T::WINOGRAD.values(), T::WINOGRAD.columns() / T::WINOGRAD.values());
        for channel in 0..channels {
            for lane in (0..nr).step_by(S::LANES) {
                for x in 0..3 {
                    let tap = |y: usize| s.load(&gathered[(channel * 9 + 3 * y + x) * nr + lane..]);
                    let g = [tap(0), tap(1), tap(2)];
                    let at = (channel * 3 + x) * nr + lane;
                    for parity in 0..parities {
                        let points = T::filter(s, of_phase(s, g, parity == 1));
                        // Indices and not iterators, which would not be compiled with the
                        // instruction set.
                        #[allow(clippy::needless_range_loop)]
                        for y in 0..values {
                            s.store(points[y], &mut dst[(parity * values + y) * row_stride + at..]);
                        }
                    }
                }
            }
        }
    }
}

struct FilterRow<'a, T, const TILE: usize, const OUT: usize, const TAPS: usize> {
    odd: bool,
    /// Whether the phase shares the point 1 with the one before.
    shared: bool,
    src: &'a [f32],
    channels: usize,
    nr: usize,
    point_stride: usize,
    dst: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform<TILE, OUT, TAPS>, const TILE: usize, const OUT: usize, const TAPS: usize> Kernel
    for FilterRow<'_, T, TILE, OUT, TAPS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { odd, shared, src, channels, nr, point_stride, dst, .. } = self;
        let values = T::WINOGRAD.values();
        for channel in 0..channels {
            for lane in (0..nr).step_by(S::LANES) {
                let from = &src[channel * 3 * nr + lane..];
                let g = [s.load(from), s.load(&from[nr..]), s.load(&from[2 * nr..])];
                let points = T::filter(s, of_phase(s, g, odd));
                let mut at = channel * nr + lane;
                #[allow(clippy::needless_range_loop)]
                for x in 0..values {
                    if !(shared && x == ONE) {
                        s.store(points[x], &mut dst[at..]);
                        at += point_stride;
                    }
                }
            }
        }
    }
}
