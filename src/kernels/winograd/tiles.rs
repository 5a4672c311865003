//! Tiles between the pixels and the points: inputs on their way there, products on their way back.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::super::Kernels;
use super::transform::{Transform, with};
use super::variant::Winograd;
use crate::arch::isa::{Kernel, Simd};

/// A rectangle of tiles in a band of channels-last pixels.
#[derive(Clone, Copy)]
pub(crate) struct TileShape {
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

impl TileShape {
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
    /// Transforms the tiles of `src`, pixels, into `dst`, points. Panics when a slice is too short.
    pub(crate) fn winograd_input(
        &self,
        winograd: Winograd,
        tiles: &TileShape,
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

    /// Transforms the points in `src` into the tiles of `dst`, pixels of one phase, and adds the
    /// bias of each channel. Panics when a slice is too short.
    pub(crate) fn winograd_output(
        &self,
        winograd: Winograd,
        tiles: &TileShape,
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

/// Row `y` of transformed columns. They are written one by one and not as an array of zeros first,
/// which would cost as much as a transform. Nor are they made by `array::from_fn`: its closures may
/// be compiled without the instruction set.
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
    tiles: &'a TileShape,
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
        let TileShape { down, across, row_stride, pixel_stride, .. } = *tiles;
        let zero = s.splat(0.0);
        for tile in 0..down * across {
            let (y0, x0) = (tile / across * step, tile % across * step);
            for channel in (0..tiles.channels).step_by(S::LANES) {
                // SAFETY: `Kernels::winograd_input` checked that all pixels of all tiles lie in
                // `src` and all their points in `dst`.
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
    tiles: &'a TileShape,
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
        let TileShape { down, across, row_stride, pixel_stride, .. } = *tiles;
        let zero = s.splat(0.0);
        for tile in 0..down * across {
            let (y0, x0) = (tile / across * OUT, tile % across * OUT);
            for channel in (0..tiles.channels).step_by(S::LANES) {
                let bias = s.load(&bias[channel..]);
                // SAFETY: `Kernels::winograd_output` checked that all points of all tiles lie in
                // `src` and all their pixels in `dst`.
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
