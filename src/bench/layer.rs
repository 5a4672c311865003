//! A convolution by itself.

use std::ops::ControlFlow;
use std::time::Instant;

use super::number::number;
use super::operator::{Operator, method};
use crate::arch::Level;
use crate::backend::Act;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast, cast_mut};
use crate::base::encoding::Dense;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::base::weight::DenseWeight;
use crate::kernels::threads::Threads;
use crate::kernels::{Epilogue, Kernels};
use crate::ops::conv::{self, ConvInput, Filter, Geometry, Operands, Prologue, Resample};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged, Target};

/// A convolution by itself: 3x3 with GroupNorm and SiLU before it, or 1x1 without.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Rows and columns of the input.
    pub size: usize,
    /// Input channels.
    pub from: usize,
    /// Output channels.
    pub to: usize,
    /// 1 or 3.
    pub kernel: usize,
    /// Halved, kept or doubled on the way: -1, 0 or 1.
    pub resample: i8,
    /// Whether it adds to what is there.
    pub residual: bool,
}

/// Runs a layer `runs` times after a first one; gives its method and the median of the times, and
/// the error against f64: rms of the difference by rms of the result, over a few pixels. A
/// residual, which grows with each run, has none.
pub fn layer(
    layer: Layer,
    level: Level,
    threads: usize,
    runs: usize,
) -> Result<(Operator, Option<f64>)> {
    let Layer { size, from, to, kernel, .. } = layer;
    let weight: Vec<u8> =
        (0..to * from * kernel * kernel).flat_map(|i| number(i).to_le_bytes()).collect();
    let (kernels, threads) = (Kernels::new(level)?, Threads::new(threads)?);
    let filters = [Filter {
        name: "layer",
        weight: DenseWeight { bytes: &weight, dtype: Dense::F32 },
        bias: &vec![0.1; to],
        in_channels: from,
        out_channels: to,
        kernel,
    }];
    let resample = match layer.resample {
        0 => Resample::Keep,
        1 => Resample::Double,
        _ => Resample::Halve,
    };
    let input = Shape::new(size, size, from);
    let geometry = Geometry::new(input, &filters, resample.into(), usize::MAX)?;
    let normalised = kernel == 3 && resample == Resample::Keep;
    let mut source = AlignedBuf::zeroed(input.bytes(Storage::F32)?, "input")?;
    for (i, value) in cast_mut::<f32>(&mut source).iter_mut().enumerate() {
        *value = number(i);
    }
    let mut target = AlignedBuf::zeroed(geometry.output().bytes(Storage::F32)?, "output")?;
    let bytes = geometry.scratch(kernels.panels(), threads.count(), Staged::default())?;
    let mut scratch = AlignedBuf::zeroed(bytes, "scratch")?;
    let (scale, shift) = (vec![1.5; from], vec![0.1; from]);
    let operands = Operands {
        filters: &filters,
        input: ConvInput::Whole(Source::Memory(Elements::new(Storage::F32, &source))),
        input_pitch: from,
        output_pitch: to,
        prologue: normalised.then_some(Prologue {
            scale: &scale,
            shift: &shift,
            act: Some(Act::Silu),
        }),
        residual: layer.residual,
        epilogue: Epilogue::None,
        groups: if to.is_multiple_of(32) { 32 } else { 1 },
        staged: Staged::default(),
    };
    let exec = Exec { threads: &threads, kernels: &kernels };
    let job = conv::Job { geometry: &geometry, operands };
    let mut times = Vec::new();
    for _ in 0..=runs {
        let out = Target::Memory(ElementsMut::new(Storage::F32, &mut target));
        let start = Instant::now();
        let mut tick = |_, _| ControlFlow::Continue(());
        std::hint::black_box(job.run(exec, out, &mut scratch, &mut tick)?);
        times.push(start.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let (method, done) = method(&geometry);
    let operator = Operator {
        name: String::new(),
        shape: format!("{input} -> {}, {kernel}x{kernel}", geometry.output()),
        method,
        seconds: times[times.len() / 2],
        direct: geometry.multiply_adds(),
        done,
    };
    let error = (!layer.residual).then(|| error(&layer, &job, cast(&source), cast(&target)));
    Ok((operator, error))
}

/// The error of what `job` made of `source`, against the definition of the convolution in f64.
fn error(layer: &Layer, job: &conv::Job<'_>, source: &[f32], target: &[f32]) -> f64 {
    let Layer { size, from, to, kernel, resample, .. } = *layer;
    let out = match resample {
        0 => size,
        1 => size * 2,
        _ => size / 2,
    };
    let (repeat, step) = (if resample > 0 { 2 } else { 1 }, if resample < 0 { 2 } else { 1 });
    let padding = isize::from(kernel == 3 && resample >= 0);
    let input = |y: isize, x: isize, channel: usize| {
        let inside = |at: isize| usize::try_from(at).ok().filter(|&at| at < size * repeat);
        let (Some(y), Some(x)) = (inside(y), inside(x)) else { return 0.0 };
        let value = f64::from(source[((y / repeat) * size + x / repeat) * from + channel]);
        match &job.operands.prologue {
            None => value,
            Some(p) => {
                let x = value * f64::from(p.scale[channel]) + f64::from(p.shift[channel]);
                x / (1.0 + (-x).exp())
            }
        }
    };
    let (mut difference, mut total) = (0.0, 0.0);
    for sample in 0..24 {
        let (y, x) = ((sample * 7919 + 3) % out, (sample * 104_729 + sample / 6) % out);
        // A column of the matrix product: what the pixel sees.
        let mut seen = Vec::with_capacity(from * kernel * kernel);
        for channel in 0..from {
            for tap in 0..kernel * kernel {
                let at = |at: usize, tap: usize| (at * step + tap) as isize - padding;
                seen.push(input(at(y, tap / kernel), at(x, tap % kernel), channel));
            }
        }
        for channel in 0..to {
            let filter = channel * seen.len();
            let products = seen.iter().enumerate().map(|(i, v)| v * f64::from(number(filter + i)));
            let expected = f64::from(0.1_f32) + products.sum::<f64>();
            let found = f64::from(target[(y * out + x) * to + channel]);
            difference += (found - expected).powi(2);
            total += expected.powi(2);
        }
    }
    (difference / total).sqrt()
}
