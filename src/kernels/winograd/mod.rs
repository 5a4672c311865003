//! Winograd convolution: filters, inputs and outputs between the picture and the points, where a
//! convolution is one small matrix product at each point.
//!
//! A tile is a square of inputs, neighbours overlapping by a filter less one; all channels of a value lie
//! side by side. Two-dimensional transforms run over columns, then rows, a vector of channels at a time.

mod transform;

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::Kernels;
use super::convert::{StoredBf16, StoredF16, StoredF32, StoredF64};
use super::pack::PackConv;
use crate::arch::isa::{Kernel, Simd};
use crate::base::encoding::Encoding;
use transform::{F4x3, F5x2, F5x3By2, F6x3, F8x3, Transform};

/// Where the transforms have the point 1.
const ONE: usize = 1;

/// A variant for 3x3 filters, by what a tile gives and takes in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Winograd {
    /// F(4x4, 3x3): 36 multiplications for 16 outputs.
    F4,
    /// F(6x6, 3x3): 64 multiplications for 36 outputs.
    F6,
    /// F(8x8, 3x3): 100 multiplications for 64 outputs.
    F8,
    /// A picture doubled by repetition. Even and odd output rows each see two input rows, through filters
    /// whose rows are sums of the 3x3 filter's, and likewise columns: four phases F(5x5, 2x2) on the
    /// picture as it was, which share the inputs of a tile. At the point 1 a filter is the sum of its
    /// taps, which even and odd phases have in common, and so their products: 126 multiplications for
    /// 100 outputs instead of 144.
    Doubled,
    /// A picture halved by stride 2. In each direction, even inputs meet a filter's first and last tap,
    /// which is F(5, 2), and odd ones its middle tap, which is a product for each output: 121
    /// multiplications for 25 outputs instead of 225.
    Halved,
}

impl Winograd {
    /// Outputs of a tile, which is also the distance between tiles in the output.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F6 => 6,
            Self::F8 => 8,
            Self::Doubled => 10,
            Self::Halved => 5,
        }
    }

    /// Inputs of a tile.
    pub(crate) const fn inputs(self) -> usize {
        match self {
            Self::F4 | Self::Doubled => 6,
            Self::F6 => 8,
            Self::F8 => 10,
            Self::Halved => 11,
        }
    }

    /// The distance between tiles in the input.
    pub(crate) const fn step(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F6 => 6,
            Self::F8 => 8,
            Self::Doubled => 5,
            Self::Halved => 10,
        }
    }

    /// Outputs of the first tile that lie before the picture: those of the odd phase begin one row
    /// earlier, as that makes both phases of a tile see the same inputs.
    pub(crate) const fn origin(self) -> usize {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => 0,
            Self::Doubled => 1,
        }
    }

    /// Points, each with a matrix product of its own in each phase.
    pub(crate) const fn points(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// Sets of filters, each with outputs of its own.
    pub(crate) const fn phases(self) -> usize {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => 1,
            Self::Doubled => 4,
        }
    }

    /// Whether a phase is that of the odd rows and that of the odd columns. From a phase to the next only
    /// one of the two changes.
    const fn odd(self, phase: usize) -> (bool, bool) {
        (phase >= 2, phase == 1 || phase == 2)
    }

    /// In the output, rows and columns between the outputs of a phase, and those before its first one.
    pub(crate) const fn phase(self, index: usize) -> (usize, (usize, usize)) {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => (1, (0, 0)),
            Self::Doubled => {
                let (odd_row, odd_column) = self.odd(index);
                (2, (1 - odd_row as usize, 1 - odd_column as usize))
            }
        }
    }

    /// Values of a transformed filter in each direction: one for each input of a tile, but where the
    /// picture is halved all odd inputs meet the same.
    pub(crate) const fn values(self) -> usize {
        match self {
            Self::Halved => 7,
            _ => self.inputs(),
        }
    }

    /// Transformed filters of all phases.
    pub(crate) const fn filters(self) -> usize {
        let (phases, values) = (self.phases(), self.values());
        phases * values * values - (phases - 1) * values
    }

    /// Which transformed filter meets a point in a phase. None where the product is the same as in the
    /// phase before: at the point 1 of the direction in which the two differ.
    pub(crate) const fn filter(self, phase: usize, point: usize) -> Option<usize> {
        let (y, x) = (point / self.inputs(), point % self.inputs());
        let values = self.values();
        if let Self::Halved = self {
            let y = if y < values { y } else { values - 1 };
            let x = if x < values { x } else { values - 1 };
            return Some(y * values + x);
        }
        let (shared, before) = match phase {
            0 => return Some(point),
            2 => (y == ONE, if y > ONE { values } else { 0 }),
            _ => (x == ONE, y + (x > ONE) as usize),
        };
        let first = phase * self.points() - (phase - 1) * values;
        if shared { None } else { Some(first + point - before) }
    }

    /// The transformed filters that a row of points meets in a phase, one after the other.
    pub(crate) fn row(self, phase: usize, y: usize) -> Option<Range<usize>> {
        let first = self.filter(phase, y * self.inputs())?;
        let last = self.filter(phase, (y + 1) * self.inputs() - 1)?;
        Some(first..last + 1)
    }

    /// All rows of transformed filters: the phase, the row and what [`Winograd::row`] says.
    pub(crate) fn rows(self) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        (0..self.phases()).flat_map(move |phase| {
            let row = move |y| self.row(phase, y).map(|filters| (phase, y, filters));
            (0..self.values()).filter_map(row)
        })
    }

    /// Which of the [`Winograd::columns`] a row of transformed filters is made of.
    pub(crate) const fn column(self, phase: usize, y: usize) -> usize {
        let first =
            if self.odd(phase).0 && self.columns() > self.values() { self.values() } else { 0 };
        first + if y < self.values() { y } else { self.values() - 1 }
    }

    /// Rows of filters whose columns are transformed: those of even phases, then those of odd ones.
    pub(crate) const fn columns(self) -> usize {
        match self {
            Self::Doubled => 2 * self.values(),
            _ => self.values(),
        }
    }

    /// Products of all phases that are not shared.
    pub(crate) const fn products(self) -> usize {
        self.phases() * self.points() - (self.phases() - 1) * self.inputs()
    }
}

/// Calls `$body` with `$T` the transform of a variant, and its numbers.
macro_rules! with {
    ($winograd:expr, |$T:ident, $TILE:ident, $OUT:ident, $TAPS:ident| $body:expr) => {
        match $winograd {
            Winograd::F4 => {
                type $T = F4x3;
                const $TILE: usize = 6;
                const $OUT: usize = 4;
                const $TAPS: usize = 3;
                $body
            }
            Winograd::F6 => {
                type $T = F6x3;
                const $TILE: usize = 8;
                const $OUT: usize = 6;
                const $TAPS: usize = 3;
                $body
            }
            Winograd::F8 => {
                type $T = F8x3;
                const $TILE: usize = 10;
                const $OUT: usize = 8;
                const $TAPS: usize = 3;
                $body
            }
            Winograd::Doubled => {
                type $T = F5x2;
                const $TILE: usize = 6;
                const $OUT: usize = 5;
                const $TAPS: usize = 2;
                $body
            }
            Winograd::Halved => {
                type $T = F5x3By2;
                const $TILE: usize = 11;
                const $OUT: usize = 5;
                const $TAPS: usize = 3;
                $body
            }
        }
    };
}

/// A rectangle of tiles in a band of channels-last pixels.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub(crate) down: usize,
    pub(crate) across: usize,
    /// Values from a pixel to the one below, and to the one on its right.
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
    /// Values from a tile to the next, and from a point to the next, among the points.
    pub(crate) tile_stride: usize,
    pub(crate) point_stride: usize,
    /// Channels, a multiple of 16.
    pub(crate) channels: usize,
}

impl Tiles {
    /// Values of pixels that `size` pixels a tile, `step` apart, reach.
    fn pixels(&self, size: usize, step: usize) -> usize {
        ((self.down - 1) * step + size - 1) * self.row_stride
            + ((self.across - 1) * step + size - 1) * self.pixel_stride
            + self.channels
    }

    fn points(&self, points: usize) -> usize {
        (points - 1) * self.point_stride
            + (self.down * self.across - 1) * self.tile_stride
            + self.channels
    }

    fn check(&self) {
        assert!(self.down > 0 && self.across > 0 && self.channels > 0);
        assert!(self.channels.is_multiple_of(16));
    }
}

impl Kernels {
    /// Transforms the columns of the filters of panel `index`, as far as they belong to `channels`:
    /// `dst[row * row_stride + (channel * 3 + x) * nr + column]`, [`Winograd::columns`] rows. Panics when a
    /// slice does not fit.
    pub(crate) fn winograd_filter_columns(
        &self,
        winograd: Winograd,
        job: &PackConv<'_>,
        (index, channels): (usize, Range<usize>),
        row_stride: usize,
        dst: &mut [f32],
    ) {
        let nr = self.nr();
        assert!(job.taps == 9 && row_stride >= channels.len() * 3 * nr && nr <= MAX_NR);
        assert!(dst.len() >= (winograd.columns() - 1) * row_stride + channels.len() * 3 * nr);
        let gather = match job.dtype {
            Encoding::F32 => super::pack::gather::<StoredF32>,
            Encoding::F16 => super::pack::gather::<StoredF16>,
            Encoding::Bf16 => super::pack::gather::<StoredBf16>,
            Encoding::F64 => super::pack::gather::<StoredF64>,
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

    /// Transforms a row of filters whose columns are transformed already, `src[(channel * 3 + x) * nr +
    /// column]`, of a phase: `dst[filter * point_stride + channel * nr + column]`, the filters of
    /// [`Winograd::row`]. Panics when a slice does not fit.
    pub(crate) fn winograd_filter_row(
        &self,
        winograd: Winograd,
        (phase, filters): (usize, usize),
        src: &[f32],
        point_stride: usize,
        dst: &mut [f32],
    ) {
        let nr = self.nr();
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

    /// Transforms the tiles of `src`, pixels, into `dst`, points. Panics when a slice is too short.
    pub(crate) fn winograd_input(
        &self,
        winograd: Winograd,
        tiles: &Tiles,
        src: &[f32],
        dst: &mut [f32],
    ) {
        tiles.check();
        assert!(src.len() >= tiles.pixels(winograd.inputs(), winograd.step()));
        assert!(dst.len() >= tiles.points(winograd.points()));
        with!(winograd, |T, TILE, OUT, TAPS| {
            let transform: PhantomData<T> = PhantomData;
            let step = winograd.step();
            self.isa.run(Inputs::<T, TILE, OUT, TAPS> { step, tiles, src, dst, transform });
        });
    }

    /// Transforms the points in `src` into the tiles of `dst`, pixels of one phase, and adds the bias of
    /// each channel. Panics when a slice is too short.
    pub(crate) fn winograd_output(
        &self,
        winograd: Winograd,
        tiles: &Tiles,
        src: &[f32],
        bias: &[f32],
        dst: &mut [f32],
    ) {
        tiles.check();
        assert!(src.len() >= tiles.points(winograd.points()));
        assert!(bias.len() >= tiles.channels);
        with!(winograd, |T, TILE, OUT, TAPS| {
            assert!(dst.len() >= tiles.pixels(OUT, OUT));
            let transform: PhantomData<T> = PhantomData;
            self.isa.run(Outputs::<T, TILE, OUT, TAPS> { tiles, src, bias, dst, transform });
        });
    }
}

/// Input channels whose filters are gathered at a time: a cache line or two of each filter.
const CHANNELS: usize = 8;
/// The widest panel.
const MAX_NR: usize = 32;

/// A 3-tap filter as a phase sees it: as it is where the phases have three taps; where they have two,
/// the even outputs of a doubled input see its first tap and the sum of the others, the odd ones the sum
/// of the first two and the last.
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
                        // Indices and not iterators, which would not be compiled with the instruction set.
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

/// Row `y` of transformed columns. They are written one by one and not as an array of zeros first, which
/// would cost as much as a transform. Nor are they made by `array::from_fn`: its closures may be compiled
/// without the instruction set.
///
/// # Safety
/// All columns are written.
#[inline(always)]
unsafe fn row<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    s: S,
    columns: &[MaybeUninit<[S::V; ROWS]>; COLUMNS],
    y: usize,
) -> [S::V; COLUMNS] {
    let mut row = [s.splat(0.0); COLUMNS];
    for (value, column) in row.iter_mut().zip(columns) {
        // SAFETY: the caller's promise.
        *value = unsafe { column.assume_init_ref() }[y];
    }
    row
}

struct Inputs<'a, T, const TILE: usize, const OUT: usize, const TAPS: usize> {
    step: usize,
    tiles: &'a Tiles,
    src: &'a [f32],
    dst: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform<TILE, OUT, TAPS>, const TILE: usize, const OUT: usize, const TAPS: usize> Kernel
    for Inputs<'_, T, TILE, OUT, TAPS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { step, tiles, src, dst, .. } = self;
        let Tiles { down, across, row_stride, pixel_stride, .. } = *tiles;
        let zero = s.splat(0.0);
        for tile in 0..down * across {
            let (y0, x0) = (tile / across * step, tile % across * step);
            for channel in (0..tiles.channels).step_by(S::LANES) {
                // SAFETY: `Kernels::winograd_input` checked that all pixels of all tiles lie in `src` and
                // all their points in `dst`.
                unsafe {
                    let from = src.as_ptr().add(y0 * row_stride + x0 * pixel_stride + channel);
                    let to = dst.as_mut_ptr().add(tile * tiles.tile_stride + channel);
                    let mut columns = [const { MaybeUninit::uninit() }; TILE];
                    for (x, column) in columns.iter_mut().enumerate() {
                        let mut d = [zero; TILE];
                        for (y, d) in d.iter_mut().enumerate() {
                            *d = s.load_ptr(from.add(y * row_stride + x * pixel_stride));
                        }
                        column.write(T::input(s, d));
                    }
                    for y in 0..TILE {
                        let points = T::input(s, row(s, &columns, y));
                        for (x, &point) in points.iter().enumerate() {
                            s.store_ptr(point, to.add((y * TILE + x) * tiles.point_stride));
                        }
                    }
                }
            }
        }
    }
}

struct Outputs<'a, T, const TILE: usize, const OUT: usize, const TAPS: usize> {
    tiles: &'a Tiles,
    src: &'a [f32],
    bias: &'a [f32],
    dst: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform<TILE, OUT, TAPS>, const TILE: usize, const OUT: usize, const TAPS: usize> Kernel
    for Outputs<'_, T, TILE, OUT, TAPS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tiles, src, bias, dst, .. } = self;
        let Tiles { down, across, row_stride, pixel_stride, .. } = *tiles;
        let zero = s.splat(0.0);
        for tile in 0..down * across {
            let (y0, x0) = (tile / across * OUT, tile % across * OUT);
            for channel in (0..tiles.channels).step_by(S::LANES) {
                let bias = s.load(&bias[channel..]);
                // SAFETY: `Kernels::winograd_output` checked that all points of all tiles lie in `src` and
                // all their pixels in `dst`.
                unsafe {
                    let from = src.as_ptr().add(tile * tiles.tile_stride + channel);
                    let to = dst.as_mut_ptr().add(y0 * row_stride + x0 * pixel_stride + channel);
                    let mut columns = [const { MaybeUninit::uninit() }; TILE];
                    for (x, column) in columns.iter_mut().enumerate() {
                        let mut m = [zero; TILE];
                        for (y, m) in m.iter_mut().enumerate() {
                            *m = s.load_ptr(from.add((y * TILE + x) * tiles.point_stride));
                        }
                        column.write(T::output(s, m));
                    }
                    for y in 0..OUT {
                        let pixels = T::output(s, row(s, &columns, y));
                        for (x, &pixel) in pixels.iter().enumerate() {
                            let to = to.add(y * row_stride + x * pixel_stride);
                            s.store_ptr(s.add(pixel, bias), to);
                        }
                    }
                }
            }
        }
    }
}
