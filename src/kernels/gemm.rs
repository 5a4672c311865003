//! Matrix multiplication of unpacked rows by packed panels.
//!
//! The first operand is read in place: row `i` at tap `t` is the run of `depth` values from
//! `a[i * a_stride + taps[t]]`. With the pixels of a padded band as rows and the offsets of a
//! filter's taps this is a convolution, with a single tap at 0 a matrix product.
//!
//! ```text
//! LOOP 3: panels of nr columns of b            a panel comes from the second- or third-level cache
//! LOOP 2:     tiles of at most TILE_ROWS rows  the panel stays in the second-level cache
//! LOOP 1:         taps, and their values       a tile of c in registers, b streams by
//! ```
//!
//! Each value of `c` is the sum of chains of `CHAIN` fused multiply-adds over taps and depth in
//! order, whatever tile it falls into, so that the way rows are cut moves no bit. Short chains
//! round less: over 512 channels the error is half that of one chain.

use super::Kernels;
use crate::arch::Isa;
use crate::arch::isa::{Kernel, Simd};
use crate::base::buffer::cast;

/// `c[i][j] = init + sum of a[i * a_stride + taps[t] + k] * b[t * depth + k][j]`, over all taps `t`
/// and all `k` below `depth`.
pub(crate) struct Gemm<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) a_stride: usize,
    pub(crate) rows: usize,
    pub(crate) taps: &'a [usize],
    pub(crate) depth: usize,
    /// `taps * depth` rows of `columns` columns, packed as [`Panels`](super::Panels).
    pub(crate) b: &'a [u8],
    pub(crate) columns: usize,
    pub(crate) init: Init<'a>,
    /// Values from one row of `c` to the next: the columns padded to whole panels, or more.
    pub(crate) c_stride: usize,
    /// Data read next from far away: prefetched to the second-level cache, evenly over the product.
    pub(crate) prefetch: Prefetch<'a>,
}

/// The data that a product prefetches for later.
#[derive(Clone, Copy)]
pub(crate) enum Prefetch<'a> {
    /// The panel of `b` after the current one.
    Panel,
    Values(&'a [f32]),
}

/// The initial value of the sums.
#[derive(Clone, Copy)]
pub(crate) enum Init<'a> {
    Zero,
    /// A value for each column, padded to whole panels.
    Bias(&'a [f32]),
    /// The values of `c`.
    Keep,
}

impl Kernels {
    /// Multiplies into `c`. Panics if a slice is too short for `gemm`.
    pub(crate) fn gemm(&self, gemm: &Gemm<'_>, c: &mut [f32]) {
        let panels = self.panels();
        let columns = panels.filled(gemm.columns);
        assert!(gemm.rows > 0 && columns > 0 && gemm.depth > 0 && !gemm.taps.is_empty());
        let furthest = gemm.taps.iter().copied().max().unwrap_or(0);
        assert!((gemm.rows - 1) * gemm.a_stride + furthest + gemm.depth <= gemm.a.len());
        assert!(gemm.b.len() >= panels.bytes(gemm.taps.len() * gemm.depth, columns));
        assert!(gemm.c_stride >= columns && (gemm.rows - 1) * gemm.c_stride + columns <= c.len());
        if let Init::Bias(bias) = gemm.init {
            assert!(bias.len() >= columns);
        }
        if matches!(self.isa, Isa::Scalar(_)) {
            portable(gemm, panels.width(), c);
        } else {
            // SAFETY: the lengths are checked above.
            self.isa.run(unsafe { RegisterTiles::new(gemm, c) });
        }
    }
}

/// The product at the portable level, by `matrixmultiply`: a call for each tap and panel, which
/// adds to `c`. Its result for a row does not depend on the other rows.
fn portable(gemm: &Gemm<'_>, nr: usize, c: &mut [f32]) {
    let panels = gemm.columns.div_ceil(nr);
    for row in 0..gemm.rows {
        let row = &mut c[row * gemm.c_stride..][..panels * nr];
        match gemm.init {
            Init::Zero => row.fill(0.0),
            Init::Bias(bias) => row.copy_from_slice(&bias[..row.len()]),
            Init::Keep => {}
        }
    }
    let panel = gemm.taps.len() * gemm.depth * nr;
    for (index, b) in cast(gemm.b).chunks_exact(panel).take(panels).enumerate() {
        for (&tap, b) in gemm.taps.iter().zip(b.chunks_exact(gemm.depth * nr)) {
            let (a, c) = (&gemm.a[tap..], &mut c[index * nr..]);
            // SAFETY: `rows` rows of `depth` values `a_stride` apart lie in `a`, `depth` rows of
            // `nr` in `b`, and `rows` rows of `nr` values `c_stride` apart in `c`: checked by the
            // caller.
            unsafe {
                matrixmultiply::sgemm(
                    gemm.rows,
                    gemm.depth,
                    nr,
                    1.0,
                    a.as_ptr(),
                    gemm.a_stride as isize,
                    1,
                    b.as_ptr(),
                    nr as isize,
                    1,
                    1.0,
                    c.as_mut_ptr(),
                    gemm.c_stride as isize,
                    1,
                );
            }
        }
    }
}

/// The blocked product over vectors.
struct RegisterTiles<'a> {
    gemm: &'a Gemm<'a>,
    c: *mut f32,
}

impl<'a> RegisterTiles<'a> {
    /// # Safety
    /// All that `gemm` names lies within its slices, and within `c`.
    unsafe fn new(gemm: &'a Gemm<'a>, c: &'a mut [f32]) -> Self {
        Self { gemm, c: c.as_mut_ptr() }
    }
}

impl Kernel for RegisterTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gemm { a, a_stride, rows, taps, depth, b, columns, init, c_stride, prefetch } =
            *self.gemm;
        let b: &[f32] = cast(b);
        let nr = S::TILE_COLUMNS;
        assert_eq!(nr, 2 * S::LANES);
        let panels = columns.div_ceil(nr);
        // Register tiles of one height or one less: none is left with a row or two, which would run
        // at the latency of its few chains of multiply-adds.
        let tiles = rows.div_ceil(S::TILE_ROWS);
        let (height, taller) = (rows / tiles, rows % tiles);
        let panel_len = taps.len() * depth * nr;
        for panel in 0..panels {
            let mut row = 0;
            for tile in 0..tiles {
                let height = height + usize::from(tile < taller);
                let (next, next_step) = match prefetch {
                    Prefetch::Panel => {
                        let next = panel_len * (panel + 1) + panel_len / tiles * tile;
                        (b.as_ptr().wrapping_add(next), nr / tiles)
                    }
                    Prefetch::Values(values) => {
                        let depth = taps.len() * depth;
                        let step = values.len().div_ceil(panels * tiles * depth);
                        let next = (panel * tiles + tile) * depth * step;
                        (values.as_ptr().wrapping_add(next), step)
                    }
                };
                // SAFETY: `RegisterTiles::new` promised that rows, taps and panels lie within the
                // slices.
                unsafe {
                    let job = RegisterTile {
                        a: a.as_ptr().add(row * a_stride),
                        a_stride,
                        taps,
                        depth,
                        b: b.as_ptr().add(panel * panel_len),
                        next,
                        next_step,
                        init: match init {
                            Init::Zero => TileInit::Zero,
                            Init::Bias(bias) => TileInit::Bias(bias.as_ptr().add(panel * nr)),
                            Init::Keep => TileInit::Keep,
                        },
                        c: self.c.add(row * c_stride + panel * nr),
                        c_stride,
                    };
                    job.run(s, height);
                }
                row += height;
            }
        }
    }
}

/// One register tile.
#[derive(Clone, Copy)]
struct RegisterTile<'a> {
    a: *const f32,
    a_stride: usize,
    taps: &'a [usize],
    depth: usize,
    b: *const f32,
    /// The part of later data that this tile prefetches: its start, and values per row of `b`.
    next: *const f32,
    next_step: usize,
    init: TileInit,
    c: *mut f32,
    c_stride: usize,
}

#[derive(Clone, Copy)]
enum TileInit {
    Zero,
    Bias(*const f32),
    Keep,
}

/// Multiply-adds of a chain. 64 cost 3 to 15 % more time than 128, for a quarter less error.
const CHAIN: usize = 128;

/// Prefetch distance in values of `b`, to the first-level cache: 32 rows of the widest panel.
const PREFETCH: usize = 1024;

impl RegisterTile<'_> {
    /// # Safety
    /// The pointers are good for `height` rows, and `height` is 1 to `TILE_ROWS`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S, height: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match height {
                1 => self.rows::<S, 1>(s),
                2 => self.rows::<S, 2>(s),
                3 => self.rows::<S, 3>(s),
                4 => self.rows::<S, 4>(s),
                5 => self.rows::<S, 5>(s),
                6 => self.rows::<S, 6>(s),
                // Never reached at levels of six rows, and then not compiled either.
                7 if S::TILE_ROWS >= 7 => self.rows::<S, 7>(s),
                8 if S::TILE_ROWS >= 8 => self.rows::<S, 8>(s),
                9 if S::TILE_ROWS >= 9 => self.rows::<S, 9>(s),
                10 if S::TILE_ROWS >= 10 => self.rows::<S, 10>(s),
                11 if S::TILE_ROWS >= 11 => self.rows::<S, 11>(s),
                12 if S::TILE_ROWS >= 12 => self.rows::<S, 12>(s),
                13 if S::TILE_ROWS >= 13 => self.rows::<S, 13>(s),
                _ => unreachable!("a tile of {height} rows"),
            }
        }
    }

    /// # Safety
    /// The pointers are good for `ROWS` rows.
    #[inline(always)]
    unsafe fn rows<S: Simd, const ROWS: usize>(self, s: S) {
        let Self { a, a_stride, taps, depth, mut b, mut next, next_step, init, c, c_stride } = self;
        let lanes = S::LANES;
        // SAFETY: the caller promised the extents of `a`, `b` and `c`; a prefetch needs none.
        unsafe {
            let mut acc = [[s.splat(0.0); 2]; ROWS];
            for (row, acc) in acc.iter_mut().enumerate() {
                let from = match init {
                    TileInit::Zero => continue,
                    TileInit::Bias(bias) => bias,
                    TileInit::Keep => c.add(row * c_stride).cast_const(),
                };
                *acc = [s.load_ptr(from), s.load_ptr(from.add(lanes))];
            }
            let (mut left, mut first) = (CHAIN, true);
            for (index, &tap) in taps.iter().enumerate() {
                let mut k = 0;
                while k < depth {
                    // Three rows to a pointer: base, base + stride and base + 2 * stride are
                    // addressing modes, so that five registers reach 13 rows.
                    let mut bases = [a.add(tap + k); 5];
                    for (i, base) in bases.iter_mut().enumerate().take(ROWS.div_ceil(3)) {
                        *base = base.add(3 * i * a_stride);
                    }
                    let count = left.min(depth - k);
                    for _ in 0..count {
                        s.prefetch_second(next);
                        s.prefetch_second(next.wrapping_add(lanes));
                        next = next.wrapping_add(next_step);
                        s.prefetch(b.wrapping_add(PREFETCH));
                        s.prefetch(b.wrapping_add(PREFETCH + lanes));
                        let (b0, b1) = (s.load_ptr(b), s.load_ptr(b.add(lanes)));
                        for (row, acc) in acc.iter_mut().enumerate() {
                            let x = s.splat(*bases[row / 3].add(row % 3 * a_stride));
                            *acc = [s.fma(x, b0, acc[0]), s.fma(x, b1, acc[1])];
                        }
                        b = b.add(2 * lanes);
                        for base in &mut bases[..ROWS.div_ceil(3)] {
                            *base = base.wrapping_add(1);
                        }
                    }
                    (k, left) = (k + count, left - count);
                    let last = k == depth && index + 1 == taps.len();
                    if left == 0 || last {
                        for (row, acc) in acc.iter_mut().enumerate() {
                            let to = c.add(row * c_stride);
                            if !first {
                                acc[0] = s.add(acc[0], s.load_ptr(to));
                                acc[1] = s.add(acc[1], s.load_ptr(to.add(lanes)));
                            }
                            s.store_ptr(acc[0], to);
                            s.store_ptr(acc[1], to.add(lanes));
                            *acc = [s.splat(0.0); 2];
                        }
                        (left, first) = (CHAIN, false);
                    }
                }
            }
        }
    }
}
