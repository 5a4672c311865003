#![forbid(unsafe_code)]
//! What the benches measure. No part of the interface: it changes with what it measures.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::backend::cpu::Cpu;
use crate::backend::{Attention, Backend, Conv, Slot};
use crate::base::buffer::AlignedBuf;
use crate::base::shape::Shape;
use crate::kernels::threads::Threads;
use crate::kernels::{Gemm, Init, Kernels};
use crate::ops::conv::Geometry;
use crate::run::{Direction, network, planned};
use crate::{DType, Level, Model, Result, SessionOptions};

/// The fused multiply-adds of `threads` threads at once, in GFLOP/s.
pub fn peak(level: Level, threads: usize) -> f64 {
    let kernels = Kernels::new(level);
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
    flops / start.elapsed().as_secs_f64() / 1e9
}

/// GFLOP/s of one thread multiplying `rows` rows of `taps` runs of `depth` values by `columns` columns,
/// the best of several tenths of a second.
pub fn gemm(level: Level, rows: usize, taps: usize, depth: usize, columns: usize) -> f64 {
    let kernels = Kernels::new(level);
    let panels = columns.div_ceil(kernels.nr());
    let columns = panels * kernels.nr();
    let stride = depth + 16;
    let offsets: Vec<usize> = (0..taps).map(|tap| tap * stride).collect();
    let number = |i: usize| ((i * 7919) % 1024) as f32 / 512.0 - 1.0;
    let a: Vec<f32> = (0..(rows + taps) * stride).map(number).collect();
    let b: Vec<f32> = (0..taps * depth * columns).map(number).collect();
    let mut c = vec![0.0; rows * columns];
    let gemm = Gemm {
        a: &a,
        a_stride: stride,
        rows,
        taps: &offsets,
        depth,
        b: &b,
        panels,
        init: Init::Zero,
        c_stride: columns,
    };
    let flops = 2.0 * (rows * taps * depth * columns) as f64;
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < 0.1 {
            kernels.gemm(&gemm, &mut c);
            count += 1;
        }
        best = best.max(flops * f64::from(count) / start.elapsed().as_secs_f64() / 1e9);
    }
    best
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
        let geometry = Geometry::new(input, conv.filters, conv.resample)?;
        let (method, done) = geometry.method();
        let first = &conv.filters[0];
        let shape = format!("{input} -> {out}, {}x{}", first.kernel, first.kernel);
        let (name, direct) = (first.name.to_owned(), geometry.multiply_adds());
        self.operators.push(Operator { name, shape, method, seconds, direct, done });
        Ok(())
    }
}

impl Backend for Watched<'_, '_> {
    fn alloc(&mut self, shape: Shape, dtype: DType) -> Result<Slot> {
        self.cpu.alloc(shape, dtype)
    }

    fn free(&mut self, slot: Slot) {
        self.cpu.free(slot);
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

/// Runs a decode (or an encode) of noise, `height` rows of `width`, and gives the time of each operator.
///
/// # Errors
/// As [`Session::decode`](crate::Session::decode).
pub fn operators(
    model: &Model,
    options: &SessionOptions,
    encode: bool,
    height: usize,
    width: usize,
) -> Result<Vec<Operator>> {
    let direction = if encode { Direction::Encode } else { Direction::Decode };
    let (layout, resources, input) = planned(model, options, direction, height, width)?;
    let mut arena = AlignedBuf::zeroed(layout.bytes(), "workspace")?;
    let threads = Threads::new(resources.threads)?;
    let kernels = Kernels::new(Level::detect()?);
    let mut progress = |_| ControlFlow::Continue(());
    let mut cpu =
        Cpu::new(&threads, &kernels, resources.algorithm, &mut arena, &layout, &mut progress);
    let input = cpu.alloc(input, DType::F32)?;
    for (i, value) in cpu.values_mut(&input)?.iter_mut().enumerate() {
        *value = ((i * 7919) % 1024) as f32 / 512.0 - 1.0;
    }
    let mut watched = Watched { cpu: &mut cpu, operators: Vec::new() };
    network(&mut watched, model, direction, resources.settings, input)?;
    Ok(watched.operators)
}
