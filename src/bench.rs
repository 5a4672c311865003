#![forbid(unsafe_code)]
//! What the benches measure. No part of the interface: it changes with what it measures.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::backend::cpu::{Cpu, Memory};
use crate::backend::{Act, Attention, Backend, Conv, Region, Slot, SplitSlots};
use crate::base::buffer::{AlignedBuf, Bytes, Elements, ElementsMut, cast, cast_mut};
use crate::base::shape::Shape;
use crate::kernels::threads::Threads;
use crate::kernels::{AffineAct, Ahead, Gemm, Init, Kernels, Store, Sum, Tiles, Winograd};
use crate::model::network::{Direction, Part};
use crate::ops::conv::{self, Filter, Geometry, Input, Operands, Prologue, Resample};
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged, Target};
use crate::run::{Planned, Request, planned};
use crate::{Encoding, Level, Model, Result, SessionOptions, Storage};

/// The fused multiply-adds of `threads` threads at once, in GFLOP/s.
pub fn peak(level: Level, threads: usize) -> Result<f64> {
    let kernels = Kernels::new(level)?;
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let work = || {
        let mut flops = 0.0;
        while !stop.load(Ordering::Relaxed) {
            flops += kernels.fused_multiply_adds();
        }
        flops
    };
    let flops: f64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(std::time::Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("no panic in a loop")).sum()
    });
    Ok(flops / start.elapsed().as_secs_f64() / 1e9)
}

/// A number in [-1, 1) that looks random.
fn number(i: usize) -> f32 {
    let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x >> 40) as f32 / (1 << 23) as f32 - 1.0
}

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
                ahead: Ahead::Panel,
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
    let tiles = |channels: usize, columns: usize, tile_stride: usize| Tiles {
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
    let weight = Bytes::new(weight);
    let (kernels, threads) = (Kernels::new(level)?, Threads::new(threads)?);
    let filters = [Filter {
        name: "layer",
        weight: &weight,
        dtype: Encoding::F32,
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
    let geometry = Geometry::new(input, &filters, resample, usize::MAX)?;
    let normalised = kernel == 3 && resample == Resample::Keep;
    let mut source = AlignedBuf::zeroed(input.bytes(Storage::F32)?, "input")?;
    for (i, value) in cast_mut::<f32>(&mut source).iter_mut().enumerate() {
        *value = number(i);
    }
    let mut target = AlignedBuf::zeroed(geometry.output().bytes(Storage::F32)?, "output")?;
    let bytes = geometry.scratch(kernels.panels(), threads.count(), Staged::default())?;
    let mut scratch = AlignedBuf::zeroed(bytes, "scratch")?;
    let operands = Operands {
        filters: &filters,
        input: Input::Whole(Source::Memory(Elements::new(Storage::F32, &source))),
        input_pitch: from,
        output_pitch: to,
        prologue: normalised.then(|| Prologue {
            scale: vec![1.5; from],
            shift: vec![0.1; from],
            act: Some(Act::Silu),
        }),
        residual: layer.residual,
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
    let (method, done) = geometry.method();
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

/// One operator of a run.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its path in the network.
    pub name: String,
    /// Input and output, `height x width x channels`, and the size of the filter.
    pub shape: String,
    /// How it was computed.
    pub method: &'static str,
    /// The time it took.
    pub seconds: f64,
    /// Multiply-adds, counted as a direct convolution.
    pub direct: u64,
    /// Multiply-adds that were really done.
    pub done: u64,
}

/// The backend that computes, with a watch.
struct Watched<'c, 'a> {
    cpu: &'c mut Cpu<'a>,
    operators: Vec<Operator>,
}

impl Watched<'_, '_> {
    fn note(&mut self, conv: &Conv<'_>, input: Shape, out: Shape, seconds: f64) -> Result<()> {
        let geometry = Geometry::new(input, conv.filters, conv.resample, usize::MAX)?;
        let (method, done) = geometry.method();
        let first = &conv.filters[0];
        let shape = format!("{input} -> {out}, {}x{}", first.kernel, first.kernel);
        let (name, direct) = (first.name.to_owned(), geometry.multiply_adds());
        self.operators.push(Operator { name, shape, method, seconds, direct, done });
        Ok(())
    }
}

impl Backend for Watched<'_, '_> {
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot> {
        self.cpu.alloc(shape, dtype)
    }

    fn free(&mut self, slot: Slot) {
        self.cpu.free(slot);
    }

    fn upload(
        &mut self,
        slot: &Slot,
        row: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        self.cpu.upload(slot, row)
    }

    fn download(
        &mut self,
        slot: &Slot,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()> {
        self.cpu.download(slot, y, columns, pixels)
    }

    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()> {
        let start = Instant::now();
        self.cpu.conv(conv, input, out)?;
        self.note(conv, input.shape, out.shape, start.elapsed().as_secs_f64())
    }

    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot> {
        let (start, input) = (Instant::now(), slot.shape);
        let out = self.cpu.conv_in_place(conv, slot)?;
        self.note(conv, input, out.shape, start.elapsed().as_secs_f64())?;
        Ok(out)
    }

    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots> {
        let (start, input) = (Instant::now(), slot.shape);
        let split = self.cpu.split(conv, shortcut, slot)?;
        let seconds = start.elapsed().as_secs_f64();
        // The two as one, under the name and the method of the larger.
        self.note(shortcut, input, split.shortcut.shape, 0.0)?;
        let small = self.operators.pop();
        self.note(conv, input, split.conv.shape, seconds)?;
        if let (Some(both), Some(small)) = (self.operators.last_mut(), small) {
            both.shape.push_str(" and 1x1");
            both.direct += small.direct;
            both.done += small.done;
        }
        Ok(split)
    }

    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot> {
        self.cpu.crop(slot, region)
    }

    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()> {
        let start = Instant::now();
        self.cpu.attention(attention, out)?;
        let seconds = start.elapsed().as_secs_f64();
        let work = 2 * (out.shape.pixels() as u64).pow(2) * out.shape.channels as u64;
        self.operators.push(Operator {
            name: attention.name.to_owned(),
            shape: out.shape.to_string(),
            method: "attention",
            seconds,
            direct: work,
            done: work,
        });
        Ok(())
    }
}

/// Runs a decode (or an encode) of noise, `height` rows of `width`, and gives the time of each
/// operator.
///
/// # Errors
/// Those of [`Session::decode`](crate::Session::decode).
pub fn operators(
    model: &Model,
    options: &SessionOptions,
    encode: bool,
    height: usize,
    width: usize,
) -> Result<Vec<Operator>> {
    let direction = if encode { Direction::Encode } else { Direction::Decode };
    let network = model.network(direction)?;
    let planned = planned(model, options, Request { direction, height, width })?;
    let Planned { layout, machine, settings, strategy, .. } = planned;
    let mut arena = AlignedBuf::zeroed(layout.bytes(), "workspace")?;
    let threads = Threads::new(machine.threads)?;
    let mut progress = |_| ControlFlow::Continue(());
    let memory = Memory { arena: &mut arena, file: None, layout: &layout };
    let mut cpu = Cpu::new(machine, &threads, strategy, memory, &mut progress);
    let input = Shape::new(height, width, network.in_channels());
    let input = cpu.alloc(input, Storage::F32)?;
    cpu.upload(&input, &mut |y, row| {
        let row: &mut [f32] = cast_mut(row);
        for (i, value) in row.iter_mut().enumerate() {
            *value = number(y * width + i);
        }
        Ok(())
    })?;
    let mut watched = Watched { cpu: &mut cpu, operators: Vec::new() };
    network.run(&mut watched, Part::Whole, settings, input)?;
    Ok(watched.operators)
}
