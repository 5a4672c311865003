//! Kernels of every level of this processor against the portable ones, on a case that bytes choose.

use half::{bf16, f16};

use super::layer::{Layer, layer};
use crate::arch::Level;
use crate::backend::Act;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast_mut};
use crate::kernels::{AffineAct, Epilogue, Gemm, Init, Kernels, Prefetch, Softmax, Store, Sum};

/// What no kernel computes.
const GUARD: f32 = 12_345.678;
/// Guards on either side of an output.
const MARGIN: usize = 40;

/// Runs the kernel that the first byte chooses, on sizes and values of the others.
///
/// # Panics
/// Where a level gives other values than the portable one, beyond rounding, or writes beside its
/// output.
pub fn compare(bytes: &[u8]) {
    let mut case = Case(bytes);
    let kernels = Level::available().into_iter().map(|level| Kernels::new(level).expect("its own"));
    let kernels: Vec<_> = kernels.collect();
    match case.below(6) {
        0 => gemm(&mut case, &kernels),
        1 => affine_act(&mut case, &kernels),
        2 => store(&mut case, &kernels),
        3 => softmax(&mut case, &kernels),
        4 => scale_rows(&mut case, &kernels),
        _ => convolution(&mut case, &kernels),
    }
}

/// Bytes as decisions; zeros where there are none left.
struct Case<'a>(&'a [u8]);

impl Case<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Values of the bytes that are left, repeated with changes: finite ones, of any size where the
    /// first byte says so.
    fn values(&mut self, n: usize) -> Vec<f32> {
        let scale = [1.0, 1.0, 8.0, 300.0, 1e-6, 1e4][self.below(6)];
        let mut mixed = 1_u32;
        let mut value = || {
            mixed = (mixed ^ u32::from(self.byte())).wrapping_mul(0x9e37_79b9);
            ((mixed >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        (0..n).map(|_| value()).collect()
    }
}

/// An output of rows with guards around it and in the gaps.
struct Guarded {
    all: Vec<f32>,
    shape: (usize, usize, usize),
}

impl Guarded {
    /// `rows` rows of `columns` columns, `stride` apart.
    fn new(rows: usize, columns: usize, stride: usize) -> Self {
        let all = vec![GUARD; 2 * MARGIN + (rows - 1) * stride + columns];
        Self { all, shape: (rows, columns, stride) }
    }

    fn of(values: &[f32], rows: usize, columns: usize, stride: usize) -> Self {
        let mut guarded = Self::new(rows, columns, stride);
        let inner = guarded.inner();
        for row in 0..rows {
            inner[row * stride..][..columns].copy_from_slice(&values[row * columns..][..columns]);
        }
        guarded
    }

    fn inner(&mut self) -> &mut [f32] {
        let end = self.all.len() - MARGIN;
        &mut self.all[MARGIN..end]
    }

    /// The rows, after a look at the guards.
    fn rows(&self) -> Vec<f32> {
        let (rows, columns, stride) = self.shape;
        let mut found = Vec::with_capacity(rows * columns);
        for (at, &value) in self.all.iter().enumerate() {
            let within = at.checked_sub(MARGIN).filter(|at| at / stride < rows);
            if within.is_some_and(|at| at % stride < columns) {
                found.push(value);
            } else {
                assert!(value == GUARD, "{value} written at {at}, beside {:?}", self.shape);
            }
        }
        found
    }
}

/// Asserts that each level has what the first, the portable one, has, within `tolerance(i)`.
fn agree(found: &[(Level, Vec<f32>)], tolerance: impl Fn(usize) -> f32) {
    let (_, expected) = &found[0];
    for (level, found) in &found[1..] {
        assert_eq!(found.len(), expected.len());
        for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            let near = (found - expected).abs() <= tolerance(i);
            assert!(same || near, "{level}: {found} at {i}, {expected} at the portable level");
        }
    }
}

fn gemm(case: &mut Case<'_>, kernels: &[Kernels]) {
    let (rows, columns, depth) = (1 + case.below(40), 1 + case.below(100), 1 + case.below(160));
    let taps: Vec<usize> = (0..=case.below(4)).map(|_| case.below(9)).collect();
    let (gap, way) = (case.below(5), case.below(3));
    let far = taps.iter().copied().max().unwrap_or(0);
    let stride = depth + gap;
    let a = case.values((rows - 1) * stride + far + depth);
    let b = case.values(taps.len() * depth * columns);
    let before = case.values(rows.max(1) * columns);
    let run = |kernels: &Kernels| {
        let panels = kernels.panels();
        let filled = panels.filled(columns);
        let k = taps.len() * depth;
        let mut packed = AlignedBuf::zeroed(panels.bytes(k, columns), "a packed operand").unwrap();
        kernels.pack_rows(Elements::F32(&b), columns, k, columns, &mut packed);
        let mut bias = before[..columns].to_vec();
        bias.resize(filled, 0.0);
        let mut wide = vec![0.0; rows * filled];
        for row in 0..rows {
            wide[row * filled..][..columns].copy_from_slice(&before[row * columns..][..columns]);
        }
        let mut c = Guarded::of(&wide, rows, filled, filled + gap);
        let init = match way {
            0 => Init::Zero,
            1 => Init::Bias(&bias),
            _ => Init::Keep,
        };
        let job = Gemm {
            a: &a,
            a_stride: stride,
            rows,
            taps: &taps,
            depth,
            b: &packed,
            columns,
            init,
            c_stride: filled + gap,
            prefetch: Prefetch::Panel,
        };
        kernels.gemm(&job, c.inner());
        let all = c.rows();
        let rows = all.chunks_exact(filled).flat_map(|row| row[..columns].to_vec());
        (kernels.level(), rows.collect())
    };
    let found: Vec<_> = kernels.iter().map(run).collect();
    // Of the sum of the products' sizes.
    let size = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        let mut size = before[i].abs() + before[column].abs();
        for (tap, &offset) in taps.iter().enumerate() {
            for k in 0..depth {
                let factor = b[(tap * depth + k) * columns + column];
                size += (a[row * stride + offset + k] * factor).abs();
            }
        }
        size * 2e-6
    };
    agree(&found, size);
}

fn affine_act(case: &mut Case<'_>, kernels: &[Kernels]) {
    const ACTS: [Option<Act>; 6] = [
        None,
        Some(Act::Silu),
        Some(Act::Mish),
        Some(Act::Gelu),
        Some(Act::Relu),
        Some(Act::SoftClamp),
    ];
    let (pixels, channels) = (1 + case.below(20), 1 + case.below(140));
    let (src_stride, dst_stride) = (channels + case.below(8), channels + case.below(8));
    let (act, kind, with) = (ACTS[case.below(6)], case.below(3), case.flag());
    let values = case.values((pixels - 1) * src_stride + channels);
    let (scale, shift) = (case.values(channels), case.values(channels));
    let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
    let brains: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
    let run = |kernels: &Kernels| {
        let src = [Elements::F32(&values), Elements::F16(&halves), Elements::Bf16(&brains)][kind];
        let affine = with.then_some((&scale[..], &shift[..]));
        let job = AffineAct { src, src_stride, pixels, channels, affine, act, dst_stride };
        let mut dst = Guarded::new(pixels, channels, dst_stride);
        kernels.affine_act(&job, dst.inner());
        (kernels.level(), dst.rows())
    };
    let found: Vec<_> = kernels.iter().map(run).collect();
    let size = |i: usize| {
        let (pixel, channel) = (i / channels, i % channels);
        let value = values[pixel * src_stride + channel].abs();
        let affine = if with { value * scale[channel].abs() + shift[channel].abs() } else { value };
        4e-6 * affine.max(1.0)
    };
    agree(&found, size);
}

fn store(case: &mut Case<'_>, kernels: &[Kernels]) {
    let (pixels, channels) = (1 + case.below(20), 1 + case.below(140));
    let (acc_stride, gap) = (channels + case.below(8), case.below(8));
    let (kind, way) = (case.below(3), case.below(3));
    let (residual, stream) = (case.flag(), case.flag());
    // Streams need lines that are aligned.
    let stride = if stream { channels.next_multiple_of(16) + 16 } else { channels + gap };
    let acc = case.values((pixels - 1) * acc_stride + channels);
    let before = case.values(pixels * stride);
    let epilogue = [Epilogue::None, Epilogue::Act(Act::Relu), Epilogue::Signed][way];
    let run = |kernels: &Kernels| {
        let job = Store {
            acc: &acc,
            acc_stride,
            pixels,
            channels,
            residual,
            epilogue,
            stream,
            dst_stride: stride,
        };
        let mut sums = vec![Sum::default(); channels];
        let mut memory = AlignedBuf::zeroed(before.len() * 4, "activations").unwrap();
        let values: Vec<f32> = match kind {
            0 => {
                let dst: &mut [f32] = cast_mut(&mut memory);
                dst.copy_from_slice(&before);
                kernels.store(&job, ElementsMut::F32(dst), Some(&mut sums));
                dst.to_vec()
            }
            1 => {
                let mut dst: Vec<f16> = before.iter().map(|&v| f16::from_f32(v)).collect();
                kernels.store(&job, ElementsMut::F16(&mut dst), Some(&mut sums));
                dst.iter().map(|v| v.to_f32()).collect()
            }
            _ => {
                let mut dst: Vec<bf16> = before.iter().map(|&v| bf16::from_f32(v)).collect();
                kernels.store(&job, ElementsMut::Bf16(&mut dst), Some(&mut sums));
                dst.iter().map(|v| v.to_f32()).collect()
            }
        };
        (kernels.level(), values, sums)
    };
    let found: Vec<_> = kernels.iter().map(run).collect();
    // A sum of products may be fused or not: the last bit of what is then rounded.
    let round = [1e-6, 1e-3, 8e-3][kind];
    let values: Vec<_> = found.iter().map(|(level, values, _)| (*level, values.clone())).collect();
    agree(&values, |i| round * (values[0].1[i].abs() + f32::MIN_POSITIVE));
    for (level, _, sums) in &found {
        for (found, expected) in sums.iter().zip(&found[0].2) {
            let near = |found: f64, expected: f64, scale: f64| {
                (found - expected).abs() <= f64::from(round) * scale || found == expected
            };
            let scale = expected.square.sqrt() * pixels as f64 + f64::MIN_POSITIVE;
            assert!(near(found.sum, expected.sum, scale), "{level}: {found:?} {expected:?}");
            let scale = 2.0 * expected.square + f64::MIN_POSITIVE;
            assert!(near(found.square, expected.square, scale), "{level}: {found:?} {expected:?}");
        }
    }
}

fn softmax(case: &mut Case<'_>, kernels: &[Kernels]) {
    let (rows, columns, gap) = (1 + case.below(6), 1 + case.below(100), case.below(8));
    let (scale, blocks) = (0.01 + case.below(100) as f32 / 50.0, 1 + case.below(3));
    let scores = case.values(blocks * rows * columns);
    let run = |kernels: &Kernels| {
        let (mut maximum, mut sum) = (vec![f32::NEG_INFINITY; rows], vec![0.0; rows]);
        let mut all = Vec::new();
        for block in scores.chunks_exact(rows * columns) {
            let job = Softmax { rows, columns, stride: columns + gap, scale };
            let mut values = Guarded::of(block, rows, columns, columns + gap);
            let mut correction = vec![0.0; rows];
            let inner = values.inner();
            kernels.softmax_update(&job, inner, &mut maximum, &mut sum, &mut correction);
            all.extend(values.rows());
            all.extend(correction);
        }
        all.extend(maximum);
        all.extend(sum);
        (kernels.level(), all)
    };
    let found: Vec<_> = kernels.iter().map(run).collect();
    // A score is known to a part of itself, and its exponential to that part of one.
    let largest = scores.iter().fold(1.0_f32, |most, score| most.max((score * scale).abs()));
    let tolerance = 4e-6 * largest * columns as f32;
    agree(&found, |_| tolerance.max(1e-5));
}

fn scale_rows(case: &mut Case<'_>, kernels: &[Kernels]) {
    let (rows, columns, gap) = (1 + case.below(8), 1 + case.below(140), case.below(8));
    let (values, factors) = (case.values(rows * columns), case.values(rows));
    let run = |kernels: &Kernels| {
        let mut scaled = Guarded::of(&values, rows, columns, columns + gap);
        kernels.scale_rows(scaled.inner(), rows, columns, columns + gap, &factors);
        (kernels.level(), scaled.rows())
    };
    agree(&kernels.iter().map(run).collect::<Vec<_>>(), |_| 0.0);
}

/// A convolution of any way that one is computed, against its definition in f64.
fn convolution(case: &mut Case<'_>, kernels: &[Kernels]) {
    let resample = [0, 1, -1][case.below(3)];
    let kernel = if resample == 0 && case.flag() { 1 } else { 3 };
    let (from, to) = (1 + case.below(72), 1 + case.below(72));
    let size = 2 * (1 + case.below(20));
    let (residual, threads) = (false, 1 + case.below(3));
    let shape = Layer { size, from, to, kernel, resample, residual };
    for kernels in kernels {
        let level = kernels.level();
        let (operator, error) = layer(shape, level, threads, 1).expect("a convolution");
        let error = error.expect("one without a residual has an error");
        assert!(error < 3e-5, "{level}: {error} of {shape:?}, {operator:?}");
    }
}
