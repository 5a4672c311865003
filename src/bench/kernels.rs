//! Kernels by themselves, on one thread.

use std::time::Instant;

use super::number::number;
use crate::arch::Level;
use crate::backend::Act;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast, cast_mut};
use crate::base::error::Result;
use crate::kernels::{
    AffineAct, Epilogue, Gemm, Init, Kernels, Prefetch, Store, Sum, TileShape, Winograd,
};

/// A matrix product by itself.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Rows of the first operand.
    pub rows: usize,
    /// Runs of values that a row consists of.
    pub taps: usize,
    /// Values of a run.
    pub depth: usize,
    /// Columns of the second operand.
    pub columns: usize,
    /// Pairs of operands, multiplied one after the other: with 64, as in Winograd's F(6,3), they
    /// come from the third-level cache.
    pub pairs: usize,
}

/// GFLOP/s of one thread multiplying, the best of several tenths of a second.
pub fn gemm(level: Level, product: Product) -> Result<f64> {
    let Product { rows, taps, depth, columns, pairs } = product;
    let kernels = Kernels::new(level)?;
    let columns = kernels.panels().filled(columns);
    let stride = depth + 16;
    let offsets: Vec<usize> = (0..taps).map(|tap| tap * stride).collect();
    let (a_len, b_len, c_len) =
        ((rows + taps) * stride, taps * depth * columns + 16, rows * columns + 16);
    let buffer = |len: usize| AlignedBuf::zeroed(pairs * len * size_of::<f32>(), "operands");
    let (mut a, mut b, mut c) = (buffer(a_len)?, buffer(b_len)?, buffer(c_len)?);
    for operand in [&mut a, &mut b] {
        for (i, value) in cast_mut::<f32>(operand).iter_mut().enumerate() {
            *value = number(i);
        }
    }
    let (a, c) = (cast::<f32>(&a), cast_mut::<f32>(&mut c));
    let mut all = || {
        for pair in 0..pairs {
            let gemm = Gemm {
                a: &a[pair * a_len..],
                a_stride: stride,
                rows,
                taps: &offsets,
                depth,
                b: &b[pair * b_len * size_of::<f32>()..],
                columns,
                init: Init::Zero,
                c_stride: columns,
                prefetch: Prefetch::Panel,
            };
            kernels.gemm(&gemm, &mut c[pair * c_len..]);
        }
    };
    let flops = 2.0 * (rows * taps * depth * columns * pairs) as f64;
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < 0.1 {
            all();
            count += 1;
        }
        best = best.max(flops * f64::from(count) / start.elapsed().as_secs_f64() / 1e9);
    }
    Ok(best)
}

/// A pass over a block of a picture by itself: 2 by 13 tiles of F(8, 3) with 128 channels, as they
/// pass through a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// GroupNorm's scale and shift, and SiLU.
    Load,
    /// Tiles to points.
    Input,
    /// Points to tiles.
    Output,
    /// Rounding, and GroupNorm's sums.
    Store,
    /// Rounding and GroupNorm's sums, after adding the residual.
    Residual,
}

/// Nanoseconds of one thread for a value of a block's output, the best of several tenths of a
/// second.
pub fn pass(level: Level, pass: Pass) -> Result<f64> {
    const CHANNELS: usize = 128;
    const SLICE: usize = 32;
    let kernels = Kernels::new(level)?;
    let winograd = Winograd::F8;
    let (down, across) = (2, 13);
    let (rows, columns) = (down * winograd.outputs(), across * winograd.outputs());
    let (loaded, width) = (rows + 2, columns + 2);
    let buffer = |values: usize| AlignedBuf::zeroed(values * size_of::<f32>(), "a block");
    let mut pixels = buffer(loaded * width * CHANNELS)?;
    let mut other = buffer(loaded * width * CHANNELS)?;
    let mut points = buffer(winograd.points() * (down * across + 1) * (CHANNELS + 16))?;
    let pixels: &mut [f32] = cast_mut(&mut pixels);
    let other: &mut [f32] = cast_mut(&mut other);
    let points: &mut [f32] = cast_mut(&mut points);
    for (i, value) in pixels.iter_mut().enumerate() {
        *value = 4.0 * number(i);
    }
    let tiles = |channels: usize, columns: usize, tile_stride: usize| TileShape {
        down,
        across,
        row_stride: columns * channels,
        pixel_stride: channels,
        tile_stride,
        point_stride: down * across * tile_stride + 16,
        channels,
    };
    let (scale, shift) = (vec![0.9; CHANNELS], vec![0.1; CHANNELS]);
    let mut sums = vec![Sum::default(); SLICE];
    let mut run = || match pass {
        Pass::Load => {
            let job = AffineAct {
                src: Elements::F32(pixels),
                src_stride: CHANNELS,
                pixels: loaded * width,
                channels: CHANNELS,
                affine: Some((&scale, &shift)),
                act: Some(Act::Silu),
                dst_stride: CHANNELS,
            };
            kernels.affine_act(&job, other);
        }
        Pass::Input => {
            let tiles = tiles(CHANNELS, width, CHANNELS + 16);
            kernels.winograd_input(winograd, &tiles, pixels, points);
        }
        Pass::Output => {
            for slice in 0..CHANNELS / SLICE {
                let tiles = tiles(SLICE, columns, SLICE);
                let to = &mut other[slice * SLICE..];
                kernels.winograd_output(winograd, &tiles, points, &shift, to);
            }
        }
        Pass::Store | Pass::Residual => {
            for slice in 0..CHANNELS / SLICE {
                let job = Store {
                    acc: pixels,
                    acc_stride: SLICE,
                    pixels: rows * columns,
                    channels: SLICE,
                    residual: matches!(pass, Pass::Residual),
                    epilogue: Epilogue::None,
                    stream: false,
                    dst_stride: CHANNELS,
                };
                let to = ElementsMut::F32(&mut other[slice * SLICE..]);
                kernels.store(&job, to, Some(&mut sums));
            }
        }
    };
    let values = (rows * columns * CHANNELS) as f64;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < 0.1 {
            run();
            count += 1;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(count) / values * 1e9);
    }
    Ok(best)
}
