//! A convolution gives the same bits wherever its activations are, and whatever it may keep.

use std::ops::ControlFlow;

use super::{
    Branches, ConvInput, Filter, Geometry, Job, Operands, Prologue, Resample, Split, SplitJob,
};
use crate::arch::Level;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast_mut};
use crate::base::encoding::Dense;
use crate::base::scratch_file::ScratchFile;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::base::weight::DenseWeight;
use crate::kernels::threads::Threads;
use crate::kernels::{Act, Epilogue, Kernels, Sum};
use crate::ops::exec::Exec;
use crate::ops::place::{Place, Staged, Target};

/// A layer with memory that it reads and writes.
struct Layer {
    input: Shape,
    channels: usize,
    kernel: usize,
    resample: Resample,
    residual: bool,
    in_place: bool,
    dtype: Storage,
}

/// How it is run.
#[derive(Clone, Copy, Debug)]
struct How {
    threads: usize,
    packed_limit: usize,
    input_in_file: bool,
    output_in_file: bool,
}

fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0
}

fn filled(shape: Shape, dtype: Storage, from: usize) -> AlignedBuf {
    let mut bytes = AlignedBuf::zeroed(shape.bytes(dtype).unwrap(), "test").unwrap();
    match dtype {
        Storage::F32 => {
            for (i, value) in cast_mut::<f32>(&mut bytes).iter_mut().enumerate() {
                *value = number(i + from);
            }
        }
        _ => {
            for (i, value) in cast_mut::<half::bf16>(&mut bytes).iter_mut().enumerate() {
                *value = half::bf16::from_f32(number(i + from));
            }
        }
    }
    bytes
}

impl Layer {
    /// The bytes of the output, and the sums.
    fn run(&self, how: How) -> (Vec<u8>, Vec<Sum>) {
        let Self { input, channels, kernel, resample, dtype, .. } = *self;
        let weights: Vec<u8> = (0..channels * input.channels * kernel * kernel)
            .flat_map(|i| number(3 * i).to_le_bytes())
            .collect();
        let (weight, bias) = (weights, vec![0.25; channels]);
        let filters = [Filter {
            name: "layer",
            weight: DenseWeight { bytes: &weight, dtype: Dense::F32 },
            bias: &bias,
            in_channels: input.channels,
            out_channels: channels,
            kernel,
        }];
        let geometry = Geometry::new(input, &filters, resample.into(), how.packed_limit).unwrap();
        let output_pitch = if self.in_place { input.channels } else { channels };
        let output = Shape { channels: output_pitch, ..geometry.output() };
        let (mut source, mut target) = (filled(input, dtype, 0), filled(output, dtype, 5));
        if self.in_place {
            target = filled(input, dtype, 0);
        }
        let (read, written) = (source.len() as u64, target.len() as u64);
        let file = ScratchFile::create(&std::env::temp_dir(), read + written).unwrap();
        let (spilled_in, spilled_out) = (file.region(0..read), file.region(read..read + written));
        spilled_in.write(0, &source).unwrap();
        spilled_out.write(0, &target).unwrap();
        let staged = Staged {
            input: if how.input_in_file { input.channels * dtype.size() } else { 0 },
            output: if how.output_in_file { output_pitch * dtype.size() } else { 0 },
        };
        // What is in the file is not to be read from memory.
        if how.input_in_file {
            source.fill(0xff);
        }
        let (kernels, threads) =
            (Kernels::new(Level::detect().unwrap()).unwrap(), Threads::new(how.threads).unwrap());
        let bytes = geometry.scratch(kernels.panels(), how.threads, staged).unwrap();
        let mut scratch = AlignedBuf::zeroed(bytes, "test").unwrap();
        let scale: Vec<f32> = (0..input.channels).map(|i| 1.0 + number(i) / 2.0).collect();
        let shift: Vec<f32> = (0..input.channels).map(|i| number(i + 1)).collect();
        let operands = Operands {
            filters: &filters,
            input: match (self.in_place, how.input_in_file) {
                (true, _) => ConvInput::InPlace,
                (_, true) => ConvInput::Whole(Place::File(spilled_in, dtype)),
                _ => ConvInput::Whole(Place::Memory(Elements::new(dtype, &source))),
            },
            input_pitch: input.channels,
            output_pitch,
            prologue: Some(Prologue { scale: &scale, shift: &shift, act: Some(Act::Silu) }),
            residual: self.residual,
            epilogue: Epilogue::None,
            groups: 2,
            staged,
        };
        let out = if how.output_in_file {
            Target::File(spilled_out.clone(), dtype)
        } else {
            Target::Memory(ElementsMut::new(dtype, &mut target))
        };
        let mut tick = |_, _| ControlFlow::Continue(());
        let exec = Exec { threads: &threads, kernels: &kernels };
        let job = Job { geometry: &geometry, operands };
        let sums = job.run(exec, out, &mut scratch, &mut tick).unwrap().unwrap();
        if how.output_in_file {
            target.fill(0xff);
            spilled_out.read(0, &mut target).unwrap();
        }
        (target.to_vec(), sums)
    }
}

#[test]
fn the_bits_depend_on_the_layer_alone() {
    let layer = |height, width, from, to, kernel, resample| Layer {
        input: Shape::new(height, width, from),
        channels: to,
        kernel,
        resample,
        residual: false,
        in_place: false,
        dtype: Storage::F32,
    };
    let layers = [
        layer(67, 90, 32, 64, 3, Resample::Keep),
        layer(41, 70, 48, 320, 3, Resample::Keep),
        layer(23, 37, 32, 64, 3, Resample::Double),
        layer(90, 71, 32, 64, 3, Resample::Halve),
        layer(9, 13, 4, 6, 3, Resample::Keep),
        layer(21, 130, 3, 32, 3, Resample::Halve),
        layer(31, 120, 32, 64, 1, Resample::Keep),
        Layer { in_place: true, ..layer(31, 120, 64, 32, 1, Resample::Keep) },
    ];
    for mut layer in layers {
        for residual in [false, true] {
            for dtype in [Storage::F32, Storage::Bf16] {
                if residual && layer.in_place {
                    continue;
                }
                (layer.residual, layer.dtype) = (residual, dtype);
                let first = How {
                    threads: 1,
                    packed_limit: usize::MAX,
                    input_in_file: false,
                    output_in_file: false,
                };
                let (output, sums) = layer.run(first);
                for (threads, packed_limit, input_in_file, output_in_file) in [
                    (3, usize::MAX, false, false),
                    (1, 0, false, false),
                    (2, 3 << 20, false, false),
                    (1, usize::MAX, true, false),
                    (2, usize::MAX, false, true),
                    (3, usize::MAX, true, true),
                    (2, 0, true, true),
                ] {
                    let how = How { threads, packed_limit, input_in_file, output_in_file };
                    let (found, found_sums) = layer.run(how);
                    let what = format!("{:?} {residual} {dtype} {how:?}", layer.input);
                    assert!(found == output, "{what}");
                    for (a, b) in sums.iter().zip(&found_sums) {
                        assert_eq!((a.sum, a.square), (b.sum, b.square), "{what}");
                    }
                }
            }
        }
    }
}

/// A bank of filters that owns its weights.
struct Bank {
    weight: Vec<u8>,
    bias: Vec<f32>,
    kernel: usize,
}

impl Bank {
    fn new(channels: usize, in_channels: usize, kernel: usize) -> Self {
        let weights: Vec<u8> = (0..channels * in_channels * kernel * kernel)
            .flat_map(|i| number(3 * i + kernel).to_le_bytes())
            .collect();
        Self { weight: weights, bias: vec![0.25; channels], kernel }
    }

    fn filter(&self, in_channels: usize) -> Filter<'_> {
        Filter {
            name: "layer",
            weight: DenseWeight { bytes: &self.weight, dtype: Dense::F32 },
            bias: &self.bias,
            in_channels,
            out_channels: self.bias.len(),
            kernel: self.kernel,
        }
    }
}

#[test]
fn a_split_gives_what_its_convolutions_give_one_by_one() {
    let kernels = Kernels::new(Level::detect().unwrap()).unwrap();
    let mut tick = |_, _| ControlFlow::Continue(());
    for (height, width, channels) in
        [(101, 90, 64), (16, 30, 32), (40, 7, 32), (1, 5, 8), (3, 3, 6)]
    {
        let input = Shape::new(height, width, channels);
        let banks = [Bank::new(channels / 2, channels, 3), Bank::new(channels / 2, channels, 1)];
        let filters = [&banks[0], &banks[1]].map(|bank| [bank.filter(channels)]);
        let scale: Vec<f32> = (0..channels).map(|i| 1.0 + number(i) / 2.0).collect();
        let shift: Vec<f32> = (0..channels).map(|i| number(i + 1)).collect();
        let prologue = Prologue { scale: &scale, shift: &shift, act: Some(Act::Silu) };
        let branches = Branches { conv: &filters[0][..], shortcut: &filters[1][..] };
        // Small pictures keep their inputs transformed, and are not split.
        let Some(split) = Split::new(input, branches).unwrap() else {
            assert!(height < 100);
            continue;
        };
        for dtype in [Storage::F32, Storage::Bf16] {
            let mut expected = Vec::new();
            let mut expected_sums = Vec::new();
            for (which, filters) in filters.iter().enumerate().rev() {
                let geometry =
                    Geometry::new(input, filters, Resample::Keep.into(), usize::MAX).unwrap();
                let threads = Threads::new(1).unwrap();
                let bytes = geometry.scratch(kernels.panels(), 1, Staged::default()).unwrap();
                let mut scratch = AlignedBuf::zeroed(bytes, "test").unwrap();
                let source = filled(input, dtype, 0);
                let mut target = filled(geometry.output(), dtype, 9);
                let operands = Operands {
                    filters,
                    input: ConvInput::Whole(Place::Memory(Elements::new(dtype, &source))),
                    input_pitch: channels,
                    output_pitch: channels / 2,
                    prologue: (which == 0).then_some(prologue),
                    residual: false,
                    epilogue: Epilogue::None,
                    groups: 2,
                    staged: Staged::default(),
                };
                let out = Target::Memory(ElementsMut::new(dtype, &mut target));
                let exec = Exec { threads: &threads, kernels: &kernels };
                let job = Job { geometry: &geometry, operands };
                let sums = job.run(exec, out, &mut scratch, &mut tick);
                expected.extend_from_slice(&target);
                expected_sums.push(sums.unwrap().unwrap());
            }
            for count in 1..4 {
                let threads = Threads::new(count).unwrap();
                let bytes = split.scratch(kernels.panels(), count, dtype).unwrap();
                let mut scratch = AlignedBuf::zeroed(bytes, "test").unwrap();
                let mut memory = filled(input, dtype, 0);
                let exec = Exec { threads: &threads, kernels: &kernels };
                let job = SplitJob {
                    split: &split,
                    filters: branches,
                    groups: Branches { conv: 2, shortcut: 2 },
                    prologue: Some(prologue),
                    dtype,
                };
                let sums = job.run(exec, &mut memory, &mut scratch, &mut tick);
                let sums = sums.unwrap().unwrap();
                let what = format!("{input} {dtype}, {count} threads");
                assert!(memory[..] == expected[..], "{what}");
                assert_eq!(sums.conv, expected_sums[1], "{what}");
                for (a, b) in sums.shortcut.iter().zip(&expected_sums[0]) {
                    assert!((a.sum - b.sum).abs() < 1e-6 * b.square, "{what}");
                }
            }
        }
    }
}
